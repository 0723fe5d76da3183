"""`paired` and `sample` of a block, checked value by value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from memloc.config import SEEDS, Problem, written
from memloc.config.hints import scalars
from memloc.errors import nearest
from memloc.sweep.checker import RANGE, Checker
from memloc.sweep.joint import Choice, Draws, Joint, Range, sampled

MOST = 100_000  # points
SCALES = ("uniform", "log")
FORMS = "{uniform: [first, last]}, {log: [first, last]}, or a list of values"


@dataclass
class JointAxis:
    """What one mapping of a block says.

    problems: (place below the mapping, what is wrong). bad: the fields with a problem.
    """

    checker: Checker
    problems: list[tuple[tuple[str | int, ...], str]] = field(default_factory=list)
    bad: set[str] = field(default_factory=set)

    def paired(self, given: dict[str, Any]) -> Joint | None:
        """The axis of `paired`, whose fields have lists of one length; None if anything is wrong with it."""
        columns = {}
        for name, value in given.items():
            columns[name], problems = self.checker.column(name, value)
            self._say(name, problems)
        if self.problems or not columns:
            return None
        first, *others = columns
        for name in others:
            if len(columns[name]) != len(columns[first]):
                lengths = f"{len(columns[name])} values, and {first} has {len(columns[first])}"
                self._say(name, [((), f"{lengths}; paired fields have equally many")])
                return None
        points = list(zip(*columns.values(), strict=True))
        first_at: dict[tuple[Any, ...], int] = {}
        for k, point in enumerate(points):
            if (earlier := first_at.setdefault(point, k)) < k:
                self._say(first, [((k,), f"the same point as number {earlier}; each point once")])
                return None
        return Joint(tuple(columns), points)

    def sample(self, given: dict[str, Any]) -> Joint | None:
        """The axis of `sample`; None if anything is wrong with it."""
        number = self._count("n", given.get("n"), 1, MOST + 1, "how many points are drawn")
        about = "the seed of the draws; to train each point with several seeds, write seed under `axes:`"
        seed = self._count("seed", given.get("seed", 0), 0, SEEDS, about)
        draws: dict[str, Draws] = {}
        for name, value in given.items():
            if name not in ("n", "seed") and (kind := self._draws(name, value)):
                draws[name] = kind
        if not draws and not self.problems:
            self.problems.append(((), f"no field to draw; write FIELD: {FORMS}"))
        return None if self.problems or number is None or seed is None else sampled(number, seed, draws)

    def _count(self, name: str, value: Any, first: int, end: int, about: str) -> int | None:
        if type(value) is int and first <= value < end:
            return value
        said = "required" if value is None else f"{written(value)} is not valid"
        self.problems.append(((name,), f"{said}; valid: a whole number >= {first} and < {end}, {about}"))
        return None

    def _draws(self, name: str, value: Any) -> Draws | None:
        """From what the values of a field are drawn."""
        if problem := self.checker.registry.training.check_name(name):
            self._say(name, [((), problem)])
        elif isinstance(value, dict):
            return self._range(name, value)
        elif isinstance(value, str) and (ends := RANGE.fullmatch(value)):
            return self._range(name, {"uniform": [int(ends[1]), int(ends[2])]})
        elif not isinstance(value, list) or not value:
            self._say(name, [((), f"{written(value)} is not valid; valid: {FORMS}")])
        else:
            values, problems = self.checker.axis(name, value)
            self._say(name, problems)
            return Choice(values) if values else None
        return None

    def _range(self, name: str, value: dict[str, Any]) -> Draws | None:
        scale, ends = next(iter(value.items()), ("", None))
        if len(value) != 1 or scale not in SCALES or not isinstance(ends, list) or len(ends) != 2:
            close = nearest(scale, SCALES) if scale not in SCALES else ""
            self._say(name, [((), f"{written(value)} is not valid; valid: {FORMS}{close}")])
            return None
        kinds = scalars(self.checker.registry.training[name])
        if not kinds & {int, float}:
            valid = self.checker.registry.training.valid(name)
            self._say(name, [((), f"{name} takes {valid}: no numbers to draw; write a list of values")])
            return None
        before, taken = len(self.problems), []
        for end in ends:
            item, problems = self.checker.training(name, end)
            taken.append(item)
            self._say(name, [((), problem) for _, problem in problems])
        if len(self.problems) > before:
            return None
        if not all(isinstance(item, int | float) for item in taken) or not taken[0] < taken[1]:
            self._say(name, [((), f"{written(ends)} is no range; the first number is below the last")])
        elif scale == "log" and taken[0] <= 0:
            self._say(name, [((), f"{written(ends[0])} has no logarithm; `log` begins above 0")])
        else:
            return Range(scale, taken[0], taken[1], whole=float not in kinds)  # type: ignore[arg-type]
        return None

    def _say(self, name: str, problems: list[Problem]) -> None:
        self.problems += [((name, *position), problem) for position, problem in problems]
        self.bad |= {name} if problems else set()
