"""Gates on weights instead of activations (`flips.ablate: weight`), because the published code sets weights to zero.

A gate is on one filter of a convolution, on one scale or shift of its batch norm, or on one weight of a linear layer. A
filter's gate acts before the batch norm, so closing it leaves the channel at the constant β − γ·μ/σ and not at 0. The
gradient of a gate at 1 is the sum of its weights' gradients times their values: minus the first-order effect of zeroing.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from memloc.models.blocks import ConvBlock
from memloc.models.gates import Gate, Gates, Open, gated
from memloc.models.groups import Network, State
from memloc.models.kept import Masks

KINDS = ("conv", "bn.weight", "bn.bias")  # of a block, in the order of its parameters


@dataclass(frozen=True)
class BlockGates:
    """The gates of one block, G×C each; None: all open."""

    conv: Gate | None
    scale: Gate | None
    shift: Gate | None


class WeightGatedBlock(nn.Module):
    """A ConvBlock in evaluation mode, with the gates before, in and after the affine map of its batch norm."""

    def __init__(self, block: ConvBlock) -> None:
        super().__init__()
        if isinstance(block.bn, nn.Identity):
            raise TypeError("a folded block has no batch norm that gates could act in")
        self.conv, self.bn = block.conv, block.bn

    def forward(self, x: Tensor, gate: BlockGates | None = None) -> Tensor:
        """From B×C_in×H×W to B×C_out×H'×W', after the ReLU; gate: None: all gates are open."""
        bn, y = self.bn, self.conv(x)
        if gate is None:
            return F.relu(bn(y))
        if gate.conv is not None:
            y = gated(y, gate.conv)
        y = F.batch_norm(y, bn.running_mean, bn.running_var, weight=bn.weight, eps=bn.eps)
        if gate.scale is not None:
            y = gated(y, gate.scale)
        if gate.shift is None:
            return F.relu(y + bn.bias[:, None, None])
        shift = (gate.shift.values if isinstance(gate.shift, Open) else gate.shift) * bn.bias
        return F.relu(y + shift.repeat_interleave(len(y) // len(shift), dim=0)[:, :, None, None])


class WeightGated(Network):
    """A copy of a network for evaluation mode whose neurons are weights; without gates it computes the same.

    neurons: `conv1.conv` (filters), `conv1.bn.weight` (scales), `conv1.bn.bias` (shifts), each per channel, …, and `linear`.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.inner = deepcopy(network).eval().requires_grad_(False)
        self.groups, self.sites, self.neurons = network.groups, network.sites, {}
        self.in_pieces = network.in_pieces
        for layer, shape in network.neurons.items():
            block = self.inner.get_submodule(layer)
            if isinstance(block, ConvBlock):
                self.inner.set_submodule(layer, WeightGatedBlock(block))
                self.neurons |= {f"{layer}.{kind}": shape for kind in KINDS}
            else:
                self.neurons[layer] = shape

    def run_group(self, group: str, state: State, gates: Gates | None = None, masks: Masks | None = None) -> State:
        given: dict[str, Any] = {}
        if gates and group in gates:
            given[group] = gates[group]
        elif gates and any(f"{group}.{kind}" in gates for kind in KINDS):
            given[group] = BlockGates(*(gates.get(f"{group}.{kind}") for kind in KINDS))
        return self.inner.run_group(group, state, given, masks)

    def modules_of(self, group: str) -> Sequence[nn.Module]:
        return self.inner.modules_of(group)

    def outputs(self, x: Tensor, masks: Masks | None = None) -> dict[str, Tensor]:
        """Nothing: a block's output is not enough for the gradients of its three kinds of gates."""
        return {}
