"""A traced network with its gates and dropout sites, compared with the module itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from memloc.models.dropouts import Shape
from memloc.models.groups import Network
from memloc.models.memory_format import channels_first, channels_last, laid_by_default
from memloc.models.traced.cut import groups_of_tensors
from memloc.models.traced.gate_points import Point, apply, neurons
from memloc.models.traced.origin import Origin
from memloc.models.traced.program import GroupingError, Program
from memloc.models.traced.sites import OwnDropout, Site, own_sites, removed_dropouts, sites
from memloc.models.traced.trace import LAYERS, UntraceableError, traced
from memloc.own_code import BROKEN

LAYOUTS_DIFFER = 0.01  # of the logits: by rounding they differ by much less
VIEW = "; memloc lays images out channels last, so `view` fails where dimensions are joined; take `reshape` or `flatten`"


@dataclass(frozen=True)
class Opened:
    """The program of a network, for one shape of images and one number of classes.

    constants: tensors of the program that belong to no module, by name. tensors, layers: the group of each. sites: {dropout
    site: (C, H, W)}. own: {site of an own dropout: (shape of one example's factor, rate)}. masked: the sites at each
    operation. notes: how the groups came about, and what is one operation.
    """

    program: Program
    constants: dict[str, Tensor]
    tensors: dict[str, str]
    layers: dict[str, str]
    points: dict[fx.Node, Point]
    neurons: dict[str, tuple[int, ...]]
    sites: dict[str, Shape]
    own: dict[str, tuple[tuple[int, ...], float]]
    masked: dict[fx.Node, tuple[Site, ...]]
    notes: tuple[str, ...] = ()

    def __deepcopy__(self, memo: dict[int, Any]) -> Opened:
        return self


@contextmanager
def drawing_from(seed: int) -> Iterator[None]:
    """Seeds the global generators of torch (on the CPU), NumPy and Python; afterwards their states are restored."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


@lru_cache(maxsize=16)
def opened(origin: Origin, shape: Shape, classes: int) -> Opened:
    """The network's program with its gates and sites, compared with the module itself on the CPU.

    Raises:
        GroupingError
    """
    with drawing_from(0), torch.device("cpu"):
        model = channels_last(origin.create(shape, classes).eval())
        _check_names(model)
        if not any(p.requires_grad for p in model.parameters()):
            why = "requires_grad is false for every parameter" if list(model.parameters()) else "it has no parameters"
            raise GroupingError(f"nothing of it can be trained: {why}")
        dropouts = removed_dropouts(model)
        x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)).to(memory_format=torch.channels_last)
        with torch.no_grad():
            wanted = _logits(origin, model, x[:2])
            if not isinstance(wanted, Tensor) or wanted.shape != (2, classes) or not wanted.is_floating_point():
                raise GroupingError(
                    f"for 2 images it gives {_described(wanted)}; valid: logits, floats of shape [2, {classes}]"
                )
            try:
                _check_layout(model, x[:2], wanted)
                return _opened(origin, model, x, dropouts)
            except GroupingError:
                raise
            except BROKEN as error:  # for example, a traced operation may fail for other numbers of images
                what = f"operation by operation it does not run: {origin.explained(error)}"
                raise GroupingError(what + (VIEW if "view size is not compatible" in str(error) else "")) from error


@lru_cache(maxsize=16)
def check_first_weights(origin: Origin, shape: Shape, classes: int) -> None:
    """Raises what `Origin.initialised` raises, if it does."""
    with drawing_from(0), torch.device("cpu"):
        origin.initialised(shape, classes)


def _logits(origin: Origin, model: nn.Module, x: Tensor) -> Any:
    try:
        return _by_itself(model, x)
    except BROKEN as error:  # the module may raise anything if it cannot take these images
        raise GroupingError(f"{origin.fails}: {origin.explained(error)}") from error


def _by_itself(model: nn.Module, x: Tensor) -> Any:
    """What the module gives for images x, which lie channels last. If it fails so, they lie as PyTorch has them by default.

    `view` may fail so. The program has none (trace.py).
    """
    with suppress(RuntimeError):
        return model(x)
    with channels_first(model):
        return model(laid_by_default(x))


def _check_layout(model: nn.Module, x: Tensor, found: Tensor) -> None:
    """Raises GroupingError unless the module computes the same for images that lie as PyTorch has them by default."""
    with channels_first(model):
        usual = model(laid_by_default(x))
    if (found - usual).norm() > LAYOUTS_DIFFER * usual.norm():
        raise GroupingError(
            "it depends on how images lie in memory, as `as_strided` does, and memloc lays them out channels last; take "
            "`unfold`, `reshape` or `flatten`, or the strides that `stride()` gives"
        )


def _check_names(model: nn.Module) -> None:
    """Raises GroupingError if a child or a tensor of the model has two names, or one that a `Network` needs for itself."""
    own = {*dir(Network), *Network.__annotations__, "opened", "made_from"}
    tensors = (*model.named_parameters(recurse=False), *model.named_buffers(recurse=False))
    taken = [name for name, _ in (*model.named_children(), *tensors) if name in own]
    if taken:
        raise GroupingError(f"memloc's networks have something of their own under the name {taken[0]}; rename it")
    first: dict[int, str] = {}
    for name, value in (*model._modules.items(), *model._parameters.items(), *model._buffers.items()):
        if value is not None and (one := first.setdefault(id(value), name)) != name:
            raise GroupingError(f"{one} and {name} are the same; give it one name, and use it twice in `forward`")


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} of shape {list(value.shape)}".removeprefix("torch.")
    return f"a {type(value).__name__}"


