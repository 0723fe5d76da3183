"""From which epoch a training can go on, by the names of its files alone."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from memloc.store import layout
from memloc.store.resumable import reached_epoch, surplus_states, usable_states

T = "a" * 16


def state(epoch: int, numerics: str = "here") -> str:
    return layout.resume_state(T, epoch, numerics, b"content")


def files(checkpoints: Collection[int], *states: str, trial: str = T) -> set[str]:
    return {*(layout.checkpoint(trial, t) for t in checkpoints), *states}


@pytest.mark.parametrize(
    ("paths", "needed", "reached"),
    [
        (files(range(4), state(3)), {0, 1, 2, 3, 4, 5}, 3),
        (files(range(8), state(3)), {7}, 3),  # a later checkpoint says nothing
        (files([3], state(3)), (), 3),
        (files([3], state(3)), {3, 5}, 3),
        (files([0, 2, 3], state(3)), {0, 1}, 0),  # epoch 1 is gone, and whoever goes on would not write it
        (files([0, 1, 2], state(3)), (), 0),  # the state's own weights are gone
        (files(range(4), state(3), state(2)), (), 3),
        (files(range(3), state(3), state(2)), (), 2),
        (files(range(4)), (), 0),
        (files(range(4), state(3).replace(T, "b" * 16)), (), 0),  # another training's
        (files(range(4), state(3, "elsewhere")), (), 0),
        (files(range(4), state(3, "elsewhere"), state(1)), (), 1),
    ],
)
def test_by_the_names_of_files(paths: set[str], needed: Collection[int], reached: int) -> None:
    assert reached_epoch(T, paths, needed, "here") == reached
    assert usable_states(T, paths, needed, "here")[:1] == ([(reached, state(reached))] if reached else [])


def test_where_it_will_run_is_not_known() -> None:
    """Then any state may be usable."""
    assert reached_epoch(T, files(range(4), state(3, "elsewhere"))) == 3


@pytest.mark.parametrize("newest", [3, 9_999, 10_000, 100_000])
def test_the_newest_state_is_the_one_that_stays(newest: int) -> None:
    """By its epoch: as a text, resume-10000 comes before resume-9999."""
    older = [state(epoch) for epoch in (0, 2, newest - 1)]
    assert sorted(surplus_states({*files([newest], state(newest)), *older})) == sorted(set(older))
    assert surplus_states({layout.checkpoint(T, 1), state(1)}) == surplus_states(()) == []
