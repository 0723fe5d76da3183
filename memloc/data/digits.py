"""scikit-learn's 1,797 handwritten digits (8×8, 17 grey levels), bundled with it: the data set that needs no download."""

from __future__ import annotations

import numpy as np

from memloc.data.arrays import Raw, content_identity
from memloc.seeds import stream

N_TRAIN = 1437


def load() -> Raw:
    """Pixel v in 0..16 becomes (255·v + 8)//16, repeated 2×2 to 16×16; a constant keyed permutation splits 1,437 / 360."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = (255 * images.astype(np.int64).reshape(-1, 1, 8, 8) + 8) // 16
    x = pixels.astype(np.uint8).repeat(2, axis=2).repeat(2, axis=3)
    y = labels.astype(np.int64)
    order = stream(0, "digits split").permutation(len(y))
    train, test = order[:N_TRAIN], order[N_TRAIN:]
    arrays = x[train], y[train], x[test], y[test]
    return Raw(*arrays, classes=10, identity="digits:" + content_identity(*arrays))
