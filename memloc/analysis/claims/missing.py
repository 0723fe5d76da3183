"""What would run a number that a store lacks: a command on the shipped sweep of the paper's experiments, if it has it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from memloc import yaml_file
from memloc.analysis.claims.paper import Claim, Scope, wants
from memloc.sweep import shipped

SWEEP, C_SCORES = "paper-grid", "cscore"


def command(claim: Claim, scope: Scope, part: str) -> str | None:
    """`memloc sweep paper-grid --only block=tied --only p_gen=0.3 …`, None where that sweep does not have such trainings."""
    if part == "c_score":
        return f"memloc sweep {C_SCORES}" if C_SCORES in shipped() else None
    fields = {"dataset": scope.dataset, "model": scope.model, "noise": scope.noise, **wants(claim, part)}
    wanted: dict[str, tuple[Any, ...]] = {k: v if isinstance(v, tuple) else (v,) for k, v in fields.items()}
    for name, (values, stages) in _blocks().items():
        if not _has(stages, claim, part):
            continue
        if all(set(asked) <= set(values.get(field, _DEFAULTS.get(field, ()))) for field, asked in wanted.items()):
            only = [f"{field}={asked[0]}" for field, asked in wanted.items() if len(values.get(field, ())) > 1 == len(asked)]
            return " ".join([f"memloc sweep {SWEEP} --only block={name}", *(f"--only {text}" for text in only)])
    return None


def needs(claim: Claim, part: str) -> tuple[str, ...]:
    """The stages whose rows a number is from."""
    if claim.id == "A1":
        return (part,)
    return (claim.stage, part) if part == "second_split" else (claim.stage,)


def _has(stages: Mapping[str, Any], claim: Claim, part: str) -> bool:
    """Whether a block's stages are those, on the memorized set that is meant."""
    memorized = [(stages.get(stage) or {}).get("memorized", "labels") != "labels" for stage in needs(claim, part)]
    return all(stage in stages for stage in needs(claim, part)) and all(by == (claim.id == "A1") for by in memorized)


_DEFAULTS: Mapping[str, tuple[Any, ...]] = {"dropout": ("none",), "noise": (0.0,)}


@cache
def _blocks() -> dict[str, tuple[dict[str, tuple[Any, ...]], dict[str, Any]]]:
    """{block: ({training field: the values it takes there}, its stages)} of the shipped sweep, in its order."""
    sweep = yaml_file.read(shipped()[SWEEP]).value
    defaults = {name: (value,) for name, value in (sweep.get("defaults") or {}).items()}
    found = {}
    for name, block in sweep["blocks"].items():
        literals = {field: (value,) for field, value in (block.get("set") or {}).items()}
        axes = {field: tuple(values) for field, values in (block.get("axes") or {}).items()}
        found[name] = ({**defaults, **literals, **axes}, block.get("stages") or {})
    return found
