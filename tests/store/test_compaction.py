"""Compaction changes no row, no order and no word of a commit: beside writers, after gc, and again and again."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memloc.analysis.reader import known_tables, visible
from memloc.analysis.reading import read_table, run_sql
from memloc.analysis.sweep_status import sweep_status
from memloc.errors import StoreError
from memloc.run.pending import pending
from memloc.run.plan import Plan
from memloc.store import Commit, Store, commits, compaction, generation_layout, generations, index, layout, schemas
from memloc.store.commit_form import decode
from memloc.store.compaction import compact
from memloc.store.table_content import PART
from memloc.store.verify import verify
from tests.conftest import TINY, planned
from tests.store.compacted import SMALL, all_parts, as_said, assert_same, publish, remove_small, said, shown
from tests.store.test_concurrency import check
from tests.store.test_readers import running
from tests.store.writing import PARTS, ROWS, commit_of, rows_of, with_training


def test_a_real_store_says_the_same(store: Store, plan: Plan, tmp_path: Path) -> None:
    """Every table of a finished sweep, on a disk and in an object store: before, after, and without the small files."""
    whole, partial, words = shown(store), shown(store, partial=True), said(store.snapshot())
    status = sweep_status(store, "tiny")
    sizes = store.snapshot().tables()
    done = compact(store.files)
    assert done is not None
    assert (done.generation, done.parts, done.left) == (1, len(words), {})
    for remove in (False, True):
        if remove:
            remove_small(store)
        again = Store(store.uri)
        snapshot = again.snapshot()
        assert set(snapshot.covered) == set(words)
        assert snapshot.loose() == []
        assert said(snapshot) == words
        assert_same(shown(again), whole)
        assert_same(shown(again, partial=True), partial)
        assert_same(shown(again, sweep="tiny"), whole)
        assert sweep_status(again, "tiny") == status
        assert {name: rows for name, (rows, _) in snapshot.tables().items()} == {n: rows for n, (rows, _) in sizes.items()}
        works = pending(planned(tmp_path, TINY), again, snapshot, "all")
        assert [w for w in works if w.anything] == []
        assert verify(again.files)[0] == []
        assert compact(again.files) is None
    assert not store.files.listing(layout.COMMITS)


def test_a_commit_is_found_by_its_part(store: Store, plan: Plan) -> None:
    """A worker asks for single commits: as they were, checkpoints and all, though no file of theirs is left."""
    before = {i: store.commit(i) for i in store.snapshot().commits}
    compact(store.files)
    remove_small(store)
    again = Store(store.uri)
    assert {i: again.commit(i) for i in before} == before
    assert any(commit and commit.checkpoints for commit in before.values())
    assert again.commit("0" * 16) is None


def test_rows_are_counted_without_a_commit(tmp_path: Path) -> None:
    """Parts of a generation and parts of their own, each with rows of two tables, beside a training without any."""
    store = Store(str(tmp_path / "store"))
    publish(store, all_parts(2))
    compact(store.files)
    publish(store, [(7, nth) for nth in range(PARTS)])
    seen = visible(store, store.snapshot(), None, False).commits
    assert (seen.places >= 0).sum() == 1 + 2 * PARTS
    for table in ("predictions", "evaluation", "epochs", None):
        told = [sum(file.rows for file in c.files if table in (None, file.table)) for c in seen]
        assert seen.rows(table).tolist() == told, table
        assert seen.at(np.arange(len(seen))[::-2]).rows(table).tolist() == told[::-2], table
    assert set(told) == {0, ROWS + 1}


def test_the_bytes_of_every_commit_are_kept(tmp_path: Path) -> None:
    """Also fields that this version does not know, and the form of version 2."""
    store, commit = Store(str(tmp_path)), commit_of(0, 0, 1.0)
    store.publish(commit, rows_of(0, 0), known_tables())
    ((path, content),) = {p: store.files.get(p) for p in store.files.listing(layout.COMMITS)}.items()
    raw = json.loads(content)
    other = json.dumps({**raw, "schema": 2, "more": {"new": [1, 2]}, "config": {"x": 0.1, "y": None, "z": "ü"}}).encode()
    store.files.delete(path)
    path = layout.commit(commit.id, other)
    store.files.put(path, other)
    compact(store.files)
    remove_small(store)
    covered = Store(store.uri).snapshot().generation
    assert covered is not None
    assert covered.commits.content(commit.id) == other
    assert covered.commits.path(commit.id) == path
    assert said(Store(store.uri).snapshot())[commit.id]["config"] == {"x": 0.1, "y": None, "z": "ü"}
    assert covered.commits.whole(commit.id) == decode(path, other)


def test_many_compactions_beside_new_parts(tmp_path: Path) -> None:
    """At every moment as in a store that is never compacted: parts of one analysis come before and after a compaction."""
    one, other = Store(str(tmp_path / "one")), Store(str(tmp_path / "other"))
    parts, draw = all_parts(5), random.Random(1)
    while parts:
        some, parts = parts[:7], parts[7:]
        publish(one, some)
        publish(other, some)
        assert_same(shown(Store(one.uri)), shown(other))
        done = compact(one.files, draw.choice([SMALL, 3 * SMALL, 1 << 20]))
        assert done is not None
        assert done.left == {}
        remove_small(one)
        assert_same(shown(Store(one.uri), partial=True), shown(other, partial=True))
    assert said(Store(one.uri).snapshot()) == said(other.snapshot())
    assert verify(one.files)[0] == []


def publish_noise(store: Store, parts: range) -> None:
    """Parts of an analysis of 60 parts, each with 4 KB that do not compress."""
    for nth in parts:
        draw = random.Random(nth)
        odd_part(store, nth, schema_of(x=pa.float64()), of=60, x=[draw.random() for _ in range(500)])


def test_files_are_at_most_as_large_as_they_may_be(tmp_path: Path) -> None:
    store, limit = Store(str(tmp_path)), 60_000
    publish_noise(store, range(60))
    compact(store.files, limit)
    sizes = [file.size for file in generation_files(store, "odd")]
    assert limit / 2 < max(sizes) <= limit
    assert len(sizes) < 2 * sum(sizes) / limit
    assert sum(file.rows for file in generation_files(store, "odd")) == 60 * 500


def test_a_large_file_stays_where_nothing_new_falls_into_it(tmp_path: Path) -> None:
    store, other = Store(str(tmp_path / "a")), Store(str(tmp_path / "b"))
    publish_noise(other, range(60))
    publish_noise(store, range(50))
    compact(store.files, 60_000)
    before = {file.path for file in generation_files(store, "odd")}
    publish_noise(store, range(50, 60))
    compact(store.files, 60_000)
    after = {file.path for file in generation_files(store, "odd")}
    assert before & after
    assert after - before
    remove_small(store)
    assert_same(shown(Store(store.uri)), shown(other))
    assert verify(store.files)[0] == []


def generation_files(store: Store, table: str) -> list[generations.GenerationFile]:
    present = Store(store.uri).snapshot().generation
    assert present is not None
    return [file for file in present.files if file.table == table]


@pytest.mark.parametrize("sql", [
    "SELECT * FROM predictions WHERE example >= 60 AND predicted = 1",
    "SELECT count(*) AS n, sum(example) AS total FROM predictions",
    "SELECT a.analysis, count(*) AS n FROM predictions a JOIN predictions b USING (analysis, example) GROUP BY 1 ORDER BY 1",
    "SELECT predicted FROM predictions LIMIT 7 OFFSET 333",
    "SELECT noisy_acc, margin FROM evaluation JOIN predictions USING (analysis) WHERE example = 3 ORDER BY ALL",
    "SELECT clean_acc FROM evaluation WHERE clean_acc > 100",
])  # fmt: skip
def test_sql_beside_parts_of_their_own(tmp_path: Path, sql: str) -> None:
    """Filters and selections are pushed down to generation files and to small ones alike."""
    one, other = Store(str(tmp_path / "one")), Store(str(tmp_path / "other"))
    parts = all_parts(8)
    publish(other, parts)
    publish(one, parts[:20])
    compact(one.files, SMALL)
    remove_small(one)
    publish(one, parts[20:])
    assert run_sql(one, sql).equals(run_sql(other, sql))
    assert run_sql(one, "SHOW TABLES").equals(run_sql(other, "SHOW TABLES"))
    assert run_sql(one, "DESCRIBE predictions").equals(run_sql(other, "DESCRIBE predictions"))


FIRST_ROWS = """
import faulthandler, sys
faulthandler.dump_traceback_later(300, exit=True)
import pyarrow as pa
from memloc.analysis.reading import run_sql
from memloc.store import Store
assert pa.cpu_count() == 1
for _ in range(20):
    for sql in sys.argv[2:]:
        run_sql(Store(sys.argv[1]), sql)
