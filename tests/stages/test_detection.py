"""Detection on tables made by hand: known answers, scikit-learn, and every row of a population written out."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from memloc import sweep
from memloc.config import FieldError, StageConfig, TrainConfig
from memloc.errors import UsageError
from memloc.seeds import stream
from memloc.stages import REGISTRY, STAGES
from memloc.stages.base import Part, Size, Stage, Tables
from memloc.stages.columns import BOOL, INT, of_analysis
from memloc.stages.detection import config
from memloc.stages.detection.config import FROM_STAGE, Detection, DetectionConfig
from memloc.stages.inputs import Inputs
from memloc.statistics import auc_difference, auc_interval
from memloc.store import Store
from tests.conftest import run_inline
from tests.run.programs import contents
from tests.stages.conftest import CPU, TIED, settings

STAGE = Detection()
SCORES = tuple(s.name for s in config.SCORES if s.name != "c_score")  # those that need no other sweep
FROM_TRAINING = tuple(s for s in SCORES if s not in FROM_STAGE)
RAW = {
    "learning_time": "learning_time",
    "forgetting": "forgetting",
    "aum": "aum",
    "el2n": "el2n",
    "loss": "mean_loss",
    "probability": "mean_prob",
}
FALLING = ("aum", "mean_prob")  # columns that are lower for mislabeled examples
UNKNOWN = {"auc": None, "auc_lo": None, "auc_hi": None, "ap": None, "precision": None, "miss_rate": None}


def examples(noisy: Sequence[bool], **columns: Sequence[float]) -> dict[str, Any]:
    """Table `examples`, numbered from 100; scores that are not given are 0."""
    n = len(noisy)
    return {"example": list(range(100, 100 + n)), "noisy": list(noisy), **{c: [0.0] * n for c in RAW.values()}, **columns}


def flips(*rows: tuple[int, int, bool, int, bool], max_neurons: int = 50) -> dict[str, Any]:
    """Tables `flips` and `analyses` from (example, repeat, eligible, count, censored)."""
    columns = dict(zip(("example", "repeat", "eligible", "count", "censored"), zip(*rows, strict=True), strict=True))
    analyses = {
        "analysis": ["f", "e"],
        "trial": ["t", "t"],
        "stage": ["flips", "evaluate"],
        "config": [json.dumps({"max_neurons": max_neurons}), json.dumps({"epoch": 3})],
    }
    return {"flips": {"analysis": ["f"] * len(rows), **columns}, "analyses": analyses}


def detect(tables: Mapping[str, Any], **fields: Any) -> tuple[dict[tuple[str, str], dict[str, Any]], dict[Any, Any]]:
    """({(sample, score): its row}, {(sample, score, other): its row})."""
    train, data = settings()
    config = STAGE.resolve(DetectionConfig(**fields), train, [s for s in FROM_STAGE if s in tables])
    (part,) = STAGE.parts(config, train, Size(len(data.y), 24, 360, 1, 9, 10))
    inputs = Inputs(train, data, CPU, lambda epoch: pytest.fail("detection reads no checkpoint"), tables)
    found = {name: rows_of(columns) for name, columns in STAGE.run(config, inputs, part).items()}
    assert set(found) == set(STAGE.tables) - {"scores"}  # those are of plugins
    single = {(r.pop("sample"), r.pop("score")): r for r in found["detection"]}
    pairs = {(r.pop("sample"), r.pop("score"), r.pop("other")): r for r in found["detection_pairs"]}
    assert (len(single), len(pairs)) == (len(found["detection"]), len(found["detection_pairs"]))
    return single, pairs


def rows_of(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def random_tables(n: int = 60, n_noisy: int = 12) -> dict[str, Any]:
    """Noisy examples are learned later, forgotten more often, of lower margin and so on: each score alone must see it."""
    generator = stream(0, "test detection")
    noisy = generator.permutation(n) < n_noisy
    columns = {c: np.round(generator.normal(size=n) + (-1.2 if c in FALLING else 1.2) * noisy, 1) for c in RAW.values()}
    chosen = [i for i in range(n) if noisy[i] or i % 4 == 0]
    drawn = [
        (100 + i, r, i % 5 != 0, int(generator.integers(1, 12)) + (0 if noisy[i] else 6), False)
        for i in chosen
        for r in range(3)
    ]
    times = np.round(generator.normal(size=n) * 3 + 9 - 4 * noisy).astype(int)
    split = {"example": list(range(100, 100 + n))[::-1], "time": times[::-1].tolist()}  # in an order of its own
    tables = {"examples": examples(noisy.tolist(), **{c: v.tolist() for c, v in columns.items()}), **flips(*drawn)}
    return tables | {"second_split": split}


# --- values -----------------------------------------------------------------------------------------------------------


def first(precision: float) -> dict[str, float]:
    return {"precision": precision, "miss_rate": 1 - precision}


def test_a_perfect_score_and_one_without_information() -> None:
    single, pairs = detect({"examples": examples([True, True, False, False, False], aum=[-2, -1, 0, 1, 2])})
    assert single["all", "aum"] == {"auc": 1.0, "auc_lo": 1.0, "auc_hi": 1.0, "ap": 1.0, **first(1.0), "n": 5}
    assert single["all", "loss"] == {"auc": 0.5, "auc_lo": 0.5, "auc_hi": 0.5, "ap": 0.4, **first(0.4), "n": 5}
    assert pairs["all", "aum", "loss"] == {"auc_diff": 0.5, "lo": 0.5, "hi": 0.5, "p": 0.0}
    assert pairs["all", "el2n", "loss"] == {"auc_diff": 0.0, "lo": 0.0, "hi": 0.0, "p": 1.0}


def test_ties_by_hand() -> None:
    """Noisy learned at 3 and 2, clean at 2, 1, 1: of six pairs five won and one tied; of the tied half a noisy one."""
    single, _ = detect({"examples": examples([True, True, False, False, False], learning_time=[3, 2, 2, 1, 1])})
    row = single["all", "learning_time"]
    assert row["auc"] == pytest.approx(5.5 / 6)
    assert row["ap"] == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert row["precision"] == pytest.approx(1.5 / 2)


def test_every_sign() -> None:
    single, _ = detect(random_tables())
    assert {score for sample, score in single if sample == "flips"} == set(SCORES)
    assert {score for sample, score in single if sample == "all"} == set(SCORES) - {"flips"}
    assert all(row["auc"] > 0.6 for row in single.values())


def test_all_examples_against_sklearn() -> None:
    tables = random_tables()
    single, pairs = detect(tables)
    noisy = np.array(tables["examples"]["noisy"])
    values = {s: np.array(tables["examples"][c]) * (-1 if c in FALLING else 1) for s, c in RAW.items()}
    values["second_split"] = -np.array(tables["second_split"]["time"][::-1], dtype=float)
    for score, value in values.items():
        row, k = single["all", score], int(noisy.sum())
        assert row["auc"] == pytest.approx(roc_auc_score(noisy, value))
        assert (row["auc"], row["auc_lo"], row["auc_hi"]) == auc_interval(value, noisy)
        assert row["ap"] == pytest.approx(average_precision_score(noisy, value))
        cut = np.sort(value)[-k]
        expected = noisy[value > cut].sum() + (k - (value > cut).sum()) * noisy[value == cut].mean()
        assert row["precision"] == pytest.approx(expected / k)
        assert row["n"] == 60
    for one, other in combinations([s for s in SCORES if s != "flips"], 2):
        assert tuple(pairs["all", one, other].values()) == auc_difference(values[one], values[other], noisy)


def test_the_flip_sample_against_the_population_it_stands_for() -> None:
    """60 examples, 12 noisy; eligible in the sample: each class repeated until both have their true numbers."""
    tables = random_tables()
    single, pairs = detect(tables)
    noisy, by_example = np.array(tables["examples"]["noisy"]), dict[int, list[int]]()
    for row in rows_of(tables["flips"]):
        if row["eligible"]:
            by_example.setdefault(row["example"] - 100, []).append(row["count"])
    at = np.array(sorted(by_example))
    sampled = noisy[at]
    m, n = int(sampled.sum()), int((~sampled).sum())
    assert 0 < m < 12  # some are not eligible
    values = {s: np.array(tables["examples"][c])[at] * (-1 if c in FALLING else 1) for s, c in RAW.items()}
    values["second_split"] = -np.array(tables["second_split"]["time"][::-1], dtype=float)[at]
    values["flips"] = np.array([-np.mean(by_example[i]) for i in at])
    times = np.where(sampled, 12 * n, 48 * m)  # in units of 1 / (m·n)
    for score, value in values.items():
        row = single["flips", score]
        assert row["n"] == m + n
        assert (row["auc"], row["auc_lo"], row["auc_hi"]) == pytest.approx(auc_interval(value, sampled))
        population, scores = np.repeat(sampled, times), np.repeat(value, times)
        assert population.mean() == pytest.approx(12 / 60)
        assert row["ap"] == pytest.approx(average_precision_score(population, scores))
        k = 12 * m * n
        cut = np.sort(scores)[-k]
        expected = population[scores > cut].sum() + (k - (scores > cut).sum()) * population[scores == cut].mean()
        assert row["precision"] == pytest.approx(expected / k)
    for one, other in combinations(SCORES, 2):
        expected = auc_difference(values[one], values[other], sampled)
        assert tuple(pairs["flips", one, other].values()) == pytest.approx(tuple(expected or ()))


def test_reweighting_by_hand() -> None:
    """Of 8 clean and 2 noisy examples the sample has 2 and 1. By flips the order is clean, noisy, clean: weights 4, 2, 4.

    The first |S_n| = 2 of weight are all clean; at the noisy one precision is 2/6.
    """
    rows = [(100, 0, True, 1, False), (109, 0, True, 2, False), (101, 0, True, 3, False)]
    single, _ = detect({"examples": examples([False] * 8 + [True] * 2), **flips(*rows)})
    found = single["flips", "flips"]
    assert (found["auc"], found["auc_lo"], found["auc_hi"]) == (0.5, None, None)  # of a single noisy example no variance
    assert (found["ap"], found["precision"], found["n"]) == (pytest.approx(1 / 3), 0.0, 3)
    rows = [(100, 0, True, 3, False), (109, 0, True, 3, False), (101, 0, True, 3, False)]
    single, _ = detect({"examples": examples([False] * 8 + [True] * 2), **flips(*rows)})
    assert single["flips", "flips"]["precision"] == pytest.approx(0.2)


def test_counts_are_means_and_censored_ones_are_max_neurons() -> None:
    """Example 100 (noisy): 4 and 8; 101: censored at 3, counts 50; 102: its ineligible repeat is no 0; 103 is left out."""
    noisy = [True, False, False, True]
    rows = [
        *((100, 0, True, 4, False), (100, 1, True, 8, False)),
        *((101, 0, True, 3, True), (101, 1, True, 3, False)),
        *((102, 0, False, 0, False), (102, 1, True, 5, False)),
        *((103, 0, False, 0, False), (103, 1, False, 0, False)),
    ]
    # Means 6, 26.5, 5: example 100 is above 101 and below 102. With 3 for the censored it would be below both.
    single, _ = detect({"examples": examples(noisy), **flips(*rows)}, scores=("flips",))
    assert (single["flips", "flips"]["auc"], single["flips", "flips"]["n"]) == (0.5, 3)
    single, _ = detect({"examples": examples(noisy), **flips(*rows, max_neurons=8)}, scores=("flips",))
    assert single["flips", "flips"]["auc"] == 0.0  # means 6, 5.5, 5


@pytest.mark.parametrize("noisy", [[False] * 4, [True] * 4])
def test_an_empty_class_leaves_rows_of_nulls(noisy: list[bool]) -> None:
    rows = [(100 + i, 0, True, i, False) for i in range(3)]
    single, pairs = detect({"examples": examples(noisy, aum=[1, 2, 3, 4]), **flips(*rows)})
    assert list(single) == [("all", s) for s in FROM_TRAINING] + [("flips", s) for s in SCORES if s != "second_split"]
    assert all(row == {**UNKNOWN, "n": 4 if sample == "all" else 3} for (sample, _), row in single.items())
    assert len(pairs) == 15 + 21
    assert all(set(row.values()) == {None} for row in pairs.values())


def test_a_class_missing_in_the_flip_sample_alone() -> None:
    rows = [(100, 0, False, 0, False), (101, 0, True, 2, False), (102, 0, True, 3, False)]
    single, _ = detect({"examples": examples([True, False, False, False], aum=[1, 2, 3, 4]), **flips(*rows)})
    assert single["all", "aum"]["auc"] == 1.0
    assert single["flips", "aum"] == {**UNKNOWN, "n": 2}
    nobody, _ = detect({"examples": examples([True, False]), **flips((100, 0, False, 0, False))})
    assert nobody["flips", "aum"] == {**UNKNOWN, "n": 0}


def test_a_diverged_score_is_null() -> None:
    single, pairs = detect({"examples": examples([True, False, False], aum=[float("nan"), 1, 2], mean_loss=[3, 1, 2])})
    assert single["all", "aum"] == {**UNKNOWN, "n": 3}
    assert set(pairs["all", "aum", "loss"].values()) == {None}
    assert single["all", "loss"]["auc"] == 1.0


# --- configuration and rows -------------------------------------------------------------------------------------------


def test_resolve() -> None:
    for fields in ({}, TIED):
        train, _ = settings(**fields)
        assert STAGE.resolve(DetectionConfig(), train, ["evaluate"]).scores == FROM_TRAINING
        assert STAGE.resolve(DetectionConfig(), train, ["flips", "second_split"]).scores == SCORES
        asked = DetectionConfig(scores=("loss", "flips", "aum"))
        assert STAGE.resolve(asked, train, ["flips"]).scores == ("flips", "aum", "loss")
        with pytest.raises(FieldError, match=r"add `flips: \{\}` to the stages of this block") as error:
            STAGE.resolve(asked, train, ["evaluate", "second_split"])
        assert error.value.field == "scores"
        with pytest.raises(FieldError, match=r"second_split needs that stage"):
            STAGE.resolve(DetectionConfig(scores=("second_split",)), train, ["flips"])


@pytest.mark.parametrize(
    ("scores", "problem"),
    [
        ("[]", "a non-empty list without duplicates"),
        ("[aum, aum]", "the same value twice"),
        ("[auc]", "learning_time"),
        ("[flips]", "add `flips"),
    ],
)
def test_bad_scores_are_named_with_their_line(tmp_path: Path, scores: str, problem: str) -> None:
    path = tmp_path / "bad.yaml"
    text = "defaults: {dataset: digits, model: resnet9}\nblocks:\n  b:\n    stages:\n      detection:\n        scores: "
    path.write_text(text + scores)
    with pytest.raises(UsageError) as error:
        sweep.load(path, REGISTRY)
    (line,) = error.value.problems
    assert "bad.yaml:6:" in line
    assert "detection.scores" in line
    assert problem in line


def test_chosen_scores_alone_in_canonical_order_and_as_many_rows_as_estimated() -> None:
    tables = random_tables()
    for scores in (("loss", "flips", "aum"), None):
        single, pairs = detect(tables, scores=scores)
        kept = [s for s in SCORES if s in (scores or SCORES)]
        all_kept = [s for s in kept if s != "flips"]
        assert list(single) == [("all", s) for s in all_kept] + [("flips", s) for s in kept]
        expected = [("all", *p) for p in combinations(all_kept, 2)] + [("flips", *p) for p in combinations(kept, 2)]
        assert list(pairs) == expected
        rows = STAGE.rows(DetectionConfig(scores=tuple(kept)), Size(60, 12, 360, 1, 9, 10))
        assert rows == {"detection": len(single), "detection_pairs": len(pairs)}


# --- end to end -------------------------------------------------------------------------------------------------------

SWEEP = """
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 100, noise: 0.2, epochs: 2, batch_size: 32}
blocks:
  b:
    stages: {detection: {}, %s: {}}
