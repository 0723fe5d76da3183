"""`precision: bf16` is the training's: what analyses it computes in float32 and float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from memloc.run.worker import set_up_numerics
from memloc.stages import STAGES
from memloc.stages.base import Tables
from tests.numerics import kept_numerics
from tests.stages.conftest import CPU, Trained, run, settings

ANALYSES: dict[str, dict[str, Any]] = {
    "gradients": {"at": "checkpoint", "epochs": (1,)},
    "rewind": {"epochs": (0,)},
    "retrain": {"epochs": 1},
    "flips": {"clean": 4, "noisy": 4, "max_neurons": 2, "post_eval": 8},
    "evaluate": {},
    "depth": {"epochs": (1,)},
    "edit": {"ranks": ("kfac",), "rho": (0.9,), "unedited": (1,)},
    "units": {"copies": 2},
    "locate": {"clean": 1, "noisy": 1, "evaluated": 4, "methods": ("integrated_gradients", "zero_out")},
}


class Dtypes(TorchDispatchMode):
    """The floating-point types that operations give."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.seen |= {t.dtype for t in tree_leaves(out) if isinstance(t, Tensor) and t.is_floating_point()}
        return out


def analysed(name: str, trained: Trained) -> list[Tables]:
    """The tables of all parts of an analysis."""
    stage = STAGES[name]
    config = stage.resolve(stage.config(**ANALYSES[name]), trained.config)
    return list(stage.run_together(config, trained.inputs(), stage.parts(config, trained.config, trained.size)))


@pytest.fixture(scope="module")
def bf16() -> tuple[Trained, set[torch.dtype]]:
    with Dtypes() as during:
        trained = run(precision="bf16", subset=60, epochs=1)
    return trained, during.seen


def test_on_a_cpu_tf32_is_fp32() -> None:
    """Of a training and of its gradients, to the bit. Only a GPU has tf32, and only a GPU is asked for it."""
    one, other = Dtypes(), Dtypes()
    with kept_numerics():
        found = []
        for precision, seen in (("fp32", one), ("tf32", other)):
            set_up_numerics(settings(precision=precision)[0], CPU)
            for backend in (torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv):
                assert backend.fp32_precision in ("none", "ieee")
            with seen:
                trained = run(subset=60, epochs=1, precision=precision)
            found.append((trained.epochs[-1].weights, analysed("gradients", trained)))
    (weights, tables), (weights_tf32, tables_tf32) = found
    assert all(torch.equal(weights[name], weights_tf32[name]) for name in weights)
    assert repr(tables) == repr(tables_tf32)
    assert one.seen == other.seen


def test_the_training_computes_in_it_and_keeps_float32(bf16: tuple[Trained, set[torch.dtype]]) -> None:
    trained, during = bf16
    assert torch.bfloat16 in during
    state = trained.epochs[-1]
    tensors = [*state.weights.values(), *state.momentum.values(), *state.dynamics.values()]
    assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.float32, torch.float64}


@pytest.mark.parametrize("name", list(ANALYSES))
def test_no_analysis_computes_in_it(name: str, bf16: tuple[Trained, set[torch.dtype]]) -> None:
    with Dtypes() as during:
        analysed(name, bf16[0])
    assert {torch.float32} <= during.seen <= {torch.float32, torch.float64}
