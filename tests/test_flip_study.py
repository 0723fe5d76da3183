"""The criterion by which the fast estimator is judged, on searches made up so that it must hold, and must not."""

from __future__ import annotations

import pandas as pd
import pytest

from benchmarks.flip_study import compare, counts, distance, shares, total_variation


def searches(
    factor: int = 1, layer: str = "conv4", trainings: int = 2, repeats: int = 3, noisy_more: int = 0
) -> pd.DataFrame:
    """Ten examples a training, half of them noisy; counts 2 to 6, the noisy ones' one less, times `factor`."""
    rows = []
    for trial in range(trainings):
        for repeat in range(repeats):
            for example in range(10):
                noisy = example % 2 == 1
                count = factor * (2 + example // 2 - noisy) + noisy_more * noisy
                layers = ["linear"] * (count - 1) + [layer]
                rows.append((f"t{trial}", f"t{trial}", repeat, example, noisy, count, layers))
    return pd.DataFrame(rows, columns=["trial", "training", "repeat", "example", "noisy", "count", "layers"])


def test_the_same_searches_are_equivalent() -> None:
    found = compare(searches(), searches())
    assert found.equivalent
    assert found.ratio[False] == found.ratio[True] == (1.0, 1.0, 1.0)
    assert found.rank == {False: 1.0, True: 1.0}
    assert found.distance == found.layers == {False: 0.0, True: 0.0}


@pytest.mark.parametrize(
    "other",
    [
        searches(factor=2),  # twice as many
        searches(layer="conv1"),  # other layers
        searches(noisy_more=3),  # another AUC, too
    ],
)
def test_what_differs_is_not(other: pd.DataFrame) -> None:
    assert not compare(other, searches()).equivalent


def test_without_an_interval_nothing_is_shown() -> None:
    """One training, one repeat: a single cluster."""
    one = searches(trainings=1, repeats=1)
    assert compare(one, one).ratio[False].lo is None
    assert not compare(one, one).equivalent


def test_measures_by_hand() -> None:
    table = counts(searches(), noisy=False)
    assert table.shape == (2 * 3, 2 * 5)
    assert table.notna().sum().sum() == 2 * 3 * 5  # an example is one training's
    assert table.loc[("t0", 0)].dropna().tolist() == [2, 3, 4, 5, 6]
    twice = distance(searches(factor=2), searches(), noisy=False)
    assert twice == pytest.approx(0.6)  # at 3: two of five are at most 3; doubled (4, 6, 8, 10, 12) none; at 6: 5 against 2
    assert shares(searches(), noisy=False) == pytest.approx({"linear": 15 / 20, "conv4": 5 / 20})
    assert total_variation({"a": 0.5, "b": 0.5}, {"a": 0.25, "c": 0.75}) == 0.75
