"""Layers rewound and retrained (paper §5, §7, Appendix B): Figures 3, 4, 9 and 15 to 19."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from memloc.report.charts import Chart, Curves, Exhibit, Number
from memloc.report.curves import series
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
    seeds_in_words,
    split,
)
from memloc.report.source import Source

ACCURACY = (0.0, 1.0)
FIFTH, PAPER_FIFTH = "res2.conv1", ("> 0.70", "< 0.10")  # the text of Figure 4b, on MNIST
MISLABELED, ATYPICAL = ("clean", "noisy"), ("typical", "atypical")


def accuracy_sql(table: str, where: str) -> str:
    """The accuracies per setting, layer and epoch, with one value per training."""
    return f"""SELECT {KEYS}, layer, epoch,
       list(clean_acc ORDER BY trial) AS clean, list(noisy_acc ORDER BY trial) AS noisy
FROM {table} {JOINS}
WHERE {where}
GROUP BY ALL ORDER BY ALL"""


def learning_sql(where: str) -> str:
    """Learning curves of the trainings that were rewound."""
    return f"""SELECT {KEYS}, epoch,
       list(clean_acc ORDER BY trial) AS clean, list(noisy_acc ORDER BY trial) AS noisy,
       list(test_acc ORDER BY trial) AS test
FROM epochs JOIN trials USING (trial) JOIN analyses USING (trial)
WHERE stage = 'rewind' AND {where}
GROUP BY ALL ORDER BY ALL"""


def by_layer(setting: SettingRows, source: Source, x_label: str, names: tuple[str, str], title: str = "") -> Curves:
    """Small multiples, a panel per layer group."""
    panels = {}
    for layer in source.in_order(setting.rows.layer, setting.model):
        rows = setting.rows[setting.rows.layer == layer].sort_values("epoch")
        columns = zip(names, (rows.clean, rows.noisy), strict=True)
        panels[layer] = [line for name, column in columns if (line := series(name, list(rows.epoch), column, *ACCURACY))]
    return Curves(title or setting.label, panels, x_label, "accuracy", ACCURACY)


def learning(setting: SettingRows) -> Curves:
    rows = setting.rows.sort_values("epoch")
    lines = [line for n in ("clean", "noisy", "test") if (line := series(n, list(rows.epoch), rows[n], *ACCURACY))]
    return Curves(f"Training: {setting.label}", {"": lines}, "epoch", "accuracy", ACCURACY)


def _rewinding(
    source: Source,
    exhibit: Exhibit,
    wanted: Wanted,
    where: str = LABELS,
    names: tuple[str, str] = MISLABELED,
    curves: bool = False,
) -> Exhibit:
    sql = [accuracy_sql("rewind", where)]
    selection = select(finest(split(source.frame(sql[0]))), wanted)
    charts: list[Chart] = []
    trained: dict[tuple[str, str], SettingRows] = {}
    if curves and selection.settings:
        sql.append(learning_sql(where))
        trained = {_key(s): s for s in split(source.frame(sql[1]))}
    for s in selection.settings:
        charts += [learning(trained[_key(s)])] if _key(s) in trained else []
        charts.append(by_layer(s, source, "epoch that the layer is set back to", names, f"Rewinding: {s.label}"))
    return _fill(selection, exhibit, sql, charts, [_left(s, names[1]) for s in selection.settings])


def _key(setting: SettingRows) -> tuple[str, str]:
    return str(setting.rows.setting[0]), str(setting.rows.analysis[0])


def _fill(
    selection: Selection, exhibit: Exhibit, sql: Sequence[str], charts: Sequence[Chart], numbers: Sequence[Number]
) -> Exhibit:
    seeds = seeds_in_words(v for s in selection.settings for v in s.rows.clean)
    return selection.fill(exhibit, *sql, charts=charts, numbers=numbers, seeds=seeds)


def _left(setting: SettingRows, name: str) -> Number:
    """The layer that costs most at the earliest epoch, and what the last layer costs there."""
    early = setting.rows[setting.rows.epoch == setting.rows.epoch.min()]
    return _extremes(
        f"{name} accuracy left at epoch {setting.rows.epoch.min()}, {setting.label}", early.layer, early.noisy, None
    )


def _extremes(name: str, layers: pd.Series[Any], lists: pd.Series[Any], paper: str | None) -> Number:
    known = sorted(
        (v.value, str(layer), v) for layer, values in zip(layers, lists, strict=True) if (v := over_seeds(values, *ACCURACY))
    )
    if not known:
        return Number(name, "–", paper)
    (_, low, least), (_, high, most) = known[0], known[-1]
    return Number(name, f"{in_words(least)} ({low}) to {in_words(most)} ({high})", paper)


def _retraining(
    source: Source, exhibit: Exhibit, wanted: Wanted, where: str = LABELS, names: tuple[str, str] = MISLABELED
) -> Exhibit:
    sql = accuracy_sql("retrain", where)
    selection = select(split(source.frame(sql)), wanted)
    charts = [by_layer(s, source, "epoch of retraining", names) for s in selection.settings]
    own = _fifth if exhibit.id == "fig04" else lambda *_: []  # the paper has these numbers only for Figure 4
    numbers = [number for s in selection.settings for number in (_reached(s, names[1]), *own(s, names[1]))]
    return _fill(selection, exhibit, [sql], charts, numbers)


def _fifth(setting: SettingRows, name: str) -> list[Number]:
    """Figure 4's layer 5, which learns and then forgets the noisy examples on MNIST."""
    rows = setting.rows[(setting.rows.layer == FIFTH) & (setting.rows.epoch > 0)].sort_values("epoch")
    if rows.empty:
        return []
    during, end = PAPER_FIFTH if setting.dataset == "mnist" else (None, None)
    best = [max(v) for v in zip(*rows.noisy, strict=True) if None not in v]
    estimates = (("highest", best, during), ("last", rows.noisy.iloc[-1], end))
    return [
        Number(f"{which} {name} accuracy of {FIFTH}, {setting.label}", in_words(over_seeds(values, *ACCURACY)), paper)
        for which, values, paper in estimates
    ]


