"""CIFAR-10 (Krizhevsky 2009): six batches that Python 2 pickled. They are read without running any code of a pickle."""

from __future__ import annotations

import codecs
import io
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np

# What numpy's own pickles name; not public, and at this place since numpy 2.
from numpy._core.multiarray import _reconstruct

from memloc.aside import aside
from memloc.data.arrays import I64, U8
from memloc.data.named import Arrays, Content, Download, File, NamedDataset
from memloc.errors import UsageError, error_line

# The only names that a pickle may refer to: those of an array, under numpy 1 and numpy 2, and of bytes in protocol 2.
ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}; only numpy arrays are admitted")
        return ADMITTED[module, name]


def read(contents: Iterator[Content]) -> Arrays:
    """Five training batches and the test batch. The names of the classes follow; they are verified, and not used."""
    batches = [batch(next(contents)) for _ in range(6)]
    for _ in contents:
        pass
    x_train, y_train = (np.concatenate(parts) for parts in zip(*batches[:5], strict=True))
    return x_train, y_train, *batches[5]


def batch(content: Content) -> tuple[U8, I64]:
    """x: uint8 n×3×32×32. y: int64 [n]. A row of the file is an image's red, green, blue plane, each row by row.

    Raises:
        UsageError: it is not such a batch, or it refers to more than arrays.
    """
    try:
        unpickled = _Arrays(io.BytesIO(content.data), encoding="bytes").load()
    except Exception as error:  # a pickle can be wrong in any way
        why = str(error) if isinstance(error, pickle.UnpicklingError) else error_line(error)
        raise UsageError(f"{content.path}: is not a batch of CIFAR-10: {why}") from None
    data, labels = (unpickled.get(key) for key in (b"data", b"labels")) if isinstance(unpickled, dict) else (None, None)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3072:
        raise UsageError(f"{content.path}: is not a batch of CIFAR-10: its data are not uint8 N×3072")
    if not isinstance(labels, list) or len(labels) != len(data) or not all(type(y) is int and 0 <= y < 10 for y in labels):
        raise UsageError(f"{content.path}: is not a batch of CIFAR-10: its labels are not {len(data)} numbers 0..9")
    return data.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.int64)


FOLDER = "cifar-10-batches-py"
BATCHES = (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")


def md5s() -> dict[str, str]:
    """{path: MD5}, as torchvision pins them."""
    return aside(_md5s)


def _md5s() -> dict[str, str]:
    from torchvision import datasets

    pinned = datasets.CIFAR10
    pairs = [*pinned.train_list, *pinned.test_list, (pinned.meta["filename"], pinned.meta["md5"])]
    return {f"{FOLDER}/{name}": md5 for name, md5 in pairs}


def downloads() -> tuple[Download, ...]:
    """The archive that holds all files."""
    from torchvision import datasets

    pinned = datasets.CIFAR10
    return (Download(pinned.filename, pinned.tgz_md5, (pinned.url,), tuple(file.path for file in FILES)),)


# batches.meta has the names of the classes: torchvision wants it.
FILES = tuple(File(f"{FOLDER}/{name}") for name in (*BATCHES, "batches.meta"))
CIFAR10 = NamedDataset(
    name="cifar10",
    shape=(3, 32, 32),
    n_train=50_000,
    n_test=10_000,
    classes=10,
    files=FILES,
    md5s=md5s,
    downloads=downloads,
    read=read,
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
