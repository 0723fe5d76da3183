"""L1, W1–W3, R1, R2: accuracy after one layer group is rewound, or retrained on clean examples (paper §5, B.1, B.2).

Frames are rows of `rewind` and `retrain` of one setting's analyses. The groups of `rewind` are in the network's order. Each
training weighs the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from memloc.papers.maini2023.judgement import Estimate
from memloc.papers.maini2023.judging import Judge, Parts, of_stage
from memloc.papers.maini2023.observations import Observations, among, first_reaching
from memloc.papers.maini2023.paper import Numbers
from memloc.papers.maini2023.pooling import interval_over, over_trainings, present
from memloc.papers.maini2023.settings import Setting
from memloc.seeds import stream
from memloc.statistics import Interval, spearman_test

KEPT = 0.9  # noisy accuracy that counts as kept, or as reached
LEARNS = 0.2  # noisy accuracy from which a training begins to memorize
CRITICAL = {"cifar10": "layer3", "mnist": "layer4"}  # the critical layer of ResNet-50, by data set (B.1)


def before(frame: pd.DataFrame, climbs: Mapping[str, int]) -> pd.DataFrame:
    """The rows rewound to an epoch before `climbs`, {trial: the first epoch with noisy accuracy of 20 %}."""
    first = frame["trial"].map(lambda t: climbs.get(t, 0))
    return frame[frame["epoch"] < first]


def kept_early(frame: pd.DataFrame, climbs: Mapping[str, int], sql: str) -> Estimate:
    """L1: most pairs (group, epoch before the climb) keep noisy accuracy of at least 0.9. Estimate: their share."""
    rows = before(frame, climbs)
    if rows.empty:
        return _nowhere(climbs, sql)
    shares = (rows["noisy_acc"] >= KEPT).groupby(rows["trial"]).mean()
    estimate = present(over_trainings(list(shares), 0.0, 1.0))
    reason = (
        f"share of (group, epoch) with noisy accuracy {KEPT} left, rewound to before {_when(climbs)}; it must be above 0.5"
        f"{interval_over(estimate, len(shares), '')}"
    )
    return Estimate(estimate, estimate.value > 0.5, reason, list(shares.index), sql)


def last_groups(frame: pd.DataFrame, climbs: Mapping[str, int], sql: str) -> Estimate:
    """W1: noisy accuracy is at least 0.9 after rewinding either of the last two groups to such an epoch.

    The estimate is the least of these accuracies.
    """
    last = list(dict.fromkeys(frame["layer"]))[-2:]
    rows = before(frame[frame["layer"].isin(last)], climbs)
    if rows.empty:
        return _nowhere(climbs, sql)
    least = rows.groupby("trial")["noisy_acc"].min()
    estimate = present(over_trainings(list(least), 0.0, 1.0))
    groups = ", ".join(f"{g} {v:.3f}" for g, v in rows.groupby("layer")["noisy_acc"].min().items())
    reason = (
        f"least noisy accuracy after rewinding {' or '.join(last)} to before {_when(climbs)} ({groups}); "
        f"it must be at least {KEPT}{interval_over(estimate, len(least), '')}"
    )
    return Estimate(estimate, estimate.value >= KEPT, reason, list(least.index), sql)


def drops(frame: pd.DataFrame, epochs: Mapping[str, int], column: str) -> pd.DataFrame:
    """Trials × groups: accuracy lost by rewinding, mean over the epochs rewound to, without T. epochs: {trial: T}.

    The loss is counted from the accuracy of the whole network: that of rewinding to T, or 1 if that is missing.
    """
    last = frame["trial"].map(epochs)
    whole = frame[frame["epoch"] == last].groupby("trial")[column].max()
    left = frame[frame["epoch"] < last].groupby(["trial", "layer"], sort=False)[column].mean().unstack("layer")
    groups = list(dict.fromkeys(frame["layer"]))
    lost: pd.DataFrame = (-left).add(whole.reindex(left.index).fillna(1.0), axis=0)[groups]
    return lost


def same_groups(frame: pd.DataFrame, epochs: Mapping[str, int], sql: str) -> Estimate:
    """W2: Spearman over groups of the clean and the noisy drop, mean over trainings; permutation test, one-sided."""
    clean, noisy = (drops(frame, epochs, f"{s}_acc") for s in ("clean", "noisy"))
    key = stream(0, "claims", "W2")
    test = spearman_test(clean.mean(axis=0).to_numpy(), noisy.mean(axis=0).to_numpy(), key)
    if test is None:
        return Estimate(
            None, None, "fewer than three groups, or rewinding costs all of them the same", list(clean.index), sql
        )
    each = [_rho(clean.loc[t], noisy.loc[t]) for t in clean.index]
    spread = over_trainings([r for r in each if r is not None], -1.0, 1.0)
    estimate = test.interval if spread is None or spread.lo is None else Interval(test.interval.value, spread.lo, spread.hi)
    over = f"{len(clean)} trainings" if spread is not None and spread.lo is not None else "the groups"
    reason = (
        f"Spearman over {clean.shape[1]} groups of what rewinding costs clean and noisy accuracy: p = {test.p:.2g}; most "
        f"critical for clean {clean.mean().idxmax()}, for noisy {noisy.mean().idxmax()}; interval over {over}"
    )
    return Estimate(estimate, test.p < 0.05, reason, list(clean.index), sql)


def _rho(clean: pd.Series, noisy: pd.Series) -> float | None:
    """Spearman's coefficient; None with fewer than three groups, or if one side does not vary."""
    from scipy.stats import spearmanr

    if len(clean) < 3 or np.ptp(clean) == 0 or np.ptp(noisy) == 0:
        return None
    return float(spearmanr(clean, noisy).statistic)


