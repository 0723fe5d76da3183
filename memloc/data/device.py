"""A training's data on the computing device: one uint8 tensor, batches by index-select."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from memloc.data.arrays import Data, normalise


class OnDevice:
    """The data on `device`. x: uint8 n×C×H×W, y: int64 [n], noisy: bool [n]; the same for the test set."""

    def __init__(self, data: Data, device: torch.device) -> None:
        # Copies: the arrays may be shared, read-only memory of Ray's object store.
        self.x = torch.tensor(data.x, device=device)
        self.y = torch.tensor(data.y, device=device)
        self.noisy = torch.tensor(data.noisy, device=device)
        self.x_test = torch.tensor(data.x_test, device=device)
        self.y_test = torch.tensor(data.y_test, device=device)
        self.device = device

    def batch(self, rows: Int64[Tensor, " b"]) -> Float[Tensor, "b c h w"]:
        """Normalised float32 images of the training rows, channels last in memory."""
        return images(self.x[rows])


def images(x: UInt8[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """uint8 B×C×H×W as normalised float32, channels last in memory (the faster layout for convolutions)."""
    return normalise(x).to(memory_format=torch.channels_last)
