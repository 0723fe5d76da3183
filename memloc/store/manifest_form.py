"""The form of a manifest: what a compaction covered, and the files that it wrote. Checked as commits are (commit_form.py).

A generation file has the rows of many parts of one table, part after part in the order in which readers show them. A column
besides the table's own says which part a row is of. The index has every commit that the manifest covers (index.py).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import Annotated

from pydantic import Field, TypeAdapter

from memloc.store import documents, generation_layout, layout
from memloc.store.commit_form import refuse_later
from memloc.store.documents import Count, Sha256

VERSION = 1  # of the form of manifests and indexes; raised with any change that an earlier memloc would misread
LARGEST = 256 << 20  # bytes of a generation file or an index
Size = Annotated[int, Field(ge=0, le=LARGEST)]
LAST = 10**9 - 1  # generation: the names of files have room for its digits
Number = Annotated[int, Field(ge=1, le=LAST)]


@dataclass(frozen=True)
class GenerationFile:
    """A data file of a generation. generation: the one that wrote it. footer: the sha256 of its Parquet footer."""

    table: Annotated[str, Field(pattern=rf"^{layout.TABLE}$")]
    generation: Number
    path: str
    rows: Count
    size: Size
    sha256: Sha256
    footer: Sha256


@dataclass(frozen=True)
class IndexFile:
    """An index, or a piece of one: the commits of so many parts. footer: the sha256 of its Parquet footer."""

    path: str
    commits: Count
    size: Size
    sha256: Sha256
    footer: Sha256


@dataclass(frozen=True)
class Manifest:
    """A generation: its files, and the index of the commits whose rows they have."""

    generation: Number
    index: tuple[IndexFile, ...]
    files: tuple[GenerationFile, ...]
    schema: int = VERSION

    @property
    def paths(self) -> set[str]:
        """Everything that it lists."""
        return {*(file.path for file in self.files), *(piece.path for piece in self.index)}

    def encode(self) -> bytes:
        """The content of the manifest's file."""
        return json.dumps(asdict(self), sort_keys=True, indent=1).encode()


def decode(path: str, content: bytes) -> Manifest:
    """The manifest that these bytes at this path hold.

    Raises:
        ValueError: it is no manifest that this version can read. The text is the rest of a sentence that begins with the
            path.
        LaterVersionError: the manifest is of a later version.
    """
    try:
        manifest = documents.checked(_adapter(), content)
    except ValueError as error:
        refuse_later(content, VERSION)
        raise ValueError(f"is no manifest that this version of memloc can read ({error})") from None
    if manifest.schema > VERSION:
        refuse_later(content, VERSION)
    if wrong := _wrong_place(path, manifest):
        raise ValueError(f"is no manifest of this store: {wrong}")
    return manifest


@cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)


def _wrong_place(path: str, manifest: Manifest) -> str | None:
    """What the layout contradicts: the manifest's own number, or the place of a file that it lists."""
    if not generation_layout.is_manifest(path) or generation_layout.generation_of(path) != manifest.generation:
        return f"it is of generation {manifest.generation}"
    for piece in manifest.index:
        if piece.path != generation_layout.index(manifest.generation, piece.sha256):
            return f"it lists {piece.path!r} as its index"
    for file in manifest.files:
        if file.path != generation_layout.generation_data(file.table, file.generation, file.sha256):
            return f"it lists {file.path!r} as a file of table {file.table}"
        if file.generation > manifest.generation:
            return f"it lists a file of generation {file.generation}"
    return None
