"""A network as the list of its operations: those of torch.fx's symbolic trace, in the order of the forward pass.

No operation works in place, so a state between groups can be used again. `reshape` stands for `view`, so none needs a memory
layout.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from memloc.errors import error_line
from memloc.models.traced.program import GroupingError
from memloc.own_code import BROKEN

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
# Each of these is one operation, also if a library traces it: a norm works differently in training and in evaluation.
LEAVES = (*NORMS, *LAYERS)
OUT_OF_PLACE: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}
ROOT = "network"


class UntraceableError(GroupingError):
    """A forward pass that depends on the values that it computes. kind: the type of the innermost module that has it."""

    def __init__(self, cause: BaseException, kind: type[nn.Module] | None) -> None:
        super().__init__(f"its forward pass cannot be traced: {error_line(cause, with_type=False)}")
        self.cause, self.kind = cause, kind


class _Tracer(fx.Tracer):
    def __init__(self, leaves: Collection[type[nn.Module]], wrapped: Collection[Callable[..., Any]]) -> None:
        super().__init__(autowrap_functions=tuple(wrapped))
        self._leaves = tuple(leaves)
        self.failed: type[nn.Module] | None = None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, LEAVES) or type(m) in self._leaves or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except BROKEN:
            self.failed = self.failed or type(m)
            raise


class _OneArgument(nn.Module):
    """The module that is traced: the network with images alone. Its other arguments have their defaults."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.add_module(ROOT, network)

    def forward(self, x: Tensor) -> Any:
        return self.get_submodule(ROOT)(x)


def traced(
    network: nn.Module, leaves: Collection[type[nn.Module]], wrapped: Collection[Callable[..., Any]]
) -> tuple[fx.Graph, dict[str, Tensor]]:
    """(the network's operations, none of them in place and no `view`, their targets named as in the network; constants).

    The first operation is the images, the last one the output. constants: tensors that belong to no module. `inplace` of the
    network's modules is false afterwards.

    Raises:
        UntraceableError: where the forward pass depends on the values that it computes.
    """
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]
    root, tracer = _OneArgument(network), _Tracer(leaves, wrapped)
    try:
        graph = tracer.trace(root)
    except BROKEN as error:  # a library's forward pass may raise anything while it is traced
        raise UntraceableError(error, None if tracer.failed is type(network) else tracer.failed) from error
    constants: dict[str, Tensor] = {}
    first: dict[str, fx.Node] = {}
    for node in graph.nodes:
        _out_of_place(node)
        _in_any_layout(node)
        if node.op in ("call_module", "get_attr"):
            target = str(node.target)
            if target.startswith(f"{ROOT}."):
                node.target = target.removeprefix(f"{ROOT}.")
            else:
                constants[target] = getattr(root, target)
        if node.op == "get_attr" and first.setdefault(str(node.target), node) is not node:
            node.replace_all_uses_with(first[str(node.target)])  # so one group has the tensor, and hands it on
            graph.erase_node(node)
    return graph, constants


def _out_of_place(node: fx.Node) -> None:
    """Makes an operation return a new value. Later operations use it instead of the value that would be changed."""
    before = (node.target, node.args, node.kwargs)
    node.target = OUT_OF_PLACE.get(node.target) or _without_underscore(node.target)
    if node.op == "call_method" and str(node.target).endswith("_") and hasattr(Tensor, str(node.target).rstrip("_")):
        node.target = str(node.target).rstrip("_")
    if node.kwargs.get("inplace"):
        node.kwargs = {**node.kwargs, "inplace": False}
    if (at := _place_of_inplace(node.target)) is not None and node.args[at : at + 1] == (True,):
        node.args = (*node.args[:at], False, *node.args[at + 1 :])
    changed = first_argument(node)
    if before != (node.target, node.args, node.kwargs) and isinstance(changed, fx.Node):
        for user in [user for user in changed.users if node < user]:
            user.replace_input_with(changed, node)


def _in_any_layout(node: fx.Node) -> None:
    """Makes `reshape` of `view`, which fails for images that lie channels last where it joins dimensions.

    Where `view` works, `reshape` is the same. Else it copies. As no operation works in place, nobody can tell.
    """
    if node.op != "call_method" or node.target not in ("view", "view_as"):
        return
    if node.target == "view_as":
        node.target = "reshape_as"
    elif "dtype" not in node.kwargs and not any(_is_dtype(given) for given in node.args[1:]):
        node.target = "reshape"
        node.kwargs = {"shape" if name == "size" else name: given for name, given in node.kwargs.items()}


def _is_dtype(given: Any) -> bool:
    """Is this a type of numbers, or that of another tensor (`x.dtype`)?"""
    return isinstance(given, torch.dtype) or (isinstance(given, fx.Node) and given.args[1:] == ("dtype",))


def first_argument(node: fx.Node) -> Any:
    """What an operation works on, given by its place or as `input`; None where it has neither."""
    return node.args[0] if node.args else node.kwargs.get("input")


def _place_of_inplace(target: Any) -> int | None:
    """Which argument of one of torch's functions is `inplace`: the second of `F.relu`, the third of `F.elu`, …"""
    if getattr(target, "__module__", None) != F.__name__:
        return None
    names = list(inspect.signature(target).parameters)
    return names.index("inplace") if "inplace" in names else None


def _without_underscore(target: Any) -> Any:
    """`torch.sigmoid` of `torch.sigmoid_`, `F.leaky_relu` of `F.leaky_relu_`, …; anything else as it is."""
    name = getattr(target, "__name__", "")
    if not name.endswith("_") or target not in (getattr(torch, name, None), getattr(F, name, None)):
        return target
    return getattr(torch, name[:-1], None) or getattr(F, name[:-1], target)


def place(node: fx.Node) -> str:
    """The name of the module or parameter that an operation is, or of the module whose forward pass it belongs to."""
    if node.op in ("call_module", "get_attr"):
        return str(node.target)
    stack = list(node.meta.get("nn_module_stack", {}))
    return stack[-1].removeprefix(ROOT).removeprefix(".") if stack else ""


def prefixes(name: str) -> list[str]:
    """`a.b.c`, `a.b`, `a`: a module or tensor and the modules that hold it."""
    parts = name.split(".")
    return [".".join(parts[:k]) for k in range(len(parts), 0, -1)]
