"""What a message proposes in place of a value that does not fit."""

from __future__ import annotations

import pytest

from memloc.config.hints import hint


@pytest.mark.parametrize(
    ("annotation", "value", "proposed"),
    [
        (tuple[int, ...], {"0..3": None}, hint(tuple[int, ...], "0..3")),  # {0..3} of a shell
        (int, {"1_0": None}, " (write 10, without underscores)"),
        (int, {"1_0": None, "2": None}, ""),
        (int, {}, ""),
        (int, 3.0, " (write 3)"),
        (float, 3.0, ""),
        (int, 3.5, ""),
    ],
)
def test_by_hand(annotation: object, value: object, proposed: str) -> None:
    assert hint(annotation, value) == proposed
