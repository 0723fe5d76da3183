"""The commit of a training: its tables and its checkpoints, whoever computed them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from memloc.config import canonical
from memloc.data import Data
from memloc.run.arithmetic import arithmetic
from memloc.run.plan import TrialPlan
from memloc.run.provenance import where
from memloc.run.quantities import train_passes
from memloc.stages.training.schema import TABLES, VERSION, data_tables, trial_row
from memloc.store import Commit, Store
from memloc.store.commit_form import CheckpointEntry


@dataclass(frozen=True)
class Course:
    """What a training has left.

    epochs: rows of table `epochs`. examples: columns of table `examples` but for trial; what is absent is NULL. stopped: the
    epoch at which `stop` has ended it; None: it has not.
    """

    epochs: Sequence[Mapping[str, Any]]
    examples: Mapping[str, Any]
    checkpoints: Sequence[CheckpointEntry]
    seconds: float
    stopped: int | None = None


def commit_training(store: Store, device: torch.device, trial: TrialPlan, data: Data, course: Course) -> Commit:
    """Writes the tables of a training, then its commit. device: the one that has computed it.

    Returns the commit that counts: another driver's, if that was faster.
    """
    n = len(data.y)
    names = {table: TABLES[table].names[1:] for table in ("epochs", "examples")}
    written = {
        "trials": trial_row(trial.id, trial.config, n, data.given_noise, course.stopped),
        "epochs": {
            "trial": [trial.id] * len(course.epochs),
            **{name: [row[name] for row in course.epochs] for name in names["epochs"]},
        },
        "examples": {
            "trial": [trial.id] * n,
            **{name: course.examples.get(name, [None] * n) for name in names["examples"]},
        },
        **data_tables(trial.id, data),
    }
    stopped = {} if course.stopped is None else {"stopped": course.stopped}
    commit = Commit(
        id=trial.id,
        trial=trial.id,
        analysis=None,
        stage="train",
        part={"version": VERSION, "data": trial.data},
        nth=0,
        of=1,
        config=canonical(trial.config),
        checkpoints=tuple(course.checkpoints),
        where=where(device) | {"arithmetic": arithmetic(device)} | stopped,
        seconds=course.seconds,
        passes=train_passes(trial, len(course.epochs)),
        ended=time.time(),
    )
    return store.publish_once(commit, written, TABLES)
