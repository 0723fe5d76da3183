"""The examples of a data set whose labels are probably wrong, from trainings on it (docs/detect.md).

Some of the trainings learn the labels as they are given. In the others a share of the labels was made wrong on purpose
(planted), which says how many of the wrong labels are found, and so how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from memloc.analysis.conditions import among
from memloc.analysis.reader import Reader
from memloc.statistics import Bools, Floats, auc
from memloc.statistics.planted import PlantedShare, planted_shares
from memloc.statistics.scales import LOGIT, SHARE
from memloc.statistics.trainings import OverTrainings

# support: what speaks for the label, such as its probability less that of the likeliest other class. Of the scores that were
# compared, this one finds most wrong labels, and planted ones look most like them in it (docs/detect.md).
IN = """SELECT trial AS judge, example, label, noisy, mean_prob - alternative_prob AS support, alternative, alternative_prob
    FROM examples WHERE {trials} AND isfinite(mean_prob) ORDER BY trial, example"""
FLIPS = """SELECT 'flips ' || f.trial AS judge, f.example, e.label, e.noisy, f.neurons AS support, e.alternative,
           0.0 AS alternative_prob
    FROM (SELECT trial, example, avg(neurons) AS neurons FROM flip_counts WHERE {trials} GROUP BY ALL) AS f
    JOIN examples AS e ON e.trial = f.trial AND e.example = f.example ORDER BY judge, f.example"""
OUT = """SELECT t.noise || ' ' || coalesce(t.noise_seed, -1) AS judge, h.example,
           any_value(h.label) AS label, any_value(h.noisy) AS noisy,
           fsum(h.prob - h.alternative_prob ORDER BY h.trial) / count(*) AS support,
           arg_max(h.alternative, h.alternative_prob ORDER BY h.trial) AS alternative,
           max(h.alternative_prob) AS alternative_prob
    FROM held_out AS h JOIN (SELECT trial, noise, noise_seed FROM trials WHERE {trials}) AS t USING (trial)
    WHERE NOT h.held_in AND isfinite(h.prob) GROUP BY judge, h.example ORDER BY judge, h.example"""


@dataclass(frozen=True)
class Judgement:
    """What one judge says of examples: a training of those that it has seen, for example. In the order of `example`.

    example: int64[n]. planted: bool[n]. suspicion: float64[n], higher is more suspect. label, alternative: int64[n],
    classes. weight: float64[n], the mean probability of the alternative. neurons: −suspicion is a number of neurons.
    """

    example: np.ndarray
    planted: Bools
    suspicion: Floats
    label: np.ndarray
    alternative: np.ndarray
    weight: Floats
    neurons: bool = False

    @property
    def ranks(self) -> Floats:
        """float64[n]: the place of each example's suspicion among the unplanted ones, from 0 to 1; the mean over ties."""
        others = np.sort(self.suspicion[~self.planted])
        below, upto = (np.searchsorted(others, self.suspicion, side) for side in ("left", "right"))
        return np.asarray((below + upto) / (2 * len(others)))


@dataclass(frozen=True)
class Check:
    """How well one training finds the labels that were planted in it.

    share: from which the number of wrong labels follows. auc: of planted against other labels; others may be wrong too.
    found: of the planted, the share among as many of the most suspect as are planted or estimated to be wrong.
    """

    share: PlantedShare
    auc: float
    found: float

    @property
    def told(self) -> float:
        """In how many cases a planted label is more suspect than a right one: 0.5 is guessing, 1 is always.

        The other labels are a mixture: the share w is wrong, and looks like the planted ones, so auc = w/2 + (1 - w) told.
        """
        wrong = self.share.value
        return float(np.clip((self.auc - wrong / 2) / (1 - wrong), 0.0, 1.0)) if wrong < 1 else 0.5


@dataclass(frozen=True)
class Suspects:
    """Every training example, the most suspect first.

    table: columns rank (from 1), example, file (a name, or NULL), given and suggested (labels), score (in [0, 1], higher is
    more suspect), agreement, neurons (that hold the label; NaN if they were not searched). wrong: the share of wrong labels;
    None without planted ones.
    """

    table: pd.DataFrame
    checks: Sequence[Check]
    wrong: OverTrainings | None

    @property
    def number(self) -> int:
        """How many labels are probably wrong; 0 where nothing was planted."""
        return 0 if self.wrong is None else round(self.wrong.value * len(self.table))


