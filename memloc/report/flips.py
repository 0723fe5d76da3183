"""Neurons that carry a prediction (paper §6.1): Figure 5, and who finds the mislabeled examples."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from memloc.report.charts import Chart, Curves, Dots, Exhibit, Number, Series
from memloc.report.choice import Wanted, choose
from memloc.report.settings import JOINS, KEYS, LABELS, Setting, in_words, over_seeds, seeds_in_words, split
from memloc.report.source import Source

FIRST = 5  # closings whose layers are compared: later ones are of long searches alone, which are the clean examples'
BINS = 50  # of accuracies
PAPER_COUNT = {"noisy": "5.1", "clean": "15.7"}
NAMES = {False: "clean", True: "noisy"}

COUNTS = f"""WITH searches AS (
  SELECT {KEYS}, trial, noisy, neurons
  FROM flip_counts {JOINS}
  WHERE {LABELS})
SELECT setting, analysis, trial, noisy, neurons, count(*) AS searches
FROM searches GROUP BY ALL ORDER BY ALL"""

# The accuracy on the training set: its clean and noisy examples' by their numbers.
ACCURACIES = f"""WITH sets AS (
  SELECT trial, avg(noisy::INT) AS share FROM examples GROUP BY trial),
searches AS (
  SELECT {KEYS}, trial, noisy,
         floor({BINS} * ((1 - share) * coalesce(clean_acc, 0) + share * coalesce(noisy_acc, 0)) + 1e-9) / {BINS} AS accuracy
  FROM flips {JOINS} JOIN sets USING (trial)
  WHERE eligible AND clean_acc IS NOT NULL AND {LABELS})
SELECT setting, analysis, trial, noisy, accuracy, count(*) AS searches
FROM searches GROUP BY ALL ORDER BY ALL"""

LAYERS = f"""WITH closings AS (
  SELECT {KEYS}, trial, noisy, unnest(layers[1:{FIRST}]) AS layer
  FROM flips {JOINS}
  WHERE eligible AND {LABELS})
