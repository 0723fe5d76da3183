"""SVHN (Netzer et al. 2011), cropped digits: two MATLAB files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from memloc.data.named import Arrays, Content, Download, File, NamedDataset
from memloc.data.types import I64, U8
from memloc.errors import UsageError, last_line


def read(contents: Iterator[Content]) -> Arrays:
    """The training file, the test file."""
    return *half(next(contents)), *half(next(contents))


def half(content: Content) -> tuple[U8, I64]:
    """x: uint8 n×3×H×W. y: int64 [n]; the file's label 10 is the digit 0.

    Raises:
        UsageError: where the file is not X (uint8, H×W×3×N) and y (N×1, 1..10).
    """
    x, y = _variables(content)
    if x is None or x.dtype != np.uint8 or x.ndim != 4 or x.shape[2] != 3:
        raise UsageError(f"{content.path}: is not a file of SVHN: its X is not uint8 H×W×3×N")
    n = x.shape[3]
    if y is None or y.dtype.kind not in "iu" or y.shape != (n, 1):
        raise UsageError(f"{content.path}: is not a file of SVHN: its y is not {n}×1 whole numbers")
    label = y[:, 0].astype(np.int64)
    if ((label < 1) | (label > 10)).any():
        bad = int(np.argmax((label < 1) | (label > 10)))
        raise UsageError(f"{content.path}: label {label[bad]} of example {bad} is out of range; must be 1..10")
    return np.ascontiguousarray(x.transpose(3, 2, 0, 1)), label % 10


def _variables(content: Content) -> tuple[Any, Any]:
    from scipy.io import loadmat

    try:
        found = loadmat(io.BytesIO(content.data), variable_names=["X", "y"])
    except Exception as error:  # a file can be wrong in any way
        raise UsageError(f"{content.path}: is not a MATLAB file: {last_line(error)}") from None
    return found.get("X"), found.get("y")


def _download(file: File) -> Download:
    return Download(file.path, file.md5, (f"http://ufldl.stanford.edu/housenumbers/{file.path}",), (file.path,))


FILES = (
    File("train_32x32.mat", "e26dedcc434d2e4c54c9b2d4a06d8373"),
    File("test_32x32.mat", "eb5a983be6a315427106f1b164d9cef3"),
)
SVHN = NamedDataset(
    name="svhn",
    shape=(3, 32, 32),
    n_train=73_257,
    n_test=26_032,
    classes=10,
    files=FILES,
    downloads=tuple(map(_download, FILES)),
    read=read,
)
