"""`compile: true`: the same training but for rounding, to the same bits whenever it is done again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from memloc.config import canonical, fingerprint
from memloc.errors import UsageError
from memloc.models.architectures import TRAINING, resolved
from memloc.models.build import build
from memloc.stages.training.forward import forward_pass
from memloc.stages.training.loop import train
from tests.run.programs import memloc
from tests.stages.conftest import BASE, CPU, DROPOUTS, Trained, run, settings


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """torch.compile without the code: what is traced runs operation by operation. The settings of every call."""
    calls: list[dict[str, Any]] = []
    original = torch.compile

    def without_code(function: Callable[..., Any], options: Any = None, **kwargs: Any) -> Callable[..., Any]:
        calls.append({"options": options, **kwargs})
        return original(function, backend="eager", **kwargs)

    monkeypatch.setattr(torch, "compile", without_code)
    return calls


def assert_same(one: Trained, other: Trained) -> None:
    assert [e.row for e in one.epochs] == [e.row for e in other.epochs]
    for mine, theirs in zip(one.epochs, other.epochs, strict=True):
        assert list(mine.weights) == list(theirs.weights)
        assert all(torch.equal(mine.weights[k], theirs.weights[k]) for k in mine.weights)


@pytest.mark.parametrize("name", list(DROPOUTS))
def test_every_dropouts_step_can_be_compiled_as_a_whole(name: str, traced: list[dict[str, Any]]) -> None:
    """And is the same step, under the same names; with two batch sizes where the factors have other shapes than before."""
    subset = 72 if name in ("none", "tied", "standard element") else 64
    fields = {**DROPOUTS[name], "subset": subset, "epochs": 2, "augment": "crop"}
    assert_same(run(**fields, compile=True), run(**fields))
    (call,) = traced
    assert (call["fullgraph"], call["dynamic"]) == (True, False)


@pytest.mark.parametrize("stochastic", ["off", "on"])
def test_frozen_statistics_reach_what_is_compiled(stochastic: str, traced: list[dict[str, Any]]) -> None:
    """The step of epoch 1 and that of the epochs after it are two programs; one that goes on needs the second alone."""
    fields = {**DROPOUTS["standard element"], "subset": 64, "batch_norm": "frozen", "stochastic": stochastic}
    compiled = run(**fields, compile=True)
    assert_same(compiled, run(**fields))
    rest = list(train(compiled.config, compiled.data, CPU, after=compiled.epochs[1]))
    for again, once in zip(rest, compiled.epochs[2:], strict=True):
        assert all(torch.equal(again.weights[k], once.weights[k]) for k in once.weights)


def test_autocast_reaches_what_is_compiled(traced: list[dict[str, Any]]) -> None:
    fields = {"subset": 64, "epochs": 1, "precision": "bf16"}
    compiled = run(**fields, compile=True)
    assert_same(compiled, run(**fields))
    fp32 = run(subset=64, epochs=1)
    assert not torch.equal(compiled.epochs[1].weights["conv2.conv.weight"], fp32.epochs[1].weights["conv2.conv.weight"])


@pytest.mark.slow  # a minute or two, the first time
def test_compiled_agrees_with_eager_and_goes_on_to_the_bit() -> None:
    fields = {"subset": 72, "epochs": 3, "compile": True}  # batches of 32 and of 8
    plain, compiled = run(**{**fields, "compile": False}), run(**fields)
    assert list(compiled.epochs[-1].weights) == list(plain.epochs[-1].weights)
    for mine, theirs in zip(compiled.epochs[:2], plain.epochs[:2], strict=True):
        for name, tensor in mine.weights.items():
            torch.testing.assert_close(tensor, theirs.weights[name], rtol=1e-2, atol=1e-3)
    rest = list(train(compiled.config, compiled.data, CPU, after=compiled.epochs[1]))
    for again, once in zip(rest, compiled.epochs[2:], strict=True):
        assert again.row == once.row
        assert all(torch.equal(again.weights[k], once.weights[k]) for k in once.weights)


def test_identity() -> None:
    """Whether it is compiled enters, since it rounds differently; that it is not compiled is nothing new."""
    plain, no, yes = resolved(**BASE), resolved(**BASE, compile=False), resolved(**BASE, compile=True)
    assert plain == no
    assert "compile" not in canonical(plain)
    assert len({fingerprint(c) for c in (plain, no, yes)}) == 2
    assert TRAINING.check("compile", "yes")[1] == "'yes' is not valid; valid: true or false (write true)"


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    config, data = settings(compile=True)
    network = build(config, data.shape, data.classes)
    with pytest.raises(UsageError, match="there is no no-such-compiler -O2 here: install it"):
        forward_pass(config, network, CPU)
    assert forward_pass(config.model_copy(update={"compile": False}), network, CPU)  # nobody needs one then


def test_a_sweep_without_a_compiler_says_so_before_it_starts(tmp_path: Path) -> None:
    store = tmp_path / "store"
    compiled = ("sweep", "smoke", "compile=true", "gradients.at=checkpoint")
    done = memloc(tmp_path, *compiled, "--store", str(store), "--executor", "inline", CXX="no-such-compiler")
    assert done.code == 2
    (line,) = done.err.strip().splitlines()
    assert "compile: true needs a C++ compiler on a CPU, and there is no no-such-compiler here" in line
    assert not (store / "sweeps").exists()
