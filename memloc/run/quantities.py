"""Numbers that follow from a plan: forward passes of its parts, bytes of its checkpoints and rows."""

from __future__ import annotations

from collections.abc import Iterable

from memloc import stages
from memloc.config.retention import Retention
from memloc.run.plan import AnalysisPlan, TrialPlan
from memloc.run.retention import kept_epochs
from memloc.store import schemas


def train_passes(trial: TrialPlan, epochs: int | None = None) -> float:
    """A training's cost in forward passes of one example: forward and backward are three, test one.

    epochs: the number of epochs that were trained, if it is known; else T. Checkpoints from elsewhere are copied, which says
    nothing of how long a network trains: 0.
    """
    if trial.config.given_from is not None:
        return 0.0
    return (epochs or trial.config.epochs) * (3.0 * trial.size.n + trial.size.n_test)


def part_passes(trial: TrialPlan, analysis: AnalysisPlan) -> float:
    """The forward passes of one example that a part of the analysis costs."""
    return analysis.kind.passes(analysis.config, analysis.size)


def retrained_passes(trial: TrialPlan, epochs: int) -> float:
    """The same of epochs that are trained again for an analysis. They measure no test accuracy."""
    return epochs * 3.0 * trial.size.n


def checkpoint_bytes(trial: TrialPlan, retention: Retention) -> int:
    """Kept checkpoints, and the newest optimiser state (momentum and dynamics)."""
    return len(kept_epochs(trial, retention)) * 4 * trial.size.parameters + _state_bytes(trial)


def states_bytes(trial: TrialPlan) -> int:
    """The states that a training keeps until the parts that go on from them are done, and their checkpoints."""
    analyses = trial.analyses
    wanted = {epoch for a in analyses for part in a.parts if (epoch := a.kind.goes_on_from(a.config, part)) is not None}
    return len(wanted) * (4 * trial.size.parameters + _state_bytes(trial))


def _state_bytes(trial: TrialPlan) -> int:
    moments = 2 if trial.config.optimizer == "adamw" else 1
    return (
        moments * 4 * trial.size.parameters + 8 * (8 + trial.size.classes) * trial.size.n
    )  # 8 bytes: scores, probabilities


def result_bytes(trials: Iterable[TrialPlan]) -> int:
    """Rows of all tables at their width before compression."""
    width = {table: schemas.row_bytes(schema) for table, schema in stages.tables().items()}
    total = 0
    for trial in trials:
        own = {"trials": 1, "epochs": trial.config.epochs, "examples": trial.size.n}
        total += sum(width[t] * n for t, n in own.items())
        for analysis in trial.analyses:
            if analysis.plugins:
                width |= {table: schemas.row_bytes(schema) for table, schema in analysis.kind.tables.items()}
            rows = analysis.kind.rows(analysis.config, analysis.size)
            total += len(analysis.parts) * sum(width[t] * n for t, n in rows.items())
    return total
