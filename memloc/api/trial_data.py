"""The data of a trial, as tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, eq=False)  # tensors have no single answer to ==
class TrialData:
    """The data of a trial: n training examples and m test examples, images of C×H×W.

    Attributes:
        x: float32 [n, C, H, W], normalised to [−1, 1].
        y: int64 [n], the labels trained on.
        true_label: int64 [n], the labels that the data set has.
        noisy: bool [n], y ≠ true_label: the mislabeled examples.
        example: int64 [n], the index in the data set's own training array; column `example` of the tables.
        x_test: float32 [m, C, H, W]. y_test: int64 [m].
    """

    x: torch.Tensor
    y: torch.Tensor
    true_label: torch.Tensor
    noisy: torch.Tensor
    example: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor
