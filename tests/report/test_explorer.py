"""The explorer's data, compared with loops over the raw tables and with the images themselves."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image

from memloc import data
from memloc.analysis.observations import Observations
from memloc.analysis.reader import Reader, visible
from memloc.analysis.settings import Setting
from memloc.data import class_names, load
from memloc.errors import UsageError
from memloc.report import explorer as module
from memloc.report import neurons, sprite, training_sets
from memloc.report.explorer import Explorer, explorer
from memloc.report.offline import for_script
from memloc.report.training_sets import TrainingSet
from memloc.store import Store

Rows = list[dict[str, Any]]


def reader_of(store: Path) -> Reader:
    opened = Store(str(store))
    return Reader(opened, visible(opened, opened.snapshot(), None, False))


def explored(store: Path) -> Explorer:
    made = explorer(Observations(reader_of(store)), None, [])
    assert made is not None
    return made


@pytest.fixture(scope="module")
def reader(everything: Path) -> Reader:
    return reader_of(everything)


@pytest.fixture(scope="module")
def made(everything: Path) -> Explorer:
    return explored(everything)


@pytest.fixture(scope="module")
def first(made: Explorer) -> Mapping[str, Any]:
    """The set with flips and dropping: 10 % noise, 120 examples."""
    one: Mapping[str, Any] = made.data["sets"][0]
    return one


def trials(reader: Reader, dropout: str, noise: float = 0.1) -> dict[str, int]:
    """{trial: seed}."""
    rows = reader.table("trials").to_pylist()
    return {r["trial"]: r["seed"] for r in rows if (r["dropout"], r["noise"]) == (dropout, noise)}


def by_example(rows: Rows, known: Mapping[str, int], value: str) -> dict[int, list[float]]:
    values: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        if row["trial"] in known and row[value] is not None:
            values[row["example"]].append(float(row[value]))
    return values


def column(one: Mapping[str, Any], key: str) -> dict[int, float | None]:
    (score,) = [s for s in one["scores"] if s["key"] == key]
    return dict(zip(one["example"], score["values"], strict=True))


# --- scores and labels ------------------------------------------------------------------------------------------------


def test_a_set_per_noise_rate_with_names_for_links(made: Explorer) -> None:
    sets = made.data["sets"]
    assert [(s["name"], s["title"], s["n"]) for s in sets] == [
        ("digits", "10 % noise", 120),
        ("digits.noise0.05", "5 % noise", 120),
        ("digits.noise0.5", "50 % noise", 120),
        ("digits.noise0.9", "90 % noise", 120),
    ]
    about = "Scores are means over 3 trainings without dropout. Memorization neurons were dropped in 8 trainings."
    assert " ".join(sets[0]["about"]) == about
    assert sets[1]["about"] == ["Scores are means over 2 trainings without dropout."]


@pytest.mark.parametrize("place", range(4))
def test_scores_and_labels_are_those_of_the_raw_rows(made: Explorer, reader: Reader, place: int) -> None:
    one, noise = made.data["sets"][place], (0.1, 0.05, 0.5, 0.9)[place]
    known, rows = trials(reader, "none", noise), reader.table("examples").to_pylist()
    for score in ("learning_time", "forgetting", "aum", "el2n", "mean_loss", "final_loss", "mean_prob"):
        means = {e: fmean(values) for e, values in by_example(rows, known, score).items()}
        assert column(one, score) == pytest.approx(means, rel=1e-4)
    labels = {r["example"]: (r["label"], r["true_label"], r["noisy"]) for r in rows if r["trial"] in known}
    shown = zip(one["example"], one["label"], one["true"], strict=True)
    assert {e: (given, true, given != true) for e, given, true in shown} == labels
    assert one["example"] == sorted(labels)


def test_flips_and_the_last_state_are_those_of_the_raw_rows(first: Mapping[str, Any], reader: Reader) -> None:
    known = trials(reader, "none")
    searches: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row in reader.table("flips").to_pylist():
        if row["eligible"]:
            searches[row["trial"], row["example"]].append(20 if row["censored"] else row["count"])  # max_neurons
    counts: dict[int, list[float]] = defaultdict(list)
    for (_, example), values in searches.items():
        counts[example].append(fmean(values))
    means = {e: fmean(values) for e, values in counts.items()}
    assert {e: v for e, v in column(first, "flips").items() if v is not None} == pytest.approx(means, rel=1e-4)
    plain = [r for r in reader.table("predictions").to_pylist() if r["mode"] == "plain"]
    for score in ("correct", "margin"):
        means = {e: fmean(values) for e, values in by_example(plain, known, score).items()}
        assert column(first, score) == pytest.approx(means, rel=1e-4)


def test_only_scores_that_the_store_has(made: Explorer) -> None:
    keys = [[s["key"] for s in one["scores"]] for one in made.data["sets"]]
    common = ["learning_time", "forgetting", "aum", "el2n", "mean_loss", "final_loss", "mean_prob"]
    assert keys == [[*common, "correct", "margin", "flips", "forgotten"], common, common, common]
    names = {s["key"]: s["name"] for s in made.data["sets"][0]["scores"]}
    assert (names["learning_time"], names["aum"]) == ("learning time", "area under the margin")


def test_cuts_are_quantiles(first: Mapping[str, Any]) -> None:
    for score in first["scores"]:
        known = sorted(v for v in score["values"] if v is not None)
        assert score["n"] == len(known)
        assert score["cuts"] == [known[max(0, math.ceil(len(known) * k / 100 - 1e-9) - 1)] for k in range(101)]


def test_forgotten_is_what_the_view_has(first: Mapping[str, Any], reader: Reader) -> None:
    said: dict[tuple[str, int], dict[str, Any]] = defaultdict(dict)
    for row in reader.table("predictions").to_pylist():
        if row["rescale"] == "none":
            said[row["analysis"], row["example"]][row["mode"]] = row["correct"]
    noisy = dict(zip(first["example"], np.array(first["label"]) != np.array(first["true"]), strict=True))
    times = Counter(e for (_, e), by in said.items() if by.get("own") and not by["dropped"] and not noisy[e])
    expected = {e: None if noisy[e] else times[e] for e in first["example"]}
    assert column(first, "forgotten") == expected
    assert dict(times) == dict(Counter(reader.table("forgotten")["example"].to_pylist()))
    assert 0 < len(times) < 120


# --- predictions and neurons ------------------------------------------------------------------------------------------


def test_predictions_are_counted(first: Mapping[str, Any], reader: Reader) -> None:
    dropout = {r["trial"]: r["dropout"] for r in reader.table("trials").to_pylist() if r["noise"] == 0.1}
    counts: dict[tuple[str, str, str], dict[int, Counter[int]]] = defaultdict(lambda: defaultdict(Counter))
    for row in reader.table("predictions").to_pylist():
        if row["trial"] in dropout:
            counts[dropout[row["trial"]], row["mode"], row["rescale"]][row["example"]][row["predicted"]] += 1
    names = {name: key for key, name in module.NETWORK_NAMES.items()}
    assert [names[n["name"]] for n in first["networks"]] == [key for key in module.NETWORK_NAMES if key in counts]
    assert len(counts) == 9
    for network in first["networks"]:
        for example, said in zip(first["example"], network["said"], strict=True):
            counted = counts[names[network["name"]]][example]
            assert dict(zip(said[::2], said[1::2], strict=True)) == dict(counted)
            assert said[1::2] == sorted(counted.values(), reverse=True)


class Tables(Observations):
    """Observations of made-up tables."""

    def __init__(self, **tables: pd.DataFrame) -> None:
        self.connection = duckdb.connect(":memory:")
        for name, rows in tables.items():
            self.connection.register(name, rows)

    def frame(self, sql: str) -> pd.DataFrame:
        rows: pd.DataFrame = self.connection.sql(sql).df()
        return rows


def trained(scored: str, more: str = "", dropped: str = "") -> TrainingSet:
    """A set whose trainings have one letter each: those whose scores are averaged, and more."""
    setting = Setting({"dataset": "digits", "model": "m"}, {}, {})
    return TrainingSet(setting, ("digits", "i"), list(scored + more), list(scored), "", list(dropped))


def test_another_network_has_a_name() -> None:
    rows = [(f"of {t}", t, "rewound", "conv1", 5, 3) for t in "ab"] + [("of a", "a", "plain", "none", 5, 7)]
    observations = Tables(
        predictions=pd.DataFrame(rows, columns=["analysis", "trial", "mode", "rescale", "example", "predicted"]),
        analyses=pd.DataFrame({"analysis": ["of a", "of b"], "trial": ["a", "b"], "config": '{"epoch":8}'}),
        trials=pd.DataFrame({"trial": ["a", "b"], "dropout": "none", "epochs": 8}),
    )
    assert module._networks(observations, trained("ab"), [4, 5]) == [
        {"name": "Trained without dropout", "said": [None, [7, 1]]},
        {"name": "none, rewound, conv1", "said": [None, [3, 2]]},
    ]


def test_predictions_are_those_of_the_last_epoch_once_per_training() -> None:
    said = [("a1", 3), ("a2", 4), ("early", 5), ("odd", 6)]  # four analyses of one training
    rows = [(a, "t", "plain", "none", 9, c) for a, c in said] + [("other", "u", "plain", "none", 9, 4)]
    configs = [f'{{"epoch":{t}}}' for t in (8, 8, 4, '"last"', 8)]
    observations = Tables(
        predictions=pd.DataFrame(rows, columns=["analysis", "trial", "mode", "rescale", "example", "predicted"]),
        analyses=pd.DataFrame({"analysis": [r[0] for r in rows], "trial": [r[1] for r in rows], "config": configs}),
        trials=pd.DataFrame({"trial": ["t", "u"], "dropout": "none", "epochs": 8}),
    )  # fmt: skip
    expected = {"name": "Trained without dropout", "said": [[3, 1, 4, 1]]}
    assert module._networks(observations, trained("tu"), [9]) == [expected]
    assert module._networks(observations, trained("u"), [9]) == [{**expected, "said": [[4, 1]]}]


def test_means_skip_what_is_missing_and_forgetting_counts_trainings() -> None:
    rows = [
        ("t", 1, 5, 5, 2.0),
        ("u", 1, 5, 5, None),
        ("t", 2, 6, 5, 1.0),
        ("u", 2, 6, 5, 2.0),
        ("d", 1, 5, 5, 9.0),
        ("x", 1, 0, 0, 1.0),
    ]
    table = pd.DataFrame(rows, columns=["trial", "example", "label", "true_label", "aum"]).assign(noisy=False)
    observations = Tables(
        leaderboard=table, forgotten=pd.DataFrame({"trial": ["d", "d", "e", "x"], "example": 1})
    )  # d: two analyses
    first, second = training_sets.means(observations, [trained("tu", more="de", dropped="de"), trained("x")])
    columns = ["example", "label", "true_label", "aum", "forgotten"]
    assert first[columns].to_numpy().tolist()[0] == [1, 5, 5, 2.0, 2]
    assert first[columns].to_numpy().tolist()[1][:4] == [2, 6, 5, 1.5]
    assert math.isnan(first["forgotten"][1])  # it is mislabeled
    assert math.isnan(second["forgotten"][0])  # nothing was dropped


def test_means_do_not_depend_on_the_order_of_rows() -> None:
    """Large numbers cancel, so that a mean would differ in another order, compensated or not; DuckDB's order is any."""
    values = [0.1, 0.1, 0.1, 1e17, -1e17, 1e33, -1e33]
    rows = pd.DataFrame({"trial": list("abcdefg"), "example": 1, "label": 5, "true_label": 5, "noisy": False, "aum": values})
    found = set()
    for seed in range(30):
        forgotten = pd.DataFrame({"trial": ["a"], "example": [1]})
        observations = Tables(leaderboard=rows.sample(frac=1, random_state=seed), forgotten=forgotten)
        (frame,) = training_sets.means(observations, [trained("abcdefg")])
        found.add(frame["aum"][0])
    assert len(found) == 1


def test_closed_neurons_are_counted(first: Mapping[str, Any], reader: Reader) -> None:
    seeds, counts = trials(reader, "none"), defaultdict(Counter)
    for row in reader.table("flips").to_pylist():
        if row["eligible"]:
            closed = zip(row["layers"], row["indices"], strict=True)
            counts[row["example"]].update((f"seed {seeds[row['trial']]}", layer, index) for layer, index in closed)
    shown = first["neurons"]
    named = [(shown["trainings"][t], shown["layers"][layer][0], index) for t, layer, index in shown["neurons"]]
    assert len(set(named)) == len(named)
    for example, flat in shown["closed"].items():
        assert {named[k]: n for k, n in zip(flat[::2], flat[1::2], strict=True)} == dict(counts[example])
    assert set(shown["closed"]) == set(counts)
    assert shown["searches"] == 2
    assert (shown["trainings"], shown["of"]) == (["seed 0", "seed 1", "seed 2"], 3)
    groups = ["conv1", "conv2", "res1.conv1", "res1.conv2", "conv3", "res2.conv1", "res2.conv2", "conv4", "linear"]
    assert shown["rows"] == groups
    for layer, row, left, width, size in shown["layers"]:
        assert (groups[row], left, width) == (layer, 0, 1)
        assert size == 1 + max(index for _, name, index in named if name == layer)


