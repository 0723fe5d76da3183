"""Which requests to Ray are admitted: trainings before tasks, and tasks trial by trial. No Ray here; run/ray has the actor.

Ray has no priorities. A trainer that wants a whole GPU would wait behind a stream of tasks that want halves, until the last
of them is done. The sweep would end with a few trainings on an otherwise idle cluster. So coordinators ask for no task while
such a trainer waits for a place, and never for many more tasks than can run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

WINDOW = 2.0  # tasks asked for per task that can run: for every slot one that runs and one that is next
SILENT_SECONDS = 30.0  # a coordinator that is silent for so long is lost; its replacement will report


@dataclass(frozen=True)
class Report:
    """The state of a trial, as its coordinator reports it.

    trainer_waits: its trainer waits for a place, or for its process to start. larger: the trainer holds more than a task.
    fans_out: the training is done, and tasks go out, wave after wave. asked: tasks that run or wait for a place. queued:
    tasks not asked for yet. fitting: how many of them could run at once if the trial were alone.
    """

    trainer_waits: bool = False
    larger: bool = False
    fans_out: bool = True
    asked: int = 0
    queued: int = 0
    fitting: int = 1


def window(waiting: bool, larger: bool) -> float:
    """How many tasks may be asked for, per task that can run at once.

    waiting: any trainer waits. larger: one of them holds more than a task (a whole GPU beside halves). Such a trainer would
    never find enough room in one place while another task follows each task that ends. A trainer that needs no more than a
    task's place (on CPUs) gets the next free one.
    """
    return 0.0 if larger else 1.0 if waiting else WINDOW


class Admission:
    """The coordinators' last reports, in the order in which they began to fan out."""

    def __init__(self) -> None:
        self._reports: dict[str, tuple[float, Report]] = {}

    def report(self, trial: str, report: Report, now: float) -> int:
        """How many more tasks the trial may ask for; its report counts from now on (seconds on any clock)."""
        known = self._reports.get(trial)
        if known and report.fans_out and not known[1].fans_out:
            del self._reports[trial]  # at the end of the line
        self._reports[trial] = now, report
        self._reports = {t: (then, r) for t, (then, r) in self._reports.items() if now - then <= SILENT_SECONDS}
        waiting = [r for _, r in self._reports.values() if r.trainer_waits]
        room = window(bool(waiting), any(r.larger for r in waiting))
        room -= sum(r.asked / r.fitting for _, r in self._reports.values())
        for other, (_, earlier) in self._reports.items():
            if other == trial:
                break
            room -= earlier.queued / earlier.fitting
        granted = max(0, min(report.queued, int(room * report.fitting + 1e-9)))
        granted_now = replace(report, asked=report.asked + granted, queued=report.queued - granted)
        self._reports[trial] = now, granted_now  # until it reports that it has asked for them
        return granted

    def leave(self, trial: str) -> None:
        """The trial is done, or drained."""
        self._reports.pop(trial, None)
