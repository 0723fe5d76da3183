"""kill -9 of a compaction, a removal and a clean-up at every one of their steps: nothing is lost, nothing is doubled."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from memloc.store import Files, Store, garbage, layout, records, removal
from memloc.store.compaction import compact
from memloc.store.verify import verify
from tests.store.compacted import SMALL, all_parts, assert_same, publish, remove_small, said, shown
from tests.store.writing import PARTS, commit_of

STEPS = ("put", "delete", "move")
DAY = 86400.0


def killed_at(step: int, after: bool, action: Callable[[], object]) -> bool:
    """Runs the action in a process that kills itself just before, or after, its so-many-th change of the store.

    Returns whether it has come so far; otherwise it has ended by itself.
    """
    pid = os.fork()
    if pid == 0:
        try:
            _kill_at(step, after)
            action()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def _kill_at(step: int, after: bool) -> None:
    done = [0]

    def dying(original: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            done[0] += 1
            if done[0] == step and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*given, **named)
            if done[0] == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for name in STEPS:
        setattr(Files, name, dying(getattr(Files, name)))


def every_step(action: Callable[[], object], prepare: Callable[[], None], check: Callable[[], None]) -> int:
    """Kills the action at each step in turn; returns the number of steps."""
    step = 0
    while True:
        step += 1
        for after in (False, True):
            prepare()
            reached = killed_at(step, after, action)
            check()
            if not reached:
                return step - 1


class Copies:
    """A store that is made anew from the same files, as often as it is needed."""

    def __init__(self, folder: Path, fill: Callable[[Store], None]) -> None:
        self.uri = str(folder / "store")
        store = Store(self.uri)
        fill(store)
        self._content = {path: store.files.get(path) for path in store.files.listing("")}

    def restore(self) -> None:
        files = Store(self.uri).files
        for path in files.listing(""):
            Path(files.full(path)).unlink()
        for path, content in self._content.items():
            target = Path(files.full(path))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def rows(copies: Copies, partial: bool = False) -> dict[str, pa.Table]:
    """The tables that have rows here, and those of commits."""
    return shown(Store(copies.uri), partial, None, "predictions", "evaluation", "analyses")


def compacted_and_more(store: Store) -> None:
    """Two generations' worth: some parts are covered, and have no files of their own; others are new."""
    parts = all_parts(2)
    publish(store, parts[:4])
    compact(store.files, SMALL)
    remove_small(store)
    publish(store, parts[4:])


def test_a_compaction_killed_at_every_step(tmp_path: Path) -> None:
    copies = Copies(tmp_path, compacted_and_more)
    expected, words = rows(copies, partial=True), said(Store(copies.uri).snapshot())

    def check() -> None:
        assert_same(rows(copies, partial=True), expected)
        compact(Store(copies.uri).files)
        remove_small(Store(copies.uri))
        assert said(Store(copies.uri).snapshot()) == words
        assert verify(Store(copies.uri).files)[0] == []

    steps = every_step(lambda: compact(Store(copies.uri).files, SMALL), copies.restore, check)
    assert steps >= 4  # each table's files, the index, the manifest


def test_what_a_killed_compaction_leaves_is_removed_later(tmp_path: Path) -> None:
    copies = Copies(tmp_path, compacted_and_more)
    assert killed_at(4, False, lambda: compact(Store(copies.uri).files))
    store = Store(copies.uri)
    left = {path for path in store.files.listing("") if "/000002-" in path}
    present = store.snapshot().generation
    assert present is not None
    assert left
    again = set(store.files.listing(layout.commit_folder("e" * 16)))  # the training, whose commit was written once more
    assert collected(store, store.files.clock() + 8 * DAY) == left | again
    assert collected(store, store.files.clock()) == set()  # another compaction may be writing them


def collected(store: Store, now: float) -> set[str]:
    """What gc would remove at a later time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Files, "clock", lambda files: now)
        return {piece.path for piece in garbage.find(store.files, 7 * DAY, pytest.fail)}


@pytest.mark.slow
def test_gc_killed_at_every_step(tmp_path: Path) -> None:
    """It removes small files and replaced generations one by one. At every moment readers see all rows."""

    def twice_compacted(store: Store) -> None:
        parts = all_parts(2)
        publish(store, parts[:5])
        compact(store.files)
        publish(store, parts[5:])
        compact(store.files)

    copies = Copies(tmp_path, twice_compacted)
    expected = rows(copies, partial=True)
    later = time.time() + 8 * DAY

    def gc() -> None:
        files = Store(copies.uri).files
        files.clock = lambda: later  # type: ignore[method-assign]
        list(garbage.remove(files, garbage.find(files, 7 * DAY, lambda paths: None)))

    def check() -> None:
        assert_same(rows(copies, partial=True), expected)
        assert verify(Store(copies.uri).files)[0] == []

    steps = every_step(gc, copies.restore, check)
    assert steps == 3 * 2 * PARTS + 4  # two data files and a commit of each part; manifest, index and files of generation 1
    present = Store(copies.uri).snapshot().generation
    assert present is not None
    assert set(Store(copies.uri).files.listing("")) == {present.path, *present.manifest.paths}


@pytest.mark.slow
def test_a_removal_killed_at_every_step(tmp_path: Path) -> None:
    """From a compacted store: a reader sees an analysis whole or not at all, and the same command goes on."""
    trial = "e" * 16

    def two_sweeps(store: Store) -> None:
        for name, analyses in (("goes", (0, 1)), ("stays", (1, 2))):
            ids = {a: [commit_of(a, n, 0.0).id for n in range(PARTS)] for a in analyses}
            own = {"stage": "evaluate", "config": {}}
            planned = [{"analysis": f"{a:016x}", "parts": parts, **own} for a, parts in ids.items()]
            record = {"trial": trial, "config": {}, "blocks": [name], "analyses": planned}
            records.write_sweep(store.files, name, [record])
        parts = [(a, n) for a in range(3) for n in range(PARTS)]
        publish(store, parts[:-2])
        compact(store.files, SMALL)
        publish(store, parts[-2:])  # the last analysis is partly covered
        compact(store.files, SMALL)
        publish(store, [(3, n) for n in range(PARTS)])  # of no sweep

    copies = Copies(tmp_path, two_sweeps)
    before = rows(copies)
    stays = {name: table.filter(others(table)) for name, table in before.items()}

    def remove() -> None:
        files = Store(copies.uri).files
        list(removal.remove(files, removal.plan(files, "goes")))

    def check() -> None:
        store = Store(copies.uri)
        seen = rows(copies)
        for name, table in seen.items():
            assert table.equals(before[name]) or table.equals(stays[name]), name
        assert_same({name: table.filter(others(table)) for name, table in seen.items()}, stays)
        if any(path.startswith((f"{layout.SWEEPS}/goes", layout.REMOVALS)) for path in store.files.listing("")):
            remove()
        assert_same(rows(copies), stays)
        left = Store(copies.uri).files.listing("")
        assert not [path for path in left if f"{0:08x}" in Path(path).name[:8] and path.startswith(("data", "commits"))]
        assert len([path for path in left if path.startswith(layout.MANIFESTS)]) == 2
        assert verify(store.files)[0] == []

    assert every_step(remove, copies.restore, check) > 10


def others(table: pa.Table) -> pa.ChunkedArray:
    """Which rows are not of analysis 0."""
    return pc.not_equal(table["analysis"], "0" * 16)
