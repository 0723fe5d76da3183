"""The atlas: which methods agree about the layers, and the neurons, of mislabeled examples. Papers with methods share it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from memloc.analysis.conditions import among
from memloc.papers.charts import Heat, Table, over
from memloc.papers.claims import InStore
from memloc.papers.exhibits import Drawn, Exhibit, Subject, per_setting
from memloc.statistics import in_brackets
from memloc.statistics.quantities import mean_of_trainings
from memloc.statistics.scales import CORRELATION

MEAN = partial(mean_of_trainings, scale=CORRELATION)
TITLES = {"layers": "Over layers", "neurons": "Over the neurons within layers"}


def _drawn(subject: Subject) -> Drawn:
    """The rank correlation of every two methods, and the pairs that stand out from permutations."""
    sql = f"SELECT * FROM atlas_agreement WHERE {among('trial', subject.trials)} ORDER BY ALL"
    frame = subject.observations.frame(sql)
    charts, outstanding = list[Heat](), list[list[str]]()
    for kind, title in TITLES.items():
        rows = frame[frame["over"] == kind]
        of_pair = {(str(one), str(other)): of for (one, other), of in rows.groupby(["one", "other"])}
        if not of_pair:
            continue
        names = sorted({name for pair in of_pair for name in pair}, key=lambda name: ("." in name, name))
        known = {frozenset(pair): over(list(of["rho"]), MEAN) for pair, of in of_pair.items()}
        cells = [[known.get(frozenset((row, column))) if k < j else None for k, column in enumerate(names[:-1])]
                 for j, row in enumerate(names) if j]  # fmt: skip
        panels, label = {"": cells}, "rank correlation"
        charts.append(Heat(subject.titled(title), names[1:], names[:-1], panels, "method", label, sql, "method"))
        outside = {pair: of for pair, of in of_pair.items() if _stands_out(of)}
        ordered = sorted(outside.items(), key=lambda item: (-item[1]["rho"].mean(), item[0]))
        outstanding += [[kind, *pair, *_beside(of)] for pair, of in ordered]
    head = ["over", "method", "other", "rank correlation [95 %]", "permutations (95 %)", "trainings"]
    title = subject.titled("Pairs whose agreement permutations do not give")
    return [*charts, Table(title, head, outstanding, sql)] if charts else []


def _by_chance(of: pd.DataFrame) -> float:
    """Half the width of 95 % of the mean coefficients over these trainings when each is permuted for itself."""
    half = (of["hi"] - of["lo"]).to_numpy() / 2
    return float(np.sqrt((half**2).sum()) / len(half))


def _stands_out(of: pd.DataFrame) -> bool:
    return abs(float(of["rho"].mean())) > _by_chance(of)


def _beside(of: pd.DataFrame) -> list[str]:
    agreement = over(list(of["rho"]), MEAN)
    said = "–" if agreement is None else in_brackets(agreement.printed, 2)
    return [said, f"±{_by_chance(of):.2f}", str(len(of))]


def atlas(settings: InStore, command: str) -> Exhibit:
    """settings: those that have methods. command: computes them."""
    return Exhibit(
        "atlas",
        "The atlas",
        "Who agrees with whom about where mislabeled examples are",
        "view atlas_agreement",
        "Rank correlations of every two methods on the same networks. The table has those beyond 95 % of "
        "permutations: of twenty pairs that do not agree, one is there by chance.",
        command,
        settings,
        per_setting(_drawn),
        of_paper=False,
        shown=4,
    )
