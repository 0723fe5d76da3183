"""Which commits readers show, and in which order, against a plain look at every commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from memloc.store import Commit, index, index_check
from memloc.store.columns import Words
from memloc.store.completeness import shown
from memloc.store.index import IndexedCommits
from memloc.store.index_columns import IndexColumns
from memloc.store.shown import Shown

CONFIGS = [{"x": 1}, {"x": 1.0}, {"x": 2}]  # the first two say the same in other texts


def indexed(commits: Sequence[Commit]) -> IndexedCommits:
    """The commits as an index has them, in two row groups."""
    words, half = Words(), len(commits) // 2
    groups = [
        index_check.checked(index.rows_of([(c, c.encode(), ()) for c in some]).select(index.COLUMNS), [], words)
        for some in (commits[:half], commits[half:])
    ]
    return IndexedCommits(IndexColumns(groups, words, []), lambda row, path: commits[row])  # type: ignore[arg-type]


@st.composite
def stores(draw: st.DrawFn) -> tuple[list[Commit], list[Commit]]:
    """(commits that a generation covers, commits with files of their own): odd ones among them, and of one part several."""
    trials = [f"{n:016x}" for n in draw(st.sets(st.integers(0, 2)))]
    commits = [Commit(trial, trial, None, "train", {"data": "d"}, 0, 1, {"seed": 1}) for trial in trials]
    rarely = st.sampled_from([0, 0, 0, 0, 1])
    drawn = st.tuples(rarely, st.integers(0, 2), st.sampled_from([2, 2, 2, 3]), rarely, st.integers(0, 2), rarely)
    for n, (analysis, nth, of, trial, config, reads) in enumerate(draw(st.lists(drawn, min_size=2, max_size=8))):
        part_id = f"{draw(st.integers(16, 2**62)):012x}"[:12].rjust(12, "f") + f"{n:04x}"
        commits.append(
            Commit(
                part_id, f"{trial:016x}", f"{analysis + 7:016x}", "flips", {"nth": nth}, min(nth, of - 1), of,
                CONFIGS[config], ("0" * 16,) if reads else (), seconds=float(n), ended=1.5,
            )
        )  # fmt: skip
    covered = {c.id for c in commits if draw(st.booleans())}
    in_order = sorted((c for c in commits if c.id in covered), key=index.order)
    return in_order, sorted((c for c in commits if c.id not in covered), key=lambda c: c.id)


def plain(commits: Sequence[Commit], partial: bool) -> list[Commit]:
    """What readers show, told commit by commit."""
    trainings = sorted((c for c in commits if c.analysis is None), key=lambda c: c.trial)
    parts = [c for c in commits if c.analysis is not None]
    if partial:
        return trainings + sorted(parts, key=lambda c: (c.trial, str(c.analysis), c.nth))
    found: list[Commit] = []
    for analysis in {c.analysis for c in parts}:
        alike: list[list[Commit]] = []
        for part in sorted((c for c in parts if c.analysis == analysis), key=lambda c: c.id):
            own = next((group for group in alike if says(group[0]) == says(part)), None)
            if own is None:
                alike.append(own := [])
            if part.nth not in [c.nth for c in own]:
                own.append(part)
        whole_ones = [group for group in alike if len(group) == group[0].of]
        if whole_ones and any(whole_ones[0][0].trial == c.trial for c in trainings):
            found += whole_ones[0]
    return trainings + sorted(found, key=lambda c: (c.trial, str(c.analysis), c.nth))


def says(commit: Commit) -> tuple[Any, ...]:
    return commit.trial, commit.stage, commit.of, commit.reads, commit.config


@settings(deadline=None, derandomize=True, max_examples=60)
@given(stores())
def test_what_is_shown(store: tuple[list[Commit], list[Commit]]) -> None:
    covered, loose = store
    every = Shown.every(indexed(covered) if covered else None, loose)
    assert list(every) == covered + loose
    for partial in (False, True):
        assert [c.id for c in shown(every, partial)] == [c.id for c in plain(covered + loose, partial)]


@settings(deadline=None, derandomize=True, max_examples=15)
@given(stores())
def test_columns_say_what_commits_say(store: tuple[list[Commit], list[Commit]]) -> None:
    covered, loose = store
    commits = covered + loose
    every = Shown.every(indexed(covered) if covered else None, loose)
    for name in index.SAID:
        assert every.said(name) == [getattr(c, name) for c in commits], name
    assert every.array("trial").tolist() == [int(c.trial, 16) for c in commits]
    assert every.array("analysis").tolist() == [int(c.analysis or "0", 16) for c in commits]
    assert every.trainings() == [c for c in commits if c.analysis is None]
    one, other = f"{0:016x}", f"{8:016x}"
    assert every.of_trials([one]) == [c for c in commits if c.trial == one]
    assert every.of_trials([one], [other]) == [c for c in commits if c.trial == one and c.analysis in (None, other)]
    assert every.without_trials([one]) == [c for c in commits if c.trial != one]
    assert every[1:] == commits[1:]
    assert every.at(np.arange(len(commits))[::-1]) == commits[::-1]


def test_a_part_of_its_own_that_says_other_things_of_its_analysis() -> None:
    """It is no part of the one that a generation has, so this one is not complete."""
    trial = "a" * 16
    training = Commit(trial, trial, None, "train", {}, 0, 1, {})
    for config, whole in ((CONFIGS[1], True), (CONFIGS[2], False)):
        parts = [Commit(f"{n:016x}", trial, "b" * 16, "flips", {"nth": n}, n, 3, CONFIGS[0]) for n in range(2)]
        other = Commit("f" * 16, trial, "b" * 16, "flips", {"nth": 2}, 2, 3, config)
        seen = shown(Shown.every(indexed([training, *parts]), [other]), partial=False)
        assert list(seen) == ([training, *parts, other] if whole else [training])


def test_no_commit_is_made_to_tell_what_is_shown() -> None:
    """Whether the training is in the generation too, or has been computed again since and has a commit of its own."""
    trial = "a" * 16
    training = Commit(trial, trial, None, "train", {}, 0, 1, {})
    parts = [Commit(f"{n:016x}", trial, "b" * 16, "flips", {"nth": n}, n, 3, {}) for n in range(3)]
    for within, beside in (([training, *parts], []), (parts, [training])):
        covered = indexed(within)
        seen = shown(Shown.every(covered, beside), partial=False)
        assert (len(seen), seen.said("nth"), seen.tables()) == (4, [0, 0, 1, 2], set())
        assert not covered._made
        assert pa.array(seen.array("nth")).to_pylist() == [c.nth for c in seen]
