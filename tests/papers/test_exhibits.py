"""Which settings an exhibit shows, what it says of them, and the numbers below it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from memloc.analysis.observations import Observations
from memloc.analysis.reader import Reader, visible
from memloc.analysis.settings import Setting
from memloc.papers.charts import Curves, Table
from memloc.papers.claims import of_stage
from memloc.papers.exhibits import Drawn, Evidence, Exhibit, Subject, Wanted, choose, per_setting, show
from memloc.papers.judging import judgements
from memloc.papers.registry import paper
from tests.papers.maini2023.simulated import Simulated

WANTED = Wanted(("cifar10", "mnist"), ("resnet9",), (0.1,))


def setting(dataset: str = "cifar10", model: str = "resnet9", noise: float = 0.1, **more: object) -> Setting:
    config = {"dataset": dataset, "model": model, "noise": noise, "epochs": 50, "peak_epoch": 10, "width": 1, **more}
    return Setting({k: v for k, v in config.items() if not (k == "width" and model != "resnet9")}, {}, {"t": "a"})


@pytest.mark.parametrize(
    ("there", "shown", "others"),
    [
        (["mnist/resnet9", "cifar10/resnet9", "digits/resnet9"], ["cifar10/resnet9", "mnist/resnet9"], 1),  # the paper's
        (["digits/resnet9", "cifar10/resnet50", "digits/vit_small"], ["digits/resnet9"], 2),  # other data, wanted network
        (["digits/vit_small", "cifar10/resnet50"], ["digits/vit_small"], 1),  # other data
        (["cifar10/resnet50"], ["cifar10/resnet50"], 0),  # whatever there is
        ([], [], 0),
    ],
)
def test_the_papers_settings_come_first_then_those_of_other_data(there: list[str], shown: list[str], others: int) -> None:
    """All other settings of the store are counted, also those of data sets that are not the paper's."""
    settings = [setting(*name.split("/")) for name in there]
    chosen, left_out = choose(settings, WANTED)
    assert ([f"{s.scope.dataset}/{s.scope.model}" for s in chosen], left_out) == (shown, others)


def test_the_settings_nearest_to_the_paper_are_shown_and_the_rest_are_counted() -> None:
    settings = [setting(width=w, subset=s) for w, s in ((0.25, 100), (1, None), (0.5, None))]
    chosen, left_out = choose(settings, WANTED, shown=2)
    assert ([s.config["width"] for s in chosen], left_out) == ([1, 0.5], 1)


@pytest.fixture
def evidence(tmp_path: Path) -> Iterator[tuple[Simulated, Evidence]]:
    made = Simulated(tmp_path)
    made.gradients(made.training(dataset="digits", width=0.5, seed=0), noisy=2.0)
    made.gradients(made.training(dataset="digits", width=0.5, seed=1), noisy=3.0)
    made.gradients(made.training(dataset="digits", width=0.5, noise=0.2), noisy=4.0)
    made.gradients(made.training(dataset="digits", width=0.5, seed=0), noisy=5.0, at=None)
    with closing(Reader(made.store, visible(made.store, made.store.snapshot(), None, False))) as reader:
        observations = Observations(reader)
        yield made, Evidence(observations, judgements(observations, paper()))


def title(subject: Subject) -> Drawn:
    sql = f"SELECT {subject.scope.noise}"
    return [Curves(subject.label, {}, "x", "y", sql), Table(subject.label, ["a"], [], sql)]


EXHIBIT = Exhibit(
    "x",
    "X",
    "A title",
    "§1",
    "What it shows.",
    "memloc sweep x",
    of_stage("gradients"),
    per_setting(title),
    WANTED,
    claims=("G1", "G5"),
)


def test_what_is_shown_of_a_store(evidence: tuple[Simulated, Evidence]) -> None:
    shown = show(EXHIBIT, evidence[1])
    assert (shown.run, bool(shown.differences), shown.trainings, shown.left_out) == (True, True, "2 trainings", 1)
    assert shown.setting == "Not the paper's setting: digits in place of CIFAR-10, MNIST; width 0.5 (the paper's: 1)."
    assert [c.title for c in (*shown.charts, *shown.tables)] == ["", ""]
    assert shown.sql == ["SELECT 0.1"]
    assert [j.id for j in shown.judgements] == ["G1.digits", "G1.digits.checkpoint", "G5", "G5.checkpoint"]
    own = {j.id: j for j in evidence[1].judgements}
    assert all(j is own[j.id] for j in shown.judgements)


def test_several_settings_are_named_and_what_only_some_have_is_counted(evidence: tuple[Simulated, Evidence]) -> None:
    shown = show(replace(EXHIBIT, wanted=Wanted(("digits",))), evidence[1])
    assert [c.title for c in shown.charts] == ["10 % noise", "20 % noise"]
    assert (shown.setting, shown.trainings) == (
        "Not the paper's setting: width 0.5 (the paper's: 1).",
        "1 to 2 trainings each",
    )
    rates = show(replace(EXHIBIT, wanted=Wanted(("digits",), noises=(0.1,))), evidence[1])
    assert [c.title for c in rates.charts] == [""]


def test_without_settings_or_without_anything_to_draw_it_was_not_run(evidence: tuple[Simulated, Evidence]) -> None:
    for exhibit in (
        replace(EXHIBIT, settings=of_stage("rewind")),
        replace(EXHIBIT, draw=per_setting(lambda subject: [])),
    ):
        shown = show(exhibit, evidence[1])
        assert (shown.run, shown.charts, shown.judgements, shown.setting) == (False, (), (), "")


def test_the_papers_own_setting_says_so(tmp_path: Path) -> None:
    made = Simulated(tmp_path)
    made.gradients(made.training(), noisy=2.0)
    with closing(Reader(made.store, visible(made.store, made.store.snapshot(), None, False))) as reader:
        shown = show(EXHIBIT, Evidence(Observations(reader), []))
    assert (shown.setting, bool(shown.differences), shown.trainings) == ("The paper's setting.", False, "1 training")


def test_labels_that_are_wrong_as_given_stand_in_place_of_the_papers_noise_even_at_its_rate(tmp_path: Path) -> None:
    made = Simulated(tmp_path)
    person = {"dataset": "parquet:mine", "labels": "person", "noise": 0.0, "given_noise": 0.1}
    made.gradients(made.training(**person), noisy=1.0)
    with closing(Reader(made.store, visible(made.store, made.store.snapshot(), None, False))) as reader:
        observations = Observations(reader)
        shown = show(EXHIBIT, Evidence(observations, judgements(observations, paper())))
    assert shown.differences[:2] == [
        "parquet:mine in place of CIFAR-10, MNIST",
        "person labels (10 % wrong) in place of 10 % noise",
    ]


def test_drawn_noise_is_shown_before_labels_that_are_wrong_as_given_of_a_smaller_rate() -> None:
    person = setting("parquet:mine", noise=0.05, wrong="given", labels="person")
    drawn = setting("parquet:mine", noise=0.2)
    assert choose([person, drawn], WANTED)[0] == [drawn, person]
