"""Data sets: where images come from, and what a training sees of them.

`load` gives the raw arrays of a data set, `prepare` what a training sees: subset, then label noise.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from memloc.data import digits, npz
from memloc.data.labels import prepare
from memloc.data.types import Data, Description, Raw, normalise
from memloc.errors import UsageError

__all__ = ["Data", "Description", "Raw", "check_identity", "describe", "load", "normalise", "prepare"]

SOURCES = {"digits": digits.load}


def check_identity(raw: Raw, dataset: str, identity: str) -> None:
    """Raises UsageError where the data are no longer what they were when this identity was taken."""
    if raw.identity != identity:
        raise UsageError(
            f"{dataset}: its content is not what the trial was planned or trained with; bring that content back"
        )


def describe(dataset: str, data_dir: Path | None = None) -> Description:
    """What a plan must know of a data set.

    Raises:
        UsageError: as `load`.
    """
    return load(dataset, data_dir).description


@lru_cache(maxsize=4)
def load(dataset: str, data_dir: Path | None = None) -> Raw:
    """The raw arrays of a data set, checked.

    Args:
        dataset: a name of `SOURCES`, or `npz:PATH`.
        data_dir: where downloaded data sets lie.

    Raises:
        UsageError: one line on what is missing or wrong, and where.
    """
    if dataset.startswith("npz:"):
        return npz.load(Path(dataset[len("npz:") :]))
    return SOURCES[dataset]()
