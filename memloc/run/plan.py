"""From a sweep to content-addressed work: the ids of everything, what is committed, and what is left to do."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch

from memloc import stages
from memloc.config import StageConfig, TrainConfig, canonical, fingerprint
from memloc.data import Description, describe, load
from memloc.data.c_score_file import CScores
from memloc.data.cuts import held_out_size
from memloc.data.labels import check_fits, noisy_count, noisy_seen
from memloc.errors import UsageError
from memloc.models.build import build, misfit
from memloc.run.c_scores import Need, Sources, atypical
from memloc.stages import STAGES
from memloc.stages.base import Part, Size, Stage
from memloc.stages.fields import MaskedConfig
from memloc.stages.training.loop import VERSION
from memloc.store import Commit, Snapshot, Store, checkpoints, layout, schemas
from memloc.store.commits import FileEntry
from memloc.sweep import Entry, Request, Sweep

Retention = Literal["all", "rewound", "last"] | None  # None: nobody said
TrainWork = Literal["done", "train", "replay"]


@dataclass(frozen=True)
class AnalysisPlan:
    """One analysis: its id, resolved configuration, and parts as (id, part).

    size: of its training, with the S_n that the analysis means. reads: ids of the analyses it reads. c_scores: those that
    it takes; what they are is in `config`.
    """

    id: str
    stage: str
    config: StageConfig
    parts: tuple[tuple[str, Part], ...]
    size: Size
    reads: tuple[str, ...] = ()
    c_scores: CScores | None = field(default=None, compare=False, repr=False)

    @property
    def kind(self) -> Stage[Any]:
        return STAGES[self.stage]

    @property
    def part_ids(self) -> list[str]:
        return [part_id for part_id, _ in self.parts]


@dataclass(frozen=True)
class Unmet:
    """An analysis that cannot be planned yet: something is missing."""

    block: str
    stage: str
    need: Need

    def as_json(self) -> dict[str, str]:
        return {"block": self.block, "stage": self.stage, "needs": self.need.what, "remedy": self.need.remedy}


@dataclass(frozen=True)
class TrialPlan:
    """One training and its analyses. The training's part id is the trial's id. unmet: analyses that wait for something."""

    id: str
    config: TrainConfig
    data: str  # identity of the data set
    size: Size
    blocks: tuple[str, ...]
    analyses: tuple[AnalysisPlan, ...]
    unmet: tuple[Unmet, ...] = ()

    def epochs_read(self) -> set[int]:
        """The checkpoints that the analyses read."""
        return {t for a in self.analyses for _, p in a.parts for t in a.kind.epochs(a.config, self.config, p)}

    def kept_epochs(self, retention: Retention) -> set[int]:
        """The checkpoints that stay after all analyses are done.

        Where nobody said what to keep, a held-out training keeps what its analyses read, which is its last epoch as a rule:
        there are hundreds, each for its C-scores alone (docs/tables.md). Any other keeps all.
        """
        last = self.config.epochs
        if retention is None and self.config.ratio is not None and not self.unmet:
            return {last} | self.epochs_read()
        if retention in (None, "all") or self.unmet:  # nobody can say yet what these will read
            return set(range(last + 1))
        return {0, last} | {t for a in self.analyses for t in a.kind.keeps(a.config)} if retention == "rewound" else {last}

    @property
    def part_ids(self) -> list[str]:
        return [self.id, *(i for a in self.analyses for i in a.part_ids)]


@dataclass(frozen=True)
class Plan:
    name: str
    trials: tuple[TrialPlan, ...]
    notes: tuple[str, ...] = ()

    @property
    def unmet(self) -> list[Unmet]:
        """What is missing, each once, in plan order."""
        return list(dict.fromkeys(u for trial in self.trials for u in trial.unmet))

    def needs(self) -> list[str]:
        """The same in words, a line for each block and what it needs."""
        stages: dict[tuple[str, Need], list[str]] = {}
        for unmet in self.unmet:
            stages.setdefault((unmet.block, unmet.need), []).append(unmet.stage)
        return [
            f"block {block} ({', '.join(names)}) needs: {need.what}; {need.remedy}"
            for (block, need), names in stages.items()
        ]

    def record(self) -> list[dict[str, Any]]:
        """The trials as the store's sweep record holds them."""
        return [
            {
                "trial": t.id,
                "config": canonical(t.config),
                "blocks": list(t.blocks),
                "analyses": [
                    {"analysis": a.id, "stage": a.stage, "config": canonical(a.config), "parts": a.part_ids}
                    for a in t.analyses
                ],
            }
            | ({"waiting": [{"block": u.block, "stage": u.stage} for u in t.unmet]} if t.unmet else {})
            for t in self.trials
        ]


