"""How a wave is cut into tasks: by hand, and what must hold of any wave."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memloc.run.fanout import LONGEST, PricedPart, cut, least, together


def parts(analysis: str, count: int, seconds: float, shared: float = 0.0) -> list[PricedPart]:
    return [PricedPart(f"{analysis}{i}", analysis, analysis, seconds, shared) for i in range(count)]


def ids(tasks: list[list[PricedPart]]) -> list[list[str]]:
    return [[part.id for part in task] for task in tasks]


def test_a_quarter_of_a_slots_share_longest_first() -> None:
    """16 s on two slots: two seconds a task."""
    found = cut(parts("a", 12, 1.0) + parts("b", 2, 2.0), 2)
    assert sorted(ids(found)) == [[f"a{i}", f"a{i + 1}"] for i in (0, 10, 2, 4, 6, 8)] + [["b0"], ["b1"]]
    found = cut(parts("a", 1, 1.0) + parts("b", 1, 2.0), 2)
    assert ids(found) == [["b0"], ["a0"]]


def test_no_longer_than_is_of_use() -> None:
    assert [len(task) for task in cut(parts("a", 100, LONGEST / 2), 1)] == [2] * 50


def test_as_many_tasks_as_parts_at_most() -> None:
    assert ids(cut(parts("a", 3, 1.0), 1000)) == [["a0"], ["a1"], ["a2"]]
    assert cut([], 2) == []
    assert ids(cut(parts("a", 3, 0.0), 2)) == [["a0", "a1", "a2"]]  # nothing is known of them


def test_what_shares_work_stays_together_where_slots_are_few() -> None:
    """Nine parts of 3 s, of which 1 s is done once: 19 s together."""
    wave = parts("a", 9, 3.0, shared=1.0)
    assert together(wave) == pytest.approx(1 + 9 * 2)
    assert [len(task) for task in cut(wave, 1)] == [9]
    assert [len(task) for task in cut(wave, 2)] == [3, 3, 3]
    assert [len(task) for task in cut(wave, 9)] == [1] * 9
    assert least(wave + parts("b", 2, 5.0)) == pytest.approx(19 + 10)


bunches = st.lists(st.tuples(st.integers(1, 30), st.floats(0.0, 500.0), st.floats(0.0, 0.9)), max_size=4)


@given(bunches, st.integers(1, 64))
def test_of_any_wave(drawn: list[tuple[int, float, float]], slots: int) -> None:
    wave = [p for n, (count, seconds, share) in enumerate(drawn) for p in parts(str(n), count, seconds, seconds * share)]
    tasks = cut(wave, slots)
    assert sorted(part.id for task in tasks for part in task) == sorted(part.id for part in wave)
    assert all(len({part.analysis for part in task}) == 1 for task in tasks)
    lengths = [together(task) for task in tasks]
    assert lengths == sorted(lengths, reverse=True)
    total = sum(part.seconds for part in wave)
    assert least(wave) <= sum(lengths) * (1 + 1e-9) + 1e-9
    assert sum(lengths) <= total * (1 + 1e-9)


def test_no_parts_take_no_time() -> None:
    assert together([]) == 0
    assert together(parts("a", 3, 3.0, shared=1.0)) == 3 * 2 + 1
