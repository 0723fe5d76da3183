"""Gradient accounting (paper §4, §7, Appendix A): Figures 1, 2, 8, 10 and 12 to 14."""

from __future__ import annotations

from typing import Any

import pandas as pd

from memloc.report.charts import Chart, Curves, Dots, Exhibit, Heat, Number
from memloc.report.curves import decades, series
from memloc.report.selection import ALL_MODELS, C_SCORES, Selection, Wanted, select
from memloc.report.setting_rows import (
    C_SCORE,
    JOINS,
    KEYS,
    LABELS,
    SettingRows,
    finest,
    in_words,
    over_seeds,
    percent,
    seeds_in_words,
    split,
)
from memloc.report.source import Source
from memloc.statistics import Interval

NORM = "gradient norm per √parameter"
SETS = ("clean", "noisy", "total", "control")
TAKEN = "coalesce(json_extract_string(analyses.config, 'at'), 'checkpoint')"
CHECKPOINTS = "Gradients at the checkpoints, not summed along the trajectory."


def taken(memorized: str) -> str:
    """SQL: gradients along the trajectory where the store has any with such sets, else those at the checkpoints."""
    return f"{memorized} AND {TAKEN} = (SELECT max({TAKEN}) FROM analyses WHERE stage = 'gradients' AND {memorized})"


SIMILAR = "about the same norm from noisy as from clean examples, in every layer; the total well below both"


def norms_sql(where: str) -> str:
    """The norms per setting and layer, averaged over the epochs that fit `where`, with one value per training."""
    lists = ", ".join(f"list({name} ORDER BY trial) AS {name}" for name in SETS)
    means = ", ".join(f"avg(norm_{name} ORDER BY epoch) AS {name}" for name in SETS)
    return f"""WITH per_training AS (
  SELECT {KEYS}, trial, layer, {means}
  FROM gradient_layers {JOINS}
  WHERE {where}
  GROUP BY ALL)
SELECT setting, analysis, layer, {lists}
FROM per_training GROUP BY ALL ORDER BY ALL"""


def norms(setting: SettingRows, source: Source, names: tuple[str, str] = ("clean", "noisy"), title: str = "") -> Dots:
    """The norms of every layer."""
    layers = source.in_order(setting.rows.layer, setting.model)
    rows = setting.rows.set_index("layer")
    shown = dict(zip(SETS, (*names, "total", "control"), strict=True))
    values = {words: [over_seeds(rows[name][layer], lowest=0.0) for layer in layers] for name, words in shown.items()}
    kept = {name: intervals for name, intervals in values.items() if any(v is not None for v in intervals)}
    return Dots(title or setting.label, layers, kept, NORM, (0.0, _top(kept.values())))


def _top(values: Any) -> float:
    """The end of the axis: all means fit, and intervals up to twice the largest mean. (Those of two trainings are huge.)"""
    means = [v.value for intervals in values for v in intervals if v is not None]
    ends = [v.hi for intervals in values for v in intervals if v is not None and v.hi is not None]
    return 1.05 * max([*means, min(max(ends, default=0.0), 2 * max(means, default=1.0))], default=1.0)


def ratios(rows: pd.DataFrame) -> list[Interval]:
    """Per layer, noisy norm / clean norm, one value per training."""
    intervals = []
    for clean, noisy in zip(rows.clean, rows.noisy, strict=True):
        values = [n / c for c, n in zip(clean, noisy, strict=True) if c and n is not None]
        if (interval := over_seeds(values, lowest=0.0)) is not None:
            intervals.append(interval)
    return intervals


def ratio_number(setting: SettingRows, paper: str | None = "≈ 1", over: str = "layers") -> Number:
    intervals = sorted(ratios(setting.rows), key=lambda v: v.value)
    words = f"{in_words(intervals[0], 2)} to {in_words(intervals[-1], 2)} over {over}" if intervals else "–"
    return Number(f"noisy norm / clean norm, {setting.label}", words, paper)


def _norm_exhibit(
    source: Source, exhibit: Exhibit, where: str, wanted: Wanted, names: tuple[str, str] = ("clean", "noisy")
) -> Exhibit:
    sql = norms_sql(where)
    selection = select(finest(split(source.frame(sql))), wanted)
    filled = selection.fill(
        exhibit,
        sql,
        charts=[norms(s, source, names) for s in selection.settings],
        numbers=[ratio_number(s) for s in selection.settings],
        seeds=seeds_in_words(v for s in selection.settings for v in s.rows.clean),
    )
    return saying_where(filled, selection)


def saying_where(exhibit: Exhibit, selection: Selection) -> Exhibit:
    """The exhibit. It says so if its gradients are those at the checkpoints."""
    along = all(s.stage.get("at") == "trajectory" for s in selection.settings)
    return exhibit if along else selection.remark(exhibit, CHECKPOINTS)


def figure1(source: Source) -> Exhibit:
    exhibit = Exhibit(
        "fig01",
        "Figure 1",
        "Gradient norms by layer, while the mislabeled examples are learnt",
        "4.1",
        f"Epochs 15–20 of 50, or as early in another number of epochs. The paper: {SIMILAR}.",
        "memloc sweep paper-grid --only block=main --only dataset=cifar10 --only noise=0.1",
    )
    where = f"epoch BETWEEN 0.3 * epochs AND 0.4 * epochs AND {taken(LABELS)}"
    return _norm_exhibit(source, exhibit, where, Wanted(("cifar10",), ("resnet9",), (0.1,)))


