"""scikit-learn's 1,797 handwritten digits (8×8, 17 grey levels), bundled with it: the data set that needs no download."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from memloc.data.arrays import Raw, content_identity
from memloc.seeds import stream

N_TRAIN = 1437
FILE = "datasets/data/digits.csv.gz"  # in scikit-learn's package; a row is an image's 64 grey levels and its label


def _rows() -> np.ndarray:
    """(1797, 65) whole numbers. The file is read by itself: importing scikit-learn would take each process two seconds."""
    found = find_spec("sklearn")
    for folder in (found and found.submodule_search_locations) or []:
        if (Path(folder) / FILE).is_file():
            return np.loadtxt(Path(folder) / FILE, delimiter=",").astype(np.int64)
    from sklearn.datasets import load_digits  # a version of scikit-learn that keeps the file elsewhere

    images, labels = load_digits(return_X_y=True)
    return np.column_stack([images, labels]).astype(np.int64)


@cache  # whatever the data directory: its text takes a tenth of a second to read
def load() -> Raw:
    """Pixel v in 0..16 becomes (255·v + 8)//16, repeated 2×2 to 16×16; a constant keyed permutation splits 1,437 / 360."""
    rows = _rows()
    pixels = (255 * rows[:, :64].reshape(-1, 1, 8, 8) + 8) // 16
    x = pixels.astype(np.uint8).repeat(2, axis=2).repeat(2, axis=3)
    y = rows[:, 64]
    order = stream(0, "digits split").permutation(len(y))
    train, test = order[:N_TRAIN], order[N_TRAIN:]
    arrays = x[train], y[train], x[test], y[test]
    return Raw(*arrays, classes=10, identity="digits:" + content_identity(*arrays))
