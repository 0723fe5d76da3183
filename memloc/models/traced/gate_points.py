"""The neurons of a traced network, and what their gates do.

In the order of the forward pass, the neurons are:
- a convolution's output channel, after the norm and the activation if they directly follow it (a patch embedding of timm has
  none);
- a hidden unit: an output of a linear layer that an activation follows (directly, or after a norm), after the activation;
- an attention head's output, of all tokens, before the projection, in modules with `num_heads` and a linear layer `proj`;
- every weight of the classifier, a linear layer or a 1×1 convolution; a bias is none.
An activation acts on each number by itself. It is one of torch's modules of activations (or of timm's), or a function or
method of the same name, as `F.selu` or `x.tanh()`. A softmax is none.
An MLP that multiplies the halves of its hidden layer (GLU) has no hidden units. A layer that makes a table of positions, the
same for all images, has no neurons. A module that cannot be traced (opened.py) is one operation, without neurons inside.
The classifier is what the network itself names (`get_classifier`), or the layers from which the logits come without another
layer between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from memloc.models.gates import Gate, gated, gated_heads, gated_linear
from memloc.models.traced.program import Program
from memloc.models.traced.trace import LEAVES, NORMS, first_argument

# What torch.nn has as modules of activations and acts on each number by itself
ACTIVATIONS = (
    "celu", "elu", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "logsigmoid", "mish",
    "prelu", "relu", "relu6", "rrelu", "selu", "sigmoid", "silu", "softplus", "softshrink", "softsign", "tanh", "tanhshrink",
    "threshold",
)  # fmt: skip
FUNCTIONS = {getattr(space, name) for space in (torch, F) for name in ACTIVATIONS if hasattr(space, name)}
METHODS = {name for name in ACTIVATIONS if hasattr(Tensor, name)}
PASSING = (nn.Identity, nn.Dropout)
# The others are in torch's module of activations too, and mix the numbers that they are given.
NOT_ACTIVATIONS = (*PASSING, nn.GLU, nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax)


@dataclass(frozen=True)
class Point:
    """The place where a layer's gates act.

    kind: channels (on a node's value, along `axis`), heads (on the node's first argument) or weights (of the linear layer
    that the node is).
    """

    layer: str
    kind: str
    axis: int = 1


def neurons(
    model: nn.Module, program: Program, size: Mapping[fx.Node, torch.Size], without: Collection[str] = ()
) -> tuple[dict[fx.Node, Point], dict[str, tuple[int, ...]]]:
    """(the nodes at which gates act, {layer: shape of one example's gate}).

    size: the shapes of the values. without: modules whose convolutions have no neurons.
    """
    modules = dict(model.named_modules())
    classifiers = _classifiers(model, program, size)
    points: dict[fx.Node, Point] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for node in (n for n in _of_images(program) if n.op == "call_module"):
        name = str(node.target)
        module, owner = modules[name], name.rpartition(".")[0]
        if module in classifiers:
            points[node], shapes[name] = Point(name, "weights"), (module.weight.shape[0], module.weight.shape[1])
        elif isinstance(module, nn.Conv1d | nn.Conv2d):
            if not any(name.startswith(f"{module}.") for module in without):
                last, _ = _followed(node, modules)
                points[last], shapes[name] = Point(name, "channels"), (module.out_channels,)
        elif isinstance(module, nn.Linear):
            heads = getattr(modules[owner], "num_heads", None)
            last, active = _followed(node, modules)
            if name == f"{owner}.proj" and isinstance(heads, int):
                points[node], shapes[owner] = Point(owner, "heads"), (heads,)
            elif active:
                points[last], shapes[name] = Point(name, "channels", -1), (module.out_features,)
    return points, shapes


def _of_images(program: Program) -> list[fx.Node]:
    """The operations whose values depend on the images.

    Other layers may make tables of positions. There is one table for all images, so no example has its own gates there.
    """
    dependent = dict.fromkeys(program.carried[0])
    for node in (n for nodes in program.nodes for n in nodes):
        if any(given in dependent for given in node.all_input_nodes):
            dependent[node] = None
    return list(dependent)


def _classifiers(model: nn.Module, program: Program, size: Mapping[fx.Node, torch.Size]) -> list[nn.Module]:
    """The linear layers (or 1×1 convolutions) that give logits; a distilled model has two."""
    named: Any = getattr(model, "get_classifier", None)
    if callable(named):
        heads = named()
        parts = [m for head in (heads if isinstance(heads, tuple | list) else [heads]) for m in head.modules()]
    else:
        parts = [model.get_submodule(str(node.target)) for node in _last_layers(model, program, size)]
    return [m for m in parts if isinstance(m, nn.Linear) or (isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1))]


def _last_layers(model: nn.Module, program: Program, size: Mapping[fx.Node, torch.Size]) -> list[fx.Node]:
    """The layers behind which no layer follows, and which take one vector per image."""
    layers, waiting, seen = [], [program.carried[-1][0]], set[fx.Node]()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if node.op == "call_module" and isinstance(model.get_submodule(str(node.target)), LEAVES):
            given = size.get(node.all_input_nodes[0], torch.Size())
            layers += [node] if given[2:].numel() == 1 else []
        else:
            waiting += node.all_input_nodes
    return layers


def _followed(node: fx.Node, modules: Mapping[str, nn.Module]) -> tuple[fx.Node, bool]:
    """(the norm or activation at the end of those that directly follow a node, else itself; whether it activates)."""
    while True:
        users = list(node.users)
        if len(users) != 1 or first_argument(users[0]) is not node:
            return node, False
        following = users[0]
        module = modules.get(str(following.target)) if following.op == "call_module" else None
        method = following.op == "call_method" and following.target in METHODS
        if method or following.target in FUNCTIONS or _activates(module):
            return following, True
        if not isinstance(module, (*NORMS, *PASSING)):
            return node, False
        node = following


def _activates(module: nn.Module | None) -> bool:
    """An activation, or a norm of timm's that ends with one."""
    if isinstance(module, NORMS):
        return _activates(getattr(module, "act", None))
    kind = "" if module is None else type(module).__module__
    return not isinstance(module, NOT_ACTIVATIONS) and (
        kind == "torch.nn.modules.activation" or kind.startswith("timm.layers.activ")
    )


def apply(
    point: Point,
    gate: Gate,
    network: nn.Module,
    node: fx.Node,
    args: tuple[Any, ...],
    call: Callable[[tuple[Any, ...]], Any],
) -> Any:
    """The value of a node under its layer's gate."""
    if point.kind == "channels":
        return gated(call(args), gate, point.axis)
    if point.kind == "heads":
        return call((gated_heads(args[0], gate), *args[1:]))
    module = network.get_submodule(str(node.target))
    assert isinstance(module, nn.Linear | nn.Conv2d)
    x: Tensor = args[0]
    y = gated_linear(x.flatten(1), module.weight.flatten(1), gate)
    y = y if module.bias is None else y + module.bias
    return y.reshape(*y.shape, *[1] * (x.ndim - 2))
