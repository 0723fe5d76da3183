"""Quantities in words."""

from __future__ import annotations

import pytest

from memloc.commands.formatting import common_fields, seconds_in_words, training_labels
from memloc.models.architectures import resolved
from memloc.sizes import bytes_in_words


@pytest.mark.parametrize(
    ("n", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KB"), (123_456, "123 KB"), (74_000_000, "74.0 MB"), (3.2e15, "3200 TB")],
)
def test_bytes(n: float, words: str) -> None:
    assert bytes_in_words(n) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59, "59 s"), (90, "2 min"), (5399, "90 min"), (7200, "2.0 h"), (172_800, "2.0 days")],
)  # fmt: skip
def test_seconds(seconds: float, words: str) -> None:
    assert seconds_in_words(seconds) == words


def test_a_training_is_called_by_what_tells_it_from_the_others() -> None:
    base = {"dataset": "digits", "model": "resnet9"}
    tied = resolved(**base, dropout="example_tied", p_gen=0.2, p_mem=0.1)
    assert training_labels([resolved(**base), resolved(**base, seed=1)]) == ["seed=0", "seed=1"]
    assert training_labels([resolved(**base), tied]) == ["dropout=none", "dropout=example_tied p_gen=0.2 p_mem=0.1"]
    assert training_labels([tied]) == ["dataset=digits model=resnet9"]


def test_values_of_a_training_are_written_as_one_types_them() -> None:
    plain, compiled = (resolved(dataset="digits", model="resnet9", compile=value) for value in (False, True))
    assert training_labels([plain, compiled]) == ["", "compile=true"]
    assert "compile=true" in common_fields([compiled]).split()
