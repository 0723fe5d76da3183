"""What is said and written of suspects, without a browser."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from memloc.data import load
from memloc.data.arrays import Origin
from memloc.errors import UsageError
from memloc.models.architectures import resolved
from memloc.report.suspects import csv as as_csv
from memloc.report.suspects import find
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
    [
        ("-1", "-1"),
        ("+1", "+1"),
        ("-1+1", "'-1+1"),
        ("=1", "'=1"),
        ("@a", "'@a"),
        ("a\nb", "a\nb"),
        ("a\rb", "a\rb"),
        ("\n=1", "'\n=1"),
    ],
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
    files = tuple(f"a/{k}\r\t\x1b.png" for k in range(N))
    rows = replace(one, raw=replace(one.raw, origin=Origin(("a\nb", "cät", "dog"), files))).rows(N)
    assert {row["given"] for row in rows} == {"a\\nb", "cät", "dog"}
    assert rows[0]["file"] == f"a/{N - 1}\\r\\t\\x1b.png"


def test_without_planted_labels_it_says_why_there_is_no_number() -> None:
    assert found().sentences()[1:] == [
        "There are too few to make some wrong on purpose, so nothing says how many labels are wrong."
    ]


@pytest.mark.parametrize("truth", ["hidden", "used"])
def test_data_that_have_changed_since_the_trainings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, truth: Literal["hidden", "used"]
) -> None:
    """Names and images would be those of other examples."""
    x, y = np.zeros((6, 8, 8), np.uint8), np.arange(6) % 2
    x[:, 0, 0] = np.arange(6)
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x, y_test=y, y_true=y[::-1])
    config = resolved(dataset=f"npz:{path}", model="resnet9", truth=truth)
    identity = load(config.source).identity
    monkeypatch.setattr("memloc.report.suspects.reading", lambda store, read, sweep: None)
    store: Any = None
    assert find(store, "s", {"t": config}, identity, tmp_path).raw.y_true is not None
    np.savez(path, x_train=x[::-1], y_train=y, x_test=x, y_test=y, y_true=y[::-1])
    load.cache_clear()
    with pytest.raises(UsageError, match=r"mine.npz: its content is not what the trial was planned or trained with"):
        find(store, "s", {"t": config}, identity, tmp_path)
