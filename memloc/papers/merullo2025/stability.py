"""K4: does an edit depend on the seed, on when the training ends, or on ρ?"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from scipy.special import chdtri

from memloc.papers.charts import Curves, Dots, Line, by_training, line_of_shares
from memloc.papers.claims import Case, Claim, Estimates, here
from memloc.papers.deciding import Estimate, decided, untestable
from memloc.papers.exhibits import Drawn, Subject
from memloc.papers.merullo2025.edited import RHO, SETS, Edits
from memloc.papers.merullo2025.removal import WITHOUT, exhibit
from memloc.statistics import Interval
from memloc.statistics.quantities import mean_of_trainings
from memloc.statistics.regions import Region, decide
from memloc.statistics.trainings import DECIDING, PRINTED

SMALL = Region(hi=0.1)  # a change of noisy accuracy that is none to speak of
LATE = 2 / 3  # of a training: from epoch 20 of 30 on
NEAR = 0.06  # a neighbour of ρ is no farther away


def stable(case: Case) -> Estimates:
    """K4: by how much noisy accuracy after the edit changes; at most 0.1.

    seeds: its standard deviation over trainings. epochs: the largest distance of a late checkpoint from the last one.
    smooth: the largest fall from one ρ to the next larger one. near: the larger distance of the next smaller and the next
    larger ρ from 0.9.
    """
    edits = Edits.of(case).usual(rank="kfac")
    by_rho = by_training(edits.last.frame, "rho", SETS["noisy"]).sort_index(axis=1)
    return {
        "seeds": _over_seeds(edits),
        "epochs": _over_epochs(edits),
        "smooth": _smooth(by_rho, edits),
        "near": _near(by_rho, edits),
    }


def _over_seeds(edits: Edits) -> Estimate:
    noisy = edits.judged.values("noisy")
    if len(noisy) < 2:
        return untestable("one training has no other seed to compare with", edits.one.trials, edits.sql)
    deviation, freedom = float(noisy.std(ddof=1)), len(noisy) - 1
    printed, deciding = (_of_deviation(deviation, freedom, level) for level in (PRINTED, DECIDING))
    decision = decide(deciding, SMALL, list((noisy - noisy.mean()).abs()))
    compared = f"standard deviation over {len(noisy)} trainings of noisy accuracy at rho {RHO}; it must be {SMALL}"
    return Estimate(printed, decision, compared, [str(trial) for trial in noisy.index], edits.sql)


def _of_deviation(deviation: float, freedom: int, level: float) -> Interval:
    """A standard deviation with its interval of normal values, by χ² with so many degrees of freedom."""
    lo, hi = (deviation * float(np.sqrt(freedom / chdtri(freedom, tail))) for tail in ((1 - level) / 2, (1 + level) / 2))
    return Interval(deviation, lo, hi)


def _over_epochs(edits: Edits) -> Estimate:
    table = by_training(edits.only(rho=RHO).frame, "epoch", SETS["noisy"])
    ends = {t: int(config["epochs"]) for t, config in edits.one.configs.items()}
    far = {}
    for trial, last in ends.items():
        known = _values_of(table, trial)
        late = [v for epoch, v in known.items() if LATE * last <= epoch < last]
        if late and last in known:
            far[trial] = max(abs(v - known[last]) for v in late)
    if not far:
        reason = "no checkpoint of the last third was edited besides the last: list some in `edit.epochs`"
        return untestable(reason, edits.one.trials, edits.sql)
    epochs = sorted({e for e in map(int, table.columns) if e >= LATE * min(ends.values())})
    compared = f"the most by which noisy accuracy at rho {RHO} changes over the checkpoints {', '.join(map(str, epochs))}"
    return _small(pd.Series(far), compared, edits)


def _values_of(table: pd.DataFrame, trial: str) -> dict[int, float]:
    """{epoch: value} of a training."""
    if trial not in table.index:
        return {}
    row = table.loc[trial].dropna()
    return dict(zip(map(int, row.index), row.to_numpy(dtype=np.float64).tolist(), strict=True))


def _smooth(by_rho: pd.DataFrame, edits: Edits) -> Estimate:
    if by_rho.shape[1] < 3:
        return untestable("fewer than three shares: list more in `edit.rho`", edits.one.trials, edits.sql)
    falls = (-by_rho.diff(axis=1)).clip(lower=0.0).max(axis=1).dropna()
    return _small(falls, "the most by which noisy accuracy falls from one share to the next larger one", edits)


def _near(by_rho: pd.DataFrame, edits: Edits) -> Estimate:
    shares = [float(rho) for rho in by_rho.columns]
    near = [max((r for r in shares if r < RHO), default=0.0), min((r for r in shares if r > RHO), default=2.0)]
    if RHO not in shares or any(abs(r - RHO) > NEAR for r in near):
        return untestable(f"{WITHOUT}, with a share on either side of it", edits.one.trials, edits.sql)
    far = by_rho[near].sub(by_rho[RHO], axis=0).abs().max(axis=1).dropna()
    return _small(far, f"the most by which noisy accuracy changes from rho {RHO} to {near[0]:g} or {near[1]:g}", edits)


def _small(values: pd.Series[float], compared: str, edits: Edits) -> Estimate:
    trials = [str(trial) for trial in values.index]
    return decided(mean_of_trainings(list(values)), SMALL, compared, trials, edits.sql)


CLAIMS = (
    Claim(
        "K4",
        f"ρ = {RHO} and around it",
        "the edit does not depend on the seed or on when the training ends, and changes smoothly with ρ, little near 0.9",
        "edit",
        stable,
        here(dict.fromkeys(("seeds", "epochs", "smooth", "near"))),
    ),
)


def _by_epoch(subject: Subject) -> Drawn:
    """The four accuracies over epochs: the checkpoints as they are, and edited."""
    edits = Edits.of(subject)
    several = {"as it is": edits.as_it_is, f"edited, ρ = {RHO}": edits.only(rho=RHO).usual(rank="kfac")}
    panels: dict[str, list[Line]] = {}
    for name, mine in several.items():
        tables = {of_set: by_training(mine.frame, "epoch", column).dropna(axis=1) for of_set, column in SETS.items()}
        lines = [line_of_shares(s, t, mine.examples_of(s)) for s, t in tables.items() if not t.empty]
        panels |= {name: lines} if lines else {}
    title = subject.titled("Checkpoints")
    return [Curves(title, panels, "epoch", "accuracy", edits.sql, y_range=(0.0, 1.0))] if panels else []


def _by_group(subject: Subject) -> Drawn:
    """The accuracies when one layer group alone is edited."""
    judged = Edits.of(subject).judged
    names = _in_network_order(subject, set(judged.frame["groups"]) - {"inner", "none"})
    if not names:
        return []
    mine: dict[str, Edits] = {name: judged.usual(rank="kfac", groups=name) for name in names}
    values = {of_set: [mine[name].share(of_set) for name in names] for of_set in SETS}
    return [Dots(subject.titled("One layer group"), names, values, "accuracy", judged.sql, x_range=(0.0, 1.0))]


def _in_network_order(subject: Subject, names: Collection[str]) -> list[str]:
    """As the analysis that edits most of these layer groups has them."""
    orders: list[list[str]] = [[]]
    for analysis in subject.observations.analyses:
        if analysis["stage"] == "edit" and analysis["trial"] in subject.trials:
            batches = subject.observations.batches("edits", ("groups",), (analysis["analysis"],))
            orders.append(list(dict.fromkeys(name for b in batches for name in b.column("groups").to_pylist())))
    longest = max(orders, key=len)
    return sorted(names, key=lambda name: (longest.index(name) if name in longest else len(longest), name))


EXHIBITS = (
    exhibit(
        "Checkpoints",
        "The edit at earlier checkpoints, beside these as they are",
        "Early stopping has what the edit gives back: before wrong labels are learned, most mislabeled examples get their "
        "true label.",
        _by_epoch,
        ("K4",),
    ),
    exhibit(
        "Groups",
        "One layer group edited at a time",
        "All other layers stay. Where noisy accuracy falls and clean accuracy does not, the directions of little curvature "
        "of that group hold wrong labels.",
        _by_group,
    ),
)
