"""The annotated shapes are checked while the tests run."""

from __future__ import annotations

import jaxtyping
import pytest
import torch

from memloc.data.augment import augment
from memloc.data.device import images
from memloc.models.gates import gated_linear, repeated
from memloc.models.inference import margins
from tests.shapes import CHECKED

PIXELS = torch.zeros((4, 3, 8, 8), dtype=torch.uint8)


@pytest.mark.parametrize(
    "call",
    [
        lambda: margins(torch.zeros(4, 3), torch.zeros(5, dtype=torch.int64)),
        lambda: margins(torch.zeros(4, 3), torch.zeros(4, dtype=torch.int32)),
        lambda: images(PIXELS.float()),
        lambda: images(PIXELS[0]),
        lambda: augment(PIXELS, torch.zeros((3, 3), dtype=torch.int64)),
        lambda: gated_linear(torch.zeros(4, 3), torch.zeros(2, 5), torch.ones(1, 2, 5)),
    ],
    ids=["other n", "other dtype", "float pixels", "one image", "other batch", "other features"],
)
def test_a_wrong_shape_or_dtype_is_an_error(call: object) -> None:
    with pytest.raises(jaxtyping.TypeCheckError):
        call()  # type: ignore[operator]


def test_right_ones_are_not() -> None:
    assert images(PIXELS).shape == PIXELS.shape
    assert repeated(torch.zeros(2, 3, 4, 4), 5).shape == (10, 3, 4, 4)
    assert all(name.startswith("memloc.") for name in CHECKED)
