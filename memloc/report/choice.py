"""Which settings an exhibit shows: the paper's where they were run, else those of other data sets, and it says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from memloc.report.charts import Chart, Exhibit, Number, Table
from memloc.report.settings import PAPER_DATA, Setting, name_of
from memloc.report.source import SHOWN


@dataclass(frozen=True)
class Wanted:
    """What the paper's exhibit shows; None: anything. others: whether other data sets may stand in for the paper's."""

    datasets: Sequence[str]
    models: Sequence[str] | None = None
    noises: Sequence[float] | None = None
    others: bool = True

    @property
    def names(self) -> str:
        return ", ".join(name_of(d) for d in self.datasets)


@dataclass(frozen=True)
class Choice:
    """settings: what is shown. stands_in: it is not the paper's data. left_out: how many more would fit."""

    settings: Sequence[Setting]
    wanted: Wanted
    stands_in: bool
    left_out: int

    def fill(
        self,
        exhibit: Exhibit,
        *sql: str,
        charts: Sequence[Chart] = (),
        tables: Sequence[Table] = (),
        numbers: Sequence[Number] = (),
        seeds: str = "",
    ) -> Exhibit:
        filled = replace(
            exhibit, sql=sql, charts=charts, tables=tables, numbers=numbers, seeds=seeds, left_out=self.left_out
        )
        if not (self.settings and self.stands_in):
            return filled
        there = ", ".join(dict.fromkeys(name_of(s.dataset) for s in self.settings))
        return self.remark(filled, f"Not the paper's setting: {there} in place of {self.wanted.names}.")

    @staticmethod
    def remark(exhibit: Exhibit, words: str) -> Exhibit:
        return replace(exhibit, note=f"{exhibit.note} {words}".strip())


def choose(settings: Sequence[Setting], wanted: Wanted, shown: int = SHOWN) -> Choice:
    """The paper's settings where there are any, else what other data sets, then other models and noises, offer."""
    own = [s for s in settings if s.dataset in wanted.datasets and _fits(s, wanted)]
    if own:
        return Choice(own[:shown], wanted, False, max(0, len(own) - shown))
    others = [s for s in settings if wanted.others and s.dataset not in PAPER_DATA]
    pools = ([s for s in others if _fits(s, wanted)], others, [s for s in settings if s.dataset in wanted.datasets])
    pool = next((p for p in pools if p), [])
    return Choice(pool[:shown], wanted, True, max(0, len(pool) - shown))


def _fits(setting: Setting, wanted: Wanted) -> bool:
    model = wanted.models is None or setting.model in wanted.models
    noise = wanted.noises is None or setting.noise in wanted.noises
    return model and noise
