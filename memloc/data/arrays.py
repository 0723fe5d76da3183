"""Data sets in memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # looking for data sets needs no torch
    import torch

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Description:
    """The description of a data set for a plan: its identity and its sizes. shape: C, H, W of an image.

    given_wrong: how many of the training labels are known to be wrong; None: nobody knows. notes: what reading the data has
    converted or left out, a line each.
    """

    identity: str
    shape: tuple[int, int, int]
    n_train: int
    n_test: int
    classes: int
    given_wrong: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Origin:
    """What a source knows of its images that does not enter a training.

    class_names: in the order of the labels; () where the classes are numbers. files: where each training image comes from;
    () where that says nothing. notes: what was converted or left out, a line each.
    """

    class_names: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Raw:
    """A data set as its source gives it.

    x_train, x_test: uint8, N×C×H×W. y_train: int64 in 0..classes−1, the labels that are trained on; y_test: likewise.
    `identity` names the content. y_true: int64, the true labels, −1 where a label is wrong and nobody knows the right one;
    None: nobody knows any.
    """

    x_train: U8
    y_train: I64
    x_test: U8
    y_test: I64
    classes: int
    identity: str
    y_true: I64 | None = None
    origin: Origin = Origin()

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W."""
        c, h, w = self.x_train.shape[1:]
        return int(c), int(h), int(w)

    @property
    def given_wrong(self) -> npt.NDArray[np.bool_] | None:
        """bool [N]: which of the training labels are wrong; None: nobody knows."""
        return None if self.y_true is None else self.y_train != self.y_true

    @property
    def description(self) -> Description:
        """The same without the arrays."""
        wrong = None if self.given_wrong is None else int(self.given_wrong.sum())
        sizes = len(self.y_train), len(self.y_test), self.classes
        return Description(self.identity, self.shape, *sizes, wrong, self.origin.notes)

    def without_truth(self) -> Raw:
        """The same data set of a user's own, of which nobody knows the true labels."""
        return own_raw((self.x_train, self.y_train, self.x_test, self.y_test), self.classes, None, self.origin)


def own_raw(arrays: tuple[U8, I64, U8, I64], classes: int, y_true: I64 | None, origin: Origin) -> Raw:
    """A data set of a user's own. Its identity follows from the arrays, and from the true labels if they differ.

    arrays: x_train, y_train, x_test, y_test. classes: how many there are. They are a part of the identity where the labels
    do not say so: networks have an output for a class that only hidden true labels have.
    """
    wrong = y_true is not None and bool((y_true != arrays[1]).any())
    labels = [arrays[1], arrays[3], *([y_true] if wrong and y_true is not None else [])]
    unsaid = max(int(y.max(initial=-1)) for y in labels) + 1 < classes
    identity = "npz:" + content_identity(*arrays, *labels[2:], *([np.array([classes])] if unsaid else []))
    return Raw(*arrays, classes, identity, y_true, origin)


@dataclass(frozen=True)
class HeldOut:
    """Examples that a training holds out. x: uint8 m×C×H×W. y: int64 [m], the labels that it would be trained on.

    noisy: bool [m], y is wrong. example: int64 [m], in order.
    """

    x: U8
    y: I64
    noisy: npt.NDArray[np.bool_]
    example: I64


@dataclass(frozen=True)
class Data:
    """What one training sees. n training examples, ordered by `example`.

    x: uint8 n×C×H×W. y: int64 [n], the labels trained on. true_label: int64 [n], −1 where nobody knows it. noisy: bool [n],
    y ≠ true_label. example: int64 [n], the index in the data set's own training array. x_test, y_test: the whole test set.
    held_out: the examples that it holds out because of its `ratio`. given_noise: the share of the data set's training labels
    that are known to be wrong as they are given; None: nobody knows. origin: of the whole data set.
    """

    x: U8
    y: I64
    true_label: I64
    noisy: npt.NDArray[np.bool_]
    example: I64
    x_test: U8
    y_test: I64
    classes: int
    held_out: HeldOut | None = None
    given_noise: float | None = None
    origin: Origin = Origin()

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W."""
        c, h, w = self.x.shape[1:]
        return int(c), int(h), int(w)


def content_identity(*arrays: npt.NDArray[np.generic]) -> str:
    """sha256 over dtype, shape and bytes of the arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)  # no copy
    return digest.hexdigest()


def normalise(x: torch.Tensor) -> torch.Tensor:
    """uint8 pixels, of any shape, as float32 in [−1, 1]: (v/255 − 0.5)/0.5."""
    return x.float().div_(127.5).sub_(1.0)
