"""What §5 and §6.1 measure, against the width of the network. The paper has one width; sweep `width` has three."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from memloc.analysis.conditions import among
from memloc.analysis.observations import Observations
from memloc.analysis.observed import Observed
from memloc.analysis.settings import SEEDS, Setting
from memloc.papers.charts import BANDS, Curves, Line
from memloc.papers.claims import Case, Claim, Estimates
from memloc.papers.exhibits import Drawn, Exhibit, Subject, Wanted
from memloc.statistics import Interval

PAPERS = "the paper's"  # the line with its one point


@dataclass(frozen=True)
class Picture:
    """A chart of a claim's numbers. names: {part of the claim: its line}, of the parts that are drawn."""

    claim: Claim
    names: Mapping[str, str]
    y_label: str
    title: str = ""
    y_range: tuple[float, float] | None = None


def against_width(id: str, table: str, title: str, shows: str, pictures: Sequence[Picture]) -> Exhibit:
    """An exhibit of claims that need one stage. table: has the stage's rows."""
    stage = pictures[0].claim.stage
    return Exhibit(
        id,
        "Width",
        title,
        "beyond the paper",
        shows,
        "memloc sweep width",
        partial(_of_several_widths, stage),
        partial(_drawn, table, pictures),
        Wanted(("mnist", "fashion_mnist"), ("resnet9",), (0.1,)),
        of_paper=False,
    )


def _of_several_widths(stage: str, observations: Observations) -> list[Setting]:
    settings = observations.settings(stage, without=("width",))
    return [setting for setting in settings if len(_by_width(Observed(observations, setting))) > 1]


def _drawn(table: str, pictures: Sequence[Picture], subjects: Sequence[Subject]) -> Drawn:
    """A chart for each picture, with a panel for each setting."""
    analyses = [analysis for subject in subjects for analysis in subject.setting.analyses.values()]
    sql = f"SELECT * FROM {table} WHERE {among('analysis', analyses)}"
    charts = []
    for one in pictures:
        panels = {subject.label: _lines(subject, one) for subject in subjects}
        charts.append(Curves(one.title, panels, "width", one.y_label, sql, y_range=one.y_range))
    return charts


def _by_width(one: Observed) -> dict[float, list[str]]:
    """{width: its trainings}, by width."""
    widths: dict[float, list[str]] = {}
    for trial, config in one.configs.items():
        if config.get("width") is not None:
            widths.setdefault(float(config["width"]), []).append(trial)
    return dict(sorted(widths.items()))


def _lines(one: Observed, picture: Picture) -> list[Line]:
    """The estimate of each width over its trainings, and of each training; trainings of equal seeds are one line.

    Of a width with many trainings none is drawn as itself, so nothing is read of each.
    """
    widths, case, claim = _by_width(one), Case(one.observations, one.setting), picture.claim
    pooled = [claim.estimates(case.only(trials)) for trials in widths.values()]
    seeds: dict[str, dict[float, Estimates]] = {}
    for width, trials in widths.items():
        for trial in trials if len(trials) < BANDS else ():
            key = str([one.configs[trial].get(name) for name in SEEDS])
            seeds.setdefault(key, {})[width] = claim.estimates(case.only([trial]))
    lines = []
    for part, name in picture.names.items():
        own = [[_interval(of_seed.get(width, {}), part) for width in widths] for _, of_seed in sorted(seeds.items())]
        each = [[None if interval is None else interval.value for interval in intervals] for intervals in own]
        counts = [
            len(trials) if len(trials) >= BANDS else sum(values[k] is not None for values in each)
            for k, trials in enumerate(widths.values())
        ]
        lines.append(Line(name, list(widths), each, [_interval(estimates, part) for estimates in pooled], counts))
        if (papers := claim.numbers.get(part)) is not None:
            whose = f"{PAPERS}, {name}" if len(picture.names) > 1 else PAPERS
            lines.append(Line(whose, [1.0], [], [Interval(papers, None, None)]))
    return lines


def _interval(estimates: Estimates, part: str) -> Interval | None:
    estimate = estimates.get(part)
    return None if estimate is None else estimate.interval
