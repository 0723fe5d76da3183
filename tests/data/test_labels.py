"""Label noise and subsets, against counts by hand and scipy's chi-square."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from memloc.config import DataConfig, HeldOut
from memloc.data import load, prepare
from memloc.data.catalogue import ByName
from memloc.data.labels import noisy_count, noisy_seen, noisy_set, stratified_subset, wrong_labels
from memloc.errors import UsageError

N = 20_000


def data_part(**fields: Any) -> DataConfig:
    return DataConfig(source=ByName(dataset="digits"), **fields)


EXAMPLES = np.arange(N)
TRUE = np.arange(N) % 10


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.123, 0.5, 1.0])
@pytest.mark.parametrize("n", [1, 7, 100, 1437])
def test_exactly_round_noise_n_examples(noise: float, n: int) -> None:
    assert noisy_set(np.arange(n), noise, 0).sum() == round(noise * n)


@pytest.mark.parametrize("wrong", ["uniform", "offset"])
def test_never_the_true_label_and_uniform_over_the_others(wrong: str) -> None:
    y = wrong_labels(EXAMPLES, TRUE, 10, wrong, 0)
    assert (y != TRUE).all()
    assert y.min() == 0
    assert y.max() == 9
    shift = np.bincount((y - TRUE) % 10, minlength=10)
    allowed = shift[1:] if wrong == "uniform" else shift[1:9]
    assert stats.chisquare(allowed).pvalue > 1e-3
    assert allowed.sum() == N  # offset never gives y − 1
    # Uniform within each class too, not only in the mean over classes.
    for c in range(10):
        counts = np.bincount((y[c == TRUE] - c) % 10, minlength=10)[1 : 10 if wrong == "uniform" else 9]
        assert stats.chisquare(counts).pvalue > 1e-4


def test_two_classes() -> None:
    assert (wrong_labels(EXAMPLES, TRUE % 2, 2, "uniform", 0) == 1 - TRUE % 2).all()


def test_which_examples_are_noisy_is_uniform_and_nested() -> None:
    ten, twenty = noisy_set(EXAMPLES, 0.1, 0), noisy_set(EXAMPLES, 0.2, 0)
    assert (twenty[ten]).all()
    assert stats.chisquare(ten.reshape(20, -1).sum(axis=1)).pvalue > 1e-3
    other = noisy_set(EXAMPLES, 0.1, 1)
    assert abs((ten & other).sum() - 0.01 * N) < 4 * np.sqrt(0.01 * N)


def test_labels_hang_on_data_seed_alone() -> None:
    raw = load("digits")
    a, b = (prepare(raw, data_part(noise=0.2, data_seed=s)) for s in (0, 0))
    c = prepare(raw, data_part(noise=0.2, data_seed=1))
    assert (a.y == b.y).all()
    assert (a.y != c.y).any()
    assert (a.noisy == (a.y != a.true_label)).all()
    assert (a.true_label == raw.y_train).all()


def test_an_example_keeps_its_wrong_label_in_a_larger_noise_rate() -> None:
    raw = load("digits")
    small, large = (prepare(raw, data_part(noise=r)) for r in (0.1, 0.3))
    assert (small.y[small.noisy] == large.y[small.noisy]).all()


@pytest.mark.parametrize("size", [10, 11, 100, 777, 1437])
def test_stratified_subset(size: int) -> None:
    labels = load("digits").y_train
    chosen = stratified_subset(labels, size, 0)
    assert len(set(chosen.tolist())) == len(chosen) == size
    assert (np.diff(chosen) > 0).all()
    exact = np.bincount(labels) * size / len(labels)
    assert (np.abs(np.bincount(labels[chosen], minlength=10) - exact) < 1).all()


def test_largest_remainders_by_hand() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [2])
    # 6 of 10: quotas 3.6, 1.8, 0.6; floors 3, 1, 0; the two left go to remainder 0.8, then to the lower class of the 0.6s.
    assert np.bincount(labels[stratified_subset(labels, 6, 0)], minlength=3).tolist() == [4, 2, 0]
    # 4 of 10: quotas 2.4, 1.2, 0.4; floors 2, 1, 0; the one left goes to the lower class of the 0.4s.
    assert np.bincount(labels[stratified_subset(labels, 4, 0)], minlength=3).tolist() == [3, 1, 0]


def test_subset_first_then_noise_and_example_is_the_original_index() -> None:
    raw = load("digits")
    data = prepare(raw, data_part(subset=200, noise=0.1, data_seed=3))
    assert data.noisy.sum() == 20
    assert (raw.x_train[data.example] == data.x).all()
    assert (raw.y_train[data.example] == data.true_label).all()


def test_a_subset_of_the_test_images() -> None:
    """Every class in proportion, each image at most once; the same images for every seed of the data and every subset."""
    raw = load("digits")
    data = prepare(raw, data_part(test_subset=120, data_seed=3))
    other = prepare(raw, data_part(test_subset=120, data_seed=4, subset=200, noise=0.1))
    assert data.x_test.tobytes() == other.x_test.tobytes()
    assert len(data.x) == len(raw.x_train)
    counts = np.bincount(raw.y_test)
    assert (np.abs(np.bincount(data.y_test) - counts * 120 / 360) < 1).all()
    there = {(x.tobytes(), int(y)) for x, y in zip(raw.x_test, raw.y_test, strict=True)}
    taken = {(x.tobytes(), int(y)) for x, y in zip(data.x_test, data.y_test, strict=True)}
    assert len(taken) == 120
    assert taken < there


def test_misfits() -> None:
    raw = load("digits")
    for size in (9, 361):
        with pytest.raises(UsageError, match=f"test_subset: {size} is not valid; valid: 10 .one per class. to 360"):
            prepare(raw, data_part(test_subset=size))
    with pytest.raises(UsageError, match="test_subset: 10 is not valid; valid: null: there are no test images"):
        prepare(dataclasses.replace(raw, x_test=raw.x_test[:0], y_test=raw.y_test[:0]), data_part(test_subset=10))
    for subset in (9, 1438):
        with pytest.raises(UsageError, match=f"subset: {subset} is not valid; valid: 10 .one per class. to 1437"):
            prepare(raw, data_part(subset=subset, noise=0.1))


@pytest.mark.parametrize(
    ("subset", "wrong", "pinned"), [(None, "uniform", "036c40c2faf3906d"), (200, "offset", "786dee153f92be42")]
)
def test_todays_labels_are_pinned(subset: int | None, wrong: str, pinned: str) -> None:
    """Other labels under the same id would mix two experiments: then raise the training's version."""
    data = prepare(load("digits"), data_part(subset=subset, noise=0.1, wrong=wrong))
    columns = np.stack([data.example, data.y, data.noisy]).astype(np.int64)
    assert hashlib.sha256(columns.tobytes()).hexdigest()[:16] == pinned


