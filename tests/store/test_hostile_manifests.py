"""Whoever can write a manifest or an index cannot make memloc read, move or remove what is not the store's, nor end it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memloc.errors import MemlocWarning, StoreError
from memloc.run.pending import pending
from memloc.run.plan import Plan
from memloc.store import Store, footers, garbage, generation_layout, index, layout, manifest_form, schemas
from memloc.store.compaction import compact
from memloc.store.removal import _listed, _older_generations
from memloc.store.verify import verify
from tests.store.compacted import all_parts, assert_same, publish, remove_small, shown
from tests.store.test_hostile_json import GONE, JSON, places, with_other
from tests.store.writing import commit_of

VICTIM = "../victim/x.parquet"
DAY = 86400.0
quiet = pytest.mark.filterwarnings("ignore::memloc.errors.MemlocWarning")
bounded = settings(deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Made:
    """A store with two generations, of which the second can be written anew in any form; beside it is somebody else's."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(str(folder / "store"))
        publish(self.store, all_parts(1))
        compact(self.store.files)
        publish(self.store, all_parts(2))
        compact(self.store.files)
        self.manifest, self.index = (self.path(2, ending) for ending in (".json", ".parquet"))
        self.raw: Any = json.loads(self.store.files.get(self.manifest))
        self.rows = pq.read_table(folder / "store" / self.index)
        self.victim = folder / "victim"
        self.victim.mkdir()
        content = self.store.files.get(self.raw["files"][0]["path"])
        (self.victim / "x.parquet").write_bytes(content)
        self.content = {path: self.store.files.get(path) for path in self.store.files.listing("")}
        self.expected = self.rows_shown()

    def rows_shown(self) -> dict[str, pa.Table]:
        """What readers see."""
        return shown(Store(self.store.uri), False, None, "predictions", "evaluation", "analyses")

    def path(self, generation: int, ending: str) -> str:
        found = self.store.files.listing(layout.MANIFESTS)
        return next(p for p in found if p.startswith(f"manifests/{generation:06d}") and p.endswith(ending))

    def restore(self) -> None:
        for path in self.store.files.listing(""):
            if path not in self.content:
                self.store.files.delete(path)
        for path, data in self.content.items():
            self.store.files.put(path, data)

    def write(self, raw: Any) -> str:
        """Puts another manifest in the place of the second; returns its path."""
        self.store.files.delete(self.manifest)
        content = json.dumps(raw).encode()
        path = generation_layout.manifest(2, content)
        self.store.files.put(path, content)
        return path

    def write_index(self, rows: pa.Table) -> str:
        """Puts another index in the place of the second's, and a manifest that lists it."""
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink, row_group_size=index.GROUP, **schemas.WRITTEN)
        return self.write_as_index(sink.getvalue().to_pybytes(), rows.num_rows)

    def write_as_index(self, content: bytes, commits: int) -> str:
        """Puts any bytes in the place of the second's index, and a manifest that lists them with their hashes."""
        digest = layout.sha256(content)
        path = generation_layout.index(2, digest)
        self.store.files.put(path, content)
        listed = {
            "path": path, "commits": commits, "size": len(content), "sha256": digest,
            "footer": layout.sha256(footers.footer(content)),
        }  # fmt: skip
        return self.write({**self.raw, "index": [listed]})

    def untouched(self) -> None:
        """What is beside the store is as it was; every reader, verify and gc went on, and no row is lost."""
        others = {p.name: p.read_bytes() for p in self.victim.iterdir()}
        store = Store(self.store.uri)
        assert_same(self.rows_shown(), self.expected)
        verify(store.files)
        store.files.clock = lambda: 4e9  # type: ignore[method-assign]
        list(garbage.remove(store.files, garbage.find(store.files, 7 * DAY, lambda paths: None)))
        assert_same(self.rows_shown(), self.expected)
        assert {p.name: p.read_bytes() for p in self.victim.iterdir()} == others


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def hostile(raw: Any) -> dict[str, Any]:
    """Manifests that list something whose place the layout would not give."""
    (file, *others), (piece,) = raw["files"], raw["index"]
    nowhere = "manifests/000002-00000000.parquet"
    return {
        "a file outside": {**raw, "files": [{**file, "path": VICTIM}, *others]},
        "an absolute path": {**raw, "files": [{**file, "path": "/etc/passwd"}, *others]},
        "a table outside": {**raw, "files": [{**file, "table": "../../victim"}, *others]},
        "another table's file": {**raw, "files": [{**file, "table": "flips"}, *others]},
        "a file by another hash": {**raw, "files": [{**file, "sha256": "0" * 64}, *others]},
        "a file of a later generation": {**raw, "files": [{**file, "generation": 9}, *others]},
        "a small file": {**raw, "files": [{**file, "path": layout.data_named("evaluation", "0" * 16, "0" * 64)}, *others]},
        "an index outside": {**raw, "index": [{**piece, "path": VICTIM}]},
        "an index that is not there": {**raw, "index": [{**piece, "sha256": "0" * 64, "path": nowhere}]},
        "another number": {**raw, "generation": 3},
        "more commits": {**raw, "index": [{**piece, "commits": 1000}]},
        "no files": {**raw, "files": []},
        "a file too large": {**raw, "files": [{**file, "size": 1 << 40}, *others]},
    }  # fmt: skip