@dataclass
class Work:
    """What is left to do for one trial.

    write: the checkpoints a training must leave behind for now. reached: the epoch from which it will go on, by the
    checkpoints that are there.
    """

    trial: TrialPlan
    train: TrainWork
    parts: list[tuple[AnalysisPlan, str, Part]]
    write: set[int] = field(default_factory=set)
    keep: set[int] = field(default_factory=set)
    prune: bool = False
    reached: int = 0

    @property
    def anything(self) -> bool:
        return self.computes or self.prune

    @property
    def computes(self) -> bool:
        """Whether it needs the data."""
        return self.train != "done" or bool(self.parts)


# --- identity ---------------------------------------------------------------------------------------------------------


def build_plan(sweep: Sweep, entries: Sequence[Entry], data_dir: Path, store: Store | None = None) -> Plan:
    """The plan of a sweep's entries; what is planned depends on the data only through their descriptions.

    store: where the C-scores of another sweep are, for what takes them.

    Raises:
        UsageError: with every problem between configuration and data.
    """
    problems: list[str] = []
    described: dict[str, Description | None] = {}
    trials: dict[str, TrialPlan] = {}
    sources = Sources(data_dir, store, sweep.folder)
    for entry in entries:
        name = entry.config.dataset
        if name not in described:
            described[name] = _describe(entry, data_dir, problems)
        data = described[name]
        misfits = _misfits(entry, data) if data else []
        problems += misfits
        if data and not misfits:
            trial = _trial(entry, data, sources, problems)
            trials[trial.id] = _merge(trials[trial.id], trial) if trial.id in trials else trial
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    return Plan(sweep.name, tuple(trials.values()), sweep.notes)


def _describe(entry: Entry, data_dir: Path, problems: list[str]) -> Description | None:
    try:
        return describe(entry.config.dataset, data_dir)
    except UsageError as error:
        problems += [f"{entry.place('dataset')}: {problem}" for problem in error.problems]
        return None


def _misfits(entry: Entry, data: Description) -> list[str]:
    config = entry.config
    fits = check_fits(data, subset=config.subset, noise=config.noise, wrong=config.wrong)
    problems = [f"{entry.place(name)}: {problem}" for name, problem in fits.items()]
    if problem := misfit(config, data.shape, data.classes):
        problems.append(f"{entry.place('dataset')}: {problem}")
    return problems


def _trial(entry: Entry, data: Description, sources: Sources, problems: list[str]) -> TrialPlan:
    config = entry.config
    if config.subset == data.n_train:  # all of them: the same training as without a subset
        config = config.model_copy(update={"subset": None})
    # What the data are is in `data`; by which name or path they came is not part of what is computed.
    trial_id = fingerprint(
        {"stage": "train", "version": VERSION, "config": {**canonical(config), "dataset": None}, "data": data.identity}
    )
    size = _size(config, data, sources.data_dir)
    analyses: dict[str, AnalysisPlan] = {}
    unmet: list[Unmet] = []
    for block in entry.blocks:
        in_block: dict[str, list[str]] = {}
        missing: dict[str, Need] = {}
        requests = [r for r in entry.requests if r.block == block]
        for request in sorted(requests, key=lambda r: len(STAGES[r.stage].reads)):
            kind = STAGES[request.stage]
            need = next((missing[stage] for stage in kind.reads if stage in missing), None)
            scored = need or _scored(request, config, data, size, sources, problems)
            if isinstance(scored, Need):
                missing[request.stage] = scored
                unmet.append(Unmet(block, request.stage, scored))
                continue
            reads = tuple(i for stage in kind.reads for i in in_block.get(stage, []))
            analysis = _analysis(trial_id, kind, config, scored, reads)
            in_block.setdefault(request.stage, []).append(analysis.id)
            analyses[analysis.id] = analysis
    return TrialPlan(
        trial_id, config, data.identity, size, tuple(entry.blocks), tuple(analyses.values()), tuple(unmet)
    )  # fmt: skip


