"""From a sweep file to a list of trainings, each with the analyses asked of it.

A sweep is data: defaults, and blocks that are the product of their axes. Order of precedence: preset < defaults < a
block's `set` and `axes` < the command line. Every error is collected and reported with file:line:field.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memloc import preset, yaml_file
from memloc.config import (
    Checkpoints,
    FieldError,
    Fields,
    Registry,
    StageConfig,
    StageType,
    TrainConfig,
    TrainingFields,
    canonical_json,
    fields_of,
    fingerprint,
    marker,
)
from memloc.errors import UsageError, nearest
from memloc.preset import Preset
from memloc.sweep_file import Block, override, read_blocks, training_value, yaml_value

MANY = 100_000
NAME = re.compile(r"\w[\w.-]*")  # `@` would stand before a record's hash


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
    """folder: where its file lies; other sweeps that it needs may lie there too."""

    name: str
    about: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()
    folder: Path | None = None


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
    registry: Registry,
    overrides: Sequence[str] = (),
    many: bool = False,
) -> Sweep:
    """Reads, checks and expands a sweep file.

    Args:
        registry: the fields of trainings, and the stages.
        overrides: `FIELD=VALUE` or `STAGE.FIELD=VALUE` from the command line.
        many: allow more than 100,000 trials.

    Raises:
        UsageError: with every problem of the file and of the overrides, one per line.
    """
    document = yaml_file.read(path)
    problems: list[str] = []
    notes: list[str] = []
    entries: list[Entry] = []
    if not NAME.fullmatch(path.stem):
        problems.append(f"{document.name}: a sweep is named by its file, with letters, digits, '_', '-' and '.'")
    # Nothing lies beside a shipped file: its C-scores are meant to be in the data directory, which is known later.
    is_shipped = path in shipped().values()
    blocks = read_blocks(document, registry, problems, path.parent, None if is_shipped else path.parent)
    overridden = override(blocks, overrides, registry, problems)
    total = sum(math.prod(len(v) for v in block.axes.values()) for block in blocks)
    if total > MANY and not many:
        problems.append(f"{document.name}: {total} trials; more than {MANY} need --yes")
    else:
        entries = _expand([b for b in blocks if b.comparable], registry, problems, notes, "epochs" in overridden)
        if len(entries) > MANY and not many:
            problems.append(f"{document.name}: {len(entries)} trials; more than {MANY} need --yes")
    if problems:
        raise UsageError(*dict.fromkeys(problems))
    about_it = str(document.value.get("about", ""))
    return Sweep(path.stem, about_it, tuple(entries), tuple(dict.fromkeys(notes)), path.parent)


def about(path: Path) -> str:
    """The first line of a sweep file's `about`, for the list of shipped sweeps."""
    value = yaml_file.read(path).value
    return str(value.get("about", "")).strip() if isinstance(value, dict) else ""


# --- expansion --------------------------------------------------------------------------------------------------------


def _expand(blocks: list[Block], registry: Registry, problems: list[str], notes: list[str], shortened: bool) -> list[Entry]:
    entries: dict[str, Entry] = {}
    files, stages = preset.presets(), registry.stages
    read = {b.preset: preset.read(files[b.preset], registry) for b in blocks if b.preset is not None}
    for block in blocks:
        below = Preset() if block.preset is None else read[block.preset]
        for combination in itertools.product(*block.axes.values()):
            values = {**block.values, **dict(zip(block.axes, combination, strict=True))}
            values = {**below.of(values.get("dataset"), values.get("model")), **values}
            config = _train_config(block, values, registry.training, problems)
            for training in [] if config is None else _trainings(block, config, stages, problems):
                entry = entries.setdefault(fingerprint(training), Entry(training, where=block.where))
                if block.name not in entry.blocks:
                    entry.blocks.append(block.name)
                for stage, settings in block.stages.items():
                    if stage in block.bad_stages:
                        continue
                    request = _request(block, stage, settings, stages[stage], training, problems, notes, shortened, below)
                    if request and request not in entry.requests:  # a block may come to one training in several ways
                        entry.requests.append(request)
    return list(entries.values())


