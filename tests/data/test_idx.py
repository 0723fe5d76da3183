"""The IDX format, against files written by hand."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memloc.data.idx import images, labels
from memloc.data.named import Content
from memloc.errors import UsageError
from tests.data.small import idx


def at(data: bytes) -> Content:
    return Content(Path("there/file"), data)


def test_images_and_labels() -> None:
    # Sizes 2, 2, 3 as a big-endian machine writes them, after 2051.
    found = images(at(b"\x00\x00\x08\x03\x00\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00\x03" + bytes(range(244, 256))))
    assert found.dtype == np.uint8
    assert found.tolist() == [[[[244, 245, 246], [247, 248, 249]]], [[[250, 251, 252], [253, 254, 255]]]]
    y = labels(at(b"\x00\x00\x08\x01\x00\x00\x00\x03\x07\x00\x09"))
    assert y.dtype == np.int64
    assert y.tolist() == [7, 0, 9]


IMAGES = np.zeros((2, 4, 4))


@pytest.mark.parametrize(
    ("read", "data", "message"),
    [
        (images, idx(np.zeros(3)), "there/file: begins with 00000801; an IDX file of bytes in 3 dimensions with 00000803"),
        (labels, idx(IMAGES), "begins with 00000803; an IDX file of bytes in 1 dimensions with 00000801"),
        (images, struct.pack("<I", 2051) + idx(IMAGES)[4:], "begins with 03080000"),
        (images, b"\x00\x00\x0d\x03" + idx(IMAGES)[4:], "begins with 00000d03"),
        (images, b"", "begins with nothing"),
        (images, idx(IMAGES)[:9], "begins with 00000803"),
        (images, idx(IMAGES)[:-1], r"has 31 values; its header promises \(2, 4, 4\)"),
        (images, idx(IMAGES) + b"\x00", r"has 33 values; its header promises \(2, 4, 4\)"),
        (images, b"\x00\x00\x08\x03" + b"\xff" * 12, "has 0 values"),
        (labels, idx(np.array([1, 9, 10, 3])), "label 10 of example 2 is out of range; must be 0..9"),
    ],
)
def test_what_is_something_else(read: Any, data: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read(at(data))
    assert len(caught.value.problems) == 1