"""


def test_first_rows_with_one_thread_of_arrow(tmp_path: Path) -> None:
    """As a batch system sets it. A scan inside another one's thread waited for a second thread, and for ever."""
    store, parts = Store(str(tmp_path)), all_parts(8)
    publish(store, parts[:20])
    compact(store.files, SMALL)
    remove_small(store)
    publish(store, parts[20:])
    queries = [
        "SELECT predicted FROM predictions LIMIT 7 OFFSET 333",
        "SELECT count(*) FROM predictions a JOIN (SELECT * FROM evaluation LIMIT 3) USING (analysis)",
        "SELECT version FROM trials JOIN predictions USING (trial) LIMIT 1",
    ]
    command = [sys.executable, "-c", FIRST_ROWS, str(tmp_path), *queries]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_readers_writers_and_compaction_at_once(uri: str) -> None:
    """A reader never sees a part twice, or half an analysis; what it has seen never goes away."""
    store = Store(uri)
    store.files.check_usable()
    with_training(store)
    seen = [0]

    def look() -> None:
        seen.append(check(uri))

    with running(lambda: compact(Store(uri).files, SMALL)) as compacted, running(look):
        for analysis in range(4):
            for nth in range(PARTS):
                store.publish(commit_of(analysis, nth, 1.0), rows_of(analysis, nth), known_tables())
    assert compacted[0] > 0
    assert seen == sorted(seen)
    compact(Store(uri).files)
    assert check(uri) == 4
    assert verify(store.files)[0] == []


