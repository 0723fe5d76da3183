"""What a text that looks like numbers is taken for."""

from __future__ import annotations

import pytest

from memloc.config.numerals import as_list


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("0-3", "write 0..3 for all whole numbers from 0 to 3"),
        ("3-3", None),
        ("4-3", None),
        ("range(1)", "write 0..0"),
        ("range(0)", None),
        ("range(2, 5)", "write 2..4"),
        ("range(5, 5)", None),
        ("0,1,2", "write [0, 1, 2]"),
        ("1,000", "write 1000, without commas"),
        ("7", None),
        ("a,b", None),
    ],
)
def test_lists_and_ranges_of_whole_numbers(text: str, hint: str | None) -> None:
    assert as_list(text, whole=True) == hint
