"""A network of a library as the list of its operations, cut into groups that run one after the other.

The operations are those of torch.fx's symbolic trace, in the order of the forward pass. A group is a run of operations. The
values that later groups need are carried between groups. No operation works in place, so a state can be used again. The
program holds no modules and no parameters. It looks them up by name in the network that runs it.

Therefore the cut and the run are written here. `torch.fx.passes.split_module` makes new modules. They hold the tensors of
the traced network under other names, and a parameter of the whole network (a class token) is an input of them, so no group
has it. Here a group runs with the weights of any checkpoint, and has all parameters that it uses. `torch.fx.Interpreter`
lists all modules of the network in every run: here that would be in every group of every training step.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from io import StringIO
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata

from memloc.errors import error_line

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
# Each of these is one operation, also if a library traces it: a norm works differently in training and in evaluation.
LEAVES = (*NORMS, nn.modules.conv._ConvNd, nn.Linear)
OUT_OF_PLACE: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}
ROOT = "network"

# (operation, its positional arguments, what computes its value from them) -> its value
Around: TypeAlias = Callable[[fx.Node, tuple[Any, ...], Callable[[tuple[Any, ...]], Any]], Any]


class GroupingError(ValueError):
    """Why a network is no chain of groups, in one line."""


class _Tracer(fx.Tracer):
    def __init__(self, leaves: Collection[type[nn.Module]], wrapped: Collection[Callable[..., Any]]) -> None:
        super().__init__(autowrap_functions=tuple(wrapped))
        self._leaves = tuple(leaves)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LEAVES) or type(m) in self._leaves or super().is_leaf_module(m, module_qualified_name)


class _OneArgument(nn.Module):
    """The module that is traced: the network with images alone. Its other arguments have their defaults."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.add_module(ROOT, network)

    def forward(self, x: Tensor) -> Any:
        return self.get_submodule(ROOT)(x)


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


def _call(network: nn.Module, node: fx.Node, kwargs: Mapping[str, Any], args: tuple[Any, ...]) -> Any:
    if node.op == "call_module":
        return network.get_submodule(str(node.target))(*args, **kwargs)
    if node.op == "get_attr":
        owner, _, name = str(node.target).rpartition(".")
        return getattr(network.get_submodule(owner), name)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return node.target(*args, **kwargs)  # type: ignore[operator]


def traced(
    network: nn.Module, leaves: Collection[type[nn.Module]], wrapped: Collection[Callable[..., Any]]
) -> tuple[fx.Graph, dict[str, Tensor]]:
    """(the network's operations, none of them in place, their targets named as in the network; constants by name).

    The first operation is the images, the last one the output. constants: tensors that belong to no module. `inplace` of the
    network's modules is false afterwards.

    Raises:
        GroupingError: where the forward pass depends on the values that it computes.
    """
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]
    root = _OneArgument(network)
    try:
        graph = _Tracer(leaves, wrapped).trace(root)
    except Exception as error:  # a library's forward pass may raise anything while it is traced
        raise GroupingError(f"its forward pass cannot be traced: {error_line(error, with_type=False)}") from error
    constants = {}
    for node in graph.nodes:
        _out_of_place(node)
        if node.op in ("call_module", "get_attr"):
            target = str(node.target)
            if target.startswith(f"{ROOT}."):
                node.target = target.removeprefix(f"{ROOT}.")
            else:
                constants[target] = getattr(root, target)
    return graph, constants


def _out_of_place(node: fx.Node) -> None:
    """Makes an operation return a new value. Later operations use it instead of the value that would be changed."""
    before = (node.target, node.kwargs)
    node.target = OUT_OF_PLACE.get(node.target, node.target)
    if node.op == "call_method" and str(node.target).endswith("_") and hasattr(Tensor, str(node.target).rstrip("_")):
        node.target = str(node.target).rstrip("_")
    if node.kwargs.get("inplace"):
        node.kwargs = {**node.kwargs, "inplace": False}
    if before != (node.target, node.kwargs) and isinstance(node.args[0], fx.Node):
        for user in [user for user in node.args[0].users if node < user]:
            user.replace_input_with(node.args[0], node)


