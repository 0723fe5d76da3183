"""benchmarks/rewound_statistics.py: the statistics against those that a hook sees, the weights against the checkpoints."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.rewound_statistics import BATCH, renew_statistics, rewound


def test_the_statistics_are_those_of_what_the_norms_are_given() -> None:
    """The mean over batches of each batch's mean and unbiased variance. Each norm gives the next one such values."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))
    model[1].running_mean += 7  # type: ignore[operator]
    x = torch.randn(2 * BATCH, 1, 6, 6)
    given: dict[int, list[Tensor]] = {1: [], 4: []}
    for k, seen in given.items():
        model[k].register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0].detach()))
    renew_statistics(model, x)
    assert not model.training
    for k, (one, other) in given.items():
        for of, name in ((Tensor.mean, "running_mean"), (Tensor.var, "running_var")):
            expected = (of(one, (0, 2, 3)) + of(other, (0, 2, 3))) / 2
            torch.testing.assert_close(getattr(model[k], name), expected)


class Chain(nn.Sequential):
    def parameters_of(self, group: str) -> list[str]:
        return [name for name, _ in self.named_parameters() if name.startswith(group)]


class Trained:
    """Weights of 1 at the end and of 0 at the beginning; the norm has counted images."""

    def model(self, epoch: int | None = None) -> Any:
        made = Chain(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
        for parameter in made.parameters():
            nn.init.constant_(parameter, 1.0 if epoch is None else 0.0)
        made[1].running_mean += 5 if epoch is None else 0  # type: ignore[operator]
        return made


@pytest.mark.parametrize("group", ["0", "1", "2"])
def test_one_group_goes_back_and_the_statistics_stay(group: str) -> None:
    trained: Any = Trained()
    model = rewound(trained, group, 0)
    for name, parameter in model.named_parameters():
        assert (parameter == (0.0 if name.startswith(group) else 1.0)).all()
    assert (model.get_submodule("1").running_mean == 5).all()  # type: ignore[operator,union-attr]
