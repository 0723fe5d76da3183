"""`precision: bf16` is the training's: what analyses it computes in float32 and float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from memloc.stages import STAGES
from tests.stages.conftest import Trained, run

ANALYSES: dict[str, dict[str, Any]] = {
    "gradients": {"at": "checkpoint", "epochs": (1,)},
    "rewind": {"epochs": (0,)},
    "retrain": {"epochs": 1},
    "flips": {"clean": 4, "noisy": 4, "max_neurons": 2, "post_eval": 8},
    "evaluate": {},
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


@pytest.fixture(scope="module")
def bf16() -> tuple[Trained, set[torch.dtype]]:
    with Dtypes() as during:
        trained = run(precision="bf16", subset=60, epochs=1)
    return trained, during.seen


def test_the_training_computes_in_it_and_keeps_float32(bf16: tuple[Trained, set[torch.dtype]]) -> None:
    trained, during = bf16
    assert torch.bfloat16 in during
    state = trained.epochs[-1]
    tensors = [*state.weights.values(), *state.momentum.values(), *state.dynamics.values()]
    assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.float32, torch.float64}


@pytest.mark.parametrize("name", list(ANALYSES))
def test_no_analysis_computes_in_it(name: str, bf16: tuple[Trained, set[torch.dtype]]) -> None:
    trained, stage = bf16[0], STAGES[name]
    config = stage.resolve(stage.config(**ANALYSES[name]), trained.config)
    parts = stage.parts(config, trained.config, trained.size)
    with Dtypes() as during:
        list(stage.run_together(config, trained.inputs(), parts))
    assert {torch.float32} <= during.seen <= {torch.float32, torch.float64}