class Searched(Observations):
    """Observations of five trainings whose network has two layers in a group."""

    def __init__(self) -> None:
        self._kept, self.read = {}, list[str]()
        self.trials = {t: {"seed": seed} for t, seed in zip("abcde", (4, 3, 2, 1, 0), strict=True)}
        self.analyses = [{"analysis": f"{size} of {t}", "trial": t} for t in "abcde" for size in ("most", "few")]

    def frame(self, sql: str) -> pd.DataFrame:
        return pd.DataFrame({"analysis": [f"most of {t}" for t in "abcde"]})

    def batches(self, table: str, columns: Sequence[str], analyses: Collection[str], coded: Sequence[str] = ()) -> Any:
        self.read += analyses
        rows = [(t, 7, 0, True, ["b.2", "b.1"], [9, 0]) for t in "abcde"]
        rows += [("b", 8, 0, True, [], []), ("b", 7, 1, False, [], [])]  # the last one is not eligible
        kept = pd.DataFrame(rows, columns=["trial", "example", "repeat", "eligible", "layers", "indices"])
        kept = kept[[f"most of {t}" in analyses for t in kept["trial"]]]
        yield from pa.Table.from_pandas(kept, preserve_index=False).to_batches()

    def groups(self, model: str) -> list[str]:
        return ["stem", "b"]

    def order(self, setting: Any, layers: Any) -> list[str]:
        return [name for name in ("stem", "b", "b.1", "b.2") if name in set(layers)]