def place(node: fx.Node) -> str:
    """The name of the module or parameter that an operation is, or of the module whose forward pass it belongs to."""
    if node.op in ("call_module", "get_attr"):
        return str(node.target)
    stack = list(node.meta.get("nn_module_stack", {}))
    return stack[-1].removeprefix(ROOT).removeprefix(".") if stack else ""


def split_into_groups(graph: fx.Graph, network: nn.Module, units: Sequence[str]) -> Program:
    """The program with a group for every unit (a module's name), one before them, `stem`, and one after them, `head`.

    An operation that belongs to no unit is part of the stem (before the first unit), of the head (after the last one), or of
    the unit before it. A stem or a head without parameters is part of the unit beside it.

    Raises:
        GroupingError: unless the units run one after the other, each with parameters.
    """
    images, *body, output = graph.nodes
    (result,) = output.args
    if not isinstance(result, fx.Node):
        raise GroupingError("it gives something else than logits")
    names = ["stem", *units, "head"]
    indices = _indices(body, units)
    owned = {name for name, _ in network.named_parameters()}
    full = {at for node, at in zip(body, indices, strict=True) if _owns(node, owned)}
    if 0 not in full:
        indices = [max(at, 1) for at in indices]
    if len(units) + 1 not in full:
        indices = [min(at, len(units)) for at in indices]
    groups = [k for k in range(len(names)) if k in full or names[k] in units]
    if without := [names[k] for k in groups if k not in full]:
        raise GroupingError(f"{without[0]} runs without parameters of its own")
    where = {images: -1} | dict(zip(body, indices, strict=True))
    carried = [[node for node, at in where.items() if at < k and _needed(node, k, where)] for k in groups]
    split = [[node for node, at in zip(body, indices, strict=True) if at == k] for k in groups]
    return Program(tuple(names[k] for k in groups), split, [*carried, [result]])


def _indices(body: Sequence[fx.Node], units: Sequence[str]) -> list[int]:
    """For each operation 0 (before the units), the number of its unit, or len(units) + 1 (after them)."""
    numbers = {unit: k for k, unit in enumerate(units, start=1)}
    own = [next((numbers[u] for u in _prefixes(place(node)) if u in numbers), None) for node in body]
    last = max(k for k, at in enumerate(own) if at is not None)
    indices, now = [], 0
    for k, at in enumerate(own):
        if at is not None and at < now:
            raise GroupingError(f"{units[at - 1]} is used again after {units[now - 1]} has begun")
        now = now if at is None else at
        indices.append(now if k <= last else len(units) + 1)
    return indices


def _owns(node: fx.Node, parameters: Collection[str]) -> bool:
    """Whether an operation is a parameter, or a module that has some."""
    if node.op not in ("call_module", "get_attr"):
        return False
    target = str(node.target)
    return any(name == target or name.startswith(f"{target}.") for name in parameters)


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:k]) for k in range(len(parts), 0, -1)]


def _needed(node: fx.Node, group: int, where: Mapping[fx.Node, int]) -> bool:
    """Whether an operation of that group or a later one uses the value."""
    return any(where.get(user, group) >= group for user in node.users)


def shapes(graph: fx.Graph, network: nn.Module, x: Tensor) -> dict[fx.Node, torch.Size]:
    """The shape of every tensor that the operations compute for images x (B×C×H×W)."""
    with torch.no_grad(), redirect_stderr(StringIO()):  # torch.fx prints a traceback for a network that does not run
        ShapeProp(fx.GraphModule(network, graph)).propagate(x)
    graph.owning_module = None  # else the program would hold the network's weights
    meta = {node: node.meta.get("tensor_meta") for node in graph.nodes}
    return {node: tensor.shape for node, tensor in meta.items() if isinstance(tensor, TensorMetadata)}
