"""The scores that have a column of their own in view `leaderboard` (science.md, Detection scores)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from memloc.stages.base import Columns
from memloc.stages.score import Score

if TYPE_CHECKING:
    from memloc.statistics import Floats  # it imports scipy, which no reader needs


def of_training(column: str, sign: int = 1) -> Callable[[Mapping[str, Columns]], Floats]:
    """A column of table `examples`; NaN where it is not finite. sign: -1 where a low value is suspicious."""

    def values(tables: Mapping[str, Columns]) -> Floats:
        found = sign * np.asarray(tables["examples"][column], dtype=np.float64)
        return np.where(np.isfinite(found), found, np.nan)  # logits of a training that diverges may be infinite first

    return values


def flips(tables: Mapping[str, Columns]) -> Floats:
    """Minus the mean number of neurons; NaN for an example that was not searched."""
    mean = mean_counts(tables["flips"], _max_neurons(tables["analyses"]))
    return np.array([-mean.get(int(example), np.nan) for example in tables["examples"]["example"]], dtype=np.float64)


def second_split(tables: Mapping[str, Columns]) -> Floats:
    """Minus the mean time after which the second split has made the network forget the example."""
    times = mean_times(tables["second_split"])
    return np.array([-times[int(example)] for example in tables["examples"]["example"]], dtype=np.float64)


def c_score(tables: Mapping[str, Columns]) -> Floats:
    """Minus the C-score; NaN where there are none on these labels."""
    if "c_scores" not in tables:
        return np.full(len(tables["examples"]["example"]), np.nan)
    return -np.asarray(tables["c_scores"]["c_score"], dtype=np.float64)


SCORES = (
    Score("flips", flips, "flips"),
    Score("learning_time", of_training("learning_time")),
    Score("forgetting", of_training("forgetting")),
    Score("second_split", second_split, "second_split"),
    Score("aum", of_training("aum", -1)),
    Score("el2n", of_training("el2n")),
    Score("loss", of_training("mean_loss")),
    Score("probability", of_training("mean_prob", -1)),
    Score("c_score", c_score),
)


def mean_counts(flips: Columns, max_neurons: Mapping[str, int]) -> dict[int, float]:
    """{example: mean count over its eligible repeats}; a censored repeat counts its analysis's max_neurons."""
    counts: dict[int, list[int]] = {}
    names = ("analysis", "example", "eligible", "count", "censored")
    for analysis, example, eligible, count, censored in zip(*(flips[name] for name in names), strict=True):
        if eligible:
            counts.setdefault(int(example), []).append(max_neurons[analysis] if censored else int(count))
    return {example: sum(values) / len(values) for example, values in counts.items()}


def mean_times(second_split: Columns) -> dict[int, float]:
    """{example: mean time over the second-split analyses of the block}."""
    times: dict[int, list[int]] = {}
    for example, time in zip(second_split["example"], second_split["time"], strict=True):
        times.setdefault(int(example), []).append(int(time))
    return {example: sum(values) / len(values) for example, values in times.items()}


def _max_neurons(analyses: Columns) -> dict[str, int]:
    """{analysis: max_neurons} of the flips that were read."""
    rows = zip(analyses["analysis"], analyses["stage"], analyses["config"], strict=True)
    return {analysis: json.loads(config)["max_neurons"] for analysis, stage, config in rows if stage == "flips"}
