"""No stage and no network of memloc uses an operation that has no deterministic algorithm on a GPU.

There such an operation is an error, in every training. A CPU has a deterministic algorithm for most of them, so it is their
names that count. Networks of timm and of one's own are tried on the GPU itself (run/trial_step.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from memloc.stages import STAGES
from memloc.stages.training.loop import Training
from tests.stages.conftest import CPU, DROPOUTS, Trained, run, settings
from tests.stages.test_precision import ANALYSES, analysed

# What torch.use_deterministic_algorithms says of 2.14, by the operators' names. Of `median`, `bincount` and `scatter_reduce`
# only some forms are refused; memloc uses none of them on tensors of a device.
REFUSED = {
    "avg_pool3d_backward", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "adaptive_max_pool2d_backward",
    "adaptive_max_pool3d_backward", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward", "max_unpool2d",
    "max_unpool3d", "upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward",
    "upsample_trilinear3d_backward", "_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward",
    "reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward", "nll_loss2d_forward",
    "nll_loss2d_backward", "_ctc_loss_backward", "_embedding_bag_backward", "_embedding_bag_dense_backward", "put_", "histc",
    "bincount", "median", "nanmedian", "grid_sampler_2d_backward", "grid_sampler_3d_backward", "scatter_reduce",
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "resnet9": {"model": "resnet9", "augment": "crop_flip"},
    "resnet50": {"model": "resnet50", "stem": "imagenet"},
    "vit_small": {"model": "vit_small"},
    "vit_small shifted": {"model": "vit_small", "tokens": "shifted"},
}


class Operators(TorchDispatchMode):
    """The names of the operators that run meanwhile, backward too."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._can_decompose():  # as inference mode gives them
            with self:
                return func.decompose(*args, **(kwargs or {}))
        self.seen.add(func._overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def operators(work: Callable[[], Any]) -> set[str]:
    with Operators() as running:
        work()
    return running.seen


def test_backward_operators_are_seen() -> None:
    """The tests below are able to fail."""
    x = torch.ones(1, 1, 4, 4, requires_grad=True)
    seen = operators(lambda: F.adaptive_avg_pool2d(F.interpolate(x, scale_factor=2, mode="bilinear"), 2).sum().backward())
    assert seen & REFUSED == {"upsample_bilinear2d_backward", "_adaptive_avg_pool2d_backward"}
    with torch.inference_mode():
        assert "bincount" in operators(lambda: torch.bincount(torch.arange(3)))


def epoch(**fields: Any) -> set[str]:
    config, data = settings(subset=16, batch_size=16, **fields)
    return operators(lambda: Training(config, data, CPU).train_epoch(1))


@pytest.mark.parametrize("name", list(MODELS))
def test_a_training(name: str) -> None:
    seen = epoch(width=None, **MODELS[name])
    assert {"nll_loss_backward", "_foreach_add_"} <= seen  # backward, and the update
    assert not seen & REFUSED


@pytest.mark.parametrize("kind", list(DROPOUTS))
def test_a_dropout(kind: str) -> None:
    assert not epoch(**DROPOUTS[kind]) & REFUSED


@pytest.fixture(scope="module")
def trained() -> Trained:
    return run(subset=60, epochs=1)


@pytest.mark.parametrize("name", list(ANALYSES))
def test_an_analysis(name: str, trained: Trained) -> None:
    """The other stages train, or read tables alone."""
    seen = operators(lambda: analysed(name, trained))
    assert "convolution" in seen
    assert not seen & REFUSED


def test_every_stage_is_tried_or_has_no_operation_of_its_own() -> None:
    assert set(STAGES) - set(ANALYSES) == {"second_split", "held_out", "detection", "inject"}
