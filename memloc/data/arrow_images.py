"""Images and labels in tables of Arrow, as Parquet files and Hugging Face's data sets hold them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from memloc.data.assembly import OwnImages, unlike_names
from memloc.data.halves import Listed, read_together
from memloc.data.pictures import Encoded, PictureError
from memloc.data.source import TableSource
from memloc.data.table_columns import image_column
from memloc.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa

WANTED = "the bytes of image files, or a struct with these in `bytes`; csv:FILE takes a table of paths"
ROWS = 1024  # of a batch: bounds the memory that encoded images take


@dataclass(frozen=True)
class Shard:
    """A file of rows. name: for messages. schema: of Arrow. batches: gives the rows of these columns, a batch at a time."""

    name: str
    schema: pa.Schema
    batches: Callable[[list[str]], Iterator[pa.RecordBatch]]


def own_images(source: TableSource, where: str, halves: Sequence[Sequence[Shard]], note: str) -> OwnImages:
    """The images of these files, with all columns that can hold labels.

    where: what they are, for messages. halves: the files for training, and those for testing. note: what was left out,
    or "".

    Raises:
        UsageError: there is no column of images, or something in it cannot be read.
    """
    train, test = halves
    schema = train[0].schema
    for shard in (*train, *test):
        if twice := [name for name, times in Counter(shard.schema.names).items() if times > 1]:
            raise UsageError(f"{shard.name}: two columns have one name, {twice[0]}; every column needs its own")
    for shard in (*train[1:], *test):
        if absent := [name for name in _images(schema) if name not in shard.schema.names]:
            raise UsageError(f"{shard.name}: lacks column {absent[0]}, which {train[0].name} has")
    image = image_column(where, schema.names, source.image_column, _images(schema), WANTED)
    columns = _scalars(schema)
    first, second, notes = read_together(
        source, where, _listed(train, image, columns), _listed(test, image, columns) if test else None
    )
    unlike = _unlike_names([*train, *test])
    return OwnImages(
        where, first, second, None, class_names(schema), notes=[*([note] if note else []), *notes], unlike=unlike
    )


def _unlike_names(shards: Sequence[Shard]) -> dict[str, str]:
    """{column: how two of these files name its classes differently, in a phrase}; {} if all agree that name them."""
    first: dict[str, tuple[str, tuple[str, ...]]] = {}
    unlike: dict[str, str] = {}
    for shard in shards:
        for column, names in class_names(shard.schema).items():
            named, of_first = first.setdefault(column, (shard.name, names))
            if how := unlike_names(of_first, names):
                unlike.setdefault(column, f"{named} and {shard.name} name the classes differently: {how}")
    return unlike


def _images(schema: pa.Schema) -> list[str]:
    """The columns that can hold images: bytes, or Hugging Face's struct of bytes and path."""
    import pyarrow as pa

    def fits(kind: Any) -> bool:
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        if pa.types.is_struct(kind):
            return any(field.name == "bytes" and fits(field.type) for field in kind)
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    return [field.name for field in schema if fits(field.type)]


def _scalars(schema: pa.Schema) -> list[str]:
    """The columns that can hold labels: numbers and text."""
    import pyarrow as pa

    def fits(kind: Any) -> bool:
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind
        tests = (
            pa.types.is_integer,
            pa.types.is_floating,
            pa.types.is_boolean,
            pa.types.is_string,
            pa.types.is_large_string,
        )
        return any(test(kind) for test in tests)

    return [field.name for field in schema if fits(field.type)]


def class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """{column: the names of its classes}, as Hugging Face writes them beside a table; {} if there are none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        named = {name: feature["names"] for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
        return {name: tuple(map(str, names)) for name, names in named.items() if isinstance(names, list)}
    except (KeyError, TypeError, AttributeError, ValueError):  # of another program, or damaged
        return {}


def _listed(shards: Sequence[Shard], image: str, columns: list[str]) -> Listed:
    """The rows of these files. Labels and paths are read now, images when they are decoded."""
    labels: dict[str, list[Any]] = {name: [] for name in columns if all(name in shard.schema.names for shard in shards)}
    files: list[str] = []
    for shard in shards:
        paths = _with_path(shard.schema, image)
        row = 0
        for batch in shard.batches([*labels, *([f"{image}.path"] if paths else [])] or [image]):
            for name, values in labels.items():
                values += _plain(batch.column(name))
            given = batch.column(image).field("path").to_pylist() if paths else [None] * len(batch)
            files += [path or f"{shard.name}, row {row + k}" for k, path in enumerate(given)]
            row += len(batch)
    return Listed(_encoded(shards, image, files), files, labels)


def _with_path(schema: pa.Schema, image: str) -> bool:
    import pyarrow as pa

    kind = schema.field(image).type
    return bool(pa.types.is_struct(kind)) and kind.get_field_index("path") >= 0


def _plain(column: Any) -> list[Any]:
    return list(_decoded(column).to_pylist())


def _decoded(column: Any) -> Any:
    return column.dictionary_decode() if hasattr(column, "dictionary_decode") else column


def _encoded(shards: Sequence[Shard], image: str, files: Sequence[str]) -> Iterator[Encoded]:
    names = iter(files)
    for shard in shards:
        for batch in shard.batches([image]):
            column = _decoded(batch.column(image))
            contents = column.field("bytes") if hasattr(column, "field") else column
            for content in contents:
                yield Encoded(next(names), partial(_content, content))


def _content(value: Any) -> bytes:
    content = value.as_py()
    if content is None:
        raise PictureError("has no bytes in the table")
    return bytes(content)
