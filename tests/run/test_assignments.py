"""What a run hands to its coordinators, without Ray."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from memloc.run.kinds import CardMemory, Kind
from memloc.run.pending import Work
from memloc.run.placement import Resources
from memloc.run.ray import driver
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
        own = Coordinator.__new__(Coordinator)
        own.assignment, own.admission, own.trial = assignment, None, assignment.steps.trial
        own._prune()
    assert sorted(path.name[:10] for path in here.glob("store/checkpoints/*/epoch-*")) == ["epoch-0002"] * len(of_run)
    assert not list(elsewhere.iterdir())


def test_the_smallest_card_of_a_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """Its nodes are asked for their cards, by one question each. This machine's the driver knows itself."""
    here: Any = SimpleNamespace(train="replay", trial=SimpleNamespace(config=SimpleNamespace(given_from=None)))
    anywhere: Any = SimpleNamespace(train="done", reached=0, parts=[])
    said = {
        "a": Kind("A100", "n", CardMemory("A100", 80)),
        "b": Kind("", "", CardMemory("L4", 24)),  # it has cards of several kinds
        "c": Kind("", ""),  # its process has ended
    }
    asked: list[tuple[list[str], bool]] = []

    def ask(nodes: list[str], gpus: bool) -> dict[str, Kind]:
        asked.append((nodes, gpus))
        return {node: said[node] for node in nodes if node in said}

    def smallest(address: str, nodes: str, works: list[Work], gpus: bool = True) -> CardMemory | None:
        monkeypatch.setattr(driver, "computing_nodes", lambda gpus: list(nodes))
        on_ray.resources = Resources(address)
        return on_ray._ask_nodes(works, gpus)

    on_ray = OnRay(Store(str(tmp_path / "store")), tmp_path, Resources(), print)
    monkeypatch.setattr(driver, "ask", ask)
    assert smallest("head:1", "abc", [anywhere]) == CardMemory("L4", 24)
    assert (asked, on_ray.kinds) == ([(["a", "b", "c"], True)], {})
    assert smallest("head:1", "abc", [anywhere, here]) == CardMemory("L4", 24)
    assert on_ray.kinds == said
    assert len(asked) == 1  # a node is asked once
    assert smallest("head:1", "c", [anywhere]) is None
    assert not caplog.records
    assert smallest("head:1", "abd", [anywhere]) == CardMemory("L4", 24)
    assert [record.getMessage() for record in caplog.records] == ["1 of 3 nodes have not said what GPUs they have"]
    assert asked[1:] == [(["d"], True)]
    asked.clear()
    assert smallest("local", "a", [anywhere]) is smallest("head:1", "ab", [anywhere], gpus=False) is None
    assert not asked
