"""verify finds what is broken by name, and the next sweep recomputes exactly that; on a disk and on S3."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from memloc import commands
from memloc.analysis.reader import known_tables
from memloc.run.events import Event
from memloc.run.pending import pending
from memloc.run.plan import Plan
from memloc.store import Store, layout, tables
from memloc.store.verify import verify
from tests.conftest import carry_out
from tests.run.programs import CLOCK_COLUMNS

Harm = Callable[[Store, str], None]


def contents(store: Store) -> dict[str, pa.Table]:
    commits = store.snapshot().shown(partial=False)
    found = {name: tables.read(store.files, commits, name, known_tables()) for name in known_tables()}
    return {name: t.drop_columns([c for c in CLOCK_COLUMNS if c in t.column_names]) for name, t in found.items()}


def again(store: Store, plan: Plan, tmp_path: Path) -> list[tuple[str, str]]:
    """Runs what is left; returns (kind, stage) of what was done."""
    events: list[Event] = []
    works = [w for w in pending(plan, store, store.snapshot(), "all") if w.anything]
    assert carry_out(works, store, tmp_path, events.append).failures == {}
    return [(e.kind, e.stage) for e in events if e.kind in ("trained", "part")]


def truncate(store: Store, path: str) -> None:
    store.files.put(path, store.files.get(path)[:-7])


def flip(store: Store, path: str) -> None:
    content = bytearray(store.files.get(path))
    content[len(content) // 2] ^= 4
    store.files.put(path, bytes(content))


def lose(store: Store, path: str) -> None:
    store.files.delete(path)


def checkpoint(store: Store) -> str:
    return sorted(p for p in store.files.listing(layout.CHECKPOINTS) if p.endswith("epoch-0001.safetensors"))[0]


def parquet(store: Store) -> str:
    commits = store.snapshot().commits.values()
    return next(c.files[0].path for c in commits if c.stage == "rewind" and c.part == {"epoch": 1})


def commit_file(store: Store) -> str:
    snapshot = store.snapshot()
    return next(snapshot.paths[i] for i, c in snapshot.commits.items() if c.stage == "rewind" and c.part == {"epoch": 2})


def training_commit(store: Store) -> str:
    snapshot = store.snapshot()
    return next(snapshot.paths[i] for i, c in snapshot.commits.items() if c.analysis is None)


def record(store: Store) -> str:
    (path,) = store.files.listing(layout.SWEEPS)
    return path


CASES: list[tuple[str, Callable[[Store], str], Harm, str, list[tuple[str, str]]]] = [
    ("truncated checkpoint", checkpoint, truncate, "bytes, was committed with", [("trained", "train")]),
    ("flipped checkpoint", checkpoint, flip, "was changed since it was committed", [("trained", "train")]),
    ("lost checkpoint", checkpoint, lose, "is missing", [("trained", "train")]),
    ("flipped parquet", parquet, flip, "was changed since it was committed", [("part", "rewind")]),
    ("lost parquet", parquet, lose, "is missing", [("part", "rewind")]),
    ("flipped commit", commit_file, flip, "its content does not match its name", [("part", "rewind")]),
    ("truncated commit", commit_file, truncate, "its content does not match its name", [("part", "rewind")]),
    ("flipped training commit", training_commit, flip, "its content does not match its name", [("trained", "train")]),
]


# All on a disk; on S3 each kind of file and each kind of harm once.
ON_S3 = ("truncated checkpoint", "lost parquet", "flipped commit")
PLACES = [("disk", *c[1:]) for c in CASES] + [("s3", *c[1:]) for c in CASES if c[0] in ON_S3]
NAMES = [f"disk-{c[0]}" for c in CASES] + [f"s3-{name}" for name in ON_S3]


@pytest.mark.parametrize(("uri", "victim", "harm", "message", "redone"), PLACES, ids=NAMES, indirect=["uri"])
def test_found_by_name_and_exactly_that_recomputed(
    store: Store,
    plan: Plan,
    tmp_path: Path,
    victim: Callable[[Store], str],
    harm: Harm,
    message: str,
    redone: list[tuple[str, str]],
) -> None:
    assert verify(store.files)[0] == []
    before, path = contents(store), victim(store)
    whole = store.files.get(path)
    harm(store, path)
    (finding,) = verify(store.files)[0]
    assert finding.path == path
    assert message in finding.problem
    assert store.files.size(path) is None
    assert (store.files.size(layout.quarantine(path)) is not None) == (harm is not lose)
    fresh = Store(store.uri)
    assert again(fresh, plan, tmp_path) == redone
    assert verify(fresh.files)[0] == []
    after = contents(fresh)
    assert all(after[name].equals(before[name]) for name in before)
    if path.endswith("safetensors"):
        assert store.files.get(path) == whole
    assert again(fresh, plan, tmp_path) == []


def test_a_damaged_sweep_record(store: Store, plan: Plan) -> None:
    path = record(store)
    flip(store, path)
    (finding,) = verify(store.files)[0]
    assert finding.path == path


def test_a_sweep_finds_by_size_what_verify_would(store: Store, plan: Plan, tmp_path: Path) -> None:
    before = contents(store)
    truncate(store, parquet(store))
    truncate(store, checkpoint(store))
    fresh = Store(store.uri)
    assert sorted(again(fresh, plan, tmp_path)) == [("part", "rewind"), ("trained", "train")]
    assert all(contents(fresh)[name].equals(before[name]) for name in before)


def test_exit_code_3_and_the_names(
    store: Store, plan: Plan, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = parquet(store)
    flip(store, path)
    monkeypatch.setattr("sys.argv", ["memloc", "store", "verify", "--store", store.uri])
    for code, words in ((3, f"{path}: was changed since it was committed"), (0, "all as committed")):
        with pytest.raises(SystemExit) as ended:
            commands.main()
        assert (ended.value.code or 0) == code
        assert words in capfd.readouterr().out
