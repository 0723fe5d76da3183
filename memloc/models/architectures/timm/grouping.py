"""Cuts a model of timm into groups, finds its gates and dropout sites, and checks that it can be run this way.

Groups: `stem`; the children of a top-level `blocks`, `stages`, `layers` or `features` (`blocks.0`, …), or numbered top-level
stages (`layer1`, `s1`, …); `head`. The operations before the first stage belong to the stem, those after the last one to the
head. Every group has parameters, so a stem without parameters is part of the first stage.

Dropout sites: after every group but the head, if the group hands on exactly one tensor: (C, H, W), or (C, N, 1) for N
tokens. timm's dropouts and stochastic depth are off.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, fx, nn

from memloc.errors import error_line
from memloc.models.architectures.timm.gate_points import Point, apply, neurons
from memloc.models.architectures.timm.trace import GroupingError, Program, shapes, split_into_groups, traced
from memloc.models.dropouts import Shape
from memloc.models.groups import State
from memloc.models.memory_format import channels_last

CONTAINERS = ("blocks", "stages", "layers", "features")
LAYERS = (nn.modules.conv._ConvNd, nn.Linear)
NUMBERED = re.compile(r"(layer|stage|block|s)\d+")


@dataclass(frozen=True)
class GroupedProgram:
    """The program of a model, for one shape of images and one number of classes.

    constants: tensors of the program that belong to no module, by name. tensors, layers: the group of each. sites: {dropout
    site: (C, H, W)}. layouts: {site: how its activations lie: NCHW, NHWC, or NLC for tokens}.
    """

    program: Program
    constants: dict[str, Tensor]
    tensors: dict[str, str]
    layers: dict[str, str]
    points: dict[fx.Node, Point]
    neurons: dict[str, tuple[int, ...]]
    sites: dict[str, Shape]
    layouts: dict[str, str]

    def __deepcopy__(self, memo: dict[int, Any]) -> GroupedProgram:
        return self


def create(name: str, shape: Shape, classes: int) -> nn.Module:
    """timm's model with its initialisation and without dropout, for images of this size if the model has a size.

    Attention is written out, because PyTorch's fused form adds up its gradient in no fixed order on a GPU.
    """
    import timm

    wanted: dict[str, Any] = {"pretrained": False, "in_chans": shape[0], "num_classes": classes}
    sized, rates = {"img_size": shape[1:]}, {"drop_rate": 0.0, "drop_path_rate": 0.0}
    model: nn.Module = _first_accepted(
        lambda more: timm.create_model(name, **wanted, **more),
        [size | off for size in (sized, {}) for off in (rates, {"drop_rate": 0.0}, {})],
    )
    for module in model.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
        if hasattr(module, "inplace"):
            module.inplace = False  # type: ignore[assignment]
    return model


def _first_accepted(create: Callable[[dict[str, Any]], nn.Module], options: list[dict[str, Any]]) -> nn.Module:
    """The model made with the first of the options that it accepts. The last options must be accepted."""
    for more in options[:-1]:
        with suppress(TypeError):
            return create(more)
    return create(options[-1])


@lru_cache(maxsize=16)
def grouped_program(name: str, shape: Shape, classes: int) -> GroupedProgram:
    """The model's program with its gates and sites, compared with the model itself on the CPU.

    Raises:
        GroupingError
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.no_grad():
        torch.default_generator.manual_seed(0)
        x = torch.randn(3, *shape).to(memory_format=torch.channels_last)  # as in a training
        try:
            model = channels_last(create(name, shape, classes).eval())
            wanted = model(x[:2])
        except Exception as error:  # the library may raise anything if it cannot take these images
            raise GroupingError(f"timm says: {error_line(error, with_type=False)}") from error
        if not isinstance(wanted, Tensor) or wanted.shape != (2, classes):
            raise GroupingError("it is no classifier of whole images")
        try:
            return _opened(model, x)
        except GroupingError:
            raise
        except Exception as error:  # for example, a traced operation may fail for other numbers of images
            raise GroupingError(f"operation by operation it does not run: {error_line(error, with_type=False)}") from error


def misfit(name: str, shape: Shape, classes: int) -> str | None:
    """Why timm's model of this name cannot be run on images of shape (C, H, W), in one line; None if it can."""
    try:
        grouped_program(name, shape, classes)
    except GroupingError as error:
        return str(error)
    return None


def _opened(model: nn.Module, x: Tensor) -> GroupedProgram:
    """The cut in which as many modules as possible are traced. (A module that is one operation has no neurons inside.)

    timm marks kinds of modules that should not be traced. Not all of its reasons hold here. A kind with layers inside is
    traced if the program then still computes what the model does.
    """
    from timm.layers import get_notrace_modules

    closed = set(get_notrace_modules())
    kinds = dict.fromkeys(type(m) for m in model.modules() if type(m) in closed)
    for kind in kinds:
        inside = [layer for m in model.modules() if type(m) is kind for layer in list(m.modules())[1:]]
        if any(isinstance(layer, LAYERS) for layer in inside):
            with suppress(Exception):  # if it is traced, it does not run, or computes something else
                _grouped_with(model, x, closed - {kind})
                closed.remove(kind)
    return _grouped_with(model, x, closed)


