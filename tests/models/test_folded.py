"""Batch norms folded into their convolutions: the same function in evaluation mode, the original left alone."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from memloc.models.groups import Network
from tests.models.plain import CONVS, Plain
from tests.models.test_gates import ones


def test_the_same_logits_and_gate_gradients(pair: tuple[Network, Plain]) -> None:
    ours, plain = pair
    x = torch.randn((4, 1, 16, 16), dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    folded = ours.folded()
    torch.testing.assert_close(folded(x), plain(x), rtol=1e-11, atol=1e-13)
    found = []
    for network in (ours, folded):
        gates = {layer: g.requires_grad_() for layer, g in ones(network).items()}
        found.append(torch.autograd.grad(network(x, gates=gates).square().sum(), list(gates.values())))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def test_no_batch_norm_is_left_and_no_parameter_takes_gradients(pair: tuple[Network, Plain]) -> None:
    ours, _ = pair
    before = {k: t.clone() for k, t in ours.state_dict().items()}
    folded = ours.folded()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert not any(p.requires_grad for p in folded.parameters())
    assert all(torch.equal(t, before[k]) for k, t in ours.state_dict().items())
    assert sum(isinstance(m, nn.BatchNorm2d) for m in ours.modules()) == len(CONVS)


def test_in_single_precision_to_rounding(pair: tuple[Network, Plain]) -> None:
    ours = deepcopy(pair[0]).float()
    x = torch.randn((8, 1, 16, 16), generator=torch.Generator().manual_seed(8))
    found, wanted = ours.folded()(x), ours(x)
    assert (found - wanted).abs().max() <= 5e-6 * wanted.abs().max()


def test_folding_twice_is_refused(pair: tuple[Network, Plain]) -> None:
    with pytest.raises(TypeError, match="only once"):
        pair[0].folded().folded()