"""


def expected_auc(table: pa.Table, column: str, sign: float) -> float:
    return float(roc_auc_score(table["noisy"].to_numpy(), sign * table[column].to_numpy()))


def test_from_a_sweep_without_flips(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    run_inline(tmp_path, SWEEP % "evaluate", store)
    found = contents(tmp_path / "store")
    rows = {r["score"]: r for r in found["detection"].to_pylist()}
    assert list(rows) == list(FROM_TRAINING)
    for score, column in RAW.items():
        assert rows[score]["auc"] == pytest.approx(expected_auc(found["examples"], column, -1 if column in FALLING else 1))
        assert (rows[score]["sample"], rows[score]["n"]) == ("all", 100)
    assert found["detection_pairs"].num_rows == 15
    assert set(found["detection"]["analysis"].to_pylist()) < set(found["analyses"]["analysis"].to_pylist())


class FewConfig(StageConfig):
    max_neurons: int = 7


class Few(Stage[FewConfig]):
    """In the place of flips: examples of which every other one is censored."""

    name: ClassVar[str] = "flips"
    version: ClassVar[int] = 1
    tables: ClassVar[Mapping[str, pa.Schema]] = {
        "flips": of_analysis(("example", INT), ("repeat", INT), ("eligible", BOOL), ("count", INT), ("censored", BOOL))
    }
    config = FewConfig

    def resolve(self, config: FewConfig, train: TrainConfig, beside: Collection[str] = ()) -> FewConfig:
        return config

    def parts(self, config: FewConfig, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"group": 0}, {"group": 1}]

    def epochs(self, config: FewConfig, train: TrainConfig, part: Part) -> Sequence[int]:
        return []

    def passes(self, config: FewConfig, size: Size) -> float:
        return 1.0

    def rows(self, config: FewConfig, size: Size) -> Mapping[str, int]:
        return {"flips": 50}

    def run_together(self, config: FewConfig, inputs: Inputs, parts: Sequence[Part]) -> Iterator[Tables]:
        for part in parts:
            chosen = inputs.data.example[int(part["group"]) :: 2].tolist()
            n = len(chosen)
            censored = [i % 2 == 0 for i in range(n)]
            columns = {"repeat": [0] * n, "eligible": [True] * n, "count": [i % 5 for i in range(n)], "censored": censored}
            yield {"flips": {"example": chosen, **columns}}


def test_from_a_sweep_with_flips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts of all parts, and max_neurons from the configuration of the analysis that was read."""
    monkeypatch.setitem(STAGES, "flips", Few())
    run_inline(tmp_path, SWEEP % "flips", Store(str(tmp_path / "store")))
    found = contents(tmp_path / "store")
    rows = {(r["sample"], r["score"]): r for r in found["detection"].to_pylist()}
    assert list(rows) == [("all", s) for s in FROM_TRAINING] + [("flips", s) for s in SCORES if s != "second_split"]
    noisy = dict(zip(found["examples"]["example"].to_pylist(), found["examples"]["noisy"].to_pylist(), strict=True))
    counts = [(noisy[r["example"]], 7 if r["censored"] else r["count"]) for r in found["flips"].to_pylist()]
    assert len(counts) == 100
    assert rows["flips", "flips"]["auc"] == pytest.approx(roc_auc_score([a for a, _ in counts], [-c for _, c in counts]))
    assert rows["flips", "loss"]["auc"] == rows["all", "loss"]["auc"]  # the sample is everything


