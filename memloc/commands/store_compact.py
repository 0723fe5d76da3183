"""`memloc store compact`: merges many small files into a few large ones. A sweep does it by itself."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import typer

from memloc.commands import options
from memloc.commands.answers import answer
from memloc.counts import counted
from memloc.errors import StoreError
from memloc.invocation import command

if TYPE_CHECKING:
    from memloc.store import Snapshot, Store
    from memloc.store.compaction import Compacted

FILES = 3000  # of a table, from which on a sweep compacts its store
SHARE = 10  # but not for fewer than this part of what is compacted already: all of it is written anew
NAMED = 5  # parts that keep their own files
MORE_THAN = typer.Option(None, "--more-than", min=0, metavar="N", help="Only if a table has more small files than this.")
EXAMPLES = options.examples("memloc store compact", "memloc store compact --more-than 3000 --store s3://bucket/runs --json")


def compact(store: str = options.STORE, more_than: int | None = MORE_THAN, as_json: bool = options.JSON) -> None:
    """Merge the small files of all commits into a few large ones. Readers and sweeps may go on meanwhile."""
    from memloc import stages
    from memloc.store import compaction
    from memloc.store.opening import existing

    opened = existing(store)
    few = more_than is not None and crowded(opened.snapshot(), more_than) is None
    done = None if few else compaction.compact(opened.files, known=stages.tables())
    if as_json:
        answer(json.dumps(None if done is None else vars(done), indent=1))
    elif done is None:
        print(f"{opened.uri}: {'no table has so many small files' if few else 'nothing to merge'}")
    else:
        print(f"{opened.uri}: {_said(done)}; {command('store gc', store)} removes the small files later")
    _name_left(opened.uri, done)


def _said(done: Compacted) -> str:
    return f"generation {done.generation} has {counted(done.parts, 'commit')} in {counted(done.files, 'file')}"


def _name_left(uri: str, done: Compacted | None) -> None:
    for part, why in list(done.left.items())[:NAMED] if done is not None else ():
        print(f"memloc: warning: store {uri}: part {part} keeps its own files: {why}", file=sys.stderr)


def crowded(snapshot: Snapshot, most: int) -> tuple[str, int] | None:
    """(table, its files) of the table with most files of their own, if they are more than `most` and worth a compaction."""
    from collections import Counter

    loose = (commit for commit in snapshot.loose() if not commit.networks)  # parts that made networks keep their files
    files = Counter(file.table for commit in loose for file in commit.files)
    table, number = max(files.items(), key=lambda item: item[1], default=("", 0))
    return (table, number) if number > max(most, len(snapshot.covered) // SHARE) else None


def after_sweep(store: Store) -> None:
    """Compacts the store at the end of a sweep if a table has many files. If that fails, the sweep is as good."""
    from memloc import stages
    from memloc.store import compaction

    try:
        found = crowded(store.snapshot(), FILES)
        if found is None:
            return
        table, files = found
        print(f"memloc: table {table} has {counted(files, 'file')}; the store is compacted", file=sys.stderr, flush=True)
        _name_left(store.uri, compaction.compact(store.files, known=stages.tables()))
    except StoreError as error:
        print(f"memloc: the store was not compacted: {'; '.join(error.problems)}", file=sys.stderr)
