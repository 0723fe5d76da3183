"""What a process that computes refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from memloc.data import load
from memloc.errors import UsageError
from memloc.run.worker import Worker
from memloc.store import Store
from tests.conftest import run_inline
from tests.run.test_plan import plan_of


def test_data_that_have_changed_since_the_plan(tmp_path: Path) -> None:
    """The content has another name. A training on it would not be the one that its id names."""
    (trial, _) = plan_of(tmp_path).trials
    raw = load("digits")
    store = Store(str(tmp_path / "store"))
    assert len(Worker(store, lambda name: raw, torch.device("cpu")).data(trial).y) == 100
    with pytest.raises(UsageError, match="digits: its content is not what the trial was planned or trained with"):
        Worker(store, lambda name: replace(raw, identity="0" * 16), torch.device("cpu")).data(trial)


def test_what_is_kept_between_parts_of_one_training(tmp_path: Path) -> None:
    """The data on the device and the last checkpoints: as long as the training and the set S_n are the same."""
    store = Store(str(tmp_path / "store"))
    trials = plan_of(tmp_path).trials
    run_inline(tmp_path, (tmp_path / "tiny.yaml").read_text(), store)
    worker = Worker(store, load, torch.device("cpu"))
    first = worker.inputs(trials[0], trials[0].analyses[0])
    assert worker.inputs(trials[0], trials[0].analyses[-1]) is first
    assert worker.inputs(trials[1]) is not first
    again = worker.inputs(trials[0])
    worker.forget()
    assert worker.inputs(trials[0]) is not again
