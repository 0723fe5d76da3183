"""Settings and intervals: against SciPy, and by hand."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from memloc.report.selection import Wanted, select
from memloc.report.setting_rows import (
    finest,
    in_words,
    near_the_papers_cell,
    over_seeds,
    seeds_in_words,
    split,
    telling_apart,
)
from memloc.statistics import Interval

BASE = {"dataset": "digits", "model": "resnet9", "noise": 0.1, "epochs": 20}


def frame(*pairs: tuple[dict[str, Any], dict[str, Any]]) -> pd.DataFrame:
    rows = [{"setting": json.dumps({**BASE, **t}), "analysis": json.dumps(a), "value": k} for k, (t, a) in enumerate(pairs)]
    return pd.DataFrame(rows, columns=["setting", "analysis", "value"])


def test_the_interval_is_students() -> None:
    values = [0.2, 0.4, 0.9, 0.3]
    found = over_seeds(values)
    expected = stats.t.interval(0.95, 3, loc=0.45, scale=stats.sem(values))
    assert found is not None
    assert found == pytest.approx((0.45, *expected))
    assert over_seeds(values, 0.0, 0.8) == pytest.approx((0.45, max(0.0, expected[0]), min(0.8, expected[1])))


def test_what_is_missing_counts_nowhere() -> None:
    assert over_seeds([0.5, None, float("nan")]) == Interval(0.5, None, None)
    assert over_seeds([]) is None
    assert over_seeds(None) is None
    assert in_words(None) == "–"
    assert in_words(Interval(0.5, 0.25, 0.75), 2) == "0.50 [0.25, 0.75]"


def test_seeds_are_told() -> None:
    assert seeds_in_words([[1, 2, 3]]) == "3 seeds"
    assert seeds_in_words([[1], [1, 2]]) == "1 to 2 seeds"
    assert seeds_in_words([[1]]) == "1 seed, so no interval"


def test_settings_are_named_by_what_tells_them_apart_and_ordered_as_the_paper() -> None:
    found = split(
        frame(
            ({}, {"buffers": "final"}),
            ({}, {"buffers": "rewound"}),
            ({"noise": 0.2}, {"buffers": "final"}),
            ({"dataset": "mnist"}, {"buffers": "final"}),
            ({"dataset": "cifar10", "model": "resnet50"}, {"buffers": "final"}),
            ({"dataset": "cifar10"}, {"buffers": "final"}),
        )
    )
    assert [s.label for s in found] == [
        "CIFAR-10, ResNet-9, 10 % noise",
        "CIFAR-10, ResNet-50, 10 % noise",
        "MNIST, ResNet-9, 10 % noise",
        "digits, ResNet-9, 10 % noise, buffers final",
        "digits, ResNet-9, 10 % noise, buffers rewound",
        "digits, ResNet-9, 20 % noise",
    ]
    assert [s.rows.value.tolist() for s in found] == [[5], [4], [3], [0], [1], [2]]
    assert split(frame()) == []


def test_the_finest_analysis_is_shown() -> None:
    few, many = {"epochs": [0, 5], "bn": "batch"}, {"epochs": [0, 1, 2], "bn": "batch"}
    found = finest(split(frame(({}, few), ({}, many), ({}, {"epochs": [0], "bn": "running"}))))
    assert [(s.stage["epochs"], s.label.rpartition(", ")[2]) for s in found] == [
        ([0, 1, 2], "bn batch"),
        ([0], "bn running"),
    ]


def test_the_papers_settings_come_first_and_others_stand_in() -> None:
    wanted = Wanted(("cifar10",), ("resnet9",), (0.1,))
    cifar, digits, other = ({"dataset": "cifar10"}, {}), ({}, {}), ({"noise": 0.4}, {})
    whole = select(split(frame(cifar, digits, other)), wanted)
    assert [s.dataset for s in whole.settings] == ["cifar10"]
    stand_in = select(split(frame(digits, other)), wanted)
    assert [s.noise for s in stand_in.settings] == [0.1]
    assert [s.noise for s in select(split(frame(other)), wanted).settings] == [0.4]
    mnist = Wanted(("mnist",), None, None, others=False)
    assert select(split(frame(cifar, digits)), mnist).settings == []
    many = select(split(frame(*(({"noise": k / 100}, {}) for k in range(1, 6)))), Wanted(("digits",)), shown=2)
    assert (len(many.settings), many.left_out) == (2, 3)


def test_the_cell_of_table_1_or_what_is_near() -> None:
    def cells(*pairs: tuple[float, float]) -> list[tuple[float, float]]:
        found = near_the_papers_cell(split(frame(*(({"p_gen": g, "p_mem": m}, {}) for g, m in pairs))))
        return [(s.train["p_gen"], s.train["p_mem"]) for s in found]

    assert cells((0.1, 0.1), (0.3, 0.2), (0.4, 0.2)) == [(0.3, 0.2)]
    assert cells((0.1, 0.1), (0.4, 0.2)) == [(0.4, 0.2), (0.1, 0.1)]


PAPER = {
    "dataset": "cifar10", "model": "resnet9", "noise": 0.1, "width": 1.0, "epochs": 50, "batch_size": 512, "dropout": "none",
    "augment": "none", "wrong": "uniform", "lr": 0.1, "schedule": "one_cycle", "peak_epoch": 10, "momentum": 0.9,
    "weight_decay": 5e-4, "precision": "fp32", "threads": 1,
}  # fmt: skip
STAGE = {"bn": "batch", "epochs": [0, 50], "memorized": "labels"}
WANTED = Wanted(("cifar10",), ("resnet9",), (0.1,))


def said(*pairs: tuple[dict[str, Any], dict[str, Any]], wanted: Wanted = WANTED) -> str:
    return select(split(frame(*(({**PAPER, **t}, {**STAGE, **a}) for t, a in pairs))), wanted).setting


def test_what_is_not_the_papers_is_said() -> None:
    assert said(({}, {})) == said(({"threads": 2}, {"epochs": [1]})) == "The paper's setting."
    small = {"subset": 500, "width": 0.125, "epochs": 30, "peak_epoch": 6, "batch_size": 16}
    words = "subset 500 (the paper's: all), width 0.125 (1), epochs 30 (50), batch_size 16 (512)."
    assert said((small, {})) == f"Not the paper's setting: {words}"
    assert said(({"peak_epoch": 5}, {})) == "Not the paper's setting: peak_epoch 5 (the paper's: 10)."
    assert said(({}, {"bn": "running"})) == "Not the paper's setting: bn running (the paper's: batch)."
    assert said(({}, {"mask_mode": "dropped"})) == "Not the paper's setting: mask_mode dropped (the paper's: none)."
    assert said(({"dataset": "digits", "noise": 0.4, "model": "vit_small"}, {})) == (
        "Not the paper's setting: digits in place of CIFAR-10; ViT-small in place of ResNet-9; "
        "40 % noise in place of 10 % noise."
    )
    own = said(({"model": "resnet50", "width": None, "stem": "imagenet"}, {}), wanted=Wanted(("cifar10",)))
    assert own == "The paper's setting."
    assert said(({"model": "timm:resnet18"}, {}), wanted=Wanted(("cifar10",))).startswith(
        "Not the paper's setting: timm:resnet18 in place of ResNet-9, ResNet-50, ViT-small"
    )


def test_settings_of_several_scales_say_which_is_which() -> None:
    words = said(({"epochs": 25, "peak_epoch": 5}, {}), ({"epochs": 25, "peak_epoch": 5, "width": 0.5}, {}))
    assert words == (
        "Not the paper's setting: epochs 25 (the paper's: 50); "
        "width 0.5 (the paper's: 1) in CIFAR-10, ResNet-9, 10 % noise, width 0.5."
    )


def test_the_papers_scale_comes_first() -> None:
    of = split(frame(({**PAPER, "noise": 0.05, "width": 0.5}, STAGE), ({**PAPER, "noise": 0.2}, STAGE)))
    shown = select(of, Wanted(("cifar10",)), shown=1)
    assert [(s.noise, s.deviations) for s in shown.settings] == [(0.2, {})]
    assert shown.left_out == 1
    assert telling_apart(of) == [", width 0.5", ""]
    assert telling_apart(of[:1]) == [""]
