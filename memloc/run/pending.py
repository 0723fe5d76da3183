"""The work of every trial that is not committed yet, and the order in which its parts may run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from memloc.config.retention import Retention
from memloc.errors import StoreError
from memloc.run.chains import Start, starts, wanted_states
from memloc.run.plan import AnalysisPlan, Plan, TrialPlan
from memloc.run.retention import kept_epochs, unintended
from memloc.stages.base import Part
from memloc.store import Commit, Files, Snapshot, Store, checkpoints, generation_layout, layout
from memloc.store.entries import Listed
from memloc.store.resumable import reached_epoch, surplus_states, usable_states

TrainWork = Literal["done", "train", "replay"]
Epochs = tuple[frozenset[int], frozenset[int]]  # of checkpoints: that are there, that are missing
Item = tuple[AnalysisPlan, str, Part]  # one part: its analysis, its id, and the part itself


@dataclass
class Work:
    """What is left to do for one trial.

    write: the checkpoints that the training must leave for now. keep: those that stay in the end. reached: the epoch from
    which it will go on, by the files in the store. again: the last lost epoch of a committed training, where training it
    again ends. states: the epochs whose states the training must leave for its parts. starts: where the parts that go on
    with the training begin.
    """

    trial: TrialPlan
    train: TrainWork
    parts: list[Item]
    write: set[int] = field(default_factory=set)
    keep: set[int] = field(default_factory=set)
    prune: bool = False
    reached: int = 0
    again: int = 0
    states: set[int] = field(default_factory=set)
    starts: dict[str, Start] = field(default_factory=dict)

    @property
    def until(self) -> int:
        """The epoch after which its training ends."""
        return self.again if self.train == "replay" else self.trial.config.epochs

    @property
    def tried(self) -> set[str]:
        """The ids of failure records that this work makes out of date: its parts, and the trial itself.

        A trial with nothing left to do has one that bears its own id if it failed after all of it was committed.
        """
        return {self.trial.id, *(part_id for _, part_id, _ in self.parts)}

    @property
    def anything(self) -> bool:
        """Whether there is anything to do: to compute, or to remove checkpoints."""
        return self.computes or self.prune

    @property
    def computes(self) -> bool:
        """Whether it needs the data."""
        return self.train != "done" or bool(self.parts)


@dataclass(frozen=True)
class _Stored:
    """What the store has. committed: parts whose files are whole. epochs: as `_checkpoint_epochs`."""

    store: Store
    committed: set[str]
    epochs: Mapping[str, Epochs]


def pending(
    plan: Plan,
    store: Store,
    snapshot: Snapshot,
    retention: Retention,
    set_aside: bool = True,
    numerics: str | None = None,
) -> list[Work]:
    """The work of every trial, in plan order.

    numerics: what the bits of a training depend on where it will run; None if that is not known.

    The sizes of all files of skipped parts are checked. If a data file is not as committed, the commit is moved to
    quarantine (unless `set_aside` is false: a dry run), and the part is done again. What a listing does not show is first
    asked for by its name: a network disk may show an old listing for a minute after another machine has written.

    Raises:
        StoreError: a later version of memloc has committed a part of the plan, and this version cannot read the commit.
    """
    _check_readable(plan, store, snapshot)
    sizes = store.files.listing(layout.DATA) | store.files.listing(layout.CHECKPOINTS)
    committed = {*snapshot.covered, *(c.id for c in snapshot.loose() if _whole(c.needed, sizes))}
    unlike = [commit for commit in snapshot.loose() if commit.id not in committed]
    planned = _part_ids(plan) if unlike else set[str]()
    unlike = [commit for commit in unlike if commit.id in planned]
    for commit, is_whole in zip(unlike, store.files.map(partial(_is_whole, store.files), unlike), strict=True):
        if is_whole:
            committed.add(commit.id)
        elif set_aside:
            store.quarantine(snapshot.paths[commit.id])
    paths = layout.by_trial(sizes)
    stored = _Stored(store, committed, _checkpoint_epochs({trial.id for trial in plan.trials}, snapshot, sizes))
    return [_work(trial, stored, paths.get(trial.id, set()), retention, numerics) for trial in plan.trials]


def _checkpoint_epochs(trials: set[str], snapshot: Snapshot, sizes: Mapping[str, int]) -> dict[str, Epochs]:
    """{trial: (epochs whose checkpoints are there, epochs whose checkpoints are not there or not whole)} of trainings.

    Commits are read in the order in which they lie in a generation. Trainings that are alike share their sets.
    """
    known: dict[Epochs, Epochs] = {}
    epochs: dict[str, Epochs] = {}
    for commit in snapshot.every.of_trials(trials).trainings():
        listed = list(commit.checkpoints)
        here = frozenset(c.epoch for c in listed if c.path in sizes)
        both = here, frozenset(c.epoch for c in listed if sizes.get(c.path) != c.size)
        epochs[commit.trial] = known.setdefault(both, both)
    return epochs


def _check_readable(plan: Plan, store: Store, snapshot: Snapshot) -> None:
    """Refuses parts that a later version has committed. They are not done, and computed again might have other numbers."""
    planned = _part_ids(plan) if snapshot.later else set[str]()
    for path in sorted(snapshot.later):
        part_id = layout.part_of(path) if layout.is_commit(path) else ""
        is_planned = part_id in planned and part_id not in snapshot.commits
        if is_planned or generation_layout.is_manifest(path):  # a manifest may cover any part
            raise StoreError(f"store {store.uri}: {path} {snapshot.unreadable[path]}")


def _part_ids(plan: Plan) -> set[str]:
    """The ids of all trainings and parts of a plan. Each is a hash, so they are made once."""
    return {part_id for trial in plan.trials for part_id in trial.part_ids}


def _whole(files: Iterable[Listed], sizes: Mapping[str, int]) -> bool:
    return all(sizes.get(f.path) == f.size for f in files)


def _is_whole(files: Files, commit: Commit) -> bool:
    """Whether all files of a commit are there, with a question for each."""
    return all(files.size(file.path) == file.size for file in commit.needed)


def _work(trial: TrialPlan, stored: _Stored, paths: set[str], retention: Retention, numerics: str | None) -> Work:
    """The work of a trial. paths: its checkpoints and resume states."""
    parts = [
        (a, part_id, part)
        for a in trial.analyses
        for part_id, part in zip(a.part_ids, a.parts, strict=True)
        if part_id not in stored.committed
    ]
    wanted = wanted_states(parts)
    states = {epoch for of_analysis in wanted.values() for epoch in of_analysis.values()}
    there = {epoch for epoch, _ in usable_states(trial.id, paths, (), numerics)}
    needed = {t for a, _, part in parts for t in a.kind.epochs(a.config, trial.config, part)} | (states & there)
    keep = kept_epochs(trial, retention)
    if trial.id not in stored.committed:
        reached = reached_epoch(trial.id, paths, keep | needed, numerics)
        there |= {epoch for epoch in states if epoch >= reached}  # it leaves them
        write = keep | needed | states
        prune = bool(states) or len(keep) < trial.config.epochs + 1
        return Work(trial, "train", parts, write, keep, prune, reached=reached, states=states, starts=_starts(wanted, there))
    here, missing = stored.epochs[trial.id]
    pruned = checkpoints.read_pruned(stored.store.files, trial.id, paths, missing) if missing else set[int]()
    lost = unintended(missing, needed, pruned)
    again = unintended(missing, keep | needed, pruned) if lost else set()  # as the trainer puts them back
    surplus = (here | lost) - keep
    train: TrainWork = "replay" if lost else "done"
    returns = bool(lost and pruned & keep)  # training again brings them back, so they must not count as pruned any more
    records = sum(map(layout.is_pruned, paths))  # two, if a process was ended while it pruned
    prune = bool(surplus) or returns or len(surplus_states(paths)) > 0 or records > 1
    again_until = max(again, default=0)
    return Work(trial, train, parts, keep | needed, keep, prune, again=again_until, starts=_starts(wanted, there))


def _starts(wanted: Mapping[str, Mapping[str, int]], states: set[int]) -> dict[str, Start]:
    return {part_id: start for of_analysis in wanted.values() for part_id, start in starts(of_analysis, states).items()}


def waves(parts: Sequence[Item]) -> list[list[Item]]:
    """The parts in two waves: first those that read checkpoints alone, then those that read other analyses' rows."""
    first = [p for p in parts if not p[0].reads]
    second = [p for p in parts if p[0].reads]
    return [wave for wave in (first, second) if wave]


def needs(trial: TrialPlan, analysis: AnalysisPlan) -> list[str]:
    """The parts without which an analysis cannot run: those of the analyses that it reads."""
    return [i for a in trial.analyses if a.id in analysis.reads for i in a.part_ids]
