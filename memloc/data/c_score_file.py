"""C-scores of a data set's training examples (Jiang et al., 2021), from a file.

A C-score is the share of trainings without an example that are right about it. The file is `.npy`, an array of N scores, or
`.npz` with `scores` and optionally the `labels` (or `y`) that they judge.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from memloc.data.arrays import I64, content_identity
from memloc.data.declared import check_member, check_npy, check_npz
from memloc.data.regular_file import opened
from memloc.errors import UsageError, error_line

FORMATS = "numpy.save of N scores, or numpy.savez with scores and, if you have them, labels"


@dataclass(frozen=True, eq=False)
class CScores:
    """values: float64 [N] in 0..1, by `example`; NaN where there is none. where: their origin, in words.

    labels: int64 [N], the labels that they judge, if a file has them.
    """

    values: npt.NDArray[np.float64]
    where: str
    labels: I64 | None = None

    @property
    def identity(self) -> str:
        """16 hexadecimal digits that name the values. They do not depend on the origin."""
        return content_identity(self.values)[:16]

    def check_labels(self, y: I64) -> None:
        """Raises UsageError unless the scores judge these labels; y: int64 [N]."""
        if self.labels is None or np.array_equal(self.labels, y):
            return
        bad = int(np.argmax(self.labels != y))
        raise UsageError(
            f"{self.where}:labels: {self.labels[bad]} for example {bad}, but the data set has {y[bad]}; C-scores must be "
            "of this data set, in its order"
        )


def load(path: Path, n: int) -> CScores:
    """The scores of a file, checked.

    Args:
        n: how many training examples the data set has.

    Raises:
        UsageError: one line on what is wrong with it. Nothing is unpickled.
    """
    scores, labels = _read(path)
    if problem := _problem(scores, n):
        raise UsageError(f"{path}:scores: {problem}")
    if labels is not None and (labels.shape != (n,) or labels.dtype.kind not in "iu"):
        raise UsageError(
            f"{path}:labels: {labels.dtype} {labels.shape}; must be {n} whole numbers, one per training example"
        )
    return CScores(scores.astype(np.float64), str(path), None if labels is None else labels.astype(np.int64))


def _read(path: Path) -> tuple[Any, Any]:
    with opened(path, f"valid: {FORMATS}") as file:
        return _content(path, file)


def _content(path: Path, file: BinaryIO) -> tuple[Any, Any]:
    """(scores, labels or None) as the file holds them."""
    try:
        if zipfile.is_zipfile(file):
            check_npz(file, ("scores", "labels", "y"))
        else:
            check_npy(file)
        content = np.load(file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content, None
        if "scores" not in content.files:
            there = ", ".join(content.files) or "nothing"
            raise UsageError(f"{path}: lacks scores; it holds {there}; C-scores are a file of {FORMATS}")
        name = next((name for name in ("labels", "y") if name in content.files), None)
        wanted = ["scores"] if name is None else ["scores", name]
        for array in wanted:
            check_member(content.zip, array)
        return content["scores"], None if name is None else content[name]
    except UsageError:
        raise
    except Exception as error:  # a file can be wrong in any way
        raise UsageError(f"{path}: is no file of C-scores ({error_line(error)}); valid: {FORMATS}") from None


def _problem(scores: Any, n: int) -> str | None:
    if not isinstance(scores, np.ndarray) or scores.dtype.kind not in "fiu":
        return f"{getattr(scores, 'dtype', type(scores).__name__)}; must be numbers from 0 to 1"
    if scores.shape != (n,):
        return f"shape {scores.shape}; must be ({n},), one per training example of the data set"
    wrong = ~((scores >= 0) & (scores <= 1))
    if wrong.any():
        bad = int(np.argmax(wrong))
        return f"{scores[bad]} for example {bad}; must be from 0 to 1"
    return None