HOSTILE = (
    "a file outside", "an absolute path", "a table outside", "another table's file", "a file by another hash",
    "a file of a later generation", "a small file", "an index outside", "an index that is not there", "another number",
    "more commits", "no files", "a file too large",
)  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_manifest_lists_only_what_the_layout_gives(made: Made, name: str) -> None:
    """It is named and left out: readers take the generation before it, and the commits."""
    assert set(hostile(made.raw)) == set(HOSTILE)
    path = made.write(hostile(made.raw)[name])
    with pytest.warns(MemlocWarning, match=f"left out: {path} "):
        snapshot = made.store.snapshot()
    assert snapshot.generation is not None
    assert snapshot.generation.manifest.generation == 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MemlocWarning)
        made.untouched()


@quiet
@settings(bounded, max_examples=12)
@given(st.data())
def test_any_json_in_any_place_of_a_manifest(made: Made, data: st.DataObject) -> None:
    made.restore()
    place = data.draw(st.sampled_from(list(places(made.raw))))
    made.write(with_other(made.raw, place, data.draw(st.just(GONE) | JSON)))
    made.untouched()


def column(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    """Another value in the third row of a column."""

    def change(rows: pa.Table) -> pa.Table:
        values = rows[name].to_pylist()
        values[2] = value(values[2]) if callable(value) else value
        return rows.set_column(rows.column_names.index(name), name, pa.array(values, rows.schema.field(name).type))

    return change


def first_file(**changes: Any) -> Callable[[pa.Table], pa.Table]:
    return column("files", lambda files: [{**files[0], **changes}, *files[1:]])


INDEXES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "an id outside": column("id", "../../victim/x.pa"),
    "an id twice": column("id", commit_of(0, 0, 0.0).id),
    "a trial outside": column("trial", "../x"),
    "an analysis outside": column("analysis", "/etc"),
    "a training of another trial": column("analysis", None),
    "a stage with a control character": column("stage", "\x1b[2J"),
    "a part beyond the last": column("nth", 99),
    "no list of fields": column("config", "[1]"),
    "no JSON": column("part", "{"),
    "NaN": column("config", '{"x": NaN}'),
    "a large number": column("where", '{"x": 1' + "0" * 30 + "}"),
    "deep": column("config", '{"x":' + "[" * 150 + "]" * 150 + "}"),
    "no number": column("seconds", float("nan")),
    "a missing value": column("stage", None),
    "reads something outside": column("reads", ["../x"]),
    "a file of a table outside": first_file(table="../x"),
    "a file by an odd hash": first_file(sha256="zz"),
    "a generation file that is not there": first_file(within=99),
    "a generation file before the first": first_file(within=-1),
    "rows beyond the last": first_file(first=10**9),
    "rows before the first": first_file(first=-1),
    "more rows than there are": first_file(rows=2**62),
    "another table's file": first_file(within=1, table="evaluation", first=0),
    "other columns": lambda rows: rows.rename_columns([f"x{name}" for name in rows.column_names]),
    "fewer columns": lambda rows: rows.drop_columns(["commit"]),
}


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_says_only_what_commits_can_say(made: Made, name: str) -> None:
    path = made.write_index(INDEXES[name](made.rows))
    with pytest.warns(MemlocWarning, match=f"left out: {path} has no index that this version of memloc can read"):
        assert made.store.snapshot().generation is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MemlocWarning)
        made.untouched()


