"""What the benchmarks work on: digits at width ¼ as in the demo, and images of MNIST's and CIFAR-10's size at width 1.

The larger images are random: how long the work takes does not depend on what they show. Networks are trained for some
steps where that matters (how many steps a search takes), else at their initial values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from memloc.config import TrainConfig
from memloc.data import Data, Raw, load, normalise, prepare
from memloc.models.architectures import resolved
from memloc.stages.inputs import Inputs
from memloc.stages.training.loop import train

CPU = torch.device("cpu")
NAMES = ("digits", "28x28x1", "32x32x3")
SHAPES = {"28x28x1": (1, 28, 28), "32x32x3": (3, 32, 32)}


@dataclass(frozen=True)
class Size:
    """A training and its checkpoints, {epoch: weights}; epoch 0 and the last are there."""

    name: str
    config: TrainConfig
    raw: Raw
    data: Data
    checkpoints: Mapping[int, Mapping[str, Tensor]] = field(repr=False)

    def inputs(self) -> Inputs:
        return Inputs(self.config, self.data, CPU, lambda epoch: self.checkpoints[epoch])

    def images(self, test: bool = False) -> Tensor:
        """All images, normalised, channels last: what a reference has in memory."""
        x = normalise(torch.tensor(self.data.x_test if test else self.data.x))
        return x.contiguous(memory_format=torch.channels_last)

    @property
    def y(self) -> Tensor:
        return torch.tensor(self.data.y)


@lru_cache(maxsize=4)
def size(name: str, n: int | None = None, n_test: int | None = None, batch_size: int = 128, epochs: int = 30) -> Size:
    """digits whole, trained for `epochs`; or n random images (and n_test for test), trained for one epoch."""
    if name == "digits":
        config = resolved(dataset="digits", model="resnet9", width=0.25, noise=0.1, epochs=epochs, batch_size=batch_size)
        raw = load("digits")
    else:
        assert n is not None
        assert n_test is not None
        config = resolved(dataset="digits", model="resnet9", width=1.0, noise=0.1, epochs=1, batch_size=batch_size)
        raw = _random(SHAPES[name], n, n_test)
    data = prepare(raw, config)
    states = {state.epoch: state.weights for state in train(config, data, CPU)}
    return Size(name, config, raw, data, states)


def _random(shape: tuple[int, int, int], n: int, n_test: int) -> Raw:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (n + n_test, *shape), dtype=np.uint8)
    y: Any = np.arange(n + n_test) % 10
    return Raw(x[:n], y[:n], x[n:], y[n:], 10, "random")
