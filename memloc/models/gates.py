"""Gates on neurons: what closing one does in the forward pass, and the gradient of every gate in the backward pass.

A gate is a factor. It is 1 if its neuron is open. Images come in runs that share gates: N images under G rows of gates are G
runs of N/G images. In the search for neurons nearly all gates are 1, and only their gradients are wanted. Then the forward
pass is that of the network without gates (`Open`), and a known output of a block is not computed again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn


@dataclass(frozen=True)
class Open:
    """Gates that are all 1. Only their gradient is wanted.

    values: G×shape of the layer's gate. output: the block's output for the images of a run (m×C×H×W), the same in every run,
    if it is known.
    """

    values: Tensor
    output: Tensor | None = None


@dataclass(frozen=True)
class Watched(Open):
    """Open gates that note how active their neurons are. seen: the mean |activation| of each image and neuron, B×C."""

    seen: list[Tensor] = field(default_factory=list)

    def note(self, activation: Tensor, axis: int) -> None:
        """Notes what comes by; activation: B×…, its channels along `axis`."""
        others = [k for k in range(1, activation.ndim) if k != axis % activation.ndim]
        size = activation.abs()
        self.seen.append(size.mean(dim=others) if others else size)


Gate: TypeAlias = Tensor | Open
Gates: TypeAlias = Mapping[str, Gate]  # {layer: G×channels (units, heads), G×out×in for the classifier's weights}


def gated(activation: Float[Tensor, " n *shape"], gate: Gate, axis: int = 1) -> Float[Tensor, " n *shape"]:
    """activation·gate per image and channel; activation: N×…, its channels along `axis` (N×C×H×W: 1); gate: G×C."""
    if isinstance(gate, Watched):
        gate.note(activation, axis)
        return activation
    values, is_open = (gate.values, True) if isinstance(gate, Open) else (gate, False)
    return _Gated.apply(activation, values, is_open, axis % activation.ndim)  # type: ignore[no-any-return]


def gated_heads(x: Float[Tensor, " n *shape"], gate: Gate) -> Float[Tensor, " n *shape"]:
    """x (N×…×(heads·d), head after head) with each head times its gate; gate: G×heads."""
    heads = (gate.values if isinstance(gate, Open) else gate).shape[1]
    return gated(x.reshape(*x.shape[:-1], heads, -1), gate, -2).flatten(-2)


def replayed(conv: nn.Conv2d, x: Float[Tensor, "n c h w"], gate: Open, relu: bool = True) -> Float[Tensor, "n out h2 w2"]:
    """relu(conv(x)) if it is known: G runs of `gate.output`. x and the gates get the gradients of a computed output.

    conv: its parameters are frozen.
    """
    return _Replayed.apply(x, gate.values, conv, gate.output, relu)  # type: ignore[no-any-return]


def gated_linear(x: Float[Tensor, "n inputs"], weight: Float[Tensor, "out inputs"], gate: Gate) -> Float[Tensor, "n out"]:
    """x·(gate·weight)ᵀ, N×out of N×in; gate: G×out×in."""
    values = gate.values if isinstance(gate, Open) else gate
    # Not einsum: the order of its operations depends on the installed libraries.
    runs = split_runs(x, len(values))
    return torch.matmul(runs, (values * weight).transpose(1, 2)).flatten(0, 1)


def split_runs(x: Shaped[Tensor, " n *shape"], runs: int) -> Shaped[Tensor, "{runs} m *shape"]:
    """N×… as runs×(N/runs)×…, without a copy."""
    return x.view(runs, len(x) // runs, *x.shape[1:])


def repeated(x: Float[Tensor, "m c h w"], runs: int) -> Float[Tensor, "{runs}*m c h w"]:
    """x (m×C×H×W) repeated `runs` times, channels last in memory."""
    out = torch.empty((runs * len(x), *x.shape[1:]), dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
    split_runs(out, runs).copy_(x)
    return out


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activation: Tensor, gate: Tensor, is_open: bool, axis: int) -> Tensor:
        ctx.is_open, ctx.axis = is_open, axis
        ctx.save_for_backward(activation, gate)
        return activation if is_open else _times(activation, gate, axis)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        activation, gate = ctx.saved_tensors
        of_gate = _over_runs(gradient * activation, len(gate), ctx.axis) if ctx.needs_input_grad[1] else None
        of_activation = None
        if ctx.needs_input_grad[0]:
            of_activation = gradient if ctx.is_open else _times(gradient, gate, ctx.axis)
        return of_activation, of_gate, None, None


class _Replayed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gate: Tensor, conv: nn.Conv2d, output: Tensor, relu: bool) -> Tensor:
        ctx.conv, ctx.shape, ctx.relu = conv, x.shape, relu
        ctx.save_for_backward(output, gate)
        return repeated(output, len(gate))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        output, gate = ctx.saved_tensors
        runs = split_runs(gradient, len(gate))
        before = torch.ops.aten.threshold_backward(runs, output[None], 0) if ctx.relu else runs
        of_gate = (before * output).sum(dim=(1, 3, 4)) if ctx.needs_input_grad[1] else None
        of_x = _gradient_of_input(ctx.conv, ctx.shape, before.flatten(0, 1)) if ctx.needs_input_grad[0] else None
        return of_x, of_gate, None, None, None


def _gradient_of_input(conv: nn.Conv2d, shape: torch.Size, gradient: Tensor) -> Tensor:
    # Only the input's shape and layout are looked at.
    x = torch.empty(shape, dtype=gradient.dtype, device=gradient.device, memory_format=torch.channels_last)
    of_x: Tensor = torch.ops.aten.convolution_backward(
        gradient, x, conv.weight, None, conv.stride, conv.padding, conv.dilation, False, [0, 0], conv.groups,
        [True, False, False],
    )[0]  # fmt: skip
    return of_x


def _times(x: Tensor, gate: Tensor, axis: int) -> Tensor:
    """x (N×…, C along `axis`) times the gates (G×C) of each run."""
    shape = [-1 if k == axis else 1 for k in range(1, x.ndim)]
    if len(gate) in (1, len(x)):
        return x * gate.reshape(len(gate), *shape)
    return (split_runs(x, len(gate)) * gate.reshape(len(gate), 1, *shape)).flatten(0, 1)


def _over_runs(x: Tensor, runs: int, axis: int) -> Tensor:
    """Sums of x (N×…, C along `axis`) over everything but channels and runs, G×C."""
    return split_runs(x, runs).sum(dim=[1, *(k + 1 for k in range(1, x.ndim) if k != axis)])
