"""Evaluation-mode passes over whole sets, and the two small sums over them, against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from memloc.models.architectures import resolved
from memloc.models.build import build
from memloc.models.groups import Network
from memloc.models.inference import GROUP_SIZE, accuracy, groups_of, logits, margins, set_mean
from memloc.models.kept import Masks
from tests.models.plain import Plain, randomise

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> Network:
    network = build(resolved(dataset="digits", model="resnet9", width=0.0625), (1, 16, 16), 10)
    randomise(network, 0)
    return network


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return torch.randint(0, 256, (600, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("n", [1, 2, 255, 256, 257, 512, 600])
def test_groups_are_the_rows_in_order_cut_every_256(n: int) -> None:
    groups = list(groups_of(n, CPU))
    assert GROUP_SIZE == 256  # part of the numerics: raise every stage's version with it
    assert [len(g) for g in groups[:-1]] == [256] * (len(groups) - 1)
    assert 1 <= len(groups[-1]) <= 256
    assert torch.cat(groups).tolist() == list(range(n))


def test_logits_are_the_plain_networks(network: Network, pixels: Tensor) -> None:
    network.train()  # `logits` sees to the evaluation mode by itself
    before = {k: t.clone() for k, t in network.state_dict().items()}
    z = logits(network, pixels)
    assert z.shape == (600, 10)
    assert z.dtype == torch.float32
    assert not z.requires_grad
    plain = Plain(1, 10, 0.0625).load(network.state_dict()).to(torch.float64).eval()
    with torch.no_grad():
        expected = plain((pixels.double() / 255 - 0.5) / 0.5)
    torch.testing.assert_close(z.double(), expected, rtol=1e-4, atol=1e-5)
    assert all(torch.equal(before[k], t) for k, t in network.state_dict().items())  # running statistics stay


def test_logits_do_not_hang_on_what_else_is_in_the_set(network: Network, pixels: Tensor) -> None:
    """Whole groups are computed alike whatever follows them, to the last bit."""
    z = logits(network, pixels)
    assert torch.equal(logits(network, pixels[:512]), z[:512])
    assert torch.equal(logits(network, pixels), z)


def test_masks_are_asked_for_the_rows_of_each_group(network: Network, pixels: Tensor) -> None:
    asked: list[Tensor] = []

    def masks(rows: Tensor) -> Masks | None:
        asked.append(rows)
        return {"conv4": (rows % 2 == 0).float()[:, None, None, None]}  # odd rows see nothing

    z = logits(network, pixels, masks)
    assert torch.cat(asked).tolist() == list(range(600))
    assert (z[1::2] == 0).all()
    assert torch.equal(z[::2], logits(network, pixels)[::2])


def test_margin_is_the_logit_minus_the_largest_other() -> None:
    generator = torch.Generator().manual_seed(1)
    z = torch.randn((50, 7), generator=generator)
    y = torch.randint(0, 7, (50,), generator=generator)
    expected = [float(z[i, y[i]]) - max(float(z[i, k]) for k in range(7) if k != y[i]) for i in range(50)]
    assert margins(z, y).tolist() == pytest.approx(expected, abs=1e-6)
    assert margins(z.double(), y).dtype == torch.float64
    assert margins(torch.tensor([[2.0, 2.0, 1.0]]), torch.tensor([0])).tolist() == [0.0]  # a tie has margin 0
    assert margins(torch.tensor([[-3.0, -1.0]]), torch.tensor([0])).tolist() == [-2.0]


def test_set_mean_is_in_float64_and_none_over_nothing() -> None:
    values = torch.tensor([1.0, 2.0, 4.0, 0.1])
    members = torch.tensor([True, False, True, True])
    assert set_mean(values, members) == (1.0 + 4.0 + float(np.float32(0.1))) / 3
    assert set_mean(values > 1, members) == 1 / 3
    assert set_mean(values, torch.zeros(4, dtype=torch.bool)) is None
    assert set_mean(torch.zeros(4), members) == 0.0
    assert set_mean(values[:0], members[:0]) is None


def test_accuracy_is_the_share_of_largest_logits_at_the_label() -> None:
    z = torch.randn(37, 5, generator=torch.Generator().manual_seed(3))
    y = torch.arange(37) % 5
    right = [max(range(5), key=row.__getitem__) == label for row, label in zip(z.tolist(), y.tolist(), strict=True)]
    assert accuracy(z, y) == sum(right) / 37
    assert 0 < sum(right) < 37
    assert accuracy(z[:0], y[:0]) is None
