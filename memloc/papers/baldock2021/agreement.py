"""The atlas: which methods agree about the layers, and about the neurons, of mislabeled examples."""

from __future__ import annotations

from memloc.analysis.conditions import among
from memloc.papers.charts import Dots
from memloc.papers.claims import of_stage
from memloc.papers.exhibits import Drawn, Exhibit, Subject, per_setting
from memloc.papers.lines import over
from memloc.statistics.quantities import mean_of_trainings

TITLES = {"layers": "Over layers", "neurons": "Over the neurons within layers"}


def _pairs(subject: Subject) -> Drawn:
    """The rank correlation of every two methods, and what 97.5 % of permutations stay below."""
    sql = f"SELECT * FROM atlas_agreement WHERE {among('trial', subject.trials)} ORDER BY ALL"
    frame, charts = subject.observations.frame(sql), []
    for kind, title in TITLES.items():
        rows = frame[frame["over"] == kind]
        pairs = sorted({(str(one), str(other)) for one, other in zip(rows["one"], rows["other"], strict=True)})
        of_pair = {pair: rows[(rows["one"] == pair[0]) & (rows["other"] == pair[1])] for pair in pairs}
        values = {
            "agreement": [over(list(of["rho"]), mean_of_trainings) for of in of_pair.values()],
            "97.5 % of permutations": [over(list(of["hi"]), mean_of_trainings) for of in of_pair.values()],
        }
        names = [f"{one}, {other}" for one, other in pairs]
        if names:
            charts.append(Dots(subject.titled(title), names, values, "rank correlation", sql, (-1.0, 1.0)))
    return charts


EXHIBITS = (
    Exhibit(
        "atlas",
        "The atlas",
        "Who agrees with whom about where mislabeled examples are",
        "view atlas_agreement",
        "Rank correlations of every two methods on the same networks. Methods that find the same thing lie to the right of "
        "what permuted layers, or neurons, give.",
        "memloc sweep depth",
        of_stage("depth"),
        per_setting(_pairs),
        of_paper=False,
        shown=4,
    ),
)