@dataclass(frozen=True)
class _Scored:
    """A stage's configuration with its C-scores, if it takes any, and the size of the training with the S_n it means."""

    config: StageConfig
    size: Size
    c_scores: CScores | None = None


def _scored(
    request: Request, train: TrainConfig, data: Description, size: Size, sources: Sources, problems: list[str]
) -> _Scored | Need:
    reference = request.config.c_scores_from()
    if reference is None:
        return _Scored(request.config, size)
    try:
        found = sources.find(reference, train, data)
    except UsageError as error:
        field = next(name for name, value in request.config if str(value).endswith(reference))
        problems += [f"{request.where}.{field}: {problem}" for problem in error.problems]
        return _Scored(request.config, size)
    if isinstance(found, Need):
        return found
    scores, examples = found
    config = request.config.with_c_scores(scores.identity)
    if isinstance(config, MaskedConfig):
        assert config.c_score_below is not None, "only resolved configurations are planned"
        size = replace(size, n_noisy=int(atypical(scores, examples, config.c_score_below).sum()))
    return _Scored(config, size, scores)


def _analysis(trial_id: str, kind: Stage[Any], train: TrainConfig, scored: _Scored, reads: tuple[str, ...]) -> AnalysisPlan:
    config, size = scored.config, scored.size
    identity = {"trial": trial_id, "stage": kind.name, "version": kind.version, "config": config, "reads": reads}
    analysis_id = fingerprint(identity)
    parts = kind.parts(config, train, size)
    named = tuple((fingerprint({"analysis": analysis_id, "part": dict(p)}), p) for p in parts)
    return AnalysisPlan(analysis_id, kind.name, config, named, size, reads, scored.c_scores)


def _merge(one: TrialPlan, other: TrialPlan) -> TrialPlan:
    """The same training asked for under two names (a copy of a data set, say)."""
    analyses = {a.id: a for a in (*one.analyses, *other.analyses)}
    blocks = dict.fromkeys((*one.blocks, *other.blocks))
    unmet = dict.fromkeys((*one.unmet, *other.unmet))
    return TrialPlan(one.id, one.config, one.data, one.size, tuple(blocks), tuple(analyses.values()), tuple(unmet))


def _size(config: TrainConfig, data: Description, data_dir: Path) -> Size:
    of_any = config.model_copy(update={"seed": 0, "ratio": None, "cut": None})  # a thousand trainings, one network
    parameters, groups = _network(of_any, data.shape, data.classes)
    n = data.n_train if config.subset is None else config.subset
    n_noisy, n_out = noisy_count(n, config.noise, config.noise_count), 0
    if config.ratio is not None:
        n_out = held_out_size(n, config.ratio)
        if config.noise:  # how many of the mislabeled are held out is a matter of chance
            n_noisy = noisy_seen(config, data, lambda: load(config.dataset, data_dir).y_train)
    return Size(n - n_out, n_noisy, data.n_test, parameters, groups, data.classes, n_out)


@lru_cache(maxsize=64)
def _network(config: TrainConfig, shape: tuple[int, int, int], classes: int) -> tuple[int, tuple[str, ...]]:
    """(numbers in its state, layer groups)."""
    with torch.device("meta"):
        network = build(config, shape, classes)
    return sum(t.numel() for t in network.state_dict().values()), network.groups


# --- what is left to do -----------------------------------------------------------------------------------------------


