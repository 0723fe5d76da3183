"""Which nodes of a cluster have which kind of devices, and which of them are alive."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from memloc.run.kinds import Kind

LOOK_SECONDS = 5.0  # between two looks at which nodes there are
ANSWER_SECONDS = 60.0  # for a node to say what it has: it starts a process, which imports torch
LABEL = "ray.io/node-id"  # every node has it


@dataclass
class NodeKinds:
    """The kinds of the nodes that compute. known: {node: its kind}. gpus: whether GPUs compute. broken: nodes whose
    GPUs take no more work.

    A new node is asked once, and has a minute to answer; a later answer counts too.
    """

    known: dict[str, Kind] = field(default_factory=dict)
    gpus: bool = False
    broken: frozenset[str] = frozenset()
    _asked: dict[str, Any] = field(default_factory=dict)  # {node: the reference to its answer}
    _looked: float = -LOOK_SECONDS
    _alive: tuple[str, ...] = ()

    def alive(self) -> tuple[str, ...]:
        """The nodes that compute."""
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._alive = tuple(computing_nodes(self.gpus))
            self._looked = time.monotonic()
        return tuple(node for node in self._alive if node not in self.broken)

    def of(self, kind: str) -> list[str]:
        """Those that are alive and have this kind."""
        unknown = [node for node in self.alive() if node not in self.known]
        new = [node for node in unknown if node not in self._asked]
        self._asked |= asked(new, self.gpus)
        if unknown:
            self.known |= answers({node: self._asked[node] for node in unknown}, ANSWER_SECONDS if new else 0)
        return [node for node in self.alive() if node in self.known and self.known[node].name == kind]

    def is_single(self) -> bool:
        """Whether there is one node alone, whose kind nobody has asked for."""
        return len(self.alive()) == 1 and not self.known

    def names(self) -> list[str]:
        """The kinds that are alive."""
        return [self.known[node].name for node in self.alive() if node in self.known]


def computing_nodes(gpus: bool) -> list[str]:
    """The nodes that are alive and have something to compute on."""
    resource = "GPU" if gpus else "CPU"
    return [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get(resource)]


def on_one_of(nodes: Sequence[str]) -> Mapping[str, Any]:
    """Ray's options for a process that runs on one of these nodes."""
    return {"label_selector": {LABEL: f"in({','.join(nodes)})"}}


def ask(nodes: Sequence[str], gpus: bool) -> dict[str, Kind]:
    """The kind of each node that answers within a minute; without a name where there is none, or its process has ended."""
    return answers(asked(nodes, gpus), ANSWER_SECONDS)


def asked(nodes: Sequence[str], gpus: bool) -> dict[str, Any]:
    """{node: the reference to its answer}."""
    return {
        node: _kind.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(gpus)
        for node in nodes
    }


def answers(references: Mapping[str, Any], seconds: float) -> dict[str, Kind]:
    """The kinds of the nodes that answer within these seconds."""
    there, _ = ray.wait(list(references.values()), num_returns=len(references), timeout=seconds)
    kinds = {node: Kind("", "") for node, reference in references.items() if reference in there}
    for node in kinds:
        with suppress(RayError):
            kinds[node] = ray.get(references[node])
    return kinds


# A process of its own, which frees a GPU's memory when it ends.
@ray.remote(num_cpus=0, max_retries=0, max_calls=1)  # type: ignore[untyped-decorator]
def _kind(gpus: bool) -> Kind:
    import torch

    from memloc.run.arithmetic import kind
    from memloc.run.memory import smallest_card
    from memloc.run.provenance import numerics

    smallest = smallest_card() if gpus else None
    cards = range(torch.cuda.device_count()) if gpus else ()
    devices = [torch.device("cuda", card) for card in cards] or [torch.device("cpu")]
    if len({kind(device) for device in devices}) > 1:  # Ray does not say which of them a process will get
        return Kind("", "", smallest)
    return Kind(kind(devices[0]), numerics(devices[0]), smallest)