def figure2(source: Source) -> Exhibit:
    exhibit = Exhibit(
        "fig02",
        "Figure 2",
        "Cosine of the clean and the noisy gradient, by layer and epoch",
        "4.2",
        "The paper: below −0.75 in all layers for most of epochs 10–30. Beside it, two random sets of the same sizes.",
        "memloc sweep paper-grid --only block=main --only dataset=cifar10 --only noise=0.1",
    )
    sql = f"""SELECT {KEYS}, layer, epoch,
       list(cosine ORDER BY trial) AS cosine, list(cosine_control ORDER BY trial) AS control
FROM gradient_layers {JOINS}
WHERE {taken(LABELS)}
GROUP BY ALL ORDER BY ALL"""
    selection = select(finest(split(source.frame(sql))), Wanted(("cifar10",), ("resnet9",), (0.1,)))
    charts: list[Chart] = []
    numbers = []
    for s in selection.settings:
        charts += [_cosines(s, source, "cosine", "clean and noisy"), _cosines(s, source, "control", "random sets")]
        window = s.rows[s.rows.epoch.between(0.2 * s.train["epochs"], 0.6 * s.train["epochs"])]
        for name, what, paper in (("cosine", "clean and noisy", "below −0.75 mostly"), ("control", "random sets", None)):
            means = [v.value for values in window[name] if (v := over_seeds(values)) is not None]
            if means:
                share = sum(m < -0.75 for m in means) / len(means)
                words = (
                    f"{min(means):+.2f} to {max(means):+.2f}; {percent(round(share, 2))} of layers and epochs below −0.75"
                )
                numbers.append(
                    Number(f"cosine of {what}, epochs from T/5 to 3T/5, {s.label}", words.replace("-", "−"), paper)
                )
    filled = selection.fill(
        exhibit,
        sql,
        charts=charts,
        numbers=numbers,
        seeds=seeds_in_words(v for s in selection.settings for v in s.rows.cosine),
    )
    return saying_where(filled, selection)


def _cosines(setting: SettingRows, source: Source, column: str, what: str) -> Heat:
    layers = source.in_order(setting.rows.layer, setting.model)
    epochs = sorted(setting.rows.epoch.unique().tolist())
    cells = setting.rows.set_index(["layer", "epoch"])[column].to_dict()
    values = [[over_seeds(cells.get((layer, t)), -1.0, 1.0) for t in epochs] for layer in layers]
    return Heat(f"{what.capitalize()}: {setting.label}", layers, epochs, values, "epoch", "cosine of the two gradients")


def figure8(source: Source) -> Exhibit:
    exhibit = Exhibit(
        "fig08",
        "Figure 8",
        "Gradient norms by layer, of typical and atypical examples",
        "7",
        "Averaged over all epochs; atypical: C-score below 0.5, no label noise. The paper: the two sets' norms are similar.",
        "memloc sweep atypical",
        C_SCORES,
    )
    wanted = Wanted(("cifar10", "mnist"), ("resnet9",), None)
    return _norm_exhibit(source, exhibit, taken(C_SCORE), wanted, ("typical", "atypical"))


def figure10(source: Source) -> Exhibit:
    exhibit = Exhibit(
        "fig10",
        "Figure 10",
        "Gradient norms by layer, through the training",
        "A.1",
        "Means over windows of a tenth of the epochs. The paper: noisy nearly as large as clean in every window.",
        "memloc sweep paper-grid --only block=main --only dataset=cifar10 --only noise=0.1",
    )
    sql = f"""WITH per_training AS (
  SELECT {KEYS}, trial, layer,
         greatest(0, least(9, (epoch - 1) * 10 // epochs)) AS tenth,
         {", ".join(f"avg(norm_{n} ORDER BY epoch) AS {n}" for n in SETS)}
  FROM gradient_layers {JOINS}
  WHERE {taken(LABELS)} AND epoch > 0
  GROUP BY ALL)
SELECT setting, analysis, layer, tenth, {", ".join(f"list({n} ORDER BY trial) AS {n}" for n in SETS)}
FROM per_training GROUP BY ALL ORDER BY ALL"""
    selection = select(finest(split(source.frame(sql))), Wanted(("cifar10",), ("resnet9",), (0.1,)))
    filled = selection.fill(
        exhibit,
        sql,
        charts=[_through(s, source) for s in selection.settings],
        numbers=[ratio_number(s, over="layers and windows") for s in selection.settings],
        seeds=seeds_in_words(v for s in selection.settings for v in s.rows.clean),
    )
    return saying_where(filled, selection)


def _through(setting: SettingRows, source: Source) -> Curves:
    """Per layer, the norms at the middle epoch of every window."""
    step = setting.train["epochs"] / 10
    panels = {}
    for layer in source.in_order(setting.rows.layer, setting.model):
        rows = setting.rows[setting.rows.layer == layer].sort_values("tenth")
        panels[layer] = [line for n in SETS[:3] if (line := series(n, [(t + 0.5) * step for t in rows.tenth], rows[n], 0.0))]
    means = [v.value for lines in panels.values() for line in lines for v in line.values]
    return Curves(setting.label, panels, "epoch", NORM, decades(means), log_y=True)


def figure12(source: Source, number: int = 12, dataset: str = "cifar10") -> Exhibit:
    exhibit = Exhibit(
        f"fig{number}",
        f"Figure {number}",
        f"Gradient norms by layer: {Wanted((dataset,)).names}",
        "A.3",
        f"Averaged over all epochs, at 5, 10 and 20 % noise. The paper: {SIMILAR}.",
        f"memloc sweep paper-grid --only {ALL_MODELS} --only dataset={dataset}",
    )
    wanted = Wanted((dataset,), None, (0.05, 0.1, 0.2), others=number == 12)
    return _norm_exhibit(source, exhibit, taken(LABELS), wanted)


def figure13(source: Source) -> Exhibit:
    return figure12(source, 13, "mnist")


def figure14(source: Source) -> Exhibit:
    return figure12(source, 14, "svhn")
