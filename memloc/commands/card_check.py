"""When a launch begins on GPUs: does every training fit into their memory, as it is or with recomputation?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from memloc.commands.device import device_here
from memloc.errors import UsageError

if TYPE_CHECKING:
    from memloc.commands.launch_options import Options
    from memloc.run.kinds import CardMemory
    from memloc.run.pending import Work


def check_memory(works: Sequence[Work], options: Options) -> None:
    """Compares what the works need with the smallest GPU of this machine that they may get.

    It costs seconds, and nothing without a GPU. What is decided is noted on standard error. The cards of a cluster are known
    once its nodes have said what they have (`decide`).

    Raises:
        UsageError: something does not fit.
    """
    from memloc.run.machine import smallest_card

    if options.resources.address != "local" or device_here(options) != "cuda":
        return
    card = smallest_card(1 if options.executor.value == "inline" else options.resources.gpus)
    if card is not None:
        for note in decide(works, card, options.data_dir):
            print(f"memloc: note: {note}", file=sys.stderr)


def decide(works: Sequence[Work], card: CardMemory, data_dir: Path) -> list[str]:
    """Compares what the works need with a card's memory; returns a note for each computation that fits with recomputation
    alone.

    Works that fit only if activations are computed again in the backward pass are told so: their trials' `recompute` names
    the stages.

    Raises:
        UsageError: something does not fit even then.
    """
    from memloc.run.card_memory import demands

    problems: list[str] = []
    notes: list[str] = []
    again: set[str] = set()
    for demand in demands(works, data_dir):
        decided = demand.decided(card.total)
        if decided == "too large":
            problems.append(demand.problem(*card))
        elif decided == "recomputing":
            notes.append(demand.note(*card))
            again |= demand.part_ids
    if problems:
        raise UsageError(*problems)
    for work in works:
        stages = {stage for stage, ids in _part_ids(work).items() if ids & again}
        work.trial = replace(work.trial, recompute=frozenset(stages))
    return notes


def _part_ids(work: Work) -> dict[str, set[str]]:
    ids: dict[str, set[str]] = {"train": {work.trial.id}}
    for analysis, part_id, _ in work.parts:
        ids.setdefault(analysis.stage, set()).add(part_id)
    return ids