def other_bytes(made: Made) -> dict[str, bytes]:
    """Contents that are no index, though every hash that is written down of them is right."""
    whole = made.store.files.get(made.index)
    page = bytearray(whole)
    page[60] ^= 4  # of the first column
    groups = pa.BufferOutputStream()
    pq.write_table(made.rows, groups, row_group_size=3, **schemas.WRITTEN)
    return {
        "small row groups": groups.getvalue().to_pybytes(),
        "no Parquet": b"x" * 1000,
        "nothing": b"",
        "the beginning": whole[: len(whole) // 2],
        "a length beyond the file": whole[:-8] + b"\xff\xff\xff\x7fPAR1",
        "a footer of zeros": whole[:-1000] + bytes(992) + whole[-8:],
        "a damaged page": bytes(page),
    }


@pytest.mark.parametrize(
    "name",
    [
        "no Parquet",
        "nothing",
        "the beginning",
        "a length beyond the file",
        "a footer of zeros",
        "a damaged page",
        "small row groups",
    ],
)
def test_an_index_that_is_no_parquet(made: Made, name: str) -> None:
    """It had ended every command, `verify` too, and nothing healed the store."""
    path = made.write_as_index(other_bytes(made)[name], made.rows.num_rows)
    with pytest.warns(MemlocWarning, match=f"left out: {path} has no index that this version of memloc can read"):
        assert made.store.snapshot().generation is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MemlocWarning)
        made.untouched()
        done = compact(made.store.files)
        assert done is not None
        assert done.generation == 3
        assert_same(made.rows_shown(), made.expected)
    assert Store(made.store.uri).snapshot().generation.path == done.path  # type: ignore[union-attr]


def test_rows_of_another_part(made: Made) -> None:
    """An index that gives a part the rows of another: a reader shows rows under their own part, or says what is wrong."""
    swapped = made.rows["files"].to_pylist()
    for own, other in zip(swapped[1], swapped[2], strict=True):
        own["first"], other["first"] = other["first"], own["first"]
    place = made.rows.column_names.index("files")
    made.write_index(made.rows.set_column(place, "files", pa.array(swapped, pa.list_(index.FILE))))
    store = Store(made.store.uri)
    assert_same(made.rows_shown(), made.expected)
    publish(store, [(5, 0)])
    with pytest.raises(StoreError, match="has other rows than those of part"):
        compact(store.files)
    problems = [broken.problem for broken in verify(store.files)[0]]
    assert problems[0] == "has a broken index"
    assert problems[1].startswith("has other rows of generations/")
    assert compact(store.files) is not None
    assert verify(store.files)[0] == []


def test_a_commit_that_is_not_that_of_its_row(made: Made) -> None:
    """Who asks for it learns of it; `verify` sets the manifest aside, and readers take the generation before it."""
    contents = made.rows["commit"].to_pylist()
    contents[0], contents[1] = contents[1], contents[0]
    path = made.write_index(
        made.rows.set_column(made.rows.column_names.index("commit"), "commit", pa.array(contents, pa.binary()))
    )
    remove_small(made.store)
    with pytest.raises(StoreError, match="has another commit in the place of"):
        Store(made.store.uri).commit(commit_of(0, 0, 0.0).id)
    found = {broken.path: broken.problem for broken in verify(made.store.files)[0]}
    assert found.pop(path) == "has a broken index"
    ((piece, problem),) = found.items()
    assert piece.startswith("manifests/000002-")
    assert problem.startswith("has another commit in the place of")
    again = Store(made.store.uri)
    assert again.commit(commit_of(0, 0, 0.0).id) is not None  # from the first generation
    assert again.snapshot().generation.manifest.generation == 1  # type: ignore[union-attr]
    assert verify(made.store.files)[0] == []


