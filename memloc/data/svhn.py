"""SVHN (Netzer et al. 2011), cropped digits: two MATLAB files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from memloc.aside import aside
from memloc.data.arrays import I64, U8
from memloc.data.named import Arrays, Content, Download, File, NamedDataset
from memloc.errors import UsageError, error_line


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
        variables = loadmat(io.BytesIO(content.data), variable_names=["X", "y"])
    except Exception as error:  # a file can be wrong in any way
        raise UsageError(f"{content.path}: is not a MATLAB file: {error_line(error)}") from None
    return variables.get("X"), variables.get("y")


def md5s() -> dict[str, str]:
    """{path: MD5}, as torchvision pins them."""
    return aside(_md5s)


def _md5s() -> dict[str, str]:
    return {download.path: download.md5 for download in downloads()}


def downloads() -> tuple[Download, ...]:
    """The training file, the test file."""
    from torchvision import datasets

    pins = [datasets.SVHN.split_list[split] for split in ("train", "test")]
    return tuple(Download(name, md5, (url,), (name,)) for url, name, md5 in pins)


SVHN = NamedDataset(
    name="svhn",
    shape=(3, 32, 32),
    n_train=73_257,
    n_test=26_032,
    classes=10,
    files=(File("train_32x32.mat"), File("test_32x32.mat")),
    md5s=md5s,
    downloads=downloads,
    read=read,
)
