"""Which commits readers show: trainings, and the complete analyses of these. Columns decide, not objects of commits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from memloc.store.columns import Bools, Ints, Numbers
from memloc.store.commit_form import Commit
from memloc.store.shown import Shown


def shown(every: Shown, partial: bool) -> Shown:
    """Those whose rows are shown: trainings, and complete analyses of them (with `partial`, every part there is).

    Analyses that were not run, because `stop` has ended their training, have commits and no rows. They are not shown.
    An analysis may be there without its training, if a file of the training was damaged and `verify` has set it aside.
    """
    every = every.without_stopped()
    keys = _Keys(every)
    return every.at(np.concatenate([keys.trainings(), keys.parts() if partial else keys.complete()]))


def complete_of(commits: Iterable[Commit]) -> dict[str, list[Commit]]:
    """{analysis id: its commits in the order of its parts}, complete analyses only.

    Commits that call themselves parts of one analysis and say different things of it are not parts of one.
    """
    kinds: dict[str, list[dict[int, Commit]]] = {}
    for commit in sorted(commits, key=lambda c: c.id):  # as the paths of their commits are sorted
        if commit.analysis is None:
            continue
        alike = kinds.setdefault(commit.analysis, [])
        parts = next((p for p in alike if _same_analysis(next(iter(p.values())), commit)), None)
        if parts is None:
            alike.append(parts := {})
        parts.setdefault(commit.nth, commit)
    return {
        analysis: [parts[n] for n in sorted(parts)]
        for analysis, alike in kinds.items()
        for parts in reversed(alike)  # of several complete ones the first counts: it has the smallest name
        if len(parts) == next(iter(parts.values())).of
    }


def _same_analysis(one: Commit, other: Commit) -> bool:
    return (one.trial, one.stage, one.of, one.reads, one.config) == (
        other.trial, other.stage, other.of, other.reads, other.config
    )  # fmt: skip


class _Keys:
    """What commits are sorted and grouped by."""

    def __init__(self, every: Shown) -> None:
        self._every = every
        self.training, self.trial, self.analysis = (every.array(name) for name in ("training", "trial", "analysis"))
        self.id, self.nth, self.of = (every.array(name) for name in ("id", "nth", "of"))

    def trainings(self) -> Ints:
        """int64: the places of all trainings, in the order of readers."""
        own = np.flatnonzero(self.training)
        return own[np.argsort(self.trial[own], kind="stable")]

    def parts(self) -> Ints:
        """int64: the places of all parts."""
        return self._in_order(np.flatnonzero(~self.training))

    def _in_order(self, parts: Ints) -> Ints:
        return parts[np.lexsort((self.nth[parts], self.analysis[parts], self.trial[parts]))]

    def complete(self) -> Ints:
        """int64: the places of the parts of complete analyses whose trainings are there."""
        parts = np.flatnonzero(~self.training)
        parts = parts[np.lexsort((self.id[parts], self.nth[parts], self.analysis[parts]))]
        group = np.cumsum(_begins(self.analysis[parts])) - 1  # the number of each part's analysis
        odd = np.bincount(group, self._differ(parts, group)) > 0
        first = _begins(self.analysis[parts]) | _begins(self.nth[parts])  # of several with one number the smallest id counts
        parts, group = parts[first], group[first]
        whole = np.bincount(group, minlength=len(odd)) == self.of[parts][_begins(group)]
        kept = np.concatenate([parts[(whole & ~odd)[group]], self._by_hand(self.analysis[parts[odd[group]]])])
        return self._in_order(kept[np.isin(self.trial[kept], self.trial[self.training])])

    def _differ(self, parts: Ints, group: Ints) -> Bools:
        """bool [parts]: which ones do not surely say the same of their analysis as its first one, column by column."""
        first = parts[_begins(group)][group]
        rows, firsts = self._every.places[parts], self._every.places[first]
        differ: Bools = (self.trial[parts] != self.trial[first]) | (self.of[parts] != self.of[first]) | (rows < 0)
        if self._every.covered is not None:
            own, both = self._every.covered.columns, (rows >= 0) & (firsts >= 0)
            for column in (own["stage"], own["config"], own.reads):
                differ[both] |= column[rows[both]] != column[firsts[both]]
        return differ

    def _by_hand(self, analyses: Numbers) -> Ints:
        """int64: the places of the parts of the complete ones of some analyses, told commit by commit."""
        own = np.flatnonzero(~self.training & np.isin(self.analysis, analyses))
        commits = list(self._every.at(own))
        place = {commit.id: int(n) for commit, n in zip(commits, own, strict=True)}
        kept = [place[commit.id] for of_one in complete_of(commits).values() for commit in of_one]
        return np.array(kept, dtype=np.int64)


def _begins(values: Any) -> Bools:
    """bool [n]: which values are other than the one before them."""
    return np.concatenate([[True], values[1:] != values[:-1]]) if len(values) else np.zeros(0, dtype=bool)
