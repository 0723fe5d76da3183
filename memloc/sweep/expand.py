"""From blocks to trainings: every combination of a block's axes is resolved, and the same training is one entry."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memloc.config import (
    Checkpoints,
    FieldError,
    Fields,
    Registry,
    TrainConfig,
    UnusedFieldError,
    fields_of,
    fingerprint,
    marker,
)
from memloc.errors import UsageError
from memloc.sweep import presets
from memloc.sweep.block import Block
from memloc.sweep.presets import Preset
from memloc.sweep.request import Entry, Request


@dataclass
class Expansion:
    """Collects entries by the fingerprint of their training, with problems and notes.

    shortened: the command line sets `epochs`, so listed checkpoints beyond the last epoch are dropped. limit: the expansion
    ends at this number of entries.
    """

    registry: Registry
    problems: list[str]
    shortened: bool = False
    limit: int | None = None
    entries: dict[str, Entry] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _presets: dict[str, Preset] = field(default_factory=dict)
    _used: dict[str, bool] = field(default_factory=dict)  # by the place of a stage's field: whether a training uses it
    _why_unused: dict[str, str] = field(default_factory=dict)

    def add(self, blocks: Sequence[Block]) -> None:
        files = presets.presets()
        for name in dict.fromkeys(b.preset for b in blocks if b.preset is not None):
            self._presets[name] = presets.read(files[name], self.registry)
        for block in blocks:
            for training in self._trainings(block):
                entry = self.entries.setdefault(fingerprint(training), Entry(training, where=block.where))
                if block.name not in entry.blocks:
                    entry.blocks.append(block.name)
                requests = [self._request(block, stage, training) for stage in block.stages if stage not in block.bad_stages]
                # A block may come to one training in several ways.
                entry.requests += [r for r in requests if r is not None and r not in entry.requests]
                if self.limit is not None and len(self.entries) >= self.limit:
                    return
        self.problems += [f"{where}: {self._why_unused[where]}" for where, used in self._used.items() if not used]

    # --- trainings

    def _trainings(self, block: Block) -> Iterator[TrainConfig]:
        """The trainings of a block, including those that its stages add."""
        below = self._presets.get(block.preset or "", Preset())
        for combination in itertools.product(*block.axes.values()):
            flat = {**block.fields, **dict(zip(block.axes, combination, strict=True))}
            flat = {**below.for_training(flat.get("dataset"), flat.get("model")), **flat}
            config = self._resolved(block, flat)
            if config is not None:
                yield from self._of_stages(block, config)

    def _resolved(self, block: Block, flat: Mapping[str, Any]) -> TrainConfig | None:
        fields = self.registry.training
        absent = fields.unused(flat)
        self.problems += [f"{block.where[n]}: {absent[n]}" for n in absent if n in block.binding and flat.get(n) is not None]
        config, misfits = fields.resolve(flat)
        self.problems += [f"{block.place(n)}: {problem}" for n, problem in misfits.items() if n not in block.bad_fields]
        return config

    def _of_stages(self, block: Block, config: TrainConfig) -> Sequence[TrainConfig]:
        """The trainings that the block's stages make of one training. Stage `held_out` makes many."""

        def examples() -> int:
            return config.subset or self.registry.examples(config.dataset)

        trainings: Sequence[TrainConfig] = [config]
        for stage, settings in block.stages.items():
            if stage in block.bad_stages:
                continue
            kind = self.registry.stages[stage]
            try:
                trainings = [t for one in trainings for t in kind.trainings(kind.config(**settings), one, examples)]
            except FieldError as error:
                self.problems.append(f"{self._place(block, stage, error.field)}: {error}")
            except UsageError as error:
                self.problems += [f"{block.place('dataset')}: {problem}" for problem in error.problems]
                return []
        return trainings

    # --- analyses

    def _request(self, block: Block, stage: str, train: TrainConfig) -> Request | None:
        """The analysis that a block asks of a training.

        A field that the training does not use is left out. It is an error only if no training of the block uses it.
        """
        kind, fields = self.registry.stages[stage], fields_of(self.registry.stages[stage].config)
        below = self._presets.get(block.preset or "", Preset())
        own = block.stages[stage]
        if self.shortened:
            own = self._within(own, stage, fields, train.epochs)
        beneath = {name: value for name, value in below.stages.get(stage, {}).items() if name not in own}
        settings = self._within(beneath, stage, fields, train.epochs) | own
        while True:
            try:
                config = kind.resolve(kind.config(**settings), train, block.stages)
            except UnusedFieldError as unused:
                del settings[unused.field]
                if unused.field in own:
                    where = self._place(block, stage, unused.field)
                    self._used.setdefault(where, False)
                    self._why_unused.setdefault(where, str(unused))
            except FieldError as error:
                where = self._place(block, stage, error.field)
                if error.field in beneath:
                    where = below.where.get(f"{stage}.{error.field}", where)
                self.problems.append(f"{where}: {error}")
                return None
            else:
                self._used.update({self._place(block, stage, name): True for name in own if name in settings})
                return Request(stage, config, block.name, block.where[stage])

    def _within(self, settings: Mapping[str, Any], stage: str, fields: Fields, last: int) -> dict[str, Any]:
        """The settings without checkpoints beyond the end of a shortened training. A note says which ones are dropped."""
        kept = dict(settings)
        for name, value in settings.items():
            listed = value if isinstance(value, tuple) else () if value is None else (value,)
            if name not in fields or marker(fields[name], Checkpoints) is None or max(listed, default=0) <= last:
                continue
            dropped = ", ".join(str(t) for t in listed if t > last)
            self.notes.append(f"{stage}.{name}: {dropped} dropped, training ends at epoch {last}")
            if within := tuple(t for t in listed if t <= last):
                kept[name] = within
            else:
                del kept[name]
        return kept

    def _place(self, block: Block, stage: str, name: str) -> str:
        return block.where.get(f"{stage}.{name}", f"{block.where[stage]}.{name}")
