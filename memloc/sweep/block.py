"""A block as it was written: checked values, nothing combined yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from memloc.config.retention import Retention

COMMAND_LINE = "command line:"  # what the place of a value begins with that stands in no file


@dataclass
class Asked:
    """One configuration of a stage in a block, as it was written.

    place: file:line:field of the configuration. where: {field: file:line:field of its value}. bad: one of its values is
    wrong.
    """

    stage: str
    place: str
    fields: dict[str, Any] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)
    bad: bool = False

    def place_of(self, name: str) -> str:
        """Where a field was given, or where it would be."""
        return self.where.get(name, f"{self.place}.{name}")

    def typed(self) -> dict[str, Any]:
        """The fields whose values come from the command line."""
        return {n: v for n, v in self.fields.items() if self.place_of(n).startswith(COMMAND_LINE)}


@dataclass
class Block:
    """A block of a sweep.

    fields: training fields with one value, from defaults, then set, then the command line. axes: training fields with
    several values. stages: the configurations of its stages; a stage may have several. where: {field: file:line:field of its
    value}. binding: training fields from `set` and `axes`, which every training must use. bad_fields: those with a bad
    value; "" stands for an unknown field. checkpoints: which ones stay.
    """

    name: str
    preset: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, Sequence[Any]] = field(default_factory=dict)
    stages: list[Asked] = field(default_factory=list)
    where: dict[str, str] = field(default_factory=dict)
    binding: set[str] = field(default_factory=set)
    bad_fields: set[str] = field(default_factory=set)
    checkpoints: Retention = None

    @property
    def comparable(self) -> bool:
        """Can its fields be checked against each other? Some of them may be wrong by themselves."""
        return not self.bad_fields & {"", "dataset", "model", "dropout", "batch_norm", "epochs"}

    def place(self, name: str) -> str:
        """Where a field was given, or where it would be."""
        return self.where.get(name) or f"{self.where['']}.{name}"

    def give(self, name: str, value: Any, where: str) -> None:
        """A training field gets one value, in place of whatever it had."""
        self.axes.pop(name, None)
        self.fields[name], self.where[name] = value, where
        self.bad_fields.discard(name)

    def vary(self, name: str, axis: Sequence[Any], where: str) -> None:
        """A training field gets an axis, in place of whatever it had."""
        self.fields.pop(name, None)
        self.axes[name], self.where[name] = axis, where
        self.bad_fields.discard(name)
