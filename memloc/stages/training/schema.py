"""The tables that a training writes, and the version of their numbers."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from memloc.config import TrainConfig, canonical_json
from memloc.config.hints import scalars
from memloc.data.arrays import Data
from memloc.models.architectures import TRAINING
from memloc.stages.columns import ACCURACIES, BOOL, FLOAT, INT, SMALL, TEXT

VERSION = 3  # the version of training: raised whenever its numbers change; enters the id of every training

# The first columns of table `trials`: their names and order stay.
FIRST: tuple[tuple[str, pa.DataType], ...] = (
    ("trial", TEXT),
    ("dataset", TEXT),
    ("model", TEXT),
    ("width", FLOAT),
    ("noise", FLOAT),
    ("seed", INT),
    ("data_seed", INT),
    ("dropout", TEXT),
    ("p_gen", FLOAT),
    ("p_mem", FLOAT),
    ("keep", FLOAT),
    ("epochs", SMALL),
    ("n_train", INT),
    ("config", TEXT),
)
TYPES = {bool: BOOL, int: INT, float: FLOAT}


def _column(annotation: Any) -> pa.DataType:
    """The type of the column for a training field."""
    return next((column for kind, column in TYPES.items() if kind in scalars(annotation)), TEXT)


def trial_row(
    trial: str, config: TrainConfig, n_train: int, given_noise: float | None = None, stopped: int | None = None
) -> dict[str, list[Any]]:
    """The row of a training in table `trials`: every field, NULL where it is not used.

    stopped: the epoch at which `stop` has ended it; None: it has not.
    given_noise: the share of the data set's given labels that are known to be wrong; None: nobody knows.
    """
    more = {"trial": trial, "n_train": n_train, "given_noise": given_noise, "stopped": stopped, "version": VERSION}
    row = {**config.flat(), **more, "config": canonical_json(config)}
    return {name: [row.get(name)] for name in TABLES["trials"].names}


def data_tables(trial: str, data: Data) -> dict[str, dict[str, Any]]:
    """Tables `labels` and `files` of a training's data, where they have names and files."""
    names, files = data.origin.class_names, data.origin.files
    tables: dict[str, dict[str, Any]] = {}
    if names:
        tables["labels"] = {"trial": [trial] * len(names), "label": range(len(names)), "name": names}
    if files:
        own = [files[example] for example in data.example]
        tables["files"] = {"trial": [trial] * len(own), "example": data.example, "file": own}
    return tables


TABLES: dict[str, pa.Schema] = {
    "trials": pa.schema(
        [
            *FIRST,
            *((name, _column(kind)) for name, kind in TRAINING.items() if name not in dict(FIRST)),
            ("given_noise", FLOAT),
            ("stopped", SMALL),
            ("version", INT),
        ]
    ),
    "labels": pa.schema([("trial", TEXT), ("label", SMALL), ("name", TEXT)]),
    "files": pa.schema([("trial", TEXT), ("example", INT), ("file", TEXT)]),
    "epochs": pa.schema(
        [("trial", TEXT), ("epoch", SMALL), ("lr", FLOAT), ("loss", FLOAT), *ACCURACIES, ("seconds", FLOAT)]
    ),
    "examples": pa.schema(
        [
            ("trial", TEXT),
            ("example", INT),
            ("label", SMALL),
            ("true_label", SMALL),
            ("noisy", BOOL),
            ("learning_time", SMALL),
            ("forgetting", SMALL),
            ("aum", FLOAT),
            ("el2n", FLOAT),
            ("mean_loss", FLOAT),
            ("final_loss", FLOAT),
            ("mean_prob", FLOAT),
            ("alternative", SMALL),
            ("alternative_prob", FLOAT),
        ]
    ),
}
