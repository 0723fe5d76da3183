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
from tests.run.test_plan import plan_of


def test_data_that_have_changed_since_the_plan(tmp_path: Path) -> None:
    """The content has another name. A training on it would not be the one that its id names."""
    (trial, _) = plan_of(tmp_path).trials
    raw = load("digits")
    store = Store(str(tmp_path / "store"))
    assert len(Worker(store, lambda name: raw, torch.device("cpu")).data(trial).y) == 100
    with pytest.raises(UsageError, match="digits: its content is not what the trial was planned or trained with"):
        Worker(store, lambda name: replace(raw, identity="0" * 16), torch.device("cpu")).data(trial)
