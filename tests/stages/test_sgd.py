"""The updates are those of torch.optim.SGD, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from memloc.stages.training.sgd import SGD


def parameters() -> list[Tensor]:
    draw = torch.Generator().manual_seed(5)
    return [torch.randn(n, generator=draw).requires_grad_() for n in (3, 7, 2)]


def updated(optimizer: SGD | torch.optim.SGD, scaler: torch.amp.GradScaler | None) -> None:
    """Three updates, falling rates. The last parameter has a gradient in the second alone; those of the third overflow."""
    some = optimizer.param_groups[0]["params"]
    for step in range(3):
        optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
        optimizer.zero_grad()
        loss = sum(((p - k) ** 2).sum() for k, p in enumerate(some[: 3 if step == 1 else 2]))
        loss = loss * float("inf") if scaler and step == 2 else loss
        if scaler is None:
            loss.backward()
            optimizer.step()
        else:
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01])
@pytest.mark.parametrize("fp16", [False, True])
def test_updates_are_torchs(momentum: float, weight_decay: float, fp16: bool) -> None:
    one, other = parameters(), parameters()
    kind = {"fused": True} if fp16 else {"foreach": True}
    expected = torch.optim.SGD(other, lr=1.0, momentum=momentum, weight_decay=weight_decay, **kind)
    optimizer = SGD(one, lr=1.0, momentum=momentum, weight_decay=weight_decay, fused=fp16)
    scalers = [torch.amp.GradScaler("cpu") if fp16 else None for _ in range(2)]
    assert (
        optimizer._step_supports_amp_scaling == fp16
    )  # else each step waits until it is known whether gradients overflowed
    for each, some, scaler in ((optimizer, one, scalers[0]), (expected, other, scalers[1])):
        if fp16:
            for p in some:
                each.state[p]["momentum_buffer"] = torch.zeros_like(p)
        updated(each, scaler)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one, parameters(), strict=True))
    if momentum:
        for a, b in zip(one, other, strict=True):
            assert torch.equal(optimizer.state[a]["momentum_buffer"], expected.state[b]["momentum_buffer"])
    if fp16:
        assert scalers[0].state_dict() == scalers[1].state_dict() != torch.amp.GradScaler("cpu").state_dict()
