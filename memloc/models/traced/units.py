"""Which groups a network has: by its stages, as libraries name them; by its children; or by the patterns of a person.

**Stages**: the children of a top-level `blocks`, `stages`, `layers` or `features` (`blocks.0`, …), or numbered top-level
stages (`layer1`, `s1`, …), with `stem` before and `head` after them.

**Children**: a group per child with parameters. A sole child, an `nn.ModuleList`, and an `nn.Sequential` named as above are
opened: their children count in their place. While there are fewer than five groups, so is the `nn.Sequential` with the most
parameters, if it has several layers. A norm belongs to the convolution or linear layer before it, else to what follows.
Children that do not run one after the other, or that share a parameter, are one group.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from torch import fx, nn

from memloc.models.traced.cut import owned_by
from memloc.models.traced.program import GroupingError
from memloc.models.traced.trace import LAYERS, NORMS, place, prefixes

CONTAINERS = ("blocks", "stages", "layers", "features")
NUMBERED = re.compile(r"(layer|stage|block|s)\d+")
FEW = 5  # with fewer groups there is little to compare


@dataclass
class Units:
    """Groups by the modules and parameters in them. notes: how they came about, for a person."""

    names: list[str]
    owners: dict[str, int]
    notes: list[str] = field(default_factory=list)


def stages(model: nn.Module, graph: fx.Graph) -> list[str]:
    """The names of the stages or blocks that have parameters, in the order in which the model has them.

    Raises:
        GroupingError: there are none.
    """
    used = {str(n.target) for n in graph.nodes if n.op in ("call_module", "get_attr")}
    units = []
    for name, child in model.named_children():
        if name.endswith(CONTAINERS) and isinstance(child, nn.Sequential | nn.ModuleList):
            units += [f"{name}.{k}" for k, inner in child.named_children() if _has_parameters(inner)]
        elif NUMBERED.fullmatch(name) and _has_parameters(child):
            units.append(name)
    units = [u for u in units if any(target == u or target.startswith(u + ".") for target in used)]
    if not units:
        raise GroupingError("it has no stages or blocks by which to cut it")
    return units


def matched(model: nn.Module, graph: fx.Graph, patterns: Mapping[str, str]) -> Units:
    """The groups of a person: {group: regular expression}.

    An expression matches the whole name of a parameter, or of a module around it.

    Raises:
        GroupingError: a parameter is in no group or in two, or a group has none.
    """
    of: dict[str, str] = {}
    for name, _ in model.named_parameters():
        fitting = [g for g, p in patterns.items() if any(re.fullmatch(p, part) for part in prefixes(name))]
        if len(fitting) != 1:
            said = f"is in both {fitting[0]} and {fitting[1]}" if fitting else f"is in none of {', '.join(patterns)}"
            raise GroupingError(f"the parameter {name} {said}; each is in one group", "groups")
        of[name] = fitting[0]
    if empty := [group for group in patterns if group not in of.values()]:
        names = ", ".join(dict.fromkeys(name.rpartition(".")[0] or name for name in of))
        raise GroupingError(f"{empty[0]}: {patterns[empty[0]]!r} matches no parameter; modules with some: {names}", "groups")
    inside: dict[str, set[str]] = {}
    for name, group in of.items():
        for module in prefixes(name):
            inside.setdefault(module, set()).add(group)
    whole = {module: next(iter(groups)) for module, groups in inside.items() if len(groups) == 1}
    number = {group: k for k, group in enumerate(_by_first_use(graph, whole))}
    return Units(list(number), {module: number[group] for module, group in whole.items() if group in number})


def _by_first_use(graph: fx.Graph, whole: Mapping[str, str]) -> list[str]:
    groups = [next((whole[name] for name in prefixes(place(node)) if name in whole), None) for node in graph.nodes]
    return [group for group in dict.fromkeys(groups) if group is not None]


def children(model: nn.Module, graph: fx.Graph) -> Units:
    """The groups by children, in the order of the forward pass.

    Raises:
        GroupingError: the network has no parameters.
    """
    notes: list[str] = []
    names = _opened(model, {str(node.target) for node in graph.nodes if node.op == "call_module"}, notes)
    if not names:
        raise GroupingError("it has no modules with parameters, by which to cut it")
    merged = _in_turn(_with_their_norms(model, _used(names, graph), notes), model, graph, notes)
    owners = {name: k for k, (_, members) in enumerate(merged) for name in members}
    return Units([label for label, _ in merged], owners, notes)


def _opened(model: nn.Module, operations: Collection[str], notes: list[str]) -> list[str]:
    """The names of the children that count, containers opened. operations: modules that are one, and are not opened."""
    names = _parametrised_children(model, "")
    while opened := _to_open(model, names, operations):
        name, why = opened
        notes.append(f"{name} is opened: {why}")
        k = names.index(name)
        names[k : k + 1] = _parametrised_children(model, name)
    return names


def _to_open(model: nn.Module, names: Sequence[str], operations: Collection[str]) -> tuple[str, str] | None:
    """(the next child to open, why), if there is one. A list that has norms alone is opened too: each has its own layer."""
    modules = {name: model.get_submodule(name) for name in names}
    whole = {name: m for name, m in modules.items() if name not in operations}
    held = {name: m for name, m in whole.items() if not isinstance(m, (*NORMS, *LAYERS)) and any(_layers_in(m))}
    for name, module in held.items():
        if len(names) == 1:
            return name, "the only child with parameters"
        if _is_list(module) or (isinstance(module, nn.Sequential) and name.endswith(CONTAINERS)):
            return name, f"a {type(module).__name__}"
    if len(names) > 1 and (norms := next((n for n, m in whole.items() if _is_list(m)), None)) is not None:
        return norms, f"a {type(modules[norms]).__name__}"
    several = [n for n, m in held.items() if isinstance(m, nn.Sequential) and sum(_layers_in(m)) > 1]
    if len([name for name in names if not _is_norm(modules[name])]) >= FEW or not several:
        return None
    largest = max(several, key=lambda name: sum(p.numel() for p in modules[name].parameters()))
    return largest, f"a {type(modules[largest]).__name__}, and there are few groups"


def _is_list(module: nn.Module) -> bool:
    return isinstance(module, nn.ModuleList | nn.ModuleDict)


def _layers_in(module: nn.Module) -> list[bool]:
    """For each child with parameters whether it is more than a norm."""
    return [not _is_norm(child) for child in module.children() if _has_parameters(child)]


def _parametrised_children(model: nn.Module, name: str) -> list[str]:
    held = model.get_submodule(name)
    return [f"{name}.{k}".lstrip(".") for k, child in held.named_children() if _has_parameters(child)]


def _has_parameters(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _is_norm(module: nn.Module) -> bool:
    return all(isinstance(m, NORMS) for m in module.modules() if any(True for _ in m.parameters(recurse=False)))


def _used(names: Sequence[str], graph: fx.Graph) -> list[str]:
    """The names in the order in which the forward pass comes to them. What it does not use is left out."""
    owners = {name: k for k, name in enumerate(names)}
    order = dict.fromkeys(k for k in owned_by(list(graph.nodes), owners) if k is not None)
    return [names[k] for k in order]


def _with_their_norms(model: nn.Module, names: Sequence[str], notes: list[str]) -> list[list[str]]:
    """The names in groups: a norm with the layer before it, else with what follows, else with what stands before."""
    groups: list[list[str]] = []
    waiting: list[str] = []
    for name in names:
        module = model.get_submodule(name)
        if not _is_norm(module):
            groups.append([name, *waiting])
            waiting = []
        elif groups and isinstance(model.get_submodule(groups[-1][0]), LAYERS) and not waiting:
            groups[-1].append(name)
        else:
            waiting.append(name)
    if waiting and groups:
        groups[-1] += waiting
    elif waiting:
        groups = [waiting]
    notes += [f"{norm} belongs to {group[0]}: it is a norm" for group in groups for norm in group[1:]]
    return groups


def _in_turn(
    groups: Sequence[list[str]], model: nn.Module, graph: fx.Graph, notes: list[str]
) -> list[tuple[str, list[str]]]:
    """(name, members) of the groups, those joined that cannot be cut."""
    owners = {name: k for k, group in enumerate(groups) for name in group}
    ends = list(range(len(groups)))  # the last group that a group must be one with
    now = 0
    for at in (k for k in owned_by(list(graph.nodes), owners) if k is not None):
        if at < now:
            ends[at] = max(ends[at], now)
        now = max(now, at)
    first: dict[int, int] = {}
    for k, group in enumerate(groups):
        for parameter in (p for name in group for p in model.get_submodule(name).parameters()):
            one = first.setdefault(id(parameter), k)
            ends[one] = max(ends[one], k)
    joined: list[tuple[str, list[str]]] = []
    k = 0
    while k < len(groups):
        end, at = ends[k], k
        while at <= end:
            end, at = max(end, ends[at]), at + 1
        heads = [group[0] for group in groups[k : end + 1]]
        label = heads[0] if len(heads) == 1 else f"{heads[0]}{'+' if len(heads) == 2 else '..'}{heads[-1]}"
        if len(heads) > 1:
            notes.append(f"{', '.join(heads)} are one group: they do not run one after the other, or share parameters")
        joined.append((label, [name for group in groups[k : end + 1] for name in group]))
        k = end + 1
    return joined
