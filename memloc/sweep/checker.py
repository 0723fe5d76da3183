"""Single values of a sweep file or a command line: checked, with the paths in them made absolute."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from memloc.config import Fields, PathOrSweep, Registry, canonical_json, fields_of, marker
from memloc.config.hints import scalars
from memloc.errors import nearest

RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")

Checked: TypeAlias = tuple[Any, str | None]  # (the value as the field takes it, None) or (None, what is wrong with it)


@dataclass(frozen=True)
class Checker:
    """Checks single values. folder: the paths in a file are relative to it; None: they stay as they are."""

    registry: Registry
    folder: Path | None

    def training(self, name: str, value: Any) -> Checked:
        """One value of a training field."""
        return self._value(self.registry.training, name, value)

    def stage(self, stage: str, name: str, value: Any) -> Checked:
        """One value of a stage's field."""
        return self._value(fields_of(self.registry.stages[stage].config), name, value)

    def unknown_stage(self, stage: str) -> str | None:
        """What is wrong with a stage's name, or None."""
        stages = self.registry.stages
        return None if stage in stages else f"unknown stage{nearest(stage, stages)}; valid: {', '.join(stages)}"

    def axis(self, name: str, value: Any) -> tuple[Sequence[Any], list[tuple[tuple[int, ...], str]]]:
        """The values of an axis, a list or a range such as `0..29`, or what is wrong with it.

        A problem is (position of the item, text); the position is () if the axis itself is wrong.
        """
        if problem := self.registry.training.check_name(name):
            return (), [((), problem)]
        if isinstance(value, str) and (ends := RANGE.fullmatch(value)):
            if int in scalars(self.registry.training[name]):
                return self._range(name, int(ends[1]), int(ends[2]))
            valid = self.registry.training.valid(name)
            return (), [((), f"{value} is a range of whole numbers; {name} takes {valid}: write a list")]
        if not isinstance(value, list) or not value:
            return (), [((), self._no_axis(name, value))]
        axis: list[Any] = []
        known: set[str] = set()
        problems: list[tuple[tuple[int, ...], str]] = []
        for i, item in enumerate(value):
            taken, problem = self.training(name, item)
            same = canonical_json([taken])
            if problem is None and same in known:
                problem = f"{item!r} stands in this axis twice; each value once"
            if problem:
                problems.append(((i,), problem))
            known.add(same)
            axis.append(taken)
        return ([], problems) if problems else (axis, [])

    def _range(self, name: str, first: int, last: int) -> tuple[Sequence[Any], list[tuple[tuple[int, ...], str]]]:
        """The whole numbers first..last. They stay a range, so that ten thousand seeds take no memory."""
        if first > last:
            return (), [((), f"{first}..{last} is empty; write {last}..{first}")]
        for end in (first, last):
            if problem := self.training(name, end)[1]:
                return (), [((), problem)]
        return range(first, last + 1), []

    def _no_axis(self, name: str, value: Any) -> str:
        if isinstance(value, str):
            taken, problem = self.training(name, value)
            if problem and problem.endswith(")"):  # it says how a list or a range is written
                return problem
            value = taken if problem is None else value
        return f"{value!r} is not a non-empty list; an axis is one, as in [0, 1], or a range of whole numbers, as in 0..9"

    def _value(self, fields: Fields, name: str, value: Any) -> Checked:
        if problem := fields.check_name(name):
            return None, problem
        taken, problem = fields.check(name, value)
        kind = marker(fields[name], PathOrSweep)
        path = kind.path(taken) if kind else None
        if problem or kind is None or path is None or self.folder is None:
            return taken, problem
        try:
            return kind.prefix + str((self.folder / Path(path).expanduser()).resolve()), None
        except (OSError, RuntimeError, ValueError) as error:  # an unknown ~user, a byte that no path has
            return None, f"{taken!r} is not valid: {error}"
