"""Settings and their names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memloc.analysis.pooling import Measurement, settings
from memloc.analysis.settings import Scope, Setting, differing, name_of, named, nearness, scope_name


def setting(dataset: str, noise: float = 0.1, width: float = 1.0) -> Setting:
    config = {"dataset": dataset, "model": "resnet9", "noise": noise, "epochs": 50, "peak_epoch": 10, "width": width}
    return Setting(config, {}, {"t": "a"})


def test_settings_are_told_apart_by_what_differs_and_a_single_one_by_nothing() -> None:
    assert differing([setting("digits")]) == [""]
    several = [setting("digits"), setting("mnist"), setting("mnist", noise=0.2, width=0.5)]
    assert differing(several) == ["digits, 10 % noise", "MNIST, 10 % noise", "MNIST, 20 % noise, width 0.5"]


def test_a_data_set_of_ones_own_is_its_files_name() -> None:
    """A page does not tell the folder, which is private. Ids have the file's name without its ending."""
    mine = setting("npz:/home/someone/secret/mine.v2.npz")
    assert name_of(mine.scope.dataset) == "mine.v2.npz"
    assert mine.words == "mine.v2.npz, resnet9, noise 0.1"
    assert differing([mine, setting("cifar10")]) == ["mine.v2.npz", "CIFAR-10"]
    assert scope_name(mine.scope) == "mine_v2"
    assert name_of("timm:resnet18") == "timm:resnet18"


@pytest.mark.parametrize(
    ("stage", "less", "more"),
    [
        ("locate", {"truth": "deleted", "clean": 0, "noisy": 10}, {"truth": "deleted", "clean": 0, "noisy": 60}),
        ("inject", {"networks": 2}, {"networks": 3}),
        ("flips", {"clean": 9, "noisy": 9, "repeats": 1}, {"clean": 5, "noisy": 5, "repeats": 2}),
        ("flips", {"clean": 0, "noisy": 150, "repeats": 1}, {"clean": 60, "noisy": 60, "repeats": 1}),
        (
            "flips",
            {"clean": 9, "noisy": 9, "repeats": 1, "post_eval": 0},
            {"clean": 9, "noisy": 9, "repeats": 1, "post_eval": 9},
        ),
        ("evaluate", {"modes": ["own"], "rescale": ["authors"]}, {"modes": ["own"], "rescale": ["none"]}),
        ("rewind", {"epochs": [0, 5]}, {"epochs": [0, 5, 9]}),
    ],
)
@pytest.mark.parametrize("ids", ["ab", "ba"])
def test_of_two_analyses_the_one_that_looked_at_more_is_shown(
    stage: str, less: dict[str, object], more: dict[str, object], ids: str
) -> None:
    trials = {"t": {**setting("digits").config, "dropout": "none"}}
    configs = zip(ids, (less, more), strict=True)
    rows = [{"analysis": id, "trial": "t", "stage": stage, "config": config, "variant": {}} for id, config in configs]
    (found,) = settings(trials, rows, Measurement(stage))
    assert found.analyses == {"t": ids[1]}


@pytest.mark.parametrize("ids", ["ab", "ba"])
def test_of_two_that_look_at_as_much_the_one_that_reads_more_is_shown(ids: str) -> None:
    trials = {"t": {**setting("digits").config, "dropout": "none"}}
    searches = [{"clean": n, "noisy": n, "repeats": 1} for n in (10, 200)]
    rows = [
        {
            "analysis": id,
            "trial": "t",
            "stage": "detection",
            "config": {"scores": ["flips"]},
            "variant": {},
            "read": [("flips", of)],
        }
        for id, of in zip(ids, searches, strict=True)
    ]
    (found,) = settings(trials, rows, Measurement("detection"))
    assert found.analyses == {"t": ids[1]}


def test_of_two_versions_of_a_stage_the_newer_one_is_shown() -> None:
    trials = {"t": {**setting("digits").config, "dropout": "none"}}
    common = {"trial": "t", "stage": "rewind", "config": {"epochs": [0, 5]}, "variant": {}}
    for versions in ((1, 2), (2, 1), (9, 10), (None, 1), (1, None)):
        rows = [{**common, "analysis": id, "version": version} for id, version in zip("ab", versions, strict=True)]
        (found,) = settings(trials, rows, Measurement("rewind"))
        assert found.analyses == {"t": "ab"[versions.index(max(versions, key=lambda v: v or 0))]}


def test_a_setting_with_nothing_unusual_is_told_by_its_usual_values() -> None:
    usual, other = setting("digits"), setting("digits")
    other = Setting({**other.config, "lr": 0.01}, {"bn": "running"}, other.analyses)
    assert differing([other, usual]) == ["lr 0.01, bn running", "lr 0.1, bn batch"]
    assert differing([usual]) == [""]


def test_what_locate_calls_before_memorization_tells_settings_apart_unless_it_is_the_usual_checkpoint() -> None:
    """Of 50 epochs the eighth is the usual one. weight_change measures something else from the sixth; both were pooled."""
    trials = {t: {**setting("digits").config, "dropout": "none"} for t in "tu"}
    config = {"truth": "deleted", "clean": 0, "noisy": 10}
    rows = [
        {"analysis": t, "trial": t, "stage": "locate", "config": {**config, "before": before}, "variant": {}}
        for t, before in (("t", 8), ("u", 6))
    ]
    found = {one.words: one.trials for one in settings(trials, rows, Measurement("locate"))}
    assert found == {
        "digits, resnet9, noise 0.1, truth deleted": ["t"],
        "digits, resnet9, noise 0.1, truth deleted, before 6": ["u"],
    }


def given(labels: str | None, share: float) -> Setting:
    """A setting of labels of which a share is wrong as they are given."""
    one = setting("parquet:mine", noise=share)
    return replace(one, config={**one.config, "wrong": "given", "labels": labels})


def test_labels_that_are_wrong_as_given_are_told_by_whose_they_are() -> None:
    found = given("person", 0.175)
    assert found.scope == Scope("parquet:mine", "resnet9", 0.175, "person")
    assert found.words == "parquet:mine, resnet9, person labels (17.5 % wrong)"
    assert found.unlike_paper == {}
    assert found.scope != Scope("parquet:mine", "resnet9", 0.175)


def test_given_labels_are_named_by_their_column_and_drawn_ones_by_their_rate() -> None:
    drawn = replace(setting("parquet:mine", noise=0.175), config={**setting("parquet:mine", 0.175).config, "labels": "true"})
    several = [given("person", 0.175), given("crowd", 0.09), given(None, 0.3), drawn]
    ids = {name: one.words for name, one in named(several, scope_name).items()}
    assert ids == dict(
        zip(
            ["parquet_mine.person", "parquet_mine.crowd", "parquet_mine.given", "parquet_mine.noise0.175"],
            [s.words for s in several],
            strict=True,
        )
    )
    assert differing(several) == [
        "person labels (17.5 % wrong)", "crowd labels (9 % wrong)", "given labels (30 % wrong)", "17.5 % noise, labels true",
    ]  # fmt: skip


def test_drawn_noise_is_nearer_to_the_papers_than_given_labels_of_its_rate() -> None:
    person, drawn = given("person", 0.1), setting("parquet:mine", noise=0.2)
    assert sorted([person, drawn], key=lambda s: nearness(s, Scope())) == [drawn, person]
