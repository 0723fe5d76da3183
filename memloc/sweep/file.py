"""What a sweep file asks for, block by block, with every value checked at its own line.

Nothing is combined here: a block still has its axes, and no training is resolved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from memloc.config import Problem, written
from memloc.config.retention import CHOICES
from memloc.errors import nearest
from memloc.sweep import presets
from memloc.sweep.block import Asked, Block
from memloc.sweep.checker import Checker
from memloc.sweep.joint_file import JointAxis
from memloc.sweep.yaml import Document

TOP = ("about", "plugins", "preset", "defaults", "blocks")
OF_BLOCK = ("about", "preset", "axes", "paired", "sample", "set", "train", "stages", "checkpoints")

GIVEN = {"from": "given_from", "epochs": "given_epochs"}  # the training fields of `train`


@dataclass
class SweepFile:
    """A document and its problems."""

    document: Document
    checker: Checker
    problems: list[str] = field(default_factory=list)

    def blocks(self) -> list[Block]:
        """The blocks of the file, each with the defaults."""
        top = self._mapping(self.document.value, ())
        self._check_keys(top, TOP, ())
        defaults = Block("")
        literals = self._mapping(top.get("defaults"), ("defaults",))
        named = self._mapping(top.get("blocks"), ("blocks",))
        if not named and not self.problems:
            self._problem("no blocks; a sweep needs at least one", "blocks")
        if self.problems:
            defaults.bad_fields.add("")
        self._check_about(top, ())
        self._take_preset(defaults, top, ())
        self._take_literals(defaults, literals, ("defaults",))
        return [self._block(name, body, defaults) for name, body in named.items()]

    def _block(self, name: str, body: Any, defaults: Block) -> Block:
        where = ("blocks", name)
        block = Block(name, defaults.preset, dict(defaults.fields), where={**defaults.where, "": self.document.at(*where)})
        before = len(self.problems)
        body = self._mapping(body, where)
        self._check_keys(body, OF_BLOCK, where)
        self._check_about(body, where)
        literals = self._mapping(body.get("set"), (*where, "set"))
        axes = self._mapping(body.get("axes"), (*where, "axes"))
        block.bad_fields = defaults.bad_fields | ({""} if len(self.problems) > before else set())
        self._take_preset(block, body, where)
        self._take_checkpoints(block, body, where)
        block.binding = self._take_literals(block, literals, (*where, "set"))
        for key, value in axes.items():
            if key in literals:
                self._problem("stands in `set` too; keep one", *where, "axes", key)
            self._take_axis(block, key, value, (*where, "axes", key))
        self._take_given(block, body, where)
        for kind in ("paired", "sample"):
            self._take_joint(block, kind, body, where)
        for stage, settings in self._mapping(body.get("stages"), (*where, "stages")).items():
            self._take_stage(block, stage, settings, (*where, "stages", stage))
        return block

    def _check_about(self, given: dict[str, Any], where: tuple[str, ...]) -> None:
        if "about" in given and not isinstance(given["about"], str):
            self._problem(f"{written(given['about'])} is not text", *where, "about")

    def _take_preset(self, block: Block, given: dict[str, Any], where: tuple[str, ...]) -> None:
        """Takes over the preset that a file or a block names. The preset of a block replaces that of the file.

        `preset: null` in a block means that the block has no preset.
        """
        if "preset" not in given:
            return
        block.preset, problem = presets.find(given["preset"], self.checker.folder)
        if problem:
            self._problem(problem, *where, "preset")
            block.bad_fields.add("")  # it is unknown which fields it would have set

    def _take_checkpoints(self, block: Block, given: dict[str, Any], where: tuple[str, ...]) -> None:
        value = given.get("checkpoints")
        if value is not None and value not in CHOICES:
            valid = nearest(value, CHOICES) if isinstance(value, str) else ""
            self._problem(f"{written(value)} is none of {', '.join(CHOICES)}{valid}", *where, "checkpoints")
        else:
            block.checkpoints = value

    def _take_literals(self, block: Block, literals: dict[str, Any], where: tuple[str, ...]) -> set[str]:
        """Copies literals of the training into the block; returns the names of those that are valid."""
        good = set()
        for name, value in literals.items():
            taken, problems = self.checker.literal(name, value)
            self._say(problems, *where, name)
            if problems:
                self._mark_bad(block, name)
            else:
                good.add(name)
                block.give(name, taken, self.document.at(*where, name))
        return good

    def _take_given(self, block: Block, body: dict[str, Any], where: tuple[str, ...]) -> None:
        """Takes `train`: the checkpoints of a training that memloc did not make."""
        given = self._mapping(body.get("train"), (*where, "train"))
        self._check_keys(given, tuple(GIVEN), (*where, "train"))
        for key in [key for key in GIVEN if key in given]:
            taken, problems = self.checker.literal(GIVEN[key], given[key])
            self._say(problems, *where, "train", key)
            if problems:
                self._mark_bad(block, GIVEN[key])
            else:
                block.give(GIVEN[key], taken, self.document.at(*where, "train", key))
        for name in GIVEN.values() if given else ():
            block.where.setdefault(name, self.document.at(*where, "train"))

    def _take_axis(self, block: Block, name: str, value: Any, where: tuple[str, ...]) -> None:
        axis, problems = self.checker.axis(name, value)
        self._say(problems, *where)
        if problems:
            self._mark_bad(block, name)
        else:
            block.vary(name, axis, self.document.at(*where))
            block.binding.add(name)

    def _take_joint(self, block: Block, kind: str, body: dict[str, Any], where: tuple[str, ...]) -> None:
        """Takes `paired` or `sample`."""
        given = self._mapping(body.get(kind), (*where, kind))
        if not given:
            return
        axis = JointAxis(self.checker)
        joint = axis.paired(given) if kind == "paired" else axis.sample(given)
        for position, problem in axis.problems:
            self._problem(problem, *where, kind, *position)
        for name in axis.bad:
            self._mark_bad(block, name)
        if joint is None:
            return
        others = {"set": body.get("set") or {}, "axes": block.axes, "paired": [n for j in block.joint for n in j.names]}
        for name in joint.names:
            for other in (other for other, names in others.items() if name in names):
                self._problem(f"stands in `{other}` too; keep one", *where, kind, name)
        block.vary_together(joint, {name: self.document.at(*where, kind, name) for name in joint.names})
        block.binding |= set(joint.names)

    def _take_stage(self, block: Block, stage: str, given: Any, where: tuple[str, ...]) -> None:
        """Takes the configuration of a stage, or a list of them."""
        if problem := self.checker.unknown_stage(stage):
            self._problem(problem, *where)
        elif not isinstance(given, list):
            self._take_configuration(block, stage, given, where)
        elif not given:
            self._problem("[] has no configuration; a list has one for each analysis, such as [{}, {…}]", *where)
        else:
            for k, settings in enumerate(given):
                self._take_configuration(block, stage, settings, (*where, k))

    def _take_configuration(self, block: Block, stage: str, settings: Any, where: tuple[str | int, ...]) -> None:
        asked = Asked(stage, self.document.at(*where))
        block.stages.append(asked)
        for name, value in self._mapping(settings, where).items():
            asked.where[name] = self.document.at(*where, name)
            taken, problems = self.checker.stage(stage, name, value)
            self._say(problems, *where, name)
            if problems:
                asked.bad = True
            else:
                asked.fields[name] = taken

    def _mark_bad(self, block: Block, name: str) -> None:
        block.bad_fields.add(name if name in self.checker.registry.training else "")

    def _mapping(self, value: Any, where: tuple[str | int, ...]) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            self._problem(f"{written(value)} is not a mapping (name: value, …)", *where)
            return {}
        return value

    def _check_keys(self, value: dict[str, Any], valid: tuple[str, ...], where: tuple[str, ...]) -> None:
        for key in value:
            if key not in valid:
                self._problem(f"unknown key{nearest(key, valid)}; valid: {', '.join(valid)}", *where, key)

    def _say(self, problems: Sequence[Problem], *where: str | int) -> None:
        for position, problem in problems:
            self._problem(problem, *where, *position)

    def _problem(self, problem: str, *where: str | int) -> None:
        self.problems.append(f"{self.document.at(*where)}: {problem}")
