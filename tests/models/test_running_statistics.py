"""Which norms keep running statistics, and what these are when they are measured anew."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from memloc.data.device import images
from memloc.models import running_statistics
from memloc.models.groups import Network
from memloc.models.running_statistics import norms_of, recompute_statistics


class OwnNorm(nn.Module):
    """A norm that PyTorch does not know. Nobody can measure its statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return x - self.get_buffer("running_mean")[:, None, None]


def test_which_norms_have_them() -> None:
    batch, instance = nn.BatchNorm2d(3), nn.InstanceNorm2d(3, track_running_stats=True)
    others = (nn.BatchNorm2d(3, track_running_stats=False), nn.InstanceNorm2d(3), nn.GroupNorm(1, 3), OwnNorm())
    assert norms_of(nn.Sequential(batch, *others, instance)) == [batch, instance]


def test_those_of_instance_norms(monkeypatch: Any) -> None:
    """The mean over batches of the mean over a batch's images of what each image has in a channel."""
    monkeypatch.setattr(running_statistics, "GROUP_SIZE", 4)
    norm = nn.InstanceNorm2d(3, track_running_stats=True)
    model = cast(Network, nn.Sequential(norm))
    x = torch.randint(256, (8, 3, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    order = torch.arange(8).flip(0)

    def run(batch: Tensor, masks: object) -> Tensor:
        return cast(Tensor, norm(batch))

    recompute_statistics([model], run, x, order, lambda _: None)
    of_images = images(x).to(torch.float64).flatten(2)
    torch.testing.assert_close(norm.running_mean, of_images.mean(dim=2).mean(dim=0).float())
    torch.testing.assert_close(norm.running_var, of_images.var(dim=2).mean(dim=0).float())
    assert not norm.training
