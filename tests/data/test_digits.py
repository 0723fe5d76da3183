"""The bundled data set, against scikit-learn's own arrays."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from memloc.data import digits, load


def test_pixels_split_and_identity() -> None:
    raw = load("digits")
    assert raw.x_train.shape == (1437, 1, 16, 16)
    assert raw.x_test.shape == (360, 1, 16, 16)
    assert raw.x_train.dtype == np.uint8
    assert raw.classes == 10
    images, labels = load_digits(return_X_y=True)
    table = [(255 * v + 8) // 16 for v in range(17)]
    assert table[0] == 0
    assert table[16] == 255
    expected = {}
    for image, label in zip(images.astype(int).reshape(-1, 8, 8), labels, strict=True):
        big = [[table[image[r // 2][c // 2]] for c in range(16)] for r in range(16)]
        key = (bytes(np.array(big, dtype=np.uint8)), int(label))
        expected[key] = expected.get(key, 0) + 1
    for x, y in ((raw.x_train, raw.y_train), (raw.x_test, raw.y_test)):
        for image, label in zip(x, y, strict=True):
            expected[(bytes(image[0]), int(label))] -= 1
    assert set(expected.values()) == {0}  # every image once, with its own label
    assert raw.identity.startswith("digits:")


def test_the_split_is_not_sorted() -> None:
    raw = load("digits")
    assert (np.bincount(raw.y_test) > 15).all()


def test_without_its_file_the_same_by_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = digits.load()
    monkeypatch.setattr(digits, "FILE", "elsewhere.csv.gz")
    other = digits.load()
    assert other.identity == raw.identity
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(other, name), getattr(raw, name), strict=True)
