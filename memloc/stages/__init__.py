"""The experiments, a folder each. `training` makes the checkpoints of a training. Every other stage analyses a training.

Nothing here imports torch. A stage's compute.py does; it is imported when a part runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa

from memloc.config import Registry, SourceConfig
from memloc.data import describe
from memloc.models.architectures import TRAINING
from memloc.own_code import OwnCode
from memloc.stages.base import Stage
from memloc.stages.instrument import Instrument
from memloc.stages.plugins import installed, with_plugins
from memloc.stages.training.schema import TABLES as TRAINING_TABLES

__all__ = ["REGISTRY", "STAGES", "discover", "instruments", "stages_with", "tables"]


def discover() -> dict[str, Stage[Any]]:
    """{name: stage} of every folder beside this file that has a config.py. `__path__` may name other places to look in."""
    names = sorted(path.parent.name for folder in __path__ for path in Path(folder).glob("*/config.py"))
    return {name: import_module(f"{__name__}.{name}.config").STAGE for name in names}


_OURS = discover()
STAGES = with_plugins(_OURS, installed(_OURS.values()), named=False)


def _count_examples(source: SourceConfig) -> int:
    return describe(source).n_train


def stages_with(codes: tuple[OwnCode, ...]) -> Mapping[str, Stage[Any]]:
    """The stages by name, those of the user's files included.

    Raises:
        UsageError: one of the files cannot be used.
    """
    return _stages_with(codes) if codes else STAGES


@lru_cache(maxsize=64)
def _stages_with(codes: tuple[OwnCode, ...]) -> Mapping[str, Stage[Any]]:
    return with_plugins(STAGES, codes)


REGISTRY = Registry(TRAINING, STAGES, _count_examples, stages_with)


def instruments() -> list[Instrument]:
    """The stages' instruments, in the order of a summary. A stage may have none."""
    ours = [stage for stage in STAGES.values() if stage.code is None]
    modules = [f"{type(stage).__module__.rpartition('.')[0]}.summary" for stage in ours]
    return sorted((import_module(m).INSTRUMENT for m in modules if find_spec(m)), key=lambda i: (i.place, i.stage))


def tables() -> dict[str, pa.Schema]:
    """{table: schema} of everything that trainings and stages write."""
    return {**TRAINING_TABLES, **{name: schema for stage in STAGES.values() for name, schema in stage.tables.items()}}
