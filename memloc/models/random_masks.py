"""Keyed random factors of a dropout."""

from __future__ import annotations

import numpy as np
import torch

from memloc.models.kept import Kept, scale_of
from memloc.seeds import stream, torch_seed


class RandomMasks:
    """Random factors, 0 or 1/keep. Each site has a stream of its own, keyed by (seed, purpose, site, epoch, step).

    So a site's factors depend neither on the other sites nor on the order of drawing. They may be drawn when the forward
    pass comes to the site, and once more in its recomputation. A training that is resumed at any epoch draws the same.
    """

    def __init__(self, seed: int, purpose: str, device: torch.device) -> None:
        self.seed, self.purpose, self.device = seed, purpose, device
        self.generator = torch.Generator(device) if device.type not in ("cpu", "meta") else None

    def drawn(
        self,
        shape: tuple[int, ...],
        keep: float,
        site: str,
        at: tuple[int, int],
        layout: torch.memory_format = torch.contiguous_format,
    ) -> Kept:
        """The factors of a site at one training step `at` = (epoch, step). On `meta` only their shape counts."""
        key = (self.seed, self.purpose, site, *at)
        if self.device.type == "cpu":
            # PyTorch's generator for CPUs uses the low 32 bits of a seed, so two streams of a long training might be equal.
            # It is also slower.
            kept = torch.from_numpy(stream(*key).random(shape, dtype=np.float32) < np.float32(keep))
            return Kept(kept.to(memory_format=layout), scale_of(keep))
        mask = torch.empty(shape, dtype=torch.bool, device=self.device, memory_format=layout)
        if self.generator is not None:  # the device `meta` draws no numbers
            self.generator.manual_seed(torch_seed(*key))
        return Kept(mask.bernoulli_(keep, generator=self.generator), scale_of(keep))
