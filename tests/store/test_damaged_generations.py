"""A damaged generation costs only its parts: the rest is read, verify names it, and the next sweep computes what is lost."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from memloc.analysis.reader import known_tables
from memloc.analysis.reading import read_table, run_sql
from memloc.errors import DamagedError, MemlocWarning, StoreError
from memloc.run.pending import pending
from memloc.run.plan import Plan
from memloc.store import Store, layout, tables
from memloc.store.compaction import compact
from memloc.store.verify import verify
from tests.store.compacted import all_parts, assert_same, publish, remove_small, said, shown
from tests.store.test_verify import again, contents, flip, lose, truncate
from tests.store.writing import PARTS, commit_of


def file_of(store: Store, table: str) -> str:
    present = store.snapshot().generation
    assert present is not None
    return next(file.path for file in present.files if file.table == table)


@pytest.mark.parametrize("harm", [flip, truncate, lose])
def test_only_its_parts_are_computed_again(
    store: Store, plan: Plan, tmp_path: Path, harm: Callable[[Store, str], None]
) -> None:
    before = contents(store)
    compact(store.files)
    remove_small(store)
    path = file_of(store, "rewind")
    harm(store, path)
    reader = Store(store.uri)
    if harm is flip:  # the size is right, so only who reads its rows can notice
        for read in (lambda: read_table(reader, "rewind"), lambda: run_sql(reader, "SELECT sum(noisy_acc) FROM rewind")):
            with pytest.raises(StoreError, match=f"{path} was changed since it was committed; run `.*store verify"):
                read()
    else:
        assert read_table(reader, "rewind").num_rows == 0
    assert read_table(reader, "examples").num_rows == before["examples"].num_rows
    (found,), _ = verify(store.files)
    assert (found.path, found.consequence) == (path, "3 parts of table rewind recomputed by the next sweep")
    assert [b.path for b in verify(store.files)[0]] == ([path] if harm is lose else [])  # until it is computed again
    assert Counter(again(store, plan, tmp_path)) == {("part", "rewind"): 3}
    assert verify(store.files)[0] == []
    for _ in range(2):
        for name, rows in contents(Store(store.uri)).items():
            assert rows.equals(before[name]), name
        done = compact(store.files)
        assert done is None or done.left == {}
    assert not [w for w in pending(plan, store, Store(store.uri).snapshot(), "all") if w.anything]


def test_a_lost_training_is_trained_again(store: Store, plan: Plan, tmp_path: Path) -> None:
    """Its checkpoints are there, and its rows are not: it goes on from its last state, if there is one."""
    before = contents(store)
    compact(store.files)
    remove_small(store)
    store.files.delete(file_of(store, "epochs"))
    done = Counter(again(store, plan, tmp_path))
    assert done == {("trained", "train"): 2}
    for name, rows in contents(Store(store.uri)).items():
        assert rows.equals(before[name]), name


def test_small_files_that_are_still_there_take_its_place(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    publish(store, all_parts(2))
    before, words = shown(store), said(store.snapshot())
    compact(store.files)
    flip(store, file_of(store, "predictions"))
    (found,), _ = verify(store.files)
    assert found.consequence == "0 parts of table predictions recomputed by the next sweep"
    assert_same(shown(Store(store.uri)), before)
    assert said(Store(store.uri).snapshot()) == words
    done = compact(store.files)
    assert done is not None
    remove_small(store)
    assert_same(shown(Store(store.uri)), before)
    assert verify(store.files)[0] == []


def test_a_worker_sets_aside_what_it_finds_damaged(tmp_path: Path) -> None:
    """As it does with single files (run/attempts.py): the parts of the file count as not done, and no others."""
    store = Store(str(tmp_path))
    publish(store, all_parts(2))
    compact(store.files)
    remove_small(store)
    before = set(store.snapshot().commits)
    path = file_of(store, "predictions")
    flip(store, path)
    with pytest.raises(DamagedError) as found:
        read_table(Store(store.uri), "predictions")
    assert found.value.path == path
    assert store.set_aside(found.value).endswith("it is set aside, and the same command computes it again")
    assert set(Store(store.uri).snapshot().commits) == {"e" * 16}  # the training has no rows here
    assert verify(store.files)[0] == []
    publish(store, all_parts(2))
    assert set(Store(store.uri).snapshot().commits) == before


def test_two_workers_that_find_one_damaged_index_set_aside_one_generation(tmp_path: Path) -> None:
    """The second one would meet the generation before it, which is whole."""
    store = Store(str(tmp_path))
    publish(store, all_parts(2))
    compact(store.files)
    publish(store, all_parts(3))
    compact(store.files)
    first, second = (path for path in sorted(store.files.listing(layout.MANIFESTS)) if path.endswith(".json"))
    taken = store.snapshot().generation
    assert taken is not None
    assert taken.path == second
    damage = DamagedError("is damaged", taken.manifest.index[0].path, "")
    for worker in (Store(store.uri), Store(store.uri)):
        worker.set_aside(damage)
    present = Store(store.uri).snapshot().generation
    assert present is not None
    assert present.path == first


@pytest.mark.parametrize("ending", [".json", ".parquet"])
@pytest.mark.parametrize("harm", [flip, truncate, lose])
def test_a_damaged_manifest_or_index(tmp_path: Path, harm: Callable[[Store, str], None], ending: str) -> None:
    """Readers take the generation before it. What it alone covered is computed again, if its small files are gone."""
    store = Store(str(tmp_path))
    publish(store, all_parts(2)[:5])
    compact(store.files)
    remove_small(store)
    publish(store, all_parts(2))
    before = shown(store)
    compact(store.files)
    path = next(p for p in store.files.listing(layout.MANIFESTS) if "/000002-" in p and p.endswith(ending))
    harm(store, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MemlocWarning)  # of a manifest without an index
        assert_same(shown(Store(store.uri)), before)
        found = {broken.path for broken in verify(store.files)[0]}
    assert (path in found) == (harm is not lose or ending == ".parquet")
    assert verify(store.files)[0] == []
    assert_same(shown(Store(store.uri)), before)
    done = compact(store.files)
    assert done is not None
    remove_small(store)
    assert_same(shown(Store(store.uri)), before)


@pytest.mark.parametrize("mixed", [False, True], ids=["whole", "beside small files"])
def test_no_flipped_bit_becomes_a_number(tmp_path: Path, mixed: bool) -> None:
    """A bit of every 5th byte of a generation file, however its rows are read."""
    store = Store(str(tmp_path))
    publish(store, all_parts(2))
    compact(store.files)
    if mixed:
        publish(store, [(2, nth) for nth in range(PARTS)])
    commits = Store(store.uri).snapshot().shown(partial=False)

    def scanned() -> Any:
        return tables.dataset(store.files, commits, "predictions", known_tables()).to_table(use_threads=False)

    expected, full = scanned(), Path(store.uri, file_of(store, "predictions"))
    content, outcomes = full.read_bytes(), Counter[str]()
    for at in range(0, len(content), 5):
        changed = bytearray(content)
        changed[at] ^= 1 << (at % 8)
        full.write_bytes(changed)
        try:
            outcomes["unused" if scanned().equals(expected) else "silent"] += 1
        except (OSError, StoreError, pa.ArrowException):
            outcomes["found"] += 1
    assert outcomes["silent"] == 0
    assert outcomes["found"] > 100


def test_no_flipped_bit_becomes_a_commit(tmp_path: Path) -> None:
    """The same of an index: what it says is right, or it is left out."""
    store = Store(str(tmp_path))
    publish(store, all_parts(1))
    compact(store.files)
    words, part = said(Store(store.uri).snapshot()), commit_of(0, 1, 0.0).id
    remove_small(store)
    (path,) = [Path(store.uri, p) for p in store.files.listing(layout.MANIFESTS) if p.endswith(".parquet")]
    content, outcomes = path.read_bytes(), Counter[str]()
    for at in range(0, len(content), 37):
        changed = bytearray(content)
        changed[at] ^= 1 << (at % 8)
        path.write_bytes(changed)
        reader = Store(store.uri)
        reader.warn = lambda subject, message: None  # type: ignore[method-assign]
        snapshot = reader.snapshot()
        try:
            alike = said(snapshot) == words and reader.commit(part) == store.commit(part)
            outcomes["unused" if alike else "left out" if not snapshot.commits else "silent"] += 1
        except StoreError:
            outcomes["found"] += 1
    assert outcomes["silent"] == 0
    assert outcomes["left out"] > 20
    assert outcomes["found"] > 5  # of the bytes of commits, which are read when somebody asks for them
