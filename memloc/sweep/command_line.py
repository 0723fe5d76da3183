"""FIELD=VALUE and STAGE.FIELD=VALUE on the command line: they come after everything in the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from memloc.errors import UsageError
from memloc.sweep import presets, yaml
from memloc.sweep.block import COMMAND_LINE, Block
from memloc.sweep.checker import Checker, is_axis

OVERRIDE = re.compile(r"^([A-Za-z_][\w]*(?:\.[\w]+)?)=(.*)$", re.DOTALL)


OPENING = ("[", "{", "'", '"', "&", "*", "!")  # what these begin is for YAML's parser; anything else is one plain value


def typed(text: str, where: str = "command line") -> Any:
    """What a person typed as a value: a YAML scalar or flow list.

    Nothing is the empty text and not null: of `subset=$N` without N, no field should make "all".
    """
    text = text.strip()
    return yaml.parse(text, where).value if text.startswith(OPENING) else yaml.plain(text) if text else ""


def is_several(checker: Checker, name: str, value: Any) -> bool:
    """Does a training field get several values by this one? A list that is valid as one value is one: `image=[32, 48]`."""
    return is_axis(value) and not (isinstance(value, list) and not checker.training(name, value)[1])


@dataclass
class Overrides:
    """Applies overrides to blocks. given: the names that were overridden."""

    blocks: list[Block]
    checker: Checker
    problems: list[str] = field(default_factory=list)
    given: set[str] = field(default_factory=set)

    def apply(self, overrides: Sequence[str]) -> None:
        """Takes `FIELD=VALUE`, `STAGE.FIELD=VALUE` and `preset=NAME` into the blocks; what is wrong is a problem each."""
        for text in overrides:
            match = OVERRIDE.match(text)
            if not match:
                self.problems.append(f"{COMMAND_LINE}{text}: is not FIELD=VALUE or STAGE.FIELD=VALUE")
                continue
            name, raw = match.groups()
            if name in self.given:
                self._problem(name, "given twice")
            self.given.add(name)
            try:
                value = typed(raw, f"{COMMAND_LINE}{name}")
            except UsageError as error:
                self.problems += error.problems
                continue
            if name == "preset":
                self._preset(value)
            elif "." in name:
                self._stage(name, value)
            else:
                self._training(name, value)

    def _preset(self, value: Any) -> None:
        path, problem = presets.find(value, self.checker.folder)
        if problem:
            self._problem("preset", problem)
        for block in self.blocks:
            block.preset = path
            block.bad_fields |= {""} if problem else set()

    def _training(self, name: str, value: Any) -> None:
        where = f"{COMMAND_LINE}{name}"
        varies = is_several(self.checker, name, value)
        if varies:
            axis, problems = self.checker.axis(name, value)
        else:
            taken, problems = self.checker.training(name, value)
        for _, problem in problems:
            self._problem(name, problem)
        for block in self.blocks:
            if problems:
                block.bad_fields.add(name if name in self.checker.registry.training else "")
                continue
            if varies:
                block.vary(name, axis, where)
            else:
                block.give(name, taken, where)
            block.binding.discard(name)

    def _stage(self, name: str, value: Any) -> None:
        stage, field_name = name.split(".", 1)
        if problem := self.checker.unknown_stage(stage):
            if field_name in self.checker.registry.training and "did you mean" not in problem:
                problem += f"; a training's field stands alone: write {field_name}=…"
            self._problem(name, problem)
            return
        having = [asked for block in self.blocks for asked in block.stages if asked.stage == stage]
        if not having:
            self._problem(name, f"no block of this sweep has the stage {stage}")
            return
        taken, problems = self.checker.stage(stage, field_name, value)
        for position, problem in problems:
            self._problem(".".join([name, *map(str, position)]), problem)
        for asked in having:
            asked.where[field_name] = f"{COMMAND_LINE}{name}"
            if problems:
                asked.bad = True
            else:
                asked.fields[field_name] = taken

    def _problem(self, name: str, problem: str) -> None:
        self.problems.append(f"{COMMAND_LINE}{name}: {problem}")
