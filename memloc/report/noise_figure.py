"""Gradient norms against the label noise (paper A.2): Figure 11."""

from __future__ import annotations

import json
from collections.abc import Sequence

from memloc.report.charts import Chart, Curves, Exhibit, Series
from memloc.report.curves import decades
from memloc.report.gradient_figures import norms, norms_sql, ratio_number, saying_where, taken
from memloc.report.selection import Wanted, select
from memloc.report.setting_rows import (
    LABELS,
    SettingRows,
    name_of,
    over_seeds,
    percent,
    seeds_in_words,
    split,
    telling_apart,
)
from memloc.report.source import Source

PAPER_RATIOS = {0.01: "slightly below 1", 0.99: "very high"}  # A.2, by noise


def figure11(source: Source) -> Exhibit:
    exhibit = Exhibit(
        "fig11",
        "Figure 11",
        "Gradient norms at 1 % to 99 % label noise",
        "A.2",
        "Averaged over all epochs. The paper: noisy slightly below clean at 1 % noise, very high at 99 %.",
        "memloc sweep noise-curve",
    )
    sql = norms_sql(f"{taken(LABELS)} AND noise > 0")
    curves: dict[str, list[SettingRows]] = {}
    for s in split(source.frame(sql)):
        curves.setdefault(json.dumps({**s.train, "noise": None}) + json.dumps(s.stage), []).append(s)
    curves = _longest(curves)
    whole = [s for curve in curves.values() for s in curve]
    selection = select(whole, Wanted(("cifar10",), ("resnet9",), None), shown=40)
    charts: list[Chart] = []
    numbers = []
    first = sorted(curves.values(), key=lambda curve: bool(curve[0].deviations))
    for curve, more in zip(first, telling_apart([curve[0] for curve in first]), strict=True):
        mine = [s for s in curve if s in selection.settings]
        if mine:
            charts += [_against_noise(mine, more), *(norms(s, source, title=_name(s) + more) for s in mine)]
            told = [s for s in mine if s in (mine[0], mine[-1]) or s.noise in PAPER_RATIOS]
            numbers += [ratio_number(s, PAPER_RATIOS.get(s.noise)) for s in told]
    filled = selection.fill(
        exhibit,
        sql,
        charts=charts,
        numbers=numbers,
        seeds=seeds_in_words(v for s in selection.settings for v in s.rows.clean),
    )
    return saying_where(filled, selection)


def _longest(curves: dict[str, list[SettingRows]]) -> dict[str, list[SettingRows]]:
    """Of curves that differ only in the epochs that they use, the one with most noise rates. A curve has at least three."""
    kept: dict[str, str] = {}
    for key, curve in curves.items():
        alike = json.dumps([{**curve[0].train, "noise": None}, {**curve[0].stage, "epochs": None}])
        if len(curve) >= 3 and len(curve) > len(curves.get(kept.get(alike, ""), ())):
            kept[alike] = key
    return {key: curves[key] for key in kept.values()}


def _name(setting: SettingRows) -> str:
    """The name of a point of a curve; points differ in the noise alone."""
    return f"{name_of(setting.dataset)}, {name_of(setting.model)}, {percent(setting.noise)} noise"


def _against_noise(settings: Sequence[SettingRows], more: str) -> Curves:
    """Noisy norm / clean norm, the mean over layers, against the noise; the intervals are over trainings."""
    values = []
    for s in settings:
        of_layers = [
            [n / c if c and n is not None else None for c, n in zip(*pair, strict=True)]
            for pair in zip(s.rows.clean, s.rows.noisy, strict=True)
        ]
        of_seeds = [[r for r in ratios if r is not None] for ratios in zip(*of_layers, strict=True)]
        values.append((100 * s.noise, over_seeds([sum(ratios) / len(ratios) for ratios in of_seeds if ratios], lowest=0.0)))
    known = [(x, v) for x, v in values if v is not None]
    line = Series("noisy / clean", [x for x, _ in known], [v for _, v in known])
    return Curves(
        f"{name_of(settings[0].dataset)}, {name_of(settings[0].model)}{more}: all noises",
        {"": [line]},
        "label noise, %",
        "norm ratio, mean over layers",
        decades([1.0, *(v.value for _, v in known)]),
        log_y=True,
        rule=(1.0, "equal"),
    )
