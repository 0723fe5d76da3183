"""What is said and written of suspects, without a browser."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from scipy.stats import norm

from memloc.analysis.suspects import Judgement, Suspects, suspects
from memloc.data import load
from memloc.data.arrays import Origin
from memloc.errors import UsageError
from memloc.models.architectures import resolved
from memloc.report.suspects import csv as as_csv
from memloc.report.suspects import find
from memloc.statistics import Bools
from memloc.statistics.trainings import OverTrainings
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


def test_precision_and_recall_among_as_many_as_it_says_are_wrong() -> None:
    """It says that six are wrong. Four are, and two of them are among the six most suspect."""
    one = found()
    true = one.raw.y_train.copy()
    for example in (29, 24, 20, 3):  # the ranks 1, 6, 10 and 27
        true[example] = (true[example] + 1) % 3
    checks = judged(3.0, np.arange(SEEN) < 100).checks
    said = replace(one.suspects, wrong=OverTrainings(6 / N, (6 / N,)), checks=checks)
    known = replace(one, raw=replace(one.raw, y_true=true), suspects=said)
    truth = known.truth
    assert truth is not None
    assert (truth.wrong, truth.reported, truth.precision, truth.reported_precision, truth.recall) == (
        4,
        6,
        1 / 4,
        2 / 6,
        2 / 4,
    )
    assert known.as_json(3)["truth"]["recall"] == 0.5
    assert (
        "Of the 6 most suspect, as many as are wrong by the estimate, 33.3 % are wrong (precision)." in known.sentences()[-1]
    )
    assert "They are 50.0 % of the wrong labels (recall)." in known.sentences()[-1]


SEEN = 2_000


def judged(distance: float, wrong: Bools) -> Suspects:
    """Three judges with planted labels, and one without. Suspicions are normal, and those of wrong labels so much larger."""
    draw = np.random.default_rng(3)
    planted = [np.arange(SEEN) < 0, *(draw.permutation(SEEN) < SEEN // 20 for _ in range(3))]
    label = draw.integers(0, 10, SEEN)
    return suspects(
        [
            Judgement(
                np.arange(SEEN), p, draw.normal(size=SEEN) + distance * (p | wrong), label, (label + 1) % 10, np.ones(SEEN)
            )
            for p in planted
        ],
        10,
    )


WEAK = "So the networks tell little, and the number of wrong labels may be far too large."


@pytest.mark.parametrize(
    ("distance", "share", "words"),
    [
        (3.0, 0.1, "If your wrong labels are harder to see than these"),
        (3.0, 0.4, "If your wrong labels are harder to see than these"),
        (2.5, 0.02, "If your wrong labels are harder to see than these"),
        (1.0, 0.1, WEAK),  # the estimate is three times the truth
        (0.5, 0.02, WEAK),
        (0.0, 0.1, "networks tell little"),
        (3.0, 0.7, "So most labels are wrong, or the networks tell little"),
    ],
)
def test_what_the_check_says_of_networks_that_tell_more_or_less(distance: float, share: float, words: str) -> None:
    """Those that tell nothing give an estimate of nine tenths. Among so many suspects are nearly all planted labels."""
    wrong = np.random.default_rng(1).permutation(SEEN) < share * SEEN
    of = judged(distance, wrong)
    one = found()
    said = replace(one, suspects=of, raw=replace(one.raw, origin=Origin())).sentences()[2]
    assert words in said
    assert of.wrong is not None
    is_trusted = said.startswith("Check: 100 labels of a training were made wrong on purpose. It finds ")
    assert is_trusted == (of.wrong.value < 2 * share and share < 0.5)
    if distance == 3.0 and share < 0.5:  # of two normals
        assert np.mean([check.told for check in of.checks]) == pytest.approx(norm.cdf(3 / np.sqrt(2)), abs=0.02)


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
