"""MASC (Ketha & Ramaswamy): the class whose subspace of activations makes the smallest angle with an example's.

A class's subspace is spanned by the leading principal directions (uncentred) of the activations with that label, by as many
as have `VARIANCE` of their sum of squares. They are linear combinations of these activations. So a projection follows from
inner products with the support, and no direction is ever written out.

The subspaces are cross-fitted: an example is judged by subspaces of the other folds. With its own activations in, the
subspace of the label that it has always comes nearest, whatever the label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from memloc.models.eigenvectors import eigh

VARIANCE = 0.9
FOLDS = 5

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Subspaces:
    """A subspace for each class. rows: of the support with the label, on the device. directions: [rows, dimension] of the
    combinations of these rows that are orthonormal and span the subspace.
    """

    rows: Sequence[Int64[Tensor, " rows"]]
    directions: Sequence[Float[Tensor, "rows dimension"]]

    @classmethod
    def fit(cls, gram: Float[Tensor, "m m"], y: Rows, kept: npt.NDArray[np.bool_], classes: int) -> Self:
        """Those of the support's rows that are kept. gram: the support's inner products. y: its labels."""
        members = [np.flatnonzero(kept & (y == label)) for label in range(classes)]
        rows = [torch.from_numpy(of).to(gram.device) for of in members]
        return cls(rows, [_directions(gram[of][:, of]) for of in rows])

    @property
    def dimension(self) -> float:
        """The mean over classes."""
        return float(np.mean([of.shape[1] for of in self.directions]))

    def nearest(self, inner: Float[Tensor, "b m"]) -> Int64[Tensor, " b"]:
        """The class with the smallest angle, of equal ones the first; inner: products of the queries with the support."""
        parts = [(inner[:, r] @ d).square().sum(dim=1) for r, d in zip(self.rows, self.directions, strict=True)]
        return torch.stack(parts, dim=1).argmax(dim=1)


def _directions(gram: Float[Tensor, "rows rows"]) -> Float[Tensor, "rows dimension"]:
    """V·Λ^(−1/2) of the leading eigenvectors; no column where nothing varies."""
    if not len(gram):
        return gram
    values, vectors = eigh(gram)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    explained = values.cumsum(0)
    total = float(explained[-1])
    if total == 0:
        return gram[:, :0]
    count = 1 + int((explained < VARIANCE * explained[-1]).sum())
    directions: Tensor = vectors[:, :count] / values[:count].sqrt()
    return directions
