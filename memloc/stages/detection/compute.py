"""How well each per-example score finds the mislabeled examples (science.md, Detection scores; paper §6.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from memloc.own_code import staying
from memloc.stages.base import Columns, Tables
from memloc.stages.detection.config import ResolvedDetection
from memloc.stages.detection.scores import SCORES, flips
from memloc.stages.inputs import Inputs
from memloc.stages.score import Score
from memloc.statistics import Bools, Floats, auc_difference, auc_interval, average_precision, precision_at


@dataclass(frozen=True)
class Sample:
    """Examples on which scores are compared.

    noisy: bool[n], mislabeled. scores: {score: float64[n]}, higher = more likely mislabeled. weights: float64[n], with
    which the classes have the prevalence of the training set. mass: the weight of all mislabeled, |S_n|.
    """

    name: str
    noisy: Bools
    scores: Mapping[str, Floats]
    weights: Floats
    mass: float


def run(config: ResolvedDetection, inputs: Inputs, known: Sequence[Score] = SCORES) -> Tables:
    """Rows of `detection` and `detection_pairs`: sample `all`, then `flips` where the block has them.

    Table `scores` has the values of the scores that have no column of their own in view `leaderboard`: those of other stages
    and the user's own. known: every score there is.
    """
    judges_these = config.c_score is not None and config.c_score.startswith("sweep:")
    c_scores = {"c_scores": {"c_score": inputs.c_scores}} if judges_these and inputs.c_scores is not None else {}
    compared = [score for score in known if score.name in config.scores]
    samples = samples_of({**inputs.tables, **c_scores}, compared)
    tables: dict[str, Columns] = {
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
    if own := [score.name for score in compared if score not in SCORES]:
        tables["scores"] = _own_values(own, samples[0], inputs.tables["examples"]["example"])
    return tables


def _own_values(names: Sequence[str], sample: Sample, examples: Sequence[int]) -> Columns:
    values = np.concatenate([sample.scores[name] for name in names])
    return {
        "score": [name for name in names for _ in examples],
        "example": [*examples] * len(names),
        "value": [None if np.isnan(value) else float(value) for value in values],
    }


# --- samples ----------------------------------------------------------------------------------------------------------


def samples_of(tables: Mapping[str, Columns], scores: Sequence[Score]) -> list[Sample]:
    """Sample `all` has every training example and every score but flips. Sample `flips` has the examples of the flip sample
    with eligible rows, and every score. It is there if flips were read.

    In both, `examples.noisy` says which examples are mislabeled.
    """
    noisy = np.asarray(tables["examples"]["noisy"], dtype=bool)
    values = {score.name: _values(score, tables, len(noisy)) for score in scores}
    of_all = {name: each for name, each in values.items() if name != "flips"}
    samples = [Sample("all", noisy, of_all, np.ones(len(noisy)), float(noisy.sum()))]
    if "flips" in tables:
        at = np.flatnonzero(~np.isnan(flips(tables)))
        of_sample = {name: each[at] for name, each in values.items()}
        samples.append(Sample("flips", noisy[at], of_sample, _prevalence(noisy, noisy[at]), float(noisy.sum())))
    return samples


def _values(score: Score, tables: Mapping[str, Columns], n: int) -> Floats:
    """float64 [n] of a score.

    Raises:
        ValueError: a user's own score gives anything else.
    """
    with staying(f"score {score.name}"):
        given = score.values(tables)
    values = np.asarray(given, dtype=np.float64)
    if values.shape != (n,) or np.isinf(values).any():
        what = f"shape {values.shape}" if values.shape != (n,) else "infinite values"
        raise ValueError(f"score {score.name}: {what}; valid: a finite number or NaN for each of the {n} training examples")
    return values


def _prevalence(noisy: Bools, sampled: Bools) -> Floats:
    """float64[len(sampled)]: |S_n| / mislabeled in the sample for those, |S_c| / clean in the sample for the rest."""
    of_noisy = noisy.sum() / max(1, sampled.sum())
    of_clean = (~noisy).sum() / max(1, (~sampled).sum())
    weights: Floats = np.where(sampled, of_noisy, of_clean)
    return weights


# --- rows -------------------------------------------------------------------------------------------------------------


def _judged(sample: Sample, score: str) -> tuple[float | None, ...]:
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
