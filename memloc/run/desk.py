"""Who may ask Ray for what: trainings before tasks, and tasks trial by trial. No Ray here; an actor holds one (run/ray).

Ray has no priorities: a trainer that wants a whole GPU would wait behind a stream of tasks that want halves until the last
of them is done, and the sweep would end with a few trainings on an otherwise idle cluster. So coordinators ask for
tasks only while no trainer waits for a place, and never for many more than can run.
"""

from __future__ import annotations

from dataclasses import dataclass

WINDOW = 2.0  # tasks asked for, of as many as can run at once: one that runs and one that is next, for every slot
SILENT_SECONDS = 30.0  # a coordinator that says nothing for so long is lost; the one that replaces it will report


@dataclass(frozen=True)
class Report:
    """What a coordinator wants.

    trainer_waits: for a place. asked: its tasks that run or wait for a place, queued: those not asked for yet, fitting: how
    many of them the cluster can run at once.
    """

    trainer_waits: bool = False
    asked: int = 0
    queued: int = 0
    fitting: int = 1


class Desk:
    """The coordinators' last reports, in the order in which they first wanted tasks."""

    def __init__(self) -> None:
        self._reports: dict[str, tuple[float, Report]] = {}

    def report(self, trial: str, report: Report, now: float) -> int:
        """How many more tasks the trial may ask for; its report counts from now on (seconds on any clock)."""
        known = self._reports.get(trial)
        if known and bool(known[1].queued) != bool(report.queued):
            del self._reports[trial]  # a new wave: at the end of the line
        self._reports[trial] = now, report
        self._reports = {t: (then, r) for t, (then, r) in self._reports.items() if now - then <= SILENT_SECONDS}
        if any(r.trainer_waits for _, r in self._reports.values()):
            return 0
        room = WINDOW - sum(r.asked / r.fitting for _, r in self._reports.values())
        for other, (_, earlier) in self._reports.items():
            if other == trial:
                break
            room -= earlier.queued / earlier.fitting
        return max(0, min(report.queued, int(room * report.fitting + 1e-9)))

    def leave(self, trial: str) -> None:
        """The trial is done, or drained."""
        self._reports.pop(trial, None)