@quiet
@pytest.mark.parametrize("number", [999_999_999, 999_999_998, 1003])
def test_a_manifest_of_a_far_number_leaves_room_for_others(made: Made, number: int) -> None:
    """A compaction took the number after it, which no reader takes; so `rm` went on and on."""
    odd = f"manifests/{number}-01234567.json"
    made.store.files.put(odd, b"hostile")
    publish(made.store, all_parts(3))
    done = compact(made.store.files)
    assert done is not None
    assert done.generation == 3
    assert Store(made.store.uri).snapshot().generation.path == done.path  # type: ignore[union-attr]
    assert compact(made.store.files) is None
    gone = {commit_of(2, nth, 0.0).id for nth in range(4)}
    again = compact(made.store.files, without=gone.__contains__)
    assert again is not None
    assert again.generation == 4
    assert compact(made.store.files, without=gone.__contains__) is None
    assert set(_older_generations(made.store.files)) == {
        path for path in made.store.files.listing("") if path.startswith(("manifests/00000", "generations/"))
    } - _listed(made.store.files, [again.path]) - {again.path}


@quiet
def test_numbers_near_the_present_one_are_passed(made: Made) -> None:
    """A manifest that cannot be read now may be readable again, and then the one that was written after it counts."""
    made.store.files.put("manifests/000009-01234567.json", b"not written to its end")
    publish(made.store, all_parts(3))
    done = compact(made.store.files)
    assert done is not None
    assert done.generation == 10


def test_after_the_last_number_comes_none(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memloc.store.compaction.LAST", 2)
    publish(made.store, all_parts(3))
    with pytest.raises(StoreError, match="generation 2 is the last one that a store can have"):
        compact(made.store.files)


@pytest.mark.parametrize("ending", [".json", ".parquet"])
def test_a_link_in_the_place_of_a_manifest_is_not_followed(made: Made, ending: str) -> None:
    path = made.path(2, ending)
    there = Path(made.store.uri, path)
    (made.victim / "copy").write_bytes(there.read_bytes())
    there.unlink()
    there.symlink_to(made.victim / "copy")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MemlocWarning)
        made.store.snapshot()
    assert f"{path} is a symbolic link" in "\n".join(str(w.message) for w in caught)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MemlocWarning)
        made.untouched()


def test_a_manifest_of_a_later_version(store: Store, plan: Plan) -> None:
    """Nobody computes again what it may cover; readers go on without it; gc removes nothing that it may list."""
    compact(store.files)
    remove_small(store)
    (path,) = [p for p in store.files.listing(layout.MANIFESTS) if p.endswith(".json")]
    raw = json.loads(store.files.get(path))
    content = json.dumps({**raw, "schema": manifest_form.VERSION + 1, "files": "in another form"}).encode()
    store.files.delete(path)
    later = generation_layout.manifest(1, content)
    store.files.put(later, content)
    again = Store(store.uri)
    with pytest.warns(MemlocWarning, match=f"{later} was written by a later memloc"):
        snapshot = again.snapshot()
    assert len(snapshot.commits) == 0
    for action in (
        lambda: pending(plan, again, snapshot, "all"),
        lambda: compact(again.files),
        lambda: again.commit("0" * 16),
    ):
        with pytest.raises(StoreError, match=f"{later} was written by a later memloc .*; update memloc"):
            action()
    again.files.clock = lambda: 4e9  # type: ignore[method-assign]
    found = garbage.find(again.files, 7 * DAY, pytest.fail)
    assert not [piece for piece in found if piece.path.startswith((layout.GENERATIONS, layout.MANIFESTS, layout.DATA))]
