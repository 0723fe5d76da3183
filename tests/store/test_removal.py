"""Removing a sweep: exactly what no other needs goes, in an order that no reader notices, and after a kill it goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memloc.analysis.sweep_status import sweep_status
from memloc.errors import StoreError, UsageError
from memloc.run.pending import pending
from memloc.run.plan import Plan
from memloc.store import Files, Store, layout, records, removal
from memloc.store.compaction import compact
from memloc.store.entries import look_at
from memloc.store.opening import check_existing
from memloc.store.verify import verify
from tests.conftest import TINY, planned, run_inline, shared

OTHER = TINY[: TINY.index("  tied:")].replace("rewind: {epochs: [0, 1, 2]}, ", "")  # of two trainings one, without rewinding


@pytest.fixture(scope="session")
def other_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which only OTHER was ever run: what must be left when `tiny` is removed. Only to be read."""
    return shared(tmp_path_factory, "other", lambda f: run_inline(f, OTHER, Store(str(f / "store")), "other")) / "store"


@pytest.fixture
def both(tmp_path: Path, tiny: Path) -> Store:
    """`tiny`, and `other`, which found all it needs there. A part of `tiny` and an unknown one have failed once."""
    store = Store(str(shutil.copytree(tiny, tmp_path / "both")))
    run_inline(tmp_path, OTHER, store, "other")
    commit = next(c for c in store.snapshot().commits.values() if c.stage == "rewind")
    for failed in (commit.id, "f" * 16):
        records.record_failure(store.files, records.Failure(failed, commit.trial, "rewind", "Error: x", "Error: x"))
    return store


def names(store: Store) -> set[str]:
    """Its files without failures, and without the hashes of what a clock has written into."""
    paths = [path for path in layout.own(store.files.listing("")) if not path.startswith(layout.FAILURES)]
    timed = (layout.DATA, layout.COMMITS)
    return {p.rpartition("-")[0] if p.startswith(timed) or layout.is_resume_state(p) else p for p in paths}


def remove(store: Store, name: str) -> list[str]:
    return list(removal.remove(store.files, removal.plan(store.files, name)))


@pytest.mark.filterwarnings("ignore::memloc.errors.MemlocWarning")
def test_beside_a_manifest_of_a_far_number(both: Store, other_alone: Path) -> None:
    """It left no number for the generation that a removal writes, so the removal never came to its end."""
    compact(both.files)
    hostile = "manifests/999999999-01234567.json"
    both.files.put(hostile, b"hostile")
    remove(both, "tiny")
    assert both.files.listing(layout.REMOVALS) == {}
    manifests = [path for path in both.files.listing(layout.MANIFESTS) if path.endswith(".json")]
    assert len(manifests) == 2  # with that of the removal; those before it are gone
    assert hostile in manifests
    assert set(both.snapshot().commits) == set(Store(str(other_alone)).snapshot().commits)
    listed = {file.path for file in both.snapshot().generation.files}  # type: ignore[union-attr]
    assert set(both.files.listing(layout.GENERATIONS)) == listed


def test_what_another_sweep_needs_stays(both: Store, other_alone: Path, tmp_path: Path) -> None:
    """The oracle is a store that never had the sweep."""
    plan = removal.plan(both.files, "tiny")
    before = both.files.listing("")
    gone = remove(both, "tiny")
    left = both.files.listing("")
    assert names(both) == names(Store(str(other_alone)))
    assert [p[:26] for p in left if p.startswith(layout.FAILURES)] == [f"failures/{'f' * 16}-"]
    told = {**plan.records, **plan.analyses, **plan.last, **plan.files}
    assert told == {path: before[path] for path in set(before) - set(left)}
    assert set(gone) == (set(told) - set(plan.records)) | {layout.removal(path) for path in plan.records}
    assert verify(both.files)[0] == []
    assert sweep_status(both, "other")["counts"]["done"] == 1
    work = pending(planned(tmp_path, OTHER, "other"), both, Store(both.uri).snapshot(), "all")
    assert not [w for w in work if w.anything]
    with pytest.raises(UsageError, match="tiny: no such sweep"):
        removal.plan(both.files, "tiny")
    root = Path(both.uri)
    assert not [p for top in ("sweeps", "removals", "checkpoints") for p in root.glob(f"{top}/*") if not any(p.iterdir())]


