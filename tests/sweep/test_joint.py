"""`paired` and `sample`: axes of several fields at once."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from memloc import sweep
from memloc.stages import REGISTRY
from memloc.sweep.joint import WORDS, Choice, Range, sampled
from tests.sweep.test_sweep import DEFAULTS, load, problems, values

BLOCKS = DEFAULTS + "blocks:\n  a: {%s}\n"
DRAWN = "sample: {n: %d, seed: 3, lr: {log: [0.001, 0.3]}, batch_size: {log: [8, 512]}, wrong: [uniform, offset], width: 1}"


# --- paired -----------------------------------------------------------------------------------------------------------


def test_paired_is_one_axis_beside_the_others(tmp_path: Path) -> None:
    text = BLOCKS % "axes: {seed: 0..2, noise: [0.1, 0.2]}, paired: {dataset: [digits, mnist], lr: [0.1, 0.01]}"
    found = values(load(tmp_path, text), "seed", "noise", "dataset", "lr")
    pairs = zip(["digits", "mnist"], [0.1, 0.01], strict=True)
    assert found == [(s, z, *pair) for s, z, pair in itertools.product(range(3), (0.1, 0.2), pairs)]


def test_a_paired_value_may_stand_there_again_and_null_is_a_field_that_is_not_used(tmp_path: Path) -> None:
    dropouts = "paired: {dropout: [none, example_tied, example_tied], p_gen: [null, 0.2, 0.4], p_mem: [null, 0.1, 0.1]}"
    found = values(load(tmp_path, BLOCKS % dropouts), "dropout", "p_gen", "p_mem")
    assert found == [("none", None, None), ("example_tied", 0.2, 0.1), ("example_tied", 0.4, 0.1)]
    lacking = BLOCKS % "paired: {dropout: [none, example_tied], p_gen: [null, null], p_mem: [null, 0.1]}"
    assert [p.partition(";")[0].partition(" (did")[0] for p in problems(tmp_path, lacking)] == [
        "mine.yaml:3:blocks.a.paired.p_gen: null with dropout: example_tied"
    ]


def test_the_command_line_replaces_one_of_the_paired_fields(tmp_path: Path) -> None:
    text = BLOCKS % "paired: {dataset: [digits, mnist, mnist], lr: [0.1, 0.2, 0.3]}"
    assert values(load(tmp_path, text, ["lr=0.5"]), "dataset", "lr") == [("digits", 0.5), ("mnist", 0.5)]
    assert values(load(tmp_path, text, ["lr=[0.5,0.6]", "dataset=digits"]), "dataset", "lr") == [
        ("digits", 0.5),
        ("digits", 0.6),
    ]
    kept = sweep.only(load(tmp_path, text).entries, ["dataset=mnist"], REGISTRY)
    assert [entry.config.lr for entry in kept] == [0.2, 0.3]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("paired: {seed: [0, 1], lr: [0.1]}", "paired.lr: 1 values, and seed has 2; paired fields have equally many"),
        ("paired: {seed: [0, 1, 0], lr: [1, 2, 1]}", "paired.seed.2: the same point as number 0; each point once"),
        ("paired: {seed: 3, lr: [1]}", "paired.seed: 3 is not a non-empty list"),
        ("paired: {sed: [3], lr: [x]}", "paired.sed: unknown field (did you mean 'seed'?)"),
        ("paired: {seed: [0, 1], lr: [1, x]}", "paired.lr.1: 'x' is not valid"),
        ("paired: [1]", "paired: [1] is not a mapping"),
        ("set: {lr: 1}, paired: {seed: [0], lr: [1]}", "paired.lr: stands in `set` too; keep one"),
        ("axes: {seed: [0]}, paired: {seed: [0], lr: [1]}", "paired.seed: stands in `axes` too; keep one"),
        ("paired: {seed: [0], lr: [1]}, sample: {n: 1, lr: [2]}", "sample.lr: stands in `paired` too; keep one"),
        ("paired: {seed: [0, 1], lr: [null, 1]}", "paired.lr.0: null is not valid"),
        ("paired: {p_gen: [0.1], seed: [0]}", "paired.p_gen: used only with dropout: example_tied"),
    ],
)
def test_what_is_wrong_with_paired(tmp_path: Path, body: str, said: str) -> None:
    assert problems(tmp_path, BLOCKS % body)[0].startswith(f"mine.yaml:3:blocks.a.{said}")


# --- sample -----------------------------------------------------------------------------------------------------------


def test_points_are_drawn_beside_the_axes_and_stay_as_n_grows(tmp_path: Path) -> None:
    def drawn(n: int, more: str = "") -> list[tuple[object, ...]]:
        text = BLOCKS % (DRAWN.replace("width: 1", "momentum: {uniform: [0, 0.99]}") % n + more)
        return values(load(tmp_path, text), "lr", "batch_size", "wrong", "momentum")

    points = drawn(20)
    assert len(set(points)) == 20
    assert drawn(7) == points[:7]
    assert drawn(7, ", axes: {seed: [0, 1]}") == points[:7] * 2
    alone = load(tmp_path, BLOCKS % "sample: {seed: 3, lr: {log: [0.001, 0.3]}, n: 20}")
    assert values(alone, "lr") == [(point[0],) for point in points]  # whatever else is drawn, in whatever order
    other = load(tmp_path, BLOCKS % "sample: {n: 20, lr: {log: [0.001, 0.3]}}")
    assert not set(values(other, "lr")) & set(values(alone, "lr"))  # the seed is 0 if none is given


def test_the_draws_are_these_on_every_machine() -> None:
    draws = {
        "lr": Range("log", 0.001, 0.3, False),
        "momentum": Range("uniform", 0.0, 1.0, False),
        "batch_size": Range("log", 8, 512, True),
        "seed": Range("uniform", 0, 2**62, True),
        "wrong": Choice(("uniform", "offset")),
    }
    assert sampled(3, 0, draws).points == PINNED


def test_the_command_line_replaces_a_field_of_a_sample(tmp_path: Path) -> None:
    text = BLOCKS % "sample: {n: 4, lr: {log: [0.001, 0.3]}, wrong: [uniform, offset]}"
    assert values(load(tmp_path, text, ["lr=0.5"]), "lr", "wrong") in (
        [(0.5, "uniform"), (0.5, "offset")],
        [(0.5, "offset"), (0.5, "uniform")],
    )
    assert values(load(tmp_path, text, ["lr=0.5", "wrong=offset"]), "lr", "wrong") == [(0.5, "offset")]


@pytest.mark.parametrize(
    ("kind", "cumulative"),
    [
        (Range("log", 0.001, 0.3, False), lambda x: np.log(np.asarray(x) / 0.001) / math.log(300)),
        (Range("uniform", -2.0, 3.0, False), lambda x: (np.asarray(x) + 2) / 5),
    ],
)
def test_real_numbers_have_their_distribution(kind: Range, cumulative: object) -> None:
    points = [x for (x,) in sampled(4000, 1, {"lr": kind}).points]
    assert stats.kstest(points, cumulative).pvalue > 0.01


def test_whole_numbers_and_choices_have_their_distribution() -> None:
    n = 6000
    words = np.random.default_rng(0).integers(0, WORDS, size=n, dtype=np.uint64)
    for kind, shares in (
        (Range("uniform", 3, 7, True), [1 / 5] * 5),
        (Range("log", 1, 6, True), [math.log((k + 0.5) / (k - 0.5)) / math.log(6.5 / 0.5) for k in range(1, 7)]),
        (Choice(("a", "b", "c")), [1 / 3] * 3),
    ):
        drawn = [kind.draw(int(word)) for word in words]
        counts = [drawn.count(value) for value in sorted(set(drawn))]
        assert stats.chisquare(counts, [n * share for share in shares]).pvalue > 0.01


NUMBERS = st.floats(1e-6, 1e6)


@given(first=NUMBERS, width=NUMBERS, word=st.integers(0, WORDS - 1), log=st.booleans())
def test_a_draw_is_between_its_ends_as_floating_point_has_it(first: float, width: float, word: int, log: bool) -> None:
    last, share = first + width, word / WORDS
    drawn = Range("log" if log else "uniform", first, last, False).draw(word)
    assert first <= drawn <= last
    expected = first * (last / first) ** share if log else first + share * width
    assert math.isclose(drawn, expected, rel_tol=1e-5)


@given(first=st.integers(1, 10**6), width=st.integers(1, 10**6), word=st.integers(0, WORDS - 1), log=st.booleans())
def test_a_whole_draw_is_between_its_ends_and_both_are_reached(first: int, width: int, word: int, log: bool) -> None:
    kind = Range("log" if log else "uniform", first, first + width, True)
    drawn = kind.draw(word)
    assert isinstance(drawn, int)
    assert kind.draw(0) == first <= drawn <= first + width == kind.draw(WORDS - 1)


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ("{lr: {log: [0.1, 1]}}", "sample.n: required; valid: a whole number >= 1 and < 100001, how many points are drawn"),
        ("{n: 0, lr: {log: [0.1, 1]}}", "sample.n: 0 is not valid; valid: a whole number >= 1"),
        ("{n: 2.5, lr: {log: [0.1, 1]}}", "sample.n: 2.5 is not valid"),
        ("{n: 2, seed: [0, 1], lr: [1]}", "sample.seed: [0, 1] is not valid; valid: a whole number >= 0"),
        ("{n: 2}", "sample: no field to draw; write FIELD: {uniform: [first, last]}"),
        ("{n: 2, sed: [1]}", "sample.sed: unknown field (did you mean 'seed'?)"),
        ("{n: 2, lr: {lin: [0, 1]}}", "sample.lr: {lin: [0, 1]} is not valid; valid: {uniform: [first, last]}"),
        ("{n: 2, lr: {log: [0.1]}}", "sample.lr: {log: [0.1]} is not valid"),
        ("{n: 2, lr: {log: [0.1, 1], uniform: [0, 1]}}", "sample.lr: {log: [0.1, 1], uniform: [0, 1]} is not valid"),
        ("{n: 2, lr: {log: [1, 0.1]}}", "sample.lr: [1, 0.1] is no range; the first number is below the last"),
        ("{n: 2, noise: {log: [0, 0.1]}}", "sample.noise: 0 has no logarithm; `log` begins above 0"),
        ("{n: 2, noise: {uniform: [0, 2]}}", "sample.noise: 2 is not valid; valid: a number >= 0 and <= 1"),
        ("{n: 2, epochs: {log: [1, 9.5]}}", "sample.epochs: 9.5 is not valid; valid: a whole number"),
        ("{n: 2, wrong: {log: [1, 9]}}", "sample.wrong: wrong takes uniform, offset: no numbers to draw; write a list"),
        ("{n: 2, wrong: [uniform, of]}", "sample.wrong.1: 'of' is not valid"),
        ("{n: 2, wrong: []}", "sample.wrong: [] is not valid"),
        ("{n: 2, lr: 0.1}", "sample.lr: 0.1 is not valid; valid: {uniform: [first, last]}"),
        ("{n: 2, p_gen: [0.1]}", "sample.p_gen: used only with dropout: example_tied"),
    ],
)
def test_what_is_wrong_with_a_sample(tmp_path: Path, sample: str, said: str) -> None:
    assert problems(tmp_path, BLOCKS % f"sample: {sample}")[0].startswith(f"mine.yaml:3:blocks.a.{said}")


PINNED: list[tuple[object, ...]] = [
    (0.00169312, 0.306227, 20, 2612901844732809591, "offset"),
    (0.0128276, 0.885957, 29, 983991620027392584, "offset"),
    (0.0344505, 0.793032, 22, 3725473550221842201, "uniform"),
]
