"""Rows of `localization`: what a method's scores say of each item, and what closing its first neurons does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from memloc.config import canonical_json
from memloc.data.arrays import I64
from memloc.own_code import staying
from memloc.seeds import hashed
from memloc.stages.base import Tables
from memloc.stages.columns import columns_of
from memloc.stages.inputs import Inputs
from memloc.stages.locate.cases import SEARCHED, Case, Setting
from memloc.stages.locate.config import ResolvedLocate
from memloc.stages.locate.item import Item
from memloc.stages.locate.judged import Bools, Floats, auc, auc_within, descending, expected_recall, first_lost
from memloc.stages.locate.method import Method
from memloc.stages.locate.truths import Group, group_of
from memloc.stages.neurons.after import Sets, accuracies
from memloc.stages.neurons.task import Neurons, Search

LOCATED = ("example", "noisy", "method", "control", "layers", "indices")
CLOSED = (5, 10)  # how many neurons are closed besides those that the label takes, where there is no truth
NAMES = (
    "network", "truth", "example", "noisy", "method", "control", "k", "n_truth", "n_candidates", "recall", "recall_2k",
    "auc", "auc_live", "auc_within", "spec_auc", "auc_plain", "k_star", "censored", "own_flip", "own_true", "clean_drop",
    "noisy_drop", "test_drop", "skipped",
)  # fmt: skip


def run(config: ResolvedLocate, inputs: Inputs, group: int, method: Method) -> Tables:
    """The rows of one method on one group of examples."""
    setting, cases = _remembered(config, inputs, group)
    sets, neurons = _sets(setting, config.evaluated), Neurons(setting.network)
    rows: list[dict[str, Any]] = []
    located: list[dict[str, Any]] = []
    for case in cases:
        about = _about(config, setting, case, method)
        if case.item is None:
            rows.append(about)
            continue
        scores = _scores(method, case.item)
        order = _order(setting, case, scores)
        rows += [
            about | _judged(case, case.item, scores, method) | of for of in _closings(setting, case, case.item, order, sets)
        ]
        if config.truth == "deleted":  # in the training's own network
            layers, indices = zip(*(neurons.locate(neuron) for neuron in order), strict=True)
            located.append(about | {"layers": layers, "indices": indices})
    tables = {"localization": columns_of(rows, NAMES)}
    return {**tables, "located": columns_of(located, LOCATED)} if config.truth == "deleted" else tables


def _remembered(config: ResolvedLocate, inputs: Inputs, group: int) -> Group:
    """The group, kept for the other methods that this process computes on it."""
    read = tuple(inputs.tables.get("injections", {}).get("analysis", ())[:1])
    key = canonical_json(config), read, group
    if inputs.memo.get("locate", (None, None))[0] != key:
        inputs.memo["locate"] = key, group_of(config, inputs, group)
    found: Group = inputs.memo["locate"][1]
    return found


def _about(config: ResolvedLocate, setting: Setting, case: Case, method: Method) -> dict[str, Any]:
    return {
        "network": case.number,
        "truth": config.truth,
        "example": int(setting.inputs.data.example[case.row]),
        "noisy": bool(setting.noisy[case.row]),
        "method": method.name,
        "control": method.control,
        "n_truth": None if case.truth is None else int((case.truth & case.candidates).sum()),
        "n_candidates": int(case.candidates.sum()),
        "skipped": case.item is None,
    }


def _order(setting: Setting, case: Case, scores: Floats) -> list[int]:
    """The candidates from the highest score on; ties by keys of the example."""
    example = int(setting.inputs.data.example[case.row])
    keys = hashed(setting.seed, "locate ties", example, i=np.arange(len(scores))).astype(np.float64)
    places = np.flatnonzero(case.candidates)
    return [int(places[k]) for k in descending(scores[places], keys[places])]


def _scores(method: Method, item: Item) -> Floats:
    """float64 [total].

    Raises:
        ValueError: the method gives anything else than a finite number per candidate.
    """
    with staying(f"method {method.name}"):
        told = method.scores(item)
    given = torch.as_tensor(told).detach().to("cpu", torch.float64).numpy()
    if given.shape != (item.total,) or not np.isfinite(given).all():
        what = f"shape {given.shape}" if given.shape != (item.total,) else "numbers that are not finite"
        raise ValueError(f"method {method.name}: {what}; valid: a finite number for each of the {item.total} channels")
    scores: Floats = given
    return scores


def _judged(case: Case, item: Item, scores: Floats, method: Method) -> dict[str, float | None]:
    """How well the scores name the true neurons among the candidates; nothing without a truth."""
    if case.truth is None:
        return {}
    among, truth = scores[case.candidates], case.truth[case.candidates]
    k, layer = int(truth.sum()), _layers(item)[case.candidates]
    spared = case.spared
    if spared is not None and case.of_other is not None and method.of_other:
        spared = spared & ~case.of_other
    live = item.strengths()[0].cpu().numpy()[case.candidates] > 0
    return {
        "recall": expected_recall(among, truth, k),
        "recall_2k": expected_recall(among, truth, 2 * k),
        "auc": auc(among[truth], among[~truth]),
        "auc_live": auc(among[truth & live], among[~truth & live]),
        "auc_within": auc_within(among, truth, layer),
        "spec_auc": None if spared is None else auc(scores[case.truth], scores[spared]),
        "auc_plain": None if case.plain is None else auc(*(scores[neurons] for neurons in case.plain)),
    }


def _layers(item: Item) -> I64:
    """The number of the layer of each gate."""
    sizes = Neurons(item.network).sizes
    return np.repeat(np.arange(len(sizes)), sizes)


def _closings(setting: Setting, case: Case, item: Item, order: Sequence[int], sets: Sets | None) -> list[dict[str, Any]]:
    """What is left after the first neurons of an order are closed: as many as are true, or as the label takes."""
    n_truth = None if case.truth is None else int((case.truth & case.candidates).sum())
    predicted = _predicted(item, order[: max(SEARCHED, n_truth or 0, *CLOSED)])
    k_star = first_lost(predicted[: SEARCHED + 1], int(item.own.y[0]))
    lost = min(SEARCHED, len(order)) if k_star is None else k_star
    wanted = (lost, *CLOSED) if n_truth is None else (n_truth,)
    counts = list(dict.fromkeys(min(k, len(order)) for k in wanted))  # a row for each
    true = int(setting.inputs.data.true_label[case.row])
    drops = _drops(item, case.row, [order[:k] for k in counts], sets)
    return [
        {
            "k": k,
            "k_star": k_star,
            "censored": k_star is None,
            "own_flip": predicted[k] != int(item.own.y[0]),
            "own_true": predicted[k] == true if true >= 0 else None,
            **drop,
        }
        for k, drop in zip(counts, drops, strict=True)
    ]


@torch.no_grad()
def _predicted(item: Item, order: Sequence[int]) -> list[int]:
    """The class that is predicted after 0, 1, 2, … neurons of an order are closed."""
    gates = item.open(len(order) + 1)
    for k, neuron in enumerate(order, start=1):
        gates[k:, neuron] = 0.0
    classes: list[int] = item.logits(item.own, gates)[:, 0].argmax(dim=1).tolist()
    return classes


def _drops(item: Item, row: int, closed: Sequence[Sequence[int]], sets: Sets | None) -> list[Mapping[str, float | None]]:
    """The accuracy that is lost on the clean, the other memorized and the test examples by each closing."""
    if sets is None:
        return [{} for _ in closed]
    searches = [Search(row), *(Search(row, list(neurons)) for neurons in closed)]
    found = accuracies(item.network, sets, lambda rows: item.masks, searches)
    lost: list[Mapping[str, float | None]] = []
    for k in range(1, len(searches)):
        pairs = {name: (found[f"{name}_acc"][0], found[f"{name}_acc"][k]) for name in ("clean", "noisy", "test")}
        lost.append({f"{n}_drop": None if a is None or b is None else a - b for n, (a, b) in pairs.items()})
    return lost


def _sets(setting: Setting, count: int) -> Sets | None:
    """Up to `count` examples of each set, keyed, the same for every item of a network."""
    if not count:
        return None
    data, device = setting.inputs.on_device, setting.labels.device
    of_sets: list[Bools] = [~setting.noisy, setting.noisy]
    rows = np.concatenate([setting.ordered("evaluated", np.flatnonzero(of_set))[:count] for of_set in of_sets])
    n_test = len(data.y_test)
    keys = hashed(setting.seed, "locate evaluated", "test", i=np.arange(n_test))
    at = torch.from_numpy(np.sort(np.argsort(keys, kind="stable")[:count])).to(device)
    test = (data.x_test[at], data.y_test[at]) if n_test else None
    return Sets(data.x, setting.labels, setting.noisy, np.sort(rows), test, n_test)