def test_layers_of_a_group_lie_side_by_side_and_few_trainings_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    one, observations = trained("abcde"), Searched()
    shown = neurons.closed(observations, one, [7, 8])
    assert observations.read == [f"most of {t}" for t in "edcb"]  # of the other trainings no closings are read
    assert shown is not None
    assert shown["rows"] == ["stem", "b"]
    assert shown["layers"] == [("b.1", 1, 0, 0.5, 1), ("b.2", 1, 0.5, 0.5, 10)]
    assert (shown["trainings"], shown["of"]) == (["seed 0", "seed 1", "seed 2", "seed 3"], 5)
    assert len(shown["neurons"]) == 8  # the same place in another training is another neuron
    assert shown["closed"][8] == []
    assert neurons.closed(Searched(), one, [1]) is None
    monkeypatch.setattr(neurons, "CLOSINGS", 7)  # each training has two
    few = neurons.closed(Searched(), one, [7, 8])
    assert few is not None
    assert (few["trainings"], few["of"], few["layers"]) == (shown["trainings"][:3], 5, shown["layers"])
    assert len(few["neurons"]) == 6


class Located(Searched):
    """Three trainings in which methods have named neurons; the youngest seed has no list for example 8."""

    def __init__(self) -> None:
        super().__init__()
        self.trials = {t: {"seed": seed} for t, seed in zip("abc", (4, 3, 2), strict=True)}
        self.analyses = [
            {"analysis": f"locate {t}", "trial": t, "stage": "locate", "config": {"truth": "deleted"}} for t in "abc"
        ]
        self.analyses += [
            {"analysis": f"injected {t}", "trial": t, "stage": "locate", "config": {"truth": "injected"}} for t in "abc"
        ]
        self.analyses += [{"analysis": f"depth {t}", "trial": t, "stage": "depth"} for t in "abc"]

    def batches(self, table: str, columns: Sequence[str], analyses: Collection[str], coded: Sequence[str] = ()) -> Any:
        assert (table, sorted(analyses)) == ("located", ["locate a", "locate b", "locate c"])
        long = [("b.1" if k % 2 else "stem", 3 * k) for k in range(12)]
        rows = [
            (
                trial,
                example,
                method,
                method == "random",
                [layer for layer, _ in long[start:]],
                [index for _, index in long[start:]],
            )
            for start, trial in enumerate("abc")
            for example in (7, 8, 9)
            for method in ("zero_out", "mine", "random", "fisher")
            if (trial, example) != ("c", 8) and (trial, example, method) != ("b", 8, "mine")
        ]
        frame = pd.DataFrame(rows, columns=["trial", "example", "method", "control", "layers", "indices"])
        yield from pa.Table.from_pandas(frame, preserve_index=False).to_batches()