def _grouped_with(model: nn.Module, x: Tensor, closed: Collection[type[nn.Module]]) -> GroupedProgram:
    """The cut in which each module of these kinds is one operation.

    Raises:
        GroupingError
    """
    from timm.layers import get_notrace_functions

    functions = [f for f in get_notrace_functions() if callable(f)]
    graph, constants = traced(model, closed, functions)
    units = _units(model, {n.target for n in graph.nodes if n.op in ("call_module", "get_attr")})
    for key, constant in constants.items():
        model.register_buffer(key, constant, persistent=False)
    program = split_into_groups(graph, model, units)
    size = shapes(graph, model, x[:2])
    points, gates = neurons(model, program)
    sites, layouts = _sites(model, program, size)
    each = zip(program.groups, program.nodes, strict=True)
    layers = {points[node].layer: group for group, nodes in each for node in nodes if node in points}
    result = GroupedProgram(program, constants, _groups_of_tensors(model, program), layers, points, gates, sites, layouts)
    _check(model, result, x)
    return result


def _units(model: nn.Module, used: set[Any]) -> list[str]:
    """The names of the stages or blocks that have parameters, in the order in which the model has them."""
    units = []
    for name, child in model.named_children():
        if name.endswith(CONTAINERS) and isinstance(child, nn.Sequential | nn.ModuleList):
            units += [f"{name}.{k}" for k, inner in child.named_children() if any(True for _ in inner.parameters())]
        elif NUMBERED.fullmatch(name) and any(True for _ in child.parameters()):
            units.append(name)
    units = [u for u in units if any(str(target) == u or str(target).startswith(u + ".") for target in used)]
    if not units:
        raise GroupingError("it has no stages or blocks by which to cut it")
    return units


def _groups_of_tensors(model: nn.Module, program: Program) -> dict[str, str]:
    """{parameter or buffer: the group that uses it}. Unused buffers belong to their neighbours' group."""
    groups: dict[str, str] = {}
    for group, nodes in zip(program.groups, program.nodes, strict=True):
        for target in {str(n.target) for n in nodes if n.op in ("call_module", "get_attr")}:
            for name in (n for n in model.state_dict() if n == target or n.startswith(target + ".")):
                if groups.setdefault(name, group) != group:
                    raise GroupingError(f"{name} is used by both {groups[name]} and {group}")
    for name, _ in model.named_parameters():
        if name not in groups:
            raise GroupingError(f"{name} is not used")
    for name in model.state_dict():
        groups.setdefault(name, next((g for g in program.groups if name.startswith(g + ".")), program.groups[0]))
    return groups


def _sites(
    model: nn.Module, program: Program, size: Mapping[fx.Node, torch.Size]
) -> tuple[dict[str, Shape], dict[str, str]]:
    sites: dict[str, Shape] = {}
    layouts: dict[str, str] = {}
    for group, carried in zip(program.groups[:-1], program.carried[1:], strict=False):
        if len(carried) != 1 or carried[0] not in size:
            continue
        _, *rest = size[carried[0]]
        if len(rest) == 2:
            layouts[group], sites[group] = "NLC", (rest[1], rest[0], 1)
        elif len(rest) == 3:
            layouts[group] = str(getattr(model, "output_fmt", "NCHW"))
            sites[group] = (rest[2], rest[0], rest[1]) if layouts[group] == "NHWC" else (rest[0], rest[1], rest[2])
    return sites, layouts


def _check(model: nn.Module, result: GroupedProgram, x: Tensor) -> None:
    """Checks that the program computes what the model does, in both modes, and that each image has gates of its own."""

    def run(count: int, gates: Mapping[str, Tensor] | None = None) -> Tensor:
        state: State = (x[:count],)

        def gated(node: fx.Node, args: tuple[Any, ...], call: Callable[[tuple[Any, ...]], Any]) -> Any:
            point = result.points.get(node)
            return (
                call(args) if gates is None or point is None else apply(point, gates[point.layer], model, node, args, call)
            )

        for group in result.program.groups:
            state = result.program.run(model, group, state, gated)
        return state[0]

    def differ(a: Tensor, b: Tensor) -> bool:
        return not torch.allclose(a, b, rtol=1e-4, atol=1e-5)

    for training in (False, True):
        model.train(training)
        wanted = model(x)
        if training and differ(model(x), wanted):
            raise GroupingError("it draws at random in training")
        if differ(run(3), wanted):
            raise GroupingError("cut into groups it does not compute the same")
    model.eval()
    gates = {layer: torch.stack([torch.ones(s), torch.zeros(s)]) for layer, s in result.neurons.items()}
    if differ(run(2, gates)[:1], model(x[:2])[:1]):
        raise GroupingError("its images do not keep to themselves")
