"""A writer of a small store, also for processes of its own: it imports little, since many of them are started."""

from __future__ import annotations

import random
import time

from memloc import stages
from memloc.store import Commit, Store, commits

PARTS, ANALYSES, ROWS = 4, 6, 50


TRIAL = "e" * 16


def with_training(store: Store, trial: str = TRIAL) -> Store:
    """The same store, with the training whose parts are written here. Readers show no analysis without it."""
    commits.publish(store.files, Commit(trial, trial, None, "train", {"data": "d", "version": 1}, 0, 1, {}))
    return store


UNKNOWN = ("test_acc", "noisy_true_acc")


def commit_of(analysis: int, nth: int, seconds: float) -> Commit:
    name = f"{analysis:016x}"
    return Commit(
        id=f"{analysis:08x}{nth:08x}", trial="e" * 16, analysis=name, stage="evaluate", part={"nth": nth}, nth=nth, of=PARTS,
        config={}, seconds=seconds,
    )  # fmt: skip


def rows_of(analysis: int, nth: int) -> dict[str, dict[str, object]]:
    ids = {"analysis": [f"{analysis:016x}"], "trial": ["e" * 16], "mode": ["plain"], "rescale": ["none"]}
    many = {name: values * ROWS for name, values in ids.items()}
    examples = list(range(nth * ROWS, (nth + 1) * ROWS))
    predictions = {**many, "example": examples, "predicted": [nth] * ROWS, "correct": [True] * ROWS, "margin": [1.0] * ROWS}
    evaluation = {
        **ids,
        "clean_acc": [float(analysis)],
        "noisy_acc": [float(nth)],
        "test_acc": [None],
        "noisy_true_acc": [None],
    }
    return {"predictions": predictions, "evaluation": evaluation}


def write(uri: str, seed: int) -> None:
    """Publishes every part of every analysis in some order, as duplicated workers do, with pauses as of computing."""
    store, order = with_training(Store(uri)), random.Random(seed)
    parts = [(a, n) for a in range(ANALYSES) for n in range(PARTS)]
    order.shuffle(parts)
    for analysis, nth in parts:
        time.sleep(order.random() / 20)
        store.publish(commit_of(analysis, nth, order.random()), rows_of(analysis, nth), stages.tables())
