"""The tables that a training writes, and the version of their numbers."""

from __future__ import annotations

import pyarrow as pa

from memloc.stages.columns import ACCURACIES, BOOL, FLOAT, INT, SMALL, TEXT

VERSION = 2  # of training: raised whenever its numbers change; enters the id of every training

TABLES: dict[str, pa.Schema] = {
    "trials": pa.schema(
        [
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
        ]
    ),
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
        ]
    ),
}
