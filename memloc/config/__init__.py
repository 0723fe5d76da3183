"""Frozen, strict configurations, what a person may write for them, and their identity.

A configuration is *resolved* when every field holds what the program will use. Only a resolved one has an identity.
"""

from memloc.config.architecture import ArchitectureConfig
from memloc.config.check import Fields, Problem, fields_of
from memloc.config.identity import canonical, canonical_json, digest, fingerprint
from memloc.config.registry import Registry, StageType
from memloc.config.resolve import TrainingFields
from memloc.config.source import SourceConfig, written_for
from memloc.config.training import (
    ADAMW,
    BatchStatistics,
    DataConfig,
    ExampleTied,
    FrozenStatistics,
    HeldOut,
    NoDropout,
    Sparse,
    Standard,
    TrainConfig,
    default_peak,
)
from memloc.config.types import (
    INT32,
    SEEDS,
    Checkpoints,
    Config,
    Count,
    CountOrZero,
    EpochCount,
    Epochs,
    FieldError,
    Fraction,
    Neutral,
    PathOrSweep,
    Positive,
    Seed,
    Share,
    StageConfig,
    UnusedFieldError,
    Valid,
    as_tuple,
    distinct,
    last_name,
    marker,
)
from memloc.config.written import written

__all__ = [
    "ADAMW",
    "INT32",
    "SEEDS",
    "ArchitectureConfig",
    "BatchStatistics",
    "Checkpoints",
    "Config",
    "Count",
    "CountOrZero",
    "DataConfig",
    "EpochCount",
    "Epochs",
    "ExampleTied",
    "FieldError",
    "Fields",
    "Fraction",
    "FrozenStatistics",
    "HeldOut",
    "Neutral",
    "NoDropout",
    "PathOrSweep",
    "Positive",
    "Problem",
    "Registry",
    "Seed",
    "Share",
    "SourceConfig",
    "Sparse",
    "StageConfig",
    "StageType",
    "Standard",
    "TrainConfig",
    "TrainingFields",
    "UnusedFieldError",
    "Valid",
    "as_tuple",
    "canonical",
    "canonical_json",
    "default_peak",
    "digest",
    "distinct",
    "fields_of",
    "fingerprint",
    "last_name",
    "marker",
    "written",
    "written_for",
]  # fmt: skip
