"""How many bytes the checkpoints of a store may take: finished trainings give way, and then the launch stops."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from memloc.errors import UsageError
from memloc.run.budget import CheckpointBudget
from memloc.run.clock import PricedPlan
from memloc.run.events import Event
from memloc.run.plan import Plan
from memloc.run.schedule import Slots
from memloc.sizes import bytes_in_words, in_bytes
from memloc.store import Files, Store, layout, records
from tests.conftest import TINY, planned, run_inline
from tests.run.programs import assert_same, contents, encoded, memloc

FREE = PricedPlan((), Slots(1), "given")


def size(store: Store) -> int:
    return sum(store.files.listing(layout.CHECKPOINTS).values())


def epochs(store: Store, trial: str) -> set[int]:
    return {int(p.rpartition("epoch-")[2][:4]) for p in store.files.listing(layout.checkpoints(trial)) if "epoch-" in p}


@pytest.fixture
def finished(tmp_path: Path, tiny: Path) -> tuple[Plan, Store]:
    """A copy of the store `tiny`."""
    return planned(tmp_path, TINY), Store(str(shutil.copytree(tiny, tmp_path / "store")))


def test_within_the_limit_nothing_goes(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    before = store.files.listing("")
    budget = CheckpointBudget(plan, store, size(store))
    budget.planned(FREE)
    assert (budget.fault, store.files.listing("")) == ("", before)


def test_the_oldest_finished_training_gives_way_first(finished: tuple[Plan, Store]) -> None:
    plan, store = finished
    first, second = sorted(plan.trials, key=lambda t: store.snapshot().commits[t.id].ended)
    budget = CheckpointBudget(plan, store, size(store) - 1)
    budget.planned(FREE)
    assert (budget.fault, epochs(store, first.id), epochs(store, second.id)) == ("", {2}, {0, 1, 2})
    # They count as pruned and not as lost: nothing is trained again for them.
    assert run_inline(Path(store.uri).parent, TINY, store)
    assert epochs(store, first.id) == {2}
    budget = CheckpointBudget(plan, store, 1)
    budget.planned(FREE)
    assert (epochs(store, first.id), epochs(store, second.id)) == ({2}, {2})
    assert "more than --max-checkpoint-bytes 1 B; work under way needs what is left" in budget.fault


def test_all_checkpoints_are_listed_once(finished: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many trainings give way: on an object store a listing of all is a request for every thousand files."""
    plan, store = finished
    listed: list[str] = []
    real = Files.listing
    monkeypatch.setattr(Files, "listing", lambda files, folder: (listed.append(folder), real(files, folder))[1])
    budget = CheckpointBudget(plan, store, 1)
    budget.planned(FREE)
    assert listed.count(layout.CHECKPOINTS) == 1
    assert [epochs(store, trial.id) for trial in plan.trials] == [{2}, {2}]
    exact, (told,) = bytes_in_words(size(store)), re.findall("its checkpoints take (.*), more than", budget.fault)
    assert told == exact


def test_what_a_plan_needs_stays(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    """Of a training with analyses to do, nothing goes."""
    plan, store = finished
    more = planned(
        tmp_path, TINY.replace("evaluate: {}}\n  tied", "evaluate: {}, gradients: {at: checkpoint, epochs: [1]}}\n  tied")
    )
    standard, tied = (t.id for t in more.trials)
    assert standard == plan.trials[0].id
    budget = CheckpointBudget(more, store, 1)
    budget.planned(FREE)
    assert (epochs(store, standard), epochs(store, tied)) == ({0, 1, 2}, {2})
    assert budget.fault


def test_what_another_sweep_needs_stays(finished: tuple[Plan, Store], tmp_path: Path) -> None:
    """A sweep that is recorded and was not finished, as another driver's or as one that was stopped."""
    plan, store = finished
    more = TINY.replace("evaluate: {}}\n  tied", "evaluate: {}, gradients: {at: checkpoint, epochs: [1]}}\n  tied")
    standard, tied = (t.id for t in plan.trials)
    record = records.write_sweep(store.files, "more", planned(tmp_path, more).record())
    budget = CheckpointBudget(plan, store, 1)
    budget.planned(FREE)
    assert (epochs(store, standard), epochs(store, tied)) == ({0, 1, 2}, {2})
    assert budget.fault.endswith(f"needs what is left, and so does {record}, which is not complete")
    assert run_inline(tmp_path, more, store)
    budget = CheckpointBudget(plan, store, 1)
    budget.planned(FREE)
    assert (epochs(store, standard), epochs(store, tied)) == ({2}, {2})
    assert budget.fault.endswith("needs what is left")


def test_under_a_record_that_cannot_be_read_everything_stays(finished: tuple[Plan, Store]) -> None:
    """Nobody knows what that sweep needs. The launch ends, and says so."""
    plan, store = finished
    path = layout.sweep_named("more", "01234567")
    store.files.put(path, b"{")
    before = store.files.listing("")
    budget = CheckpointBudget(plan, store, 1)
    budget.planned(FREE)
    assert store.files.listing("") == before
    assert f"{path} cannot be read, so nobody knows what it needs" in budget.fault


def test_epochs_are_counted_without_asking_the_storage(
    finished: tuple[Plan, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = finished
    listings: list[str] = []
    real = store.files.listing
    monkeypatch.setattr(store.files, "listing", lambda folder, *more: (listings.append(folder), real(folder, *more))[1])
    budget = CheckpointBudget(plan, store, 10 * size(store))
    budget.planned(FREE)
    listings.clear()
    told = Event("epoch", plan.trials[0].id, epoch=1, metrics={"loss": 1.0})
    for _ in range(5):
        budget(told)
    assert listings == []
    for _ in range(200):
        budget(told)
    assert 1 <= len(listings) <= 8  # each time it finds that less is there than it thought


def test_a_sweep_stops_before_the_disk_is_full_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(TINY.replace("epochs: 2", "epochs: 6").replace("[0, 1, 2]", "[0, 6]"))
    store = tmp_path / "store"
    arguments = ("sweep", str(path), "--executor", "inline", "--store", str(store))
    done = memloc(tmp_path, *arguments, "--max-checkpoint-bytes", "100KB")
    assert done.code == 3, done.err
    assert "more than --max-checkpoint-bytes 100 KB; work under way needs what is left" in done.err
    assert "interrupted" not in done.err
    assert contents(store)["trials"].num_rows == 0
    assert memloc(tmp_path, *arguments).code == 0
    whole = tmp_path / "whole"
    assert memloc(tmp_path, *arguments[:-1], str(whole)).code == 0
    assert_same(whole, store)
    # A limit that both trainings fit into only one after the other: the first one gives way.
    small = tmp_path / "small"
    room = size(Store(str(whole))) * 3 // 4
    done = memloc(tmp_path, *arguments[:-1], str(small), "--max-checkpoint-bytes", str(room))
    assert done.code == 0, done.err
    assert size(Store(str(small))) <= room
    assert {n: encoded(t) for n, t in contents(small).items()} == {n: encoded(t) for n, t in contents(whole).items()}


def test_sizes() -> None:
    assert [in_bytes("x", t) for t in ("5", "5B", "1.5kb", "2MB", "3 GB", "1TB")] == [
        5,
        5,
        1500,
        2 * 10**6,
        3 * 10**9,
        10**12,
    ]
    for wrong in ("", "GB", "-1GB", "1GiB", "1e9", "5 5", "inf"):
        with pytest.raises(UsageError, match=r"^x '.*': valid: a number and a unit"):
            in_bytes("x", wrong)
