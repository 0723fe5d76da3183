"""Suspicions of every example, float64 [N], by memloc and by cleanlab, from the trainings in a store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata

from memloc.data import normalise
from memloc.data.arrays import U8
from memloc.statistics import Floats

METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
# Of `examples`: columns and signs with which higher is more suspect.
SCORES = {"aum": ("aum", -1.0), "probability": ("mean_prob", -1.0), "loss": ("mean_loss", 1.0)}


def in_sample(store: Any, sweep: str, n: int) -> Iterator[tuple[str, Floats]]:
    """memloc's: the mean place of an example among the unplanted ones, over the trainings; by each score and by several."""
    rows = store.pandas("examples", sweep=sweep)
    rows["margin"] = rows["alternative_prob"] - rows["mean_prob"]
    places: dict[str, list[Floats]] = {name: [] for name in (*SCORES, "margin")}
    for _, one in rows.groupby("trial"):
        seen = ~one["noisy"].to_numpy(bool)
        for name, (column, sign) in {**SCORES, "margin": ("margin", 1.0)}.items():
            values, place = sign * one[column].to_numpy(np.float64), np.full(n, np.nan)
            place[one["example"].to_numpy()[seen]] = rankdata(values[seen]) / seen.sum()
            places[name].append(place)
    means = {name: np.nanmean(found, axis=0) for name, found in places.items()}
    yield from ((f"memloc {name}", mean) for name, mean in means.items())
    for several in (("aum", "probability", "loss"), ("margin", "loss"), ("aum", "loss"), ("aum", "margin", "loss")):
        yield f"memloc {' + '.join(several)}", np.mean([means[name] for name in several], axis=0)


def out_of_sample(store: Any, sweep: str, x: U8, classes: int) -> Floats:
    """float64 [N, K]: probabilities of every example by a network that has not seen it. x: uint8 N×C×H×W."""
    found, times = np.zeros((len(x), classes)), np.zeros((len(x), 1))
    rows = store.pandas("held_out", sweep=sweep)
    for trial, of_trial in rows[~rows["held_in"]].groupby("trial"):
        out = of_trial["example"].to_numpy()
        found[out] += _probabilities(store.trial(trial).model(), x[out])
        times[out] += 1
    return np.asarray(found / times)


def _probabilities(model: torch.nn.Module, x: U8) -> Floats:
    """float64 [n, K], the softmax of the logits."""
    images = normalise(torch.from_numpy(x))
    with torch.no_grad():
        z = torch.cat([model(images[k : k + 256]) for k in range(0, len(images), 256)])
    return np.asarray(z.double().softmax(1))


def cleanlab(labels: Any, probabilities: Floats, of: str) -> Iterator[tuple[str, Floats]]:
    """cleanlab's label quality, turned round, by its three methods."""
    from cleanlab.rank import get_label_quality_scores

    for method in METHODS:
        quality = get_label_quality_scores(labels, probabilities, method=method, adjust_pred_probs=False)
        yield f"cleanlab {method}, {of}", -np.asarray(quality)


def logistic(x: Any, labels: Any) -> Floats:
    """float64 [N, K]: cleanlab's usual way: cross-validated probabilities of a logistic regression on the pixels."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    flat = x.reshape(len(x), -1) / 255.0
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))
    with threadpool_limits(1):  # more threads than cores cost a factor of ten
        return np.asarray(cross_val_predict(model, flat, labels, method="predict_proba"))
