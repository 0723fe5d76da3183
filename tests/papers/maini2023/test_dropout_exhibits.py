"""Tables 1 to 3, Figure 7 and the picture: a number in them is the scorecard's; images are those of the data set."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memloc.data import load
from memloc.papers.charts import Dots, Gallery, Table
from memloc.papers.exhibits import Shown
from memloc.papers.judgement import Judgement
from memloc.papers.maini2023.dropout import SECTION
from memloc.papers.maini2023.dropout.before_after import PICTURE
from memloc.papers.maini2023.dropout.forgotten import png
from memloc.statistics import Interval
from tests.papers.maini2023.simulated import Simulated
from tests.papers.maini2023.test_tied_dropout import tied

TABLE_1, TABLE_2, TABLE_3, GALLERY = SECTION.exhibits
PARTS = [f"{when}.{what}" for when in ("before", "after") for what in ("clean", "noisy", "test")]


def cell(judgement: Judgement) -> str:
    return per_cent(judgement.interval)


def per_cent(interval: Interval | None) -> str:
    """By hand: per cent with one digit."""
    if interval is None:
        return "–"
    numbers = [None if v is None else f"{100 * v:.1f}" for v in interval]
    return str(numbers[0]) if None in numbers else f"{numbers[0]} [{numbers[1]}, {numbers[2]}]"


def table(shown: Shown) -> Table:
    (only,) = shown.tables
    assert not shown.charts
    return only


# --- Table 1 ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """MNIST in the paper's cell, of which one training did not memorize; CIFAR-10 in the paper's and another cell."""
    made = Simulated(tmp_path_factory.mktemp("tables"), "Example-tied dropout")
    for seed, (clean, noisy) in enumerate(((0.90, 0.04), (0.92, 0.02))):
        tied(made, (0.99, 0.98, 0.8), (clean, noisy, 0.82), seed=seed)
        tied(made, (0.99, 0.98, 0.8), (clean - 0.1, noisy + 0.02, 0.8), 0.2, 0.2, seed=seed)
        tied(made, (0.99, 0.98, 0.8), (clean + 0.05, noisy + 0.1, 0.8), 0.3, 0.1, seed=seed)
    tied(made, (1.0, 0.99, 0.9), (0.97, 0.01, 0.91), dataset="mnist")
    tied(made, (0.9, 0.5, 0.7), (0.3, 0.3, 0.3), dataset="mnist", seed=7)
    return made


def test_table_1_has_a_row_for_each_data_set_and_the_papers(of_two: Simulated) -> None:
    shown, judged = of_two.shown(TABLE_1), of_two.judged()
    found = table(shown)
    assert list(found.head) == ["accuracy, %", *(part.replace(".", ": ") for part in PARTS)]
    for row, dataset, name in zip(found.rows, ("cifar10", "mnist"), ("CIFAR-10", "MNIST"), strict=False):
        assert list(row) == [
            f"{name}, p_gen 0.3, p_mem 0.2",
            *(per_cent(judged[f"E1.{dataset}.after.{what}"].beside) for what in ("clean", "noisy", "test")),
            *(cell(judged[f"E1.{dataset}.after.{what}"]) for what in ("clean", "noisy", "test")),
        ]
    assert [list(row) for row in found.rows[2:]] == [
        ["CIFAR-10 in the paper", "99.9", "99.3", "79.3", "90.8", "3.1", "82.7"],
        ["MNIST in the paper", "100.0", "100.0", "99.0", "99.2", "0.1", "99.3"],
        ["SVHN in the paper", "99.9", "99.6", "89.5", "95.8", "1.4", "89.6"],
    ]
    assert judged["E1.mnist.before.clean"].ours == 0.95  # of both trainings; the row is of the one that memorized
    assert found.rows[1][1].startswith("100.0 [")
    assert found.rows[1][4].startswith("97.0 [")
    assert shown.setting == "The paper's setting."
    assert {j.claim_id for j in shown.judgements} == {"E4"}
    assert len(of_two.rows(found.sql)) == 4 * 4
    assert len({(row["p_gen"], row["p_mem"]) for row in of_two.rows(found.sql)}) == 1


def test_a_cell_that_is_not_the_papers_is_named(tmp_path: Path) -> None:
    made = Simulated(tmp_path, "Example-tied dropout")
    for width in (0.25, 0.5):
        tied(made, (0.99, 0.98, 0.8), (0.9, 0.04, 0.8), 0.4, 0.1, dataset="digits", width=width)
    shown = made.shown(TABLE_1)
    assert [row[0] for row in table(shown).rows][:2] == [
        "width 0.25, p_gen 0.4, p_mem 0.1",
        "width 0.5, p_gen 0.4, p_mem 0.1",
    ]
    (picture,) = made.shown(PICTURE).charts  # of one of them
    assert picture.title == ""
    assert shown.setting == (
        "Not the paper's setting: digits in place of CIFAR-10, MNIST, SVHN; p_gen 0.4 (the paper's: 0.3); p_mem 0.1 (the "
        "paper's: 0.2); width 0.25 (the paper's: 1) in 1 of 2 settings; width 0.5 (the paper's: 1) in 1 of 2 settings."
    )


def test_without_memorization_the_numbers_after_dropping_are_missing(tmp_path: Path) -> None:
    made = Simulated(tmp_path, "Example-tied dropout")
    tied(made, (0.9, 0.5, 0.8), (0.9, 0.04, 0.8), dataset="digits")
    row = table(made.shown(TABLE_1)).rows[0]
    assert row[0] == "digits, p_gen 0.3, p_mem 0.2"
    assert [word == "–" for word in row[1:]] == [False] * 3 + [True] * 3
    (chart,) = made.shown(PICTURE).charts
    assert isinstance(chart, Dots)
    assert list(chart.values) == ["before dropping"]


def test_without_own_modes_there_is_no_table(tmp_path: Path) -> None:
    made = Simulated(tmp_path, "Example-tied dropout")
    made.training(dropout="example_tied", p_gen=0.3, p_mem=0.2, evaluated={("plain", "none"): (0.9, 0.9, 0.9)})
    for exhibit in (*SECTION.exhibits, PICTURE):
        assert not made.shown(exhibit).run


# --- the picture ------------------------------------------------------------------------------------------------------


def test_the_picture_has_e1s_numbers(of_two: Simulated) -> None:
    shown, judged = of_two.shown(PICTURE), of_two.judged()
    (chart,) = shown.charts
    assert isinstance(chart, Dots)
    assert (list(chart.rows), list(chart.values)) == (["clean", "noisy", "test"], ["before dropping", "after dropping"])
    for when, name in (("before", "before dropping"), ("after", "after dropping")):
        for what, quantity in zip(chart.rows, chart.values[name], strict=True):
            assert quantity is not None
            assert quantity.printed == judged[f"E1.cifar10.{when}.{what}"].interval
    assert len({q.value for cells in chart.values.values() for q in cells if q}) == 6
    assert (chart.title, shown.trainings, shown.judgements) == ("", "2 trainings", [])


# --- Table 2 ----------------------------------------------------------------------------------------------------------


def test_table_2_has_the_cells_that_were_run_beside_the_papers(of_two: Simulated) -> None:
    found, judged = table(of_two.shown(TABLE_2)), of_two.judged()
    assert list(found.head) == ["accuracy, %", "p_gen 0.2", "p_gen 0.3"]
    expected = [
        ["p_mem 0.1, clean", "–", cell(judged["E2.p_gen0.3.p_mem0.1.clean"])],
        ["p_mem 0.1, clean, in the paper", "86.9", "87.1"],
        ["p_mem 0.1, noisy", "–", cell(judged["E2.p_gen0.3.p_mem0.1.noisy"])],
        ["p_mem 0.1, noisy, in the paper", "2.8", "2.9"],
        ["p_mem 0.2, clean", cell(judged["E2.p_gen0.2.p_mem0.2.clean"]), cell(judged["E2.p_gen0.3.p_mem0.2.clean"])],
        ["p_mem 0.2, clean, in the paper", "88.2", "90.8"],
        ["p_mem 0.2, noisy", cell(judged["E2.p_gen0.2.p_mem0.2.noisy"]), cell(judged["E2.p_gen0.3.p_mem0.2.noisy"])],
        ["p_mem 0.2, noisy, in the paper", "3.0", "3.1"],
    ]
    assert [list(row) for row in found.rows] == expected
    assert len({word for row in expected[::2] for word in row[1:]}) == 7
    assert len(of_two.rows(found.sql)) == 6 * 4


def test_table_2_of_cells_that_the_paper_lacks_and_its_trend(tmp_path: Path) -> None:
    made = Simulated(tmp_path, "Example-tied dropout")
    tied(made, (1.0, 1.0, 0.8), (0.8, 0.02, 0.8), 0.15, 0.3)
    assert not made.shown(TABLE_2).run  # a single cell is no grid
    for p_gen in (0.25, 0.35):
        tied(made, (1.0, 1.0, 0.8), (0.8 + p_gen / 10, 0.02, 0.8), p_gen, 0.3)
    found, judged = table(made.shown(TABLE_2)), made.judged()
    assert [row[0] for row in found.rows] == [
        "p_mem 0.3, clean",
        "p_mem 0.3, noisy",
        "clean accuracy grows with p_gen: inconclusive, leans for",
    ]
    assert list(found.rows[2][1:]) == [judged["E2.trend"].printed(2), "", ""] == ["1.00", "", ""]


# --- Table 3 ----------------------------------------------------------------------------------------------------------


def test_table_3_has_both_readings_and_the_example_tied_cell(tmp_path: Path) -> None:
    made = Simulated(tmp_path, "Example-tied dropout")
    tied(made, (1.0, 1.0, 0.8), (0.9, 0.03, 0.8), 0.4, 0.2)
    assert not made.shown(TABLE_3).run  # there is nothing to compare with
    for dropout, keep, clean in (("sparse", 0.4, 0.97), ("standard", 0.6, 0.98), ("standard", 0.25, 0.99)):
        evaluated = {("plain", "none"): (clean, clean - 0.1, 0.7)}
        made.training(dropout=dropout, keep=keep, evaluated=evaluated)
    found, judged = table(made.shown(TABLE_3)), made.judged()
    assert list(found.head) == ["accuracy, %", "clean", "noisy", "clean in the paper", "noisy in the paper"]
    names = {
        "standard.keep0.6": ["standard dropout, 60 % kept", "100.0", "99.5"],
        "sparse.keep0.4": ["sparse network, 40 % kept", "100.0", "99.8"],
        "example_tied": ["example-tied dropout (p_gen 0.4, p_mem 0.2), dropped", "90.8", "3.1"],
        "standard.keep0.25": ["standard dropout, 25 % kept", "–", "–"],
    }
    assert [list(row) for row in found.rows] == [
        [name, *(cell(judged[f"E3.{method}.{what}"]) for what in ("clean", "noisy")), *papers]
        for method, (name, *papers) in names.items()
    ]
    assert len({word for row in found.rows for word in row[1:3]}) == 8
    assert len(made.rows(found.sql)) == 5 + 3


# --- Figure 7 ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path) -> str:
    """A data set of 40 images, each of one grey level of its own."""
    x = np.repeat(np.arange(40, dtype=np.uint8), 16 * 16).reshape(40, 16, 16)
    path = tmp_path / "mine.npz"
    np.savez(path, x_train=x, y_train=np.arange(40) % 10, x_test=x[:10], y_test=np.arange(10))
    return f"npz:{path}"


def forget(
    made: Simulated,
    dataset: str,
    said: Mapping[int, int],
    *,
    wrong: Sequence[int] = (),
    noisy_acc: float = 1.0,
    **fields: str | int,
) -> None:
    """A training in which dropping changes these predictions; wrong: examples that its own network has wrong, too."""
    given = {"identity": load(dataset).identity, **fields}
    n, own = 40, {"dropout": "example_tied", "p_gen": 0.3, "p_mem": 0.2}
    trial = made.training(dataset=dataset, n=n, evaluated=None, **{**own, **given})  # type: ignore[arg-type]
    label = np.arange(n) % 10
    by_mode = {"own": dict.fromkeys(wrong, 99), "dropped": said}
    rows = {
        "mode": [mode for mode in by_mode for _ in range(n)],
        "rescale": ["none"] * 2 * n,
        "example": [*range(n)] * 2,
        "predicted": [int(changed.get(e, label[e])) for changed in by_mode.values() for e in range(n)],
        "correct": [e not in changed for changed in by_mode.values() for e in range(n)],
    }
    accuracies = {"clean_acc": [1.0, 0.9], "noisy_acc": [noisy_acc, 0.0]}
    summary = {"mode": ["own", "dropped"], "rescale": ["none"] * 2, **accuracies}
    made.analysis(trial, "evaluate", {"epoch": 50, "modes": ["own", "dropped"]}, evaluation=summary, predictions=rows)


def test_the_images_that_most_trainings_forget_come_first(tmp_path: Path, images: str) -> None:
    """Neither mislabeled examples (0 to 3), nor those that were wrong before; nor of a training that did not memorize."""
    made = Simulated(tmp_path, "Example-tied dropout")
    forget(made, images, {2: 5, 7: 1, 12: 9, 20: 4, 31: 8}, wrong=[31], seed=0)
    forget(made, images, {12: 3, 25: 2, 20: 4}, seed=1)
    forget(made, images, dict.fromkeys(range(4, 40), 1), noisy_acc=0.5, seed=2)
    problems: list[str] = []
    shown = made.shown(GALLERY, problems)
    (gallery,) = shown.charts
    assert isinstance(gallery, Gallery)
    assert [(p.example, p.words) for p in gallery.pictures] == [
        (12, "2 → 3, 9"),
        (20, "0 → 4"),
        (7, "7 → 1"),
        (25, "5 → 2"),
    ]
    for picture in gallery.pictures:
        image = np.asarray(Image.open(io.BytesIO(picture.png)))
        assert image.shape == (16, 16)
        assert set(image.flat) == {picture.example}
    assert (problems, list(shown.tables), shown.trainings) == ([], [], "2 trainings")
    assert [(row["example"], row["times"]) for row in made.rows(gallery.sql)] == [(12, 2), (20, 2), (7, 1), (25, 1)]
    assert {j.part for j in shown.judgements} == {"learning_time"}


def test_no_more_than_24_images(tmp_path: Path, images: str) -> None:
    made = Simulated(tmp_path, "Example-tied dropout")
    forget(made, images, dict.fromkeys(range(4, 40), 11))
    (gallery,) = made.shown(GALLERY).charts
    assert isinstance(gallery, Gallery)
    assert [p.example for p in gallery.pictures] == list(range(4, 28))


def test_colours_are_kept() -> None:
    image = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
    written = np.asarray(Image.open(io.BytesIO(png(image))))
    assert (written == image.transpose(1, 2, 0)).all()
    assert png(image) == png(image)


def test_a_table_where_the_images_are_not_those_that_a_training_saw(tmp_path: Path, images: str) -> None:
    made = Simulated(tmp_path, "Example-tied dropout")
    forget(made, images, {12: 9, 20: 4}, seed=0, identity="npz:other")
    forget(made, images, {12: 9}, seed=1, identity="npz:other")
    problems: list[str] = []
    found = table(made.shown(GALLERY, problems))
    assert (found.title, list(found.head)) == ("without images", ["example", "class → said", "trainings that forget it"])
    assert [list(row) for row in found.rows] == [["12", "2 → 9", "2"], ["20", "0 → 4", "1"]]
    assert problems == [
        f"Figure 7 has no images: {images}: its content is not what the trial was planned or trained with; bring that "
        "content back"
    ]


def test_a_table_where_the_examples_are_no_pictures(tmp_path: Path, images: str) -> None:
    """Two channels, as of a user's own measurements, are neither grey nor a colour."""
    path = Path(images.removeprefix("npz:"))
    grey = dict(np.load(path))
    np.savez(path, **{k: np.stack([v, v], axis=-1) if k.startswith("x") else v for k, v in grey.items()})
    made, problems = Simulated(tmp_path, "Example-tied dropout"), list[str]()
    forget(made, images, {12: 9})
    assert table(made.shown(GALLERY, problems)).rows
    assert problems == [f"Figure 7 has no images: {images}: its images have 2 channels; a picture has 1, 3 or 4"]


