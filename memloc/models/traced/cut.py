"""Gives every operation of a network its group, and every parameter."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch import fx, nn

from memloc.models.traced.program import GroupingError, Program
from memloc.models.traced.trace import place, prefixes


def split_into_groups(graph: fx.Graph, network: nn.Module, units: Sequence[str]) -> Program:
    """The program with a group for every unit (a module's name), one before them, `stem`, and one after them, `head`.

    An operation that belongs to no unit is part of the stem (before the first unit), of the head (after the last one), or of
    the unit before it. A stem or a head without parameters is part of the unit beside it.

    Raises:
        GroupingError: unless the units run one after the other, each with parameters.
    """
    body, names = _body(graph), ["stem", *units, "head"]
    own = owned_by(body, {unit: k for k, unit in enumerate(units, start=1)})
    last = max(k for k, at in enumerate(own) if at is not None)
    indices = [at if k <= last else len(units) + 1 for k, at in enumerate(_in_turn(own, names))]
    full = _with_parameters(body, indices, network)
    if 0 not in full:
        indices = [max(at, 1) for at in indices]
    if len(units) + 1 not in full:
        indices = [min(at, len(units)) for at in indices]
    kept = [k for k in range(len(names)) if k in full or names[k] in units]
    return _program(graph, names, kept, indices, network)


def split_by_owners(graph: fx.Graph, network: nn.Module, names: Sequence[str], owners: Mapping[str, int]) -> Program:
    """The program with these groups. owners: {module or parameter: the number of its group}.

    An operation that belongs to no group is part of the group before it, or of the first one.

    Raises:
        GroupingError: unless the groups run one after the other, each with parameters.
    """
    body = _body(graph)
    indices = _in_turn(owned_by(body, owners), names)
    return _program(graph, names, range(len(names)), indices, network)


def owned_by(body: Sequence[fx.Node], owners: Mapping[str, int]) -> list[int | None]:
    """For each operation the number of the innermost of these modules or parameters that it belongs to; None: of none."""
    return [next((owners[name] for name in prefixes(place(node)) if name in owners), None) for node in body]


def _body(graph: fx.Graph) -> list[fx.Node]:
    """The operations between the images and the output."""
    _, *body, output = graph.nodes
    if not isinstance(output.args[0], fx.Node):
        raise GroupingError("it gives something else than logits")
    return body


def _in_turn(own: Sequence[int | None], names: Sequence[str]) -> list[int]:
    """For each operation the number of its group. own: of those that belong to one."""
    indices, now = [], 0
    for at in own:
        if at is not None and at < now:
            raise GroupingError(f"{names[at]} is used again after {names[now]} has begun")
        now = now if at is None else at
        indices.append(now)
    return indices


def _program(
    graph: fx.Graph, names: Sequence[str], groups: Sequence[int], indices: Sequence[int], network: nn.Module
) -> Program:
    images, *body, output = graph.nodes
    full = _with_parameters(body, indices, network)
    if without := [names[k] for k in groups if k not in full]:
        raise GroupingError(f"{without[0]} runs without parameters of its own")
    where = {images: -1} | dict(zip(body, indices, strict=True))
    carried = [[node for node, at in where.items() if at < k and _needed(node, k, where)] for k in groups]
    split = [[node for node, at in zip(body, indices, strict=True) if at == k] for k in groups]
    return Program(tuple(names[k] for k in groups), split, [*carried, [output.args[0]]])


def _with_parameters(body: Sequence[fx.Node], indices: Sequence[int], network: nn.Module) -> set[int]:
    """The numbers of the groups that have an operation with parameters."""
    owned = {name for name, _ in network.named_parameters()}
    return {at for node, at in zip(body, indices, strict=True) if _owns(node, owned)}


def _owns(node: fx.Node, parameters: Collection[str]) -> bool:
    """Whether an operation is a parameter, or a module that has some."""
    if node.op not in ("call_module", "get_attr"):
        return False
    target = str(node.target)
    return any(name == target or name.startswith(f"{target}.") for name in parameters)


def _needed(node: fx.Node, group: int, where: Mapping[fx.Node, int]) -> bool:
    """Whether an operation of that group or a later one uses the value."""
    return any(where.get(user, group) >= group for user in node.users)


def groups_of_tensors(model: nn.Module, program: Program) -> dict[str, str]:
    """{parameter or buffer: the group that uses it}. Unused buffers belong to their neighbours' group.

    Raises:
        GroupingError: a tensor is used by two groups, also under two names, or a parameter by none.
    """
    groups: dict[str, str] = {}
    first: dict[int, str] = {}  # {id of a parameter: its first name}
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for group, nodes in zip(program.groups, program.nodes, strict=True):
        for target in {str(n.target) for n in nodes if n.op in ("call_module", "get_attr")}:
            for name in (n for n in model.state_dict() if n == target or n.startswith(target + ".")):
                one = first.setdefault(id(parameters[name]), name) if name in parameters else name
                if groups.setdefault(one, group) != group:
                    also = "" if one == name else f" (as {name}); put them into one group"
                    raise GroupingError(f"{one} is used by both {groups[one]} and {group}{also}")
                groups[name] = group
    for name, _ in model.named_parameters():
        if name not in groups:
            raise GroupingError(f"{name} is not used")
    for name in model.state_dict():
        groups.setdefault(name, next((g for g in program.groups if name.startswith(g + ".")), program.groups[0]))
    return groups
