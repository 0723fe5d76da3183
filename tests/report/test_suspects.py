"""What is said and written of suspects, without a browser."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from memloc.data.arrays import Origin
from memloc.report.suspects import csv as as_csv
from tests.report.test_suspects_browser import N, found


def test_wrong_labels_whose_right_ones_nobody_knows() -> None:
    one = found()
    true = one.raw.y_train.copy()
    true[-3:] = -1  # examples 29, 28, 27: the most suspect
    known = replace(one, raw=replace(one.raw, y_true=true))
    assert known.truth is not None
    assert (known.truth.wrong, known.truth.precision, known.truth.suggested) == (3, 1.0, None)
    assert known.sentences()[-1] == (
        "Which labels are wrong is known: 3 are wrong. Of the 3 most suspect, 100.0 % are wrong (AUC 1.0000)."
    )
    true[-3] = (one.raw.y_train[-3] + 1) % 3  # the suggested label
    again = replace(one, raw=replace(one.raw, y_true=true))
    assert again.truth is not None
    assert again.truth.suggested == 1.0


@pytest.mark.parametrize(
    ("name", "written"),
    [("-1", "-1"), ("+1", "+1"), ("-1+1", "'-1+1"), ("=1", "'=1"), ("@a", "'@a"), ("a\nb", "a\nb"), ("a\rb", "a\rb")],
)
def test_names_in_the_table(name: str, written: str) -> None:
    one = found()
    names = (name, "cat", "dog")
    text = as_csv(replace(one, raw=replace(one.raw, origin=Origin(names, ()))), N)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == N
    assert {row["given"] for row in rows} == {written, "cat", "dog"}


def test_a_line_end_in_a_name_does_not_break_the_table() -> None:
    one = found()
    rows = replace(one, raw=replace(one.raw, origin=Origin(("a\nb", "cat", "dog"), ()))).rows(N)
    assert {row["given"] for row in rows} == {"a\\nb", "cat", "dog"}


def test_without_planted_labels_it_says_why_there_is_no_number() -> None:
    assert found().sentences()[1:] == [
        "There are too few to make some wrong on purpose, so nothing says how many labels are wrong."
    ]
