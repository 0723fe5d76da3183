"""Which trainings and analyses of a sweep fit into a GPU's memory, as they are or with activation checkpointing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from memloc.data import describe
from memloc.run.by_shape.elsewhere import NeedsValuesError
from memloc.run.by_shape.memory import Decision, Needs, decision, of_subject
from memloc.run.by_shape.subject import Subject
from memloc.run.cost import Shape
from memloc.run.pending import Work
from memloc.run.plan import AnalysisPlan
from memloc.sizes import bytes_in_words
from memloc.stages import STAGES

REMEDY = "a smaller batch_size or width, or a GPU with more memory"


@dataclass(frozen=True)
class Demand:
    """The memory that one computation of some trainings needs. of: the training, in words. part_ids: what it is: trainings,
    or parts of their analyses. bound: whether it takes less than is counted, as under bf16 and fp16.
    """

    of: str
    need: Needs
    part_ids: frozenset[str]
    bound: bool = False

    def decided(self, card: int) -> Decision:
        """Whether it fits into so many bytes. What takes less than is counted (`bound`) is never refused."""
        decided = decision(self.need.plain, self.need.least, card)
        return "recomputing" if self.bound and decided == "too large" else decided

    def in_words(self) -> str:
        """What it needs."""
        need = self.need
        less = f"; {bytes_in_words(need.least)} with activation checkpointing" if need.least < 0.95 * need.plain else ""
        return f"needs {bytes_in_words(need.plain)} on each GPU ({need.what} of {self.of}{less})"

    def as_json(self) -> dict[str, str | int]:
        """The same for `--json`, in bytes of a GPU."""
        return {"what": self.need.what, "of": self.of, "gpu": self.need.plain, "gpu_recomputed": self.need.least}

    def problem(self, card: str, memory: int) -> str:
        """What is said if it does not fit. card: the name of the GPU. memory: its bytes."""
        least = bytes_in_words(self.need.least)
        return (
            f"{self.need.what} of {self.of} needs {least} on each GPU even with activation checkpointing, and {card} has "
            f"{bytes_in_words(memory)}; take {REMEDY}"
        )

    def note(self, card: str, memory: int) -> str:
        """What is said if it fits with activation checkpointing alone."""
        plain, least = bytes_in_words(self.need.plain), bytes_in_words(self.need.least)
        return (
            f"{self.need.what} of {self.of} needs {plain} on each GPU, and {card} has {bytes_in_words(memory)}: "
            f"activations are computed again in the backward pass ({least}; a third more operations, the same results)"
        )


def demands(works: Iterable[Work], data_dir: Path) -> Iterator[Demand]:
    """The demands of what the works have to compute; of trainings with alike networks and batches with the largest images.

    What a user's own network or stage needs is left out where its course depends on values. So are trainings with `compile`:
    what a compiled step keeps is for the compiler to choose, and it is not computed again.
    """
    alike: dict[Hashable, list[tuple[int, Shape, Work]]] = {}
    for work in works:
        c = work.trial.config
        if work.computes and not c.compile:
            shape = describe(c.source, data_dir).shape
            what = c.architecture, c.batch_size, c.dropout.kind, c.optimizer, c.precision, c.augment
            alike.setdefault(what, []).append((prod(shape), shape, work))
    for same in alike.values():
        _, shape, first = max(same, key=lambda one: (one[0], one[2].trial.size.n))
        flat = first.trial.config.flat()
        of = f"{flat['model']} on {flat['dataset']} with batches of {flat['batch_size']}"
        works_alike = [work for _, _, work in same]
        ids, half = _ids(works_alike), flat["precision"] in ("bf16", "fp16")
        trainings = ids["train"].union(*(ids[name] for name, kind in STAGES.items() if kind.footprint == "as much"))
        try:
            for need in of_subject(Subject.of(first.trial, shape), _largest_analysis(works_alike)):
                if need.analysis is not None:
                    yield Demand(of, need, ids[need.analysis.stage], half)
                elif trainings:
                    yield Demand(of, need, trainings, half or not ids["train"])
        except NeedsValuesError:
            continue


def _largest_analysis(works: Iterable[Work]) -> list[AnalysisPlan]:
    """Of the analyses that may need more than a training the one that needs most: gradients along a trajectory."""
    found = {a.id: a for work in works for a, _, _ in work.parts if a.kind.footprint == "more"}
    return sorted(found.values(), key=lambda analysis: str(getattr(analysis.config, "at", "")))[-1:]


def _ids(works: Iterable[Work]) -> dict[str, frozenset[str]]:
    """{stage: the parts to compute}; a training's part id is the trial's id."""
    ids: dict[str, set[str]] = defaultdict(set)
    for work in works:
        ids["train"] |= {work.trial.id} if work.train != "done" else set()
        for analysis, part_id, _ in work.parts:
            ids[analysis.stage].add(part_id)
    return defaultdict(frozenset, {stage: frozenset(of_stage) for stage, of_stage in ids.items()})


def largest(found: Iterable[Demand]) -> Demand | None:
    """The one that needs most; None if there is none."""
    return max(found, key=lambda demand: demand.need.plain, default=None)
