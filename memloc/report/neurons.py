"""The neurons of an example, for the explorer: those that searches close, and the first ones by each method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from memloc.analysis.observations import Observations
from memloc.analysis.views import MOST_SEARCHED
from memloc.report.training_sets import TrainingSet, short
from memloc.stages.locate.config import METHODS, NAMED

NETWORKS, CLOSINGS = 4, 200_000  # trainings of a set whose closed neurons are shown, and how many closings of them
LOCATED = 20_000  # lists of neurons on a page, at most


def closed(observations: Observations, one: TrainingSet, examples: Sequence[int]) -> dict[str, Any] | None:
    """The neurons that searches close in the first trainings, up to `NETWORKS` and `CLOSINGS`; None without searches.

    A neuron of one training is another one than that of the next. neurons: [training, layer, index]. closed: {example:
    neuron, in how many searches, neuron, …}. searches: of an example in a training. rows: layer groups in network order.
    layers: [name, row, left, width, neurons]: a layer within a group lies in the group's row beside the group's others.
    """
    largest = observations.once(
        ("most searched",), lambda: frozenset(observations.frame(MOST_SEARCHED)["analysis"].tolist())
    )
    searched = {a["trial"]: a["analysis"] for a in observations.analyses if a["analysis"] in largest}
    trainings = sorted(searched.keys() & {*one.scored}, key=lambda t: (observations.trials[t]["seed"], t))
    rows = _searches(observations, [searched[t] for t in trainings[:NETWORKS]], examples)
    if rows.empty:
        return None
    closings = np.cumsum([rows["layers"][rows["trial"] == t].str.len().sum() for t in trainings[:NETWORKS]])
    few = trainings[: max(1, int((closings <= CLOSINGS).sum()))]
    rows = rows[rows["trial"].isin(few)]
    sizes: dict[str, int] = {}
    of_example: dict[int, Counter[tuple[int, str, int]]] = {}
    for trial, example, layers, indices in rows.itertuples(index=False, name=None):
        mine = of_example.setdefault(example, Counter())
        for layer, index in zip(layers, indices, strict=True):
            mine[trainings.index(trial), layer, index] += 1
            sizes[layer] = max(sizes.get(layer, 0), index + 1)
    names = observations.order(one.setting, sizes)
    groups = observations.groups(one.setting.scope.model)
    homes = [([g for g in groups if layer == g or layer.startswith(f"{g}.")] or [layer])[-1] for layer in names]
    drawn = observations.order(one.setting, [*groups, *homes])
    shares = short(1 / homes.count(home) for home in homes)
    lefts = short(homes[:k].count(home) / homes.count(home) for k, home in enumerate(homes))
    numbers = {neuron: k for k, neuron in enumerate(sorted({n for mine in of_example.values() for n in mine}))}
    return {
        "trainings": [f"seed {observations.trials[t]['seed']}" for t in few],
        "of": len(trainings),
        "searches": int(rows.groupby(["trial", "example"]).size().max()),
        "rows": drawn,
        "layers": [(n, drawn.index(h), x, w, sizes[n]) for n, h, x, w in zip(names, homes, lefts, shares, strict=True)],
        "neurons": [(training, names.index(layer), index) for training, layer, index in numbers],
        "closed": {
            e: [v for neuron in sorted(mine) for v in (numbers[neuron], mine[neuron])] for e, mine in of_example.items()
        },
    }


def _searches(observations: Observations, analyses: Sequence[str], examples: Sequence[int]) -> pd.DataFrame:
    """The eligible searches of these examples: trial, example, layers, indices (lists), by training, example and repeat."""
    columns = ("trial", "example", "repeat", "eligible", "layers", "indices")
    batches = observations.batches("flips", columns, analyses)
    rows = pd.DataFrame([row for batch in batches for row in batch.to_pylist()], columns=columns)
    kept = rows[rows["eligible"].astype(bool) & rows["example"].isin(examples)]
    return kept.sort_values(["trial", "example", "repeat"], kind="stable")[["trial", "example", "layers", "indices"]]


def located(observations: Observations, one: TrainingSet, examples: Sequence[int]) -> dict[str, Any] | None:
    """The first neurons of each example by each method, in the first training that has them; None without any.

    layers: [name, neurons], in network order. methods: their names. first: {example: [the name of its training, for each
    method layer, index, layer, index, …]}.
    """
    named = [a for a in observations.analyses if a["stage"] == "locate" and a["config"]["truth"] == "deleted"]
    analyses = {a["trial"]: a["analysis"] for a in reversed(named)}
    trainings = sorted(analyses.keys() & {*one.scored}, key=lambda t: (observations.trials[t]["seed"], t))
    lists, sizes = _lists(observations, [analyses[t] for t in trainings], examples)
    if not lists:
        return None
    first: dict[int, dict[str, list[tuple[str, int]]]] = {}
    home: dict[int, str] = {}
    for trial in trainings:
        for example, method, neurons in lists.get(trial, ()):
            if home.setdefault(example, trial) == trial:
                first.setdefault(example, {})[method] = neurons
    few = dict(list(first.items())[: LOCATED // len({method for of in first.values() for method in of})])
    names = observations.order(one.setting, sizes)
    known = {method for of in few.values() for method in of}
    methods = [m.name for m in METHODS if m.name in known]
    methods += sorted(known - {*methods})
    number = {name: k for k, name in enumerate(names)}
    return {
        "layers": [(name, sizes[name]) for name in names],
        "methods": methods,
        "first": {
            e: [f"seed {observations.trials[home[e]]['seed']}",
                *([v for layer, index in of.get(m, ()) for v in (number[layer], index)] for m in methods)]
            for e, of in few.items()
        },
    }  # fmt: skip


def _lists(
    observations: Observations, analyses: Sequence[str], examples: Iterable[int]
) -> tuple[dict[str, list[tuple[int, str, list[tuple[str, int]]]]], dict[str, int]]:
    """({training: [example, method, its first neurons]}, {layer: its neurons}); controls find nothing, and are left out."""
    kept, sizes = {*examples}, dict[str, int]()
    found: dict[str, list[tuple[int, str, list[tuple[str, int]]]]] = {}
    for batch in observations.batches("located", ("trial", "example", "method", "control", "layers", "indices"), analyses):
        for row in batch.to_pylist():
            if row["example"] in kept and not row["control"]:
                neurons = list(zip(row["layers"], row["indices"], strict=True))
                for layer, index in neurons:
                    sizes[layer] = max(sizes.get(layer, 0), index + 1)
                found.setdefault(row["trial"], []).append((row["example"], row["method"], neurons[:NAMED]))
    return found, sizes
