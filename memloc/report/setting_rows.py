"""Rows of a query by setting: all trainings that differ in their seeds alone, with an interval over them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from memloc.models.architectures import TRAINING
from memloc.papers.maini2023 import settings as judged
from memloc.statistics import Interval, student_interval

# Every query selects this first. A training's setting is its configuration without the seeds.
KEYS = """json_merge_patch(trials.config, '{"seed": null, "data_seed": null}') AS setting, analyses.config AS analysis"""
JOINS = "JOIN trials USING (trial) JOIN analyses USING (analysis, trial)"
LABELS = "coalesce(json_extract_string(analyses.config, 'memorized'), 'labels') = 'labels'"
C_SCORE = "starts_with(json_extract_string(analyses.config, 'memorized'), 'c_score')"

NAMES = {
    "cifar10": "CIFAR-10",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "svhn": "SVHN",
    "resnet9": "ResNet-9",
    "resnet50": "ResNet-50",
    "vit_small": "ViT-small",
}
PAPER_DATA = ("cifar10", "mnist", "svhn")
PAPER_MODELS = ("resnet9", "resnet50", "vit_small")

# Fields that an exhibit shows itself, in names and notes. threads changes no digit that is shown.
NAMED = ("p_gen", "p_mem", "keep", "at", "threads")
EXTENT = {field for fields in judged.EXTENT.values() for field in fields}
USUAL = {field: usual for fields in judged.USUAL.values() for field, usual in fields.items()} | judged.PAPER_NETWORK


@dataclass(frozen=True)
class SettingRows:
    """train, stage: the configurations. label: the fields in which it differs, after data set, model and noise."""

    train: dict[str, Any]
    stage: dict[str, Any]
    label: str
    rows: pd.DataFrame

    @property
    def dataset(self) -> str:
        return str(self.train["dataset"])

    @property
    def model(self) -> str:
        return str(self.train["model"])

    @property
    def noise(self) -> float:
        return float(self.train["noise"])

    @property
    def deviations(self) -> dict[str, tuple[Any, Any]]:
        """{field: (its value, the paper's)} of differences from the paper, besides data set, model, noise and dropout."""
        options = {k: v for k, v in self.stage.items() if k not in (*EXTENT, *judged.MEMORIZED)}
        config = {k: v for k, v in self.train.items() if v is not None}
        own = judged.Setting(config, {k: v for k, v in options.items() if v is not None}, {})
        known = {k: (v, USUAL[k] if k in USUAL else judged.usual(own, k)) for k, v in own.deviations.items()}
        order = [*TRAINING, *sorted(options)]
        return {k: known[k] for k in order if k in known and k not in NAMED and known[k][0] != known[k][1]}


def near_the_papers_cell(settings: Sequence[SettingRows]) -> list[SettingRows]:
    """A data set's example-tied settings of Table 1 (p_gen 0.3, p_mem 0.2); without these all of them, nearest first."""

    def distance(s: SettingRows) -> float:
        return round(abs(float(s.train["p_gen"]) - 0.3) + abs(float(s.train["p_mem"]) - 0.2), 9)

    exact = {s.dataset for s in settings if distance(s) == 0}
    return sorted((s for s in settings if distance(s) == 0 or s.dataset not in exact), key=distance)


def name_of(word: str) -> str:
    return NAMES.get(word, word)


def percent(fraction: float) -> str:
    return f"{100 * fraction:.6g} %"


def deviation_in_words(name: str, value: Any, usual: Any, prefix: str = "") -> str:
    """`width 0.25 (1)`: our value, and the paper's."""
    papers = {"subset": "all"}.get(name, "none") if usual is None else _value(usual)
    return f"{name} {_value(value)} ({prefix}{papers})"


def telling_apart(settings: Sequence[SettingRows]) -> list[str]:
    """The end of each setting's short name: "" if all settings have the same deviations, else `, width 0.25`."""
    alike = len({json.dumps(s.deviations, sort_keys=True) for s in settings}) < 2
    return ["" if alike else "".join(f", {k} {_value(v)}" for k, (v, _) in s.deviations.items()) for s in settings]


def split(frame: pd.DataFrame) -> list[SettingRows]:
    """The settings of a query's rows, those of the paper's data sets and models first, then by name and noise."""
    return _labelled([(json.loads(str(t)), json.loads(str(a)), rows) for t, a, rows in _groups(frame)])


def finest(settings: Sequence[SettingRows]) -> list[SettingRows]:
    """Of analyses that differ in their epochs alone, the one with most epochs."""
    kept: dict[str, SettingRows] = {}
    for s in settings:
        key = json.dumps([s.train, {**s.stage, "epochs": None}])
        if key not in kept or len(s.stage.get("epochs") or ()) > len(kept[key].stage.get("epochs") or ()):
            kept[key] = s
    return _labelled([(s.train, s.stage, s.rows) for s in kept.values()])


def _groups(frame: pd.DataFrame) -> list[tuple[Any, Any, pd.DataFrame]]:
    return [(t, a, rows) for (t, a), rows in frame.groupby(["setting", "analysis"], sort=True)] if len(frame) else []


def _labelled(parsed: Sequence[tuple[dict[str, Any], dict[str, Any], pd.DataFrame]]) -> list[SettingRows]:
    alike: dict[tuple[Any, ...], list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for train, stage, _ in parsed:
        alike.setdefault(_head(train), []).append((train, stage))
    labelled = []
    for train, stage, rows in parsed:
        words = [name_of(train["dataset"]), name_of(train["model"]), f"{percent(train['noise'])} noise"]
        words += _differing(train, [t for t, _ in alike[_head(train)]])
        words += _differing(stage, [s for _, s in alike[_head(train)]])
        labelled.append(SettingRows(train, stage, ", ".join(words), rows.reset_index(drop=True)))
    return sorted(labelled, key=lambda s: (_rank(s.dataset, PAPER_DATA), _rank(s.model, PAPER_MODELS), s.noise, s.label))


def _head(train: dict[str, Any]) -> tuple[Any, ...]:
    return train["dataset"], train["model"], train["noise"]


def _rank(word: str, order: Sequence[str]) -> tuple[int, str]:
    return (order.index(word), "") if word in order else (len(order), word)


def _differing(config: dict[str, Any], all_of_them: Iterable[dict[str, Any]]) -> list[str]:
    """`p_gen 0.2` and the like: the fields in which configurations of one data set, model and noise differ."""
    others = list(all_of_them)
    names = dict.fromkeys(name for other in others for name in other)
    telling = [n for n in names if len({json.dumps(o.get(n)) for o in others}) > 1 and config.get(n) is not None]
    return [f"{n} {_value(config[n])}" for n in telling]


def _value(value: Any) -> str:
    if isinstance(value, list) and len(value) > 6:
        return f"({len(value)} of them)"
    return value if isinstance(value, str) else json.dumps(value)


def over_seeds(
    values: Sequence[float | None] | None, lowest: float = -math.inf, highest: float = math.inf
) -> Interval | None:
    """The mean of one value per training with Student's 95 % interval, clipped to a range; None without values."""
    known = [float(v) for v in ([] if values is None else values) if v is not None and math.isfinite(v)]
    interval = student_interval(known)
    if interval is None or interval.lo is None or interval.hi is None:
        return interval
    return Interval(interval.value, max(lowest, interval.lo), min(highest, interval.hi))


def seeds_in_words(lists: Iterable[Sequence[Any]]) -> str:
    """`3 seeds`, `1 to 3 seeds`: how many values the lists have."""
    sizes = {len(values) for values in lists}
    if not sizes:
        return ""
    low, high = min(sizes), max(sizes)
    if high == 1:
        return "1 seed, so no interval"
    return f"{high} seeds" if low == high else f"{low} to {high} seeds"


def in_words(interval: Interval | None, digits: int = 3) -> str:
    """`0.953 [0.941, 0.965]`; – for None."""
    if interval is None:
        return "–"
    if interval.lo is None or interval.hi is None:
        return f"{interval.value:.{digits}f}"
    return f"{interval.value:.{digits}f} [{interval.lo:.{digits}f}, {interval.hi:.{digits}f}]"
