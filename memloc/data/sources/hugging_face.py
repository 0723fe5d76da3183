"""`hf:DIR`: a data set that `save_to_disk` of Hugging Face's `datasets` wrote."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator

from memloc.data.arrow_images import Shard, own_images
from memloc.data.assembly import OwnImages
from memloc.data.halves import halved
from memloc.data.regular_file import opened
from memloc.data.source import TableSource, behind, stamp_of
from memloc.errors import UsageError, error_line

if TYPE_CHECKING:
    import pyarrow as pa

MARKS = ("dataset_dict.json", "state.json")  # files that a saved data set has
WANTED = "hf:DIR needs a folder that datasets.save_to_disk wrote"


class HuggingFace(TableSource):
    """A saved Dataset, or a DatasetDict with train and test, or validation. Its files are Arrow's; they are only read."""

    PREFIX: ClassVar[str] = "hf:"
    FORM: ClassVar[str | None] = "hf:DIR"

    dataset: Annotated[str, AfterValidator(behind("hf:", "hf:DIR"))]

    def stamp(self) -> object:
        """As `LabelledSource.stamp`."""
        inside = (Path(at, name) for at, _, names in os.walk(self.path) for name in names)
        return stamp_of(sorted(file for file in inside if os.path.isfile(file)))

    @classmethod
    def reads(cls, path: Path) -> bool:
        """As `SourceConfig.reads`."""
        return any((path / name).is_file() for name in MARKS)

    def read(self) -> OwnImages:
        """As `OwnSource.read`."""
        folders = [(self.path.name, self.path)]
        if os.path.exists(self.path / "dataset_dict.json"):
            splits = _json(self.path / "dataset_dict.json").get("splits")
            folders = [(name, self.path / name) for name in _names(splits, self.path / "dataset_dict.json")]
        train, test, note = halved(folders, str(self.path))
        shards = [[shard for folder in half for shard in _shards(folder)] for half in (train, test)]
        return own_images(self, str(self.path), shards, note)


def _json(path: Path) -> dict[str, Any]:
    try:
        with opened(path, WANTED) as file:
            content = json.loads(file.read())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: is no JSON: {error_line(error, with_type=False)}; {WANTED}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path}: is no JSON object; {WANTED}")
    return content


def _names(names: Any, path: Path) -> list[str]:
    """Names of files or folders beside `path`."""
    plain = isinstance(names, list) and names and all(isinstance(n, str) and n and "/" not in n and n != ".." for n in names)
    if not plain:
        raise UsageError(f"{path}: lists no files; {WANTED}")
    return list(names)


def _shards(folder: Path) -> list[Shard]:
    state = folder / "state.json"
    if not os.path.exists(state):
        raise UsageError(f"{state}: no such file; {WANTED}")
    listed = _json(state).get("_data_files")
    listed = [entry.get("filename") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else None
    return [_shard(folder / name) for name in _names(listed, state)]


def _shard(file: Path) -> Shard:
    import pyarrow as pa

    opened(file, WANTED).close()
    try:
        with pa.memory_map(str(file)) as mapped, pa.ipc.open_stream(mapped) as stream:
            schema = stream.schema
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UsageError(f"{file}: is no file of Arrow: {error_line(error, with_type=False)}; {WANTED}") from None
    return Shard(file.name, schema, partial(_batches, file))


def _batches(file: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The batches as the file has them: they lie on the disk, and only what is used is read."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(file)) as mapped, pa.ipc.open_stream(mapped) as stream:
            have = stream.schema.names
            names = list(dict.fromkeys(c if c in have else c.rpartition(".")[0] for c in columns))
            for batch in stream:
                yield batch.select(names)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{file}: is damaged: {error_line(error, with_type=False)}") from None


SOURCE = HuggingFace
