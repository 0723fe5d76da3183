"""L1, W1–W3, R1, R2: accuracy after one layer group is rewound, or retrained on clean examples (paper §5, B.1, B.2).

Frames are rows of `rewind` and `retrain` of one setting's analyses. The groups of `rewind` are in the network's order. Each
training weighs the same. n is the number of distinct noisy examples (data_seed, example) of these trainings; None where the
store does not say it, and then intervals show the trainings' spread alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from memloc.papers.maini2023.deciding import (
    SIGNIFICANT,
    decide_rank,
    decided,
    estimated,
    listed,
    rank_correlation,
    untestable,
)
from memloc.papers.maini2023.judgement import Estimate
from memloc.papers.maini2023.judging import Judge, Parts, of_stage
from memloc.papers.maini2023.observations import Observations, among, first_reaching
from memloc.papers.maini2023.paper import Numbers
from memloc.papers.maini2023.settings import Setting
from memloc.seeds import stream
from memloc.statistics import Interval, spearman_test
from memloc.statistics.quantities import accuracy, difference, mean_of_trainings, share_of_groups
from memloc.statistics.regions import Region, decide_groups
from memloc.statistics.scales import SHARE
from memloc.statistics.trainings import OverTrainings, pooled

LEARNS = 0.2  # noisy accuracy from which a training begins to memorize
CRITICAL = {"cifar10": "layer3", "mnist": "layer4"}  # W3: the critical layer of ResNet-50, by data set (B.1)

KEPT = 0.9  # noisy accuracy that counts as kept, or as reached
MOST = Region(lo=0.5, open_lo=True)  # L1, R1: shares of groups
ALL = Region(lo=1.0)  # A1: every group can be retrained
KEEPS = Region(lo=KEPT)  # W1
COSTS_MORE = Region(lo=0.0, open_lo=True)  # W3: drop of the expected group minus the largest other one
COMES_BACK = Region(lo=0.7, open_lo=True)  # R2, during retraining
GOES_AGAIN = Region(hi=0.1, open_hi=True)  # R2, at its end


def noisy_after(rows: pd.DataFrame, climbs: Mapping[str, int]) -> pd.DataFrame:
    """Trainings × (layer, epoch): noisy accuracy after rewinding to an epoch before the climb.

    climbs: {trial: the first epoch with noisy accuracy of 20 %}. Trainings without such epochs are left out. Trainings are
    compared cell by cell, so only those cells count that all of them have.
    """
    early = rows[rows["epoch"] < rows["trial"].map(lambda t: climbs.get(t, 0))]
    table: pd.DataFrame = early.set_index(["trial", "layer", "epoch"])["noisy_acc"].unstack(["layer", "epoch"])
    return table.dropna(axis=1)


def accuracies(table: pd.DataFrame, n: int | None) -> list[OverTrainings]:
    """An accuracy for each column of trainings × cells; the cells of two trainings share their spread."""
    return pooled([_accuracy(list(table[cell]), n) for cell in table.columns])


def _accuracy(shares: list[float], n: int | None) -> OverTrainings:
    return mean_of_trainings(shares, SHARE) if n is None else accuracy(shares, n)


def kept_early(frame: pd.DataFrame, climbs: Mapping[str, int], n: int | None, sql: str) -> Estimate:
    """L1: most pairs (group, epoch before the climb) keep noisy accuracy of at least 0.9. Estimate: their share."""
    table = noisy_after(frame, climbs)
    if table.empty:
        return _nowhere(climbs, sql)
    compared = f"share of (group, epoch) with noisy accuracy {KEPT} left, rewound to before {_when(climbs)}"
    return decided(share_of_groups(accuracies(table, n), KEPT), MOST, compared, list(table.index), sql)


def last_groups(frame: pd.DataFrame, climbs: Mapping[str, int], n: int | None, sql: str) -> Estimate:
    """W1: noisy accuracy is at least 0.9 after rewinding either of the last two groups to any such epoch.

    The estimate is that of the group and epoch that fall shortest of it.
    """
    last = list(dict.fromkeys(frame["layer"]))[-2:]
    table = noisy_after(frame[frame["layer"].isin(last)], climbs)
    if table.empty:
        return _nowhere(climbs, sql)
    cells = accuracies(table, n)
    decision, shown = decide_groups(cells, KEEPS)
    layer, epoch = (table.columns.get_level_values(name)[shown] for name in ("layer", "epoch"))
    compared = (
        f"noisy accuracy after rewinding {layer} to epoch {epoch}; it must be {KEEPS} for {' and '.join(last)}, rewound to "
        f"any epoch before {_when(climbs)}"
    )
    return estimated(cells[shown], decision, compared, list(table.index), sql)


def left(frame: pd.DataFrame, epochs: Mapping[str, int], column: str) -> pd.DataFrame:
    """Trainings × groups: accuracy after rewinding, mean over the epochs rewound to, without T. epochs: {trial: T}."""
    rows = frame[frame["epoch"] < frame["trial"].map(epochs)]
    means: pd.DataFrame = rows.groupby(["trial", "layer"], sort=False)[column].mean().unstack("layer")
    return means[list(dict.fromkeys(frame["layer"]))]


def drops(frame: pd.DataFrame, epochs: Mapping[str, int], column: str) -> pd.DataFrame:
    """Trainings × groups: accuracy lost by rewinding, as `left` has it.

    The loss is counted from the accuracy of the whole network: that of rewinding to T, or 1 if that is missing.
    """
    last = frame["trial"].map(epochs)
    whole = frame[frame["epoch"] == last].groupby("trial")[column].max()
    means = left(frame, epochs, column)
    lost: pd.DataFrame = (-means).add(whole.reindex(means.index).fillna(1.0), axis=0)
    return lost


def same_groups(frame: pd.DataFrame, epochs: Mapping[str, int], sql: str) -> Estimate:
    """W2: Spearman over groups of the clean and the noisy drop, each a mean over trainings; permutation test, one-sided.

    There is no interval: the groups are fixed, and the p of the test decides.
    """
    clean, noisy = (drops(frame, epochs, f"{s}_acc") for s in ("clean", "noisy"))
    key = stream(0, "claims", "W2")
    test = spearman_test(clean.mean(axis=0).to_numpy(), noisy.mean(axis=0).to_numpy(), key)
    if test is None:
        reason = "fewer than three groups, or rewinding costs all of them the same"
        return untestable(reason, list(clean.index), sql)
    each = [rho for t in clean.index if (rho := rank_correlation(clean.loc[t], noisy.loc[t])) is not None]
    reason = (
        f"Spearman over {clean.shape[1]} groups of what rewinding costs clean and noisy accuracy: p = {test.p:.2g}; p must "
        f"be below {SIGNIFICANT}; most critical for clean {clean.mean().idxmax()}, for noisy {noisy.mean().idxmax()}; "
        f"by training {listed(each) or 'unknown'}"
    )
    return Estimate(
        Interval(test.interval.value, None, None), decide_rank(test, each, len(clean)), reason, list(clean.index), sql
    )


def critical(frame: pd.DataFrame, epochs: Mapping[str, int], expected: str, n: int | None, sql: str) -> Estimate:
    """W3: in ResNet-50, rewinding the expected group costs most noisy accuracy.

    The estimate is its drop minus the largest drop of another group of the same training.
    """
    means = left(frame, epochs, "noisy_acc")
    if expected not in means or means.shape[1] < 2:
        return untestable(f"{expected} was not rewound, or nothing else", list(means.index), sql)
    others = means.drop(columns=expected)
    gap = difference(_accuracy(list(others.min(axis=1)), n), _accuracy(list(means[expected]), n))
    compared = f"noisy accuracy that rewinding {expected} costs, minus the most that another group costs ({_most(others)})"
    return decided(gap, COSTS_MORE, compared, list(means.index), sql)


def _most(others: pd.DataFrame) -> str:
    """The groups whose rewinding costs most, over the trainings."""
    return ", ".join(dict.fromkeys(map(str, others.idxmin(axis=1))))


def retrained(frame: pd.DataFrame, n: int | None, sql: str, asked: Region = MOST) -> Estimate:
    """R1: most groups (A1: all) reach noisy accuracy of 0.9 in an epoch of retraining. Estimate: their share.

    frame: columns trial, layer, best (over epochs 1..E).
    """
    best = frame.set_index(["trial", "layer"])["best"].unstack("layer")
    groups = best.mean(axis=0)
    low = str(groups.idxmin())
    compared = f"share of groups whose best noisy accuracy is at least {KEPT}"
    share = share_of_groups(accuracies(best, n), KEPT)
    return decided(share, asked, compared, list(best.index), sql, f"; the worst is {low} ({groups[low]:.3f})")


def forgets_again(frame: pd.DataFrame, n: int | None, sql: str, layer: str = "res2.conv1") -> dict[str, Estimate]:
    """R2: res2.conv1 passes 0.7 on noisy examples during retraining, and ends below 0.1.

    frame: columns trial, layer, best, final.
    """
    rows = frame[frame["layer"] == layer]
    if rows.empty:
        return {}
    trials = list(rows["trial"])
    best, final = (_accuracy(list(rows[column]), n) for column in ("best", "final"))
    return {
        "during": decided(best, COMES_BACK, f"best noisy accuracy of {layer}", trials, sql),
        "end": decided(final, GOES_AGAIN, f"last noisy accuracy of {layer}", trials, sql),
    }


def _nowhere(climbs: Mapping[str, int], sql: str) -> Estimate:
    reason = f"nothing was rewound to before {_when(climbs)}: list such an epoch in `rewind.epochs`"
    return untestable(reason, sorted(climbs), sql)


def _when(climbs: Mapping[str, int]) -> str:
    if not climbs:
        return f"noisy accuracy reaches {LEARNS:.0%}, which it never does in the training pass"
    low, high = min(climbs.values()), max(climbs.values())
    return f"epoch {low}{f' to {high}' if high > low else ''}, where it reaches {LEARNS:.0%}"


# --- on a store -------------------------------------------------------------------------------------------------------


def rewind_rows(observations: Observations, setting: Setting) -> tuple[pd.DataFrame, str]:
    """Rows of `rewind` of a setting, and the SQL that returns them."""
    sql = f"SELECT * FROM rewind WHERE {among('analysis', setting.analyses.values())}"
    return observations.rows(observations.rewind, setting), sql


def noisy_examples(observations: Observations, setting: Setting) -> int:
    """Distinct (data_seed, example) among the mislabeled examples of a setting; `seed` does not change which they are."""
    sizes = {observations.trials[t]["data_seed"]: observations.sizes[t].noisy for t in setting.trials}
    return sum(sizes.values())


def _climbs(observations: Observations, setting: Setting) -> dict[str, int]:
    reached = first_reaching(observations.epochs, LEARNS)
    return {t: reached[t] for t in setting.trials if t in reached}


def _last_epochs(observations: Observations, setting: Setting) -> dict[str, int]:
    return {t: int(observations.trials[t]["epochs"]) for t in setting.trials}


def _l1(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = rewind_rows(observations, setting)
    return {"": kept_early(frame, _climbs(observations, setting), noisy_examples(observations, setting), sql)}


def _w1(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = rewind_rows(observations, setting)
    return {"": last_groups(frame, _climbs(observations, setting), noisy_examples(observations, setting), sql)}


def rewinding_costs(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    """W2 of a setting."""
    frame, sql = rewind_rows(observations, setting)
    return {"": same_groups(frame, _last_epochs(observations, setting), sql)}


def _w3_settings(observations: Observations) -> list[Setting]:
    rewound = observations.settings("rewind")
    return [s for s in rewound if s.scope.model == "resnet50" and s.scope.dataset in CRITICAL]


def _w3(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = rewind_rows(observations, setting)
    expected, n = CRITICAL[setting.scope.dataset], noisy_examples(observations, setting)
    return {"": critical(frame, _last_epochs(observations, setting), expected, n, sql)}


def retrain_rows(observations: Observations, setting: Setting) -> tuple[pd.DataFrame, str]:
    """Columns trial, layer, best, final of a setting's retraining, and the SQL that returns them."""
    sql = (
        "SELECT analysis, trial, layer, max(noisy_acc) AS best, arg_max(noisy_acc, epoch) AS final FROM retrain "
        f"WHERE epoch > 0 AND {among('analysis', setting.analyses.values())} GROUP BY ALL ORDER BY trial, layer"
    )
    return observations.rows(observations.retrain, setting), sql


def _r1(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = retrain_rows(observations, setting)
    return {"": retrained(frame, noisy_examples(observations, setting), sql)}


def _r2(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = retrain_rows(observations, setting)
    return forgets_again(frame, noisy_examples(observations, setting), sql)


JUDGES = {
    "L1": Judge(of_stage("rewind"), _l1),
    "W1": Judge(of_stage("rewind"), _w1),
    "W2": Judge(of_stage("rewind"), rewinding_costs),
    "W3": Judge(_w3_settings, _w3),
    "R1": Judge(of_stage("retrain"), _r1),
    "R2": Judge(of_stage("retrain"), _r2),
}
