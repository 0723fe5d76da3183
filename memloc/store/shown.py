"""The commits whose rows are shown, in the order of readers, without an object for each commit that a generation covers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, overload

import numpy as np

from memloc.store.columns import Bools, Ints, numbers_of
from memloc.store.commit_form import Commit, stopped_at
from memloc.store.index import IndexedCommits
from memloc.store.index_columns import IDS, spans

DTYPES: dict[str, Any] = {
    **dict.fromkeys(IDS, np.uint64),
    **dict.fromkeys(("nth", "of", "files"), np.int64),
    **dict.fromkeys(("ended", "seconds"), np.float64),
    "training": np.bool_,
}


class Shown(Sequence[Commit]):
    """Commits in an order. Those of an index stay columns until somebody asks for one.

    places: int64, the row of a commit in the index's columns; −1 − n for number n of the others.
    """

    def __init__(self, covered: IndexedCommits | None, others: Sequence[Commit], places: Ints) -> None:
        self.covered, self.others, self.places = covered, others, places

    @staticmethod
    def every(covered: IndexedCommits | None, others: Sequence[Commit]) -> Shown:
        """All commits of an index, then others."""
        rows = covered.rows if covered is not None else np.zeros(0, dtype=np.int64)
        return Shown(covered, others, np.concatenate([rows, ~np.arange(len(others))]))

    @staticmethod
    def of(commits: Sequence[Commit]) -> Shown:
        """Commits as they come."""
        return commits if isinstance(commits, Shown) else Shown(None, commits, ~np.arange(len(commits)))

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, place: int) -> Commit: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Commit]: ...
    def __getitem__(self, place: int | slice) -> Commit | Sequence[Commit]:
        if isinstance(place, slice):
            return self.at(np.arange(len(self))[place])
        return next(iter(self.at(np.array([place]))))

    def __iter__(self) -> Iterator[Commit]:
        made = iter(self.covered.made(self.places[self.places >= 0]) if self.covered is not None else ())
        for place in self.places.tolist():
            yield next(made) if place >= 0 else self.others[~place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def said(self, name: str) -> list[Any]:
        """A field of every commit; not `files` and `checkpoints`."""
        rows = self.places[self.places >= 0]
        made = iter(self.covered.columns.said(name, rows) if self.covered is not None else ())
        return [next(made) if place >= 0 else getattr(self.others[~place], name) for place in self.places.tolist()]

    def at(self, places: Ints | Bools) -> Shown:
        """Those at these places, or at which an array is true."""
        return Shown(self.covered, self.others, self.places[places])

    def array(self, name: str) -> Any:
        """[n]: `id`, `trial`, `analysis` (uint64: as numbers; 0 for a training), `training` (bool), `nth`, `of` (int64),
        `files`: how many (int64), `ended`, `seconds` (float64)."""
        here, own = self.places >= 0, [self.others[~place] for place in self.places[self.places < 0].tolist()]
        values = np.zeros(len(self), dtype=DTYPES[name])
        if self.covered is not None:
            column = "files.length" if name == "files" else name
            values[here] = self.covered.columns[column][self.places[here]]
        if name == "training":
            values[~here] = [commit.analysis is None for commit in own]
        elif name in IDS:
            values[~here] = numbers_of(getattr(commit, name) or "0" for commit in own)
        elif name == "files":
            values[~here] = [len(commit.files) for commit in own]
        else:
            values[~here] = [getattr(commit, name) for commit in own]
        return values

    def trainings(self) -> Shown:
        """Those of trainings."""
        return self.at(self.array("training"))

    def of_stage(self, stage: str) -> Shown:
        """Those of a stage."""
        return self.at(np.array([name == stage for name in self.said("stage")], dtype=np.bool_))

    def without_stopped(self) -> Shown:
        """Without those of analyses that were not run, because `stop` has ended their training."""
        empty = np.flatnonzero((self.array("files") == 0) & ~self.array("training"))
        stopped = np.array([stopped_at(where) is not None for where in self.at(empty).said("where")], dtype=np.bool_)
        kept = np.ones(len(self), dtype=np.bool_)
        kept[empty[stopped]] = False
        return self.at(kept)

    def of_trials(self, trials: Collection[str], analyses: Collection[str] | None = None) -> Shown:
        """Those of these trials; of the analyses among them all, or these."""
        kept = np.isin(self.array("trial"), numbers_of(trials))
        if analyses is not None:
            kept &= self.array("training") | np.isin(self.array("analysis"), numbers_of(analyses))
        return self.at(kept)

    def without_trials(self, trials: Collection[str]) -> Shown:
        """Those of all other trials."""
        return self.at(~np.isin(self.array("trial"), numbers_of(trials)))

    def tables(self) -> set[str]:
        """The tables of which they have files."""
        found = {file.table for place in self.places[self.places < 0].tolist() for file in self.others[~place].files}
        if self.covered is not None:
            own, kept = self.covered.columns, self.rank(len(self.covered.columns)) >= 0
            numbers = set(own["table"][kept[own.owner]].tolist())
            found |= {own.words.names.known[number] for number in numbers}
        return found

    def rows(self, table: str | None = None) -> Ints:
        """int64 [n]: how many rows each has in its data files, of one table or of all."""
        held, here = np.zeros(len(self), dtype=np.int64), self.places >= 0
        own = [self.others[~place].files for place in self.places[~here].tolist()]
        held[~here] = [sum(file.rows for file in files if table in (None, file.table)) for files in own]
        if self.covered is not None:
            columns, commits = self.covered.columns, self.places[here]
            counts = columns["files.length"][commits]
            files = spans(columns.ends[commits], counts)
            rows = columns["rows"][files]
            if table is not None:
                rows = np.where(columns["table"][files] == columns.words.names.number(table), rows, 0)
            np.add.at(held, np.repeat(np.flatnonzero(here), counts), rows)
        return held

    def rank(self, rows: int) -> Ints:
        """int64 [rows]: the place here of each row of the columns; −1 for those that are not here."""
        rank = np.full(rows, -1, dtype=np.int64)
        here = self.places >= 0
        rank[self.places[here]] = np.flatnonzero(here)
        return rank
