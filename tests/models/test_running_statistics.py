"""Which norms keep running statistics that can be measured anew."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from memloc.models.running_statistics import batch_norms


class OwnNorm(nn.Module):
    """A norm that PyTorch does not know. Nobody can measure its statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return x - self.get_buffer("running_mean")[:, None, None]


def test_which_norms_have_them() -> None:
    batch, flat = nn.BatchNorm2d(3), nn.BatchNorm1d(3)
    instance = nn.InstanceNorm2d(3, track_running_stats=True)
    others = (nn.BatchNorm2d(3, track_running_stats=False), instance, nn.GroupNorm(1, 3), OwnNorm())
    assert batch_norms(nn.Sequential(batch, *others, flat)) == [batch, flat]
