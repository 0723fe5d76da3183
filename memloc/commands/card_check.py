"""Before a launch on this machine's GPUs: does every training fit into their memory, as it is or with recomputation?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from memloc.commands.device import chosen_device
from memloc.errors import UsageError

if TYPE_CHECKING:
    from memloc.commands.launch import Options
    from memloc.run.pending import Work


def check_memory(works: Sequence[Work], options: Options) -> None:
    """Compares what the works need with the smallest GPU of this machine that they may get.

    It costs seconds, and nothing without a GPU.

    Works that fit only if activations are computed again in the backward pass are told so: their trials' `recompute` names
    the stages. Each is noted in a line. The cards of a cluster are not known here.

    Raises:
        UsageError: something does not fit even then.
    """
    from memloc.run.card_memory import demands
    from memloc.run.worker import default_device

    device = chosen_device(options) or default_device()
    if options.resources.address != "local" or device.type != "cuda":
        return
    one = options.executor.value == "inline"
    card, memory = smallest_card(1 if one else options.resources.gpus)
    problems: list[str] = []
    again: set[str] = set()
    for demand in demands(works, options.data_dir):
        decided = demand.decided(memory)
        if decided == "too large":
            problems.append(demand.problem(card, memory))
        elif decided == "recomputing":
            print(f"memloc: note: {demand.note(card, memory)}", file=sys.stderr)
            again |= demand.part_ids
    if problems:
        raise UsageError(*problems)
    for work in works:
        stages = {stage for stage, ids in _part_ids(work).items() if ids & again}
        work.trial = replace(work.trial, recompute=frozenset(stages))


def _part_ids(work: Work) -> dict[str, set[str]]:
    ids: dict[str, set[str]] = {"train": {work.trial.id}}
    for analysis, part_id, _ in work.parts:
        ids.setdefault(analysis.stage, set()).add(part_id)
    return ids


def smallest_card(first: int | None = None) -> tuple[str, int]:
    """(name, bytes of memory) of that with the least memory of this machine's GPUs, or of so many first ones.

    Makes no context on any of them.
    """
    import torch

    cards = [torch.cuda.get_device_properties(k) for k in range(torch.cuda.device_count())][:first]
    least = min(cards, key=lambda card: card.total_memory)
    return str(least.name), int(least.total_memory)
