"""A block as it was written: checked values, nothing combined yet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memloc.config.retention import Retention
from memloc.sweep.joint import Joint

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
        """Where a field was given, or where it would be; "": all of them."""
        return self.where.get(name, f"{self.place}.{name}") if name else self.place

    def typed(self) -> dict[str, Any]:
        """The fields whose values come from the command line."""
        return {n: v for n, v in self.fields.items() if self.place_of(n).startswith(COMMAND_LINE)}


@dataclass
class Block:
    """A block of a sweep.

    fields: training fields with one value, from defaults, then set, then the command line. axes: training fields with
    several values. joint: axes of several fields at once. stages: the configurations of its stages; a stage may have
    several. where: {field: file:line:field of its value}. binding: training fields from `set` and axes, which every training
    must use. bad_fields: those with a bad value; "" stands for an unknown field. checkpoints: which ones stay. preset: its
    file.
    """

    name: str
    preset: Path | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, Sequence[Any]] = field(default_factory=dict)
    joint: list[Joint] = field(default_factory=list)
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
        self._forget(name)
        self.axes.pop(name, None)
        self.fields[name], self.where[name] = value, where

    def vary(self, name: str, axis: Sequence[Any], where: str) -> None:
        """A training field gets an axis, in place of whatever it had."""
        self._forget(name)
        self.axes[name], self.where[name] = axis, where

    def vary_together(self, joint: Joint, where: Mapping[str, str]) -> None:
        """Several training fields get an axis together, in place of whatever they had."""
        for name in joint.names:
            self._forget(name)
            self.axes.pop(name, None)
        self.joint.append(joint)
        self.where |= where

    def combinations(self) -> Iterator[dict[str, Any]]:
        """The values of the fields with several values, for every combination. The last axis changes fastest."""
        for combination in product([*self.axes.values(), *(joint.points for joint in self.joint)]):
            values = dict(zip(self.axes, combination, strict=False))
            for joint, point in zip(self.joint, combination[len(self.axes) :], strict=True):
                values |= zip(joint.names, point, strict=True)
            yield values

    def count(self) -> int:
        """The number of combinations."""
        return math.prod([*map(_length, self.axes.values()), *(len(joint.points) for joint in self.joint)])

    def _forget(self, name: str) -> None:
        """Takes the field's value away, but for an axis of its own, which keeps its place among the others."""
        self.fields.pop(name, None)
        self.joint = [joint.without(name) if name in joint.names else joint for joint in self.joint]
        self.bad_fields.discard(name)


def _length(axis: Sequence[Any]) -> int:
    """len(axis), which Python refuses for a range of 2**63 numbers."""
    return axis.stop - axis.start if isinstance(axis, range) else len(axis)


def product(axes: Sequence[Sequence[Any]]) -> Iterator[tuple[Any, ...]]:
    """Every combination of the axes, the last axis fastest. Unlike itertools.product it copies no axis.

    A range of a billion seeds takes no memory.
    """
    if not axes:
        yield ()
        return
    for value in axes[0]:
        for others in product(axes[1:]):
            yield (value, *others)