def test_a_table_where_the_data_set_is_gone(tmp_path: Path, images: str) -> None:
    made = Simulated(tmp_path, "Example-tied dropout")
    forget(made, images, {12: 9})
    Path(images.removeprefix("npz:")).unlink()
    load.cache_clear()
    problems: list[str] = []
    assert table(made.shown(GALLERY, problems)).rows
    (problem,) = problems
    assert problem.startswith("Figure 7 has no images: ")


def test_where_nothing_is_forgotten_it_says_so(tmp_path: Path, images: str) -> None:
    made = Simulated(tmp_path, "Example-tied dropout")
    forget(made, images, {})
    problems: list[str] = []
    found = table(made.shown(GALLERY, problems))
    assert ([list(row) for row in found.rows], found.title, problems) == ([["none", "–", "0"]], "", [])


# --- the sentence -----------------------------------------------------------------------------------------------------


def test_the_sentence_has_the_scorecards_numbers(of_two: Simulated) -> None:
    judged = of_two.judged()
    e1 = {part: judged[f"E1.cifar10.{part}"] for part in PARTS}
    noisy, clean, test = (
        f"{what} accuracy from {e1[f'before.{what}'].printed(3)} to {e1[f'after.{what}'].printed(3)}"
        for what in ("noisy", "clean", "test")
    )
    learned = judged["E4.cifar10.cost"]  # any number
    assert SECTION.sentence({"E1": e1, "E5": {"learning_time": learned}}) == (
        f"Dropping the memorization neurons takes {noisy}, {clean} and {test}. Learning time tells the clean examples that "
        f"it forgets from the others with an AUC of {learned.printed(2)}."
    )
    assert all(e1[f"after.{what}"].beside == e1[f"before.{what}"].interval for what in ("noisy", "clean", "test"))
    only = {part: e1[part] for part in ("before.noisy", "after.noisy", "before.test")}
    assert SECTION.sentence({"E1": only}) == f"Dropping the memorization neurons takes {noisy}."
    assert SECTION.sentence({"E1": {"before.noisy": e1["before.noisy"]}, "E5": {"learning_time": learned}}) == (
        "Dropping was not evaluated: add mode `dropped` to `evaluate.modes`."
    )
    few = replace(e1["before.noisy"], ours=0.9, lo=0.8, hi=0.97)
    assert SECTION.sentence({"E1": {"before.noisy": few}}) == (
        "Too few wrong labels are learned, so there is nothing to drop yet (noisy accuracy 0.900 [0.800, 0.970])."
    )
    assert SECTION.sentence({"E1": {"before.test": e1["before.test"]}}) == SECTION.sentence({}) == ""
    assert len({j.printed(3) for j in e1.values()}) == 6