def critical(frame: pd.DataFrame, epochs: Mapping[str, int], expected: str, sql: str) -> Estimate:
    """W3: in ResNet-50, rewinding the expected group costs most noisy accuracy. Estimate: the share of such trainings."""
    lost = drops(frame, epochs, "noisy_acc")
    share = [float(lost.loc[t].idxmax() == expected) for t in lost.index]
    most = str(lost.mean(axis=0).idxmax())
    reason = (
        f"rewinding {most} costs most noisy accuracy ({lost.mean(axis=0)[most]:.3f}), expected of {expected}; share of "
        f"{len(share)} trainings"
    )
    return Estimate(Interval(float(np.mean(share)), None, None), bool(most == expected), reason, list(lost.index), sql)


def retrained(frame: pd.DataFrame, sql: str, *, most: bool = True) -> Estimate:
    """R1: most groups (A1: all) reach noisy accuracy of 0.9 in an epoch of retraining. Estimate: their share.

    frame: columns trial, layer, best (over epochs 1..E).
    """
    best = frame.set_index(["trial", "layer"])["best"].unstack("layer")
    shares = [float(v) for v in (best >= KEPT).mean(axis=1)]
    estimate = present(over_trainings(shares, 0.0, 1.0))
    groups = best.mean(axis=0)
    low = str(groups.idxmin())
    asked = "over half" if most else "all"
    reason = (
        f"share of groups whose best noisy accuracy is at least {KEPT}; it must be {asked}; the worst is {low} "
        f"({groups[low]:.3f}){interval_over(estimate, len(shares), '')}"
    )
    return Estimate(estimate, estimate.value > 0.5 if most else estimate.value == 1, reason, list(best.index), sql)


def forgets_again(frame: pd.DataFrame, sql: str, layer: str = "res2.conv1") -> dict[str, Estimate]:
    """R2: res2.conv1 passes 0.7 on noisy examples during retraining, and ends below 0.1.

    frame: columns trial, layer, best, final.
    """
    rows = frame[frame["layer"] == layer]
    if rows.empty:
        return {}
    estimates = {}
    for part, column, says in (("during", "best", "above 0.7"), ("end", "final", "below 0.1")):
        estimate = present(over_trainings(list(rows[column]), 0.0, 1.0))
        holds = estimate.value > 0.7 if part == "during" else estimate.value < 0.1
        when = "best" if part == "during" else "last"
        reason = f"{when} noisy accuracy of {layer}; it must be {says}{interval_over(estimate, len(rows), '')}"
        estimates[part] = Estimate(estimate, holds, reason, list(rows["trial"]), sql)
    return estimates


def _nowhere(climbs: Mapping[str, int], sql: str) -> Estimate:
    reason = f"nothing was rewound to before {_when(climbs)}: list such an epoch in `rewind.epochs`"
    return Estimate(None, None, reason, sorted(climbs), sql)


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


def _climbs(observations: Observations, setting: Setting) -> dict[str, int]:
    reached = first_reaching(observations.epochs, LEARNS)
    return {t: reached[t] for t in setting.trials if t in reached}


def _last_epochs(observations: Observations, setting: Setting) -> dict[str, int]:
    return {t: int(observations.trials[t]["epochs"]) for t in setting.trials}


def _l1(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = rewind_rows(observations, setting)
    return {"": kept_early(frame, _climbs(observations, setting), sql)}


def _w1(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = rewind_rows(observations, setting)
    return {"": last_groups(frame, _climbs(observations, setting), sql)}


def rewinding_costs(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    """W2 of a setting."""
    frame, sql = rewind_rows(observations, setting)
    return {"": same_groups(frame, _last_epochs(observations, setting), sql)}


def _w3_settings(observations: Observations) -> list[Setting]:
    rewound = observations.settings("rewind")
    return [s for s in rewound if s.scope.model == "resnet50" and s.scope.dataset in CRITICAL]


def _w3(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    frame, sql = rewind_rows(observations, setting)
    expected = CRITICAL[setting.scope.dataset]
    return {"": critical(frame, _last_epochs(observations, setting), expected, sql)}


def retrain_rows(observations: Observations, setting: Setting) -> tuple[pd.DataFrame, str]:
    """Columns trial, layer, best, final of a setting's retraining, and the SQL that returns them."""
    sql = (
        "SELECT analysis, trial, layer, max(noisy_acc) AS best, arg_max(noisy_acc, epoch) AS final FROM retrain "
        f"WHERE epoch > 0 AND {among('analysis', setting.analyses.values())} GROUP BY ALL ORDER BY trial, layer"
    )
    return observations.rows(observations.retrain, setting), sql


def _r1(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    return {"": retrained(*retrain_rows(observations, setting))}


def _r2(observations: Observations, setting: Setting, numbers: Numbers) -> Parts:
    return forgets_again(*retrain_rows(observations, setting))


JUDGES = {
    "L1": Judge(of_stage("rewind"), _l1),
    "W1": Judge(of_stage("rewind"), _w1),
    "W2": Judge(of_stage("rewind"), rewinding_costs),
    "W3": Judge(_w3_settings, _w3),
    "R1": Judge(of_stage("retrain"), _r1),
    "R2": Judge(of_stage("retrain"), _r2),
}
