"""R1, R2, Figures 4 and 18: one layer group trained again, on clean examples alone (paper §5.2, B.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pandas as pd

from memloc.analysis.observed import Observed
from memloc.analysis.settings import DATASETS, Scope
from memloc.papers.claims import PRESENT, RATES, Case, Claim, Estimates, grid, of_stage
from memloc.papers.deciding import ABOVE_HALF, Estimate, decided
from memloc.papers.exhibits import Drawn, Exhibit, Subject, Wanted, per_setting
from memloc.papers.maini2023.layers.accuracies import BY_LABEL, KEPT, Sets, accuracies, drawn_by_layer
from memloc.papers.maini2023.widths import Picture, against_width
from memloc.statistics.quantities import share, share_of_groups
from memloc.statistics.regions import Region

One = TypeVar("One", bound=Observed)
COMES_BACK = Region(lo=0.7, open_lo=True)  # R2, during retraining
GOES_AGAIN = Region(hi=0.1, open_hi=True)  # R2, at its end
LAYER = "res2.conv1"  # R2


def retrained(one: Observed, asked: Region = ABOVE_HALF) -> Estimate:
    """R1: most groups (A1: all) reach noisy accuracy of 0.9 in an epoch of retraining. Estimate: their share."""
    one = as_long(one)
    frame, sql = _rows(one)
    best = frame.pivot(index="trial", columns="layer", values="best")
    groups = best.mean(axis=0)
    low = str(groups.idxmin())
    compared = f"share of groups whose best noisy accuracy is at least {KEPT}"
    reached = share_of_groups(accuracies(best, one.examples("noisy")), KEPT)
    return decided(reached, asked, compared, list(best.index), sql, f"; the worst is {low} ({groups[low]:.3f})")


def forgets_again(case: Case) -> Estimates:
    """R2: res2.conv1 passes 0.7 on noisy examples during retraining, and ends below 0.1."""
    case = as_long(case)
    frame, sql = _rows(case)
    rows = frame[frame["layer"] == LAYER]
    if rows.empty:
        return {}
    trials = list(rows["trial"])
    n = case.only(trials).examples("noisy")
    best, final = (share(list(rows[column]), n) for column in ("best", "final"))
    return {
        "during": decided(best, COMES_BACK, f"best noisy accuracy of {LAYER}", trials, sql),
        "end": decided(final, GOES_AGAIN, f"last noisy accuracy of {LAYER}", trials, sql),
    }


def as_long(one: One) -> One:
    """Those trainings whose layers were trained again for the same number of epochs: the number that most have.

    The learning rate ends with the epochs, so accuracies of different numbers of epochs are different quantities.
    """
    of_epochs: dict[int, list[str]] = {}
    for trial, analysis in sorted(one.setting.analyses.items()):
        of_epochs.setdefault(one.observations.configs[analysis]["epochs"], []).append(trial)
    return one.only(of_epochs[max(of_epochs, key=lambda epochs: (len(of_epochs[epochs]), epochs))])


def _rows(one: Observed) -> tuple[pd.DataFrame, str]:
    """(columns trial, layer, best (noisy accuracy over epochs 1..E), final; the SQL that returns them)."""
    sql = (
        "SELECT analysis, trial, layer, max(noisy_acc) AS best, arg_max(noisy_acc, epoch) AS final FROM retrain "
        f"WHERE epoch > 0 AND {one.where} GROUP BY ALL ORDER BY trial, layer"
    )
    rows = one.rows("retrain")
    through = rows[rows["epoch"] > 0].sort_values("epoch").groupby(["analysis", "trial", "layer"])["noisy_acc"]
    return through.agg(best="max", final="last").reset_index().sort_values(["trial", "layer"]), sql


def drawn(sets: Sets = BY_LABEL) -> Callable[[Subject], Drawn]:
    """Draws the accuracies of the sets over epochs of retraining, a panel per layer group."""
    draw = drawn_by_layer("retrain", sets)
    return lambda subject: draw(as_long(subject))


CLAIMS = (
    Claim(
        "R1",
        "§5.2, Figures 4, 18",
        "retrained on clean examples alone, most layers reach about 100 % on noisy ones they never saw",
        "retrain",
        retrained,
        grid(PRESENT, ("resnet9",)),
    ),
    Claim(
        "R2",
        "§5.2, Figure 4b",
        "layer 5 (res2.conv1) on MNIST passes 70 % on noisy examples while it is retrained, and ends below 10 %",
        "retrain",
        forgets_again,
        {Scope("mnist"): {"during": 0.7, "end": 0.1}},
    ),
)
R1, _ = CLAIMS
EXHIBITS = (
    Exhibit(
        "fig04",
        "Figures 4 and 18",
        "Accuracy while one layer is trained again on clean examples alone",
        "§5.2, B.2",
        "The layer starts at its initial weights and never sees a noisy example. The paper finds that most layers reach "
        "nearly 100 % on the noisy examples. Some layers lose it in later epochs.",
        "memloc sweep paper-grid --only block=retraining",
        of_stage("retrain"),
        per_setting(drawn()),
        Wanted(DATASETS, ("resnet9",), RATES),
        claims=("R1", "R2"),
    ),
    against_width(
        "width-retraining",
        "retrain",
        "The layers that relearn noisy examples from clean ones, against the width",
        f"The share of layers that reach noisy accuracy {KEPT} while they are trained again on clean examples alone (R1).",
        (Picture(R1, {"": "reached"}, "share of layers", y_range=(0.0, 1.0)),),
    ),
)