def test_offset_needs_three_classes() -> None:
    raw = load("digits")
    two = dataclasses.replace(raw, y_train=raw.y_train % 2, y_test=raw.y_test % 2, classes=2)
    with pytest.raises(UsageError, match="wrong: offset needs at least 3 classes; valid here: uniform"):
        prepare(two, data_part(noise=0.1, wrong="offset"))
    assert not prepare(two, data_part(noise=0.0, wrong="offset")).noisy.any()


def test_which_examples_a_subset_takes_is_uniform_within_a_class() -> None:
    labels = np.zeros(200, dtype=np.int64)
    taken = sum(np.bincount(stratified_subset(labels, 50, seed), minlength=200) for seed in range(400))
    assert taken.sum() == 50 * 400
    # Without replacement: the variance of each count is 400·¼·¾, and the counts of a draw sum to 50.
    statistic = ((taken - 100) ** 2).sum() / (400 * 0.25 * 0.75) * 199 / 200
    assert 1e-3 < stats.chi2(199).sf(statistic) < 1 - 1e-3


@pytest.mark.parametrize(("n", "noise"), [(1437, 0.1), (50, 0.25), (100, 0.29), (73257, 0.05), (7, 0.0), (7, 1.0)])
def test_rounded_down(n: int, noise: float) -> None:
    """Exactly ⌊noise·n⌋ of the same examples, in whole hundredths: 0.29·100 is 28.999… in binary floating point."""
    wanted = round(noise * 100) * n // 100
    assert noisy_count(n, noise, "floor") == wanted
    floor, rounded = (noisy_set(np.arange(n), noise, 3, count) for count in ("floor", "round"))
    assert floor.sum() == wanted
    assert rounded.sum() - floor.sum() == round(noise * n) - wanted
    assert not (floor & ~rounded).any()


def test_rounding_down_reaches_the_data() -> None:
    raw = load("digits")  # 1437 examples: 143.7 of them
    counts = [prepare(raw, data_part(noise=0.1, noise_count=c)).noisy.sum() for c in ("floor", "round")]
    assert counts == [143, 144]


def test_a_seed_of_its_own_for_the_noise_leaves_the_subset() -> None:
    """The wrong labels are those of a data_seed of that number; which examples there are is not their matter."""
    raw = load("digits")
    plain = prepare(raw, data_part(noise=0.2, subset=200))
    own = prepare(raw, data_part(noise=0.2, subset=200, noise_seed=7))
    assert own.example.tolist() == plain.example.tolist()
    assert (own.noisy != plain.noisy).any()
    assert own.noisy.sum() == plain.noisy.sum() == 40
    whole, seeded = (prepare(raw, data_part(noise=0.2, **fields)) for fields in ({"noise_seed": 7}, {"data_seed": 7}))
    assert whole.y.tolist() == seeded.y.tolist()
    for held, subset in itertools.product((None, HeldOut(ratio=0.5, cut=1)), (None, 400)):
        config = data_part(noise=0.2, noise_seed=7, held_out=held, subset=subset)
        assert noisy_seen(config, raw.description, lambda: raw.y_train) == prepare(raw, config).noisy.sum()
