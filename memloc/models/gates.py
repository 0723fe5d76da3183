"""Gates on neurons: what closing one does in the forward pass, and the gradient of every gate in the backward pass.

A gate is a factor, 1 where its neuron is open. Images come in runs that share gates: N images under G rows of gates are G
runs of N/G images. In the search for neurons nearly all gates are 1, and only their gradients are wanted: then the forward
pass is that of the network without gates (`Open`), and where a block's output is known it is not computed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Open:
    """Gates that are all 1 and wanted for their gradient alone.

    values: G×shape of the layer's gate. output: what the block gives for the images of a run (m×C×H×W), the same in every
    run, if known.
    """

    values: Tensor
    output: Tensor | None = None


Gate: TypeAlias = Tensor | Open
Gates: TypeAlias = Mapping[str, Gate]  # {layer: G×channels for a convolution, G×out×in for a linear layer}


def gated(activation: Tensor, gate: Gate) -> Tensor:
    """activation·gate per image and channel, of N×C×H×W; gate: G×C."""
    values, is_open = (gate.values, True) if isinstance(gate, Open) else (gate, False)
    return _Gated.apply(activation, values, is_open)  # type: ignore[no-any-return]


def replayed(conv: nn.Conv2d, x: Tensor, gate: Open) -> Tensor:
    """relu(conv(x)) where it is known: G runs of `gate.output`. Gradients of x and of the gates, as if computed.

    conv: with frozen parameters.
    """
    return _Replayed.apply(x, gate.values, conv, gate.output)  # type: ignore[no-any-return]


def gated_linear(x: Tensor, weight: Tensor, gate: Gate) -> Tensor:
    """x·(gate·weight)ᵀ, N×out of N×in; gate: G×out×in."""
    values = gate.values if isinstance(gate, Open) else gate
    # Not einsum: the order of its operations depends on what is installed.
    runs = split_runs(x, len(values))
    return torch.matmul(runs, (values * weight).transpose(1, 2)).flatten(0, 1)


def split_runs(x: Tensor, runs: int) -> Tensor:
    """N×… as runs×(N/runs)×…, without a copy."""
    return x.view(runs, len(x) // runs, *x.shape[1:])


def repeated(x: Tensor, runs: int) -> Tensor:
    """m×C×H×W, `runs` times one after the other, channels last in memory."""
    out = torch.empty((runs * len(x), *x.shape[1:]), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    split_runs(out, runs).copy_(x)
    return out


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activation: Tensor, gate: Tensor, is_open: bool) -> Tensor:
        ctx.is_open = is_open
        ctx.save_for_backward(activation, gate)
        return activation if is_open else _times(activation, gate)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        activation, gate = ctx.saved_tensors
        of_gate = _over_runs(gradient * activation, len(gate)) if ctx.needs_input_grad[1] else None
        of_activation = None
        if ctx.needs_input_grad[0]:
            of_activation = gradient if ctx.is_open else _times(gradient, gate)
        return of_activation, of_gate, None


class _Replayed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, conv: nn.Conv2d, output: Tensor) -> Tensor:
        ctx.conv, ctx.shape = conv, x.shape
        ctx.save_for_backward(output, gate)
        return repeated(output, len(gate))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        output, gate = ctx.saved_tensors
        runs = split_runs(gradient, len(gate))
        before = torch.ops.aten.threshold_backward(runs, output[None], 0)
        of_gate = (before * output).sum(dim=(1, 3, 4)) if ctx.needs_input_grad[1] else None
        of_x = _gradient_of_input(ctx.conv, ctx.shape, before.flatten(0, 1)) if ctx.needs_input_grad[0] else None
        return of_x, of_gate, None, None


def _gradient_of_input(conv: nn.Conv2d, shape: torch.Size, gradient: Tensor) -> Tensor:
    # Only the input's shape and layout are looked at.
    x = torch.empty(shape, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last)
    of_x: Tensor = torch.ops.aten.convolution_backward(
        gradient, x, conv.weight, None, conv.stride, conv.padding, conv.dilation, False, [0, 0], conv.groups,
        [True, False, False],
    )[0]  # fmt: skip
    return of_x


def _times(x: Tensor, gate: Tensor) -> Tensor:
    """x (N×C×H×W) times the gates (G×C) of each run."""
    if len(gate) in (1, len(x)):
        return x * gate[:, :, None, None]
    return (split_runs(x, len(gate)) * gate[:, None, :, None, None]).flatten(0, 1)


def _over_runs(x: Tensor, runs: int) -> Tensor:
    """Sums of x (N×C×H×W) over the pixels and the images of each run, G×C."""
    return split_runs(x, runs).sum(dim=(1, 3, 4))
