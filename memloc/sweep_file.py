"""What a sweep file and a command line ask for, block by block, with every value checked at its own line.

Nothing is combined here: a block still has its axes, and no training is resolved.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memloc import yaml_file
from memloc.config import PathOrSweep, Registry, StageConfig, TrainingFields, canonical_json, fields_of, marker
from memloc.errors import UsageError, nearest
from memloc.preset import problem_of
from memloc.yaml_file import Document

OVERRIDE = re.compile(r"^([A-Za-z_][\w]*(?:\.[\w]+)?)=(.*)$", re.DOTALL)


@dataclass
class Block:
    name: str
    preset: str | None = None
    values: dict[str, Any] = field(default_factory=dict)  # defaults, then set, then the command line
    axes: dict[str, list[Any]] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)  # of a training field or "stage" or "stage.field"
    binding: set[str] = field(default_factory=set)  # training fields from `set` and `axes`: must be usable
    bad_fields: set[str] = field(default_factory=set)  # given a bad value, or unknown; "" where it cannot be told which
    bad_stages: set[str] = field(default_factory=set)

    @property
    def comparable(self) -> bool:
        """Can its fields be checked against each other, although some are wrong by themselves?"""
        return not self.bad_fields & {"", "dataset", "model", "dropout", "batch_norm", "epochs"}


def _mapping(document: Document, value: Any, where: tuple[str, ...], problems: list[str]) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        problems.append(f"{document.at(*where)}: {value!r} is not a mapping (name: value, …)")
        return {}
    return value


def _keys(
    document: Document, value: dict[str, Any], valid: tuple[str, ...], where: tuple[str, ...], problems: list[str]
) -> None:
    for key in value:
        if key not in valid:
            problems.append(f"{document.at(*where, key)}: unknown key{nearest(key, valid)}; valid: {', '.join(valid)}")


def read_blocks(
    document: Document,
    registry: Registry,
    problems: list[str],
    base: Path,
    scores: Path | None = None,
) -> list[Block]:
    """The blocks of a file. Its paths are relative to `base`, those of C-scores to `scores`, or (None) left as they are."""
    top = _mapping(document, document.value, (), problems)
    _keys(document, top, ("about", "preset", "defaults", "blocks"), (), problems)
    given = _mapping(document, top.get("defaults"), ("defaults",), problems)
    named = _mapping(document, top.get("blocks"), ("blocks",), problems)
    if not named and not problems:
        problems.append(f"{document.at('blocks')}: no blocks; a sweep needs at least one")
    defaults = Block("", bad_fields={""} if problems else set())
    if "about" in top and not isinstance(top["about"], str):
        problems.append(f"{document.at('about')}: {top['about']!r} is not text")
    _take_preset(defaults, document, top, (), problems)
    _take(defaults, document, given, ("defaults",), problems, base, registry.training)
    return [_block(document, name, body, defaults, registry, problems, base, scores) for name, body in named.items()]


def _block(
    document: Document,
    name: str,
    body: Any,
    defaults: Block,
    registry: Registry,
    problems: list[str],
    base: Path,
    scores: Path | None,
) -> Block:
    where = ("blocks", name)
    block = Block(name, defaults.preset, dict(defaults.values), where={**defaults.where, "": document.at(*where)})
    known = len(problems)
    body = _mapping(document, body, where, problems)
    _keys(document, body, ("about", "preset", "axes", "set", "stages"), where, problems)
    literals = _mapping(document, body.get("set"), (*where, "set"), problems)
    axes = _mapping(document, body.get("axes"), (*where, "axes"), problems)
    block.bad_fields = defaults.bad_fields | ({""} if len(problems) > known else set())
    _take_preset(block, document, body, where, problems)
    block.binding = _take(block, document, literals, (*where, "set"), problems, base, registry.training)
    for key, value in axes.items():
        place = (*where, "axes", key)
        if key in literals:
            problems.append(f"{document.at(*place)}: stands in `set` too; keep one")
        axis = _axis(key, value, lambda i, place=place: document.at(*place, *i), problems, base, registry.training)
        if axis:
            block.axes[key] = axis
            block.binding.add(key)
            block.bad_fields.discard(key)
            block.where[key] = document.at(*place)
        else:
            block.bad_fields.add(key if key in registry.training else "")
    for stage, settings in _mapping(document, body.get("stages"), (*where, "stages"), problems).items():
        place = (*where, "stages", stage)
        block.where[stage] = document.at(*place)
        if stage not in registry.stages:
            problems.append(f"{document.at(*place)}: {unknown_stage(stage, registry)}")
            continue
        block.stages[stage] = {}
        for key, value in _mapping(document, settings, place, problems).items():
            block.where[f"{stage}.{key}"] = document.at(*place, key)
            _stage_value(block, registry.stages[stage].config, stage, key, value, problems, scores)
    return block


def _take_preset(
    block: Block, document: Document, given: dict[str, Any], where: tuple[str, ...], problems: list[str]
) -> None:
    """The preset that a file or a block names, if it does; a block's own comes before the file's."""
    if given.get("preset") is None:
        return
    if problem := problem_of(given["preset"]):
        problems.append(f"{document.at(*where, 'preset')}: {problem}")
        block.bad_fields.add("")  # nobody can say which fields it would have given
    else:
        block.preset = given["preset"]


def unknown_stage(stage: str, registry: Registry) -> str:
    return f"unknown stage{nearest(stage, registry.stages)}; valid: {', '.join(registry.stages)}"


def _take(
    block: Block,
    document: Document,
    values: dict[str, Any],
    where: tuple[str, ...],
    problems: list[str],
    base: Path,
    training: TrainingFields,
) -> set[str]:
    """Takes literals of the training over into the block; returns the names of the good ones."""
    good = set()
    for key, value in values.items():
        taken, problem = training_value(key, value, base, training)
        if problem:
            problems.append(f"{document.at(*where, key)}: {problem}")
            block.bad_fields.add(key if key in training else "")
        else:
            good.add(key)
            block.bad_fields.discard(key)
            block.values[key], block.where[key] = taken, document.at(*where, key)
    return good


def training_value(key: str, value: Any, base: Path, training: TrainingFields) -> tuple[Any, str | None]:
    """(the value as the field takes it, None), or (None, what is wrong with it); paths are relative to `base`."""
    if problem := training.check_name(key):
        return None, problem
    taken, problem = training.check(key, value)
    if key == "dataset" and isinstance(taken, str) and taken.startswith("npz:"):
        return _rebased(taken, "npz:", base)
    return taken, problem


def _rebased(value: str, prefix: str, base: Path) -> tuple[str | None, str | None]:
    """(prefix and the path after it made absolute, None), or (None, what is wrong with it).

    A path in a file is relative to that file, as its author meant it.
    """
    try:
        return prefix + str((base / Path(value.removeprefix(prefix)).expanduser()).resolve()), None
    except (OSError, RuntimeError, ValueError) as error:  # an unknown ~user, a byte that no path has
        return None, f"{value!r} is not valid: {error}"


def _axis(key: str, value: Any, at: Any, problems: list[str], base: Path, training: TrainingFields) -> list[Any]:
    if problem := training.check_name(key):
        problems.append(f"{at(())}: {problem}")
        return []
    if not isinstance(value, list) or not value:
        problems.append(f"{at(())}: {value!r} is not a non-empty list; an axis is one, as in [0, 1]")
        return []
    axis: list[Any] = []
    for i, item in enumerate(value):
        taken, problem = training_value(key, item, base, training)
        if problem:
            problems.append(f"{at((i,))}: {problem}")
        elif any(canonical_json([taken]) == canonical_json([other]) for other in axis):
            problems.append(f"{at((i,))}: {item!r} stands in this axis twice; each value once")
        else:
            axis.append(taken)
    return axis


def _stage_value(
    block: Block,
    cls: type[StageConfig],
    stage: str,
    key: str,
    value: Any,
    problems: list[str],
    scores: Path | None,
) -> None:
    where = block.where[f"{stage}.{key}"]
    fields = fields_of(cls)
    taken, problem = None, fields.check_name(key)
    if problem is None:
        taken, problem = fields.check(key, value)
    file = None if problem or scores is None else marker(fields[key], PathOrSweep)
    if scores is not None and file is not None and isinstance(taken, str) and file.path(taken) is not None:
        taken, problem = _rebased(taken, file.prefix, scores)
    if problem:
        problems.append(f"{where}: {problem}")
        block.bad_stages.add(stage)
    else:
        block.stages[stage][key] = taken


# --- the command line -------------------------------------------------------------------------------------------------


def yaml_value(text: str) -> Any:
    """A command-line value: a YAML scalar or flow list."""
    return yaml_file.parse(text, "command line").value if text.strip() else None


def override(blocks: list[Block], overrides: Sequence[str], registry: Registry, problems: list[str]) -> set[str]:
    seen: set[str] = set()
    for text in overrides:
        match = OVERRIDE.match(text)
        if not match:
            problems.append(f"command line:{text}: is not FIELD=VALUE or STAGE.FIELD=VALUE")
            continue
        name, raw = match.groups()
        where = f"command line:{name}"
        if name in seen:
            problems.append(f"{where}: given twice")
        seen.add(name)
        try:
            value = yaml_value(raw)
        except UsageError as error:
            problems += error.problems
            continue
        if name == "preset":
            _override_preset(blocks, value, where, problems)
        elif "." in name:
            _override_stage(blocks, name, value, where, registry, problems)
        else:
            _override_training(blocks, name, value, where, registry, problems)
    return seen


def _override_preset(blocks: list[Block], value: Any, where: str, problems: list[str]) -> None:
    if problem := problem_of(value):
        problems.append(f"{where}: {problem}")
    for block in blocks:
        block.preset = None if problem else value
        block.bad_fields |= {""} if problem else set()


def _override_training(
    blocks: list[Block], name: str, value: Any, where: str, registry: Registry, problems: list[str]
) -> None:
    axis, taken, known = None, None, len(problems)
    if isinstance(value, list):
        axis = _axis(name, value, lambda i: where, problems, Path.cwd(), registry.training)
    else:
        taken, problem = training_value(name, value, Path.cwd(), registry.training)
        problems += [f"{where}: {problem}"] if problem else []
    for block in blocks:
        if len(problems) > known:
            block.bad_fields.add(name if name in registry.training else "")
            continue
        if axis:
            block.values.pop(name, None)
            block.axes[name] = axis
        else:
            block.axes.pop(name, None)
            block.values[name] = taken
        block.where[name] = where
        block.binding.discard(name)


def _override_stage(blocks: list[Block], name: str, value: Any, where: str, registry: Registry, problems: list[str]) -> None:
    stage, key = name.split(".", 1)
    having = [block for block in blocks if stage in block.stages]
    if stage not in registry.stages:
        problems.append(f"{where}: {unknown_stage(stage, registry)}")
    elif not having:
        problems.append(f"{where}: no block of this sweep has the stage {stage}")
    for block in having:
        block.where[name] = where
        _stage_value(block, registry.stages[stage].config, stage, key, value, problems, Path.cwd())
