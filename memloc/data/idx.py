"""MNIST (LeCun et al. 1998) and Fashion-MNIST (Xiao et al. 2017): files in the IDX format, plain or gzip."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from memloc.data.arrays import I64, U8
from memloc.data.named import Arrays, Content, Download, File, NamedDataset
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


CLOTHES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def _named(name: str, folder: str, md5s: dict[str, str], class_names: tuple[str, ...] = ()) -> NamedDataset:
    """folder: the name of torchvision's class, too. md5s: {file: MD5 of its content}; torchvision pins those of the .gz."""
    raw = f"{folder}/raw"

    def downloads() -> tuple[Download, ...]:
        from torchvision import datasets

        pinned = getattr(datasets, folder)
        return tuple(
            Download(f"{raw}/{gz}", md5, tuple(f"{mirror}{gz}" for mirror in pinned.mirrors), (f"{raw}/{Path(gz).stem}",))
            for gz, md5 in pinned.resources
        )

    return NamedDataset(
        name=name,
        shape=(1, 28, 28),
        n_train=60_000,
        n_test=10_000,
        classes=CLASSES,
        files=tuple(File(f"{raw}/{file}", gz=True) for file in md5s),
        md5s=lambda: {f"{raw}/{file}": md5 for file, md5 in md5s.items()},
        downloads=downloads,
        read=read,
        class_names=class_names,
    )


MNIST = _named(
    "mnist",
    "MNIST",
    {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
)
FASHION_MNIST = _named(
    "fashion_mnist",
    "FashionMNIST",
    {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
    CLOTHES,
)