def _reached(setting: SettingRows, name: str) -> Number:
    """The highest accuracy over epochs 1..E of every training, by layer."""
    after = setting.rows[setting.rows.epoch > 0]
    best = {
        layer: [max(v) for v in zip(*rows.noisy, strict=True) if None not in v] for layer, rows in after.groupby("layer")
    }
    return _extremes(
        f"highest {name} accuracy reached, {setting.label}",
        pd.Series(list(best)),
        pd.Series(list(best.values())),
        "≈ 1 for most layers",
    )


def figure3(source: Source) -> Exhibit:
    exhibit = Exhibit(
        "fig03",
        "Figure 3",
        "Training, and accuracy with one layer set back to an earlier epoch",
        "5.1",
        "The paper: setting back the last layers costs little; which are critical differs between architectures.",
        f"memloc sweep paper-grid --only {ALL_MODELS} --only dataset=cifar10 --only noise=0.1",
    )
    return _rewinding(source, exhibit, Wanted(("cifar10",), None, (0.1,)), curves=True)


def figure4(source: Source) -> Exhibit:
    exhibit = Exhibit(
        "fig04",
        "Figure 4",
        "One layer trained anew on clean examples alone",
        "5.2",
        "The paper: nearly 100 % on the noisy examples, which that layer has not seen, for most layers.",
        "memloc sweep paper-grid --only block=retraining --only dataset=cifar10,mnist --only noise=0.1",
    )
    return _retraining(source, exhibit, Wanted(("cifar10", "mnist"), ("resnet9",), (0.1,)))


def figure9(source: Source) -> Exhibit:
    exhibit = Exhibit(
        "fig09",
        "Figure 9",
        "Accuracy on typical and atypical examples with one layer set back",
        "7",
        "Atypical: C-score below 0.5, no label noise. The paper: memorization is dispersed over layers.",
        "memloc sweep atypical",
        C_SCORES,
    )
    return _rewinding(source, exhibit, Wanted(("cifar10",), ("resnet9",)), C_SCORE, ATYPICAL)


def figure15(source: Source, number: int = 15, dataset: str = "cifar10") -> Exhibit:
    wanted = Wanted((dataset,), None, (0.05, 0.1, 0.2), others=number == 15)
    exhibit = Exhibit(
        f"fig{number}",
        f"Figure {number}",
        f"Accuracy with one layer set back: {wanted.names}",
        "B.1",
        "At 5, 10 and 20 % noise. The paper: which layers are critical depends on the model and the data.",
        f"memloc sweep paper-grid --only {ALL_MODELS} --only dataset={dataset}",
    )
    return _rewinding(source, exhibit, wanted)


def figure16(source: Source) -> Exhibit:
    return figure15(source, 16, "mnist")


def figure17(source: Source) -> Exhibit:
    return figure15(source, 17, "svhn")


def figure18(source: Source) -> Exhibit:
    exhibit = Exhibit(
        "fig18",
        "Figure 18",
        "One layer trained anew on clean examples alone, at 5, 10 and 20 % noise",
        "B.2",
        "The paper: a high noisy accuracy at some epoch, which later ones may lose.",
        "memloc sweep paper-grid --only block=retraining",
    )
    return _retraining(source, exhibit, Wanted(("cifar10", "mnist", "svhn"), ("resnet9",), (0.05, 0.1, 0.2)))


def figure19(source: Source) -> Exhibit:
    exhibit = Exhibit(
        "fig19",
        "Figure 19",
        "One layer trained anew on typical examples alone",
        "B.2",
        "Atypical: C-score below 0.5, no label noise. The paper: every layer reaches a high accuracy on atypical examples.",
        "memloc sweep atypical",
        C_SCORES,
    )
    return _retraining(source, exhibit, Wanted(("cifar10", "mnist"), ("resnet9",)), C_SCORE, ATYPICAL)
