"""Data sets: their sources, and the examples that a training sees.

`describe` gives the description that a plan needs. `load` gives the raw arrays. `prepare` makes the data of a training:
subset, then label noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

from memloc.data import digits, directory, npz
from memloc.data.arrays import Data, Description, Raw, normalise
from memloc.data.cifar10 import CIFAR10
from memloc.data.idx import FASHION_MNIST, MNIST
from memloc.data.labels import examples_seen, prepare
from memloc.data.named import NamedDataset
from memloc.data.svhn import SVHN
from memloc.errors import UsageError

__all__ = [
    "Data",
    "Description",
    "NamedDataset",
    "Raw",
    "check_identity",
    "class_names",
    "describe",
    "examples_seen",
    "load",
    "normalise",
    "prepare",
    "require",
]

# A bundled data set is a function that loads it. A downloaded one is known by its files.
SOURCES: dict[str, Callable[[], Raw] | NamedDataset] = {
    "digits": digits.load,
    **{dataset.name: dataset for dataset in (CIFAR10, MNIST, FASHION_MNIST, SVHN)},
}


def check_identity(raw: Raw, dataset: str, identity: str) -> None:
    """Raises UsageError if the data have changed since this identity was taken."""
    if raw.identity != identity:
        raise UsageError(
            f"{dataset}: its content is not what the trial was planned or trained with; bring that content back"
        )


def class_names(dataset: str) -> tuple[str, ...]:
    """The names of the classes, in the order of the labels; () where the data set has none."""
    source = SOURCES.get(dataset)
    return source.class_names if isinstance(source, NamedDataset) else ()


def describe(dataset: str, data_dir: Path | None = None) -> Description:
    """The description of a data set for a plan. The files of a downloaded data set need not be there.

    Raises:
        UsageError: as `load`, for other data sets.
    """
    source = SOURCES.get(dataset)
    return source.description if isinstance(source, NamedDataset) else load(dataset, data_dir).description


@lru_cache(maxsize=4)
def load(dataset: str, data_dir: Path | None = None) -> Raw:
    """The raw arrays of a data set, checked.

    Args:
        dataset: a name of `SOURCES`, or `npz:PATH`.
        data_dir: where downloaded data sets lie; by default `directory.data_dir()`.

    Raises:
        UsageError: one line on what is missing or wrong, and where.
    """
    if dataset.startswith("npz:"):
        return npz.load(Path(dataset[len("npz:") :]))
    source = SOURCES[dataset]
    return source.load(directory.data_dir(data_dir)) if isinstance(source, NamedDataset) else source()


def require(datasets: Iterable[str], data_dir: Path) -> None:
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
