"""The warning that a stage has results of several versions: the numbers of a table are then not of one kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from memloc.config.analysis_ids import versions_of
from memloc.counts import counted
from memloc.store import Store
from memloc.store.analyses import analyses_of
from memloc.store.shown import Shown


def warn_of_versions(store: Store, seen: Shown, table: str) -> None:
    """Warns where the rows of a table are by several versions of one stage, once for a store.

    Warns:
        MemlocWarning: naming the stage, its versions, and how they are told apart.
    """
    behind = seen.at(seen.rows(table) > 0)
    warn_of_analyses(store, behind)
    parts = behind.trainings().said("part")
    _warn(store, {"training": Counter(part.get("version") for part in parts)}, "training")


def warn_of_analyses(store: Store, seen: Shown) -> None:
    """The same of all analyses among these commits."""
    analyses = analyses_of(seen)
    pairs = Counter(zip((said.stage for said in analyses.values()), versions_of(analyses), strict=True))
    by_stage: dict[str, dict[int | None, int]] = {}
    for (stage, version), count in pairs.items():
        by_stage.setdefault(stage, {})[version] = count
    _warn(store, {f"stage {stage}": found for stage, found in sorted(by_stage.items())}, "analysis")


def _warn(store: Store, by_stage: Mapping[str, Mapping[int | None, int]], what: str) -> None:
    for stage, found in by_stage.items():
        counts = sorted((version, count) for version, count in found.items() if isinstance(version, int))
        if len(counts) > 1:
            store.warn((stage, *counts), partial(_text, store, stage, counts, what))


def _text(store: Store, stage: str, counts: Sequence[tuple[int, int]], what: str) -> str:
    each = _listed(f"{version} ({counted(count, what)})" for version, count in counts)
    table = "analyses" if what == "analysis" else "trials"
    return (
        f"store {store.uri}: {stage} has results of several versions: {each}. Each version computes other numbers: "
        f"column version of table {table} tells them apart, and NAME@sha8 names one launch of a sweep "
        "alone (memloc store ls lists them)"
    )


def _listed(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}"
