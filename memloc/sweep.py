"""From a sweep file to a list of trainings, each with the analyses asked of it.

A sweep is data: defaults, and blocks that are the product of their axes. Order of precedence: defaults < a block's
`set` and `axes` < the command line. Every error is collected and reported with file:line:field.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from memloc import yaml_file
from memloc.config import (
    FieldError,
    StageConfig,
    TrainConfig,
    canonical_json,
    check,
    check_name,
    fingerprint,
    resolve_training,
    unused,
)
from memloc.errors import UsageError, nearest
from memloc.yaml_file import Document

MANY = 100_000
OVERRIDE = re.compile(r"^([A-Za-z_][\w]*(?:\.[\w]+)?)=(.*)$", re.DOTALL)


class StageType(Protocol):
    """What a sweep needs to know of a stage; see stages.base.Stage."""

    config: type[StageConfig]

    def resolve(self, config: Any, train: TrainConfig) -> Any: ...


@dataclass(frozen=True)
class Request:
    """One analysis that a block asks of its trainings."""

    stage: str
    config: StageConfig
    block: str
    where: str  # file:line:field of the stage, for errors found later


@dataclass
class Entry:
    """One training and everything asked of it, whichever blocks asked."""

    config: TrainConfig
    requests: list[Request] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    where: dict[str, str] = field(default_factory=dict)  # file:line:field of every training field that was given

    def place(self, name: str) -> str:
        """Where a training field was given: file:line:field."""
        return self.where.get(name) or f"{self.where['']}.{name}"


@dataclass(frozen=True)
class Sweep:
    name: str
    about: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()


@dataclass
class _Block:
    name: str
    values: dict[str, Any] = field(default_factory=dict)  # defaults, then set, then the command line
    axes: dict[str, list[Any]] = field(default_factory=dict)
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    where: dict[str, str] = field(default_factory=dict)  # of a training field or "stage" or "stage.field"
    binding: set[str] = field(default_factory=set)  # training fields from `set` and `axes`: must be usable


# --- reading ----------------------------------------------------------------------------------------------------------


def shipped() -> dict[str, Path]:
    """{name: file} of the sweeps that come with memloc."""
    here = Path(__file__).parent
    folder = here / "sweeps" if (here / "sweeps").is_dir() else here.parent / "sweeps"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find(name: str) -> Path:
    """The file of a sweep: an argument with a slash or .yaml is a file, else a shipped sweep."""
    if "/" in name or name.endswith((".yaml", ".yml")):
        return Path(name)
    sweeps = shipped()
    if name not in sweeps:
        valid = ", ".join(sweeps)
        raise UsageError(
            f"{name}: no such sweep{nearest(name, sweeps)}; shipped: {valid}; a file of your own: ./{name}.yaml"
        )
    return sweeps[name]


def load(
    path: Path,
    stages: Mapping[str, StageType],
    overrides: Sequence[str] = (),
    many: bool = False,
) -> Sweep:
    """Reads, checks and expands a sweep file.

    Args:
        stages: the known stages by name.
        overrides: `FIELD=VALUE` or `STAGE.FIELD=VALUE` from the command line.
        many: allow more than 100,000 trials.

    Raises:
        UsageError: with every problem of the file and of the overrides, one per line.
    """
    document = yaml_file.read(path)
    problems: list[str] = []
    blocks = _blocks(document, stages, problems, path.parent)
    overridden = _override(blocks, overrides, stages, problems)
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    total = sum(math.prod(len(v) for v in block.axes.values()) for block in blocks)
    if total > MANY and not many:
        raise UsageError(f"{document.name}: {total} trials; more than {MANY} need --yes")
    notes: list[str] = []
    entries = _expand(blocks, stages, problems, notes, "epochs" in overridden)
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    return Sweep(path.stem, str(document.value.get("about", "")), tuple(entries), tuple(dict.fromkeys(notes)))


def about(path: Path) -> str:
    """The first line of a sweep file's `about`, for the list of shipped sweeps."""
    value = yaml_file.read(path).value
    return str(value.get("about", "")).strip() if isinstance(value, dict) else ""


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


def _blocks(document: Document, stages: Mapping[str, StageType], problems: list[str], base: Path) -> list[_Block]:
    top = _mapping(document, document.value, (), problems)
    _keys(document, top, ("about", "defaults", "blocks"), (), problems)
    if "about" in top and not isinstance(top["about"], str):
        problems.append(f"{document.at('about')}: {top['about']!r} is not text")
    defaults = _mapping(document, top.get("defaults"), ("defaults",), problems)
    defaults = _training_values(document, defaults, ("defaults",), problems, base)
    named = _mapping(document, top.get("blocks"), ("blocks",), problems)
    if not named and not problems:
        problems.append(f"{document.at('blocks')}: no blocks; a sweep needs at least one")
    return [_block(document, name, body, defaults, stages, problems, base) for name, body in named.items()]


