"""The comparison with cleanlab: its data, its rankings, its tables. It runs by hand (`python -m benchmarks.detect`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata, ttest_1samp

from benchmarks.detect import rankings
from benchmarks.detect.__main__ import main, paired, table
from benchmarks.detect.settings import SHARE, Setting, digits, settings


def test_labels_that_are_taken_for_the_next_one() -> None:
    one, other = digits(0, Path()), digits(1, Path())
    for data in (one, other):
        wrong = data.given != data.true
        assert wrong.sum() == round(SHARE * len(data.true))
        assert (data.given[wrong] == (data.true[wrong] + 1) % 10).all()
    assert (one.given != other.given).any()


class Store:
    """Two trainings of four examples; one label is planted in the second."""

    def pandas(self, name: str, sweep: str) -> pd.DataFrame:
        assert (name, sweep) == ("examples", "s")
        rows = {
            "trial": ["a"] * 4 + ["b"] * 4,
            "example": [0, 1, 2, 3] * 2,
            "noisy": [False] * 7 + [True],
            "aum": [3.0, 2.0, 1.0, 0.0, 1.0, 2.0, 3.0, -9.0],
            "mean_prob": [0.9, 0.8, 0.7, 0.1, 0.5, 0.6, 0.7, 0.0],
            "mean_loss": [0.1, 0.2, 0.3, 3.0, 0.5, 0.4, 0.3, 9.0],
            "alternative_prob": [0.1, 0.1, 0.2, 0.8, 0.4, 0.2, 0.1, 0.9],
        }
        return pd.DataFrame(rows)


def test_places_are_of_labels_that_were_not_planted() -> None:
    found = dict(rankings.in_sample(Store(), "s", 4))
    assert found["memloc aum"].tolist() == pytest.approx([(1 / 4 + 1) / 2, (2 / 4 + 2 / 3) / 2, (3 / 4 + 1 / 3) / 2, 1.0])
    assert set(found) >= {"memloc loss", "memloc probability", "memloc margin", "memloc margin + loss"}


def test_cleanlab_s_methods_turn_round_its_quality() -> None:
    pytest.importorskip("cleanlab")
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    found = dict(rankings.cleanlab(np.array([0, 0, 0]), probabilities, "x"))
    assert rankdata(found["cleanlab self_confidence, x"]).tolist() == [1, 2, 3]


def test_the_tables() -> None:
    rows = pd.DataFrame(
        [
            {
                "setting": "s",
                "images": 4000,
                "draw": d,
                "ranking": name,
                "auc": 0.9,
                "at_n": at_n + d / 100,
                "at_100": 1.0,
                "cpu": 2.0,
            }
            for d in range(3)
            for name, at_n in (("memloc", 0.8 + d / 50), ("cleanlab a", 0.5), ("cleanlab b", 0.7))
        ]
    )
    assert "| s | 4,000 | 3 | memloc | 0.9000 | 0.830 | 1.00 | 2 |" in table(rows)
    interval = ttest_1samp([0.1, 0.12, 0.14], 0).confidence_interval()
    assert f"| s | 4,000 | cleanlab b: 0.710 | +0.120 [{interval.low:+.3f}, {interval.high:+.3f}] |" in paired(
        rows, "memloc"
    )


def test_rows_that_were_measured_elsewhere_are_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also the draws of one setting come from several machines, and another number of images is another comparison."""
    asked: list[tuple[str, int, int]] = []

    def judged(place: object, setting: Setting, draw: int) -> list[dict[str, object]]:
        asked.append((setting.name, setting.images, draw))
        numbers = {"wrong": 0.1, "auc": 0.9, "at_n": 0.8 + draw / 10, "at_100": 1.0, "cpu": 2.0}
        return [
            {"setting": setting.name, "images": setting.images, "draw": draw, "ranking": ranking, **numbers}
            for ranking in ("memloc margin", "cleanlab a")
        ]

    monkeypatch.setattr("benchmarks.detect.__main__.judged", judged)
    rows = tmp_path / "rows.csv"
    for machine, more in (("a", ["--draws", "1"]), ("b", []), ("c", ["--images", "4000"])):
        main([str(tmp_path / machine), "--settings", "human_1", "--draws", "2", "--rows", str(rows), *more])
    assert asked == [("human_1", 10_000, 0), ("human_1", 10_000, 1), ("human_1", 4000, 0), ("human_1", 4000, 1)]
    said = capsys.readouterr().out
    assert "| human_1 | 4,000 | 2 | memloc margin | 0.9000 | 0.850 | 1.00 | 2 |" in said
    assert "| human_1 | 10,000 | cleanlab a: 0.850 | +0.000 [+0.000, +0.000] |" in said


def test_a_setting_has_as_many_images_as_it_says() -> None:
    assert len(digits(0, Path()).true) == settings(100)["digits"].images
