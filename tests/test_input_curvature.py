"""benchmarks/input_curvature.py against closed forms: a smooth network, and one with a kink."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.input_curvature import curvature, gradients


def test_on_a_linear_network_it_is_the_mean_of_the_squared_hessian_vector_products() -> None:
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(6, 3)
    model = nn.Sequential(nn.Flatten(), linear).double()
    x, y = torch.randn(5, 1, 2, 3, generator=generator).double(), torch.tensor([0, 1, 2, 0, 1])
    signs = torch.randint(0, 2, (4, 1, 2, 3), generator=generator).double() * 2 - 1
    weight, p = linear.weight.detach(), model(x).softmax(1).detach()
    hessians = [weight.T @ (torch.diag(q) - torch.outer(q, q)) @ weight for q in p]
    expected = [torch.stack([(h @ v.flatten()).square().sum() for v in signs]).mean() for h in hessians]
    assert torch.allclose(curvature(model, x, y, 1e-5, signs), torch.stack(expected), rtol=1e-3)
    assert torch.allclose(gradients(model, x, y), (p - torch.eye(3).double()[y]) @ weight)


@pytest.mark.parametrize("step", [0.1, 0.01])
def test_a_kink_within_reach_makes_a_jump_whose_square_is_divided_by_h_twice(step: float) -> None:
    """At pixel −h/2 a ReLU has no gradient, at +h/2 it has. Of two directions one crosses."""
    linear = nn.Linear(1, 2, bias=False)
    model = nn.Sequential(nn.Flatten(), nn.ReLU(), linear).double()
    linear.weight.data = torch.tensor([[1e-6], [-1e-6]]).double()  # so the softmax is flat: p = 1/2
    x, y, signs = torch.full((1, 1), -step / 2).double(), torch.tensor([0]), torch.tensor([[1.0], [-1.0]]).double()
    found = curvature(model, x, y, step, signs)
    assert float(found) == pytest.approx((1e-6 / step) ** 2 / 2, rel=1e-4)
