"""SVHN's MATLAB files, written by scipy."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from memloc.data.named import Content
from memloc.data.svhn import half
from memloc.errors import UsageError

X = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
Y = np.array([[1], [10], [9], [2]], dtype=np.uint8)


def read(data: bytes) -> tuple[Any, Any]:
    return half(Content(Path("there/train_32x32.mat"), data))


def saved(**variables: Any) -> bytes:
    file = io.BytesIO()
    savemat(file, variables)
    return file.getvalue()


def test_images_and_labels() -> None:
    x, y = read(saved(X=X, y=Y, more=np.zeros(3)))
    assert x.dtype == np.uint8
    assert x.shape == (4, 3, 32, 32)
    for i, channel, row, column in [(0, 0, 0, 0), (1, 2, 3, 4), (3, 1, 31, 7)]:
        assert x[i, channel, row, column] == X[row, column, channel, i]
    assert y.dtype == np.int64
    assert y.tolist() == [1, 0, 9, 2]  # the file's 10 is the digit 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not a MATLAB file"),
        (b"something else entirely, and long enough for a header" * 9, "is not a MATLAB file"),
        (saved(X=X, y=Y)[:-5000], "is not a MATLAB file"),
        (saved(y=Y), "its X is not uint8 H×W×3×N"),
        (saved(X=X.astype(float), y=Y), "its X is not uint8 H×W×3×N"),
        (saved(X=X[:, :, :, 0], y=Y), "its X is not uint8 H×W×3×N"),
        (saved(X=X), "its y is not 4×1 whole numbers"),
        (saved(X=X, y=Y[:3]), "its y is not 4×1 whole numbers"),
        (saved(X=X, y=Y / 2), "its y is not 4×1 whole numbers"),
        (saved(X=X, y=Y - 1), "label 0 of example 0 is out of range; must be 1..10"),
        (saved(X=X, y=Y + 1), "label 11 of example 1 is out of range; must be 1..10"),
    ],
)
def test_what_is_something_else(data: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read(data)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("there/train_32x32.mat: ")
