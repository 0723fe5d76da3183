"""Keyed streams: the same key, the same draws; another key, independent ones."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from memloc.seeds import _mix, below, hashed, stream, torch_seed, uniform


def test_streams_are_named_by_all_of_their_key() -> None:
    keys = [(0, "a"), (1, "a"), (0, "b"), (0, "a", 1), (0, "a", "1"), (0, "a", 1, 2), (0, "a", 12)]
    draws = [tuple(stream(*key).integers(0, 2**62, 4)) for key in keys]
    assert len(set(draws)) == len(keys)
    assert draws == [tuple(stream(*key).integers(0, 2**62, 4)) for key in keys]
    assert len({torch_seed(*key) for key in keys}) == len(keys)
    assert all(0 <= torch_seed(*key) < 2**63 for key in keys)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_a_hash_does_not_depend_on_its_company(counters: list[int], random: object) -> None:
    alone = [int(hashed(3, "x", i=c)) for c in counters]
    assert list(hashed(3, "x", i=counters)) == alone
    assert list(hashed(3, "x", i=counters[::-1]))[::-1] == alone


def test_hashes_are_uniform_and_pairs_independent() -> None:
    u = uniform(hashed(0, "test", i=np.arange(400)[:, None], j=np.arange(250)[None, :]))
    assert u.min() >= 0
    assert u.max() < 1
    assert stats.kstest(u.ravel(), "uniform").pvalue > 1e-3
    for other in (u[:, 1:].ravel(), u[:, :-1].ravel()):
        assert len(other) == 400 * 249
    assert abs(np.corrcoef(u[:, 1:].ravel(), u[:, :-1].ravel())[0, 1]) < 4 / np.sqrt(400 * 249)
    assert abs(np.corrcoef(u[1:].ravel(), u[:-1].ravel())[0, 1]) < 4 / np.sqrt(399 * 250)
    across = uniform(hashed(0, "other test", i=np.arange(400)[:, None], j=np.arange(250)[None, :]))
    assert abs(np.corrcoef(u.ravel(), across.ravel())[0, 1]) < 4 / np.sqrt(400 * 250)


def test_below_is_uniform_over_its_range() -> None:
    counts = np.bincount(below(hashed(1, "below", i=np.arange(70_000)), 7), minlength=7)
    assert len(counts) == 7
    assert stats.chisquare(counts).pvalue > 1e-3


def test_no_two_counters_collide() -> None:
    words = hashed(0, "collisions", i=np.arange(1000)[:, None], j=np.arange(300)[None, :])
    assert len(np.unique(words)) == words.size


def test_the_mixer_is_splitmix64() -> None:
    """The first outputs of Vigna's reference implementation for seed 0: the mixer of 1, 2, 3 golden increments."""
    state = np.arange(1, 4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert [int(word) for word in _mix(state)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_todays_draws_are_pinned() -> None:
    """Another draw under the same key changes results without changing an id: then raise the stages' versions."""
    assert stream(0, "p", 1, "a").integers(0, 2**62, 2).tolist() == [667901942630272933, 2146977333682317762]
    assert torch_seed(0, "p", 1, "a") == 6692112125093059695
    words = hashed(0, "p", 1, "a", i=[0, 1, 2**40], j=[0, 5, 7])
    assert [int(w) for w in words] == [0xC2905E628CDB38AF, 0xF8DDDE342CAC17E8, 0x906683D45424635F]


def test_no_global_generator_is_touched() -> None:
    before = np.random.get_state(legacy=False), torch.get_rng_state()
    stream(0, "x").random(5)
    hashed(0, "x", i=range(5))
    torch.Generator().manual_seed(torch_seed(0, "x"))
    assert str(np.random.get_state(legacy=False)) == str(before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
