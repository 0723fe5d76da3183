"""The parts of networks: convolutions and linear layers with gates, factors at dropout sites, initial values."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from memloc.models.gates import Gate, Open, gated, gated_linear, replayed
from memloc.models.kept import Masks, times


def uniform(shape: torch.Size, fan_in: int, generator: torch.Generator) -> Tensor:
    """U(−1/√fan_in, 1/√fan_in), float32: PyTorch's default for weights and biases of convolutions and linear layers."""
    bound = fan_in**-0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def masked(x: Tensor, site: str, masks: Masks | None) -> Tensor:
    """x (B×C×H×W, float32) times the factor of a dropout site, if there is one."""
    return x if masks is None or site not in masks else times(x, masks[site])


def masked_tokens(x: Tensor, site: str, masks: Masks | None) -> Tensor:
    """The same for tokens, float32 B×N×C, whose factor broadcasts against B×C×N×1."""
    return x if masks is None or site not in masks else times(x, masks[site], _of_tokens)


def _of_tokens(factor: Tensor) -> Tensor:
    return factor.flatten(2).transpose(1, 2)


class ConvBlock(nn.Module):
    """Convolution, batch norm, ReLU (unless `relu` is false), then the gate: a neuron is an output channel of this block.

    From float32 B×C_in×H×W to B×C_out×H'×W'; gate: float32 G×C_out, G a divisor of B.
    """

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, padding: int = 0, relu: bool = True
    ) -> None:
        super().__init__()
        self.relu = relu
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, bias=False)
        self.bn: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(channels_out)

    @torch.no_grad()
    def fold(self) -> None:
        """Folds the batch norm's running statistics into the convolution. From then on the block is for evaluation."""
        bn, weight = self.bn, self.conv.weight
        if not isinstance(bn, nn.BatchNorm2d):
            raise TypeError("only a batch norm with running statistics can be folded, and only once")
        scale = bn.weight.double() / (bn.get_buffer("running_var").double() + bn.eps).sqrt()
        bias = bn.bias.double() - bn.get_buffer("running_mean").double() * scale
        weight.copy_(weight.double() * scale[:, None, None, None])
        self.conv.bias = nn.Parameter(bias.to(weight), requires_grad=False)
        self.bn = nn.Identity()

    def forward(self, x: Tensor, gate: Gate | None = None) -> Tensor:
        """relu(bn(conv(x))), times the gate if there is one; without the ReLU unless `relu`.

        Raises:
            ValueError: an `Open` gate with a known output on a block whose batch norm is not folded.
        """
        if isinstance(gate, Open) and gate.output is not None:
            if not isinstance(self.bn, nn.Identity):
                raise ValueError("known outputs are those of a folded network")
            return replayed(self.conv, x, gate, self.relu)
        y = self.bn(self.conv(x))
        if self.relu:
            y = F.relu(y, inplace=True)
        return y if gate is None else gated(y, gate)


class GatedLinear(nn.Linear):
    """A linear layer in which every weight is a neuron; a bias is none.

    From float32 B×in to B×out; gate: float32 G×out×in, G a divisor of B.
    """

    def __init__(self, features_in: int, features_out: int, bias: bool = False) -> None:
        super().__init__(features_in, features_out, bias)

    def forward(self, x: Tensor, gate: Gate | None = None) -> Tensor:
        """x·(gate·weight)ᵀ + bias; without a gate x·weightᵀ + bias."""
        if gate is None:
            return F.linear(x, self.weight, self.bias)
        y = gated_linear(x, self.weight, gate)
        return y if self.bias is None else y + self.bias