def _opened(origin: Origin, model: nn.Module, x: Tensor, dropouts: Mapping[str, OwnDropout]) -> Opened:
    """The cut in which as many modules as possible are traced. (A module that is one operation has no neurons inside.)

    An origin marks kinds of modules that should not be traced. Not all of its reasons hold here. A kind with layers inside
    is traced if the program then still computes what the model does. A kind that cannot be traced is one operation.
    """
    closed = set(origin.untraced().kinds)
    for kind in dict.fromkeys(type(m) for m in model.modules() if type(m) in closed):
        inside = [layer for m in model.modules() if type(m) is kind for layer in list(m.modules())[1:]]
        if any(isinstance(layer, LAYERS) for layer in inside):
            with suppress(Exception):  # if it is traced, it does not run, or computes something else
                _with_closed(origin, model, x, dropouts, frozenset(closed - {kind}))
                closed.remove(kind)
    notes: list[str] = []
    while True:
        try:
            result = _with_closed(origin, model, x, dropouts, frozenset(closed))
            return replace(result, notes=(*result.notes, *notes))
        except UntraceableError as error:
            why = origin.explained(error.cause)
            if error.kind is None or error.kind in closed:
                raise GroupingError(f"its forward pass cannot be traced: {why}") from error
            closed.add(error.kind)
            notes.append(f"{error.kind.__name__} is one operation, without neurons inside: it cannot be traced: {why}")


def _with_closed(
    origin: Origin, model: nn.Module, x: Tensor, dropouts: Mapping[str, OwnDropout], closed: frozenset[type[nn.Module]]
) -> Opened:
    """The cut in which each module of these kinds is one operation.

    Raises:
        GroupingError
    """
    graph, constants = traced(model, closed, origin.untraced().functions)
    for key, constant in constants.items():
        model.register_buffer(key, constant, persistent=False)
    program, notes = origin.program(model, graph)
    size = program.shapes(model, x[:2])
    points, gates = neurons(model, program, size, origin.without_neurons(model))
    at, shapes = sites(model, program, size, origin.sites)
    own_at, own = own_sites(program, size, dropouts)
    _check_dropouts(model, program, dropouts)
    masked = {n: tuple(s for s in (own_at.get(n), at.get(n)) if s) for n in program.body() if n in at or n in own_at}
    each = zip(program.groups, program.nodes, strict=True)
    layers = {points[node].layer: group for group, nodes in each for node in nodes if node in points}
    tensors = groups_of_tensors(model, program)
    result = Opened(program, constants, tensors, layers, points, gates, shapes, own, masked, tuple(notes))
    _check(model, result, x)
    return result


def _check_dropouts(model: nn.Module, program: Program, dropouts: Mapping[str, OwnDropout]) -> None:
    """Raises GroupingError for a dropout that drops everything, or that would never act inside of one operation."""
    for name, dropout in dropouts.items():
        if dropout.rate >= 1:
            raise GroupingError(f"the dropout {name} drops everything; valid: a rate below 1")
    for node in (n for n in program.body() if n.op == "call_module"):
        for name in (name for name in dropouts if name.startswith(f"{node.target}.")):
            kind = type(model.get_submodule(str(node.target))).__name__
            raise GroupingError(
                f"the dropout {name} would not act: {node.target} ({kind}) is one operation, and memloc draws what is "
                "between operations; put it behind that module, or set its rate to 0"
            )


def _check(model: nn.Module, result: Opened, x: Tensor) -> None:
    """Checks that the program computes what the model does, in both modes, and that each image has gates of its own."""

    def run(count: int, gates: Mapping[str, Tensor] | None = None) -> Tensor:
        state: tuple[Any, ...] = (x[:count],)

        def gated(node: fx.Node, args: tuple[Any, ...], call: Callable[[tuple[Any, ...]], Any]) -> Any:
            point = result.points.get(node)
            return (
                call(args) if gates is None or point is None else apply(point, gates[point.layer], model, node, args, call)
            )

        for group in result.program.groups:
            before = [value.clone() if isinstance(value, Tensor) else value for value in state]
            after = result.program.run(model, group, state, gated)
            if any(isinstance(b, Tensor) and not torch.equal(a, b) for a, b in zip(state, before, strict=True)):
                raise GroupingError(f"{group} changes its input in place")
            state = after
        logits: Tensor = state[0]
        return logits

    def differ(a: Tensor, b: Tensor) -> bool:
        return not torch.allclose(a, b, rtol=1e-4, atol=1e-5)

    for training in (False, True):
        model.train(training)
        wanted = _by_itself(model, x)
        if training and differ(_by_itself(model, x), wanted):
            raise GroupingError(
                "in training two passes over the same images differ: it draws at random (nn.Dropout is what memloc can draw "
                "by key), or each pass changes it, as with nn.utils.spectral_norm"
            )
        if differ(run(3), wanted):
            raise GroupingError("cut into groups it does not compute the same")
    model.eval()
    gates = {layer: torch.stack([torch.ones(s), torch.zeros(s)]) for layer, s in result.neurons.items()}
    if differ(run(2, gates)[:1], _by_itself(model, x[:2])[:1]):
        raise GroupingError(_other_weights(model, result) or "its images do not keep to themselves")


def _other_weights(model: nn.Module, result: Opened) -> str:
    """Which layer of a class of its own multiplies by something that its weights do not say; "" if there is none."""
    for point in result.points.values():
        module = model.get_submodule(point.layer)
        if point.kind == "weights" and type(module).forward not in (nn.Linear.forward, nn.Conv2d.forward):
            kind = f"{point.layer} ({type(module).__name__})"
            return f"{kind} multiplies by other numbers than its weights; derive it from nn.Module"
    return ""
