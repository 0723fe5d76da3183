"""How much of its slots a sweep used, from the timings that its store holds.

    python -m benchmarks.utilisation SWEEP [--store URI] [--slots N]

Useful is what stages computed: the seconds of all commits of the sweep. There was slots · wall, from the beginning of
the first stage to the end of the last. To be asked of a sweep that ran in one go, on slots of one kind and into a fresh
store (a commit of an interrupted training counts the seconds before the interruption too). Prints the share, then where the
rest went: the slots' idle seconds before, between and after the parts.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import memloc
from memloc.store import Commit, records


@dataclass(frozen=True)
class Utilisation:
    """useful: seconds of stages. wall: from the first stage's beginning to the last one's end."""

    useful: float
    wall: float
    slots: int

    @property
    def share(self) -> float:
        return self.useful / (self.slots * self.wall)


def began(commit: Commit) -> float:
    return commit.ended - commit.seconds


def utilisation(commits: Sequence[Commit], slots: int) -> Utilisation:
    """
    Raises:
        ValueError: without commits, or where one does not say when it ended.
    """
    if not commits or not all(c.ended for c in commits):
        raise ValueError("nothing is committed, or by a memloc that did not note when")
    wall = max(c.ended for c in commits) - min(began(c) for c in commits)
    return Utilisation(sum(c.seconds for c in commits), wall, slots)


def busy(commits: Sequence[Commit], slices: int = 20) -> list[float]:
    """How many parts were computed at once on average in each of so many equal slices of the wall time."""
    begin, end = min(began(c) for c in commits), max(c.ended for c in commits)
    width = (end - begin) / slices
    edges = [(begin + i * width, begin + (i + 1) * width) for i in range(slices)]
    return [sum(max(0.0, min(c.ended, b) - max(began(c), a)) for c in commits) / width for a, b in edges]


def of_sweep(uri: str, sweep: str) -> list[Commit]:
    """The commits of the sweep's parts."""
    store = memloc.open_store(uri)._store
    snapshot = store.snapshot()
    trials = records.merged_trials(records.read_sweep(store.files, sweep))
    parts = {t["trial"] for t in trials} | {part for t in trials for a in t["analyses"] for part in a["parts"]}
    return [c for part, c in snapshot.commits.items() if part in parts]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep")
    parser.add_argument("--store", default="./memloc-store")
    parser.add_argument("--slots", type=int, default=len(os.sched_getaffinity(0)), help="default: this machine's cores")
    arguments = parser.parse_args()
    commits = of_sweep(arguments.store, arguments.sweep)
    try:
        found = utilisation(commits, arguments.slots)
    except ValueError as error:
        print(f"{arguments.sweep}: {error}", file=sys.stderr)
        return 2
    print(f"useful {found.useful:.1f} s of {found.slots} × {found.wall:.1f} s: {100 * found.share:.1f} %")
    print("parts at once: " + " ".join(f"{n:.2f}" for n in busy(commits)))
    stages = dict.fromkeys(c.stage for c in commits)
    for stage in stages:
        seconds = [c.seconds for c in commits if c.stage == stage]
        print(f"  {stage}: {len(seconds)} parts, {sum(seconds):.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
