"""Sweeps at their bounds: axes of a billion seeds, stages that make a billion trainings, the largest seed."""

from __future__ import annotations

from pathlib import Path

import pytest

from memloc import sweep
from memloc.errors import UsageError
from memloc.stages import REGISTRY
from memloc.sweep import Sweep, loading
from memloc.sweep.block import product
from memloc.sweep.expand import MOST_FAILED, Expansion
from tests.sweep.test_front_door import HEAD

SEEDS = 2**63
MILLION = 1_000_000


def load(folder: Path, blocks: str, *overrides: str, first: int | None = None, many: bool = False) -> Sweep:
    (folder / "mine.yaml").write_text(HEAD + f"blocks: {blocks}\n")
    return sweep.load(folder / "mine.yaml", REGISTRY, overrides, many=many, first=first)


def problem_of(folder: Path, blocks: str, *overrides: str, first: int | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        load(folder, blocks, *overrides, first=first)
    (problem,) = caught.value.problems
    return problem.replace(str(folder) + "/", "")


@pytest.mark.parametrize("last", [10**9, SEEDS - 1])
def test_the_first_trials_of_an_axis_that_fits_in_no_memory(tmp_path: Path, last: int) -> None:
    loaded = load(tmp_path, "{a: {axes: {noise: [0.1, 0.2]}}}", f"seed=0..{last}", first=3)
    assert [(e.config.noise, e.config.seed) for e in loaded.entries] == [(0.1, 0), (0.1, 1), (0.1, 2)]
    assert loaded.notes == (f"{2 * (last + 1):,} trials; only the first 3 were looked at",)
    assert problem_of(tmp_path, "{a: {}}", f"seed=0..{last}") == (
        f"mine.yaml: {last + 1:,} trials; more than 100,000 need --yes"
    )


def test_combinations_are_those_of_itertools() -> None:
    assert list(product([])) == [()]
    assert list(product([[1, 2], []])) == []
    assert list(product(["ab", range(2), "c"])) == [("a", 0, "c"), ("a", 1, "c"), ("b", 0, "c"), ("b", 1, "c")]


def test_a_problem_of_every_combination_ends(tmp_path: Path) -> None:
    """Every training misses p_gen. The limit of three trainings is never reached."""
    blocks = "{a: {set: {dropout: example_tied, p_mem: 0.1}}}"
    resolved: list[int] = []
    resolve = Expansion._resolved
    with pytest.MonkeyPatch.context() as counting:
        counting.setattr(Expansion, "_resolved", lambda *arguments: resolved.append(1) or resolve(*arguments))
        problem = problem_of(tmp_path, blocks, f"seed=0..{MILLION}", first=3)
    assert problem.startswith("mine.yaml:2:blocks.a.p_gen: required")
    assert len(resolved) == MOST_FAILED < MILLION / 10


HELD_OUT = "{a: {stages: {held_out: {ratios: [0.5]}}}}"


def test_a_stage_that_asks_for_a_billion_trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "MANY", 8)
    few = "held_out.min_held_out=4"  # 898 of 1797 examples see a training, so 9 trainings are needed
    billion = f"held_out.min_held_out={10**9}"
    assert problem_of(tmp_path, HELD_OUT, billion) == "mine.yaml: more than 8 trials, which need --yes"
    assert problem_of(tmp_path, HELD_OUT, few.replace("4", "5")) == "mine.yaml: more than 8 trials, which need --yes"
    assert len(load(tmp_path, HELD_OUT, few).entries) <= 8
    eight = HELD_OUT.replace("{a: {", "{a: {axes: {noise: [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]}, ")
    assert problem_of(tmp_path, eight, few) == "mine.yaml: more than 8 trials, which need --yes"
    loaded = load(tmp_path, HELD_OUT, billion, first=3)
    assert [e.config.held_out.cut for e in loaded.entries if e.config.held_out] == [0, 1, 2]
    assert loaded.notes == ("more than 8 trials; only the first 3 were looked at",)


def test_every_cut_has_a_seed_that_a_table_holds(tmp_path: Path) -> None:
    cuts = len(load(tmp_path, HELD_OUT).entries)
    assert load(tmp_path, HELD_OUT, f"seed={SEEDS - cuts}").entries[-1].config.seed == SEEDS - 1
    assert problem_of(tmp_path, HELD_OUT, f"seed={SEEDS - cuts + 1}") == (
        f"mine.yaml:2:blocks.a.stages.held_out.min_held_out: its {cuts} cuts have the seeds from {SEEDS - cuts + 1} on; "
        f"valid: a seed of at most {SEEDS - cuts}"
    )
    too_many = "{a: {stages: {held_out: {ratios: [0.99], min_held_out: 2000000000}}}}"
    assert "a table counts no more than 2147483648" in problem_of(tmp_path, too_many)


def test_a_small_sweep_is_looked_at_whole(tmp_path: Path) -> None:
    assert len(load(tmp_path, "{a: {axes: {seed: 0..4}}}", first=3).entries) == 5
    assert Expansion(REGISTRY, [], shortened=False).limit is None
