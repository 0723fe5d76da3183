"""Numbers that follow from a plan: forward passes of its parts, bytes of its checkpoints and rows."""

from __future__ import annotations

from collections.abc import Iterable

from memloc import stages
from memloc.run.plan import AnalysisPlan, TrialPlan
from memloc.run.retention import Retention, kept_epochs
from memloc.store import schemas


def train_passes(trial: TrialPlan, epochs: int | None = None) -> float:
    """A training's cost in forward passes of one example: forward and backward are three, test one.

    epochs: the number of epochs that were trained, if it is known; else T.
    """
    return (epochs or trial.config.epochs) * (3.0 * trial.size.n + trial.size.n_test)


def part_passes(trial: TrialPlan, analysis: AnalysisPlan) -> float:
    """The forward passes of one example that a part of the analysis costs."""
    return analysis.kind.passes(analysis.config, analysis.size)


def retrained_passes(trial: TrialPlan, epochs: int) -> float:
    """The same of epochs that are trained again for an analysis. They measure no test accuracy."""
    return epochs * 3.0 * trial.size.n


def checkpoint_bytes(trial: TrialPlan, retention: Retention) -> int:
    """Kept checkpoints, and the newest optimiser state (momentum, and about 80 bytes of dynamics per example)."""
    weights = 4 * trial.size.parameters
    return len(kept_epochs(trial, retention)) * weights + weights + 80 * trial.size.n


def result_bytes(trials: Iterable[TrialPlan]) -> int:
    """Rows of all tables at their width before compression."""
    width = {table: schemas.row_bytes(schema) for table, schema in stages.tables().items()}
    total = 0
    for trial in trials:
        own = {"trials": 1, "epochs": trial.config.epochs, "examples": trial.size.n}
        total += sum(width[t] * n for t, n in own.items())
        for analysis in trial.analyses:
            rows = analysis.kind.rows(analysis.config, analysis.size)
            total += len(analysis.parts) * sum(width[t] * n for t, n in rows.items())
    return total
