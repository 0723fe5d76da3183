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
    """The kinds of the nodes that compute. known: {node: its kind}. gpus: whether GPUs compute. A new node is asked once."""

    known: dict[str, Kind] = field(default_factory=dict)
    gpus: bool = False
    _looked: float = -LOOK_SECONDS
    _alive: tuple[str, ...] = ()

    def alive(self) -> tuple[str, ...]:
        """The nodes that compute."""
        if time.monotonic() - self._looked >= LOOK_SECONDS:
            self._alive = tuple(computing_nodes(self.gpus))
            self._looked = time.monotonic()
        return self._alive

    def of(self, kind: str) -> list[str]:
        """Those that are alive and have this kind."""
        unknown = [node for node in self.alive() if node not in self.known]
        if unknown:
            self.known |= ask(unknown, self.gpus)
        return [node for node in self.alive() if self.known[node].name == kind]

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
    """The kind of each node; without a name where it does not answer in time."""
    pinned = {
        node: _kind.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(gpus)
        for node in nodes
    }
    ray.wait(list(pinned.values()), num_returns=len(pinned), timeout=ANSWER_SECONDS)
    kinds = dict.fromkeys(nodes, Kind("", ""))
    for node, answer in pinned.items():
        with suppress(RayError):
            kinds[node] = ray.get(answer, timeout=0)
    return kinds


# A process of its own, which frees a GPU's memory when it ends.
@ray.remote(num_cpus=0, max_retries=0, max_calls=1)  # type: ignore[untyped-decorator]
def _kind(gpus: bool) -> Kind:
    import torch

    from memloc.run.arithmetic import kind
    from memloc.run.provenance import numerics

    cards = range(torch.cuda.device_count()) if gpus else ()
    devices = [torch.device("cuda", card) for card in cards] or [torch.device("cpu")]
    if len({kind(device) for device in devices}) > 1:  # Ray does not say which of them a process will get
        return Kind("", "")
    return Kind(kind(devices[0]), numerics(devices[0]))
