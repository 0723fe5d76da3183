"""What the plain versions compute on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

Masks: TypeAlias = Callable[[Tensor], Mapping[str, Tensor] | None]  # rows (int64 [B]) -> {dropout site: factor}


def no_masks(rows: Tensor) -> None:
    """The dropout factors of a network without dropout."""


@dataclass(frozen=True)
class Examples:
    """x: normalised images, n×C×H×W. y: int64 [n]. masks: the dropout factors under which the network runs."""

    x: Tensor
    y: Tensor
    masks: Masks = no_masks
