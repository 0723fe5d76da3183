"""Augmentation, keyed by example and epoch: the shift of an example does not depend on its batch."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from memloc.seeds import below, hashed


def shifts(
    kind: str, example: Int64[np.ndarray, " n"], height: int, width: int, seed: int, epoch: int
) -> Int64[Tensor, "n 3"]:
    """int64 [n, 3]: rows down, columns right (up to an eighth of the side each way), flipped or not (0, 1)."""
    draws = [hashed(seed, "augment", epoch, i=example, j=j) for j in range(3)]
    down, right = height // 8, width // 8
    flip = below(draws[2], 2) if kind == "crop_flip" else 0 * below(draws[2], 2)
    columns = (below(draws[0], 2 * down + 1) - down, below(draws[1], 2 * right + 1) - right, flip)
    return torch.stack([torch.from_numpy(c) for c in columns], dim=1)


def augment(x: UInt8[Tensor, "b c h w"], shift: Int64[Tensor, "b 3"]) -> UInt8[Tensor, "b c h w"]:
    """Images (B×C×H×W, uint8) moved, then mirrored, by `shift` (int64 [B, 3]); what enters from outside is black (0)."""
    b, _, h, w = x.shape
    rows = torch.arange(h, device=x.device)[None, :] - shift[:, 0:1]
    columns = torch.arange(w, device=x.device)[None, :].expand(b, w)
    columns = torch.where(shift[:, 2:3] == 1, w - 1 - columns, columns) - shift[:, 1:2]
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None, :]
    batch = torch.arange(b, device=x.device)[:, None, None]
    picked = x[batch, :, rows.clamp(0, h - 1)[:, :, None], columns.clamp(0, w - 1)[:, None, :]]  # B×H×W×C
    return (picked * inside[..., None]).permute(0, 3, 1, 2)
