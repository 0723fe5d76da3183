"""Data sets: their sources, and the examples that a training sees.

`describe` gives the description that a plan needs. `load` gives the raw arrays. `prepare` makes the data of a training:
subset, then label noise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

from memloc.config import SourceConfig
from memloc.data import directory
from memloc.data.arrays import Data, Description, Raw, normalise
from memloc.data.catalogue import SOURCES
from memloc.data.labels import examples_seen, prepare
from memloc.data.named import NamedDataset
from memloc.data.source import Source
from memloc.data.sources import KINDS
from memloc.errors import UsageError

__all__ = [
    "CHANNELS",
    "KINDS",
    "SOURCES",
    "Data",
    "Dataset",
    "Description",
    "NamedDataset",
    "Raw",
    "Source",
    "check_identity",
    "class_names",
    "describe",
    "examples_seen",
    "images_of",
    "load",
    "normalise",
    "prepare",
    "require",
    "source_of",
]

Dataset: TypeAlias = str | SourceConfig  # a data set's name, or what a training says of it
CHANNELS = (1, 3, 4)  # of images that can be shown: grey, RGB, RGBA


def check_identity(raw: Raw, dataset: Dataset, identity: str) -> None:
    """Raises UsageError if the data have changed since this identity was taken."""
    if raw.identity != identity:
        raise UsageError(
            f"{_name(dataset)}: its content is not what the trial was planned or trained with; bring that content back"
        )


def _name(dataset: Dataset) -> str:
    return dataset if isinstance(dataset, str) else dataset.dataset


def source_of(fields: Mapping[str, Any]) -> Source:
    """The source of a training's flat fields, which may have others too.

    Raises:
        UsageError: this memloc has no such data set, as after it was registered by another program.
    """
    dataset = str(fields["dataset"])
    kind = KINDS.get(dataset) or KINDS.get(dataset.partition(":")[0] + ":")
    if kind is None:
        raise UsageError(f"{dataset}: no such data set; valid: {', '.join(k.FORM or n for n, k in KINDS.items())}")
    return kind(**{name: fields[name] for name in kind.model_fields if fields.get(name) is not None})


def images_of(fields: Mapping[str, Any], identity: str, data_dir: Path | None = None) -> Raw:
    """The data of a training with these fields, as it saw them, to be shown.

    Raises:
        UsageError: they are not there, have changed since this identity was taken, or are no pictures.
    """
    source = source_of(fields)
    raw = load(source, data_dir)
    check_identity(raw, source, identity)
    if raw.shape[0] not in CHANNELS:
        raise UsageError(f"{_name(source)}: its images have {raw.shape[0]} channels; a picture has 1, 3 or 4")
    return raw


def _source(dataset: Dataset) -> Source:
    if isinstance(dataset, Source):
        return dataset
    return source_of({"dataset": _name(dataset)})


def class_names(dataset: Dataset) -> tuple[str, ...]:
    """The names of the classes, in the order of the labels; () where they are not known without reading a file."""
    return _source(dataset).class_names()


def describe(dataset: Dataset, data_dir: Path | None = None) -> Description:
    """The description of a data set for a plan. The files of a downloaded data set need not be there.

    Raises:
        UsageError: as `load`, for other data sets.
    """
    return _source(dataset).known() or load(dataset, data_dir).description


@lru_cache(maxsize=4)
def load(dataset: Dataset, data_dir: Path | None = None) -> Raw:
    """The raw arrays of a data set, checked.

    Args:
        dataset: a name of `SOURCES`, such as `npz:FILE`, or the source of a training.
        data_dir: where downloaded data sets lie; by default `directory.data_dir()`.

    Raises:
        UsageError: one line on what is missing or wrong, and where.
    """
    return _source(dataset).load(directory.data_dir(data_dir))


def require(datasets: Iterable[Dataset], data_dir: Path) -> None:
    """Loads data sets, so that all errors are raised at once, before work on them begins.

    Raises:
        UsageError: the problems of all of them.
    """
    problems: list[str] = []
    for dataset in dict.fromkeys(datasets):
        try:
            load(dataset, data_dir)
        except UsageError as error:
            problems += error.problems
    if problems:
        raise UsageError(*problems)
