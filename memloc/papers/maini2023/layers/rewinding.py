"""L1, W1–W3, Figures 3 and 15–17: accuracy after one layer group is rewound (paper §5.1, B.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import pandas as pd

from memloc.analysis.observed import Observed
from memloc.analysis.settings import DATASETS, MODELS, Scope
from memloc.papers.charts import Dots, Line
from memloc.papers.claims import PRESENT, RATES, Case, Claim, grid, of_stage
from memloc.papers.deciding import (
    ABOVE_HALF,
    POSITIVE,
    SIGNIFICANT,
    Estimate,
    decided,
    estimated,
    listed,
    ranked,
    untestable,
)
from memloc.papers.exhibits import Drawn, Exhibit, Subject, Wanted, per_setting
from memloc.papers.maini2023.layers.accuracies import KEPT, accuracies, by_layer, learning
from memloc.papers.maini2023.widths import Picture, against_width
from memloc.seeds import stream
from memloc.statistics import rank_correlations, spearman_test
from memloc.statistics.quantities import difference, share, share_of_groups
from memloc.statistics.regions import Region, decide_groups
from memloc.statistics.trainings import OverTrainings

KEEPS = Region(lo=KEPT)  # W1
LEARNS = 0.2  # noisy accuracy from which a training begins to memorize
CRITICAL = {"cifar10": "layer3", "mnist": "layer4"}  # W3: the critical layer of ResNet-50, by data set (B.1)
TRAINING, SET_BACK = "Training", "One layer set back"  # titles of charts
EARLIEST = 2  # so many epochs rewound to are in the picture

Cells: TypeAlias = dict[tuple[str, float], OverTrainings]  # {(layer, epoch rewound to): accuracy}


@dataclass(frozen=True)
class Rewound:
    """What was rewound in a setting.

    frame: rows of `rewind`, groups in the network's order. climbs: {trial: the first epoch with noisy accuracy of 20 %},
    where there is one. ends: {trial: T}. one: the setting.
    """

    frame: pd.DataFrame
    climbs: Mapping[str, int]
    ends: Mapping[str, int]
    one: Observed

    @classmethod
    def of(cls, one: Observed) -> Rewound:
        """What was rewound in a setting of a store."""
        reached = one.observations.first_reaching(LEARNS)
        climbs = {t: reached[t] for t in one.trials if t in reached}
        ends = {t: int(config["epochs"]) for t, config in one.configs.items()}
        return cls(one.rows("rewind"), climbs, ends, one)

    @property
    def sql(self) -> str:
        """Returns the rows."""
        return self.one.select("rewind")

    @property
    def layers(self) -> list[str]:
        return list(dict.fromkeys(self.frame["layer"]))

    @property
    def early(self) -> tuple[list[str], Cells]:
        """(trainings, {(layer, epoch rewound to): noisy accuracy}), for epochs before the climb.

        Trainings without such epochs are left out. Trainings are compared cell by cell, so only those cells count that all
        of them have.
        """
        before = self.frame["epoch"] < self.frame["trial"].map(lambda t: self.climbs.get(t, 0))
        rows = self.frame[before].set_index(["trial", "layer", "epoch"])["noisy_acc"]
        table = rows.unstack(["layer", "epoch"]).dropna(axis=1)
        names = zip(*(table.columns.get_level_values(level) for level in ("layer", "epoch")), strict=True)
        trials = list(table.index)
        known = [] if table.empty else accuracies(table, self.one.only(trials).examples("noisy"))
        return trials, dict(zip(names, known, strict=bool(known)))

    def left(self, column: str) -> pd.DataFrame:
        """Trainings × groups: accuracy after rewinding, mean over the epochs rewound to, without T.

        Trainings are compared, so only those epochs count to which all of them were rewound, if there are any.
        """
        rows = self.frame[self.frame["epoch"] < self.frame["trial"].map(self.ends)]
        cells = rows.groupby(["layer", "epoch"])["trial"].transform("nunique") == rows["trial"].nunique()
        everywhere = cells.groupby(rows["epoch"]).transform("all")
        rows = rows[everywhere] if everywhere.any() else rows
        means: pd.DataFrame = rows.groupby(["trial", "layer"], sort=False)[column].mean().unstack("layer")
        return means[self.layers]

    def drops(self, column: str) -> pd.DataFrame:
        """Trainings × groups: accuracy lost by rewinding, as `left` has it.

        The loss is counted from the accuracy of the whole network: that of rewinding to T, or 1 if that is missing.
        """
        whole = self.frame[self.frame["epoch"] == self.frame["trial"].map(self.ends)].groupby("trial")[column].max()
        means = self.left(column)
        return (-means).add(whole.reindex(means.index).fillna(1.0), axis=0)

    @property
    def when(self) -> str:
        """`epoch 12 to 15, where it reaches 20%`. There must be climbs."""
        low, high = min(self.climbs.values()), max(self.climbs.values())
        return f"epoch {low}{f' to {high}' if high > low else ''}, where it reaches {LEARNS:.0%}"

    def nowhere(self) -> Estimate:
        if self.climbs:
            reason = f"nothing was rewound to before {self.when}: list such an epoch in `rewind.epochs`"
        elif any(config.get("given_from") for config in self.one.configs.values()):
            reason = "the checkpoints are from elsewhere: nothing says in which epoch noisy accuracy began to grow"
        else:
            reason = f"noisy accuracy never reaches {LEARNS:.0%} in the training pass, so no epoch is before that"
        return untestable(reason, sorted(self.climbs), self.sql)


def kept_early(case: Case) -> Estimate:
    """L1: most pairs (group, epoch before the climb) keep noisy accuracy of at least 0.9. Estimate: their share."""
    rewound = Rewound.of(case)
    trials, cells = rewound.early
    if not cells:
        return rewound.nowhere()
    compared = f"share of (group, epoch) with noisy accuracy {KEPT} left, rewound to before {rewound.when}"
    return decided(share_of_groups(list(cells.values()), KEPT), ABOVE_HALF, compared, trials, rewound.sql)


def last_groups(case: Case) -> Estimate:
    """W1: noisy accuracy is at least 0.9 after rewinding either of the last two groups to any such epoch.

    The estimate is that of the group and epoch that fall shortest of it.
    """
    rewound = Rewound.of(case)
    last = rewound.layers[-2:]
    trials, early = rewound.early
    cells = {name: cell for name, cell in early.items() if name[0] in last}
    if not cells:
        return rewound.nowhere()
    decision, shown = decide_groups(list(cells.values()), KEEPS)
    layer, epoch = list(cells)[shown]
    compared = (
        f"noisy accuracy after rewinding {layer} to epoch {epoch}; it must be {KEEPS} for {' and '.join(last)}, rewound to "
        f"any epoch before {rewound.when}"
    )
    return estimated(cells[layer, epoch], decision, compared, trials, rewound.sql)


def same_groups(one: Observed) -> Estimate:
    """W2: Spearman over groups of the clean and the noisy drop, each a mean over trainings; permutation test, one-sided.

    There is no interval: the groups are fixed, and the p of the test decides.
    """
    rewound = Rewound.of(one)
    clean, noisy = rewound.drops("clean_acc"), rewound.drops("noisy_acc")
    trials = list(clean.index)
    key = stream(0, "claims", "W2")
    test = spearman_test(clean.mean(axis=0).to_numpy(), noisy.mean(axis=0).to_numpy(), key)
    if test is None:
        return untestable("fewer than three groups, or rewinding costs all of them the same", trials, rewound.sql)
    own = rank_correlations(clean.to_numpy(), noisy.loc[trials].to_numpy())
    each = [rho for rho in own if rho is not None]
    reason = (
        f"Spearman over {clean.shape[1]} groups of what rewinding costs clean and noisy accuracy: p = {test.p:.2g}; p must "
        f"be below {SIGNIFICANT}; most critical for clean {clean.mean().idxmax()}, for noisy {noisy.mean().idxmax()}; "
        f"by training {listed(each) or 'unknown'}"
    )
    return ranked(test, each, len(trials), reason, trials, rewound.sql)


def critical(case: Case) -> Estimate:
    """W3: in ResNet-50, rewinding the expected group costs most noisy accuracy.

    The estimate is its drop minus the largest drop of another group of the same training.
    """
    rewound, expected = Rewound.of(case), CRITICAL[case.scope.dataset]
    means = rewound.left("noisy_acc")
    if expected not in means or means.shape[1] < 2:
        return untestable(f"{expected} was not rewound, or nothing else", list(means.index), rewound.sql)
    others, n = means.drop(columns=expected), case.only(list(means.index)).examples("noisy")
    gap = difference(share(list(others.min(axis=1)), n), share(list(means[expected]), n))
    most = ", ".join(dict.fromkeys(map(str, others.idxmin(axis=1))))
    compared = f"noisy accuracy that rewinding {expected} costs, minus the most that another group costs ({most})"
    return decided(gap, POSITIVE, compared, list(means.index), rewound.sql)


CLAIMS = (
    Claim(
        "L1",
        "§5.1, Figure 3",
        "noisy accuracy is below 20 % for long, yet rewinding one layer to then mostly keeps it (§5.1: until epoch 30; "
        "§4.2 dates memorization to epochs 10–30)",
        "rewind",
        kept_early,
        {Scope(model=m): PRESENT for m in MODELS},
    ),
    Claim(
        "W1",
        "§5.1, Figures 3, 15–17",
        "rewinding the last layers has little impact on noisy accuracy",
        "rewind",
        last_groups,
        grid(PRESENT),
    ),
    Claim(
        "W2",
        "§5.1, Figures 3, 15–17",
        "the layers critical for noisy examples are those critical for clean ones",
        "rewind",
        same_groups,
        grid(PRESENT),
    ),
    Claim(
        "W3",
        "B.1, Figures 15, 16",
        "the critical group of ResNet-50 is layer3 on CIFAR-10, layer4 on MNIST",
        "rewind",
        critical,
        {Scope(d, "resnet50"): PRESENT for d in CRITICAL},
        settings=lambda o: [s for s in o.settings("rewind") if s.scope.model == "resnet50" and s.scope.dataset in CRITICAL],
    ),
)
L1, W1, *_ = CLAIMS


def _training_and_rewinding(subject: Subject) -> Drawn:
    """The learning curves, and the accuracies over the epoch rewound to."""
    _, cells = Rewound.of(subject).early
    curves = by_layer(subject, subject.titled(SET_BACK), "rewind")
    panels = {layer: [_as_judged(one, layer, cells) for one in lines] for layer, lines in curves.panels.items()}
    return [learning(subject, subject.titled(TRAINING)), replace(curves, panels=panels)]


def _as_judged(one: Line, layer: str, cells: Cells) -> Line:
    """The line with the estimates of L1 and W1 where it shows them: their cells share their spread."""
    judged = {epoch: cell.printed for (of_layer, epoch), cell in cells.items() if of_layer == layer and one.name == "noisy"}
    return replace(one, values=[judged.get(epoch, value) for epoch, value in zip(one.x, one.values, strict=True)])


def _at_a_glance(subject: Subject) -> Drawn:
    """The learning curves, and by layer the noisy accuracy that is left after rewinding to the earliest epochs."""
    rewound = Rewound.of(subject)
    _, cells = rewound.early
    layers, epochs = subject.layers(rewound.layers), sorted({epoch for _, epoch in cells})[:EARLIEST]
    values = {f"set back to epoch {epoch}": [cells.get((layer, epoch)) for layer in layers] for epoch in epochs}
    dots = Dots(subject.titled(SET_BACK), layers, values, "noisy accuracy left", rewound.sql, (0.0, 1.0))
    return [learning(subject, subject.titled(TRAINING)), *([dots] if values else [])]


EXHIBITS = (
    Exhibit(
        "fig03",
        "Figures 3, 15, 16 and 17",
        "Training, and accuracy with one layer set back to an earlier epoch",
        "§5.1, B.1",
        "All other layers stay as they are at the end. The paper finds that setting back the last layers costs little. "
        "Which layers are critical depends on the network and the data.",
        "memloc sweep paper-grid --only block=main,main_resnet50,main_vit",
        of_stage("rewind"),
        per_setting(_training_and_rewinding),
        Wanted(DATASETS, noises=RATES),
        claims=("L1", "W1", "W2", "W3"),
        shown=27,
    ),
    against_width(
        "width-rewinding",
        "rewind",
        "What is left of noisy examples with one layer set back, against the width",
        f"(a) The share of pairs of a layer and an epoch that keep noisy accuracy {KEPT} (L1). The epochs are those before "
        "noisy examples are learned. (b) The lowest noisy accuracy that is left with one of the last two layers set back "
        "(W1). All networks of the paper have width 1. It says that most layers keep the noisy examples, and that the last "
        "ones do.",
        (
            Picture(L1, {"": "kept"}, "share of layers and epochs", "(a) All layers", (0.0, 1.0)),
            Picture(W1, {"": "left"}, "noisy accuracy left", "(b) The worse of the last two layers", (0.0, 1.0)),
        ),
    ),
)
PICTURE = Exhibit(
    "pic-layers",
    "Training and rewinding",
    "When noisy examples are learned, and what is left of them with one layer set back",
    "§5.1",
    "The paper finds that setting one layer back to before the noisy examples were learned mostly keeps them.",
    "memloc sweep paper-grid --only block=main --only dataset=cifar10 --only noise=0.1",
    of_stage("rewind"),
    per_setting(_at_a_glance),
    shown=1,
)
