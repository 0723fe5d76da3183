"""Any image classifier of timm (`timm:NAME`), without pretrained weights, run group by group (grouping.py says which).

Tensors have timm's names. What counts as a neuron is in gate_points.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from memloc.models.architectures.timm.config import TIMM, Timm
from memloc.models.architectures.timm.gate_points import apply
from memloc.models.architectures.timm.grouping import create, grouped_program
from memloc.models.batch_norm import BatchStatistics
from memloc.models.blocks import Masks, masked, masked_tokens
from memloc.models.dropouts import Shape
from memloc.models.gates import Gates
from memloc.models.groups import Network, State
from memloc.seeds import torch_seed


class Architecture(Network):
    """A timm model with timm's children. Its forward pass runs as a program of operations."""

    def __init__(self, name: str, shape: Shape, classes: int) -> None:
        super().__init__()
        self.made_from = (name, shape, classes)
        self.grouped = grouped_program(name, shape, classes)
        model = create(name, shape, classes)
        for key, child in model.named_children():
            self.add_module(key, child)
        for key, parameter in model.named_parameters(recurse=False):
            self.register_parameter(key, parameter)
        for key, buffer in model.named_buffers(recurse=False):
            self.register_buffer(key, buffer, persistent=key not in model._non_persistent_buffers_set)
        for key, constant in self.grouped.constants.items():
            self.register_buffer(key, constant.clone(), persistent=False)
        self.groups, self.sites, self.neurons = (
            self.grouped.program.groups,
            dict(self.grouped.sites),
            dict(self.grouped.neurons),
        )

    @classmethod
    def build(cls, config: Timm, shape: Shape, classes: int) -> Architecture:
        """The model for images of shape (C, H, W); raises CannotGroup if `config.misfit` names a problem."""
        return cls(config.name.removeprefix(TIMM), shape, classes)

    def group_of(self, layer: str) -> str:
        return self.grouped.layers[layer]

    def parameters_of(self, group: str) -> list[str]:
        return [name for name, _ in self.named_parameters() if self.grouped.tensors[name] == group]

    def run_group(self, group: str, state: State, gates: Gates | None = None, masks: Masks | None = None) -> State:
        def gated(node: fx.Node, args: tuple[Any, ...], call: Callable[[tuple[Any, ...]], Any]) -> Any:
            point = self.grouped.points.get(node)
            gate = gates.get(point.layer) if gates and point else None
            return call(args) if point is None or gate is None else apply(point, gate, self, node, args, call)

        after: State = self.grouped.program.run(self, group, state, gated if gates else None)
        if masks is None or group not in masks:
            return after
        return (_masked(after[0], group, masks, self.grouped.layouts[group]),)

    def use_batch_statistics(self) -> None:
        from timm.layers import BatchNormAct2d

        activated = {name: m for name, m in self.named_modules() if isinstance(m, BatchNormAct2d)}
        super().use_batch_statistics()
        for name, norm in activated.items():
            self.set_submodule(name, _ActivatedStatistics(norm))

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """timm's own initialisation, in its order from one keyed stream, drawn on the CPU.

        timm draws from the global generator. Its state is restored afterwards.
        """
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.default_generator.manual_seed(torch_seed(seed, "init", self.made_from[0]))
            self.load_state_dict(create(*self.made_from).state_dict())


class _ActivatedStatistics(BatchStatistics):
    """timm's batch norms that end with an activation."""

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__(norm)
        self.drop, self.act = norm.drop, norm.act

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.drop(super().forward(x)))  # type: ignore[operator]
        return y


def _masked(x: Tensor, site: str, masks: Masks, layout: str) -> Tensor:
    if layout == "NLC":
        return masked_tokens(x, site, masks)
    return masked(x, site, masks) if layout == "NCHW" else x * masks[site].permute(0, 2, 3, 1)
