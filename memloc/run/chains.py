"""Parts that go on with their training from the state after an epoch: weights and momentum. No torch.

A training whose parts need states keeps them until these parts are done. A part with its state in place is a task like any
other. Without it, the part must train again all epochs since the nearest state. So it runs after the part that gets there
anyway, in the same task. The rows are the same to the last bit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from memloc.run.plan import AnalysisPlan
from memloc.stages.base import Part


@dataclass(frozen=True)
class Start:
    """Where a part begins. chain: the first of the parts that one task computes in order; "": it begins at a state, and no
    other part goes on from it. before: epochs that are trained for it before its own.
    """

    chain: str
    before: int


def wanted_states(items: Iterable[tuple[AnalysisPlan, str, Part]]) -> dict[str, dict[str, int]]:
    """{analysis: {part: the epoch after which it goes on}}, by ids, of the parts that go on with the training."""
    wanted: dict[str, dict[str, int]] = {}
    for analysis, part_id, part in items:
        epoch = analysis.kind.goes_on_from(analysis.config, part)
        if epoch is not None:
            wanted.setdefault(analysis.id, {})[part_id] = epoch
    return wanted


def starts(wanted: Mapping[str, int], states: Collection[int]) -> dict[str, Start]:
    """{id of a part: where it begins}, of the parts of one analysis.

    wanted: {id: the epoch after which the part goes on}. states: the epochs with a state. Epoch 0, the initialisation, needs
    no file.
    """
    begun: list[tuple[str, str, int]] = []  # part, chain, before
    there = sorted({0, *states})
    reached, chain = -1, ""
    for part_id, epoch in sorted(wanted.items(), key=lambda item: item[1]):
        nearest = max(e for e in there if e <= epoch)
        if nearest >= reached:
            reached, chain = nearest, part_id
        begun.append((part_id, chain, epoch - reached))
        reached = epoch + 1
    lengths = Counter(chain for _, chain, _ in begun)
    return {part_id: Start(chain if lengths[chain] > 1 else "", before) for part_id, chain, before in begun}
