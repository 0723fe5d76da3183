"""What would run a number that a store lacks: a command on a shipped sweep that has such trainings at the paper's size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from memloc import yaml_file
from memloc.analysis.claims.paper import Claim, Scope, wants
from memloc.sweep import shipped

FIRST, C_SCORES = "paper-grid", "cscore"
USUAL: Mapping[str, tuple[Any, ...]] = {"dropout": ("none",), "noise": (0.0,)}  # of blocks that do not say
SMALLER = ("subset", "width", "epochs", "batch_size")  # fields in which a block would not be of the paper's size


@dataclass(frozen=True)
class Block:
    """values: {training field: those it takes}. stages: {name: settings}."""

    sweep: str
    name: str
    values: Mapping[str, tuple[Any, ...]]
    stages: Mapping[str, Mapping[str, Any] | None]

    def runs(self, claim: Claim, part: str) -> bool:
        """Whether it has the stages that a number is from, on the memorized set that is meant."""
        asked = needs(claim, part)
        by_score = [(self.stages.get(stage) or {}).get("memorized", "labels") != "labels" for stage in asked]
        return all(stage in self.stages for stage in asked) and all(by == (claim.id == "A1") for by in by_score)

    def has(self, wanted: Mapping[str, tuple[Any, ...]]) -> bool:
        return all(set(asked) <= set(self.values.get(field, USUAL.get(field, ()))) for field, asked in wanted.items())


def command(claim: Claim, scope: Scope, part: str) -> str | None:
    """`memloc sweep paper-grid --only block=tied --only p_gen=0.3 …`, None where no shipped sweep has such trainings."""
    if part == "c_score":
        return f"memloc sweep {C_SCORES}" if C_SCORES in shipped() else None
    fields = {"dataset": scope.dataset, "model": scope.model, "noise": scope.noise, **wants(claim, part)}
    wanted: dict[str, tuple[Any, ...]] = {k: v if isinstance(v, tuple) else (v,) for k, v in fields.items()}
    for block in _blocks():
        if block.runs(claim, part) and block.has(wanted):
            several = [field for field, asked in wanted.items() if len(block.values.get(field, ())) > 1 == len(asked)]
            only = [f"block={block.name}", *(f"{field}={wanted[field][0]}" for field in several)]
            return " ".join([f"memloc sweep {block.sweep}", *(f"--only {text}" for text in only)])
    return None


def needs(claim: Claim, part: str) -> tuple[str, ...]:
    """The stages whose rows a number is from."""
    if claim.id == "A1":
        return (part,)
    return (claim.stage, part) if part == "second_split" else (claim.stage,)


@cache
def _blocks() -> list[Block]:
    """The blocks of the paper's size and ways of all shipped sweeps: those of the whole grid first, then by name."""
    found = []
    for sweep, path in sorted(shipped().items(), key=lambda item: (item[0] != FIRST, item[0])):
        written = yaml_file.read(path).value
        for name, block in written["blocks"].items():
            literals = {**(written.get("defaults") or {}), **(block.get("set") or {})}
            axes = {field: tuple(values) for field, values in (block.get("axes") or {}).items()}
            values = {**{field: (value,) for field, value in literals.items()}, **axes}
            preset = block.get("preset", written.get("preset", "paper"))
            if preset == "paper" and not any(field in values for field in SMALLER):
                found.append(Block(sweep, name, values, block.get("stages") or {}))
    return found
