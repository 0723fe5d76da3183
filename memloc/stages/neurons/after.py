"""Accuracy on S_c, S_n and test after the neurons of a search are closed (paper §6.1, Figure 5b).

A batch of images runs once through the open network. Every search goes on from the state before its first closed layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from memloc.config import TrainConfig
from memloc.data import Data
from memloc.data.arrays import I64
from memloc.data.device import images
from memloc.data.labels import stratified
from memloc.models.groups import Network, State
from memloc.models.inference import MaskSource, groups_of
from memloc.seeds import hashed
from memloc.stages.neurons.task import Neurons, Search
from memloc.stages.training.transfer import to_device

NAMES = ("clean_acc", "noisy_acc", "test_acc", "clean_se", "noisy_se", "test_se")


@dataclass(frozen=True)
class Sets:
    """The examples on which accuracy is measured.

    x (uint8 n×C×H×W), y (int64 [n]), noisy (bool [n]): the training data, on the device. rows: int64, the training examples
    that are used, in order. test: (images, labels) that are used; None if the mask mode has no test accuracy. n_test: the
    size of the whole test set.
    """

    x: Tensor
    y: Tensor
    noisy: np.ndarray
    rows: I64
    test: tuple[Tensor, Tensor] | None = None
    n_test: int = 0


def choose(data: Data, post_eval: int | str, train: TrainConfig) -> tuple[I64, I64]:
    """(training rows, test rows) on which accuracy is measured, in order: the same for every search of a training.

    `all`: all of them. Else N/2 of S_c, N/2 of S_n and N/2 test examples (all of a smaller set), in proportion to the labels
    trained on, keyed by seed and data_seed.
    """
    sets = np.flatnonzero(~data.noisy), np.flatnonzero(data.noisy)
    if post_eval == "all":
        return np.arange(len(data.y)), np.arange(len(data.y_test))
    half = int(post_eval) // 2
    keys = train.seed, "flip accuracy", train.data_seed
    rank, rank_test = hashed(*keys, i=data.example), hashed(*keys, "test", i=np.arange(len(data.y_test)))
    chosen = [rows[stratified(data.y[rows], min(half, len(rows)), rank[rows])] for rows in sets if len(rows)]
    test = stratified(data.y_test, min(half, len(data.y_test)), rank_test) if len(data.y_test) else np.arange(0)
    return np.sort(np.concatenate(chosen)), test


def accuracies(network: Network, sets: Sets, masks: MaskSource, searches: Sequence[Search]) -> dict[str, list[float | None]]:
    """The accuracies on S_c, S_n and test for every search, with its neurons closed and its own example left out.

    The standard error is that of a sample without replacement, √(p(1−p)/(m−1)·(1−m/M)) for m of M; 0 on the whole set.
    """
    rows = torch.from_numpy(sets.rows).to(sets.x.device)
    correct = _predictions(network, sets.x[rows], masks, rows, searches).eq(sets.y[rows]).cpu().numpy()
    on_test = [np.zeros(0, dtype=bool)] * len(searches)
    if sets.test is not None:
        on_test = list(_predictions(network, sets.test[0], masks, None, searches).eq(sets.test[1]).cpu().numpy())
    columns: dict[str, list[float | None]] = {name: [] for name in NAMES}
    for k, search in enumerate(searches):
        others = sets.rows != search.row
        for name, of_set in (("clean", ~sets.noisy), ("noisy", sets.noisy)):
            members = of_set[sets.rows] & others
            whole = int(of_set.sum()) - int(of_set[search.row])
            accuracy, error = _share(correct[k][members], whole)
            columns[f"{name}_acc"].append(accuracy)
            columns[f"{name}_se"].append(error)
        accuracy, error = _share(on_test[k], sets.n_test)
        columns["test_acc"].append(accuracy)
        columns["test_se"].append(error)
    return columns


def _share(right: np.ndarray, whole: int) -> tuple[float | None, float | None]:
    """(share of True, its standard error as an estimate for a set of `whole`)."""
    m = len(right)
    if not m:
        return None, None
    p = float(right.mean())
    if m == whole:
        return p, 0.0
    return p, float(np.sqrt(p * (1 - p) / (m - 1) * (1 - m / whole))) if m > 1 else None


@torch.inference_mode()
def _predictions(network: Network, x: Tensor, masks: MaskSource, rows: Tensor | None, searches: Sequence[Search]) -> Tensor:
    """int64 [searches, n]; rows: the training rows of the images x, None for test images."""
    neurons = Neurons(network)
    plans = [_plan(network, neurons, search, x.device) for search in searches]
    out = torch.empty(len(searches), len(x), dtype=torch.int64, device=x.device)
    for at in groups_of(len(x), x.device):
        factors = masks(at if rows is None else rows[at])
        state: State = (images(x[at]),)
        before: dict[str, State] = {}
        for group in network.groups:
            before[group] = state
            state = network.run_group(group, state, masks=factors)
        for k, (first, gates) in enumerate(plans):
            z = state[0] if first is None else network.run_from(first, before[first], gates, factors)
            out[k, at] = z.argmax(dim=1)
    return out


def _plan(network: Network, neurons: Neurons, search: Search, device: torch.device) -> tuple[str | None, dict[str, Any]]:
    """(the first group with a closed neuron, the gates of the layers that have any), for all images alike."""
    gates = torch.ones(1, neurons.total)
    gates[0, search.closed] = 0.0  # on the host: an index that is a list would be a copy for which the host waits
    gates = to_device(gates, device)
    touched = {neurons.locate(index)[0] for index in search.closed}
    first = min((network.group_of(layer) for layer in touched), key=network.groups.index, default=None)
    return first, {layer: gate for layer, gate in neurons.split(gates).items() if layer in touched}
