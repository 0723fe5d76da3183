"""A network as the list of its operations, cut into groups that run one after the other.

The values that later groups need are carried between groups. The program holds no modules and no parameters. It looks them
up by name in the network that runs it.

Therefore the run is written here. `torch.fx.passes.split_module` makes new modules. They hold the tensors of
the traced network under other names, and a parameter of the whole network (a class token) is an input of them, so no group
has it. Here a group runs with the weights of any checkpoint, and has all parameters that it uses. `torch.fx.Interpreter`
lists all modules of the network in every run: here that would be in every group of every training step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn

# (operation, its positional arguments, what computes its value from them) -> its value
Around: TypeAlias = Callable[[fx.Node, tuple[Any, ...], Callable[[tuple[Any, ...]], Any]], Any]


class GroupingError(ValueError):
    """Why a network is no chain of groups, in one line. field: the training field that it is about, if not the model."""

    def __init__(self, problem: str, field: str | None = None) -> None:
        super().__init__(problem)
        self.field = field


@dataclass
class Program:
    """nodes: those of each group. carried: before each group and at the end, the nodes whose values the rest needs."""

    groups: tuple[str, ...]
    nodes: list[list[fx.Node]]
    carried: list[list[fx.Node]]

    def __deepcopy__(self, memo: dict[int, Any]) -> Program:
        return self  # never changes, and networks that are copies of each other run the same one

    def run(
        self,
        network: nn.Module,
        group: str,
        state: Sequence[Any],
        around: Around | None = None,
    ) -> tuple[Any, ...]:
        """The state after a group from the state before it; `around` may change what an operation is given or gives."""
        at = self.groups.index(group)
        values: dict[fx.Node, Any] = dict(zip(self.carried[at], state, strict=True))
        for node in self.nodes[at]:
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            call = partial(_call, network, node, kwargs)
            values[node] = call(args) if around is None else around(node, args, call)
        return tuple(values[node] for node in self.carried[at + 1])

    def body(self) -> list[fx.Node]:
        """The operations of all groups, in order."""
        return [node for nodes in self.nodes for node in nodes]

    def shapes(self, network: nn.Module, x: Tensor) -> dict[fx.Node, torch.Size]:
        """The shape of every tensor that the operations compute for images x (B×C×H×W)."""
        shapes: dict[fx.Node, torch.Size] = {self.carried[0][0]: x.shape}

        def seen(node: fx.Node, args: tuple[Any, ...], call: Callable[[tuple[Any, ...]], Any]) -> Any:
            value = call(args)
            if isinstance(value, Tensor):
                shapes[node] = value.shape
            return value

        state: tuple[Any, ...] = (x,)
        with torch.no_grad():
            for group in self.groups:
                state = self.run(network, group, state, seen)
        return shapes


def _call(network: nn.Module, node: fx.Node, kwargs: Mapping[str, Any], args: tuple[Any, ...]) -> Any:
    if node.op == "call_module":
        return network.get_submodule(str(node.target))(*args, **kwargs)
    if node.op == "get_attr":
        owner, _, name = str(node.target).rpartition(".")
        return getattr(network.get_submodule(owner), name)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return node.target(*args, **kwargs)  # type: ignore[operator]
