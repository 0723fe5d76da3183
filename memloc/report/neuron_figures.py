"""Neurons that carry a prediction (paper §6.1): Figure 5, and how well scores find the mislabeled examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from memloc.papers.maini2023 import detection as found_by
from memloc.papers.maini2023 import flipped_neurons as judged
from memloc.report.charts import Chart, Curves, Dots, Exhibit, Number, Series
from memloc.report.curves import series
from memloc.report.selection import Wanted, select
from memloc.report.setting_rows import JOINS, KEYS, LABELS, SettingRows, in_words, over_seeds, seeds_in_words, split
from memloc.report.source import Source
from memloc.statistics import Interval

FIRST = 5  # closings whose layers are compared: only long searches have later ones, and these are of clean examples
BINS = 50  # of accuracies
NAMES = {False: "clean", True: "noisy"}

COUNTS = f"""WITH searches AS (
  SELECT {KEYS}, trial, noisy, neurons
  FROM flip_counts {JOINS}
  WHERE {LABELS})
SELECT setting, analysis, trial, noisy, neurons, count(*) AS searches
FROM searches GROUP BY ALL ORDER BY ALL"""

# The rows behind the scorecard's F1, F2 and F3.
SEARCHES = f"""SELECT {KEYS}, trial, trials.data_seed, repeat, example, noisy, neurons AS count, clean_acc, noisy_acc
FROM flip_counts {JOINS}
WHERE {LABELS}
ORDER BY ALL"""

SIZES = "SELECT trial, count_if(NOT noisy) AS clean, count_if(noisy) AS noisy FROM examples GROUP BY trial ORDER BY trial"

# The accuracy on the training set: those of clean and noisy examples, weighted by their numbers.
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

DETECTION = f"""SELECT {KEYS}, trial, trials.data_seed, sample, score, auc, auc_lo, auc_hi
FROM detection {JOINS}
WHERE auc IS NOT NULL
ORDER BY ALL"""

# The counts behind the scorecard's D1.flips.
POOLED = f"""WITH counted AS (
  SELECT {KEYS}, trial, trials.data_seed, unnest(reads) AS flips
  FROM analyses JOIN trials USING (trial) WHERE stage = 'detection')
SELECT setting, counted.analysis AS analysis, counted.trial AS trial, data_seed, repeat, example, noisy, neurons AS count
FROM counted JOIN flip_counts ON flip_counts.analysis = flips
ORDER BY ALL"""

# The AUC when more and more trainings and repeats are averaged: the mean over draws of the mislabeled (`data_seed`).
BY_DRAWS = f"""WITH counted AS (
  SELECT {KEYS}, json_merge_patch(trials.config, '{{"seed": null}}')::VARCHAR AS mislabeled, unnest(reads) AS flips
  FROM analyses JOIN trials USING (trial) WHERE stage = 'detection'),
settings AS (
  SELECT DISTINCT counted.setting, counted.analysis, mislabeled, searched.config AS analysis_config
  FROM counted JOIN analyses AS searched ON searched.analysis = flips)
SELECT settings.setting AS setting, settings.analysis AS analysis, draws, list(auc ORDER BY mislabeled) AS auc
FROM settings JOIN flips_auc_pooled AS pooled ON pooled.setting = mislabeled
     AND pooled.analysis_config = settings.analysis_config
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
    "probability": "probability of the label",
    "c_score": "C-score",
}
PAPER_AUC = {"flips": None, "learning_time": "0.87", "second_split": "0.93"}
PAPER_POOLED = "0.89"


def figure5(source: Source) -> Exhibit:
    exhibit = Exhibit(
        "fig05",
        "Figure 5",
        "Neurons to close until a prediction flips; what that costs; where they are",
        "6.1",
        "The paper: noisy examples need about a third as many, closing them costs less, and the layers are alike.",
        "memloc sweep flips",
    )
    sql = (COUNTS, ACCURACIES, LAYERS, SEARCHES, SIZES)
    selection = select(split(source.frame(COUNTS)), Wanted(("cifar10",), ("resnet9",), (0.1,)), shown=4)
    others = [{_key(s): s for s in split(source.frame(query))} for query in sql[1:4]] if selection.settings else [{}, {}, {}]
    sizes = {str(t): (int(c), int(n)) for t, c, n in source.frame(SIZES)[["trial", "clean", "noisy"]].to_numpy()}
    charts: list[Chart] = []
    numbers: list[Number] = []
    for s in selection.settings:
        charts.append(cumulative(s, "neurons", "neurons closed until the prediction flips", f"(a) Neurons: {s.label}"))
        numbers += _numbers(others[2][_key(s)].rows, sizes, s.label)
        if after := others[0].get(_key(s)):
            charts.append(cumulative(after, "accuracy", "training accuracy left", f"(b) Accuracy left: {s.label}"))
        if closed := others[1].get(_key(s)):
            charts.append(layer_shares(closed, source))
    return selection.fill(
        exhibit,
        *sql,
        charts=charts,
        numbers=numbers,
        seeds=seeds_in_words(list(s.rows.trial.unique()) for s in selection.settings),
    )


def _key(setting: SettingRows) -> tuple[str, str]:
    return str(setting.rows.setting[0]), str(setting.rows.analysis[0])


