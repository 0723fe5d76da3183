"""From blocks to trainings: every combination of a block's axes is resolved, and the same training is one entry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memloc.config import (
    Checkpoints,
    FieldError,
    Fields,
    Registry,
    StageConfig,
    TrainConfig,
    UnusedFieldError,
    configured,
    fields_of,
    fingerprint,
    marker,
    written,
)
from memloc.errors import UsageError
from memloc.sweep import presets
from memloc.sweep.block import COMMAND_LINE, Asked, Block
from memloc.sweep.presets import Preset
from memloc.sweep.request import Entry, Request

MOST_FAILED = 10_000  # combinations of a block that come to nothing, before the others are left alone


@dataclass
class Expansion:
    """Collects entries by the fingerprint of their training, with problems and notes.

    shortened: the command line sets `epochs`, so listed checkpoints beyond the last epoch are dropped, and a peak of the
    learning rate may be beyond it. limit: the expansion ends at this number of entries.
    """

    registry: Registry
    problems: list[str]
    shortened: bool
    limit: int | None = None
    entries: dict[str, Entry] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _presets: dict[Path, Preset] = field(default_factory=dict)
    _requests: dict[Request, Request] = field(default_factory=dict)
    _used: dict[str, bool] = field(default_factory=dict)  # by the place of a stage's field: whether a training uses it
    _why_unused: dict[str, str] = field(default_factory=dict)

    def add(self, blocks: Sequence[Block]) -> None:
        """Expands these blocks, up to the limit. A field of a stage that no training has used is a problem."""
        for path in dict.fromkeys(b.preset for b in blocks if b.preset is not None):
            try:
                self._presets[path] = presets.read(path, self.registry)
            except UsageError as error:
                self.problems += error.problems
        for block in blocks:
            if block.preset is not None and block.preset not in self._presets:
                continue  # it is unknown which fields it would have set
            for training in self._trainings(block):
                entry = self.entries.setdefault(fingerprint(training), Entry(training, where=block.where))
                if block.name not in entry.blocks:
                    entry.blocks.append(block.name)
                    entry.checkpoints.append(block.checkpoints)
                requests = [self._request(block, asked, training) for asked in block.stages if not asked.bad]
                # A block may come to one training in several ways.
                entry.requests += [r for r in requests if r is not None and r not in entry.requests]
                if self.limit is not None and len(self.entries) >= self.limit:
                    return
        self.problems += [f"{where}: {self._why_unused[where]}" for where, used in self._used.items() if not used]

    def keep_first(self, number: int) -> None:
        """Leaves out all entries but the first ones."""
        self.entries = dict(list(self.entries.items())[:number])

    def _preset(self, block: Block) -> Preset:
        return Preset() if block.preset is None else self._presets[block.preset]

    # --- trainings

    def _trainings(self, block: Block) -> Iterator[TrainConfig]:
        """The trainings of a block, including those that its stages add."""
        preset = self._preset(block)
        failed = 0
        for combination in block.combinations():
            flat = {**block.fields, **combination}
            config = self._resolved(block, preset, preset.under(flat))
            if config is not None:
                yield from self._of_stages(block, config)
            elif (failed := failed + 1) == MOST_FAILED:
                return  # a billion combinations may have the same problem

    def _resolved(self, block: Block, preset: Preset, flat: Mapping[str, Any]) -> TrainConfig | None:
        fields = self.registry.training
        absent = fields.unused(flat)
        unfit = {name: why for name, why in absent.items() if name in block.binding and flat.get(name) is not None}
        self.problems += [f"{block.where[n]}: {why}{self._cause(block, n, flat)}" for n, why in unfit.items()]
        config, misfits = fields.resolve(flat)
        misfits = {name: problem for name, problem in misfits.items() if name not in block.bad_fields}
        for name, problem in misfits.items():
            place = block.where.get(name) or preset.place(name, flat) or block.place(name)
            self.problems.append(f"{place}: {problem}{self._cause(block, name, flat)}")
        if config is not None:
            self._check_peak(block, config)
        return config

    def _cause(self, block: Block, name: str, flat: Mapping[str, Any]) -> str:
        """What a problem of a file's field comes from, if the command line has brought it about; else nothing."""
        decided_by = self.registry.training.decided_by(name)
        if decided_by is None or block.place(name).startswith(COMMAND_LINE):
            return ""
        if not block.place(decided_by).startswith(COMMAND_LINE) or name not in flat:
            return ""
        override = f"{decided_by}={written(flat[decided_by], quote=False)}"
        return f"; {override} on the command line makes it so: leave it out, or change a copy of the file (--show prints it)"

    def _check_peak(self, block: Block, config: TrainConfig) -> None:
        """A peak beyond the last epoch is a slip where a sweep asks for it.

        It may come about where the command line shortens a training, or by a preset's peak beside the sweep's own epochs.
        """
        peak, last = config.peak_epoch, config.epochs
        if peak <= last:
            return
        given = block.where.get("peak_epoch")
        if given is None or (self.shortened and not given.startswith(COMMAND_LINE)):
            self.notes.append(f"peak_epoch: {peak} is beyond the last epoch {last}: the learning rate rises to the end")
        else:
            self.problems.append(f"{given}: {peak} is beyond the last epoch; valid: 1 to {last}, or null")

    def _of_stages(self, block: Block, config: TrainConfig) -> Iterator[TrainConfig]:
        """The trainings that the block's stages make of one training. Stage `held_out` makes many."""

        def count_examples() -> int:
            return config.subset or self.registry.count_examples(config.source)

        trainings: Iterator[TrainConfig] = iter([config])
        for asked in block.stages:
            if not asked.bad:
                trainings = self._of_stage(block, asked, trainings, count_examples)
        yield from trainings

    def _of_stage(
        self, block: Block, asked: Asked, trainings: Iterator[TrainConfig], count_examples: Callable[[], int]
    ) -> Iterator[TrainConfig]:
        """The trainings that a stage makes of these, one by one: a stage may ask for a billion.

        A training stays as it is if the stage's settings do not fit it.
        """
        kind = self.registry.stages[asked.stage]
        try:
            config = configured(kind.config, asked.fields)
        except FieldError as error:
            self.problems.append(f"{asked.place_of(error.field)}: {error}")
            yield from trainings
            return
        for training in trainings:
            try:
                yield from kind.trainings(config, training, count_examples)
            except FieldError as error:
                self.problems.append(f"{asked.place_of(error.field)}: {error}")
                yield training
            except UsageError as error:
                self.problems += [f"{block.place('dataset')}: {problem}" for problem in error.problems]
                return

    # --- analyses

    def _request(self, block: Block, asked: Asked, train: TrainConfig) -> Request | None:
        """The analysis that a block asks of a training.

        A field that the training does not use is left out. It is an error only if no training of the block uses it.
        """
        stage, own = asked.stage, asked.fields
        fields = fields_of(self.registry.stages[stage].config)
        preset = self._preset(block)
        of_preset = {name: value for name, value in preset.stages.get(stage, {}).items() if name not in own}
        try:
            settings = self._within(of_preset, stage, fields, train.epochs)
            settings |= self._within(own, stage, fields, train.epochs) if self.shortened else own
            config = self._resolved_stage(block, asked, train, settings)
        except FieldError as error:
            where = asked.place_of(error.field)
            if error.field in of_preset:
                where = preset.where.get(f"{stage}.{error.field}", where)
            self.problems.append(f"{where}: {error}{_beside(asked, where)}")
            return None
        self._used.update({asked.place_of(name): True for name in own if name in settings})
        request = Request(stage, config, block.name, asked.place)
        return self._requests.setdefault(request, request)  # one for all trainings of which it is asked

    def _resolved_stage(self, block: Block, asked: Asked, train: TrainConfig, settings: dict[str, Any]) -> StageConfig:
        """The resolved configuration of a stage. Fields that mean nothing for the training are removed from `settings`."""
        kind, beside = self.registry.stages[asked.stage], {other.stage for other in block.stages}
        while True:
            try:
                resolved: StageConfig = kind.resolve(configured(kind.config, settings), train, beside)
            except UnusedFieldError as unused:
                del settings[unused.field]
                if unused.field in asked.fields:
                    where = asked.place_of(unused.field)
                    self._used.setdefault(where, False)
                    self._why_unused.setdefault(where, str(unused))
            else:
                return resolved

    def _within(self, settings: Mapping[str, Any], stage: str, fields: Fields, last: int) -> dict[str, Any]:
        """The settings without checkpoints beyond the end of a shortened training. A note says which ones are dropped."""
        kept = dict(settings)
        for name, value in settings.items():
            listed = value if isinstance(value, tuple) else () if value is None else (value,)
            if name not in fields or marker(fields[name], Checkpoints) is None or max(listed, default=0) <= last:
                continue
            if within := tuple(t for t in listed if t <= last):
                dropped = ", ".join(str(t) for t in listed if t > last)
                self.notes.append(f"{stage}.{name}: {dropped} dropped, training ends at epoch {last}")
                kept[name] = within
            else:
                gone = ", ".join(map(str, listed))
                beyond = f"none is left of {gone}" if isinstance(value, tuple) else f"{gone} is beyond the last epoch"
                raise FieldError(name, f"{beyond}: the training ends at epoch {last}; give {stage}.{name}=…")
        return kept


def _beside(asked: Asked, where: str) -> str:
    """What the command line says of the stage, where a problem stands elsewhere: that may have brought it about."""
    typed = asked.typed()
    if where.startswith(COMMAND_LINE) or not typed:
        return ""
    words = ", ".join(f"{asked.stage}.{name}={written(value, quote=False)}" for name, value in typed.items())
    return f"; beside {words} on the command line"
