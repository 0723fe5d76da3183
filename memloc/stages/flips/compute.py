"""Neuron flipping (science.md, Neuron flipping; paper §6.1, Figure 5): how many neurons carry an example's prediction.

The search itself is in stages/neurons/search.py, the accuracy that is left after it in stages/neurons/after.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from memloc.data import Data
from memloc.data.arrays import I64
from memloc.models.inference import logits
from memloc.models.weight_gates import WeightGated
from memloc.seeds import hashed
from memloc.stages.base import Part, Tables
from memloc.stages.flips.config import FlipsConfig, reference_examples
from memloc.stages.inputs import Inputs
from memloc.stages.neurons.after import NAMES, Sets, accuracies, choose
from memloc.stages.neurons.search import search
from memloc.stages.neurons.task import Neurons, Search, Task


def run(config: FlipsConfig, inputs: Inputs, part: Part) -> Tables:
    """One row per example of the part's group: its search, and accuracies after it."""
    data, repeat = inputs.data, int(part["repeat"])
    chosen = sample(data, config, inputs.train.data_seed)
    rows = chosen[int(part["group"]) * config.group_size :][: config.group_size]
    task = _task(config, inputs, repeat)
    predicted = _plain_predictions(task, rows)
    eligible = predicted == data.y[rows]
    searched = {s.row: s for s in search(task, rows[eligible].tolist())}
    searches = [searched.get(r) or Search(r, new_class=p) for r, p in zip(rows.tolist(), predicted.tolist(), strict=True)]
    columns = {
        "example": data.example[rows],
        "repeat": [repeat] * len(rows),
        "noisy": data.noisy[rows],
        "eligible": eligible,
        **_columns(task.neurons, searches),
    }
    return {"flips": columns | _after(config, inputs, task, searches)}


def sample(data: Data, config: FlipsConfig, data_seed: int) -> I64:
    """The rows of the examples that are searched, in order: the first of each set in an order keyed by data_seed alone."""
    rank = hashed(data_seed, "flip sample", i=data.example)
    chosen = []
    for members, count in ((np.flatnonzero(~data.noisy), config.clean), (np.flatnonzero(data.noisy), config.noisy)):
        chosen.append(members[np.argsort(rank[members], kind="stable")[:count]])
    return np.sort(np.concatenate(chosen))


def _task(config: FlipsConfig, inputs: Inputs, repeat: int) -> Task:
    final = inputs.network(inputs.train.epochs)
    network = WeightGated(final) if config.ablate == "weight" else final.folded()
    return Task(
        network,
        inputs.on_device.x,
        inputs.on_device.y,
        inputs.data.example,
        inputs.masks(network, config.mask_mode),
        inputs.train.seed,
        repeat,
        config.reference,
        config.max_neurons,
        reference_examples(config, len(inputs.data.y)),
        inputs.memo.setdefault(
            ("flips", config.mask_mode, config.reference, config.batch, config.ablate, config.noise_norm), {}
        ),
        own_batch=inputs.train.batch_size if config.batch == "own" else None,
        norm_over_batch=config.noise_norm == "batch",
        positive=config.choose == "positive",
    )


def _plain_predictions(task: Task, rows: I64) -> I64:
    """The predictions of the network itself, without noise and with every gate open."""
    if not len(rows):
        return rows
    at = torch.from_numpy(rows).to(task.x.device)
    predicted: I64 = logits(task.network, task.x[at], lambda k: task.masks(at[k])).argmax(dim=1).cpu().numpy()
    return predicted


def _columns(neurons: Neurons, searches: Sequence[Search]) -> dict[str, list[Any]]:
    places = [[neurons.locate(index) for index in s.closed] for s in searches]
    return {
        "count": [len(s.closed) for s in searches],
        "censored": [s.censored for s in searches],
        "layers": [[layer for layer, _ in at] for at in places],
        "indices": [[index for _, index in at] for at in places],
        "new_class": [s.new_class for s in searches],
    }


def _after(config: FlipsConfig, inputs: Inputs, task: Task, searches: Sequence[Search]) -> dict[str, list[float | None]]:
    if config.post_eval == 0:
        return {name: [None] * len(searches) for name in NAMES}
    data, on_device = inputs.data, inputs.on_device
    rows, test_rows = choose(data, config.post_eval, inputs.train)
    test = None
    if config.mask_mode != "own" and len(test_rows):
        at = torch.from_numpy(test_rows).to(task.x.device)
        test = on_device.x_test[at], on_device.y_test[at]
    sets = Sets(task.x, task.y, data.noisy, rows, test, len(data.y_test))
    return accuracies(task.network, sets, task.masks, searches)