def test_the_slower_of_two_compactions_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    publish(store, all_parts(3))
    before = shown(store)
    put, inner = type(store.files).put, [True]

    def put_late(files: object, path: str, data: bytes) -> None:
        if generation_layout.is_manifest(path) or not path.startswith(layout.GENERATIONS) or not inner[0]:
            return put(store.files, path, data)
        inner[0] = False
        compact(Store(str(tmp_path)).files)  # begins later and ends first
        return put(store.files, path, data)

    monkeypatch.setattr(type(store.files), "put", put_late)
    with pytest.raises(StoreError, match="another compaction was faster; nothing was changed"):
        compact(store.files)
    assert len(store.files.listing(layout.MANIFESTS)) == 2  # a manifest and its index
    assert_same(shown(Store(store.uri)), before)


def test_of_two_generations_of_one_number_the_smaller_name_counts(tmp_path: Path) -> None:
    """Two machines that compact at once and do not see each other's files yet."""
    stores = [Store(str(tmp_path / name)) for name in "ab"]
    for store, parts in zip(stores, (all_parts(3)[:5], all_parts(3)), strict=True):
        publish(store, parts)
        compact(store.files)
    one, other = stores
    for path in other.files.listing(""):
        one.files.put(path, other.files.get(path))
    taken = Store(one.uri).snapshot()
    assert taken.generation is not None
    assert taken.generation.path == min(generations.in_order(one.files))
    assert_same(shown(Store(one.uri)), shown(other))


# --- parts that keep their own files


