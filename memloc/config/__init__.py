"""Frozen, strict configurations, what a person may write for them, and their identity.

A configuration is *resolved* when every field holds what the program will use. Only a resolved one has an identity.
"""

from memloc.config.check import Fields, fields_of
from memloc.config.identity import canonical, canonical_json, digest, fingerprint
from memloc.config.registry import Registry, StageType
from memloc.config.resolve import TrainingFields
from memloc.config.training import (
    DATASETS,
    ArchitectureConfig,
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
    Checkpoints,
    Config,
    Count,
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
    marker,
)

__all__ = [
    "DATASETS",
    "ArchitectureConfig",
    "BatchStatistics",
    "Checkpoints",
    "Config",
    "Count",
    "DataConfig",
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
    "Registry",
    "Seed",
    "Share",
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
    "marker",
]  # fmt: skip