def test_nothing_is_left_of_the_last_sweep(store: Store, plan: Plan) -> None:
    """On a disk and in an object store."""
    store.files.put("checkpoints/notes.txt", b"somebody else's")
    assert removal.plan(store.files, "tiny").shared == {}
    remove(store, "tiny")
    assert list(store.files.listing("")) == ["checkpoints/notes.txt"]


def test_one_of_two_contents_of_a_name(both: Store) -> None:
    (old,) = records.read_sweep(both.files, "tiny")
    new = records.write_sweep(both.files, "tiny", old.trials[:1])
    plan = removal.plan(both.files, f"tiny@{old.sha}")
    assert plan.names == (f"tiny@{old.sha}",)
    assert plan.trainings == {old.trials[1]["trial"]}
    assert list(plan.shared) == [old.trials[0]["trial"]]
    remove(both, f"tiny@{old.sha}")
    assert [f"{r.name}@{r.sha}" for r in records.read_sweep(both.files, "tiny")] == [new]
    assert sweep_status(both, "tiny")["counts"] == {"done": 1, "running": 0, "pending": 0, "failed": 0}
    with pytest.raises(UsageError, match=rf"tiny@{old.sha}: no such record in store .*; valid: {new}$"):
        removal.plan(both.files, f"tiny@{old.sha}")


class KilledError(BaseException):
    """The process ends here."""


