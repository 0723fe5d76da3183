"""The command that would run a number that a store lacks, with a shipped sweep: of the paper's size where there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from memloc.analysis.settings import Scope
from memloc.papers.claims import Claim
from memloc.stages.instrument import in_words
from memloc.sweep import shipped, yaml

FIRST = "paper-grid"
USUAL: Mapping[str, tuple[Any, ...]] = {"dropout": ("none",), "noise": (0.0,)}  # if a block does not set the field
SMALLER = ("subset", "test_subset", "width", "epochs", "batch_size")  # with one of these a block is not of the paper's size


@dataclass(frozen=True)
class ShippedBlock:
    """values: {training field: those it takes}. stages: {name: its configurations}. whole: has it the paper's size?"""

    sweep: str
    name: str
    values: Mapping[str, tuple[Any, ...]]
    stages: Mapping[str, Sequence[Mapping[str, Any] | None]]
    whole: bool

    def runs(self, claim: Claim, part: str) -> bool:
        """Does the block have the stages behind a number, on the right memorized set?

        That set is by labels, or by C-scores of a sweep, because no command makes a file of C-scores.
        """
        asked, meant = claim.stages(part), "c_score:sweep:" if claim.atypical else "labels"
        return all(any(_set(config).startswith(meant) for config in self.stages.get(stage, ())) for stage in asked)

    def has(self, wanted: Mapping[str, tuple[Any, ...]]) -> bool:
        return all(set(asked) <= set(self.values.get(field, USUAL.get(field, ()))) for field, asked in wanted.items())

    def takes(self, claim: Claim, part: str) -> bool:
        """Has it trainings of the claim, whatever their data and network?"""
        low, high = claim.rates
        rates = self.values.get("noise", USUAL["noise"])
        return self.has(_tuples(claim.trainings(part))) and any(low <= rate <= high for rate in rates)


def _set(config: Mapping[str, Any] | None) -> str:
    return str((config or {}).get("memorized", "labels"))


def command(claim: Claim, scope: Scope, part: str) -> str | None:
    """`memloc sweep paper-grid --only block=tied --only p_gen=0.3 …`; None if no shipped sweep has such trainings.

    If C-scores are needed: `memloc sweep cscore && memloc sweep …`. A claim of a paper that no shipped sweep has at its size
    gets the first block with its stages: `memloc sweep locate --only block=tied`.
    """
    fields = _wanted(claim, scope, part)
    for block in _blocks():
        if block.whole and block.runs(claim, part) and block.has(fields):
            several = [field for field, asked in fields.items() if len(block.values.get(field, ())) > 1 == len(asked)]
            only = [f"block={block.name}", *(f"{field}={fields[field][0]}" for field in several)]
            trainings = " ".join([f"memloc sweep {block.sweep}", *(f"--only {text}" for text in only)])
            return " && ".join([first, trainings] if (first := claim.first(part)) else [trainings])
    if claim.floats:
        smaller = next((b for b in _blocks() if b.runs(claim, part) and b.takes(claim, part)), None)
        return None if smaller is None else f"memloc sweep {smaller.sweep} --only block={smaller.name}"
    return None


def wanted(claim: Claim, scope: Scope, part: str) -> str:
    """What a number needs, in words: `needs evaluate on cifar10, resnet9, noise 0.1, dropout sparse, keep 0.4`."""
    stages = " and ".join(claim.stages(part)) + (" with `memorized: c_score`" if claim.atypical else "")
    fields = _wanted(claim, scope, part)
    named = [f"{k} {_listed(v)}" for k, v in fields.items() if k not in ("dataset", "model") and v != ("none",)]
    first = f", and C-scores of its data set: `{sweep}` comes first" if (sweep := claim.first(part)) else ""
    return f"needs {stages} on {', '.join([scope.dataset, scope.model, *named])}{first}"


def _wanted(claim: Claim, scope: Scope, part: str) -> dict[str, tuple[Any, ...]]:
    """{training field: the values that a number needs}."""
    fields = {"dataset": scope.dataset, "model": scope.model, "noise": scope.noise, **claim.trainings(part)}
    return _tuples(fields)


def _tuples(fields: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {k: v if isinstance(v, tuple) else (v,) for k, v in fields.items()}


def _listed(values: tuple[Any, ...]) -> str:
    """`0.1, 0.2 and 0.3`."""
    return in_words([f"{v:g}" if isinstance(v, float) else str(v) for v in values])


@cache
def _blocks() -> list[ShippedBlock]:
    """The blocks of shipped sweeps: those of the whole grid first, then by name."""
    blocks = []
    for sweep, path in sorted(shipped().items(), key=lambda item: (item[0] != FIRST, item[0])):
        written = yaml.read(path).value
        for name, block in written["blocks"].items():
            literals = {**(written.get("defaults") or {}), **(block.get("set") or {})}
            axes = {field: tuple(values) for field, values in (block.get("axes") or {}).items()}
            values = {**{field: (value,) for field, value in literals.items()}, **axes}
            whole = block.get("preset", written.get("preset", "paper")) == "paper" and not any(f in values for f in SMALLER)
            stages = {k: v if isinstance(v, list) else [v] for k, v in (block.get("stages") or {}).items()}
            blocks.append(ShippedBlock(sweep, name, values, stages, whole))
    return blocks
