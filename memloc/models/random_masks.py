"""Keyed random factors of a dropout."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from memloc.seeds import stream, torch_seed


class RandomMasks:
    """Random factors, 0 or 1/keep. Each site has a stream of its own, keyed by (seed, purpose, site, epoch, step).

    So a site's factors depend neither on the other sites nor on the order of drawing. A training that is resumed at any
    epoch draws the same factors.
    """

    def __init__(self, seed: int, purpose: str, device: torch.device) -> None:
        self.seed, self.purpose = seed, purpose
        self.on_host = device.type == "cpu"
        self.generator = None if device.type in ("cpu", "meta") else torch.Generator(device)

    def fill(self, factors: Tensor, keep: float, site: str, epoch: int, step: int) -> Tensor:
        """`factors`, float32 of any shape, overwritten with those of the site at one training step."""
        key = (self.seed, self.purpose, site, epoch, step)
        if self.on_host:
            # PyTorch's generator for CPUs uses the low 32 bits of a seed, so two streams of a long training might be equal.
            # It is also slower.
            drawn = stream(*key).random(tuple(factors.shape), dtype=np.float32)
            return factors.copy_(torch.from_numpy(drawn < np.float32(keep))).div_(keep)
        if self.generator is not None:  # the device `meta` draws no numbers
            self.generator.manual_seed(torch_seed(*key))
        return factors.bernoulli_(keep, generator=self.generator).div_(keep)
