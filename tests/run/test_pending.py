"""What is left to do, where a listing lags, and where very much is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from unittest.mock import PropertyMock

import pytest

from memloc.errors import StoreError
from memloc.run.pending import pending
from memloc.run.plan import Plan, TrialPlan
from memloc.store import Files, Store, layout
from tests.conftest import TINY, planned


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return planned(tmp_path, TINY)


@pytest.fixture
def store(tmp_path: Path, tiny: Path) -> Store:
    return Store(str(shutil.copytree(tiny, tmp_path / "store")))


def without_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listings of `data/` are old: they show nothing."""
    real = Files.listing
    monkeypatch.setattr(
        Files,
        "listing",
        lambda files, folder, recursive=True: {} if folder == layout.DATA else real(files, folder, recursive),
    )


def asked(monkeypatch: pytest.MonkeyPatch) -> PropertyMock:
    """How often the ids of a trial's parts are made."""
    real = TrialPlan.part_ids.fget
    assert real is not None
    counted = PropertyMock()
    monkeypatch.setattr(TrialPlan, "part_ids", property(lambda trial: (counted(), real(trial))[1]))
    return counted


def test_a_listing_may_lag(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are there by their names, so nothing is set aside, and nothing is computed again."""
    commits = store.files.listing(layout.COMMITS)
    without_data(monkeypatch)
    works = pending(plan, store, store.snapshot(), "all")
    assert [work for work in works if work.anything] == []
    assert store.files.listing(layout.COMMITS) == commits


def test_what_is_lost_is_set_aside(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, and the ids of the plan are made once, not once for each commit."""
    commits = store.files.listing(layout.COMMITS)
    shutil.rmtree(Path(store.uri, layout.DATA))
    made = asked(monkeypatch)
    works = pending(plan, store, store.snapshot(), "all")
    assert made.call_count == len(plan.trials)
    assert len(commits) > 3 * len(plan.trials)
    assert {work.train for work in works} == {"train"}
    assert store.files.listing(layout.COMMITS) == {}


def test_what_a_later_version_has_committed(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commits of other sweeps do not matter, however many they are; one of this sweep does."""
    later = json.dumps({"schema": 99}).encode()
    for number in range(20):
        store.files.put(layout.commit(f"{number:016x}", later), later)
    made = asked(monkeypatch)
    with pytest.warns(match="later memloc"):
        snapshot = store.snapshot()
    pending(plan, store, snapshot, "all")
    assert made.call_count == len(plan.trials)
    own = plan.trials[0].id
    for path in [path for path in store.files.listing(layout.COMMITS) if layout.is_commit_of(path, own)]:
        store.files.delete(path)
    store.files.put(layout.commit(own, later), later)
    with pytest.warns(match="later memloc"):
        snapshot = Store(store.uri).snapshot()
    with pytest.raises(StoreError, match=f"{own}.* was written by a later memloc"):
        pending(plan, store, snapshot, "all")
