"""Batch norm by the batch's own statistics, against PyTorch's in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memloc.models.batch_norm import BatchStatistics
from memloc.models.groups import Network
from tests.models.plain import CONVS, Plain


def values_and_gradients(x: Tensor, own: bool) -> list[Tensor]:
    """Output, and the gradients of x, scale and shift, of a loss without symmetries."""
    norm = nn.BatchNorm2d(6).to(x)
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2.0, 6))
        norm.bias.copy_(torch.linspace(-1.0, 1.0, 6))
    leaf = x.clone().requires_grad_()
    y = BatchStatistics(norm)(leaf) if own else F.batch_norm(leaf, None, None, norm.weight, norm.bias, training=True)
    weights = torch.sin(torch.arange(y.numel(), dtype=y.dtype)).reshape(y.shape)
    return [y.detach(), *torch.autograd.grad((y.square() * weights).sum(), [leaf, norm.weight, norm.bias])]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_as_pytorch_in_double_and_closer_than_rounding_in_single(layout: torch.memory_format) -> None:
    """A mean far from 0 is where careless sums lose digits."""
    generator = torch.Generator().manual_seed(0)
    x = 3.0 + torch.randn((64, 6, 24, 24), dtype=torch.float64, generator=generator)
    x = x.float().double().contiguous(memory_format=layout)
    expected = values_and_gradients(x.contiguous(), own=False)
    for found, wanted in zip(values_and_gradients(x, own=True), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)
    single = values_and_gradients(x.float(), own=True)
    assert single[0].is_contiguous(memory_format=layout)
    for found, wanted in zip(single, expected, strict=True):
        assert float((found.double() - wanted).norm() / wanted.norm()) < 3e-6


def test_without_scale_and_shift() -> None:
    norm = nn.BatchNorm2d(3, affine=False)
    x = torch.randn((8, 3, 5, 5), generator=torch.Generator().manual_seed(0))
    weights = torch.sin(torch.arange(x.numel())).reshape(x.shape)
    ours, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    outputs = BatchStatistics(norm)(ours), F.batch_norm(plain, None, None, training=True)
    for y in outputs:
        (y.square() * weights).sum().backward()
    torch.testing.assert_close(outputs[0], outputs[1])
    torch.testing.assert_close(ours.grad, plain.grad)


def test_takes_the_place_of_every_batch_norm(pair: tuple[Network, Plain]) -> None:
    """The batch's statistics in evaluation mode, the same parameters under the same names in the same order."""
    ours, plain = pair
    before = dict(ours.named_parameters())
    ours.use_batch_statistics()
    assert list(ours.named_parameters()) == list(before.items())
    assert sum(isinstance(m, BatchStatistics) for m in ours.modules()) == len(CONVS)
    assert not ours.training
    x = torch.randn((8, 1, 16, 16), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(ours(x), plain.train()(x), rtol=1e-9, atol=1e-11)
