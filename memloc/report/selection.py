"""The settings that an exhibit shows: the paper's if they were run, else those of other data sets, and it says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from memloc.report.charts import Chart, Exhibit, Number, Table
from memloc.report.setting_rows import PAPER_DATA, PAPER_MODELS, SettingRows, deviation_in_words, name_of, percent
from memloc.report.source import SHOWN

PAPERS = "the paper's: "
ALL_MODELS = "block=main,main_resnet50,main_vit"  # blocks of paper-grid, one per network
C_SCORES = "memloc sweep cscore"  # estimates the C-scores that say which examples are atypical


@dataclass(frozen=True)
class Wanted:
    """The settings of the paper's exhibit; None: any. others: other data sets may take the place of the paper's."""

    datasets: Sequence[str]
    models: Sequence[str] | None = None
    noises: Sequence[float] | None = None
    others: bool = True

    @property
    def names(self) -> str:
        return ", ".join(name_of(d) for d in self.datasets)


@dataclass(frozen=True)
class Selection:
    """settings: those that are shown. left_out: how many more would fit."""

    settings: Sequence[SettingRows]
    wanted: Wanted
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
        return replace(
            exhibit,
            sql=sql,
            charts=charts,
            tables=tables,
            numbers=numbers,
            seeds=seeds,
            left_out=self.left_out,
            setting=self.setting,
        )

    @property
    def setting(self) -> str:
        """How the settings that are shown differ from the paper's, in words; "" if there are none."""
        if not self.settings:
            return ""
        words = [*_in_place(self.settings, self.wanted), *_deviations(self.settings)]
        return f"Not the paper's setting: {'; '.join(words)}." if words else "The paper's setting."

    @staticmethod
    def remark(exhibit: Exhibit, words: str) -> Exhibit:
        return replace(exhibit, note=f"{exhibit.note} {words}".strip())


def select(settings: Sequence[SettingRows], wanted: Wanted, shown: int = SHOWN) -> Selection:
    """The paper's settings if there are any, else those of other data sets, then those of other models and noise rates.

    Settings without deviations from the paper's come first.
    """
    settings = sorted(settings, key=lambda s: bool(s.deviations))
    own = [s for s in settings if s.dataset in wanted.datasets and _fits(s, wanted)]
    if own:
        return Selection(own[:shown], wanted, max(0, len(own) - shown))
    others = [s for s in settings if wanted.others and s.dataset not in PAPER_DATA]
    pools = ([s for s in others if _fits(s, wanted)], others, [s for s in settings if s.dataset in wanted.datasets])
    pool = next((p for p in pools if p), [])
    return Selection(pool[:shown], wanted, max(0, len(pool) - shown))


def _fits(setting: SettingRows, wanted: Wanted) -> bool:
    model = wanted.models is None or setting.model in wanted.models
    noise = wanted.noises is None or setting.noise in wanted.noises
    return model and noise


def _in_place(settings: Sequence[SettingRows], wanted: Wanted) -> list[str]:
    """`Fashion-MNIST in place of CIFAR-10`: data sets, models and noises that the paper's exhibit does not show."""
    noises = [s.noise for s in settings]
    kinds: tuple[tuple[Sequence[Any], Sequence[Any], Callable[[Any], str]], ...] = (
        ([s.dataset for s in settings], wanted.datasets, name_of),
        ([s.model for s in settings], wanted.models or PAPER_MODELS, name_of),
        (noises, wanted.noises or noises, lambda noise: f"{percent(noise)} noise"),
    )
    replaced = []
    for there, papers, name in kinds:
        others = [v for v in dict.fromkeys(there) if v not in papers]
        if others:
            replaced.append(f"{', '.join(map(name, others))} in place of {', '.join(map(name, papers))}")
    return replaced


def _deviations(settings: Sequence[SettingRows]) -> list[str]:
    """`subset 500 (the paper's: all), width 0.25 (1)`: first the deviations of all settings, then those of some of them."""
    having: dict[str, tuple[tuple[str, Any, Any], list[str]]] = {}
    for s in settings:
        for field, (value, usual) in s.deviations.items():
            having.setdefault(json.dumps([field, value]), ((field, value, usual), []))[1].append(s.label)
    shared = [deviation for deviation, labels in having.values() if len(labels) == len(settings)]
    words = [", ".join(deviation_in_words(*deviation, "" if k else PAPERS) for k, deviation in enumerate(shared))]
    for deviation, labels in having.values():
        if len(labels) < len(settings):
            which = f"{len(labels)} of {len(settings)} settings" if len(labels) > 3 else "; ".join(labels)
            words.append(f"{deviation_in_words(*deviation, PAPERS)} in {which}")
    return [w for w in words if w]
