"""What an index says of its commits, as arrays: nobody makes 100,000 objects to ask which analyses are complete.

One value for each commit:
    id, trial, analysis: uint64, ids as numbers (columns.py); analysis is 0 where `training`
    training: bool; stage: int32, a number in `words.names`; part, config, where: int32, numbers in `words.json`
    nth, of, schema: int64; seconds, passes, ended: float64; sha8: uint32; reads.length, files.length: int64
One for each analysis that a commit reads, commit after commit: reads: uint64
One for each data file of a commit, commit after commit:
    table, file_schema: int32, numbers in `words.names`; rows, size, first: int64; within: int32
    sha256, footer: uint8 [., 32]; footer is 0 where the commit has none
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from memloc.store import columns, index_check, layout
from memloc.store.columns import Ints, Words
from memloc.store.commit_form import FileEntry
from memloc.store.manifest_form import GenerationFile


@dataclass(frozen=True)
class PlacedEntry(FileEntry):
    """A data file whose rows lie in a generation file: `rows` of them, from number `first` on.

    The other fields are those of the file that it was; `path` is where it lay.
    """

    within: GenerationFile = None  # type: ignore[assignment]
    first: int = 0


SCALARS = ("nth", "of", "seconds", "passes", "ended", "schema")
NO_FOOTER = "0" * 64
IDS = ("id", "trial", "analysis")


class IndexColumns:
    """The columns of an index. files: those of its manifest."""

    def __init__(self, groups: Sequence[dict[str, Any]], words: Words, files: Sequence[GenerationFile]) -> None:
        """groups: as `index_check.checked` gives them, at least one. They are emptied: memory holds all of it once."""
        self._arrays = {name: np.concatenate([group.pop(name) for group in groups]) for name in list(groups[0])}
        self.words, self.files = words, files
        self._values: dict[int, Mapping[str, Any]] = {}

    def __getitem__(self, name: str) -> Any:
        """One of the arrays."""
        return self._arrays[name]

    def __len__(self) -> int:
        return len(self._arrays["id"])

    @cached_property
    def ends(self) -> Ints:
        """int64 [commits + 1]: where the data files of each commit begin and end."""
        return np.concatenate([[0], np.cumsum(self["files.length"])])

    @cached_property
    def owner(self) -> Ints:
        """int64 [files]: the commit of each data file."""
        return np.repeat(np.arange(len(self)), self["files.length"])

    @cached_property
    def _read_ends(self) -> Ints:
        return np.concatenate([[0], np.cumsum(self["reads.length"])])

    @cached_property
    def reads(self) -> np.ndarray:
        """int32 [commits]: equal for commits that read the same."""
        ends, every, known = self._read_ends.tolist(), self["reads"].tolist(), dict[tuple[int, ...], int]()
        keys = (tuple(every[start:end]) for start, end in pairwise(ends))
        return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int32)

    def said(self, name: str, rows: Ints) -> list[Any]:
        """A field of the commits in these rows, as the commits have it; not `files` and `checkpoints`."""
        if name in SCALARS:
            return list(self[name][rows].tolist())
        if name in IDS:
            texts = columns.texts_of(self[name][rows])
            training = self["training"][rows].tolist() if name == "analysis" else ()
            return [None if none else text for text, none in zip(texts, training, strict=True)] if training else texts
        if name == "stage":
            return columns.taken(self.words.names.known, self["stage"][rows])
        if name == "reads":
            return self._reads(rows)
        return [self._value(name, number) for number in self[name][rows].tolist()]

    def _reads(self, rows: Ints) -> list[tuple[str, ...]]:
        counts = self["reads.length"][rows]
        texts = columns.texts_of(self["reads"][spans(self._read_ends[rows], counts)])
        return columns.cut(texts, counts)

    def _value(self, name: str, number: int) -> Mapping[str, Any]:
        if number not in self._values:
            self._values[number] = index_check.value(name, self.words.json.known[number])
        return self._values[number]

    def entries(self, rows: Ints) -> list[tuple[PlacedEntry, ...]]:
        """The data files of the commits in these rows."""
        counts = self["files.length"][rows]
        places = spans(self.ends[rows], counts)
        ids = columns.texts_of(np.repeat(self["id"][rows], counts))
        names = [columns.taken(self.words.names.known, self[name][places]) for name in ("table", "file_schema")]
        hashes = [[row.tobytes().hex() for row in self[name][places]] for name in ("sha256", "footer")]
        numbers = [self[name][places].tolist() for name in ("rows", "size", "within", "first")]
        made = [
            PlacedEntry(
                table, layout.data_named(table, part_id, sha256), held, size, sha256, schema,
                footer if footer != NO_FOOTER else "", self.files[within], first,
            )
            for part_id, table, schema, sha256, footer, held, size, within, first in zip(
                ids, *names, *hashes, *numbers, strict=True
            )
        ]  # fmt: skip
        return columns.cut(made, counts)


def spans(starts: Ints, counts: Ints) -> Ints:
    """int64: the numbers from each start on, so many of each: [5, 0], [2, 3] → 5, 6, 0, 1, 2."""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(int(counts.sum()))