def _block(
    document: Document,
    name: str,
    body: Any,
    defaults: dict[str, Any],
    stages: Mapping[str, StageType],
    problems: list[str],
    base: Path,
) -> _Block:
    where = ("blocks", name)
    body = _mapping(document, body, where, problems)
    _keys(document, body, ("about", "axes", "set", "stages"), where, problems)
    block = _Block(name, dict(defaults))
    block.where = {"": document.at(*where), **{f: document.at("defaults", f) for f in defaults}}
    literals = _mapping(document, body.get("set"), (*where, "set"), problems)
    for key, value in _training_values(document, literals, (*where, "set"), problems, base).items():
        block.values[key] = value
        block.binding.add(key)
        block.where[key] = document.at(*where, "set", key)
    for key, value in _mapping(document, body.get("axes"), (*where, "axes"), problems).items():
        place = (*where, "axes", key)
        if key in literals:
            problems.append(f"{document.at(*place)}: stands in `set` too; keep one")
        axis = _axis(key, value, lambda i, place=place: document.at(*place, *i), problems, base)
        if axis:
            block.axes[key] = axis
            block.binding.add(key)
            block.where[key] = document.at(*place)
    for stage, settings in _mapping(document, body.get("stages"), (*where, "stages"), problems).items():
        place = (*where, "stages", stage)
        block.where[stage] = document.at(*place)
        if stage not in stages:
            problems.append(f"{document.at(*place)}: unknown stage{nearest(stage, stages)}; valid: {', '.join(stages)}")
            continue
        block.stages[stage] = {}
        for key, value in _mapping(document, settings, place, problems).items():
            block.where[f"{stage}.{key}"] = document.at(*place, key)
            _stage_value(block, stages[stage].config, stage, key, value, problems)
    return block


def _training_values(
    document: Document, values: dict[str, Any], where: tuple[str, ...], problems: list[str], base: Path
) -> dict[str, Any]:
    good = {}
    for key, value in values.items():
        taken, problem = _training_value(key, value, base)
        if problem:
            problems.append(f"{document.at(*where, key)}: {problem}")
        else:
            good[key] = taken
    return good


def _training_value(key: str, value: Any, base: Path) -> tuple[Any, str | None]:
    if problem := check_name(TrainConfig, key):
        return None, problem
    taken, problem = check(TrainConfig, key, value)
    if key == "dataset" and isinstance(taken, str) and taken.startswith("npz:"):
        # A path in a file is relative to that file, as its author meant it.
        taken = "npz:" + str((base / Path(taken[4:]).expanduser()).resolve())
    return taken, problem


def _axis(key: str, value: Any, at: Any, problems: list[str], base: Path) -> list[Any]:
    if problem := check_name(TrainConfig, key):
        problems.append(f"{at(())}: {problem}")
        return []
    if not isinstance(value, list) or not value:
        problems.append(f"{at(())}: {value!r} is not a non-empty list; an axis is one, as in [0, 1]")
        return []
    axis: list[Any] = []
    for i, item in enumerate(value):
        taken, problem = _training_value(key, item, base)
        if problem:
            problems.append(f"{at((i,))}: {problem}")
        elif any(canonical_json([taken]) == canonical_json([other]) for other in axis):
            problems.append(f"{at((i,))}: {item!r} stands in this axis twice; each value once")
        else:
            axis.append(taken)
    return axis


def _stage_value(block: _Block, cls: type[StageConfig], stage: str, key: str, value: Any, problems: list[str]) -> None:
    where = block.where[f"{stage}.{key}"]
    if problem := check_name(cls, key):
        problems.append(f"{where}: {problem}")
        return
    taken, problem = check(cls, key, value)
    if problem:
        problems.append(f"{where}: {problem}")
    else:
        block.stages[stage][key] = taken


# --- the command line -------------------------------------------------------------------------------------------------


def yaml_value(text: str) -> Any:
    """A command-line value: a YAML scalar or flow list."""
    return yaml_file.parse(text, "command line").value if text.strip() else None


def _override(
    blocks: list[_Block], overrides: Sequence[str], stages: Mapping[str, StageType], problems: list[str]
) -> set[str]:
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
        if "." in name:
            _override_stage(blocks, name, value, where, stages, problems)
        else:
            _override_training(blocks, name, value, where, problems)
    return seen


def _override_training(blocks: list[_Block], name: str, value: Any, where: str, problems: list[str]) -> None:
    if isinstance(value, list):
        axis = _axis(name, value, lambda i: where, problems, Path.cwd())
        for block in blocks if axis else []:
            block.values.pop(name, None)
            block.axes[name] = axis
            block.where[name] = where
            block.binding.discard(name)
        return
    taken, problem = _training_value(name, value, Path.cwd())
    if problem:
        problems.append(f"{where}: {problem}")
        return
    for block in blocks:
        block.axes.pop(name, None)
        block.values[name] = taken
        block.where[name] = where
        block.binding.discard(name)


