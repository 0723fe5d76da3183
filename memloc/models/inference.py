"""Evaluation-mode passes over whole sets, in fixed groups of examples in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Bool, Float, Int64, Shaped, UInt8
from torch import Tensor

from memloc.data.device import images
from memloc.models.groups import Network
from memloc.models.kept import Masks

# Part of the numerics: another batch shape rounds differently. A change of it must raise every stage's version.
GROUP_SIZE = 256

MaskSource = Callable[[Tensor], Masks | None]  # rows (int64 [B]) -> factors


def groups_of(n: int, device: torch.device) -> Iterator[Int64[Tensor, " group"]]:
    """The rows 0..n−1 in the fixed groups in which analyses compute, int64 [≤ GROUP_SIZE] each."""
    for start in range(0, n, GROUP_SIZE):
        yield torch.arange(start, min(start + GROUP_SIZE, n), device=device)


@torch.inference_mode()
def logits(network: Network, x: UInt8[Tensor, "n c h w"], masks: MaskSource | None = None) -> Float[Tensor, "n classes"]:
    """Logits (n×classes, float32) of uint8 images (n×C×H×W) in evaluation mode."""
    network.eval()
    chunks = [network(images(x[rows]), masks=masks(rows) if masks else None) for rows in groups_of(len(x), x.device)]
    return torch.cat(chunks)


def margins(logits: Float[Tensor, "n classes"], y: Int64[Tensor, " n"]) -> Float[Tensor, " n"]:
    """z_y − max over the other classes, [n], in the dtype of `logits` (n×K)."""
    own = logits.gather(1, y[:, None])
    others = logits.scatter(1, y[:, None], float("-inf"))
    return own[:, 0] - others.amax(dim=1)


def accuracy(logits: Float[Tensor, "n classes"], y: Int64[Tensor, " n"]) -> float | None:
    """The share of the rows whose largest logit is that of the label y, float64; None without rows."""
    return share_right(logits.argmax(dim=1), y)


def share_right(predicted: Int64[Tensor, " n"], y: Int64[Tensor, " n"]) -> float | None:
    """The share of the rows whose prediction is the label y, float64; None without rows."""
    return float((predicted == y).to(torch.float64).mean()) if len(y) else None


def set_mean(values: Shaped[Tensor, " n"], members: Bool[Tensor, " n"]) -> float | None:
    """The float64 mean of `values` [n] over `members` (bool [n]); None over the empty set."""
    count = int(members.sum())
    return float(values.to(torch.float64)[members].sum() / count) if count else None
