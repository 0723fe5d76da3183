"""Admission as an actor. All coordinators of a run ask it, and trainers tell it their progress."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import ray

from memloc.run.admission import Admission, Report
from memloc.run.quarantine import CardPlace, Quarantine
from memloc.run.ray.holding import Holders, gpus_of_nodes
from memloc.store.patience import LONGEST_TRY, LONGEST_WAIT

News: TypeAlias = list[tuple[int, Mapping[str, Any]]]  # epochs with their rows, as `run_training` tells of them
# Who waits for the storage says so with every try. A process that has said nothing for so long is lost.
SILENT_SECONDS = 2 * LONGEST_WAIT + LONGEST_TRY


@dataclass(frozen=True)
class Answer:
    """What a coordinator hears of its trial.

    granted: how many more tasks it may ask for. host: where its training has a place. epochs: those since the last report.
    fault: the fault of the storage for which one of its processes waits, else empty. device: how the device of one of its
    processes has failed since the last report, else empty. cards: what is said of cards that take no more work since the
    last report of any trial. broken: the nodes with no other cards. no_card: what is said if no node has another one, else
    empty.
    """

    granted: int
    host: str
    epochs: News
    fault: str
    device: str
    cards: tuple[str, ...] = ()
    broken: frozenset[str] = frozenset()
    no_card: str = ""


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class AdmissionActor:
    """Answers one call after the other, in microseconds. If it is lost, its replacement knows all within half a second,
    but for broken cards, which must fail again.
    """

    def __init__(self) -> None:
        self.admission = Admission()
        self.hosts: dict[str, str] = {}
        self.news: dict[str, News] = {}
        self.devices: dict[str, str] = {}  # {trial: how the device of one of its processes has failed}
        self.faults: dict[str, dict[str, tuple[float, str]]] = {}  # {trial: {process: (when it last said so, the fault)}}
        self.cards = Quarantine()
        self.holders = Holders(self.cards)
        self.said: list[str] = []  # of cards, and no coordinator has heard it yet
        self.broken_nodes: frozenset[str] = frozenset()
        self.no_card = ""

    def report(self, trial: str, report: Report) -> Answer:
        """Takes the report of a coordinator, and answers with the news of its trial."""
        granted = self.admission.report(trial, report, time.monotonic())
        fault = next(iter(self._faults(trial).values()), "")
        self.holders.look()
        said, self.said = tuple(self.said), []
        news = self.hosts.get(trial, ""), self.news.pop(trial, [])
        return Answer(granted, *news, fault, self.devices.pop(trial, ""), said, self.broken_nodes, self.no_card)

    def _faults(self, trial: str) -> dict[str, str]:
        """{process: its fault} of those of the trial that wait for the storage."""
        now, known = time.monotonic(), self.faults.get(trial, {})
        return {process: fault for process, (said, fault) in known.items() if now - said < SILENT_SECONDS}

    def waiting(self, process: str) -> dict[str, str]:
        """{trial: the fault} of the trials whose process of this name waits for the storage."""
        faults = {trial: self._faults(trial) for trial in self.faults}
        return {trial: known[process] for trial, known in faults.items() if process in known}

    def failed_device(self, trial: str, how: str, card: CardPlace | None) -> None:
        """The device of a process of the trial has failed, and the process ends. card: None if it is a CPU."""
        self.devices[trial] = how
        if card is not None and self.cards.failed(card, how):
            self.holders.hold(card)

    def gets_work(self, card: CardPlace) -> bool:
        """Whether work may begin on the card."""
        return self.cards.gets_work(card)

    def worked(self, card: CardPlace) -> None:
        """Work has been done on the card."""
        self.cards.worked(card)

    def broken(self, card: CardPlace) -> None:
        """A suspect card is held, and does not compute."""
        if card in self.cards.broken:
            return
        self.said.append(self.cards.breaks(card))
        gpus = gpus_of_nodes()
        self.broken_nodes = self.cards.broken_nodes(gpus)
        if all(node in self.broken_nodes for node, count in gpus.items() if count):
            self.no_card = self.cards.none_left()

    def placed(self, trial: str, host: str) -> None:
        """The training of the trial has a place on this host."""
        self.hosts[trial] = host

    def reached(self, trial: str, host: str, epoch: int, row: Mapping[str, Any]) -> None:
        """The training of the trial has reached an epoch; row: that of table `epochs`."""
        self.hosts[trial] = host  # an actor that was replaced does not know
        self.news.setdefault(trial, []).append((epoch, row))

    def waits(self, trial: str, process: str, fault: str) -> None:
        """A process of the trial waits for the storage; fault: "" if it waits no more."""
        faults = self.faults.setdefault(trial, {})
        faults.pop(process, None)
        if fault:
            faults[process] = time.monotonic(), fault

    def leave(self, trial: str) -> None:
        """The trial is done, drained or lost, or its trainer is."""
        self.faults.pop(trial, None)
        self.devices.pop(trial, None)
        self.hosts.pop(trial, None)
        self.news.pop(trial, None)
        self.admission.leave(trial)


def open_admission() -> Any:
    """A run's admission, on the driver's node. It lives as long as a handle to it does."""
    here = {f"node:{ray.util.get_node_ip_address()}": 0.001}
    return AdmissionActor.options(resources=here).remote()  # type: ignore[attr-defined]
