"""Normalisation, and the identity of content."""

from __future__ import annotations

import numpy as np
import torch

from memloc.data.arrays import content_identity, normalise


def test_normalise_every_pixel_value() -> None:
    v = torch.arange(256, dtype=torch.uint8)
    expected = (v.to(torch.float64) / 255 - 0.5) / 0.5
    assert normalise(v).dtype == torch.float32
    assert (normalise(v).to(torch.float64) - expected).abs().max() < 1e-6
    assert float(normalise(v)[0]) == -1.0
    assert float(normalise(v)[255]) == 1.0


def test_content_identity_sees_bytes_shape_and_dtype() -> None:
    a = np.arange(6, dtype=np.uint8)
    variants = [a, a.reshape(2, 3), a.astype(np.int64), a[::-1], np.append(a, np.uint8(0))]
    assert len({content_identity(x) for x in variants}) == len(variants)
    assert content_identity(a) == content_identity(a.copy())
    assert content_identity(a.reshape(2, 3)) == content_identity(np.asfortranarray(a.reshape(2, 3)))
