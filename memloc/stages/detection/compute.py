"""How well each per-example score finds the mislabeled examples (science.md, Detection scores; paper §6.1)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from memloc.stages.base import Columns, Part, Tables
from memloc.stages.detection.config import SCORES, ResolvedDetection, Score
from memloc.stages.inputs import Inputs
from memloc.statistics import Bools, Floats, auc_difference, auc_interval, average_precision, precision_at

# (column of `examples`, sign with which higher means more likely mislabeled)
RAW: dict[Score, tuple[str, float]] = {
    "learning_time": ("learning_time", 1.0),
    "forgetting": ("forgetting", 1.0),
    "aum": ("aum", -1.0),
    "el2n": ("el2n", 1.0),
    "loss": ("mean_loss", 1.0),
    "probability": ("mean_prob", -1.0),
}


@dataclass(frozen=True)
class Sample:
    """Examples on which scores are compared.

    noisy: bool[n], mislabeled. scores: {score: float64[n]}, higher = more likely mislabeled. weights: float64[n], with
    which the classes have the prevalence of the training set. mass: the weight of all mislabeled, |S_n|.
    """

    name: str
    noisy: Bools
    scores: Mapping[Score, Floats]
    weights: Floats
    mass: float


def run(config: ResolvedDetection, inputs: Inputs, part: Part) -> Tables:
    """Rows of `detection` and `detection_pairs`: sample `all`, then `flips` where the block has them."""
    judges_these = config.c_score is not None and config.c_score.startswith("sweep:")
    samples = samples_of(inputs.tables, config.scores, inputs.c_scores if judges_these else None)
    return {
        "detection": _columns(
            ("score", "sample", "auc", "auc_lo", "auc_hi", "ap", "precision", "miss_rate", "n"),
            [(score, s.name, *_judged(s, score), len(s.noisy)) for s in samples for score in s.scores],
        ),
        "detection_pairs": _columns(
            ("score", "other", "sample", "auc_diff", "lo", "hi", "p"),
            [
                (one, other, s.name, *(auc_difference(s.scores[one], s.scores[other], s.noisy) or [None] * 4))
                for s in samples
                for one, other in combinations(s.scores, 2)
            ],
        ),
    }


# --- samples ----------------------------------------------------------------------------------------------------------


def samples_of(tables: Mapping[str, Columns], scores: Sequence[Score], c_scores: Floats | None = None) -> list[Sample]:
    """Sample `all` has every training example and every score but flips. Sample `flips` has the examples of the flip sample
    with eligible rows, and every score. It is there if flips were read.

    In both, `examples.noisy` says which examples are mislabeled. c_scores: float64 [n], in the order of `examples`, on its
    labels.
    """
    examples = tables["examples"]
    noisy = np.asarray(examples["noisy"], dtype=bool)
    values = {s: sign * np.asarray(examples[column], dtype=np.float64) for s, (column, sign) in RAW.items() if s in scores}
    if "second_split" in scores:
        times = mean_times(tables["second_split"])
        values["second_split"] = np.array([-times[int(e)] for e in examples["example"]], dtype=np.float64)
    if "c_score" in scores:
        values["c_score"] = np.full(len(noisy), np.nan) if c_scores is None else -c_scores
    values = {s: values[s] for s in SCORES if s in values}
    samples = [Sample("all", noisy, values, np.ones(len(noisy)), float(noisy.sum()))]
    if "flips" in tables:
        mean = mean_counts(tables["flips"], _max_neurons(tables["analyses"]))
        at = np.array([row for row, example in enumerate(examples["example"]) if int(example) in mean], dtype=np.int64)
        flips: dict[Score, Floats] = {}
        if "flips" in scores:
            flips["flips"] = np.array([-mean[int(examples["example"][row])] for row in at], dtype=np.float64)
        of_sample = flips | {score: value[at] for score, value in values.items()}
        samples.append(Sample("flips", noisy[at], of_sample, _prevalence(noisy, noisy[at]), float(noisy.sum())))
    return samples


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


def _prevalence(noisy: Bools, sampled: Bools) -> Floats:
    """float64[len(sampled)]: |S_n| / mislabeled in the sample for those, |S_c| / clean in the sample for the rest."""
    of_noisy = noisy.sum() / max(1, sampled.sum())
    of_clean = (~noisy).sum() / max(1, (~sampled).sum())
    weights: Floats = np.where(sampled, of_noisy, of_clean)
    return weights


# --- rows -------------------------------------------------------------------------------------------------------------


def _judged(sample: Sample, score: Score) -> tuple[float | None, ...]:
    """(auc, auc_lo, auc_hi, ap, precision, miss_rate): all None where the sample lacks mislabeled or clean examples.

    precision: the share of mislabeled ones among the |S_n| examples with the highest scores. miss_rate: the share of S_n
    that is not among them. As many are taken as there are, so the two add up to 1.
    """
    values, noisy, weights = sample.scores[score], sample.noisy, sample.weights
    precision = precision_at(values, noisy, weights, sample.mass)
    return (
        *(auc_interval(values, noisy) or [None] * 3),
        average_precision(values, noisy, weights),
        precision,
        None if precision is None else 1 - precision,
    )


def _columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}
