"""Single values of a sweep file or a command line: checked, with the paths in them made absolute."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from memloc.config import Fields, PathOrSweep, Problem, Registry, canonical_json, fields_of, marker, written
from memloc.config.hints import item_type, scalars
from memloc.errors import nearest

RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")

SEVERAL = "for a training with each of these, write the field under `axes:` of a block"

Checked: TypeAlias = tuple[Any, list[Problem]]  # (the value as the field takes it, []) or (None, what is wrong with it)


@dataclass(frozen=True)
class Checker:
    """Checks single values. folder: the paths in a file are relative to it; None: they stay as they are."""

    registry: Registry
    folder: Path | None

    def training(self, name: str, value: Any) -> Checked:
        """One value of a training field."""
        return self._value(self.registry.training, name, value)

    def literal(self, name: str, value: Any) -> Checked:
        """The value of a training field where a file takes one value, and says so of a list or a range."""
        taken, problems = self.training(name, value)
        if problems and is_axis(value) and name in self.registry.training:
            valid = self.registry.training.valid(name)
            return None, [((), f"{written(value)} is not valid; valid: {valid} ({SEVERAL})")]
        return taken, problems

    def stage(self, stage: str, name: str, value: Any) -> Checked:
        """One value of a stage's field."""
        fields = fields_of(self.registry.stages[stage].config)
        taken, problems = self._value(fields, name, value)
        if problems and is_axis(value) and name in fields and item_type(fields[name]) is None:
            several = "a stage's field takes one value; write a block for each"
            return None, [((), f"{written(value)} is not valid; valid: {fields.valid(name)} ({several})")]
        return taken, problems

    def unknown_stage(self, stage: str) -> str | None:
        """What is wrong with a stage's name, or None."""
        stages = self.registry.stages
        return None if stage in stages else f"unknown stage{nearest(stage, stages)}; valid: {', '.join(stages)}"

    def axis(self, name: str, value: Any) -> tuple[Sequence[Any], list[Problem]]:
        """The values of an axis, a list or a range such as `0..29`, or what is wrong with it or with its items."""
        if problem := self.registry.training.check_name(name):
            return (), [((), problem)]
        if isinstance(value, str) and (ends := RANGE.fullmatch(value)):
            if int in scalars(self.registry.training[name]):
                return self._range(name, int(ends[1]), int(ends[2]))
            valid = self.registry.training.valid(name)
            return (), [((), f"{value} is a range of whole numbers; {name} takes {valid}: write a list")]
        if not isinstance(value, list) or not value:
            return (), [((), self._no_axis(name, value))]
        axis, problems = self._items(name, value)
        known: set[str] = set()
        bad = {position[0] for position, _ in problems}
        for i, taken in enumerate(axis):
            same = canonical_json([taken])
            if i not in bad and same in known:
                problems.append(((i,), f"{written(value[i])} stands in this axis twice; each value once"))
            known.add(same)
        return ([], problems) if problems else (axis, [])

    def column(self, name: str, value: Any) -> tuple[Sequence[Any], list[Problem]]:
        """The values of a field of `paired`: as an axis, but a value may stand there again.

        null stands for a field that the training does not use, such as p_gen without example-tied dropout.
        """
        if not isinstance(value, list) or not value or name not in self.registry.training:
            return self.axis(name, value)
        return self._items(name, value, unused=self.registry.training.decided_by(name) is not None)

    def _items(self, name: str, values: Sequence[Any], unused: bool = False) -> tuple[list[Any], list[Problem]]:
        items: list[Any] = []
        problems: list[Problem] = []
        for i, value in enumerate(values):
            taken, bad = (None, []) if unused and value is None else self.training(name, value)
            problems += [((i, *position), problem) for position, problem in bad]
            items.append(taken)
        return items, problems

    def _range(self, name: str, first: int, last: int) -> tuple[Sequence[Any], list[Problem]]:
        """The whole numbers first..last. They stay a range, so that ten thousand seeds take no memory."""
        if first > last:
            return (), [((), f"{first}..{last} is empty; write {last}..{first}")]
        for end in (first, last):
            if problems := self.training(name, end)[1]:
                return (), problems
        return range(first, last + 1), []

    def _no_axis(self, name: str, value: Any) -> str:
        if isinstance(value, str):
            for _, problem in self.training(name, value)[1]:
                if problem.endswith(")"):  # it says how a list or a range is written
                    return problem
        valid = "an axis is one, as in [0, 1], or a range of whole numbers, as in 0..9"
        return f"{written(value)} is not a non-empty list; {valid}"

    def _value(self, fields: Fields, name: str, value: Any) -> Checked:
        if problem := fields.check_name(name):
            return None, [((), problem)]
        taken, problems = fields.check_items(name, value)
        kind = marker(fields[name], PathOrSweep)
        if problems or kind is None or self.folder is None:
            return taken, problems
        try:
            return kind.absolute(taken, self.folder), []
        except (OSError, RuntimeError, ValueError) as error:
            return None, [((), f"{written(taken)} is not valid: {error}")]


def is_axis(value: Any) -> bool:
    """Is this a list or a range, as an axis is written?"""
    return isinstance(value, list) or (isinstance(value, str) and RANGE.fullmatch(value) is not None)
