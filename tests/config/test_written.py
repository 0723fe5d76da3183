"""Values in messages are written as a sweep file has them, so that one can copy them."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from memloc.config import written
from memloc.config.hints import valid_values

PLAIN = st.none() | st.booleans() | st.integers() | st.text("abc xyz") | st.sampled_from([0.5, -2.0, math.inf, -math.inf])
NESTED = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text("abc", min_size=1), inner))


@given(NESTED)
def test_yaml_reads_it_back(value: Any) -> None:
    assert yaml.safe_load(written(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (math.nan, ".nan"),
        ((1, "a", [None, True]), "[1, 'a', [null, true]]"),
        ({"a": {"b": False}}, "{a: {b: false}}"),
    ],
)
def test_as_a_file_has_it(value: Any, text: str) -> None:
    assert written(value) == text
    assert written(value, quote=False) == text.replace("'", "")


@pytest.mark.parametrize(
    ("annotation", "phrase"),
    [
        (Literal["a", "b"], "a, b"),
        (Literal["a", "b"] | None, "a, b, or null"),
        (int | None, "a whole number or null"),
        (int | str, "a whole number or text"),
        (int | Literal["a", "b"] | None, "a whole number, a, b, or null"),
        (int | Literal["a"], "a whole number or a"),
        (tuple[Literal["a", "b"], ...] | None, "null, or a non-empty list without duplicates, each a, b"),
    ],
)
def test_null_is_no_item_of_a_list(annotation: Any, phrase: str) -> None:
    assert valid_values(annotation) == phrase
