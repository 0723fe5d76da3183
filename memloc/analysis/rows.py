"""One training's rows of a table or view, its layers in network order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pyarrow as pa

from memloc.analysis.reader import Reader, Visible, known_tables, visible
from memloc.errors import UsageError
from memloc.store import Snapshot, Store, schemas, tables


def trial_rows(store: Store, trial: str, name: str, partial: bool = False) -> pa.Table:
    """One training's rows of a table or view, sorted by analysis, then layer from the network's input to its output.

    Raises:
        UsageError: where there is no such table or view, or it has no column `trial`.
    """

    def read(snapshot: Snapshot) -> pa.Table:
        seen = visible(store, snapshot, None, partial)
        mine = Visible(seen.commits.of_trials([trial]), seen.score_commits)
        with closing(Reader(store, mine)) as reader:
            rows = reader.table(name)
        if "trial" not in rows.column_names:
            raise UsageError(f"{name}: has no column trial; store.table({name!r}) reads it")
        return in_network_order(rows, layers(store, mine)) if "layer" in rows.column_names else rows

    return store.reading(read)


def layers(store: Store, seen: Visible) -> list[str]:
    """The layers that these commits' tables name, from input to output: every analysis writes them in this order."""
    order: dict[str, None] = {}
    known = known_tables()
    for table in tables.names(seen.commits, known):
        if table in schemas.OWN:
            continue
        rows: Any = tables.dataset(store.files, seen.behind(table), table, known)
        if "layer" in rows.schema.names:
            found = tables.scanned(store.files, seen.behind(table), table, known, ["layer"])
            order |= dict.fromkeys(found["layer"].to_pylist())
    return list(order)


def in_network_order(rows: pa.Table, order: Sequence[str]) -> pa.Table:
    """The rows sorted by analysis, then layer; rows that are equal in both keep their order."""
    place = {layer: k for k, layer in enumerate(order)}
    analyses = rows["analysis"].to_pylist() if "analysis" in rows.column_names else [""] * rows.num_rows
    keys = [(a, place[layer], k) for k, (a, layer) in enumerate(zip(analyses, rows["layer"].to_pylist(), strict=True))]
    return rows.take(pa.array([k for *_, k in sorted(keys)], pa.int64()))
