"""A traced network as a chain of groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from memloc.models.batch_norm import BatchStatistics
from memloc.models.dropouts import Shape
from memloc.models.gates import Gates
from memloc.models.groups import Network, State
from memloc.models.kept import Masks
from memloc.models.traced.gate_points import apply
from memloc.models.traced.opened import drawing_from, opened
from memloc.models.traced.origin import Origin
from memloc.models.traced.sites import removed_dropouts
from memloc.seeds import torch_seed


class TracedNetwork(Network):
    """A module with the children and the tensors of an origin's. Its forward pass runs as a program of operations."""

    def __init__(self, origin: Origin, shape: Shape, classes: int) -> None:
        super().__init__()
        self.made_from = (origin, shape, classes)
        self.opened = opened(origin, shape, classes)
        with drawing_from(0):
            model = origin.create(shape, classes)
        removed_dropouts(model)
        for key, child in model.named_children():
            self.add_module(key, child)
        for key, parameter in model.named_parameters(recurse=False):
            self.register_parameter(key, parameter)
        for key, buffer in model.named_buffers(recurse=False):
            self.register_buffer(key, buffer, persistent=key not in model._non_persistent_buffers_set)
        for key, constant in self.opened.constants.items():
            self.register_buffer(key, constant.clone(), persistent=False)
        program = self.opened.program
        self.groups, self.sites, self.neurons = program.groups, dict(self.opened.sites), dict(self.opened.neurons)

    def stochastic(self) -> dict[str, tuple[tuple[int, ...], float]]:
        return dict(self.opened.own)

    def group_of(self, layer: str) -> str:
        return self.opened.layers[layer]

    def parameters_of(self, group: str) -> list[str]:
        return [name for name, _ in self.named_parameters() if self.opened.tensors[name] == group]

    def modules_of(self, group: str) -> Sequence[nn.Module]:
        nodes = self.opened.program.nodes[self.groups.index(group)]
        modules = [str(n.target) for n in nodes if n.op == "call_module"]
        buffers = {name for name, _ in self.named_buffers()}.difference(self.opened.constants)
        owners = [str(n.target).rpartition(".")[0] for n in nodes if n.op == "get_attr" and str(n.target) in buffers]
        return [self.get_submodule(name) for name in dict.fromkeys([*modules, *owners])]

    def runs(self, module: str) -> int:
        return sum(node.op == "call_module" and node.target == module for node in self.opened.program.body())

    def run_group(self, group: str, state: State, gates: Gates | None = None, masks: Masks | None = None) -> State:
        def changed(node: fx.Node, args: tuple[Any, ...], call: Callable[[tuple[Any, ...]], Any]) -> Any:
            point = self.opened.points.get(node)
            gate = gates.get(point.layer) if gates and point else None
            value = call(args) if point is None or gate is None else apply(point, gate, self, node, args, call)
            for site in self.opened.masked.get(node, ()) if masks else ():
                value = site.masked(value, masks or {})
            return value

        after: State = self.opened.program.run(self, group, state, changed if gates or masks else None)
        return after

    def use_batch_statistics(self) -> None:
        activated = {name: m for name, m in self.named_modules() if _is_activated(m)}
        super().use_batch_statistics()
        for name, norm in activated.items():
            self.set_submodule(name, _ActivatedStatistics(norm))

    @torch.no_grad()
    def initialise(self, seed: int) -> None:
        """The module's own initialisation, in its order from one keyed stream, drawn on the CPU.

        It draws from the global generators. Their states are restored afterwards.
        """
        origin, shape, classes = self.made_from
        with torch.device("cpu"), drawing_from(torch_seed(seed, "init", origin.key)):
            self.load_state_dict(origin.initialised(shape, classes).state_dict())


def _is_activated(module: nn.Module) -> bool:
    """A batch norm of timm's that ends with an activation."""
    return isinstance(module, nn.modules.batchnorm._BatchNorm) and hasattr(module, "act") and hasattr(module, "drop")


class _ActivatedStatistics(BatchStatistics):
    """timm's batch norms that end with an activation."""

    def __init__(self, norm: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__(norm)
        self.drop, self.act = norm.drop, norm.act

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.drop(super().forward(x)))  # type: ignore[operator]
        return y
