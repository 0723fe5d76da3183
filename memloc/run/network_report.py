"""A network for a person: its groups with what is in them, how it was cut, what can be done with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from memloc.config import TrainConfig
from memloc.models.build import build
from memloc.models.groups import State
from memloc.models.traced.network import TracedNetwork
from memloc.run.by_shape.counting import Counting
from memloc.run.by_shape.memory import Needs, needs_of_network
from memloc.run.network_facts import Ability, abilities, built


@dataclass(frozen=True)
class GroupReport:
    """A layer group. parameters: numbers in its parameters. neurons: how many, in the layers `layers` ({layer: how many}).
    sites: the dropout sites in it. operations: for one image; a multiplication and its addition are two.
    """

    group: str
    parameters: int
    neurons: int
    layers: dict[str, int]
    sites: tuple[str, ...]
    operations: int


@dataclass(frozen=True)
class NetworkReport:
    """notes: how the groups came about. own_dropouts: {dropout of the network itself: rate}. memory: of a GPU, that a
    training and its gradients need.
    """

    model: str
    shape: tuple[int, int, int]
    classes: int
    groups: tuple[GroupReport, ...]
    notes: tuple[str, ...]
    own_dropouts: dict[str, float]
    abilities: tuple[Ability, ...]
    memory: tuple[Needs, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """For `--json`, with totals."""
        totals = {name: sum(getattr(g, name) for g in self.groups) for name in ("parameters", "neurons", "operations")}
        memory = [need.as_json() for need in self.memory]
        return {**asdict(replace(self, memory=())), "memory": memory, "totals": totals}


class _Asked(Mapping[str, Tensor]):
    """No factors, but it notes for which dropout sites a group asks."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __contains__(self, name: object) -> bool:
        self.names.append(str(name))
        return False

    def __getitem__(self, name: str) -> Tensor:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 1


def network_report(
    config: TrainConfig, shape: tuple[int, int, int], classes: int, examples: tuple[int, int] | None = None
) -> NetworkReport:
    """The report on the network of a training for images of shape (C, H, W). `misfits` of its architecture are none.

    examples: the numbers of training and of test examples, for the memory of a GPU; None: it is not counted.
    """
    network = build(config, shape, classes).eval()
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    state: State = (torch.zeros(1, *shape),)
    groups = []
    for group in network.groups:
        asked = _Asked()
        with torch.no_grad(), Counting("cpu") as counted:
            state = network.run_group(group, state, masks=asked)
        layers = {layer: prod(gate) for layer, gate in network.neurons.items() if network.group_of(layer) == group}
        sites = tuple(name for name in dict.fromkeys(asked.names) if name in network.sites)
        parameters = sum(sizes[name] for name in network.parameters_of(group))
        groups.append(GroupReport(group, parameters, sum(layers.values()), layers, sites, counted.counts.operations))
    notes = network.opened.notes if isinstance(network, TracedNetwork) else ()
    own = {name: rate for name, (_, rate) in network.stochastic().items()}
    can = tuple(abilities(config, built(config, shape, classes).facts))
    memory = tuple(needs_of_network(config, shape, classes, examples)) if examples else ()
    return NetworkReport(config.model, shape, classes, tuple(groups), notes, own, can, memory)
