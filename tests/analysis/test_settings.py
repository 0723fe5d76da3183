"""Settings and their names."""

from __future__ import annotations

from memloc.analysis.settings import Setting, differing


def setting(dataset: str, noise: float = 0.1, width: float = 1.0) -> Setting:
    config = {"dataset": dataset, "model": "resnet9", "noise": noise, "epochs": 50, "peak_epoch": 10, "width": width}
    return Setting(config, {}, {"t": "a"})


def test_settings_are_told_apart_by_what_differs_and_a_single_one_by_nothing() -> None:
    assert differing([setting("digits")]) == [""]
    several = [setting("digits"), setting("mnist"), setting("mnist", noise=0.2, width=0.5)]
    assert differing(several) == ["digits, 10 % noise", "MNIST, 10 % noise", "MNIST, 20 % noise, width 0.5"]
