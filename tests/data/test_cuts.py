"""The held-out sets of C-score trainings: how many, how large, how often each example."""

from __future__ import annotations

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest

from memloc.config import HeldOut
from memloc.data import load, prepare
from memloc.data.cuts import CHUNK, cuts_needed, held_out, held_out_size
from memloc.data.labels import examples_seen, noisy_seen
from memloc.seeds import stream
from tests.stages.conftest import settings


@pytest.mark.parametrize(
    ("n", "ratio"), [(10, 0.3), (10, 0.7), (37, 0.1), (37, 0.5), (37, 0.9), (144, 0.8), (2, 0.5), (3, 0.9)]
)
@pytest.mark.parametrize("times", [1, 2, 7])
def test_every_example_is_held_out_often_enough_and_no_training_is_too_many(n: int, ratio: float, times: int) -> None:
    size, cuts = held_out_size(n, ratio), cuts_needed(n, ratio, times)
    sets = np.array([held_out(n, ratio, cut, 5) for cut in range(cuts)])
    assert (sets.sum(axis=1) == size).all()
    counts = sets.sum(axis=0)
    assert counts.min() >= times
    assert counts.max() - counts.min() <= 1
    assert (cuts - 1) * size < times * n <= cuts * size
    # Whatever was asked for before: the same set.
    for cut in range(cuts):
        held_out.__globals__["_orders"].cache_clear()
        assert (held_out(n, ratio, cut, 5) == sets[cut]).all()


def in_a_line(n: int, size: int, permutations: int, data_seed: int) -> npt.NDArray[np.int64]:
    """Permutations one after the other, in one array. A row that the unfinished cut has already waits until it is full."""
    line: list[int] = []
    for k in range(permutations):
        order = stream(data_seed, "held out", n, size, k).permutation(n).tolist()
        has = set(line[len(line) - len(line) % size :])
        early = [row for row in order if row not in has][: size - len(has)]
        line += (early + [row for row in order if row not in early]) if has else order
    return np.array(line)


@pytest.mark.parametrize(("n", "ratio"), [(10, 0.3), (10, 0.5), (37, 0.1), (37, 0.9), (12, 0.25), (2, 0.5)])
def test_the_cuts_are_what_a_line_of_permutations_says(n: int, ratio: float) -> None:
    """Far out too, where the line is no longer kept whole."""
    size, permutations = held_out_size(n, ratio), 5 * CHUNK
    line = in_a_line(n, size, permutations, 7)
    for cut in (*range(12), *range(permutations * n // size - 40, permutations * n // size)):
        assert np.flatnonzero(held_out(n, ratio, cut, 7)).tolist() == sorted(line[cut * size : (cut + 1) * size])


def test_a_cut_far_out_takes_no_more_memory_than_a_near_one() -> None:
    tracemalloc.start()
    try:
        far = held_out(1000, 0.3, 2**31 - 1, 0)
        assert tracemalloc.get_traced_memory()[1] < 4 * CHUNK * 1000 * 8
    finally:
        tracemalloc.stop()
    assert far.sum() == 700


def test_sizes() -> None:
    assert [held_out_size(50_000, r / 10) for r in range(1, 10)] == [50_000 - 5_000 * r for r in range(1, 10)]
    assert sum(cuts_needed(50_000, r / 10, 20) for r in range(1, 10)) == 23 + 25 + 29 + 34 + 40 + 50 + 67 + 100 + 200
    assert (held_out_size(100, 0.001), held_out_size(100, 0.999)) == (98, 1)


def test_sets_are_drawn_anew_from_every_permutation_and_seed() -> None:
    sets = {held_out(100, 0.5, cut, seed).tobytes() for cut in range(8) for seed in (0, 1)}
    assert len(sets) == 16
    together = np.mean([held_out(100, 0.5, cut, 0)[:2].sum() != 1 for cut in range(400)])
    assert together == pytest.approx(49 / 99, abs=0.08)  # two examples are on one side as often as chance has it


def test_a_training_sees_the_rest_with_the_labels_of_the_whole() -> None:
    raw = load("digits")
    c, whole = settings(subset=120, noise=0.2)
    config = c.model_copy(update={"held_out": HeldOut(ratio=0.7, cut=3)})
    part = prepare(raw, config)
    out = part.held_out
    assert out is not None
    assert (len(part.y), len(out.y)) == (84, 36)
    assert sorted([*part.example, *out.example]) == whole.example.tolist()
    assert (np.diff(part.example) > 0).all()
    labels = dict(zip(whole.example.tolist(), whole.y.tolist(), strict=True))
    for data in (part, out):
        assert [labels[e] for e in data.example] == data.y.tolist()
        assert (raw.x_train[data.example] == data.x).all()
    assert part.noisy.tolist() == (part.y != part.true_label).tolist()
    assert examples_seen(config, raw.description, lambda: raw.y_train).tolist() == part.example.tolist()
    assert noisy_seen(config, raw.description, lambda: raw.y_train) == part.noisy.sum()
    assert 0 < part.noisy.sum() < 24
