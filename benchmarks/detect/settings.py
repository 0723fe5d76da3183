"""The data sets on which detection is compared, each with labels of which it is known which are wrong."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from memloc.data import load
from memloc.data.arrays import I64, U8
from memloc.seeds import stream

SHARE = 0.08  # of the labels that are made wrong
# The class that a class is taken for: shirts for T-shirts, pullovers for coats, sneakers for boots.
FASHION = {0: 6, 1: 3, 2: 4, 3: 1, 4: 2, 5: 7, 6: 0, 7: 9, 8: 0, 9: 7}


@dataclass(frozen=True)
class Labelled:
    """x: uint8 N×H×W or N×H×W×C. given, true: int64 [N]. test: images and labels."""

    x: U8
    given: I64
    true: I64
    test: tuple[U8, I64]

    def save(self, path: Path) -> None:
        """Writes an npz file for `dataset: npz:FILE`."""
        x_test, y_test = self.test
        np.savez(path, x_train=self.x, y_train=self.given, y_true=self.true, x_test=x_test, y_test=y_test)


@dataclass(frozen=True)
class Setting:
    """make: the data of a draw, from (draw, folder of the data sets). epochs, width: of the network."""

    name: str
    images: int
    make: Callable[[int, Path], Labelled]
    epochs: int
    width: float


def _confused(true: I64, taken_for: Mapping[int, int], draw: int) -> I64:
    wrong = stream(draw, "benchmark", "wrong").permutation(len(true))[: round(SHARE * len(true))]
    given = true.copy()
    given[wrong] = [taken_for[int(label)] for label in true[wrong]]
    return given


def _subset(labels: I64, n: int, draw: int) -> I64:
    """int64 [n]: as many examples of each class, in order."""
    order = stream(draw, "benchmark", "subset").permutation(len(labels))
    classes = np.unique(labels)
    return np.sort(np.concatenate([order[labels[order] == c][: n // len(classes)] for c in classes]))


def digits(draw: int, data: Path) -> Labelled:
    """The digits; 8 % are taken for the next one."""
    raw = load("digits")
    given = _confused(raw.y_train, {c: (c + 1) % 10 for c in range(10)}, draw)
    return Labelled(raw.x_train[:, 0], given, raw.y_train, (raw.x_test[:, 0], raw.y_test))


def fashion(n: int) -> Callable[[int, Path], Labelled]:
    """Fashion-MNIST, n images; 8 % are taken for a class that looks alike."""

    def make(draw: int, data: Path) -> Labelled:
        raw = load("fashion_mnist", data)
        at = _subset(raw.y_train, n, draw)
        true = raw.y_train[at]
        return Labelled(raw.x_train[at, 0], _confused(true, FASHION, draw), true, (raw.x_test[:1000, 0], raw.y_test[:1000]))

    return make


def cifar(n: int, column: str) -> Callable[[int, Path], Labelled]:
    """CIFAR-10 as JPEG, n images, with what people said (CIFAR-10N)."""

    def make(draw: int, data: Path) -> Labelled:
        table = pq.read_table(data / "cifar10-jpeg" / "train.parquet", columns=["image", "label", column])
        true, given = np.array(table["label"], dtype=np.int64), np.array(table[column], dtype=np.int64)
        at = _subset(true, n, draw)
        test = pq.read_table(data / "cifar10-jpeg" / "test.parquet").slice(0, 1000)
        of_test = _decoded(test["image"].to_pylist()), np.array(test["label"], dtype=np.int64)
        return Labelled(_decoded(table["image"].take(at).to_pylist()), given[at], true[at], of_test)

    return make


def _decoded(images: list[dict[str, bytes]]) -> U8:
    return np.stack([np.asarray(Image.open(io.BytesIO(image["bytes"])).convert("RGB")) for image in images])


def settings(n: int) -> dict[str, Setting]:
    """{name: setting}. n: images of CIFAR-10."""
    found = (
        Setting("digits", 1437, digits, 20, 0.25),
        Setting("fashion", 4000, fashion(4000), 20, 0.25),
        Setting("aggregate", n, cifar(n, "human_aggregate"), 20, 0.25),
        Setting("human_1", n, cifar(n, "human_1"), 20, 0.25),
    )
    return {setting.name: setting for setting in found}
