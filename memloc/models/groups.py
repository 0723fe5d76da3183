"""The interface of all architectures: a chain of layer groups, gates on their neurons, and dropout sites.

The forward pass is a chain over `groups`, in order. A `State` is passed from group to group. It holds everything that the
rest of the network needs (the activations, and an open residual branch if there is one). So a stage can run one group with
other weights, or start in the middle, without knowing the architecture.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from copy import deepcopy
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from memloc.models.batch_norm import BatchStatistics
from memloc.models.blocks import ConvBlock, uniform
from memloc.models.gates import Gates
from memloc.models.kept import Masks
from memloc.models.recomputation import is_recomputing, recomputed
from memloc.seeds import torch_seed

State: TypeAlias = tuple[Tensor, ...]


class Network(nn.Module, ABC):
    """A classifier as a chain of named layer groups.

    groups: the groups in forward order; a group's name is the prefix of the names of all its parameters and buffers.
    sites: {dropout site: (C, H, W) of the activations there; of N tokens (C, N, 1)}, in forward order.
    neurons: {layer: shape of one example's gate}, in layer order; see science.md, Neuron flipping.
    in_pieces: the groups whose `run_group` hands its own pieces to `recomputed`. Each of the others is one piece.
    """

    groups: tuple[str, ...]
    sites: dict[str, tuple[int, int, int]]
    neurons: dict[str, tuple[int, ...]]
    in_pieces: Collection[str] = ()

    def stochastic(self) -> dict[str, tuple[tuple[int, ...], float]]:
        """{site: (shape of one example's factor, rate)} of the dropouts that are part of the architecture.

        They are factors like all others. Training steps pass them in (`models/dropouts.OwnDropouts`). Without them the
        network runs without these dropouts.
        """
        return {}

    @abstractmethod
    def run_group(self, group: str, state: State, gates: Gates | None = None, masks: Masks | None = None) -> State:
        """One group's part of the forward pass, with the gates and dropout sites that belong to it."""

    def forward(self, x: Tensor, gates: Gates | None = None, masks: Masks | None = None) -> Tensor:
        """Logits (B×classes) of normalised images (B×C×H×W, float32)."""
        return self.run_from(self.groups[0], (x,), gates, masks)

    def run_from(self, group: str, state: State, gates: Gates | None = None, masks: Masks | None = None) -> Tensor:
        """Logits from the state before `group`."""
        again = is_recomputing()
        for name in self.groups[self.groups.index(group) :]:
            if again and name not in self.in_pieces:
                state = recomputed(partial(self._run, name, gates, masks), state, self.modules_of(name))
            else:
                state = self.run_group(name, state, gates, masks)
        return state[0]

    def _run(self, group: str, gates: Gates | None, masks: Masks | None, *state: Any) -> State:
        return self.run_group(group, state, gates, masks)

    def modules_of(self, group: str) -> Sequence[nn.Module]:
        """Modules that hold all modules which a group runs."""
        return [self.get_submodule(group)]

    def group_of(self, layer: str) -> str:
        """The group of a layer in `neurons`."""
        return next(g for g in self.groups if layer == g or layer.startswith(g + "."))

    def parameters_of(self, group: str) -> list[str]:
        """The names of a group's parameters, in the network's order. Every group has some."""
        return [name for name, _ in self.named_parameters() if name.startswith(group + ".")]

    def runs(self, module: str) -> int:
        """How often a forward pass runs a module as an operation of its own."""
        return 1

    def use_batch_statistics(self) -> None:
        """Sets evaluation mode, but batch norms take the statistics of the batch. The running statistics are removed."""
        self.eval()
        for name, module in list(self.named_modules()):
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                self.set_submodule(name, BatchStatistics(module))

    def folded(self) -> Network:
        """A copy for evaluation mode that computes the same with every batch norm folded into the convolution before it.

        In evaluation mode both are one affine map: weight·γ/σ and bias β − μ·γ/σ, computed in float64. The copy has one
        operation less per layer, and differs by rounding alone. Its parameters take no gradients.
        """
        copy = deepcopy(self).eval().requires_grad_(False)
        for module in copy.modules():
            if isinstance(module, ConvBlock):
                module.fold()
        return copy

    @torch.no_grad()
    def outputs(self, x: Tensor, masks: Masks | None = None) -> dict[str, Tensor]:
        """{layer: its output, B×C×H×W, with every gate open} of every folded ConvBlock, for normalised images."""
        outputs: dict[str, Tensor] = {}
        blocks = [(name, m) for name, m in self.named_modules() if isinstance(m, ConvBlock) and name in self.neurons]
        blocks = [(name, m) for name, m in blocks if isinstance(m.bn, nn.Identity)]
        hooks = [m.register_forward_hook(lambda _, __, y, name=name: outputs.update({name: y})) for name, m in blocks]
        try:
            self(x, masks=masks)
        finally:
            for hook in hooks:
                hook.remove()
        return outputs

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """Initialises every parameter from a stream of its own, keyed by its name and drawn on the CPU; see `initial`."""
        for name, parameter in self.named_parameters():
            generator = torch.Generator().manual_seed(torch_seed(seed, "init", name))
            parameter.copy_(self.initial(name, parameter.shape, generator))

    def initial(self, name: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
        """The initial value of a parameter, on the CPU: PyTorch's default for weights; scale 1 and shift 0 for norms."""
        if len(shape) < 2:
            return torch.full(shape, 1.0 if name.endswith("weight") else 0.0)
        return uniform(shape, shape[1:].numel(), generator)  # kaiming_uniform(a=√5)