def _override_stage(
    blocks: list[_Block], name: str, value: Any, where: str, stages: Mapping[str, StageType], problems: list[str]
) -> None:
    stage, key = name.split(".", 1)
    having = [block for block in blocks if stage in block.stages]
    if stage not in stages:
        problems.append(f"{where}: unknown stage{nearest(stage, stages)}; valid: {', '.join(stages)}")
    elif not having:
        problems.append(f"{where}: no block of this sweep has the stage {stage}")
    for block in having:
        block.where[name] = where
        _stage_value(block, stages[stage].config, stage, key, value, problems)


# --- expansion --------------------------------------------------------------------------------------------------------


def _expand(
    blocks: list[_Block], stages: Mapping[str, StageType], problems: list[str], notes: list[str], shortened: bool
) -> list[Entry]:
    entries: dict[str, Entry] = {}
    for block in blocks:
        for combination in itertools.product(*block.axes.values()):
            values = {**block.values, **dict(zip(block.axes, combination, strict=True))}
            config = _train_config(block, values, problems)
            if config is None:
                continue
            entry = entries.setdefault(fingerprint(config), Entry(config, where=block.where))
            if block.name not in entry.blocks:
                entry.blocks.append(block.name)
            for stage, settings in block.stages.items():
                request = _request(block, stage, settings, stages[stage], config, problems, notes, shortened)
                if request:
                    entry.requests.append(request)
    return list(entries.values())


def _train_config(block: _Block, values: dict[str, Any], problems: list[str]) -> TrainConfig | None:
    absent = unused(values)
    for name in block.binding & set(absent):
        if values.get(name) is not None:
            problems.append(f"{block.where[name]}: {absent[name]}")
    config, misfits = resolve_training(values)
    for name, problem in misfits.items():
        problems.append(f"{block.where.get(name, block.where[''] + '.' + name)}: {problem}")
    return config


def _request(
    block: _Block,
    stage: str,
    settings: dict[str, Any],
    kind: StageType,
    train: TrainConfig,
    problems: list[str],
    notes: list[str],
    shortened: bool,
) -> Request | None:
    where = block.where[stage]
    if shortened:
        settings = _within(settings, stage, train.epochs, notes)
    try:
        config = kind.resolve(kind.config(**settings), train)
    except FieldError as error:
        problems.append(f"{block.where.get(f'{stage}.{error.field}', f'{where}.{error.field}')}: {error}")
        return None
    return Request(stage, config, block.name, where)


def _within(settings: dict[str, Any], stage: str, last: int, notes: list[str]) -> dict[str, Any]:
    """A command line that shortens the training drops the epochs that are no longer there, and says so."""
    kept = dict(settings)
    if any(t > last for t in settings.get("epochs") or ()):
        kept["epochs"] = tuple(t for t in settings["epochs"] if t <= last)
        dropped = ", ".join(str(t) for t in settings["epochs"] if t > last)
        notes.append(f"{stage}.epochs: {dropped} dropped, training ends at epoch {last}")
        if not kept["epochs"]:
            del kept["epochs"]
    if (settings.get("epoch") or 0) > last:
        del kept["epoch"]
        notes.append(f"{stage}.epoch: {settings['epoch']} dropped, training ends at epoch {last}")
    return kept


# --- filters ----------------------------------------------------------------------------------------------------------


def only(entries: Iterable[Entry], filters: Sequence[str]) -> list[Entry]:
    """The entries that fit every `FIELD=V,V` (all must hold); `block=` keeps a block's trials and its analyses."""
    kept = list(entries)
    for text in filters:
        name, _, raw = text.partition("=")
        valid = ("block", *TrainConfig.model_fields)
        if not raw or name not in valid:
            what = f"unknown field{nearest(name, valid)}; valid: {', '.join(valid)}" if raw else "is not FIELD=VALUE,VALUE"
            raise UsageError(f"command line:--only {text}: {what}")
        words = [w.strip() for w in raw.split(",") if w.strip()]
        if name == "block":
            kept = _only_blocks(kept, words, text)
        else:
            wanted = [_wanted(name, word, text) for word in words]
            there = dict.fromkeys(str(getattr(e.config, name)) for e in kept)
            kept = [e for e in kept if canonical_json([getattr(e.config, name)]) in wanted]
            if not kept:
                raise UsageError(f"command line:--only {text}: no trial fits; {name} there: {', '.join(there)}")
    return kept


def _wanted(name: str, word: str, text: str) -> str:
    value, problem = check(TrainConfig, name, yaml_value(word))
    if problem:
        raise UsageError(f"command line:--only {text}: {problem}")
    return canonical_json([value])


def _only_blocks(entries: list[Entry], names: list[str], text: str) -> list[Entry]:
    known = dict.fromkeys(b for e in entries for b in e.blocks)
    for name in names:
        if name not in known:
            raise UsageError(f"command line:--only {text}: unknown block{nearest(name, known)}; valid: {', '.join(known)}")
    return [
        Entry(e.config, [r for r in e.requests if r.block in names], [b for b in e.blocks if b in names], e.where)
        for e in entries
        if set(e.blocks) & set(names)
    ]
