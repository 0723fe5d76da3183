"""Finds the C-scores that an analysis takes: those of a file, or those that a sweep has left in the store.

If scores are missing, that is no error of the sweep file. The analysis needs them before it can be planned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memloc.config import TrainConfig, canonical
from memloc.counts import counted
from memloc.data import Description, examples_seen, load
from memloc.data.arrays import I64
from memloc.data.c_score_file import CScores
from memloc.data.c_score_file import load as load_scores
from memloc.errors import UsageError
from memloc.invocation import command
from memloc.models.architectures import TRAINING
from memloc.store import Files, Snapshot, Store, c_scores, layout, records

if TYPE_CHECKING:
    from memloc.run.plan import TrialPlan

SWEEP = "sweep:"
# The fields that decide the labels of the examples. Scores and training must agree in them.
LABELS = ("noise", "wrong", "noise_count", "data_seed", "noise_seed")


@dataclass(frozen=True)
class Need:
    """What is missing, and what to do about it, in words."""

    what: str
    remedy: str


@dataclass
class Sources:
    """Where C-scores are searched.

    data_dir: relative paths are below it. store: holds the scores of sweeps. beside: the folder of the sweep file, where
    files of other sweeps may lie too.
    """

    data_dir: Path
    store: Store | None = None
    beside: Path | None = None
    _made: dict[str, CScores] = field(default_factory=dict)
    _known: dict[str, list[_Run] | None] = field(default_factory=dict)
    _sets: dict[str, list[c_scores.ScoreSet]] = field(default_factory=dict)

    def find(self, reference: str, train: TrainConfig, data: Description) -> tuple[CScores, I64] | Need:
        """(the scores of `PATH` or `sweep:NAME`, the examples of the training), or what is missing.

        Raises:
            UsageError: there is a file, and its content is wrong.
        """
        if reference.startswith(SWEEP):
            scores = self._of_sweep(reference.removeprefix(SWEEP), train, data)
        else:
            scores = self._of_file(self.data_dir / reference, data)
        if isinstance(scores, Need):
            return scores
        try:
            return scores, examples_seen(train, data, lambda: load(train.source, self.data_dir).y_train)
        except UsageError as error:  # a stratified subset follows from the labels
            return Need(train.dataset, str(error))

    def _of_file(self, path: Path, data: Description) -> CScores | Need:
        if not path.exists():
            remedy = f"put the file of C-scores there (one for each of the {data.n_train} training examples: docs/data.md)"
            return Need(str(path), remedy)
        return load_scores(path, data.n_train)

    # --- of a sweep

    @cached_property
    def _snapshot(self) -> Snapshot:
        there = self.store is not None and self.store.files.exists()
        return self.store.snapshot() if self.store and there else Snapshot({}, {}, [])

    def _of_sweep(self, name: str, train: TrainConfig, data: Description) -> CScores | Need:
        """The scores of its largest complete set that judges the labels of this training."""
        sets = self._score_sets(name)
        fitting = [s for s in sets if s.complete and s.data == data.identity and same_labels(s.config, train)]
        if fitting and self.store is not None:
            return self._read(self.store.files, max(fitting, key=lambda s: (len(s.runs), s.id)), data.n_train, name)
        return self._missing(name, train, self._runs(name))

    def _score_sets(self, name: str) -> list[c_scores.ScoreSet]:
        """The sets of a sweep in this store. Every training that takes scores asks for them."""
        if name not in self._sets:
            of_sweep = {run.analysis for run in self._runs(name) or ()}
            every = self._snapshot.every
            wanted = np.array([i is None or i in of_sweep for i in every.said("analysis")], dtype=np.bool_)
            on_odd = (self.store.files.on_odd,) if self.store else ()
            self._sets[name] = c_scores.score_sets(every.at(wanted), *on_odd)
        return self._sets[name]

    def _read(self, files: Files, scores: c_scores.ScoreSet, n: int, name: str) -> CScores:
        """The scores of a set for the n training examples; NaN where the set judges none."""
        if scores.id not in self._made:
            read = c_scores.scores(files, scores)
            values = np.full(n, np.nan)
            values[read.example] = read.c_score
            self._made[scores.id] = CScores(values, f"sweep {name}")
        return self._made[scores.id]

    def _missing(self, name: str, train: TrainConfig, runs: list[_Run] | None) -> Need:
        remedy = f"run {command(f'sweep {name}', self.store.uri if self.store else None)} first"
        if runs is None:
            return Need(f"sweep {name} (neither in this store, nor shipped, nor beside this file)", remedy)
        wanted = [r for r in runs if r.config.get("dataset") == train.dataset and same_labels(r.config, train)]
        if wanted:
            done = sum(run.analysis is not None and self._snapshot.complete(run.parts) for run in wanted)
            return Need(f"sweep {name} ({counted(len(wanted), 'training')}, {done} done)", remedy)
        noise = f"noise: {train.noise}, data_seed: {train.data_seed}" if train.noise else "noise: 0"
        return Need(f"sweep {name} (has no held-out trainings on {train.dataset} with {noise})", "add them to its blocks")

    def _runs(self, name: str) -> list[_Run] | None:
        """The held-out trainings of a sweep, by its records in this store or, if it has not run yet, by its file."""
        if name not in self._known:
            self._known[name] = self._recorded(name) or self._planned(name)
        return self._known[name]

    def _recorded(self, name: str) -> list[_Run]:
        if self.store is None or name not in records.sweep_names(self.store.files):
            return []
        contents = records.read_sweeps(self.store.files, layout.sweep_folder(name))
        return [
            _Run(trial["config"], analysis["analysis"], tuple(analysis["parts"]))
            for trial in records.merged_trials(contents)
            for analysis in trial["analyses"]
            if analysis["stage"] == c_scores.STAGE
        ]

    def _planned(self, name: str) -> list[_Run] | None:
        from memloc import sweep
        from memloc.stages import REGISTRY

        beside = [self.beside / f"{name}.yaml"] if self.beside else []
        paths = [path for path in [*beside, sweep.shipped().get(name)] if path is not None and path.exists()]
        if not paths:
            return None
        entries = sweep.load(paths[0], REGISTRY).entries
        return [_Run(canonical(e.config)) for e in entries if any(r.stage == c_scores.STAGE for r in e.requests)]


@dataclass(frozen=True)
class _Run:
    """A held-out training: its canonical configuration, and its analysis if it has been planned in this store."""

    config: Mapping[str, Any]
    analysis: str | None = None
    parts: tuple[str, ...] = ()


def same_labels(config: Mapping[str, Any], train: TrainConfig) -> bool:
    """Do trainings of this canonical configuration judge every example of `train`, under its label in `train`?"""
    own = train.flat()

    def equal(name: str) -> bool:
        return bool(config.get(name, TRAINING.default(name, config)) == own.get(name))

    if config.get("subset") is not None and not (equal("subset") and equal("data_seed")):
        return False
    if not equal("noise"):
        return False
    return not train.noise or (equal("subset") and all(equal(name) for name in LABELS))


def check_labels(trials: Iterable[TrialPlan], data_dir: Path) -> None:
    """Raises UsageError where scores judge other labels than those of the data set, which must be there."""
    problems: list[str] = []
    for source, scores in {(t.config.source, a.c_scores) for t in trials for a in t.analyses if a.c_scores}:
        try:
            scores.check_labels(load(source, data_dir).y_train)
        except UsageError as error:
            problems += error.problems
    if problems:
        raise UsageError(*dict.fromkeys(sorted(problems)))


def atypical(scores: CScores, examples: I64, below: float) -> np.ndarray:
    """bool [n]: which of the examples have a C-score below `below` (paper §7)."""
    low: np.ndarray = scores.values[examples] < below
    return low
