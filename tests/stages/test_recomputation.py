"""Activation checkpointing: the same bits with less memory, in whatever runs a backward pass."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from memloc.config import TrainConfig
from memloc.data import Data
from memloc.models import recomputation
from memloc.models.recomputation import is_recomputing, recomputed, recomputing
from memloc.stages.base import Tables
from memloc.stages.gradients.config import Gradients, GradientsConfig
from memloc.stages.retrain.config import Retrain, RetrainConfig
from memloc.stages.second_split.config import SecondSplit, SecondSplitConfig
from memloc.stages.training.loop import Training
from tests.stages.conftest import CPU, DROPOUTS, Trained, run_once, settings
from tests.stages.test_architectures import MODELS, given, narrow

__all__ = ["narrow"]
RANDOM = DROPOUTS["standard element"]
NETWORKS = {"resnet9": {}, **MODELS}


@pytest.fixture
def computed_again(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows with every piece that is computed again."""
    pieces: list[bool] = []
    enter = recomputation._Buffers.__enter__
    monkeypatch.setattr(recomputation._Buffers, "__enter__", lambda self: pieces.append(True) or enter(self))
    return pieces


def config_of(name: str, **more: Any) -> tuple[TrainConfig, Data]:
    return settings(subset=20, batch_size=10, **more) if name == "resnet9" else given(name, **more)


def bits(tensors: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: t.detach().numpy().tobytes() for name, t in tensors.items()}


# --- the same bits ----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_has_the_same_bits(name: str, computed_again: list[bool]) -> None:
    """Weights, running statistics, the number of their batches, momentum, logits; under masks of its own and random ones."""

    def trained(on: bool) -> tuple[dict[str, bytes], ...]:
        training = Training(*config_of(name, **RANDOM), CPU)
        with recomputing(on):
            seen = [training.pass_over(epoch)[1] for epoch in (1, 2)]
        momentum = training.optimizer.tensors(training.network.named_parameters())
        gradients = {n: p.grad for n, p in training.network.named_parameters() if p.grad is not None}
        logits = {str(k): z for k, z in enumerate(seen)}
        return tuple(bits(t) for t in (dict(training.network.state_dict()), momentum, gradients, logits))

    plain = trained(False)
    assert not computed_again
    assert trained(True) == plain
    assert len(computed_again) >= 4 * 3  # four steps of at least three pieces


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_it_is_computed_again_in_the_same_precision(precision: str) -> None:
    def trained(on: bool) -> dict[str, bytes]:
        training = Training(*settings(precision=precision, subset=40, batch_size=20, **RANDOM), CPU)
        with recomputing(on):
            training.pass_over(1)
        return bits(dict(training.network.state_dict()))

    assert trained(True) == trained(False)


@pytest.mark.slow
def test_a_compiled_step_is_not_computed_again(computed_again: list[bool]) -> None:
    """The compiler decides what it keeps. Its program is that of the configuration."""

    def trained(on: bool) -> dict[str, bytes]:
        training = Training(*settings(compile=True, subset=20, batch_size=10), CPU)
        with recomputing(on):
            training.pass_over(1)
        return bits(dict(training.network.state_dict()))

    assert trained(True) == trained(False)
    assert not computed_again


def gradients(at: str, bn: str | None = None) -> Callable[[Trained], Tables]:
    def run(trained: Trained) -> Tables:
        config = Gradients().resolve(GradientsConfig(at=at, bn=bn), trained.config)
        return Gradients().run(config, trained.inputs(states=[1]), {"epoch": 2})

    return run


def retrained(**fields: Any) -> Callable[[Trained], Tables]:
    def run(trained: Trained) -> Tables:
        config = Retrain().resolve(RetrainConfig(epochs=2, **fields), trained.config)
        parts = [{"layer": layer} for layer in ("res1.conv2", "linear")]
        tables = Retrain().run_together(config, trained.inputs(), parts)
        return {str(k): of_part["retrain"] for k, of_part in enumerate(tables)}

    return run


def second_split(trained: Trained) -> Tables:
    return SecondSplit().run(SecondSplit().resolve(SecondSplitConfig(), trained.config), trained.inputs(), {"half": 1})


STAGES = {
    "gradients along": gradients("trajectory"),
    "gradients, batch": gradients("checkpoint", "batch"),
    "gradients, running": gradients("checkpoint", "running"),
    "retrain": retrained(),
    "retrain everything": retrained(freeze="none"),
    "second split": second_split,
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_the_same_rows(stage: str, computed_again: list[bool]) -> None:
    trained = run_once(epochs=2, **RANDOM)
    plain = STAGES[stage](trained)
    assert not computed_again
    with recomputing():
        again = STAGES[stage](trained)
    assert computed_again
    for table, columns in plain.items():
        for name, values in columns.items():
            assert np.array_equal(values, again[table][name]), (table, name)


# --- less memory ------------------------------------------------------------------------------------------------------


def kept_bytes(run: Callable[[], object]) -> int:
    """What autograd keeps meanwhile."""
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
    assert result is not None
    return sum(s.nbytes() for s in storages.values())


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("name", NETWORKS)
def test_the_forward_pass_keeps_less(name: str) -> None:
    """Not counted: parameters, which are there anyway."""
    config, data = config_of(name)
    training = Training(config, data, CPU)
    x = training.on_device.batch(torch.arange(10))

    def kept(on: bool) -> int:
        def forward() -> Tensor:
            with recomputing(on):
                return training.network(x)

        return kept_bytes(forward)

    parameters = sum(p.nbytes for p in training.network.parameters())
    assert kept(True) < 0.5 * max(kept(False) - parameters, 1)


# --- when it is on ----------------------------------------------------------------------------------------------------


def test_it_is_off_unless_asked_for_and_without_gradients() -> None:
    assert not is_recomputing()
    with recomputing():
        assert is_recomputing()
        with recomputing(False):
            assert not is_recomputing()
        with torch.no_grad():
            assert not is_recomputing()
    assert not is_recomputing()


def test_a_generator_may_be_closed_in_another_context() -> None:
    def generator() -> Iterator[bool]:
        with recomputing():
            yield is_recomputing()

    parts = generator()
    assert contextvars.Context().run(next, parts)
    parts.close()
    assert not is_recomputing()


class Wandering(nn.Module):
    """A module whose outputs depend on a buffer that every forward pass in train mode changes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.3, -1.2]))
        self.register_buffer("passes", torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        passes = self.get_buffer("passes").clone()
        if self.training:
            self.get_buffer("passes").mul_(1.5)
        return torch.sin(x * self.weight * passes)  # after the change: a recomputation ends with what is needed last


def test_the_second_run_finds_the_buffers_of_the_first() -> None:
    """Each backward pass of one graph does, and what it writes is thrown away."""
    x = torch.tensor([[1.0, 2.0], [3.0, -4.0]])

    def gradients_of(on: bool) -> tuple[list[list[float]], float]:
        module = Wandering()
        with recomputing(on):
            y = recomputed(module, (recomputed(module, (x,), [module]),), [module])
        found = [torch.autograd.grad(y[k].sum(), module.weight, retain_graph=k == 0)[0].tolist() for k in range(2)]
        return found, float(module.get_buffer("passes"))

    assert gradients_of(True) == gradients_of(False)
    assert gradients_of(True)[1] == 2.25
