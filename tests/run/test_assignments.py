"""What a run hands to its coordinators, without Ray."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import ray

from memloc.run.placement import Resources
from memloc.run.ray.coordinator import Coordinator
from memloc.run.ray.driver import OnRay
from memloc.run.schedule import TrialCost
from memloc.store import Store
from tests.run.test_plan import plan_of, works


def test_a_coordinator_finds_a_store_of_a_relative_path(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune gives every coordinator a working directory of its own. It removes checkpoints there."""
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copytree(tiny, here / "store")
    monkeypatch.chdir(here)
    of_run = works(Path("store"), plan_of(tmp_path), "last")
    for name in ("put", "get"):
        monkeypatch.setattr(ray, name, lambda value: value)
    on_ray = OnRay(Store("store"), tmp_path, Resources(cpus=1), print)
    on_ray.nodes = [{"CPU": 1.0, "memory": 2.0**34}]
    priced: Any = SimpleNamespace(trials=[TrialCost(work.trial.id, 0.0, ()) for work in of_run])
    assignments = on_ray._assignments(of_run, priced, None)
    monkeypatch.chdir(elsewhere)
    for assignment in assignments.values():
        Coordinator._prune(cast(Coordinator, SimpleNamespace(assignment=assignment)))
    assert sorted(path.name[:10] for path in here.glob("store/checkpoints/*/epoch-*")) == ["epoch-0002"] * len(of_run)
    assert not list(elsewhere.iterdir())
