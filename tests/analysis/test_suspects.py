"""The ranking of examples by trainings, against loops over examples and trainings."""

from __future__ import annotations

from collections import defaultdict
from statistics import mean

import numpy as np
import pytest

from memloc.analysis.suspects import Judgement, suspects


def judgement(draw: np.random.Generator, given: np.ndarray, wrong: np.ndarray, planted: int) -> Judgement:
    """Suspicions of a training that finds wrong labels well; 20 classes of scores, so that there are ties."""
    n = len(given)
    is_planted = np.isin(np.arange(n), draw.choice(n, planted, replace=False))
    label = np.where(is_planted, (given + 3) % 5, given)
    suspicion = np.round(draw.normal(0, 1, n) + 4 * (wrong | is_planted), 1)
    alternative = (label + draw.integers(1, 5, n)) % 5
    return Judgement(np.arange(n) * 2, is_planted, suspicion, label, alternative, draw.random(n))


@pytest.fixture
def judged() -> list[Judgement]:
    draw = np.random.default_rng(0)
    given, wrong = draw.integers(0, 5, 300), np.arange(300) < 30
    return [judgement(draw, given, wrong, planted) for planted in (0, 20, 20, 20)]


def test_the_table_against_loops(judged: list[Judgement]) -> None:
    found = suspects(judged, 5)
    assert found.wrong is not None
    share = found.wrong.value
    places: dict[int, list[float]] = defaultdict(list)
    votes: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    given: dict[int, int] = {}
    for one in judged:
        others = [s for s, planted in zip(one.suspicion, one.planted, strict=True) if not planted]
        for k, example in enumerate(one.example.tolist()):
            if not one.planted[k]:
                s = one.suspicion[k]
                places[example].append((sum(o < s for o in others) + sum(o <= s for o in others)) / (2 * len(others)))
                votes[example][int(one.alternative[k])] += float(one.weight[k])
                given[example] = int(one.label[k])
    table = found.table
    assert sorted(table["example"]) == [2 * k for k in range(300)]
    assert table["rank"].tolist() == list(range(1, 301))
    for row in table.itertuples():
        assert row.score == pytest.approx(mean(places[row.example]), rel=1e-12)
        assert row.agreement == pytest.approx(mean(float(p >= 1 - share) for p in places[row.example]))
        assert row.given == given[row.example]
        assert row.suggested == max(votes[row.example], key=votes[row.example].__getitem__) != row.given
    order = list(zip(-table["score"], table["example"], strict=True))
    assert order == sorted(order)
    assert set(table["example"][:25]) <= {2 * k for k in range(30)}


def test_the_estimate_and_its_check(judged: list[Judgement]) -> None:
    found = suspects(judged, 5)
    assert found.wrong is not None
    assert len(found.checks) == found.wrong.k == 3
    assert found.wrong.value == pytest.approx(np.mean([check.share.value for check in found.checks]))
    interval = found.wrong.printed
    assert interval.lo is not None
    assert interval.hi is not None
    assert interval.lo < 0.1 < interval.hi
    assert found.number == round(found.wrong.value * 300)
    for one, check in zip(judged[1:], found.checks, strict=True):
        most = 20 + round(check.share.value * 280)
        least = sorted(one.suspicion)[-most]
        assert check.found == np.mean(one.suspicion[one.planted] >= least)
        assert 0.9 < check.auc <= 1


def test_nothing_planted_gives_a_ranking_and_no_number(judged: list[Judgement]) -> None:
    found = suspects(judged[:1], 5)
    assert (found.wrong, found.checks, found.number) == (None, [], 0)
    assert found.table["agreement"].tolist() == [0.0] * 300
    assert set(found.table["example"][:20]) <= {2 * k for k in range(30)}


def test_every_training_has_planted_labels(judged: list[Judgement]) -> None:
    with pytest.raises(ValueError, match="concatenate"):
        suspects(judged[1:], 5)


def test_a_training_on_other_examples_judges_those_that_are_asked_for(judged: list[Judgement]) -> None:
    """As with a subset, which another data_seed draws anew."""
    other = judged[1]
    half = np.arange(300) % 2 == 0
    arrays = [other.planted, other.suspicion, other.label, other.alternative, other.weight]
    shifted = Judgement(other.example[half] + 100, *(values[half] for values in arrays))
    table = suspects([judged[0], shifted], 5).table
    assert sorted(table["example"]) == [2 * k for k in range(300)]
    ranks = dict(zip(judged[0].example.tolist(), judged[0].ranks.tolist(), strict=True))
    untouched = {row.example: row.score for row in table.itertuples() if row.example < 100}
    assert untouched == {example: ranks[example] for example in range(0, 100, 2)}


def test_searches_of_neurons_judge_what_they_have_searched(judged: list[Judgement]) -> None:
    plain = judged[0]
    searched = np.arange(300) % 3 == 0
    counts = np.arange(100.0) % 7
    arrays = [plain.label, plain.alternative, np.zeros(300)]
    neurons = Judgement(
        plain.example[searched], np.zeros(100, dtype=bool), -counts, *(v[searched] for v in arrays), neurons=True
    )
    without, found = suspects([plain], 5).table, suspects([plain, neurons], 5).table
    rows = {row.example: row for row in found.itertuples()}
    for example, count, place in zip(neurons.example.tolist(), counts.tolist(), neurons.ranks.tolist(), strict=True):
        assert rows[example].neurons == count
        before = without.loc[without["example"] == example, "score"].item()
        assert rows[example].score == pytest.approx((before + place) / 2)
    assert found["neurons"].isna().sum() == 200
    assert neurons.ranks[counts == 0].min() > neurons.ranks[counts == 1].max()  # the fewer, the more suspect


def test_the_share_of_wrong_labels_is_a_share() -> None:
    """With few wrong labels some trainings find none, and the trainings differ by more than the share."""
    draw = np.random.default_rng(2)
    judged = [judgement(draw, draw.integers(0, 5, 200), np.arange(200) < 1, planted) for planted in (0, 10, 10, 10)]
    wrong = suspects(judged, 5).wrong
    assert wrong is not None
    assert min(wrong.each) == 0 < max(wrong.each)
    assert wrong.printed.lo == 0
    assert wrong.printed.hi is not None
    assert wrong.value < wrong.printed.hi < 1