def test_before_dropping_is_of_the_trainings_behind_after(tmp_path: Path) -> None:
    """Of three trainings one did not memorize. It is in E1's numbers before dropping, and in no comparison with after."""
    made = Simulated(tmp_path, "Example-tied dropout")
    for seed, (noisy, test) in enumerate(((0.99, 0.9), (0.99, 0.9), (0.5, 0.6))):
        tied(made, (1.0, noisy, test), (0.95, 0.03, test + 0.01), dataset="digits", seed=seed)
    judged = made.judged()
    assert judged["E1.digits.before.test"].ours == pytest.approx(0.8)
    text = SECTION.sentence({"E1": {part: judged[f"E1.digits.{part}"] for part in PARTS}})
    assert "noisy accuracy from 0.990 [" in text
    assert "test accuracy from 0.900 [" in text
    assert text.endswith(" (2 of 3 trainings).")
    assert [word.split()[0] for word in table(made.shown(TABLE_1)).rows[0][1:]] == [
        "100.0",
        "99.0",
        "90.0",
        "95.0",
        "3.0",
        "91.0",
    ]
    (chart,) = made.shown(PICTURE).charts
    assert isinstance(chart, Dots)
    assert [round(one.value, 3) for one in chart.values["before dropping"] if one] == [1.0, 0.99, 0.9]
