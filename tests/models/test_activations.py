"""What counts as an activation: torch's modules of activations, and the functions and methods of their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import activation

from memloc.models.dropouts import Shape
from memloc.models.traced.network import TracedNetwork
from memloc.models.traced.origin import Origin

ARGUMENTS: dict[str, tuple[Any, ...]] = {"Threshold": (-0.1, 0.2)}  # those of the others have defaults
MIXING = {"GLU", "MultiheadAttention", "Softmin", "Softmax", "Softmax2d", "LogSoftmax"}
RANDOM = {"RReLU"}  # refused: its numbers would not be keyed
ACTIVE = sorted(set(activation.__all__) - MIXING - RANDOM)


class Two(nn.Module):
    """A hidden layer whose outputs `act` changes. What it gives has no name of its own in the network."""

    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fc1, self.fc2, self.act = nn.Linear(4, 6), nn.Linear(6, 3), act

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc2(self.act(self.fc1(x.flatten(1))))
        return logits


class Made(Origin):
    key = "two"

    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        self.act = act

    def create(self, shape: Shape, classes: int) -> nn.Module:
        return Two(self.act)


def same(module: nn.Module) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """(how, what computes the same): the functions and methods of the module's name, also in place."""
    name = type(module).__name__.lower()
    name = {"leakyrelu": "leaky_relu"}.get(name, name)
    given = ARGUMENTS.get(type(module).__name__, ())
    if name == "prelu":
        given = (torch.tensor([0.25]),)
    for space in (F, torch):
        if found := getattr(space, name, None):
            yield f"{space.__name__}.{name}", partial(_called, found, given)
            yield f"{space.__name__}.{name}, by name", partial(_called_by_name, found, _named(name, given))
        if found := getattr(space, f"{name}_", None):
            yield f"{space.__name__}.{name}_", partial(_called, found, given)
    if hasattr(Tensor, name):
        yield f"Tensor.{name}", lambda x: getattr(x, name)(*given)
    if hasattr(module, "inplace"):
        yield "in place, by name", lambda x: getattr(F, name)(x, *given, inplace=True)
        yield "in place", lambda x: getattr(F, name)(x, *(given or _defaults(name)), True)


def _called(function: Callable[..., Tensor], given: tuple[Any, ...], x: Tensor) -> Tensor:
    return function(x, *given)


def _called_by_name(function: Callable[..., Tensor], given: dict[str, Any], x: Tensor) -> Tensor:
    return function(input=x, **given)


def _named(name: str, given: tuple[Any, ...]) -> dict[str, Any]:
    names = {"threshold": ("threshold", "value"), "prelu": ("weight",)}
    return dict(zip(names.get(name, ()), given, strict=True))


def _defaults(name: str) -> tuple[Any, ...]:
    """What stands between the input and `inplace`."""
    return {"celu": (1.0,), "elu": (1.0,), "hardtanh": (-1.0, 1.0), "leaky_relu": (0.01,)}.get(name, ())


CASES = [
    pytest.param(getattr(activation, kind), act, id=f"{kind}: {how}")
    for kind in ACTIVE
    for how, act in same(getattr(activation, kind)(*ARGUMENTS.get(kind, ())))
]


def made(act: Callable[[Tensor], Tensor]) -> TracedNetwork:
    network = TracedNetwork(Made(act), (1, 2, 2), 3)
    network.initialise(0)
    return network.eval()


def given_to_the_second(network: TracedNetwork, gate: Tensor) -> Tensor:
    """What the second layer is given while a gate acts on the first."""
    seen: list[Tensor] = []
    handle = network.fc2.register_forward_hook(lambda _, given, __: seen.append(given[0]))  # type: ignore[union-attr]
    network(3 * torch.randn(5, 1, 2, 2, generator=torch.Generator().manual_seed(1)), gates={"fc1": gate})
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("kind", ACTIVE)
def test_a_module(kind: str) -> None:
    _closes_behind(getattr(activation, kind)(*ARGUMENTS.get(kind, ())))


@pytest.mark.parametrize(("kind", "act"), CASES)
def test_a_function_is_an_activation_as_its_module_is(kind: type[nn.Module], act: Callable[[Tensor], Tensor]) -> None:
    module = kind(*ARGUMENTS.get(kind.__name__, ())).eval()
    assert torch.equal(_closes_behind(act), _closes_behind(module))


def _closes_behind(act: Callable[[Tensor], Tensor]) -> Tensor:
    """A closed unit is 0 behind the activation, also where the activation of 0 is not 0. Returns what the others are."""
    network = made(act)
    assert network.neurons == {"fc1": (6,), "fc2": (3, 6)}
    open_, gate = given_to_the_second(network, torch.ones(5, 6)), torch.ones(5, 6)
    assert open_.any()
    gate.view(-1)[open_.abs().argmax()] = 0.0
    assert torch.equal(given_to_the_second(network, gate), open_ * gate)
    return open_


@pytest.mark.parametrize("act", [nn.Softmax(1), nn.Softmin(1), nn.LogSoftmax(1), partial(F.softmax, dim=1), nn.Identity()])
def test_what_mixes_the_units_is_none(act: Callable[[Tensor], Tensor]) -> None:
    """Closing one of them would be no dropped unit: the others were computed from it."""
    assert made(act).neurons == {"fc2": (3, 6)}