SELECT setting, analysis, trial, noisy, layer, count(*) AS closings
FROM closings GROUP BY ALL ORDER BY ALL"""

DETECTION = f"""SELECT {KEYS}, sample, score, list(auc ORDER BY trial) AS auc
FROM detection {JOINS}
WHERE auc IS NOT NULL
GROUP BY ALL ORDER BY ALL"""

SCORES = {
    "flips": "neurons to flip",
    "learning_time": "learning time",
    "forgetting": "forgetting events",
    "second_split": "forgetting time",
    "aum": "area under the margin",
    "el2n": "EL2N",
    "loss": "mean loss",
    "c_score": "C-score",
}
PAPER_AUC = {"flips": "0.89", "learning_time": "0.87", "second_split": "0.93"}


def figure5(source: Source) -> Exhibit:
    exhibit = Exhibit(
        "fig05",
        "Figure 5",
        "Neurons to close until a prediction flips; what that costs; where they are",
        "6.1",
        "The paper: noisy examples need about a third as many, closing them costs less, and the layers are alike.",
        "memloc sweep flips",
    )
    sql = (COUNTS, ACCURACIES, LAYERS)
    chosen = choose(split(source.frame(COUNTS)), Wanted(("cifar10",), ("resnet9",), (0.1,)), shown=4)
    others = [{_key(s): s for s in split(source.frame(query))} for query in sql[1:]] if chosen.settings else [{}, {}]
    charts: list[Chart] = []
    numbers: list[Number] = []
    for s in chosen.settings:
        charts.append(cumulative(s, "neurons", "neurons closed until the prediction flips", f"(a) Neurons: {s.label}"))
        numbers += [_mean(s, n) for n in ("noisy", "clean")] + [_below(s)]
        if after := others[0].get(_key(s)):
            charts.append(cumulative(after, "accuracy", "training accuracy left", f"(b) Accuracy left: {s.label}"))
        if closed := others[1].get(_key(s)):
            charts.append(layer_shares(closed, source))
    return chosen.fill(
        exhibit,
        *sql,
        charts=charts,
        numbers=numbers,
        seeds=seeds_in_words(list(s.rows.trial.unique()) for s in chosen.settings),
    )


def _key(setting: Setting) -> tuple[str, str]:
    return str(setting.rows.setting[0]), str(setting.rows.analysis[0])


def cumulative(setting: Setting, column: str, x_label: str, title: str) -> Curves:
    """The share of searches at or below each value, for clean and noisy examples."""
    values = sorted(setting.rows[column].unique().tolist())
    lines = []
    for noisy, name in NAMES.items():
        rows = setting.rows[setting.rows.noisy == noisy]
        if len(rows):
            table = rows.pivot(index=column, columns="trial", values="searches").reindex(values).fillna(0.0)
            shares = (table.cumsum() / table.sum()).to_numpy()
            found = [v for row in shares if (v := over_seeds(list(row), 0.0, 1.0)) is not None]
            lines.append(Series(name, values, found))
    return Curves(title, {"": lines}, x_label, "share of searches", (0.0, 1.0), steps=True)


def layer_shares(setting: Setting, source: Source) -> Dots:
    """Of the first closings, the share in each layer."""
    layers = source.in_order(setting.rows.layer, setting.model)
    values = {}
    for noisy, name in NAMES.items():
        rows = setting.rows[setting.rows.noisy == noisy]
        table = rows.pivot(index="layer", columns="trial", values="closings").reindex(layers).fillna(0.0)
        shares = (table / table.sum()).to_numpy()
        values[name] = [over_seeds(list(row), 0.0, 1.0) for row in shares]
    return Dots(f"(c) Layers: {setting.label}", layers, values, f"share of the first {FIRST} closings")


def _per_training(setting: Setting, name: str) -> list[pd.DataFrame]:
    rows = setting.rows[setting.rows.noisy == (name == "noisy")]
    return [of for _, of in rows.groupby("trial")]


def _mean(setting: Setting, name: str) -> Number:
    means = [float((of.neurons * of.searches).sum() / of.searches.sum()) for of in _per_training(setting, name)]
    return Number(f"mean neurons, {name} examples, {setting.label}", in_words(over_seeds(means, 0.0), 2), PAPER_COUNT[name])


def _below(setting: Setting) -> Number:
    shares = [float(of.searches[of.neurons < 10].sum() / of.searches.sum()) for of in _per_training(setting, "noisy")]
    return Number(
        f"noisy examples that need fewer than 10, {setting.label}", in_words(over_seeds(shares, 0.0, 1.0)), "> 0.90"
    )


def detection(source: Source) -> Exhibit:
    """Not a figure there: the AUCs that §6.1 gives in its text, and those of the other scores."""
    exhibit = Exhibit(
        "detection",
        "In the text of § 6.1",
        "Which score finds the mislabeled examples",
        "6.1",
        "Area under the ROC curve, on the examples that were flipped where some were. The paper: 0.89 by flips.",
        "memloc sweep flips",
    )
    settings = split(source.frame(DETECTION))
    chosen = choose(settings, Wanted(("cifar10",), ("resnet9",), (0.1,)), shown=4)
    charts: list[Chart] = []
    numbers = []
    for s in chosen.settings:
        sample = "flips" if "flips" in set(s.rows["sample"]) else "all"
        rows = s.rows[s.rows["sample"] == sample].set_index("score")
        aucs = {score: over_seeds(rows.auc[score], 0.0, 1.0) for score in _sorted(rows.index.tolist())}
        charts.append(Dots(s.label, [SCORES.get(n, n) for n in aucs], {"AUC": list(aucs.values())}, "AUC", (0.4, 1.02)))
        numbers += [Number(f"AUC of {SCORES[n]}, {s.label}", in_words(aucs.get(n)), paper) for n, paper in PAPER_AUC.items()]
    return chosen.fill(
        exhibit,
        DETECTION,
        charts=charts,
        numbers=numbers,
        seeds=seeds_in_words(v for s in chosen.settings for v in s.rows.auc),
    )


def _sorted(scores: Sequence[str]) -> list[str]:
    order = list(SCORES)
    return sorted(scores, key=lambda n: (order.index(n) if n in order else len(order), n))


EXHIBITS = (figure5, detection)