def _trainings(
    block: Block, config: TrainConfig, stages: Mapping[str, StageType], problems: list[str]
) -> Sequence[TrainConfig]:
    """What the block's stages make of one training: many, where it is about what is held out."""

    def examples() -> int:
        from memloc.data import describe

        return config.subset or describe(config.dataset).n_train

    trainings: Sequence[TrainConfig] = [config]
    for stage, settings in block.stages.items():
        if stage in block.bad_stages:
            continue
        try:
            asked = stages[stage].config(**settings)
            trainings = [t for one in trainings for t in stages[stage].trainings(asked, one, examples)]
        except FieldError as error:
            problems.append(f"{block.where.get(f'{stage}.{error.field}', f'{block.where[stage]}.{error.field}')}: {error}")
        except UsageError as error:
            where = block.where.get("dataset", f"{block.where['']}.dataset")
            problems += [f"{where}: {problem}" for problem in error.problems]
            return []
    return trainings


def _train_config(block: Block, values: dict[str, Any], fields: TrainingFields, problems: list[str]) -> TrainConfig | None:
    absent = fields.unused(values)
    for name in absent:
        if name in block.binding and values.get(name) is not None:
            problems.append(f"{block.where[name]}: {absent[name]}")
    config, misfits = fields.resolve(values)
    for name, problem in misfits.items():
        if name not in block.bad_fields:
            problems.append(f"{block.where.get(name, block.where[''] + '.' + name)}: {problem}")
    return config


def _request(
    block: Block,
    stage: str,
    settings: dict[str, Any],
    kind: StageType,
    train: TrainConfig,
    problems: list[str],
    notes: list[str],
    shortened: bool,
    below: Preset,
) -> Request | None:
    where, fields = block.where[stage], fields_of(kind.config)
    if shortened:
        settings = _within(settings, stage, fields, train.epochs, notes)
    beneath = {name: value for name, value in below.stages.get(stage, {}).items() if name not in settings}
    settings = _within(beneath, stage, fields, train.epochs, notes) | settings
    try:
        config = kind.resolve(kind.config(**settings), train, block.stages)
    except FieldError as error:
        places, name = below.where if error.field in beneath else block.where, f"{stage}.{error.field}"
        problems.append(f"{places.get(name, f'{where}.{error.field}')}: {error}")
        return None
    return Request(stage, config, block.name, where)


def _within(settings: dict[str, Any], stage: str, fields: Fields, last: int, notes: list[str]) -> dict[str, Any]:
    """Of a shorter training than was meant the epochs that are not there are dropped, and it is said so."""
    kept = dict(settings)
    for name, value in settings.items():
        if value is None or marker(fields[name], Checkpoints) is None:
            continue
        epochs = value if isinstance(value, tuple) else (value,)
        inside = tuple(t for t in epochs if t <= last)
        if len(inside) == len(epochs):
            continue
        dropped = ", ".join(str(t) for t in epochs if t > last)
        notes.append(f"{stage}.{name}: {dropped} dropped, training ends at epoch {last}")
        if inside:
            kept[name] = inside
        else:
            del kept[name]
    return kept


# --- filters ----------------------------------------------------------------------------------------------------------


def only(entries: Iterable[Entry], filters: Sequence[str], training: TrainingFields) -> list[Entry]:
    """The entries that fit every `FIELD=V,V` (all must hold); `block=` keeps a block's trials and its analyses."""
    kept = list(entries)
    for text in filters:
        name, _, raw = text.partition("=")
        valid = ("block", *training)
        if not raw or name not in valid:
            what = f"unknown field{nearest(name, valid)}; valid: {', '.join(valid)}" if raw else "is not FIELD=VALUE,VALUE"
            raise UsageError(f"command line:--only {text}: {what}")
        words = [w.strip() for w in raw.split(",") if w.strip()]
        if name == "block":
            kept = _only_blocks(kept, words, text)
        else:
            wanted = [_wanted(name, word, text, training) for word in words]
            having = [(e, flat[name]) for e in kept if name in (flat := e.config.flat())]
            there = dict.fromkeys(str(value) for _, value in having)
            kept = [e for e, value in having if canonical_json([value]) in wanted]
            if not kept:
                those = f"{name} there: {', '.join(there)}" if there else f"none uses {name}"
                raise UsageError(f"command line:--only {text}: no trial fits; {those}")
    return kept


def _wanted(name: str, word: str, text: str, training: TrainingFields) -> str:
    value, problem = training_value(name, yaml_value(word), Path.cwd(), training)
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