def test_the_first_ten_neurons_of_every_method_in_one_training(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = neurons.located(Located(), trained("abc"), [7, 8])
    assert shown is not None
    assert shown["methods"] == ["fisher", "zero_out", "mine"]  # as memloc has them, then a user's; no control
    assert shown["layers"] == [("stem", 31), ("b.1", 34)]  # of all neurons that the lists name
    of_c = [v for k in range(2, 12) for v in (k % 2, 3 * k)]
    of_b = [v for k in range(1, 11) for v in (k % 2, 3 * k)]
    assert shown["first"] == {7: ["seed 2", of_c, of_c, of_c], 8: ["seed 3", of_b, of_b, []]}
    assert neurons.located(Located(), trained("abc"), [1]) is None
    monkeypatch.setattr(neurons, "LOCATED", 3)
    few = neurons.located(Located(), trained("abc"), [7, 8])
    assert few is not None
    assert [*few["first"]] == [7]


# --- images -----------------------------------------------------------------------------------------------------------


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))


def test_tiles_are_the_images(made: Explorer) -> None:
    raw, sheet, (w, h) = load("digits"), decoded(made.sprite), made.data["cell"]
    tiles = [t for one in made.data["sets"] for t in one["tile"]]
    assert set(tiles) == set(range(120)) == set(range(made.data["tiles"]))  # one for all sets
    for one in made.data["sets"]:
        assert tuple(one["size"]) == (16, 16)
        for example, tile in zip(one["example"], one["tile"], strict=True):
            y, x = divmod(tile, made.data["columns"])
            assert (sheet[y * h : (y + 1) * h, x * w : (x + 1) * w] == raw.x_train[example][0]).all()


def test_images_of_several_kinds_share_a_picture() -> None:
    draw = np.random.default_rng(0)
    images = {(("grey", "1"), k): draw.integers(0, 256, (1, 5, 7), dtype=np.uint8) for k in range(70)}
    images |= {(("colour", "2"), k): draw.integers(0, 256, (3, 8, 6), dtype=np.uint8) for k in range(3)}
    large = np.concatenate([draw.integers(0, 256, (3, 48, 30), dtype=np.uint8), np.full((1, 48, 30), 255, np.uint8)])
    images[("large", "3"), 0] = large.repeat(2, axis=1).repeat(2, axis=2)
    made = sprite.sprite(images, 1_000_000)
    assert made.cell == (30, 48)
    assert made.sizes == {("grey", "1"): (7, 5), ("colour", "2"): (6, 8), ("large", "3"): (30, 48)}
    sheet = decoded(made.uri)
    for key, image in images.items():
        y, x = divmod(made.tiles[key], sprite.COLUMNS)
        w, h = made.sizes[key[0]]
        tile = sheet[y * 48 : y * 48 + h, x * 30 : x * 30 + w].transpose(2, 0, 1)
        expected = image[:, ::2, ::2] if key[0][0] == "large" else image
        assert (tile[: len(expected)] == expected).all()
        assert len(expected) > 1 or (tile[:3] == tile[:1]).all()


def test_a_picture_that_would_be_too_large_has_the_first_images() -> None:
    draw = np.random.default_rng(0)
    images = {(("a", "1"), k): draw.integers(0, 256, (1, 10, 10), dtype=np.uint8) for k in range(100)}
    made = sprite.sprite(images, 5_000)
    assert list(made.tiles) == list(images)[: len(made.tiles)]
    assert 4_000 < len(made.uri) <= 5_000
    assert sprite.sprite(images, 100) == sprite.Sprite("", (10, 10), {}, {("a", "1"): (10, 10)})


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("absent", "not here"),
        ("other", "digits: its content is not what the trial was"),
        ("channels", "digits: its images have 2 channels; a picture has 1, 3 or 4"),
    ],
)
def test_images_that_cannot_be_shown_are_a_problem(monkeypatch: pytest.MonkeyPatch, fault: str, said: str) -> None:
    raw = load("digits")

    def faulty(source: Any, data_dir: Path | None) -> Any:
        assert data_dir == Path("data")
        if fault == "absent":
            raise UsageError("not here")
        return replace(raw, identity="x") if fault == "other" else replace(raw, x_train=raw.x_train.repeat(2, axis=1))

    monkeypatch.setattr(data, "load", faulty)
    problems: list[str] = []
    one = TrainingSet(Setting({"dataset": "digits"}, {}, {}), ("digits", raw.identity), [], [], "", [])
    assert module._raw(one, Path("data"), problems) is None
    (problem,) = problems
    assert problem.startswith(f"the explorer of examples has no images of digits: {said}")


