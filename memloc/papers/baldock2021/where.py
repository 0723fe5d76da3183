"""Two views of "where": the depth at which mislabeled examples are resolved, beside rewinding, retraining and flips.

The same trainings, the same layers. Each chart has a share in [0, 1] by layer group. They need not agree.
"""

from __future__ import annotations

from collections.abc import Sequence

from memloc.analysis.observed import Observed
from memloc.papers.baldock2021.resolving import rows_of, shares_by_depth, sites_of, sql_of
from memloc.papers.charts import Dots
from memloc.papers.claims import of_stage
from memloc.papers.exhibits import Drawn, Exhibit, Subject, per_setting
from memloc.papers.maini2023.layers.accuracies import accuracies
from memloc.papers.maini2023.layers.rewinding import Rewound
from memloc.papers.maini2023.neurons.flips import layer_shares
from memloc.statistics.quantities import complement
from memloc.statistics.trainings import OverTrainings


def beside(one: Observed, stage: str) -> Observed | None:
    """The usual analyses of a stage on trainings of the same setting; None if there are none."""
    there = [
        s for s in one.observations.settings(stage) if s.config == one.setting.config and set(s.trials) & set(one.trials)
    ]
    if not there:
        return None
    usual = min(there, key=lambda s: len(s.variant))
    return Observed(one.observations, usual.only([t for t in usual.trials if t in one.trials]))


def _resolved(subject: Subject, layers: Sequence[str]) -> list[Dots]:
    """A row for each block. What is resolved by the softmax alone stands at the last group, which makes it."""
    frame = rows_of(subject)
    if frame.empty:
        return []
    sites = sites_of(subject)[1:]
    names = [*sites[:-1], *(layers[-1:] or sites[-1:])]
    shares = shares_by_depth(subject, frame, True)[1 : len(names) + 1]
    title = subject.titled("Resolved here (prediction depth)")
    return [Dots(title, names, {"noisy": shares}, "share of noisy examples", sql_of(subject), (0.0, 1.0))]


def _lost_by_rewinding(subject: Subject, layers: Sequence[str]) -> list[Dots]:
    one = beside(subject, "rewind")
    if one is None:
        return []
    rewound = Rewound.of(one)
    cells = rewound.early[1]
    if not cells:
        return []
    epochs = sorted({epoch for _, epoch in cells})[:2]
    lost = {
        f"set back to epoch {e}": [complement(cells[layer, e]) if (layer, e) in cells else None for layer in layers]
        for e in epochs
    }
    return [
        Dots(subject.titled("Lost when set back (rewinding)"), layers, lost, "noisy accuracy lost", rewound.sql, (0.0, 1.0))
    ]


def _not_found_again(subject: Subject, layers: Sequence[str]) -> list[Dots]:
    one = beside(subject, "retrain")
    if one is None:
        return []
    rows = one.rows("retrain")
    best = rows[rows["epoch"] > 0].groupby(["trial", "layer"])["noisy_acc"].max().unstack()
    kept = dict(zip(best.columns, accuracies(best, one.examples("noisy")), strict=True))
    values = [complement(kept[layer]) if layer in kept else None for layer in layers]
    title = subject.titled("Not found again (retraining on clean examples)")
    return [
        Dots(title, layers, {"noisy": values}, "noisy accuracy missing at its best epoch", one.select("retrain"), (0.0, 1.0))
    ]


def _closed(subject: Subject, layers: Sequence[str]) -> list[Dots]:
    one = beside(subject, "flips")
    if one is None:
        return []
    estimate, names, means = layer_shares(one)
    if not names:
        return []
    # Layers of neurons lie inside of the groups of some networks: then the chart has these layers.
    rows = list(layers) if set(names) <= set(layers) else one.layers(names)
    nothing = OverTrainings(0.0, (0.0,) * len(one.trials))
    shares = [means["noisy"][names.index(layer)] if layer in names else nothing for layer in rows]
    title = subject.titled("Neurons closed here (flips)")
    return [Dots(title, rows, {"noisy": shares}, "share of the neurons closed", estimate.sql, (0.0, 1.0))]


def _views(subject: Subject) -> Drawn:
    """Four charts over the same layers. Those that were not run are left out."""
    groups = subject.observations.groups(subject.scope.model)
    charts = [of(subject, groups) for of in (_resolved, _lost_by_rewinding, _not_found_again, _closed)]
    return [chart for some in charts for chart in some]


EXHIBITS = (
    Exhibit(
        "where",
        'Two views of "where"',
        "The layers of mislabeled examples by four methods, on the same networks",
        "Baldock et al.; Maini et al. §5, §6.1",
        "Prediction depth names the layer from which the wrong label is read. Rewinding and retraining name layers without "
        "which the label is lost, or not found again. Flips name layers with neurons that carry the prediction.",
        "memloc sweep depth",
        of_stage("depth"),
        per_setting(_views),
        of_paper=False,
        shown=4,
    ),
)