def cumulative(setting: SettingRows, column: str, x_label: str, title: str) -> Curves:
    """The share of searches at or below each value, for clean and noisy examples."""
    values = sorted(setting.rows[column].unique().tolist())
    lines = []
    for noisy, name in NAMES.items():
        rows = setting.rows[setting.rows.noisy == noisy]
        if len(rows):
            table = rows.pivot(index=column, columns="trial", values="searches").reindex(values).fillna(0.0)
            shares = (table.cumsum() / table.sum()).to_numpy()
            intervals = [v for row in shares if (v := over_seeds(list(row), 0.0, 1.0)) is not None]
            lines.append(Series(name, values, intervals))
    return Curves(title, {"": lines}, x_label, "share of searches", (0.0, 1.0), steps=True)


def layer_shares(setting: SettingRows, source: Source) -> Dots:
    """The share of the first closings in each layer."""
    layers = source.in_order(setting.rows.layer, setting.model)
    values = {}
    for noisy, name in NAMES.items():
        rows = setting.rows[setting.rows.noisy == noisy]
        table = rows.pivot(index="layer", columns="trial", values="closings").reindex(layers).fillna(0.0)
        shares = (table / table.sum()).to_numpy()
        values[name] = [over_seeds(list(row), 0.0, 1.0) for row in shares]
    return Dots(f"(c) Layers: {setting.label}", layers, values, f"share of the first {FIRST} closings")


def _numbers(searches: pd.DataFrame, sizes: Mapping[str, tuple[int, int]], label: str) -> list[Number]:
    """The scorecard's F1, F2 and F3. They use its estimators, so that a quantity has one interval on the page.

    searches: rows of SEARCHES of one setting. sizes: {trial: (|S_c|, |S_n|)}.
    """
    there = {noisy: int((searches["noisy"] == noisy).sum()) for noisy in NAMES}
    if not all(there.values()):
        return []
    counts = judged.counts(searches, "", there)
    named = [
        ("mean neurons, noisy examples", counts["noisy"], 2, "5.1"),
        ("mean neurons, clean examples", counts["clean"], 2, "15.7"),
        ("mean neurons, noisy / clean", counts["ratio"], 3, "≈ 1/3"),
        (f"noisy examples that need fewer than {judged.FEW}", judged.few_neurons(searches, ""), 3, "> 0.90"),
        ("training accuracy left, noisy minus clean", judged.accuracy_left(searches, sizes, ""), 3, "≈ 0.10"),
    ]
    return [
        Number(f"{name}, {label}", in_words(estimate.interval, digits), paper) for name, estimate, digits, paper in named
    ]


def detection(source: Source) -> Exhibit:
    """The AUCs that §6.1 gives in its text, and those of the other scores. The paper has no figure of them."""
    exhibit = Exhibit(
        "detection",
        "In the text of § 6.1",
        "Which score finds the mislabeled examples",
        "6.1",
        "Area under the ROC curve, on the examples that were flipped where some were; means over trainings. The paper: 0.89 "
        "by flips, each example's count averaged over the trainings.",
        "memloc sweep flips",
    )
    settings = split(source.frame(DETECTION))
    selection = select(settings, Wanted(("cifar10",), ("resnet9",), (0.1,)), shown=4)
    pooled, by_draws = (
        {_key(s): s for s in split(source.frame(sql))} if selection.settings else {} for sql in (POOLED, BY_DRAWS)
    )
    charts: list[Chart] = []
    numbers = []
    for s in selection.settings:
        of_score = {score: found_by.of_score(s.rows, score) for score in _sorted(list(s.rows.score.unique()))}
        aucs = {score: found_by.mean_of_aucs(rows).printed for score, rows in of_score.items()}
        charts.append(Dots(s.label, [SCORES.get(n, n) for n in aucs], {"AUC": list(aucs.values())}, "AUC", (0.4, 1.02)))
        if _key(s) in by_draws and (chart := _by_draws(by_draws[_key(s)])):
            charts.append(chart)
        if _key(s) in pooled:
            numbers.append(_pooled_auc(pooled[_key(s)]))
        numbers += [Number(f"AUC of {SCORES[n]}, {s.label}", in_words(aucs.get(n)), paper) for n, paper in PAPER_AUC.items()]
    return selection.fill(
        exhibit,
        DETECTION,
        POOLED,
        BY_DRAWS,
        charts=charts,
        numbers=numbers,
        seeds=seeds_in_words(list(r.trial) for s in selection.settings for _, r in s.rows.groupby(["sample", "score"])),
    )


def _by_draws(setting: SettingRows) -> Curves | None:
    """The gain of averaging over more (training, repeat); None if there is only one.

    There are no intervals. The last point is the number below the chart, which has DeLong's interval.
    """
    means = series("AUC", list(setting.rows.draws), setting.rows.auc, 0.0, 1.0)
    if means is None or len(means.x) < 2:
        return None
    line = Series("AUC", means.x, [Interval(v.value, None, None) for v in means.values])
    x_label = "trainings × repeats that counts are averaged over"
    return Curves(f"Neurons to flip: {setting.label}", {"": [line]}, x_label, "AUC", (0.4, 1.0))


def _pooled_auc(setting: SettingRows) -> Number:
    """The scorecard's D1.flips: the AUC of each example's mean count over repeats, then trainings."""
    quantity = found_by.auc_of_mean_counts(setting.rows)
    words = f"AUC of neurons to flip, averaged over all trainings and repeats first, {setting.label}"
    return Number(words, in_words(quantity.printed if quantity else None), PAPER_POOLED)


def _sorted(scores: Sequence[str]) -> list[str]:
    order = list(SCORES)
    return sorted(scores, key=lambda n: (order.index(n) if n in order else len(order), n))
