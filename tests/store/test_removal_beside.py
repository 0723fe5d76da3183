"""A removal beside readers and beside a compaction: nothing that stays is missing, and nothing that went comes back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from memloc.errors import StoreError
from memloc.store import Files, Store, layout, records, removal
from memloc.store.compaction import compact
from memloc.store.verify import verify
from tests.store.compacted import publish, remove_small
from tests.store.writing import PARTS, commit_of

TRIAL = "e" * 16
READS = ("listing", "find", "end", "size")  # what a look at the manifests asks of the storage


def record(store: Store, name: str, analysis: int) -> None:
    """A sweep of one analysis; all sweeps have the same training."""
    parts = [commit_of(analysis, nth, 1.0).id for nth in range(PARTS)]
    told = {"analysis": f"{analysis:016x}", "stage": "evaluate", "config": {}, "parts": parts}
    records.write_sweep(store.files, name, [{"trial": TRIAL, "config": {}, "blocks": ["all"], "analyses": [told]}])


@pytest.fixture
def two(tmp_path: Path) -> Store:
    """Two sweeps, `goes` and `stays`, of an analysis each, with files of their own."""
    store = Store(str(tmp_path / "two"))
    publish(store, [(analysis, nth) for analysis in (0, 1) for nth in range(PARTS)])
    record(store, "goes", 0)
    record(store, "stays", 1)
    return store


def remove(store: Store, name: str) -> None:
    list(removal.remove(store.files, removal.plan(store.files, name)))


def parts_of(store: Store) -> set[str]:
    return {i for i, commit in Store(store.uri).snapshot().commits.items() if commit.analysis}


def of_analysis(analysis: int) -> set[str]:
    return {commit_of(analysis, nth, 1.0).id for nth in range(PARTS)}


@contextmanager
def before_read(monkeypatch: pytest.MonkeyPatch, nth: int, action: Callable[[], Any]) -> Iterator[Callable[[], int]]:
    """Does this before the nth thing that is asked of the storage; gives a function that says how many there were."""
    done, busy = [0], [False]

    def before(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(files: Files, *args: Any, **options: Any) -> Any:
            if not busy[0]:
                done[0] += 1
                if done[0] == nth:
                    busy[0] = True
                    action()
                    busy[0] = False
            return real(files, *args, **options)

        return call

    with monkeypatch.context() as patch:
        for name in READS:
            patch.setattr(Files, name, before(getattr(Files, name)))
        yield lambda: done[0]


@pytest.mark.parametrize("knows", [False, True], ids=["a new reader", "one that has read before"])
def test_a_reader_sees_what_stays_whenever_the_removal_comes(
    two: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    """The removal replaces the generation between any two questions of a reader."""
    compact(two.files)
    remove_small(two)
    for nth in count(1):
        copy = Store(str(shutil.copytree(two.uri, tmp_path / f"{nth}")))
        reader = Store(copy.uri)
        if knows:
            reader.snapshot()
        with before_read(monkeypatch, nth, partial(remove, copy, "goes")) as asked:
            seen = {i for i, commit in reader.snapshot().commits.items() if commit.analysis}
        if asked() < nth:
            break
        assert seen - of_analysis(0) == of_analysis(1), nth
        assert parts_of(copy) == of_analysis(1)
    assert nth > 3  # listings of manifests, of data files of generations, of commits


def test_a_compaction_that_ends_after_the_plan_brings_nothing_back(two: Store) -> None:
    planned = removal.plan(two.files, "goes")
    assert not planned.covered
    compact(two.files)
    list(removal.remove(two.files, planned))
    assert parts_of(two) == of_analysis(1)
    assert layout.own(two.files.listing(layout.REMOVALS)) == []


def test_a_compaction_that_ends_after_a_removal_writes_no_manifest(two: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has read everything, and wants to say so, when the removal begins and ends."""
    done: list[str] = []
    real = Files.put

    def put(files: Files, path: str, data: bytes) -> None:
        real(files, path, data)
        if path.startswith(layout.MANIFESTS) and path.endswith(".parquet") and not done:
            done.append(path)
            remove(two, "goes")

    monkeypatch.setattr(Files, "put", put)
    with pytest.raises(StoreError, match="commits were removed meanwhile; compact again"):
        compact(two.files)
    assert done
    assert parts_of(two) == of_analysis(1)
    again = compact(two.files)
    assert again is not None
    assert again.left == {}
    assert parts_of(two) == of_analysis(1)


@pytest.mark.parametrize("compacted", [False, True], ids=["small files", "a generation"])
def test_what_goes_while_verify_reads_is_not_broken(
    two: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compacted: bool
) -> None:
    """The removal comes between any two questions of `verify`."""
    if compacted:
        compact(two.files)
        remove_small(two)
    for nth in count(1):
        copy = Store(str(shutil.copytree(two.uri, tmp_path / f"{nth}")))
        with before_read(monkeypatch, nth, partial(remove, copy, "goes")) as asked:
            broken, _ = verify(copy.files)
        if asked() < nth:
            break
        assert broken == [], nth
        assert parts_of(copy) == of_analysis(1)
    assert nth > 8


def test_checkpoints_that_go_with_their_training_are_not_broken(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, gone, real = Store(str(shutil.copytree(tiny, tmp_path / "store"))), list[str](), Files.find

    def find(files: Files, path: str, *most: int) -> bytes | None:
        if path.startswith(layout.CHECKPOINTS) and not gone:
            gone.append(path)
            remove(Store(store.uri), "tiny")
        return real(files, path, *most)

    monkeypatch.setattr(Files, "find", find)
    assert verify(store.files)[0] == []
    assert gone
    assert store.files.listing(layout.CHECKPOINTS) == {}
