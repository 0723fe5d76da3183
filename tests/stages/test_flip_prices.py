"""What neuron flipping costs, before it runs: as much as the examples that are searched, whatever a group could hold."""

from __future__ import annotations

import pytest

from memloc.models.architectures import resolved
from memloc.stages.base import Size
from memloc.stages.flips.config import STAGE, FlipsConfig

SIZE = Size(n=1000, n_noisy=100, n_test=500, parameters=10_000, groups=("a", "b"), classes=10)
TRAIN = resolved(dataset="digits", model="resnet9")


def totals(**fields: int) -> tuple[int, float, int]:
    """(parts, passes of all parts, rows of all parts)."""
    config = STAGE.resolve(FlipsConfig(**fields), TRAIN)
    parts = len(STAGE.parts(config, TRAIN, SIZE))
    return parts, parts * STAGE.passes(config, SIZE), parts * STAGE.rows(config, SIZE)["flips"]


@pytest.mark.parametrize(
    ("fields", "parts", "searched"),
    [
        ({"clean": 4, "noisy": 4}, 1, 8),  # fewer than a group holds
        ({"clean": 16, "noisy": 16}, 1, 32),
        ({"clean": 20, "noisy": 20}, 2, 40),  # 32 and 8
        ({"clean": 20, "noisy": 20, "group_size": 8}, 5, 40),
        ({"clean": 2000, "noisy": 2000, "group_size": 100}, 10, 1000),  # all that there are
        ({"clean": 20, "noisy": 20, "repeats": 3}, 6, 120),
    ],
)
def test_the_price_is_that_of_the_examples_that_are_searched(fields: dict[str, int], parts: int, searched: int) -> None:
    one = totals(clean=1, noisy=0)[1]
    count, passes, rows = totals(**fields)
    assert count == parts
    assert passes == pytest.approx(searched * one)
    assert rows == searched


def test_no_example_is_searched_where_there_is_none() -> None:
    config = STAGE.resolve(FlipsConfig(clean=0, noisy=5), TRAIN)
    empty = Size(n=10, n_noisy=0, n_test=5, parameters=10, groups=("a",), classes=2)
    assert len(STAGE.parts(config, TRAIN, empty)) == 1
    assert (STAGE.passes(config, empty), STAGE.rows(config, empty)) == (0.0, {"flips": 0})
