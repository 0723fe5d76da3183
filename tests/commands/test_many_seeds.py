"""A dry run of many seeds: each further seed costs as much as the one before, and adds little memory.

Work is counted in calls of functions, not in seconds: equal on every machine.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memloc.commands import forecast
from memloc.run.cost import Rate
from tests.commands.test_query import run
from tests.counting import calls

SWEEP = """
blocks:
  all:
    set: {{dataset: digits, model: resnet9, width: 0.0625, subset: 100, noise: 0.1, epochs: 2, lr: {lr}}}
    axes: {{seed: 0..{last}}}
    stages: {{rewind: {{}}, flips: {{clean: 60, noisy: 10, group_size: 2}}, evaluate: {{}}}}
"""


@pytest.fixture
def look(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Looks at so many seeds. No two looks have a training in common, so neither finds the other's in a cache."""
    monkeypatch.setattr(forecast, "timed", lambda *_: Rate(1e-3, "given"))
    looks = iter(range(1, 100))

    def look(seeds: int) -> None:
        path = tmp_path / "many.yaml"
        path.write_text(SWEEP.format(lr=next(looks) / 1000, last=seeds - 1))
        code, out, _ = run(
            capfd, monkeypatch, "sweep", str(path), "--dry-run", "--cpus", "2", "--store", str(tmp_path / "s")
        )
        assert code == 0
        assert f"{seeds} trials, 0 done; to do: {seeds} trainings, {38 * seeds:,} parts" in out

    look(2)  # what is imported and read once
    return look


def test_work_grows_with_the_number_of_seeds_and_no_faster(look: Callable[[int], None]) -> None:
    """From 25 to 50 seeds, and from 50 to 100: twice as much again. A quadratic step alone would make it four times."""
    counts = {seeds: calls(lambda seeds=seeds: look(seeds)) for seeds in (25, 50, 100)}  # type: ignore[misc]
    assert counts[100] - counts[50] == pytest.approx(2 * (counts[50] - counts[25]), rel=0.1)


@pytest.mark.slow  # every allocation is traced; the work of a further seed is counted in `make test`
def test_a_further_seed_takes_little_memory(look: Callable[[int], None]) -> None:
    """With 38 parts, of which each has an id, an entry in the list of what is to do, and nothing else."""
    peaks = {seeds: min(_peak(lambda seeds=seeds: look(seeds)) for _ in range(2)) for seeds in (50, 150)}  # type: ignore[misc]
    assert (peaks[150] - peaks[50]) / 100 < 15_500


def _peak(work: Callable[[], Any]) -> int:
    """Bytes at most, with all garbage: how much of it the collector leaves depends on what the process did before.

    A cache of the process that has to grow just now makes it more by as much as is in the cache. So ask twice.
    """
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        gc.enable()
