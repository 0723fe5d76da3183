"""The cost of checking that no bit of a file has changed: the time of a query with its checks over that without them.

    python -m benchmarks.checked_reads [--files N] [--rows N] [--rounds N]

A query reads two columns of every file of table `predictions`. It checks the checksums of the pages that it reads, and
the hash of every footer. It is compared with the query without any check, and with reading and hashing whole files, as
`store verify` does. Each is timed in turn, and the medians are compared.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from memloc import stages
from memloc.store import Commit, Store, footers, tables
from memloc.store.entries import read_entry

TABLE = "predictions"
COLUMNS = ["example", "margin"]


def made(folder: str, files: int, rows: int) -> tuple[Store, list[Commit]]:
    """A store of one training and an analysis with so many parts, and its commits."""
    store, draw = Store(folder), np.random.default_rng(0)
    store.publish(Commit("b" * 16, "b" * 16, None, "train", {}, 0, 1, {}), {}, {})
    ids = {"analysis": ["a" * 16] * rows, "trial": ["b" * 16] * rows, "mode": ["plain"] * rows, "rescale": ["none"] * rows}
    for n in range(files):
        drawn = {"example": np.arange(rows), "predicted": draw.integers(0, 10, rows), "correct": draw.random(rows) < 0.9}
        commit = Commit(f"{n:016x}", "b" * 16, "a" * 16, "evaluate", {"nth": n}, n, files, {})
        store.publish(commit, {TABLE: {**ids, **drawn, "margin": draw.normal(size=rows)}}, stages.tables())
    return store, list(store.snapshot().shown())


def scan(store: Store, commits: list[Commit], pages: bool) -> pa.Table:
    """The columns; pages: with the checksums of pages."""
    options = ds.ParquetFragmentScanOptions(page_checksum_verification=pages)
    rows: Any = tables.dataset(store.files, commits, TABLE, stages.tables())
    scanner = ds.Scanner.from_dataset(rows, columns=COLUMNS, fragment_scan_options=options, use_threads=False)
    return scanner.to_table()


def ways(store: Store, commits: list[Commit]) -> dict[str, Callable[[], object]]:
    """What is timed, by name; the first is what the others are compared with."""
    entries = tables.entries_of(commits, TABLE)
    before = [replace(c, files=tuple(replace(f, footer="") for f in c.files)) for c in commits]
    return {
        "no checks": lambda: scan(store, before, pages=False),
        "checksums of pages": lambda: scan(store, before, pages=True),
        "checksums of pages, hashes of footers": lambda: scan(store, commits, pages=True),
        "hashes of footers alone": lambda: [footers.problem(store.files, e) for e in entries],
        "whole files read and hashed": lambda: [read_entry(store.files, e) for e in entries],
    }


def seconds(action: Callable[[], object]) -> float:
    """The wall time of one call."""
    clock = time.perf_counter()
    action()
    return time.perf_counter() - clock


def main() -> None:
    """Prints the median time of each way and its ratio to a query without checks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        timed = ways(*made(folder, given.files, given.rows))
        times = {name: [seconds(action)] for name, action in timed.items()}  # once to warm up
        for _ in range(given.rounds):
            for name, action in timed.items():
                times[name].append(seconds(action))
    base = median(times["no checks"][1:])
    print(f"{given.files} files of {given.rows} rows")
    for name, all_times in times.items():
        print(f"{name:40} {median(all_times[1:]) * 1e3:8.1f} ms  {median(all_times[1:]) / base:5.2f}")


if __name__ == "__main__":
    main()
