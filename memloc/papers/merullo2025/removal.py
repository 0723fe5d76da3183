"""K1, K2, K3: what an edit at ρ = 0.9 takes away and what it leaves; and whether it is the curvature that does it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from memloc.papers.charts import Curves, Line, Table, by_training, line_of_shares
from memloc.papers.claims import Case, Claim, Estimates, here, of_stage
from memloc.papers.deciding import POSITIVE, Estimate, decided, untestable
from memloc.papers.exhibits import Drawn, Exhibit, Subject, per_setting
from memloc.papers.merullo2025.edited import RHO, SETS, Edits
from memloc.statistics import in_brackets
from memloc.statistics.regions import Region

REGIONS = {"noisy": Region(hi=0.15), "true": Region(lo=0.8), "clean": Region(lo=0.98)}
MEANT = {"noisy": "mislabeled examples with the label trained on", "true": "mislabeled examples with their true label"}
WITHOUT = f"no edit of the inner layer groups at rho {RHO}: `edit: {{}}` has it"
BUDGETS = {"energy": "the same share of its own energy", "pairs": "as many pairs as kfac keeps"}
WHOLE = 0.8  # of clean accuracy; an edit that leaves less has destroyed the network
RANKS = ("kfac", "activation", "gradient", "svd", "magnitude", "random")


def taken_away(case: Case) -> Estimates:
    """K1: noisy accuracy at most 0.15, true accuracy at least 0.8, clean accuracy at least 0.98."""
    edits = Edits.of(case).judged.usual(rank="kfac")
    estimates: dict[str, Estimate | None] = {}
    for part, region in REGIONS.items():
        quantity, trials = edits.share(part), list(edits.values(part).index)
        if quantity is None:
            estimates[part] = untestable(WITHOUT, case.trials, edits.sql)
        else:
            compared = f"share of {MEANT.get(part, 'correctly labeled examples that are right')} at rho {RHO}"
            estimates[part] = decided(quantity, region, compared, trials, edits.sql)
    return estimates


def over_svd(case: Case) -> Estimates:
    """K2: SVD that keeps 0.9 of its energy leaves more of the wrong labels, and fewer true ones, than K-FAC does."""
    edits = Edits.of(case).judged
    svd, kfac = edits.usual(rank="svd"), edits.usual(rank="kfac")
    return {
        "noisy": _more(svd, kfac, "noisy", "noisy accuracy after SVD minus that after K-FAC, each at 0.9 of its energy"),
        "true": _more(kfac, svd, "true", "true accuracy after K-FAC minus that after SVD, each at 0.9 of its energy"),
    }


def over_activation(case: Case) -> Estimates:
    """K3: the covariance of the inputs alone leaves more of the wrong labels than curvature does."""
    edits = Edits.of(case).judged
    kfac = edits.usual(rank="kfac")
    return {
        budget: _more(
            edits.usual(rank="activation", budget=budget),
            kfac,
            "noisy",
            f"noisy accuracy after an edit by the inputs' covariance alone, at {words}, minus that after K-FAC",
        )
        for budget, words in BUDGETS.items()
    }


def _more(one: Edits, other: Edits, of_set: str, compared: str) -> Estimate:
    trials, quantity = one.less(other, of_set)
    if quantity is None:
        return untestable(WITHOUT, one.one.trials, one.sql)
    return decided(quantity, POSITIVE, compared, trials, one.sql)


CLAIMS = (
    Claim(
        "K1",
        f"the edit, ρ = {RHO}",
        "without the directions of little curvature wrong labels are gone, true ones are back, and nothing else is lost",
        "edit",
        taken_away,
        here(dict.fromkeys(REGIONS)),
    ),
    Claim(
        "K2",
        "against SVD",
        "curvature finds what to take away; singular values do not",
        "edit",
        over_svd,
        here({"noisy": None, "true": None}),
    ),
    Claim(
        "K3",
        "against either factor",
        "it is the curvature, and not the covariance of the inputs alone",
        "edit",
        over_activation,
        here(dict.fromkeys(BUDGETS)),
    ),
)


def _traded(subject: Subject) -> Drawn:
    """Noisy against clean accuracy, a line for each rank over ρ."""
    edits = Edits.of(subject).last
    panels: dict[str, list[Line]] = {}
    for budget, words in BUDGETS.items():
        by_rank = {rank: edits.usual(rank=rank, budget="energy" if rank in ("kfac", "svd") else budget) for rank in RANKS}
        lines = [
            one for rank, mine in by_rank.items() if (rank != "svd" or budget == "energy") and (one := _line(rank, mine))
        ]
        panels |= {f"each keeps {words}": lines} if lines else {}
    if not panels:
        return []
    label = subject.titled("Wrong labels left against what is lost")
    return [Curves(label, panels, "clean accuracy left", "noisy accuracy left", edits.sql, y_range=(0.0, 1.0))]


def _line(rank: str, edits: Edits) -> Line | None:
    """x: the mean clean accuracy at each ρ. Equal ones are moved apart by millionths, in the order of ρ."""
    if edits.frame.empty:
        return None
    noisy, clean = (by_training(edits.frame, "rho", SETS[of_set]) for of_set in ("noisy", "clean"))
    kept = sorted((float(clean[rho].mean()), float(rho)) for rho in noisy.columns)
    at = {rho: x + k * 1e-6 for k, (x, rho) in enumerate(kept) if x >= WHOLE}
    if not at:
        return None
    return line_of_shares(rank, noisy[[*at]].set_axis([*at.values()], axis=1), edits.examples_of("noisy"))


def _over_rho(subject: Subject) -> Drawn:
    """The four accuracies over ρ, a panel for each rank."""
    edits = Edits.of(subject).last
    panels: dict[str, list[Line]] = {}
    for rank in RANKS:
        mine = edits.usual(rank=rank)
        if len(set(mine.frame["rho"])) > 1:
            tables = {of_set: by_training(mine.frame, "rho", column).dropna(axis=1) for of_set, column in SETS.items()}
            panels[rank] = [line_of_shares(s, t, mine.examples_of(s)) for s, t in tables.items() if not t.empty]
    title = subject.titled("Accuracy over the share that is kept")
    return [Curves(title, panels, "share of the energy kept", "accuracy", edits.sql, y_range=(0.0, 1.0))] if panels else []


def _table(subject: Subject) -> Drawn:
    """The four accuracies at ρ = 0.9, by rank, budget, statistics and images."""
    judged = Edits.of(subject).judged.only(groups="inner")
    keys = ["rank", "budget", "bn", "images"]
    there = judged.frame[keys].drop_duplicates().to_numpy().tolist()
    order = sorted(there, key=lambda row: (row[3] != "train", row[2] != "final", RANKS.index(row[0]), row[1]))
    rows = [
        [*map(str, row), *(cell(judged.only(**dict(zip(keys, row, strict=True))), of_set) for of_set in SETS)]
        for row in order
    ]
    head = ["kept by", "budget", "statistics", "images", *SETS]
    return [Table(subject.titled(f"ρ = {RHO}"), head, rows, judged.sql)] if rows else []


def cell(edits: Edits, of_set: str) -> str:
    """`0.069 [0.031, 0.107]`; – where no training has it."""
    quantity = edits.share(of_set)
    return "–" if quantity is None else in_brackets(quantity.printed, 3)


def exhibit(name: str, title: str, shows: str, draw: Callable[[Subject], Drawn], claims: Sequence[str] = ()) -> Exhibit:
    """An exhibit of the edit, drawn setting by setting. name: in one word."""
    command, settings, drawn = "memloc sweep edit", of_stage("edit"), per_setting(draw)
    return Exhibit(
        name.lower(), name, title, "the edit", shows, command, settings, drawn, claims=claims, shown=4, of_paper=False
    )


EXHIBITS = (
    exhibit(
        "Exchange",
        "Wrong labels against what is lost, by rank",
        "Each point is an edit of the inner layer groups. An edit that works lies low at the right: wrong labels are gone "
        f"and clean accuracy is kept. Edits that leave less than {WHOLE} of clean accuracy are not shown.",
        _traded,
        ("K1", "K2", "K3"),
    ),
    exhibit(
        "Shares",
        "Accuracies over the share of the energy that is kept",
        "`true` is the share of the mislabeled examples that get their true label. Edits are judged at 0.9, not at the best "
        "share.",
        _over_rho,
    ),
    exhibit(
        "Ranks", "Edits of the inner layer groups at a share of 0.9", "Means over trainings, with 95 % intervals.", _table
    ),
)