def test_without_images_all_else_is_there(everything: Path, made: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_raw", lambda source, data_dir, problems: None)
    without = explored(everything)
    assert (without.sprite, without.data["tiles"]) == ("", 0)
    for one, other in zip(without.data["sets"], made.data["sets"], strict=True):
        sentence = "There are no images: digits was not there as it was trained on, or has not 1, 3 or 4 channels."
        assert one == {**other, "about": [*other["about"], sentence], "tile": [None] * 120, "size": None}


def test_class_names_are_those_of_the_data_sets() -> None:
    clothes = "T-shirt/top,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot"  # its README, labels 0 to 9
    assert class_names("fashion_mnist") == tuple(clothes.split(","))
    assert class_names("cifar10") == (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    assert class_names("mnist") == class_names("digits") == class_names("npz:/a.npz") == ()


# --- limits -----------------------------------------------------------------------------------------------------------


@contextmanager
def limits(rows: int, images: int, extremes: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_sets, "ROWS", rows)
        patch.setattr(training_sets, "EXTREMES", extremes)
        patch.setattr(module, "IMAGES", images)
        yield


def in_turn(one: Mapping[str, Any], extremes: int) -> list[int]:
    """Examples in the order in which they get a place, by loops: round after round, the next one of every list."""
    scores = {s["key"]: dict(zip(one["example"], s["values"], strict=True)) for s in one["scores"]}
    wrong = [e for e, given, true in zip(one["example"], one["label"], one["true"], strict=True) if given != true]
    times = {e: v for e, v in scores.get("forgotten", {}).items() if v}
    lists = [[e for e, v in scores.get("flips", {}).items() if v is not None], wrong]
    lists.append(sorted(times, key=lambda e: (-times[e], e)))
    for values in scores.values():
        known = sorted((e for e in values if values[e] is not None), key=lambda e: (values[e], e))
        lists += [known[:extremes], known[::-1][:extremes]]
    order: list[int] = []
    for turn in range(len(one["example"])):
        order += sorted({members[turn] for members in lists if turn < len(members)} - set(order))
    return order


def test_the_limits_keep_the_telling_examples(everything: Path, made: Explorer, reader: Reader) -> None:
    whole = made.data["sets"]
    with limits(rows=150, images=50, extremes=2):
        cut = explored(everything)
    sets, sizes = cut.data["sets"], [len(one["example"]) for one in cut.data["sets"]]
    orders = [in_turn(one, 2) for one in whole]
    shares = [min(37, len(order)) for order in orders]
    assert sizes == [shares[0] + 150 - sum(shares), *shares[1:]]
    for one, full, order, size in zip(sets, whole, orders, sizes, strict=True):
        rest = [e for e in full["example"] if e not in set(order)]
        assert one["example"] == sorted([*order, *rest][:size])
        assert [s["cuts"] for s in one["scores"]] == [s["cuts"] for s in full["scores"]]  # among all examples
        assert f"Left out: {120 - size} examples of 120." in " ".join(one["about"])
        rows = reader.sql(one["query"]).to_pylist()
        assert {r["example"] for r in rows} == set(full["example"])
    tiles = {e: t for one in sets for e, t in zip(one["example"], one["tile"], strict=True) if t is not None}
    assert sorted(tiles.values()) == list(range(50))
    firsts = {order[0] for order in orders}
    assert {tiles[e] for e in firsts} == set(range(len(firsts)))  # each set's first one comes first
    bare = sets[0]["tile"].count(None)
    assert f"Without thumbnail, so that the page stays small: {bare} examples." in sets[0]["about"]


def size_of(made: Explorer) -> int:
    """The bytes that a page has of it."""
    return len(str(for_script(made.data)).encode()) + len(made.sprite)


def test_data_and_picture_have_a_largest_size(everything: Path, made: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(made.json) + 3_000
    monkeypatch.setattr(module, "LARGEST", size)
    cut = explored(everything)
    assert 20 < cut.data["tiles"] < 120
    assert size - 1_500 < size_of(cut) <= size
    order = in_turn(made.data["sets"][0], training_sets.EXTREMES)
    assert cut.data["sets"][0]["tile"][made.data["sets"][0]["example"].index(order[0])] is not None


def test_letters_count_as_many_bytes_as_they_have(everything: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And where there is no room for a picture, the page does not say that there are no images."""
    monkeypatch.setattr(TrainingSet, "files", lambda one, observations, examples: ["猫" * 80 for _ in examples])
    with limits(rows=20_000, images=0, extremes=training_sets.EXTREMES):
        bare = explored(everything)
    monkeypatch.setattr(module, "LARGEST", size_of(bare) + 100)
    cut = explored(everything)
    assert size_of(cut) <= module.LARGEST
    assert (cut.data["tiles"], cut.sprite) == (0, "")
    for one, whole in zip(cut.data["sets"], bare.data["sets"], strict=True):
        assert one["example"] == whole["example"]
        assert "Without thumbnail, so that the page stays small: 120 examples." in one["about"]


def test_data_that_would_be_too_large_have_fewer_examples(
    everything: Path, made: Explorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TrainingSet, "files", lambda one, observations, examples: ["猫" * 80 for _ in examples])
    size = len(made.json)
    monkeypatch.setattr(module, "LARGEST", size)
    cut = explored(everything)
    assert 0.7 * size < size_of(cut) <= size
    sizes = [len(one["example"]) for one in cut.data["sets"]]
    assert 0 < sum(sizes) < sum(len(one["example"]) for one in made.data["sets"])
    assert f"Left out: {120 - sizes[-1]} examples of 120." in " ".join(cut.data["sets"][-1]["about"])


def test_extremes_are_the_extremes(everything: Path, made: Explorer) -> None:
    with limits(rows=8 * 40, images=4_000, extremes=1):
        cut = explored(everything)
    for one, full in zip(cut.data["sets"], made.data["sets"], strict=True):
        for score, whole in zip(one["scores"], full["scores"], strict=True):
            known, every = ([v for v in s["values"] if v is not None] for s in (score, whole))
            assert (min(known), max(known)) == (min(every), max(every))


def test_few_examples_need_no_limit(made: Explorer) -> None:
    for one in made.data["sets"]:
        assert one["query"] == ""
        assert not re.search("Left out|thumbnail", " ".join(one["about"]))


# --- which trainings --------------------------------------------------------------------------------------------------


class Planned(Observations):
    """Observations of trainings that have nothing but configurations."""

    def __init__(self, **trials: Mapping[str, Any]) -> None:
        usual = {"dataset": "digits", "model": "resnet9", "noise": 0.1, "dropout": "none", "data_seed": 0, "epochs": 5}
        self.identities = {t: config.get("identity", "i") for t, config in trials.items()}
        self.analyses = [{"trial": "f", "stage": "flips"}]
        self.trials = {t: {**usual, "seed": 0, **config, "identity": None} for t, config in trials.items()}

    def data_identity(self, trial: str) -> str:
        return str(self.identities[trial])

    def frame(self, sql: str) -> pd.DataFrame:
        tied = [t for t, c in self.trials.items() if c["dropout"] == "example_tied"]
        assert "evaluation" in sql
        return pd.DataFrame({"trial": tied})


TIED = {"dropout": "example_tied", "p_gen": 0.2, "p_mem": 0.1}


@pytest.mark.parametrize(
    ("trials", "scored", "kinds"),
    [
        ({"a": {}, "b": {"seed": 1}, "c": TIED}, ["ab"], "without dropout"),
        ({"a": {"dropout": "standard", "keep": 0.4}, "b": {"ratio": 0.5, "cut": 0}}, ["a"], "with dropout"),
        ({"a": {"ratio": 0.5, "cut": 0}, "b": {"ratio": 0.7, "cut": 3}}, ["ab"], "on a part of the examples"),
        ({"a": {}, "b": {"data_seed": 1}}, ["a", "b"], "without dropout"),
        ({"a": {}, "b": {"identity": "j"}}, ["a", "b"], "without dropout"),
        ({"a": {}, "b": {"epochs": 6}, "f": {"epochs": 6, "seed": 1}}, ["bf", "a"], "without dropout"),
    ],
)
def test_which_scores_are_averaged(trials: Mapping[str, Any], scored: Sequence[str], kinds: str) -> None:
    sets = training_sets.training_sets(Planned(**trials))
    assert ["".join(s.scored) for s in sets] == scored
    assert {s.kind for s in sets} == {kinds}
    names = [one["name"] for one in module._names(sets)]
    assert len(set(names)) == len(sets)


def test_the_richest_set_comes_first() -> None:
    planned = Planned(a={}, b={"seed": 1}, f={"epochs": 6}, t={"epochs": 7, "dropout": "example_tied"})
    sets = training_sets.training_sets(planned)
    assert [s.trials for s in sets] == [["f"], ["t"], ["a", "b"]]
    assert sets[1].dropped == ["t"]


def test_a_page_has_few_trainings_of_many(everything: Path, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two without dropout and two with: those with searches first. The means are theirs, and no other training is read."""
    monkeypatch.setattr(training_sets, "MOST", 2)
    read: list[set[str]] = []
    of_trials = Observations.of_trials

    def noting(observations: Observations, trials: Collection[str]) -> Observations:
        few = of_trials(observations, trials)
        read.append(set(few.frame("SELECT trial FROM trials")["trial"]))
        return few

    monkeypatch.setattr(Observations, "of_trials", noting)
    one = explored(everything).data["sets"][0]
    searched = {r["trial"] for r in reader.table("flips").to_pylist() if r["eligible"]}
    known = trials(reader, "none")
    plain = sorted(known, key=lambda t: (t not in searched, known[t], t))[:2]
    rows = reader.table("examples").to_pylist()
    means = {e: fmean(v) for e, v in by_example(rows, dict.fromkeys(plain, 0), "aum").items()}
    assert column(one, "aum") == pytest.approx(means, rel=1e-4)
    (network,) = [n for n in one["networks"] if n["name"] == "Trained without dropout"]
    assert {sum(said[1::2]) for said in network["said"] if said} == {2}
    every = {r["trial"]: r for r in reader.table("trials").to_pylist() if r["noise"] == 0.1}
    kinds = Counter(min(2, n) for n in Counter(r["dropout"] for r in every.values()).values())
    shown = sum(n * k for n, k in kinds.items())
    assert (
        f"The page has {shown} of {len(every)} trainings: first those with searches, then those with low seeds."
        in one["about"]
    )
    ((all_read),) = read
    assert set(plain) <= all_read
    assert len(all_read & set(every)) == shown < len(every)


# --- the text ---------------------------------------------------------------------------------------------------------


def test_no_nan_and_the_same_bytes(everything: Path, made: Explorer) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert "<" not in made.json
    assert json.loads(made.json, parse_constant=refuse)["sets"][0]["n"] == 120
    again = explored(everything)
    assert (again.json, again.sprite) == (made.json, made.sprite)


def test_numbers_are_short() -> None:
    shortened = training_sets.short([math.nan, math.inf, -math.inf, 3.0, -0.0, 0.123456789, 1234567.25, 1e-9])
    assert shortened == [None, None, None, 3, 0, 0.12346, 1234600.0, 1e-9]
    assert [type(v) for v in shortened[3:5]] == [int, int]


def test_a_script_element_cannot_be_ended() -> None:
    text = Explorer({"name": "</script><!--"}, "").json
    assert "<" not in text
    assert json.loads(text) == {"name": "</script><!--"}


def test_a_link_from_a_query_names_the_set_of_its_analyses(made: Explorer, reader: Reader) -> None:
    noise = {r["trial"]: r["noise"] for r in reader.table("trials").to_pylist()}
    for row in reader.table("analyses").to_pylist():
        name = {0.1: "digits"}.get(noise[row["trial"]], f"digits.noise{noise[row['trial']]:g}")
        assert made.link(7, f"SELECT 1 WHERE analysis IN ('{row['analysis']}')") == f"#example=7&of={name}"
    assert made.link(7, "SELECT 1") == "#example=7"
    one = Explorer({"sets": made.data["sets"][:1]}, "", made.homes)  # there is nothing to choose
    assert one.link(7, f"'{next(iter(made.homes))}'") == "#example=7"


def test_an_empty_store_has_no_examples(tmp_path: Path) -> None:
    assert explorer(Observations(reader_of(tmp_path / "store")), None, []) is None
