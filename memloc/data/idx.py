"""MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017): files in the IDX format, plain or gzip."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from memloc.data.named import Arrays, Content, Download, File, NamedDataset
from memloc.data.types import I64, U8
from memloc.errors import UsageError

CLASSES = 10


def read(contents: Iterator[Content]) -> Arrays:
    """Training images and labels, test images and labels."""
    x_train, y_train = images(next(contents)), labels(next(contents))
    return x_train, y_train, images(next(contents)), labels(next(contents))


def images(content: Content) -> U8:
    """uint8 n×1×H×W."""
    return values(content, dimensions=3)[:, None]


def labels(content: Content) -> I64:
    """int64 [n], 0..9."""
    y = values(content, dimensions=1)
    if (y >= CLASSES).any():
        bad = int(np.argmax(y >= CLASSES))
        raise UsageError(f"{content.path}: label {y[bad]} of example {bad} is out of range; must be 0..{CLASSES - 1}")
    return y.astype(np.int64)


def values(content: Content, dimensions: int) -> U8:
    """The array of an IDX file: 0, 0, 8 (unsigned bytes), how many dimensions; each size as 4 bytes, big-endian; the values.

    Raises:
        UsageError: where the file is something else, shorter or longer.
    """
    magic, start = bytes([0, 0, 8, dimensions]), 4 + 4 * dimensions
    if content.data[:4] != magic or len(content.data) < start:
        begins = content.data[:4].hex() or "nothing"
        raise UsageError(
            f"{content.path}: begins with {begins}; an IDX file of bytes in {dimensions} dimensions with {magic.hex()}"
        )
    shape = tuple(int(n) for n in np.frombuffer(content.data, dtype=">u4", count=dimensions, offset=4))
    if len(content.data) != start + math.prod(shape):
        raise UsageError(f"{content.path}: has {len(content.data) - start} values; its header promises {shape}")
    return np.frombuffer(content.data, dtype=np.uint8, offset=start).reshape(shape)


def _named(name: str, folder: str, mirrors: tuple[str, ...], pins: dict[str, tuple[str, str]]) -> NamedDataset:
    """pins: {file: (MD5 of its content, MD5 of the .gz that is downloaded)}."""
    raw = f"{folder}/raw"
    return NamedDataset(
        name=name,
        shape=(1, 28, 28),
        n_train=60_000,
        n_test=10_000,
        classes=CLASSES,
        files=tuple(File(f"{raw}/{file}", content, gz=True) for file, (content, _) in pins.items()),
        downloads=tuple(
            Download(f"{raw}/{file}.gz", packed, tuple(f"{m}{file}.gz" for m in mirrors), (f"{raw}/{file}",))
            for file, (_, packed) in pins.items()
        ),
        read=read,
    )


MNIST = _named(
    "mnist",
    "MNIST",
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
    {
        "train-images-idx3-ubyte": ("6bbc9ace898e44ae57da46a324031adb", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        "train-labels-idx1-ubyte": ("a25bea736e30d166cdddb491f175f624", "d53e105ee54ea40749a09fcbcd1e9432"),
        "t10k-images-idx3-ubyte": ("2646ac647ad5339dbf082846283269ea", "9fb629c4189551a2d022fa330f9573f3"),
        "t10k-labels-idx1-ubyte": ("27ae3e4e09519cfbb04c329615203637", "ec29112dd5afa0611ce80d1b7f02629c"),
    },
)
FASHION_MNIST = _named(
    "fashion_mnist",
    "FashionMNIST",
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    {
        "train-images-idx3-ubyte": ("f4a8712d7a061bf5bd6d2ca38dc4d50a", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        "train-labels-idx1-ubyte": ("9018921c3c673c538a1fc5bad174d6f9", "25c81989df183df01b3e8a0aad5dffbe"),
        "t10k-images-idx3-ubyte": ("8181f5470baa50b63fa0f6fddb340f0a", "bef4ecab320f06d8554ea6380940ec79"),
        "t10k-labels-idx1-ubyte": ("15d484375f8d13e6eb1aabb0c3f46965", "bb300cfdad3c16e7a12a480ee83cd310"),
    },
)