# --- C-scores ---------------------------------------------------------------------------------------------------------


def test_the_less_consistent_an_example_the_more_likely_it_is_mislabeled() -> None:
    tables = random_tables()
    train, data = settings()
    noisy = np.array(tables["examples"]["noisy"])
    c_scores = np.where(noisy, 0.2, 0.7) + np.random.default_rng(0).normal(size=len(noisy)) / 4
    inputs = Inputs(train, data, CPU, lambda epoch: pytest.fail("reads no checkpoint"), tables, c_scores=c_scores)
    rows = {}
    for kind in ("sweep", "file"):
        config = DetectionConfig(scores=("aum", "c_score"), c_score=f"{kind}:0123456789abcdef")
        found = STAGE.run(STAGE.resolve(config, train), inputs, {"all": "all"})
        rows[kind] = {r["score"]: r for r in rows_of(found["detection"]) if r["sample"] == "all"}
        assert [p is None for p in found["detection_pairs"]["p"]] == [kind == "file"] * 2
    assert rows["sweep"]["c_score"]["auc"] == pytest.approx(roc_auc_score(noisy, -c_scores))
    assert rows["sweep"]["c_score"]["auc"] > 0.6
    # A file's scores judge the original labels.
    assert {k: v for k, v in rows["file"]["c_score"].items() if k in UNKNOWN} == UNKNOWN
    assert rows["file"]["c_score"]["n"] == len(noisy)
    assert rows["file"]["aum"] == rows["sweep"]["aum"]


def test_resolve_c_score() -> None:
    train, _ = settings()
    with pytest.raises(FieldError, match="c_score needs to know whose; add `c_score: sweep:NAME` to this stage"):
        STAGE.resolve(DetectionConfig(scores=("c_score",)), train)
    with pytest.raises(FieldError, match="used only with the score c_score; add it to scores"):
        STAGE.resolve(DetectionConfig(scores=("aum",), c_score="sweep:mine"), train)
    assert STAGE.resolve(DetectionConfig(c_score="sweep:mine"), train).scores == (*FROM_TRAINING, "c_score")
    assert DetectionConfig(c_score="sweep:mine").with_c_scores("ab").c_score == "sweep:ab"
    assert DetectionConfig(c_score="a/b.npz").with_c_scores("ab").c_score == "file:ab"
