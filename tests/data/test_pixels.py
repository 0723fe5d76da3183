"""Pixels are converted where nothing is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from memloc.data.pixels import PixelError, as_uint8

ALL = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)


@pytest.mark.parametrize(
    "images",
    [
        ALL, ALL.astype(np.int64), ALL.astype(np.uint16), ALL.astype(np.uint16) * 257, ALL.astype(np.float16),
        ALL.astype(np.float32), ALL.astype(float), (ALL / 255).astype(np.float16), (ALL / 255).astype(np.float32), ALL / 255,
        ALL.astype(np.float32) * np.float32(1 / 255),
    ],
)  # fmt: skip
def test_every_grey_level_is_kept(images: Any) -> None:
    pixels, note = as_uint8(images)
    assert pixels.dtype == np.uint8
    assert (pixels == ALL).all()
    assert bool(note) == (images.dtype != np.uint8)


def test_true_and_false_are_white_and_black() -> None:
    assert as_uint8(np.array([[[True, False]]]))[0].tolist() == [[[255, 0]]]


def test_one_part_says_how_the_other_is_meant() -> None:
    """Test images that are all dark are still from 0 to 255 if the training images are."""
    dark = np.array([[[0.0, 1.0]]])
    assert as_uint8(dark)[0].max() == 255
    assert as_uint8(dark, unit=False)[0].max() == 1


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (ALL.astype(np.int16) - 1, "images are int16, -1..254; must be uint8"),
        (ALL.astype(np.uint16) + 1, r"uint16, 1..256; must be uint8, 0..255: \(x // 257\)"),
        (ALL / 256, r"between the 256 grey levels; .*: \(255 \* x\)"),
        (ALL * 0.4, r"between the 256 grey levels; .*: x.round\(\)"),
        (ALL / 255 * 1.0002, r"they are from 0 to 1.0002; if 1 is white: \(255 \* x.clip\(0, 1\)\).round"),
        (ALL / 255 - 0.5, "from -0.5 to 0.5; must be 0..255, or 0..1"),
        (ALL * 2.0, "from 0 to 510; must be"),
        (ALL * np.nan, "with NaN"),
        (ALL + np.inf, "with infinities"),
        (ALL.astype(str), "images are <U"),
    ],
)
def test_refused(images: Any, message: str) -> None:
    with np.errstate(invalid="ignore"), pytest.raises(PixelError, match=message):
        as_uint8(images)
