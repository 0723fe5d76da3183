"""`memloc store gc`: removes from a store what nothing needs any more."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import typer

from memloc.commands import options
from memloc.commands.answers import answer
from memloc.commands.durations import in_seconds
from memloc.errors import UsageError

if TYPE_CHECKING:
    from memloc.store.garbage import Piece

LEAST = 3600.0  # seconds; a writer's data file is there some time before its commit is
EXAMPLES = options.examples(
    "memloc store gc --dry-run             what it would remove, and how much",
    "memloc store gc --older-than 30d --store s3://bucket/runs",
)


def gc(
    store: str = options.STORE,
    older_than: str = typer.Option(
        "7d", "--older-than", metavar="AGE", help="Keep what is younger: 90m, 12h, 7d or 2w; at least 1h."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be removed; remove nothing."),
    as_json: bool = options.JSON,
) -> None:
    """Remove what nothing needs any more: leftovers of killed and ended runs and of finished trainings."""
    from memloc.sizes import bytes_in_words
    from memloc.store import garbage
    from memloc.store.opening import existing

    grace = age("--older-than", older_than)
    opened = existing(store)

    def damaged(paths: list[str]) -> None:
        others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        why = f"the record of a sweep cannot be read: {paths[0]}{others}"
        opened.warn("gc", lambda: f"store {opened.uri}: {why}; so all resume states stay")

    pieces = garbage.find(opened.files, grace, damaged)
    if not as_json:
        print(_found(opened.uri, pieces, older_than), flush=True)
    removed = [] if dry_run else list(garbage.remove(opened.files, pieces))
    if as_json:
        kinds = {kind: {"number": n, "bytes": size} for kind, n, size in summed(pieces)}
        answer(json.dumps({"kinds": kinds, "removed": {"number": len(removed), "bytes": _bytes(removed)}}, indent=1))
    elif pieces and dry_run:
        print("--dry-run: nothing was removed")
    elif pieces:
        stays = "; what was written meanwhile stays" if len(removed) < len(pieces) else ""
        print(f"removed {bytes_in_words(_bytes(removed))}{stays}")


def age(option: str, text: str) -> float:
    """The seconds of `90m`, `12h`, `7d` or `2w`; raises UsageError where it is none of that, or too short."""
    seconds = in_seconds(option, text)
    if seconds < LEAST:
        raise UsageError(f"{option} {text!r}: valid: at least 1h, since running sweeps need what they have just written")
    return seconds


def summed(pieces: Iterable[Piece]) -> list[tuple[str, int, int]]:
    """(kind, how many, their bytes) of each kind that occurs."""
    from itertools import groupby

    by_kind = [(kind, list(same)) for kind, same in groupby(pieces, key=lambda piece: piece.kind)]
    return [(kind, len(same), sum(piece.size for piece in same)) for kind, same in by_kind]


def _bytes(pieces: Iterable[Piece]) -> int:
    return sum(piece.size for piece in pieces)


def _found(uri: str, pieces: Sequence[Piece], older_than: str) -> str:
    """What there is to remove, and how much."""
    from memloc.commands.text_table import text_table
    from memloc.sizes import bytes_in_words

    if not pieces:
        return f"{uri}: nothing to remove that is older than {older_than}"
    rows = [[kind, str(n), bytes_in_words(size)] for kind, n, size in summed(pieces)]
    head = f"{uri}: {bytes_in_words(_bytes(pieces))} that nothing needs, older than {older_than}"
    return f"{head}\n{text_table(['what', 'number', 'size'], rows).rstrip()}"