def killing(monkeypatch: pytest.MonkeyPatch, nth: int) -> Callable[[], int]:
    """Ends the process before the nth deletion or move; returns how many there were."""
    done = [0]

    def before(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(files: Files, *paths: str) -> Any:
            if done[0] == nth:
                raise KilledError
            done[0] += 1
            return real(files, *paths)

        return call

    for name in ("delete", "move"):
        monkeypatch.setattr(Files, name, before(getattr(Files, name)))
    return lambda: done[0]


def assert_whole(store: Store) -> None:
    """What a reader sees: every part with its files and checkpoints, every analysis with its training."""
    commits = store.snapshot().commits.values()
    trainings = {commit.trial for commit in commits if commit.analysis is None}
    assert {commit.trial for commit in commits} == trainings
    for commit in commits:
        assert [entry.path for entry in (*commit.files, *commit.checkpoints) if look_at(store.files, entry)[1]] == []


def test_killed_before_every_deletion_the_same_command_goes_on(
    both: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = removal.plan(both.files, "tiny")
    copy = Store(str(shutil.copytree(both.uri, tmp_path / "whole")))
    with monkeypatch.context() as patch:
        count = killing(patch, -1)
        remove(copy, "tiny")
    expected, total = copy.files.listing(""), count()
    assert total == len(whole.records) * 2 + len(whole.analyses) + len(whole.last) + len(whole.files)
    for nth in range(total):
        store = Store(str(shutil.copytree(both.uri, tmp_path / str(nth))))
        with monkeypatch.context() as patch:
            killing(patch, nth)
            with pytest.raises(KilledError):
                remove(store, "tiny")
        reader = Store(store.uri)
        check_existing(reader)
        assert_whole(reader)
        remove(store, "tiny")
        assert store.files.listing("") == expected, nth
        shutil.rmtree(store.uri)


def test_launched_again_after_a_kill(both: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep computes what has gone. Its removal then takes both records, though the older one is damaged by now."""
    with monkeypatch.context() as patch:
        killing(patch, 9)
        with pytest.raises(KilledError):
            remove(both, "tiny")
    assert [r.name for r in records.read_sweeps(both.files)] == ["other"]
    again = Store(both.uri)
    run_inline(tmp_path, TINY, again)
    assert verify(again.files)[0] == []
    (damaged,) = layout.own(again.files.listing(layout.REMOVALS))
    Path(again.uri, damaged).write_bytes(b"[]")
    remove(again, "tiny")
    assert again.files.listing(layout.REMOVALS) == {}
    assert [r.name for r in records.read_sweeps(again.files)] == ["other"]
    assert len(Store(again.uri).snapshot().trainings()) == 1


@pytest.mark.parametrize("name", ["tiny", "other", "removals"])
def test_a_record_that_cannot_be_read_may_need_anything(both: Store, name: str) -> None:
    if name == "removals":
        (record,) = (p for p in both.files.listing(layout.SWEEPS) if "/tiny/" in p)
        both.files.move(record, layout.removal(record))
    (path,) = (p for p in both.files.listing("") if p.startswith(("sweeps/", "removals/")) and f"/{name}/" in f"/{p}")
    Path(both.uri, path).write_bytes(b"[]")
    before = both.files.listing("")
    with pytest.raises(StoreError, match=f"{path} cannot be read, so nobody knows what it needs; launch that sweep again"):
        removal.plan(both.files, "tiny")
    assert both.files.listing("") == before


def test_a_name_is_never_a_path(both: Store) -> None:
    for name in ("", "..", "../both", "sweeps/tiny", "tiny@../x", "tiny/", "@", "tiny@"):  # the last: as tiny@$UNSET
        with pytest.raises(UsageError, match="no such"):
            removal.plan(both.files, name)
    with pytest.raises(UsageError, match="did you mean 'tiny'"):
        removal.plan(both.files, "tinny")


def test_an_analysis_that_no_record_names_goes_with_its_training(both: Store) -> None:
    """The record that planned it is gone: nothing may be left that shows rows without a training."""
    (record,) = records.read_sweep(both.files, "tiny")
    tied = record.trials[1]
    records.write_sweep(both.files, "less", [{**tied, "analyses": []}])
    for path in both.files.listing(layout.sweep_folder("tiny")):
        both.files.delete(path)
    remove(both, "less")
    assert_whole(Store(both.uri))
    assert not [p for p in both.files.listing(layout.DATA) if any(a["parts"][0] in p for a in tied["analyses"])]


@pytest.mark.parametrize("place", ["sweeps", "sweeps/other", ""], ids=["all", "folder", "file"])
def test_a_record_behind_a_link_may_need_anything(both: Store, tmp_path: Path, place: str) -> None:
    """The owner of a store has moved it to another disk."""
    (record,) = (p for p in both.files.listing(layout.SWEEPS) if "/other/" in p)
    place = place or record
    if place == "sweeps":  # a removal of the sweep was ended half-way, so its name is known
        (own,) = (p for p in both.files.listing(layout.SWEEPS) if "/tiny/" in p)
        both.files.move(own, layout.removal(own))
    Path(both.uri, place).rename(tmp_path / "elsewhere")
    Path(both.uri, place).symlink_to(tmp_path / "elsewhere")
    before = both.files.listing("data")
    with (
        pytest.warns(match="symbolic link"),
        pytest.raises(StoreError, match=f"{place} cannot be read, .*; memloc follows no link .*put there what the link"),
    ):
        remove(both, "tiny")
    assert both.files.listing("data") == before


def test_a_record_that_verify_has_set_aside_may_need_anything(both: Store, tmp_path: Path) -> None:
    """Until its sweep is launched again."""
    (record,) = (p for p in both.files.listing(layout.SWEEPS) if "/other/" in p)
    Path(both.uri, record).write_bytes(b"[]")
    assert [file.path for file in verify(both.files)[0]] == [record]
    aside = layout.quarantine(record)
    with pytest.raises(StoreError, match=f"{aside} cannot be read, .*; launch that sweep again, .* or delete that file"):
        removal.plan(both.files, "tiny")
    run_inline(tmp_path, OTHER, both, "other")
    assert both.files.listing(layout.SWEEPS).keys() >= {record}
    assert removal.plan(both.files, "tiny").shared
    assert both.files.size(aside) is None