def pending(plan: Plan, store: Store, snapshot: Snapshot, retention: Retention, set_aside: bool = True) -> list[Work]:
    """The work of every trial, in plan order.

    Sizes of everything skipped are checked: a commit whose data files are not there as committed is moved to
    quarantine (unless `set_aside` is false: a dry run) and its part done again.
    """
    sizes = store.files.listing(layout.DATA) | store.files.listing(layout.CHECKPOINTS)
    committed = {i for i, c in snapshot.commits.items() if _whole(c.files, sizes)}
    if set_aside:
        for part_id in snapshot.commits.keys() - committed:
            if any(part_id in t.part_ids for t in plan.trials):
                store.quarantine(snapshot.paths[part_id])
    return [_work(trial, store, snapshot, committed, sizes, retention) for trial in plan.trials]


def _whole(files: Iterable[FileEntry], sizes: Mapping[str, int]) -> bool:
    return all(sizes.get(f.path) == f.size for f in files)


def _work(
    trial: TrialPlan, store: Store, snapshot: Snapshot, committed: set[str], sizes: Mapping[str, int], retention: Retention
) -> Work:
    parts = [(a, part_id, part) for a in trial.analyses for part_id, part in a.parts if part_id not in committed]
    needed = {t for a, _, part in parts for t in a.kind.epochs(a.config, trial.config, part)}
    keep = trial.kept_epochs(retention)
    if trial.id not in committed:
        there = (t for t in range(trial.config.epochs, 0, -1) if layout.checkpoint(trial.id, t) in sizes)
        prune = len(keep) < trial.config.epochs + 1
        return Work(trial, "train", parts, keep | needed, keep, prune, reached=next(there, 0))
    commit = snapshot.commits[trial.id]
    lost = lost_epochs(commit, sizes, needed, checkpoints.read_pruned(store.files, trial.id))
    surplus = ({c.epoch for c in commit.checkpoints if c.path in sizes} | lost) - keep
    return Work(trial, "replay" if lost else "done", parts, keep | needed, keep, prune=bool(surplus))


def lost_epochs(commit: Commit, sizes: Mapping[str, int], needed: set[int], pruned: set[int]) -> set[int]:
    """The committed checkpoints that are not there as committed, unless pruned and not needed."""
    lost = {c.epoch for c in commit.checkpoints if sizes.get(c.path) != c.size}
    return {t for t in lost if t in needed or t not in pruned}


Item = tuple[AnalysisPlan, str, Part]


def waves(parts: Sequence[Item]) -> list[list[Item]]:
    """The parts in two waves: first those that read checkpoints alone, then those that read other analyses' rows."""
    first = [p for p in parts if not p[0].reads]
    second = [p for p in parts if p[0].reads]
    return [wave for wave in (first, second) if wave]


def needs(trial: TrialPlan, analysis: AnalysisPlan) -> list[str]:
    """The parts without which an analysis cannot run: those of the analyses that it reads."""
    return [i for a in trial.analyses if a.id in analysis.reads for i in a.part_ids]


# --- estimates --------------------------------------------------------------------------------------------------------


def train_passes(trial: TrialPlan, epochs: int | None = None) -> float:
    """A training's cost in forward passes of one example: forward and backward are three, test one.

    epochs: how many of them were trained, where it is known; T at most.
    """
    return (epochs or trial.config.epochs) * (3.0 * trial.size.n + trial.size.n_test)


def part_passes(trial: TrialPlan, analysis: AnalysisPlan) -> float:
    return analysis.kind.passes(analysis.config, analysis.size)


def checkpoint_bytes(trial: TrialPlan, retention: Retention) -> int:
    """Kept checkpoints, and the newest optimiser state (momentum, and about 80 bytes of dynamics per example)."""
    weights = 4 * trial.size.parameters
    return len(trial.kept_epochs(retention)) * weights + weights + 80 * trial.size.n


def result_bytes(trial: TrialPlan) -> int:
    """Rows of all tables at their width before compression."""
    own = {"trials": 1, "epochs": trial.config.epochs, "examples": trial.size.n}
    known = stages.tables()
    total = sum(schemas.row_bytes(known[t]) * n for t, n in own.items())
    for analysis in trial.analyses:
        rows = analysis.kind.rows(analysis.config, analysis.size)
        total += len(analysis.parts) * sum(schemas.row_bytes(known[t]) * n for t, n in rows.items())
    return math.ceil(total)
