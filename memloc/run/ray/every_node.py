"""Asks every node of a cluster for its facts, by a task that is pinned to it (`memloc doctor --address`)."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from memloc.errors import StoreError, error_line
from memloc.run.node_facts import NodeFacts, node_facts
from memloc.run.placement import Node, Resources
from memloc.run.ray.connect import connected
from memloc.store import Store, probing
from memloc.store.probing import Probe

PATIENCE = 90.0  # seconds; a node that is free answers in about ten: it starts a process, which imports torch


@dataclass(frozen=True)
class AskedNode:
    """A node.

    name: its host; with its address, if another node has the same host. offer: what Ray hands out there. facts: what it
    says; None if it does not answer. problem: then, why. is_seen: whether the driver reads what the node has written.
    """

    name: str
    offer: Node
    facts: NodeFacts | None = None
    problem: str = ""
    is_seen: bool = False


def ask_nodes(address: str, uri: str, driver: Probe | None) -> list[AskedNode]:
    """What every node says that is alive, the head first.

    Args:
        address: of the cluster.
        uri: the store; a path must be absolute.
        driver: what the driver has written into the store; None if it could not.

    Raises:
        UsageError: the cluster cannot be used.
    """
    with connected(Resources(address), "doctor"):
        alive = [node for node in ray.nodes() if node["Alive"]]
        alive.sort(key=lambda node: "node:__internal_head__" not in node["Resources"])
        answers = [_pinned(_facts, node["NodeID"]).remote(uri, driver) for node in alive]
        ray.wait(answers, num_returns=len(answers), timeout=PATIENCE)
        hosts = Counter(node["NodeManagerHostname"] for node in alive)
        asked = [_asked(node, answer, hosts, uri) for node, answer in zip(alive, answers, strict=True)]
        _remove_probes(uri, {node["NodeID"]: known for node, known in zip(alive, asked, strict=True)})
        return asked


def _pinned(task: Any, node: str) -> Any:
    return task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))


# A process of its own, which frees a GPU's memory when it ends.
@ray.remote(num_cpus=0, max_retries=0, max_calls=1)  # type: ignore[untyped-decorator]
def _facts(uri: str, driver: Probe | None) -> NodeFacts:
    return node_facts(uri, driver, ray._private.worker._global_node.get_temp_dir_path())


@ray.remote(num_cpus=0, max_retries=0)  # type: ignore[untyped-decorator]
def _remove(uri: str, probe: Probe) -> None:
    probing.remove(Store(uri).files, probe)


def _asked(node: dict[str, Any], answer: Any, hosts: Counter[str], uri: str) -> AskedNode:
    host = node["NodeManagerHostname"]
    name = host if hosts[host] == 1 else f"{host} (node {node['NodeID'][:6]})"
    try:
        facts = ray.get(answer, timeout=0)
    except GetTimeoutError:
        ray.cancel(answer, force=True)
        why = f"does not answer within {PATIENCE:g} s; `ray status` on the cluster says what it is doing"
        return AskedNode(name, node["Resources"], None, why)
    except RayError as error:
        return AskedNode(
            name, node["Resources"], None, error_line(error.cause if isinstance(error, RayTaskError) else error)
        )
    seen = False
    with suppress(StoreError):
        seen = facts.store.probe is not None and probing.is_seen(Store(uri).files, facts.store.probe)
    return AskedNode(name, node["Resources"], facts, "", seen)


def _remove_probes(uri: str, asked: dict[str, AskedNode]) -> None:
    """Removes what each node has written: here, or on the node if it is seen from there alone. asked: by Ray's node id."""
    removals = []
    for node, known in asked.items():
        if known.facts is None or known.facts.store.probe is None:
            continue
        if known.is_seen:
            probing.remove(Store(uri).files, known.facts.store.probe)
        else:
            removals.append(_pinned(_remove, node).remote(uri, known.facts.store.probe))
    if removals:
        ray.wait(removals, num_returns=len(removals), timeout=PATIENCE)
