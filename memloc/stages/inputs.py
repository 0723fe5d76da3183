"""What a part of an analysis may read, and the network of its training."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from memloc.config import TrainConfig
from memloc.data import Data
from memloc.data.device import OnDevice
from memloc.models.build import build
from memloc.models.dropouts import Dropout, build_dropout
from memloc.models.groups import Network
from memloc.models.inference import MaskSource
from memloc.models.memory_format import channels_last
from memloc.stages.base import Columns, Part

if TYPE_CHECKING:
    from memloc.stages.training.loop import Epoch


def _is_unknown(epoch: int, weights: Mapping[str, Tensor]) -> bool:
    raise LookupError(f"nothing is known of epoch {epoch}")


def _has_no_state(epoch: int) -> None:
    return None


@dataclass(frozen=True)
class History:
    """The course of a training, for stages that train parts of it again.

    states: gives the epochs after which it can go on; it may ask the storage. state: gives the state after one of these,
    weights and all; None if it is damaged. is_checkpoint: are these weights, bit for bit, those that were committed for
    this epoch?
    """

    states: Callable[[], frozenset[int]] = frozenset
    state: Callable[[int], Epoch | None] = _has_no_state
    is_checkpoint: Callable[[int, Mapping[str, Tensor]], bool] = _is_unknown


@dataclass(frozen=True)
class OfPart:
    """A network that a part of another analysis has made. weights: reads its `state_dict`."""

    stage: str
    part: Part
    weights: Callable[[], Mapping[str, Tensor]]


@dataclass
class Inputs:
    """Everything a part may read.

    weights: epoch -> that checkpoint's `state_dict` on the CPU. tables: for a stage that `reads`, the rows of the training
    and of the analyses that it reads, by table name (`analyses` has their configurations). networks: for such a stage, those
    that parts of these analyses have made, in the order of the parts. c_scores: float64 [n], for an
    analysis that takes them. history: for a stage that trains epochs again. memo: quantities of the whole training that one
    part has computed, for the next part in this process. Every process computes the same bits.
    """

    train: TrainConfig
    data: Data
    device: torch.device
    weights: Callable[[int], Mapping[str, Tensor]]
    tables: Mapping[str, Columns] = field(default_factory=dict)
    networks: Sequence[OfPart] = ()
    c_scores: npt.NDArray[np.float64] | None = None
    history: History = field(default_factory=History)
    memo: dict[Hashable, Any] = field(default_factory=dict)
    _on_device: OnDevice | None = None
    _dropout: Dropout | None = None

    @property
    def on_device(self) -> OnDevice:
        """The data on the device: uint8 images and int64 labels, copied at the first use."""
        if self._on_device is None:
            self._on_device = OnDevice(self.data, self.device)
        return self._on_device

    def network(self, epoch: int) -> Network:
        """The network with the checkpoint's weights, in evaluation mode on the device, channels last in memory."""
        network = build(self.train, self.data.shape, self.data.classes)
        network.load_state_dict(dict(self.weights(epoch)))
        return channels_last(network.to(self.device)).eval()

    def masks(self, network: Network, mask_mode: str | None, rescale: str = "none") -> MaskSource:
        """The factors of evaluation mode by rows, for networks with the sites of this one; None is mode plain."""
        dropout = self.dropout(network)
        return lambda rows: dropout.evaluation(mask_mode or "plain", rows, rescale)

    def dropout(self, network: Network) -> Dropout:
        """The training's dropout, for networks with the sites of this one; built at the first use."""
        if self._dropout is None:
            self._dropout = build_dropout(self.train, network.sites, self.data.example, self.device)
        return self._dropout
