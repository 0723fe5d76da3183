"""The training sets of a store: which examples the explorer shows, their scores, the names of their classes and files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd

from memloc.analysis.conditions import among
from memloc.analysis.observations import Observations
from memloc.analysis.settings import Setting
from memloc.analysis.views import ordered_mean
from memloc.config import canonical_json
from memloc.config.training import Dropout, HeldOut
from memloc.data import class_names
from memloc.data.arrays import I64
from memloc.errors import UsageError
from memloc.report.sprite import Source

ROWS = 20_000  # examples on a page
LONGEST = 80  # characters of a file's name on a page
MOST = 100  # trainings of a kind of network on a page: a mean over more says hardly more, and takes hours
EXTREMES = 25  # examples at each end of a score that come first

# Columns of leaderboard; the rest are scores.
LABELS = ("trial", "example", "label", "true_label", "noisy", "alternative", "alternative_prob")
KINDS = ("without dropout", "with dropout", "on a part of the examples")  # of trainings whose scores are averaged
# Training fields in which the trainings of a set may differ.
APART = {"seed", "dropout", *HeldOut.model_fields, *(field for kind in get_args(Dropout) for field in kind.model_fields)}


@dataclass(frozen=True)
class TrainingSet:
    """Trainings on the same examples under the same labels, which differ in seed and dropout alone.

    setting: what they share. source: their data. trials: those on the page, at most `MOST` without dropout, with each kind
    of dropout, and on a part of the examples. scored: those whose scores are averaged; kind: which ones these are. dropped:
    those whose memorization neurons were dropped. left_out: how many more trainings there are.
    """

    setting: Setting
    source: Source
    trials: Sequence[str]
    scored: Sequence[str]
    kind: str
    dropped: Sequence[str]
    left_out: int = 0

    def class_names(self, observations: Observations) -> list[str]:
        """In the order of the labels: those that its trainings have left, else those of a named data set; [] without any."""
        sql = f"SELECT DISTINCT label, name FROM labels WHERE {among('trial', self.trials)} ORDER BY label"
        names = [str(name) for name in observations.frame(sql)["name"]]
        if names or ":" in self.source[0]:
            return names
        try:
            return list(class_names(self.source[0]))
        except UsageError:  # a data set that another program registered
            return []

    def files(self, observations: Observations, examples: Sequence[int]) -> list[str] | None:
        """Where these examples come from; None if nobody knows. A long name keeps its end."""
        sql = f"SELECT DISTINCT example, file FROM files WHERE {among('trial', self.trials)}"
        files = observations.frame(sql).set_index("example")["file"].to_dict()
        if not files:
            return None
        named = [str(files.get(example, "")) for example in examples]
        return [name if len(name) <= LONGEST else "…" + name[1 - LONGEST :] for name in named]


def training_sets(observations: Observations) -> list[TrainingSet]:
    """The sets of a store, the most telling first: with flips and dropping, then with more trainings."""
    members: dict[str, list[str]] = {}
    for trial, config in sorted(observations.trials.items()):
        shared = {k: v for k, v in config.items() if k not in APART and v is not None}
        members.setdefault(canonical_json([shared, observations.data_identity(trial)]), []).append(trial)
    sql = """SELECT DISTINCT trial FROM evaluation WHERE mode = 'dropped' AND rescale = 'none'
             AND analysis IN (SELECT analysis FROM evaluation WHERE mode = 'own')"""
    dropped = set(observations.frame(sql)["trial"])
    flipped = {analysis["trial"] for analysis in observations.analyses if analysis["stage"] == "flips"}
    sets = [_training_set(observations, key, trials, dropped, flipped) for key, trials in sorted(members.items())]

    def place(one: TrainingSet) -> tuple[Any, ...]:
        return -bool(flipped & {*one.scored}) - bool(one.dropped), -len(one.trials) - one.left_out, one.setting.place

    return sorted(sets, key=place)


def _training_set(
    observations: Observations, key: str, every: Sequence[str], dropped: set[str], flipped: set[str]
) -> TrainingSet:
    """Scored are trainings on all examples without dropout if there are any, else those with dropout, else the others."""
    shared, identity = json.loads(key)
    configs = {t: observations.trials[t] for t in every}
    trials = _first_of_each(
        {t: _network(c) for t, c in configs.items()}, lambda t: (t not in flipped, configs[t]["seed"], t)
    )
    kinds = {t: 2 if c.get("ratio") is not None else int(c["dropout"] != "none") for t, c in configs.items() if t in trials}
    best = min(kinds.values())
    scored = [t for t in trials if kinds[t] == best]
    return TrainingSet(
        Setting(shared, {}, dict.fromkeys(trials, "")), (shared["dataset"], identity), trials, scored, KINDS[best],
        [t for t in trials if t in dropped], len(every) - len(trials),
    )  # fmt: skip


def _network(config: Mapping[str, Any]) -> str:
    """The kind of network that a training makes."""
    return "of a part" if config.get("ratio") is not None else str(config["dropout"])


def _first_of_each(kinds: Mapping[str, str], order: Callable[[str], Any]) -> list[str]:
    """The trainings, `MOST` of each kind: the first ones in an order."""
    by_kind: dict[str, list[str]] = {}
    for trial in sorted(kinds, key=order):
        by_kind.setdefault(kinds[trial], []).append(trial)
    kept = {trial for several in by_kind.values() for trial in several[:MOST]}
    return [trial for trial in kinds if trial in kept]


def means(observations: Observations, sets: Sequence[TrainingSet]) -> list[pd.DataFrame]:
    """Of each set: example, label, true_label, and the mean of every score over the scored trainings, NaN if there is none.

    forgotten: in how many trainings dropping makes a correctly labeled example wrong; NaN without dropping.
    """
    columns = [c for c in observations.frame("SELECT * FROM leaderboard LIMIT 0").columns if c not in LABELS]
    averages = ", ".join(f"{ordered_mean(f'CAST({c} AS DOUBLE)')} AS {c}" for c in columns)
    rows = observations.frame(
        f"""WITH sets(trial, place) AS (VALUES {_placed(s.scored for s in sets)})
            SELECT place, example, any_value(label) AS label, any_value(true_label) AS true_label, {averages}
            FROM leaderboard JOIN sets USING (trial) GROUP BY place, example ORDER BY place, example"""
    )
    forgotten = observations.frame(
        f"""WITH sets(trial, place) AS (VALUES {_placed(s.trials for s in sets)})
            SELECT place, example, count(DISTINCT trial) AS forgotten FROM forgotten JOIN sets USING (trial) GROUP BY ALL"""
    )
    rows = rows.merge(forgotten, "left", ["place", "example"])
    asked = (rows["label"] == rows["true_label"]) & rows["place"].isin([k for k, s in enumerate(sets) if s.dropped])
    rows["forgotten"] = rows["forgotten"].fillna(0).where(asked)
    return [rows[rows["place"] == k].drop(columns="place").reset_index(drop=True) for k in range(len(sets))]


def _placed(trials: Iterable[Sequence[str]]) -> str:
    return ", ".join(f"('{trial}', {place})" for place, members in enumerate(trials) for trial in members)


def ranks(frame: pd.DataFrame) -> I64:
    """int64[rows]: the place in turn of flipped, mislabeled, forgotten and extreme examples; the others have rank n."""
    often = np.argsort(-frame["forgotten"].to_numpy(), kind="stable")[: int((frame["forgotten"] > 0).sum())]
    lists = [np.flatnonzero(frame["flips"].notna()), np.flatnonzero(frame["label"] != frame["true_label"]), often]
    for score in scores(frame):
        order = np.argsort(frame[score].to_numpy(), kind="stable")[: int(frame[score].notna().sum())]  # NaN comes last
        lists += [order[:EXTREMES], order[::-1][:EXTREMES]]
    best = np.full(len(frame), len(frame))
    for places in lists:
        best[places] = np.minimum(best[places], np.arange(len(places)))
    return best


def scores(frame: pd.DataFrame) -> list[str]:
    """The scores that the store has."""
    names = [c for c in frame.columns if c not in (*LABELS, "rank")]
    return [c for c in names if np.isfinite(frame[c]).any()]


def quotas(frames: Sequence[pd.DataFrame], most: int) -> list[int]:
    """Of `most` examples, how many are of each set: an equal share for those that come first, the rest set by set."""
    shares = [min(most // len(frames), int((frame["rank"] < len(frame)).sum())) for frame in frames]
    for place, frame in enumerate(frames):
        shares[place] += min(most - sum(shares), len(frame) - shares[place])
    return shares


def short(numbers: Iterable[float]) -> list[int | float | None]:
    """Whole numbers as they are, others with five digits, None for NaN and infinity."""
    return [None if not math.isfinite(v) else int(v) if v == int(v) else float(f"{v:.5g}") for v in numbers]