def damaged(store: Store, path: str) -> None:
    content = bytearray(store.files.get(path))
    content[len(content) // 3] ^= 1
    store.files.put(path, bytes(content))


def gone(store: Store, path: str) -> None:
    store.files.delete(path)


@pytest.mark.parametrize("harm", [damaged, gone])
def test_a_damaged_part_is_left_as_it_is(tmp_path: Path, harm: Callable[[Store, str], None]) -> None:
    store = Store(str(tmp_path))
    publish(store, all_parts(2))
    part = commit_of(1, 2, 1.0).id
    harm(store, store.snapshot().commits[part].files[0].path)
    done = compact(store.files)
    assert done is not None
    assert list(done.left) == [part]
    snapshot = Store(store.uri).snapshot()
    assert [commit.id for commit in snapshot.loose()] == [part]
    assert read_table(Store(store.uri), "evaluation").num_rows == 2 * PARTS  # the part's other table is whole
    with pytest.raises(StoreError, match="then the sweep again"):
        shown(Store(store.uri), partial=True)
    assert [b.path for b in verify(store.files)[0]] == [snapshot.commits[part].files[0].path]
    publish(store, [(1, 2)])
    other = Store(str(tmp_path / "other"))
    publish(other, all_parts(2))
    assert_same(shown(Store(store.uri)), shown(other))  # the rows of the other table, written before, are not taken twice
    compact(store.files)
    assert_same(shown(Store(store.uri)), shown(other))


def odd_part(store: Store, nth: int, schema: pa.Schema, of: int = 4, **columns: list[object]) -> None:
    n = len(next(iter(columns.values())))
    rows = {"odd": {"analysis": ["a" * 16] * n, "trial": ["e" * 16] * n, **columns}}
    commit = Commit(f"{nth:016x}".replace("0", "f", 1), "e" * 16, "a" * 16, "odd", {"nth": nth}, nth, of, {})
    store.publish(commit, rows, {"odd": schema})


def schema_of(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([("analysis", pa.string()), ("trial", pa.string()), *columns.items()])


def test_tables_whose_files_have_other_columns(tmp_path: Path) -> None:
    """A plugin's table in two versions: a column that a file lacks is NULL, before and after, also beside a third."""
    one, other = Store(str(tmp_path / "one")), Store(str(tmp_path / "other"))
    for store in (one, other):
        with_training(store)
        odd_part(store, 0, schema_of(x=pa.int64()), x=[1, 2])
        odd_part(store, 1, schema_of(x=pa.int64(), y=pa.string()), x=[3], y=["a"])
    assert compact(one.files) is not None
    assert_same(shown(Store(one.uri), partial=True), shown(other, partial=True))
    for store in (one, other):
        odd_part(store, 2, schema_of(y=pa.string(), x=pa.int64(), v=pa.float64()), y=["b"], x=[4], v=[-0.0])
        odd_part(store, 3, schema_of(x=pa.int64()), x=[])
    for _ in range(2):
        rows, expected = read_table(Store(one.uri), "odd"), read_table(other, "odd")
        assert rows.select(sorted(rows.column_names)).equals(expected.select(sorted(rows.column_names)))
        compact(one.files)
        remove_small(one)


def test_a_part_whose_columns_do_not_fit_keeps_its_files(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    odd_part(store, 0, schema_of(x=pa.int64()), x=[1])
    odd_part(store, 1, schema_of(x=pa.string()), x=["text"])
    odd_part(store, 2, schema_of(**{PART.name: pa.int64()}), **{PART.name: [7]})
    publish(store, all_parts(1))
    done = compact(store.files)
    assert done is not None
    assert len(done.left) == 2
    assert all("do not fit" in why or PART.name in why for why in done.left.values())
    assert read_table(Store(store.uri), "evaluation").num_rows == PARTS
    with pytest.raises(StoreError, match="do not fit together"):
        read_table(Store(store.uri), "odd", partial=True)  # as before


def test_two_commits_of_one_part(tmp_path: Path) -> None:
    """A duplicated worker, whose second commit comes after the compaction: its rows are those that are there."""
    store = Store(str(tmp_path))
    publish(store, all_parts(1))
    before = shown(store)
    compact(store.files)
    store.publish(replace(commit_of(0, 1, 9.0)), rows_of(0, 1), known_tables())
    assert_same(shown(Store(store.uri)), before)
    assert compact(store.files) is None


def test_a_generation_file_is_plain_parquet(tmp_path: Path) -> None:
    """Another program reads it: the table's columns, and one that names the part."""
    store = Store(str(tmp_path))
    publish(store, all_parts(1))
    expected = shown(store)["evaluation"]
    compact(store.files)
    (file,) = generation_files(store, "evaluation")
    rows = pq.read_table(tmp_path / file.path)
    assert rows.drop_columns([PART.name]).equals(expected)
    assert [f"{n:016x}" for n in rows[PART.name].to_pylist()] == [commit_of(0, nth, 0.0).id for nth in range(PARTS)]
    assert schemas.sha8(rows.drop_columns([PART.name]).schema) == schemas.sha8(known_tables()["evaluation"])


def test_an_empty_store(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    assert compact(store.files) is None
    assert commits.snapshot(store.files, {}).generation is None


# --- the size of an index


def many(store: Store, monkeypatch: pytest.MonkeyPatch, limit: int, group: int) -> None:
    """Six analyses of four parts, and a compaction whose indexes have so many bytes."""
    publish(store, all_parts(6))
    monkeypatch.setattr(index, "GROUP", group)
    monkeypatch.setattr(compaction, "LIMIT", limit)


@pytest.mark.parametrize("group", [1, 3, 10, 2000])
@pytest.mark.parametrize("limit", [2_500, 6_000, 20_000])
def test_an_index_is_cut_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, group: int) -> None:
    """It was cut by commits alone, so those of long trainings made one that no reader takes."""
    store = Store(str(tmp_path))
    many(store, monkeypatch, limit, group)
    before, words = shown(store), said(store.snapshot())
    sizes = [len(store.files.get(path)) for path in store.files.listing(layout.COMMITS)]
    assert max(sizes) < limit
    done = compact(store.files)
    assert done is not None
    assert done.parts == len(sizes) == 25
    pieces = Store(store.uri).snapshot().generation.manifest.index  # type: ignore[union-attr]
    assert sum(piece.commits for piece in pieces) == 25
    assert len(pieces) > 1
    assert max(piece.commits for piece in pieces) * min(sizes) <= 2 * limit  # compressed, two groups may lie where one would
    remove_small(store)
    again = Store(store.uri)
    assert said(again.snapshot()) == words
    assert_same(shown(again), before)
    assert all(as_said(again.snapshot().covered.whole(i)) == words[i] for i in words)  # type: ignore[attr-defined]


def test_a_commit_that_is_too_large_for_an_index_keeps_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    publish(store, all_parts(1))
    large = replace(commit_of(0, 0, 1.0), where={"text": "x" * 5_000})
    store.files.delete(store.snapshot().paths[large.id])
    store.publish(large, rows_of(0, 0), known_tables())
    before = shown(store)
    monkeypatch.setattr(compaction, "LIMIT", 5_000)
    done = compact(store.files)
    assert done is not None
    assert list(done.left) == [large.id]
    assert "at most are merged" in done.left[large.id]
    assert_same(shown(Store(store.uri)), before)


def test_a_manifest_that_no_reader_would_take_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    publish(store, all_parts(1))
    before = shown(store)
    monkeypatch.setattr("memloc.store.index_check.STAGE", re.compile("nothing"))
    with pytest.raises(
        StoreError, match=r"nothing was changed, since no reader would take manifests/000001-.*stage: it has"
    ):
        compact(store.files)
    assert not [path for path in store.files.listing(layout.MANIFESTS) if path.endswith(".json")]
    assert_same(shown(Store(store.uri)), before)