def judgements(reader: Reader, trials: Sequence[str]) -> list[Judgement]:
    """What these trainings say of examples that they have seen, or, if they hold examples out, of those.

    Trainings that hold examples out speak together if their noise and their `noise_seed` are the same. An example that
    several of them hold out is judged by the mean of what they say. planted: its label differs from that of the data
    set. Searches of neurons judge too: the fewer neurons hold a label, the more suspect it is.
    """
    chosen = among("trial", trials)
    held_out = reader.sql(f"SELECT count(ratio) AS n FROM trials WHERE {chosen}")["n"][0].as_py()
    queries = (OUT,) if held_out else (IN, FLIPS)
    return [
        Judgement(
            one["example"].to_numpy(np.int64),
            one["noisy"].to_numpy(bool),
            -one["support"].to_numpy(np.float64),
            one["label"].to_numpy(np.int64),
            one["alternative"].to_numpy(np.int64),
            one["alternative_prob"].to_numpy(np.float64),
            sql is FLIPS,
        )
        for sql in queries
        for _, one in reader.sql(sql.format(trials=chosen)).to_pandas().groupby("judge", sort=True)
    ]


def suspects(judged: Sequence[Judgement], classes: int) -> Suspects:
    """The ranking of the examples of judges without planted labels.

    Every judge judges those of them whose labels were not planted for it.

    score: the mean over the judges of the example's place among the unplanted ones. suggested: the alternative with the
    largest sum of probabilities over them. agreement: the share of them for which the example is among the N most suspect, N
    being the estimated number of wrong labels. classes: of the data set.

    Raises:
        ValueError: every judge has planted labels.
    """
    example = np.unique(np.concatenate([one.example for one in judged if not (one.planted.any() or one.neurons)]))
    n = len(example)
    checks = _checks([one for one in judged if one.planted.any()], classes)
    wrong = _wrong(checks)
    most = 0.0 if wrong is None else wrong.value
    times, score, agreed, neurons = np.zeros(n), np.zeros(n), np.zeros(n), np.full(n, np.nan)
    given = np.full(n, -1)
    votes = np.zeros((n, classes))
    for one in judged:
        own = ~one.planted & np.isin(one.example, example)
        at = np.searchsorted(example, one.example[own])
        ranks = one.ranks[own]
        times[at] += 1
        score[at] += ranks
        agreed[at] += ranks >= 1 - most if most else 0.0
        given[at] = one.label[own]
        votes[at, one.alternative[own]] += one.weight[own]
        if one.neurons:
            neurons[at] = -one.suspicion[own]
    score /= times
    order = np.lexsort((example, -score))
    table = pd.DataFrame(
        {"rank": np.arange(1, n + 1), "example": example[order], "file": None, "given": given[order],
         "suggested": votes.argmax(axis=1)[order], "score": score[order], "agreement": (agreed / times)[order],
         "neurons": neurons[order]}
    )  # fmt: skip
    return Suspects(table, checks, wrong)


def _checks(judged: Sequence[Judgement], classes: int) -> list[Check]:
    if not judged:
        return []
    shares = planted_shares([(one.suspicion[one.planted], one.suspicion[~one.planted]) for one in judged], classes)
    return [_check(one, share) for one, share in zip(judged, shares, strict=True)]


def _check(one: Judgement, share: PlantedShare) -> Check:
    planted = one.suspicion[one.planted]
    most = len(planted) + round(share.value * share.n_others)
    least = np.sort(one.suspicion)[-most]  # the suspicion that the most suspect have at least
    area = auc(one.suspicion, one.planted)
    return Check(share, float("nan") if area is None else area, float(np.mean(planted >= least)))


def _wrong(checks: Sequence[Check]) -> OverTrainings | None:
    """The share of wrong labels. The trainings judge the same examples, so their errors over examples do not average out."""
    if not checks:
        return None
    each = tuple(check.share.value for check in checks)

    def examples(level: float) -> tuple[float, float]:
        lo, hi = zip(*(check.share.limits(level) for check in checks), strict=True)
        return float(np.mean(lo)), float(np.mean(hi))

    return OverTrainings(float(np.mean(each)), each, examples, LOGIT if min(each) > 0 and max(each) < 1 else SHARE)
