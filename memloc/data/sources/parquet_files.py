"""`parquet:PATH`: one or several Parquet files with a column of images and a column of labels."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator

from memloc.config import last_name
from memloc.data.arrow_images import ROWS, Shard, own_images
from memloc.data.assembly import OwnImages
from memloc.data.declared import check_fits
from memloc.data.halves import half_of, halved
from memloc.data.regular_file import opened
from memloc.data.source import TableSource, behind, stamp_of
from memloc.errors import UsageError, error_line

if TYPE_CHECKING:
    import pyarrow as pa

WANTED = "parquet:PATH needs a Parquet file, a folder of them, a pattern with *, or several of these with : between them"


class ParquetFiles(TableSource):
    """Files with images as bytes or as Hugging Face's struct. Those named train…, test… and val… are what they say."""

    PREFIX: ClassVar[str] = "parquet:"
    FORM: ClassVar[str | None] = "parquet:PATH"

    dataset: Annotated[str, AfterValidator(behind("parquet:", "parquet:PATH"))]

    @classmethod
    def absolute(cls, dataset: str, folder: Path) -> str:
        """As `SourceConfig.absolute`, for each of the paths."""
        paths = dataset.removeprefix(cls.PREFIX).split(":")
        if len(paths) > 1 and not all(path.strip() for path in paths):  # nothing would be the current folder
            raise ValueError("there is no path before or after a ':'; valid: PATH, or PATH:PATH")
        return cls.PREFIX + ":".join(str((folder / Path(path).expanduser()).resolve()) for path in paths)

    @classmethod
    def placeless(cls, dataset: str) -> str:
        """As `SourceConfig.placeless`, for each of the paths."""
        return cls.PREFIX + ":".join(map(last_name, dataset.removeprefix(cls.PREFIX).split(":")))

    def stamp(self) -> object:
        """As `LabelledSource.stamp`."""
        return stamp_of(file for path in self.dataset.removeprefix(self.PREFIX).split(":") for _, file in _files(path))

    @classmethod
    def reads(cls, path: Path) -> bool:
        """As `SourceConfig.reads`."""
        return path.suffix == ".parquet" or any(path.glob("*.parquet"))

    def read(self) -> OwnImages:
        """As `OwnSource.read`."""
        named = self.dataset.removeprefix(self.PREFIX).split(":")
        files = [file for path in named for file in _files(path)]
        if twice := [file for file, times in Counter(file for _, file in files).items() if times > 1]:
            raise UsageError(f"{twice[0]}: is named twice; every file may be named once")
        train, test, note = halved(files, named[0])
        shards = [[_shard(file) for file in half] for half in (train, test)]
        return own_images(self, named[0] if len(files) > 1 else str(files[0][1]), shards, note)


def _files(path: str) -> list[tuple[str, Path]]:
    """The files that a path means, in the order of their names.

    Each comes with what says whether it is for training: its own name, or that of a folder below the one that is named.
    """
    if os.path.isdir(path):
        files = sorted(file for file in Path(path).rglob("*.parquet") if os.path.isfile(file))
    elif os.path.lexists(path) or not glob.has_magic(path):
        files = [Path(path)]
    else:
        files = sorted(map(Path, glob.glob(_pattern(path), recursive=True)))
    if not files:
        raise UsageError(f"{path}: there is no such Parquet file; {WANTED}")
    inner = [file.relative_to(path).parts[:-1] if os.path.isdir(path) else () for file in files]
    named = [(file.stem, *reversed(folders)) for file, folders in zip(files, inner, strict=True)]
    return [(next((n for n in names if half_of(n)), names[0]), file) for names, file in zip(named, files, strict=True)]


def _pattern(path: str) -> str:
    """A pattern in which the folders that are there mean themselves, whatever characters their names have."""
    parts = Path(path).parts
    there = max(k for k in range(len(parts) + 1) if k == 0 or os.path.isdir(Path(*parts[:k])))
    return os.path.join(glob.escape(str(Path(*parts[:there]))), *parts[there:]) if there else path


def _shard(file: Path) -> Shard:
    import pyarrow as pa
    import pyarrow.parquet as pq

    opened(file, WANTED).close()
    try:
        parquet = pq.ParquetFile(file)
        group = [parquet.metadata.row_group(k) for k in range(parquet.num_row_groups)]
        check_fits(max((g.total_byte_size for g in group), default=0))
        return Shard(file.name, parquet.schema_arrow, partial(_batches, file, parquet))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UsageError(f"{file}: is no Parquet file: {error_line(error, with_type=False)}; {WANTED}") from None


def _batches(file: Path, parquet: Any, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    try:
        yield from parquet.iter_batches(ROWS, columns=list(columns), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{file}: is damaged: {error_line(error, with_type=False)}") from None


SOURCE = ParquetFiles
