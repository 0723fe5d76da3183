"""--only FIELD=V,V keeps some of a sweep's trainings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

from memloc.config import Registry, canonical_json, written
from memloc.errors import UsageError, nearest
from memloc.sweep.checker import RANGE, Checker
from memloc.sweep.command_line import typed
from memloc.sweep.request import Entry


def only(entries: Iterable[Entry], filters: Sequence[str], registry: Registry) -> list[Entry]:
    """The entries that fit every `FIELD=V,V`. A range such as `0..3` stands for its numbers.

    A training that does not use the field does not fit. `block=` keeps a block's trials and its analyses.

    Raises:
        UsageError: for an unknown field, a bad value, and if nothing is left.
    """
    kept = list(entries)
    blocks = list(dict.fromkeys(block for entry in kept for block in entry.blocks))
    chosen = set(blocks)
    for text in filters:
        name, _, raw = text.partition("=")
        valid = ("block", *registry.training)
        given = raw.strip(", ")
        if not given or name not in valid:
            what = f"unknown field{nearest(name, valid)}; valid: {', '.join(valid)}" if given else "is not FIELD=VALUE,VALUE"
            raise UsageError(f"command line:--only {text}: {what}")
        if raw.strip().startswith("["):
            raise UsageError(f"command line:--only {text}: no brackets here; write {name}={raw.strip(' []')}")
        parts = [part.strip() for part in raw.split(",") if part.strip()]
        if name == "block":
            _check_blocks(parts, blocks, text)
            chosen &= set(parts)
            kept = [entry for entry in kept if chosen & set(entry.blocks)]
            if not kept:
                raise UsageError(f"command line:--only {text}: no trial fits this and the filters before it")
        else:
            kept = _with_values(kept, name, parts, text, registry)
    return kept if chosen == set(blocks) else [_of_blocks(entry, chosen) for entry in kept]


def _with_values(entries: list[Entry], name: str, parts: list[str], text: str, registry: Registry) -> list[Entry]:
    checker = Checker(registry, Path.cwd())
    ranges, single = [], set()
    for part in parts:
        if RANGE.fullmatch(part):
            axis, problems = checker.axis(name, part)
            ranges.append(axis)
        else:
            value = typed(part)
            taken, problems = (None, []) if value is None else checker.training(name, value)  # null: it is not used
            single.add(canonical_json([taken]))
        if problems:
            raise UsageError(*(f"command line:--only {text}: {problem}" for _, problem in problems))
    values = [(entry, entry.config.flat().get(name)) for entry in entries]
    kept = [e for e, v in values if canonical_json([v]) in single or any(v in axis for axis in ranges)]
    if not kept:
        there = list(dict.fromkeys(written(value, quote=False) for _, value in values if value is not None))
        some = ", ".join(there[:20]) + (f", … ({len(there)} values)" if len(there) > 20 else "")
        raise UsageError(
            f"command line:--only {text}: no trial fits; " + (f"{name} there: {some}" if there else f"none uses {name}")
        )
    return kept


def _check_blocks(names: Sequence[str], blocks: Sequence[str], text: str) -> None:
    """Raises UsageError for a name that is none of the sweep's blocks."""
    for name in names:
        if name not in blocks:
            valid = ", ".join(blocks)
            raise UsageError(f"command line:--only {text}: unknown block{nearest(name, blocks)}; valid: {valid}")


def _of_blocks(entry: Entry, names: Collection[str]) -> Entry:
    """The entry with the analyses of these blocks alone."""
    requests = [request for request in entry.requests if request.block in names]
    kept = [(b, c) for b, c in zip_longest(entry.blocks, entry.checkpoints) if b in names]
    return Entry(entry.config, requests, [b for b, _ in kept], entry.where, [c for _, c in kept])
