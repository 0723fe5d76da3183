"""The dropout sites of a traced network: where example-tied dropout and its baselines act, and its own `nn.Dropout`.

Sites are after every group but the last, if the group hands on exactly one tensor; or, by a pattern, after the modules whose
whole name it matches. A site is (C, H, W), or (C, N, 1) for N tokens, or (C, 1, 1) for one vector.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from memloc.models.blocks import masked_tokens
from memloc.models.dropouts import Shape
from memloc.models.kept import Masks, times
from memloc.models.traced.program import GroupingError, Program
from memloc.models.traced.trace import place, prefixes

DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
BY_CHANNEL = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)
OWN = "dropout "  # what the names of the sites of own dropouts begin with


@dataclass(frozen=True)
class Site:
    """A place where activations are multiplied by factors. layout: how they lie (NCHW, NHWC, NLC, NC), or `own` for factors
    of the activations' own shape.
    """

    name: str
    layout: str

    def masked(self, x: Tensor, masks: Masks) -> Tensor:
        """x (float32 B×…) times its factor, if there is one: B×C×H×W, with 1 in place of B, H, W where it is the same."""
        if self.name not in masks:
            return x
        if self.layout == "NLC":
            return masked_tokens(x, self.name, masks)
        if self.layout == "NHWC":
            return times(x, masks[self.name], lambda factor: factor.permute(0, 2, 3, 1))
        if self.layout == "NC":
            return times(x, masks[self.name], lambda factor: factor.flatten(1))
        return times(x, masks[self.name])


@dataclass(frozen=True)
class OwnDropout:
    """A dropout that is part of the network. rate: of what is dropped. by_channel: are whole channels dropped?"""

    rate: float
    by_channel: bool


def removed_dropouts(model: nn.Module) -> dict[str, OwnDropout]:
    """Replaces every `nn.Dropout` of the model by the identity, and returns them: {module: dropout}.

    A class derived from it that computes something else stays as it is.
    """
    dropouts: dict[str, OwnDropout] = {}
    for name, module in list(model.named_modules()):
        if isinstance(module, DROPOUTS) and type(module).forward in [kind.forward for kind in DROPOUTS] and name:
            if module.p:
                dropouts[name] = OwnDropout(float(module.p), isinstance(module, BY_CHANNEL))
            model.set_submodule(name, nn.Identity())
    return dropouts


def sites(
    model: nn.Module, program: Program, size: Mapping[fx.Node, torch.Size], pattern: str | None = None
) -> tuple[dict[fx.Node, Site], dict[str, Shape]]:
    """(the nodes whose values are multiplied, {site: (C, H, W)}), in forward order.

    Raises:
        GroupingError: the pattern matches no module that gives one tensor.
    """
    layout_4d = str(getattr(model, "output_fmt", "NCHW"))
    at: dict[fx.Node, Site] = {}
    shapes: dict[str, Shape] = {}
    for name, node in _places(program) if pattern is None else _matched(model, program, size, pattern):
        rest = size[node][1:] if node in size else ()
        if len(rest) == 1:
            layout, shape = "NC", (rest[0], 1, 1)
        elif len(rest) == 2:
            layout, shape = "NLC", (rest[1], rest[0], 1)
        elif len(rest) == 3:
            layout = layout_4d
            shape = (rest[2], rest[0], rest[1]) if layout == "NHWC" else (rest[0], rest[1], rest[2])
        else:
            continue
        at[node], shapes[name] = Site(name, layout), shape
    return at, shapes


def _places(program: Program) -> list[tuple[str, fx.Node]]:
    """(group, the value that it hands on) of the groups that hand on one."""
    each = zip(program.groups[:-1], program.carried[1:], strict=False)
    return [(group, carried[0]) for group, carried in each if len(carried) == 1]


def _matched(
    model: nn.Module, program: Program, size: Mapping[fx.Node, torch.Size], pattern: str
) -> list[tuple[str, fx.Node]]:
    """(module, the last operation in it) of the modules that the pattern matches, in the order of the forward pass."""
    last: dict[str, fx.Node] = {}
    for node in program.body():
        for name in prefixes(place(node)) if node in size and node.op != "get_attr" else ():
            last.pop(name, None)
            last[name] = node
    found = [(name, node) for name, node in last.items() if re.fullmatch(pattern, name)]
    taken: dict[fx.Node, str] = {}
    for name, node in found:
        taken.setdefault(node, name)  # a module and the last one inside it are one place
    if not taken:
        names = ", ".join(name for name in dict.fromkeys(n for n, _ in model.named_modules()) if name and name in last)
        raise GroupingError(f"{pattern!r} matches no module; there are: {names}", "sites")
    return [(name, node) for node, name in taken.items()]


def own_sites(
    program: Program, size: Mapping[fx.Node, torch.Size], dropouts: Mapping[str, OwnDropout]
) -> tuple[dict[fx.Node, Site], dict[str, tuple[tuple[int, ...], float]]]:
    """(the nodes of the network's own dropouts, {site: (shape of one example's factor, rate)})."""
    at: dict[fx.Node, Site] = {}
    shapes: dict[str, tuple[tuple[int, ...], float]] = {}
    for node in program.body():
        dropout = dropouts.get(str(node.target)) if node.op == "call_module" else None
        if dropout is None or node not in size:
            continue
        shape = tuple(size[node][1:])
        shape = (shape[0], *[1] * (len(shape) - 1)) if dropout.by_channel else shape
        uses = sum(name.partition("#")[0] == f"{OWN}{node.target}" for name in shapes)
        name = f"{OWN}{node.target}" if not uses else f"{OWN}{node.target}#{uses + 1}"
        at[node], shapes[name] = Site(name, "own"), (shape, dropout.rate)
    return at, shapes
