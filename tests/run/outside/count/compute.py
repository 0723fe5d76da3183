"""The rows of the stage `count`."""

from __future__ import annotations

from memloc.stages.count.config import CountConfig

from memloc.stages.base import Part, Tables
from memloc.stages.inputs import Inputs


def run(config: CountConfig, inputs: Inputs, part: Part) -> Tables:
    """One row: how many margins are above the number, and how many training examples there are."""
    margins = inputs.tables["predictions"]["margin"]
    known = len(inputs.tables["examples"]["example"])
    return {"counts": {"above": [sum(m > config.above for m in margins)], "known": [known]}}
