"""What stands in for a training's data and checkpoints on the device `meta`: arrays of the right shapes, with no numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from memloc.config import TrainConfig
from memloc.data import Data
from memloc.data.arrays import HeldOut
from memloc.models.build import build
from memloc.models.groups import Network
from memloc.models.memory_format import channels_last
from memloc.stages.base import Size
from memloc.stages.inputs import History, Inputs

Shape = tuple[int, int, int]


def stand_in_data(size: Size, shape: Shape) -> Data:
    """Examples of a training of this size. shape: C, H, W of an image. Images take no memory.

    S_n is spread evenly. All labels are 0, which is what a network without numbers predicts.
    """
    n, n_test = size.n, size.n_test
    y = np.zeros(n, dtype=np.int64)
    per = size.n_noisy / size.n
    noisy = np.diff(np.floor(np.arange(n + 1) * per + 1e-9)) > 0  # spread evenly
    out = HeldOut(_images(size.n_out, shape), *_labels(size.n_out)) if size.n_out else None
    test = np.zeros(n_test, dtype=np.int64)
    return Data(_images(n, shape), y, y, noisy, np.arange(n), _images(n_test, shape), test, size.classes, out)


def _images(n: int, shape: Shape) -> np.ndarray:
    return np.broadcast_to(np.zeros(1, np.uint8), (n, *shape))


def _labels(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool), np.arange(n)


@dataclass
class StandIn(Inputs):
    """Inputs whose checkpoints have shapes alone. Every epoch that is trained again ends at its checkpoint."""

    history: History = field(default_factory=lambda: History(is_checkpoint=lambda epoch, weights: True))

    def network(self, epoch: int) -> Network:
        """As `Inputs.network`: the epoch says nothing, since there are no values."""
        with torch.device(self.device):
            network = channels_last(build(self.train, self.data.shape, self.data.classes)).eval()
        network.neurons = _from_second_group(network)
        return network

    @cached_property
    def first_weights(self) -> Mapping[str, Tensor]:
        """The state of a network of the training."""
        with torch.device(self.device):
            return dict(build(self.train, self.data.shape, self.data.classes).state_dict())


def stand_in(train: TrainConfig, data: Data, device: torch.device) -> StandIn:
    """The inputs of an analysis of a training with these data."""
    inputs: StandIn = StandIn(train, data, device, lambda epoch: inputs.first_weights)
    return inputs


def _from_second_group(network: Network) -> dict[str, tuple[int, ...]]:
    """The layers with neurons, those of the second group first, and those of the first group last.

    Where no numbers are, a search closes the first neuron of all. After it a fifth of the network is the same as before, on
    average (docs/performance.md); from the second group on comes near to that.
    """
    groups = list(dict.fromkeys(network.group_of(layer) for layer in network.neurons))
    first = [layer for layer in network.neurons if network.group_of(layer) == groups[0]] if groups else []
    later = [layer for layer in network.neurons if layer not in first]
    return {layer: network.neurons[layer] for layer in (*later, *first)}
