"""The forward pass of a training step: the network as it is, or compiled for this device (`compile: true`)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.config import TrainConfig
from memloc.errors import UsageError
from memloc.models.groups import Network
from memloc.models.kept import Masks, floats
from memloc.models.recomputation import recomputing

# (images B×C×H×W float32, labels int64 [B], dropout factors) -> (logits B×K, their mean loss)
Forward: TypeAlias = Callable[[Tensor, Tensor, Masks | None], tuple[Tensor, Tensor]]


def forward_pass(config: TrainConfig, network: Network, device: torch.device) -> Forward:
    """The forward pass of `network`. Compiling does not change its parameters or their names.

    Raises:
        UsageError: it is to be compiled, and there is no compiler.
    """

    def forward(x: Tensor, y: Tensor, masks: Masks | None) -> tuple[Tensor, Tensor]:
        z = network(x, masks=masks)
        return z, F.cross_entropy(z, y)

    if not config.compile:
        return forward
    if device.type == "cpu":
        require_compiler()
    # The program must follow from the configuration alone, so that a resumed or replayed training has the same bits. So
    # there is one program per batch size (a program for any size would serve whatever came after it), nothing of an earlier
    # training in this process, no operation left out (fullgraph), and on a GPU no kernel chosen by timing.
    torch.compiler.reset()
    known = torch._inductor.list_options()
    options: dict[str, str | int | bool | Callable[..., object]] = {"deterministic": True}
    program = torch.compile(
        forward, fullgraph=True, dynamic=False, options={k: v for k, v in options.items() if k in known}
    )  # fmt: skip

    def compiled(x: Tensor, y: Tensor, masks: Masks | None) -> tuple[Tensor, Tensor]:
        with recomputing(False):  # the compiler itself decides what it computes again
            return program(x, y, floats(masks))

    return compiled


def require_compiler() -> None:
    """Raises UsageError if there is no C++ compiler. Compiling for a CPU needs one."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler.split()[0]) is None:
        raise UsageError(
            f"compile: true needs a C++ compiler on a CPU, and there is no {compiler} here: install it, or name another "
            "in the environment variable CXX, or leave compile out"
        )
