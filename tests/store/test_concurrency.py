"""Readers beside writers that are killed: never a partial analysis, never a row twice; on a disk and on S3."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

from memloc.analysis.reader import known_tables
from memloc.analysis.reading import run_sql
from memloc.store import Store, tables
from tests.run.prepared import ROOT, Program, launch
from tests.store.writing import ANALYSES, PARTS, ROWS, commit_of, rows_of, with_training
from tests.waiting import LONG

KILLS = 4
WRITER = """
import sys
from tests.store.writing import write
write(sys.argv[1], int(sys.argv[2]))
"""


def check(uri: str) -> int:
    """Reads everything as a reader does; returns how many analyses it saw."""
    store = Store(uri)
    predictions = store.reading(
        lambda snapshot: tables.read(store.files, snapshot.shown(partial=False), "predictions", known_tables())
    ).to_pylist()
    seen = {(r["analysis"], r["example"]) for r in predictions}
    assert len(seen) == len(predictions), "a row twice"
    analyses = {a for a, _ in seen}
    assert seen == {(a, e) for a in analyses for e in range(PARTS * ROWS)}, "a partial analysis"
    assert all(r["predicted"] == r["example"] // ROWS and r["correct"] for r in predictions)
    sql = """SELECT analysis, count(*) AS n, count(DISTINCT example) AS d, min(predicted) AS lo, max(predicted) AS hi
             FROM predictions GROUP BY analysis"""
    for row in run_sql(store, sql).to_pylist():
        assert (row["n"], row["d"], row["lo"], row["hi"]) == (PARTS * ROWS, PARTS * ROWS, 0, PARTS - 1)
    evaluation = run_sql(store, "SELECT analysis, count(*) AS n FROM evaluation GROUP BY analysis").to_pylist()
    assert all(row["n"] == PARTS for row in evaluation)
    return len(analyses)


def start_writer(uri: str, seed: int) -> Program:
    return launch(["-c", WRITER, uri, str(seed)], os.environ, cwd=ROOT)


def test_readers_beside_writers_that_are_killed(uri: str) -> None:
    moments = random.Random(f"{time.time_ns()}")
    seed, kills, counts = 0, 0, [0]
    writers = [start_writer(uri, -1), start_writer(uri, -2)]
    deadline = time.monotonic() + LONG
    try:
        while (kills < KILLS or counts[-1] < ANALYSES) and time.monotonic() < deadline:
            time.sleep(moments.random() / 5)
            if not Store(uri).files.listing("commits"):
                continue  # the writers are still importing
            counts.append(check(uri))
            if kills < KILLS and counts[-1] > 0:
                os.kill(writers[kills % 2].pid, signal.SIGKILL)  # the one that has been writing for longer
                kills += 1
            for i, writer in enumerate(writers):
                if writer.poll() is not None:
                    writer.close()
                    seed += 1
                    writers[i] = start_writer(uri, seed)
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
            writer.close()
    assert kills == KILLS
    assert check(uri) == ANALYSES
    assert counts == sorted(counts), "what was committed went away"


@pytest.mark.parametrize("moment", range(4))
def test_killed_before_the_commit_nothing_is_there(uri: str, moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer dies at each of its writes in turn; the next one completes the part."""
    store, done = with_training(Store(uri)), 0
    original = type(store.files).put

    def dying(files: object, path: str, data: bytes) -> None:
        nonlocal done
        if done == moment:
            raise KeyboardInterrupt
        done += 1
        original(store.files, path, data)

    with monkeypatch.context() as patched:
        patched.setattr(type(store.files), "put", dying)
        with contextlib.suppress(KeyboardInterrupt):
            store.publish(commit_of(0, 0, 1.0), rows_of(0, 0), known_tables())
    assert (store.commit(commit_of(0, 0, 1.0).id) is not None) == (moment >= 3)  # two tables, then the commit
    for nth in range(PARTS):
        store.publish(commit_of(0, nth, 2.0), rows_of(0, nth), known_tables())
    assert check(uri) == 1


def test_a_folder_made_while_it_is_looked_for(tmp_path: Path) -> None:
    """pyarrow looks, finds nothing, asks whether it exists, and by then it does: an error of its own, not of the store."""
    files = Store(str(tmp_path / "store")).files
    files.put("commits/ab/one.json", b"{}")

    class Late:
        looks = 0

        def get_file_info(self, selector: object) -> object:
            self.looks += 1
            if self.looks == 1:
                raise FileNotFoundError("Cannot list directory")
            return real.get_file_info(selector)

    real, late = files._fs, Late()
    files._fs, files.local = late, False  # a disk is listed without pyarrow
    assert files.listing("commits") == {"commits/ab/one.json": 2}
    assert late.looks == 2
    files._fs = real
    assert files.listing("nowhere") == {}
