"""Which C-scores an analysis means: those of a file, or those that a sweep has left in the store. Or what is missing.

What is missing is no error of the sweep file: it is what an analysis needs before it can be planned.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from memloc.config import TrainConfig
from memloc.data import Description, examples_seen, load
from memloc.data.c_scores import CScores
from memloc.data.c_scores import load as load_scores
from memloc.data.types import I64
from memloc.errors import UsageError

if TYPE_CHECKING:
    from memloc.run.plan import TrialPlan


@dataclass(frozen=True)
class Need:
    """What is not there yet, and what to do about it, in words."""

    what: str
    remedy: str


@dataclass(frozen=True)
class Sources:
    """Where C-scores are looked for. data_dir: paths that are not absolute are below it."""

    data_dir: Path

    def find(self, reference: str, train: TrainConfig, data: Description) -> tuple[CScores, I64] | Need:
        """(the scores, the examples of the training) of `PATH` or `sweep:NAME`, or what is missing.

        Raises:
            UsageError: where a file is there and is not what it should be.
        """
        scores = self._of_file(self.path(reference), data)
        if isinstance(scores, Need):
            return scores
        try:
            return scores, examples_seen(train, data, lambda: load(train.dataset, self.data_dir).y_train)
        except UsageError as error:  # a stratified subset follows from the labels
            return Need(train.dataset, str(error))

    def path(self, reference: str) -> Path:
        return self.data_dir / reference

    def _of_file(self, path: Path, data: Description) -> CScores | Need:
        if not path.exists():
            remedy = f"put the file of C-scores there (one for each of the {data.n_train} training examples: docs/data.md)"
            return Need(str(path), remedy)
        return load_scores(path, data.n_train)


def check_labels(trials: Iterable[TrialPlan], data_dir: Path) -> None:
    """Raises UsageError where scores judge other labels than those of the data set, which must be there."""
    problems: list[str] = []
    for dataset, scores in {(t.config.dataset, a.c_scores) for t in trials for a in t.analyses if a.c_scores}:
        try:
            scores.check_labels(load(dataset, data_dir).y_train)
        except UsageError as error:
            problems += error.problems
    if problems:
        raise UsageError(*dict.fromkeys(sorted(problems)))


def atypical(scores: CScores, examples: I64, below: float) -> np.ndarray:
    """bool [n]: which of the examples have a C-score below `below` (paper §7)."""
    found: np.ndarray = scores.values[examples] < below
    return found
