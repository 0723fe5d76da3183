"""The edit beside other ways to take wrong labels away, on networks that differ in nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from memloc.analysis.conditions import among
from memloc.analysis.settings import SEEDS
from memloc.analysis.views import ordered_mean
from memloc.papers.charts import Table
from memloc.papers.exhibits import Drawn, Subject
from memloc.papers.merullo2025.edited import RHO, SETS, Edits
from memloc.papers.merullo2025.removal import cell, exhibit
from memloc.statistics import in_brackets
from memloc.statistics.quantities import mean_of_trainings
from memloc.statistics.scales import SHARE

CELL = ("p_gen", "p_mem")


def _table(subject: Subject) -> Drawn:
    edits = Edits.of(subject)
    if edits.frame.empty:
        return []
    sqls = [edits.sql]
    rows = [
        ["the network as it is", *(cell(edits.as_it_is.last, s) for s in SETS)],
        [f"curvature edit, ρ = {RHO}", *(cell(edits.judged.usual(rank="kfac"), s) for s in SETS)],
        [f"edit by inputs alone, ρ = {RHO}", *(cell(edits.judged.usual(rank="activation"), s) for s in SETS)],
        ["early stopping", *(cell(before_memorization(edits), s) for s in SETS)],
    ]
    for name, sql in (*_flips(subject), *_tied(subject)):
        means = subject.observations.frame(sql)
        if len(means):
            rows.append([name, *(_mean(means[s]) for s in SETS)])
            sqls.append(sql)
    known = [row for row in rows if any(text != "–" for text in row[1:])]
    return [Table(subject.label, ["", *SETS], known, sqls[0])] if known else []


def before_memorization(edits: Edits) -> Edits:
    """Of each training one of the checkpoints before noisy accuracy reaches that of guessing: the one that is best on test.

    Of several with the same test accuracy the last one.
    """
    frame, chosen = edits.as_it_is.frame.sort_values("epoch"), []
    for _, rows in frame.groupby("trial"):
        reached = rows["epoch"][rows["noisy_acc"] >= edits.one.sizes.chance].min()
        before = rows[rows["epoch"] < reached] if pd.notna(reached) else rows.iloc[:0]
        chosen.append(before.sort_values(["test_acc", "epoch"]).tail(1))
    return Edits(pd.concat(chosen) if chosen else frame, edits.one, edits.sql)


def _mean(values: pd.Series[float]) -> str:
    known = [float(v) for v in values.dropna()]
    return in_brackets(mean_of_trainings(known, SHARE).printed, 3) if known else "–"


def _flips(subject: Subject) -> Iterator[tuple[str, str]]:
    """(name, SQL: trial, and the four accuracies after the neurons of one mislabeled example are closed, a mean over them).

    `noisy` is of the other mislabeled examples; `true` says how often the example itself then gets its true label.
    """
    there = [s for s in subject.observations.settings("flips") if {*s.trials} & {*subject.trials}]
    for setting in there:
        analyses = [a for t, a in setting.analyses.items() if t in subject.trials]
        means = [
            f"{ordered_mean(f'{value}::DOUBLE')} AS {name}"
            for name, value in (
                ("clean", "flips.clean_acc"),
                ("noisy", "flips.noisy_acc"),
                ("true", "(new_class = true_label)::INT"),
                ("test", "flips.test_acc"),
            )
        ]
        yield (
            "flips: neurons of one mislabeled example closed",
            f"SELECT trial, {', '.join(means)} FROM flips JOIN examples USING (trial, example) "
            f"WHERE flips.noisy AND eligible AND NOT censored AND {among('analysis', analyses)} GROUP BY trial "
            "ORDER BY trial",
        )


def _tied(subject: Subject) -> Iterator[tuple[str, str]]:
    """(name, SQL: trial, and the four accuracies without memorization neurons) of each (p_gen, p_mem) of these networks."""
    for setting in subject.observations.settings("evaluate", dropout=("example_tied",)):
        if _alike(setting.config, subject.setting.config):
            name = ", ".join(f"{field} {setting.config[field]:g}" for field in CELL)
            columns = ", ".join(f"{column} AS {of_set}" for of_set, column in SETS.items())
            yield (
                f"example-tied dropout, {name}, dropped",
                f"SELECT trial, {columns} FROM evaluation WHERE mode = 'dropped' AND rescale = 'none' "
                f"AND {among('analysis', setting.analyses.values())} ORDER BY trial",
            )


def _alike(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Do trainings differ in dropout and seeds alone?"""
    aside = ("dropout", *CELL, *SEEDS)
    return all(one.get(k) == v for k, v in other.items() if k not in aside)


EXHIBITS = (
    exhibit(
        "Beside",
        "The edit beside early stopping, flips and example-tied dropout",
        "Early stopping: of the checkpoints before noisy accuracy reaches that of guessing, the one that is best on test. "
        "Flips close neurons of one example at a time: `noisy` is then of the other mislabeled examples. Example-tied "
        "dropout is another training of the network.",
        _table,
    ),
)
