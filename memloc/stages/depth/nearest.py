"""k nearest neighbours among the support, from inner products alone (float64)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

# A squared distance below this share of the squared lengths is rounding: the two are one point.
ROUNDING = 1e-12


def votes(
    inner: Float[Tensor, "b m"],
    squares: tuple[Float[Tensor, " b"], Float[Tensor, " m"]],
    own: Int64[Tensor, " b"] | None,
    labels: Float[Tensor, "m classes"],
    k: int,
) -> Float[Tensor, "b classes"]:
    """How many of the k nearest neighbours of each query have each label.

    Of equally distant neighbours the first rows of the support are taken.

    Args:
        inner: products of the queries with the support.
        squares: squared lengths of the queries and of the support.
        own: the row of the support that is the query itself, m if it is not there; None: no query is.
        labels: of the support, one-hot.
        k: at most as many as the support has besides the query itself.
    """
    lengths = squares[0][:, None] + squares[1][None]
    distance = lengths - 2 * inner
    distance = torch.where(distance < ROUNDING * lengths, 0.0, distance)
    if own is not None:
        columns = torch.arange(inner.shape[1], device=inner.device)
        distance = distance.masked_fill(columns[None] == own[:, None], float("inf"))
    farthest = distance.topk(k, largest=False).values[:, -1:]
    nearer, level = distance < farthest, distance == farthest
    places = k - nearer.sum(dim=1, keepdim=True)
    chosen = nearer | (level & (level.cumsum(dim=1, dtype=torch.int32) <= places))
    return chosen.to(labels.dtype) @ labels
