"""R1, R2, Figures 4 and 18: one layer group trained again, on clean examples alone (paper §5.2, B.2)."""

from __future__ import annotations

import pandas as pd

from memloc.analysis.observations import Observations, among
from memloc.analysis.settings import Scope, Setting
from memloc.papers.claims import Claim, grid, of_stage
from memloc.papers.deciding import decided
from memloc.papers.exhibits import Exhibit, Wanted, memorizing, per_setting
from memloc.papers.judgement import Estimate
from memloc.papers.maini2023.layers.accuracies import KEPT, MOST, accuracies, averaged, by_layer, noisy_examples
from memloc.statistics.quantities import share_of_groups
from memloc.statistics.regions import Region

COMES_BACK = Region(lo=0.7, open_lo=True)  # R2, during retraining
GOES_AGAIN = Region(hi=0.1, open_hi=True)  # R2, at its end


def retrained(frame: pd.DataFrame, n: int | None, sql: str, asked: Region = MOST) -> Estimate:
    """R1: most groups (A1: all) reach noisy accuracy of 0.9 in an epoch of retraining. Estimate: their share.

    frame: columns trial, layer, best (over epochs 1..E).
    """
    best = frame.pivot(index="trial", columns="layer", values="best")
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
    best, final = (averaged(list(rows[column]), n) for column in ("best", "final"))
    return {
        "during": decided(best, COMES_BACK, f"best noisy accuracy of {layer}", trials, sql),
        "end": decided(final, GOES_AGAIN, f"last noisy accuracy of {layer}", trials, sql),
    }


def retrain_rows(observations: Observations, setting: Setting) -> tuple[pd.DataFrame, int | None, str]:
    """(columns trial, layer, best (noisy accuracy over epochs 1..E), final; distinct noisy examples; the rows' SQL)."""
    sql = (
        "SELECT analysis, trial, layer, max(noisy_acc) AS best, arg_max(noisy_acc, epoch) AS final FROM retrain "
        f"WHERE epoch > 0 AND {among('analysis', setting.analyses.values())} GROUP BY ALL ORDER BY trial, layer"
    )
    rows = observations.rows(observations.table("retrain"), setting)
    through = rows[rows["epoch"] > 0].sort_values("epoch").groupby(["analysis", "trial", "layer"])["noisy_acc"]
    frame = through.agg(best="max", final="last").reset_index().sort_values(["trial", "layer"])
    return frame, noisy_examples(observations, setting), sql


CLAIMS = (
    Claim(
        "R1",
        "§5.2, Figures 4, 18",
        "retrained on clean examples alone, most layers reach about 100 % on noisy ones they never saw",
        grid({"": 1.0}, ("resnet9",)),
        "retrain",
        of_stage("retrain"),
        lambda o, s, n: {"": retrained(*retrain_rows(o, s))},
    ),
    Claim(
        "R2",
        "§5.2, Figure 4b",
        "layer 5 (res2.conv1) on MNIST passes 70 % on noisy examples while it is retrained, and ends below 10 %",
        {Scope("mnist"): {"during": 0.7, "end": 0.1}},
        "retrain",
        of_stage("retrain"),
        lambda o, s, n: forgets_again(*retrain_rows(o, s)),
    ),
)


RETRAINING = Exhibit(
    "fig04",
    "Figures 4 and 18",
    "Accuracy while one layer is trained again on clean examples alone",
    "§5.2, B.2",
    "The layer starts at its initial weights and never sees a noisy example. The paper finds that most layers reach nearly "
    "100 % on the noisy examples. Some layers lose it in later epochs.",
    "memloc sweep paper-grid --only block=retraining",
    memorizing(of_stage("retrain")),
    Wanted(("cifar10", "mnist", "svhn"), ("resnet9",), (0.05, 0.1, 0.2)),
    per_setting(lambda evidence, setting, label: [by_layer(evidence.observations, setting, label, "retrain")]),
    ("R1", "R2"),
)
