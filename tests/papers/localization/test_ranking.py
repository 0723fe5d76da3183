"""The ranking of methods: means over items, then trainings; paired differences; how many items would tell two apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from memloc.papers.judgement import Judgement
from memloc.papers.localization import deleted, ranking, truths
from memloc.papers.localization.ranking import MOST, by_training, closings, items_of, pairs, ranked, trainings_needed
from memloc.papers.registry import NAMES, paper

RANDOM = np.random.default_rng(3)


class Rows:
    """A setting with these rows of `localization`."""

    trials = ["a", "b", "c"]  # noqa: RUF012

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def rows(self, table: str) -> pd.DataFrame:
        assert table == "localization"
        return self.frame

    def select(self, *arguments: str) -> str:
        return "SELECT"

    def titled(self, name: str) -> str:
        return name


def rows(**means: float) -> Any:
    """Three trainings with four memorized items each and as many clean ones, and a skipped one; methods have these means."""
    made = []
    for trial in Rows.trials:
        for example in range(9):
            for method, mean in means.items():
                auc = None if example == 8 else mean + RANDOM.normal(0, 0.02) if example < 4 else 0.5
                made.append(
                    {"trial": trial, "network": None, "example": example, "noisy": example < 4 or example == 8,
                     "method": method, "control": method in ("random", "my_control"), "auc": auc, "skipped": example == 8,
                     "k_star": None, "n_candidates": 42, "censored": None}
                )  # fmt: skip
    return Rows(pd.DataFrame(made))


def test_items_then_trainings() -> None:
    one = rows(gradient=0.8, random=0.5)
    table = by_training(one, "auc")
    frame = one.frame[one.frame["noisy"] & one.frame["auc"].notna()]
    expected = {m: [g["auc"].mean() for _, g in part.groupby("trial")] for m, part in frame.groupby("method")}
    assert {m: table[m].tolist() for m in table.columns} == {m: pytest.approx(v) for m, v in expected.items()}
    found = ranked(table)
    assert list(found) == ["gradient", "random"]
    low, high = stats.t.interval(0.95, 2, np.mean(expected["gradient"]), stats.sem(expected["gradient"]))
    assert (found["gradient"].printed.lo, found["gradient"].printed.hi) == pytest.approx((low, high))
    assert by_training(one, "auc", noisy=False).loc["a"].tolist() == [0.5, 0.5]
    wide = ranked(pd.DataFrame({"gradient": [0.7, 0.99]}))["gradient"].printed
    assert (wide.lo, wide.hi) == (0.0, 1.0)  # an AUC is none above 1
    assert items_of(one, "auc") == 12  # the skipped ones say nothing


def test_pairs_are_told_apart_by_paired_differences() -> None:
    one = rows(gradient=0.8, zero_out=0.801, fisher=0.5, random=0.9)
    found = {(p.one, p.other): p for p in pairs(by_training(one, "auc"), items_of(one, "auc"))}
    assert {frozenset(pair) for pair in found} == {
        frozenset(pair) for pair in (("gradient", "zero_out"), ("gradient", "fisher"), ("zero_out", "fisher"))
    }  # controls are no methods
    assert all(pair.told == ("fisher" in names) for names, pair in found.items())
    (close,) = [pair for names, pair in found.items() if "fisher" not in names]
    assert close.needed is None or close.needed > close.items == 12


@pytest.mark.parametrize("differences", [[0.1, 0.12, 0.09, 0.11], [0.03, -0.02, 0.05, 0.01], [0.01, 0.06, -0.04]])
def test_how_many_trainings_would_tell(differences: list[float]) -> None:
    mean, deviation = np.mean(differences), np.std(differences, ddof=1)
    enough = [n for n in range(2, MOST + 1) if stats.t.ppf(0.975, n - 1) * deviation / n**0.5 < mean]
    assert trainings_needed(differences) == (enough[0] if enough else None)


def test_nothing_would_tell() -> None:
    assert trainings_needed([0.1]) is None
    assert trainings_needed([0.1, -0.1, 0.0003]) is None
    assert trainings_needed([0.1, -0.1]) is None


def test_what_is_drawn() -> None:
    one = rows(gradient=0.8, zero_out=0.801, smooth_grad=0.7, random=0.5)
    (dots,) = truths.TIED.dots(one)
    assert set(dots.rows) == {"gradient", "zero_out", "smooth_grad", "random (control)"}  # a plugin's method is one of them
    assert list(dots.values) == ["memorized", "clean (control)"]
    (table,) = truths.TIED.untold(one)
    assert [row[:2] for row in table.rows] in ([["gradient", "zero_out"]], [["zero_out", "gradient"]])


def test_what_is_said_beside_the_ranking() -> None:
    one = rows(gradient=0.8, random=0.5)
    others = ("recall", "recall_2k", "auc_live", "auc_within", "auc_plain", "k_star", "own_flip", "own_true", "clean_drop",
              "noisy_drop", "test_drop", "seconds")  # fmt: skip
    one.frame = one.frame.assign(**dict.fromkeys(others, None)).assign(recall=0.25)
    (table,) = truths.TIED.table(one)
    assert table.head == ["method", "memorized − clean", "recall", "auc"]
    excess = by_training(one, "auc")["gradient"] - 0.5  # clean items have 0.5
    assert table.rows[0][0] == "gradient"
    assert table.rows[0][1].startswith(f"{excess.mean():.3f} [")
    assert table.rows[0][2] == "0.250"
    assert table.rows[-1] == ["skipped items", "0.200", "", ""]  # one of five memorized


def test_a_users_control_is_no_method() -> None:
    one = rows(gradient=0.8, my_control=0.5)
    (dots,) = truths.TIED.dots(one)
    assert set(dots.rows) == {"gradient", "my_control (control)"}
    assert not truths.TIED.untold(one)


def test_a_method_without_clean_examples_has_a_gap() -> None:
    one = rows(gradient=0.8, fisher=0.7)
    one.frame = one.frame[one.frame["noisy"] | (one.frame["method"] == "gradient")]
    (dots,) = truths.TIED.dots(one)
    clean = dict(zip(dots.rows, dots.values["clean (control)"], strict=True))
    assert clean["fisher"] is None
    assert clean["gradient"] is not None


def test_a_censored_deletion_ends_with_the_channels() -> None:
    """A network with 42 channels, one censored, one lost after 3, one skipped."""
    frame = pd.DataFrame({"k_star": [3, None, None], "n_candidates": 42, "censored": [False, True, None]})
    assert closings(frame).tolist()[:2] == [3, 42]
    assert np.isnan(closings(frame)[2])
    assert closings(frame.assign(n_candidates=336)).tolist()[1] == 64


def test_what_is_drawn_without_a_truth() -> None:
    made = [
        {"trial": trial, "example": 1, "noisy": True, "skipped": False, "method": method, "k": k, "k_star": star,
         "control": method == "random", "n_candidates": 336,
         "censored": star is None, "own_true": True, "clean_drop": 0.01 * k, "noisy_drop": 0.0, "test_drop": 0.0}
        for trial in ("a", "b") for method, star in (("gradient", 3), ("random", None)) for k in (star or 64, 5, 10)
    ]  # fmt: skip
    dots, table = deleted.drawn(Rows(pd.DataFrame(made)))  # type: ignore[arg-type]
    assert list(dots.rows) == ["gradient", "random (control)"]
    assert [q.value for q in dots.values["closings"]] == [3, 64]
    assert [row[:3] for row in table.rows] == [["gradient", "0.030", "0.000"], ["random", "0.640", "0.000"]]
    assert [row[-1] for row in table.rows] == ["0.000", "1.000"]


def judged(verdicts: dict[str, str], best: dict[str, float]) -> Any:
    def one(verdict: str, ours: float) -> Judgement:
        return Judgement("x", "x", "", "", "x", "", "", None, verdict, "", "", ours)  # type: ignore[arg-type]

    return {"TV": {k: one(v, 0.5) for k, v in verdicts.items()}, "TM": {k: one("holds", v) for k, v in best.items()}}


def test_what_a_summary_says() -> None:
    best = {"gradient": 0.8, "fisher": 0.9, "zero_out": 0.85, "flips": 0.7}
    valid = truths.TIED.sentence(judged({"random": "holds", "norm_out": "holds"}, best))
    assert valid == (
        "The truth tied is valid. AUC against the channels of a decoy: fisher 0.90, zero_out 0.85, gradient 0.80."
    )
    assert "not shown to be valid (norm_out)" in truths.TIED.sentence(judged({"norm_out": "inconclusive"}, best))
    assert truths.TIED.sentence({}) == ""


def test_it_is_a_paper() -> None:
    assert "localization" in NAMES
    whole = paper("localization")
    assert [claim.id for claim in whole.claims] == ["IV", "IM", "TV", "TM"]
    assert len(whole.claims[1].numbers) == 15  # random is a control too
    assert ranking.CONTROLS == ("norm_out", "other_item", "random", "reference_only")
