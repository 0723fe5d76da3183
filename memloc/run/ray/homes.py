"""Where the processes of one trial may run: what must reach the same bits, on nodes with one kind of device."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from memloc.run.kinds import KIND_SECONDS, failed, waits
from memloc.run.placement import Assignment
from memloc.run.ray.node_kinds import NodeKinds, on_one_of


class Homes:
    """Parts by their ids, that of the training being the trial's, and the kind of device that they need."""

    def __init__(self, assignment: Assignment) -> None:
        self.nodes = NodeKinds(dict(assignment.kinds), bool(assignment.trainer.get("num_gpus")))
        self._until = assignment.until  # later if a node with the kind has been seen since
        self._where = "the cluster" if assignment.until else "this machine"
        self._parts = assignment.home.parts
        self._kinds: dict[str, str] = {}
        self._refused: set[str] = set()  # what came back from a node of another kind
        self._places: dict[Any, list[str]] = {}  # {reference to a result: the nodes where its process may run}
        self._may_begin_anew = set() if assignment.home.must else {assignment.steps.trial}
        if assignment.home.kind:
            self._bind({assignment.steps.trial, *self._parts}, assignment.home.kind)

    def trained(self, kind: str) -> None:
        """The training is committed with this kind of device; "" where nobody asked."""
        if kind:
            self._bind(self._parts, kind)
            self._seen()

    def refused(self, part_id: str, kind: str) -> None:
        """A process on another kind of device has given the part back."""
        self._bind([part_id], kind)
        self._refused.add(part_id)
        self._may_begin_anew.discard(part_id)

    def place(self, part_ids: Collection[str]) -> Mapping[str, Any] | None:
        """Ray's options for a process of these parts; None while no node has what they need.

        A training that is not committed begins anew on another kind of device then. On a single node there is no choice.
        """
        kind = self.kind(part_ids)
        if not kind or (self.nodes.is_single() and not self._refused.intersection(part_ids)):
            return {}
        if nodes := self.nodes.of(kind):
            self._seen()
            return on_one_of(nodes)
        if self._may_begin_anew.issuperset(part_ids):
            self._kinds = {}
            return {}
        return None

    def begun(self, reference: Any, place: Mapping[str, Any], part_ids: Collection[str]) -> None:
        """A process has been asked for."""
        if place:
            self._places[reference] = self.nodes.of(self.kind(part_ids))

    def unreachable(self, references: Iterable[Any]) -> list[Any]:
        """Those whose processes can begin nowhere any more, since their nodes are lost. Ray would wait for them for ever."""
        known = {reference: self._places[reference] for reference in references if reference in self._places}
        return [reference for reference, nodes in known.items() if not set(nodes).intersection(self.nodes.alive())]

    def kind(self, part_ids: Collection[str]) -> str:
        """The kind of device that one of these parts needs; "" if none of them does."""
        return next((self._kinds[part_id] for part_id in part_ids if part_id in self._kinds), "")

    def waits(self, part_ids: Collection[str]) -> str:
        """What is said of parts that wait for a place; "" where every node would do."""
        kind = self.kind(part_ids)
        if not kind or set(there := self.nodes.names()) == {kind}:
            return ""
        return f"waits for {kind}" if kind in there else waits(kind, there, self._where)

    def given_up(self, part_ids: Collection[str]) -> str:
        """The line of parts that have waited in vain for a node of their kind; "" while they may still wait."""
        if time.time() < self._until:
            return ""
        return failed(self.kind(part_ids), self.nodes.names(), self._where)

    def _seen(self) -> None:
        """A node with the kind is there. If it is lost, another one may join; on a single machine nothing is waited for."""
        if self._until:
            self._until = max(self._until, time.time() + KIND_SECONDS)

    def _bind(self, part_ids: Iterable[str], kind: str) -> None:
        self._kinds |= dict.fromkeys(part_ids, kind)
