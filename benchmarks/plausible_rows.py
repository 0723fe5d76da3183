"""Rows as trainings and analyses write them, drawn instead of computed: the same for the same ids, every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from memloc import stages
from memloc.config import canonical
from memloc.run.plan import AnalysisPlan, TrialPlan
from memloc.stages.base import Part
from memloc.stages.training.schema import trial_row

Columns = dict[str, Any]
MEMORIZED = 0.99  # noisy accuracy after the last epoch


def draw_of(name: str) -> np.random.Generator:
    """The random numbers of a training or a part, by its id."""
    return np.random.default_rng(int(name, 16))


def training_rows(trial: TrialPlan) -> dict[str, Columns]:
    """The tables of a training: accuracy climbs, first of the correctly labeled examples, then of the mislabeled ones."""
    draw, epochs, n, noisy = draw_of(trial.id), trial.config.epochs, trial.size.n, trial.size.n_noisy
    epoch = np.arange(1, epochs + 1)
    clean_acc, noisy_acc = _climb(epoch, 0.1 * epochs), _climb(epoch, 0.5 * epochs)
    by_epoch = {
        "epoch": epoch,
        "lr": 0.1 * (1 - epoch / (epochs + 1)),
        "loss": 2.3 * (1 - clean_acc) + draw.random(epochs) / 100,
        "clean_acc": clean_acc,
        "noisy_acc": noisy_acc,
        "test_acc": 0.9 * clean_acc,
        "seconds": draw.random(epochs),
    }
    is_noisy, label = np.arange(n) < noisy, draw.integers(0, 10, n)
    learned = np.where(is_noisy, 0.5 * epochs, 0.1 * epochs) + draw.integers(0, 5, n)
    numbers = ("aum", "el2n", "mean_loss", "final_loss", "mean_prob", "alternative_prob")
    by_example = {
        "example": np.arange(n),
        "label": label,
        "true_label": (label + is_noisy) % 10,
        "noisy": is_noisy,
        "learning_time": learned.astype(np.int32),
        "forgetting": draw.integers(0, 4, n) + is_noisy,
        "alternative": (label + 1 + is_noisy) % 10,
        **{name: draw.random(n) + is_noisy for name in numbers},
    }
    return {
        "trials": dict(trial_row(trial.id, trial.config, n)),
        "epochs": {"trial": [trial.id] * epochs, **by_epoch},
        "examples": {"trial": [trial.id] * n, **by_example},
    }


def _climb(epoch: Any, half: float) -> Any:
    """Accuracies that are half of the last one at an epoch."""
    return MEMORIZED / (1 + np.exp(-(epoch - half) / 2))


def part_rows(trial: TrialPlan, analysis: AnalysisPlan, part_id: str, part: Part) -> dict[str, Columns]:
    """The tables of one part of an analysis. Columns that are not drawn are NULL."""
    drawn = DRAWN[analysis.stage](trial, canonical(analysis.config), part, draw_of(part_id))
    tables = {}
    for table, columns in drawn.items():
        n = len(next(iter(columns.values())))
        ids = {"analysis": [analysis.id] * n, "trial": [trial.id] * n}
        known = stages.tables()[table].names
        tables[table] = {name: [None] * n for name in known} | ids | columns
    return tables


def _gradients(trial: TrialPlan, config: Mapping[str, Any], part: Part, draw: np.random.Generator) -> dict[str, Columns]:
    params = [(layer, f"{layer}.{name}") for layer in trial.size.groups for name in ("weight", "scale", "shift")]
    n = len(params)
    numbers = {name: draw.random(n) for name in ("sq_clean", "sq_noisy", "sq_control")}
    products = {"dot": -0.8 * np.sqrt(numbers["sq_clean"] * numbers["sq_noisy"]), "dot_control": draw.normal(size=n) / 100}
    named = {"layer": [layer for layer, _ in params], "param": [name for _, name in params]}
    return {
        "gradients": {"epoch": [part["epoch"]] * n, **named, "numel": draw.integers(64, 10_000, n), **numbers, **products}
    }


def _rewind(trial: TrialPlan, config: Mapping[str, Any], part: Part, draw: np.random.Generator) -> dict[str, Columns]:
    layers, last = list(trial.size.groups), part["epoch"] == trial.config.epochs
    forgotten = np.zeros(len(layers)) if last else draw.random(len(layers))
    accuracies = {"clean_acc": 1 - forgotten / 10, "noisy_acc": MEMORIZED - forgotten / 2, "test_acc": 0.9 - forgotten / 10}
    losses = {"clean_loss": forgotten / 5, "noisy_loss": forgotten}
    return {"rewind": {"layer": layers, "epoch": [part["epoch"]] * len(layers), **accuracies, **losses}}


def _flips(trial: TrialPlan, config: Mapping[str, Any], part: Part, draw: np.random.Generator) -> dict[str, Columns]:
    n_noisy = min(config["noisy"], trial.size.n_noisy)
    n = n_noisy + min(config["clean"], trial.size.n - trial.size.n_noisy)
    noisy = np.arange(n) < n_noisy
    count = np.where(noisy, 1 + draw.poisson(3, n), 1 + draw.poisson(12, n)).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(count)]).astype(np.int32)
    layers = pa.array(trial.size.groups).take(pa.array(draw.integers(0, len(trial.size.groups), offsets[-1])))
    indices = pa.array(draw.integers(0, 512, offsets[-1]).astype(np.int32))
    lost = count / 2000
    accuracies = {"clean_acc": 1 - lost, "noisy_acc": MEMORIZED - 2 * lost, "test_acc": 0.9 - lost}
    return {
        "flips": {
            # The mislabeled examples are the first ones of the training; of the others the first ones are searched.
            "example": np.where(noisy, np.arange(n), np.arange(n) - n_noisy + trial.size.n_noisy),
            "repeat": [part["repeat"]] * n,
            "noisy": noisy,
            "eligible": draw.random(n) < MEMORIZED,
            "count": count,
            "censored": np.zeros(n, dtype=bool),
            "layers": pa.ListArray.from_arrays(offsets, layers),
            "indices": pa.ListArray.from_arrays(offsets, indices),
            "new_class": draw.integers(0, 10, n).astype(np.int32),
            **accuracies,
            **{name: draw.random(n) / 100 for name in ("clean_se", "noisy_se", "test_se")},
        }
    }


def _evaluate(trial: TrialPlan, config: Mapping[str, Any], part: Part, draw: np.random.Generator) -> dict[str, Columns]:
    n, mode = trial.size.n, {"mode": ["plain"], "rescale": ["none"]}
    accuracies = {"clean_acc": [1.0], "noisy_acc": [MEMORIZED], "test_acc": [0.9], "noisy_true_acc": [0.005]}
    by_example = {
        "example": np.arange(n),
        "predicted": draw.integers(0, 10, n),
        "correct": draw.random(n) < MEMORIZED,
        "margin": draw.normal(5, 2, n).astype(np.float32),
    }
    return {"evaluation": {**mode, **accuracies}, "predictions": {k: v * n for k, v in mode.items()} | by_example}


def _detection(trial: TrialPlan, config: Mapping[str, Any], part: Part, draw: np.random.Generator) -> dict[str, Columns]:
    without = [(score, "all") for score in config["scores"] if score != "flips"]
    rows = [*without, *((score, "flips") for score in config["scores"])]
    auc = 0.7 + 0.2 * draw.random(len(rows))
    numbers = {"auc": auc, "auc_lo": auc - 0.05, "auc_hi": auc + 0.05, "ap": auc - 0.2, "precision": auc - 0.3}
    pairs = [(a, b, "flips") for k, a in enumerate(config["scores"]) for b in config["scores"][k + 1 :]]
    difference = draw.normal(size=len(pairs)) / 10
    compared = {"auc_diff": difference, "lo": difference - 0.05, "hi": difference + 0.05, "p": draw.random(len(pairs))}
    return {
        "detection": {**_transposed(("score", "sample"), rows), **numbers, "n": [trial.size.n] * len(rows)},
        "detection_pairs": {**_transposed(("score", "other", "sample"), pairs), **compared},
    }


def _transposed(names: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Columns:
    return {name: [row[k] for row in rows] for k, name in enumerate(names)}


DRAWN = {
    "gradients": _gradients,
    "rewind": _rewind,
    "flips": _flips,
    "evaluate": _evaluate,
    "detection": _detection,
}
