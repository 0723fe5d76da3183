"""--only FIELD=V,V keeps some of a sweep's trainings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from memloc.config import Registry, canonical_json
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
        kept = _of_blocks(kept, parts, text) if name == "block" else _with_values(kept, name, parts, text, registry)
    return kept


def _with_values(entries: list[Entry], name: str, parts: list[str], text: str, registry: Registry) -> list[Entry]:
    checker = Checker(registry, Path.cwd())
    ranges, single = [], set()
    for part in parts:
        if RANGE.fullmatch(part):
            axis, problems = checker.axis(name, part)
            ranges.append(axis)
        else:
            taken, problem = checker.training(name, typed(part))
            single.add(canonical_json([taken]))
            problems = [((), problem)] if problem else []
        if problems:
            raise UsageError(*(f"command line:--only {text}: {problem}" for _, problem in problems))
    having = [(entry, flat[name]) for entry in entries if name in (flat := entry.config.flat())]
    kept = [e for e, v in having if canonical_json([v]) in single or any(v in axis for axis in ranges)]
    if not kept:
        there = list(dict.fromkeys(str(value) for _, value in having))
        some = ", ".join(there[:20]) + (f", … ({len(there)} values)" if len(there) > 20 else "")
        raise UsageError(
            f"command line:--only {text}: no trial fits; " + (f"{name} there: {some}" if there else f"none uses {name}")
        )
    return kept


def _of_blocks(entries: list[Entry], names: list[str], text: str) -> list[Entry]:
    known = dict.fromkeys(b for e in entries for b in e.blocks)
    for name in names:
        if name not in known:
            raise UsageError(f"command line:--only {text}: unknown block{nearest(name, known)}; valid: {', '.join(known)}")
    return [
        Entry(e.config, [r for r in e.requests if r.block in names], [b for b in e.blocks if b in names], e.where)
        for e in entries
        if set(e.blocks) & set(names)
    ]
