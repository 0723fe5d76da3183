"""The form of a commit, and the check of what somebody has written in its place.

A file of a store may come from another version of memloc, or from anybody who can write there. So every value is checked
before it is used, and a path is taken only where the layout itself would give it. Fields that this version does not know
are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter

from memloc.store import documents, layout
from memloc.store.documents import Count, Id, Name, Sha256
from memloc.store.entries import Listed

VERSION = 3  # the version of the form of commits; raised with any change that an earlier memloc would misread


@dataclass(frozen=True)
class FileEntry:
    """A data file of a commit.

    schema: the name of its columns and their types (schemas.sha8). footer: the sha256 of its Parquet footer, which queries
    check; "" in commits of version 2.
    """

    table: Annotated[str, Field(pattern=rf"^{layout.TABLE}$")]
    path: str
    rows: Count
    size: Count
    sha256: Sha256
    schema: str = ""
    footer: Sha256 | Literal[""] = ""


@dataclass(frozen=True)
class CheckpointEntry:
    """A checkpoint of a commit: the weights after an epoch, as a safetensors file. size: bytes."""

    epoch: Count
    path: str
    size: Count
    sha256: Sha256


@dataclass(frozen=True)
class Commit:
    """Everything about one part that was computed.

    id: the part's. analysis: None for a training. nth, of: its place among the analysis's parts and their number, so that a
    reader knows when the analysis is complete. reads: the analyses whose rows it was computed from. checkpoints: the weights
    after the epochs of a training; of a part of an analysis, the network that it made. where: device, versions, git
    revision. passes: the cost estimate that belongs to `seconds` (less for a part that shared work). ended: the time in
    seconds since 1970, by the clock of the machine that computed it; 0 in older commits.
    """

    id: Id
    trial: Id
    analysis: Id | None
    stage: Name
    part: Mapping[str, Any]
    nth: Count
    of: Count
    config: Mapping[str, Any]
    reads: tuple[Id, ...] = ()
    files: tuple[FileEntry, ...] = ()
    checkpoints: Annotated[Sequence[CheckpointEntry], AfterValidator(tuple)] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    seconds: documents.Seconds = 0.0
    passes: documents.Seconds = 0.0
    ended: documents.Seconds = 0.0
    schema: int = VERSION

    @property
    def networks(self) -> tuple[CheckpointEntry, ...]:
        """The networks that a part of an analysis made. They count as its data files do; a training has none."""
        return tuple(self.checkpoints) if self.analysis is not None else ()

    @property
    def needed(self) -> tuple[Listed, ...]:
        """The files without which the part is not there: its data, and its networks."""
        return (*self.files, *self.networks)

    @property
    def stopped(self) -> int | None:
        """The epoch at which `stop` has ended the training; of an analysis: it was not run, since its training had ended."""
        return stopped_at(self.where)

    def encode(self) -> bytes:
        """The content of the commit's file."""
        plain = replace(self, checkpoints=tuple(self.checkpoints))
        return json.dumps(asdict(plain), sort_keys=True, indent=1).encode()


def stopped_at(where: Mapping[str, Any]) -> int | None:
    """The epoch of `Commit.stopped`, as `where` has it."""
    epoch = where.get("stopped")
    return epoch if isinstance(epoch, int) else None


def decode(path: str, content: bytes) -> Commit:
    """The commit that these bytes at this path hold.

    Raises:
        ValueError: it is no commit that this version can read. The text is the rest of a sentence that begins with the path.
        LaterVersionError: the commit is of a later version.
    """
    try:
        commit = documents.checked(_adapter(), content)
        for left_open in (commit.part, commit.config, commit.where):
            documents.check(left_open)
    except ValueError as error:
        refuse_later(content, VERSION)
        raise ValueError(f"is no commit that this version of memloc can read ({error})") from None
    _refuse(commit.schema, VERSION)
    if wrong := _wrong_place(path, commit):
        raise ValueError(f"is no commit of this store: {wrong}")
    return commit


class LaterVersionError(ValueError):
    """What a later version of memloc wrote: its parts may be done, so nobody computes them again."""


@cache
def _adapter() -> TypeAdapter[Commit]:
    return TypeAdapter(Commit)


def refuse_later(content: bytes, version: int) -> None:
    """Raises LaterVersionError where JSON says that it has a later form than `version`."""
    try:
        raw = documents.parse(content)
    except ValueError:
        return
    _refuse(raw.get("schema") if isinstance(raw, dict) else None, version)


def _refuse(written: Any, version: int) -> None:
    if isinstance(written, int) and written > version:
        raise LaterVersionError(f"was written by a later memloc (schema {written}); update memloc")


def _wrong_place(path: str, commit: Commit) -> str | None:
    """What stands in a commit that the layout contradicts: its own name, or the place of a file that it lists."""
    if not layout.is_commit_of(path, commit.id):
        return f"it has the id {commit.id}"
    if commit.nth >= commit.of:
        return f"it is number {commit.nth} of {commit.of} parts"
    if commit.analysis is None and commit.id != commit.trial:
        return f"it is of the training {commit.trial}"
    for file in commit.files:
        if file.path != layout.data_named(file.table, commit.id, file.sha256):
            return f"it lists {file.path!r} as a file of table {file.table}"
    return misplaced(commit.id, commit.checkpoints)


def misplaced(part_id: str, checkpoints: Sequence[CheckpointEntry]) -> str | None:
    """What is wrong with the list of the checkpoints of a training, or of a part of an analysis; None if nothing is."""
    for entry in checkpoints:
        if entry.path != layout.checkpoint(part_id, entry.epoch):
            return f"it lists {entry.path!r} as the checkpoint of epoch {entry.epoch}"
    return None
