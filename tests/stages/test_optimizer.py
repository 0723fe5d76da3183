"""The updates are those of torch.optim.SGD and torch.optim.AdamW, bit for bit; a training by AdamW can be gone on with."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from memloc.errors import UsageError
from memloc.models.architectures import TRAINING, resolved
from memloc.stages.retrain.config import Retrain, RetrainConfig
from memloc.stages.training.loop import train
from memloc.stages.training.optimizer import SGD, AdamW, Optimizer
from tests.stages.conftest import CPU, settings


def parameters() -> list[Tensor]:
    draw = torch.Generator().manual_seed(5)
    return [torch.randn(n, generator=draw).requires_grad_() for n in (3, 7, 2)]


def updated(optimizer: Optimizer | torch.optim.Optimizer, scaler: torch.amp.GradScaler | None) -> None:
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


@pytest.mark.parametrize("fp16", [False, True])
def test_updates_of_adamw_are_torchs(fp16: bool) -> None:
    """From a saved state too: the second half of the updates by another optimizer, which has taken over the state."""
    one, other = parameters(), parameters()
    kind = {"fused": True} if fp16 else {"foreach": True}
    expected = torch.optim.AdamW(other, lr=1.0, betas=(0.8, 0.999), weight_decay=0.02, **kind)  # type: ignore[arg-type]
    optimizer = AdamW(one, lr=1.0, momentum=0.8, weight_decay=0.02, fused=fp16)
    if fp16:
        optimizer.prepare()
    scalers = [torch.amp.GradScaler("cpu") if fp16 else None for _ in range(2)]
    updated(optimizer, scalers[0])
    named = [(f"p{k}", p) for k, p in enumerate(one)]
    saved = {name: tensor.clone() for name, tensor in optimizer.tensors(named).items()}
    assert set(saved) == {f"p{k}{suffix}" for k in range(3) for suffix in ("", "#square", "#step")}
    again = AdamW(one, lr=1.0, momentum=0.8, weight_decay=0.02, fused=fp16)
    again.load(named, saved)
    updated(again, scalers[0])
    for _ in range(2):
        updated(expected, scalers[1])
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(one, parameters(), strict=True))


def test_a_training_by_adamw_goes_on_to_the_last_bit() -> None:
    config, data = settings(optimizer="adamw", subset=40, noise=0.2, epochs=3, batch_size=16, width=0.0625)
    whole = list(train(config, data, CPU))
    *_, last = train(config, data, CPU, after=whole[1])
    assert last.weights.keys() == whole[3].weights.keys()
    assert all(torch.equal(tensor, whole[3].weights[name]) for name, tensor in last.weights.items())
    assert all(torch.equal(tensor, whole[3].momentum[name]) for name, tensor in last.momentum.items())
    other, _ = settings(subset=40, noise=0.2, epochs=3, batch_size=16, width=0.0625, lr=0.001)
    *_, by_sgd = train(other, data, CPU)
    assert not all(torch.equal(tensor, whole[3].weights[name]) for name, tensor in by_sgd.weights.items())


def test_defaults_by_optimizer() -> None:
    given = {"dataset": "digits", "model": "resnet9"}
    adamw = resolved(**given, optimizer="adamw")
    assert (adamw.lr, adamw.weight_decay) == (0.001, 0.01)
    assert resolved(**given, optimizer="adamw", lr=0.1).lr == 0.1
    assert (resolved(**given).lr, resolved(**given).weight_decay) == (0.1, 5e-4)
    assert TRAINING.default("lr", {"optimizer": "adamw"}) == 0.001
    assert Retrain().resolve(RetrainConfig(), adamw).lr == 0.001
    assert Retrain().resolve(RetrainConfig(lr=0.1), adamw).lr == 0.1
    assert Retrain().resolve(RetrainConfig(), resolved(**given)).lr == 0.1
    with pytest.raises(UsageError, match=r"optimizer: 'adam' is not valid; valid: sgd, adamw \(did you mean 'adamw'"):
        resolved(**given, optimizer="adam")
