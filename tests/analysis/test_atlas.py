"""The views `atlas` and `atlas_agreement`, against loops over rows and scipy."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy.stats import norm, spearmanr

from memloc.analysis.atlas import of_tables
from memloc.analysis.reading import run_sql
from memloc.stages.columns import FLOAT, INT, TEXT, of_analysis
from memloc.store import Store
from tests.conftest import run_inline
from tests.papers.maini2023.simulated import Simulated

N, NOISY, T = 40, 8, 50
LAYERS = ["a", "b.1", "b.2", "c", "d"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """One training with every kind of analysis that names layers or neurons."""
    simulated, draw = Simulated(tmp_path_factory.mktemp("atlas")), np.random.default_rng(2)
    trial = simulated.training(n=N, noise=NOISY / N)
    simulated.rewind(trial, dict(zip(LAYERS, (0.9, 0.2, 0.4, 0.6, 1.0), strict=True)))
    simulated.retrain(trial, dict(zip(LAYERS, ([1.0, 0.9], [1.0, 0.1, 0.3], [0, 0.5], [0, 0.45], [0, 0.95]), strict=True)))
    examples = [e for e in range(20) for _ in range(2)]
    lists = [draw.choice(LAYERS[:4], draw.integers(0, 5)).tolist() for _ in examples]
    flips = {
        "example": examples,
        "repeat": [0, 1] * 20,
        "noisy": [e < NOISY for e in examples],
        "eligible": [k % 7 != 3 for k in range(40)],
        "count": [len(of) for of in lists],
        "censored": [False] * 40,
        "layers": lists,
        "indices": [draw.permutation(12)[: len(of)].tolist() for of in lists],
    }
    simulated.analysis(trial, "flips", {"clean": 12, "noisy": 8, "repeats": 2, "max_neurons": 200}, flips=flips)
    sites = ["input", "a", "b", "c", "softmax"]
    probes = {"epoch": [T] * 5, "depth": range(5), "site": sites, "probe": ["knn"] * 5}
    depth = {"epoch": [T] * N, "example": range(N), "depth": draw.integers(0, 6, N)}
    simulated.analysis(trial, "depth", {"epochs": [T], "neighbours": 10, "support": 5000}, depth=depth, probes=probes)
    edited = {
        "epoch": [T] * 5,
        "groups": ["inner", "b.1", "c", "c", "c"],
        "rank": ["kfac", "kfac", "kfac", "svd", "kfac"],
        "rho": [0.9, 0.9, 0.9, 0.9, 0.8],
        "bn": ["final"] * 5,
        "images": ["train"] * 5,
        "noisy_acc": [0.1, 0.7, 0.4, 0.3, 0.2],
    }
    simulated.analysis(trial, "edit", {"epochs": [T]}, edits=edited)
    named = [(e, method) for e in (0, 1, 30) for method in ("zero_out", "flips", "random")]
    orders = [[(str(layer), int(unit)) for layer in LAYERS[:4] for unit in range(4)] for _ in named]
    orders = [[order[k] for k in draw.permutation(len(order))] for order in orders]
    located = {
        "example": [e for e, _ in named],
        "noisy": [e < NOISY for e, _ in named],
        "method": [method for _, method in named],
        "control": [method == "random" for _, method in named],
        "layers": [[layer for layer, _ in order] for order in orders],
        "indices": [[unit for _, unit in order] for order in orders],
    }
    simulated.analysis(trial, "locate", {"truth": "deleted"}, located=located)
    units = [(layer, unit) for layer in LAYERS[:4] for unit in range(12)]
    values = [None if k == 5 else float(v) for k, v in enumerate(draw.uniform(0, 1, len(units)))]
    described = {
        "epoch": [T] * len(units),
        "layer": [layer for layer, _ in units],
        "unit": [unit for _, unit in units],
        "unit_mem": values,
        "class_mem": draw.uniform(0, 1, len(units)),
    }
    simulated.analysis(trial, "units", {"epochs": [T], "copies": 10, "augment": "crop", "close": 0.05}, units=described)
    return simulated


def rows(made: Simulated, sql: str) -> pd.DataFrame:
    frame: pd.DataFrame = run_sql(made.store, sql).to_pandas()
    return frame


def scores(made: Simulated, method: str, where: str) -> dict[Any, float]:
    found = rows(made, f"SELECT layer, unit, example, score FROM atlas WHERE method = '{method}' AND {where}")
    return {
        (r.layer, None if pd.isna(r.unit) else int(r.unit), None if pd.isna(r.example) else int(r.example)): r.score
        for r in found.itertuples()
    }


def of_flips(made: Simulated, value: Any) -> dict[Any, float]:
    """By a loop over searches: {(layer, unit or None, example): the mean over eligible searches}."""
    searches = rows(made, "SELECT * FROM flips WHERE eligible").to_dict("records")
    totals: dict[Any, float] = {}
    for one in searches:
        of = sum(other["example"] == one["example"] for other in searches)
        for place, (layer, unit) in enumerate(zip(one["layers"], one["indices"], strict=True), start=1):
            key = (layer, unit if value == "place" else None, one["example"])
            totals[key] = totals.get(key, 0.0) + (1 / place if value == "place" else 1 / len(one["layers"])) / of
    return totals


def test_flips_by_a_loop_over_searches(made: Simulated) -> None:
    assert scores(made, "flips", "unit IS NULL") == pytest.approx(of_flips(made, "share"))
    assert scores(made, "flips", "unit IS NOT NULL") == pytest.approx(of_flips(made, "place"))


def test_layers_of_the_other_methods(made: Simulated) -> None:
    left = dict(zip(LAYERS, (0.9, 0.2, 0.4, 0.6, 1.0), strict=True))
    assert scores(made, "rewinding", "true") == {(layer, None, None): pytest.approx(1 - v) for layer, v in left.items()}
    best = dict(zip(LAYERS, (0.9, 0.3, 0.5, 0.45, 0.95), strict=True))
    assert scores(made, "retraining", "true") == {(layer, None, None): pytest.approx(1 - v) for layer, v in best.items()}
    depths = rows(made, "SELECT example, depth FROM depth")
    expected = {(site, None, e): float("?abc".find(site) == d) for e, d in depths.to_numpy().tolist() for site in "abc"}
    assert scores(made, "depth", "true") == expected
    assert scores(made, "edit", "true") == {("b.1", None, None): pytest.approx(0.3), ("c", None, None): pytest.approx(0.6)}
    units = rows(made, "SELECT layer, unit, unit_mem FROM units").to_dict("records")
    assert scores(made, "unit_mem", "true") == {
        (u["layer"], u["unit"], None): pytest.approx(0.0 if pd.isna(u["unit_mem"]) else u["unit_mem"]) for u in units
    }


def test_orders_of_neurons_by_a_loop(made: Simulated) -> None:
    """A layer counts by its share of the first ten neurons, a neuron by its place."""
    for row in rows(made, "SELECT * FROM located WHERE method <> 'random'").itertuples():
        layers, neurons = (scores(made, f"locate.{row.method}", f"{test} AND example = {row.example}") for test in
                           ("unit IS NULL", "unit IS NOT NULL"))  # fmt: skip
        first = list(zip(row.layers, row.indices, strict=True))[:10]
        assert layers == {(x, None, row.example): pytest.approx(row.layers[:10].tolist().count(x) / 10) for x, _ in first}
        every = enumerate(zip(row.layers, row.indices, strict=True), start=1)
        assert neurons == {(x, u, row.example): pytest.approx(1 / k) for k, (x, u) in every}


def test_ranks_are_those_within_a_method_and_an_example(made: Simulated) -> None:
    found = rows(made, "SELECT * FROM atlas")
    for _, one in found.groupby(["method", "example", found["unit"].isna()], dropna=False):
        assert (one["rank"] == one["score"].rank(ascending=False, method="min")).all()
    of_locate = {"locate.zero_out", "locate.flips"}  # no controls
    assert set(found["method"]) == {"rewinding", "retraining", "flips", "depth", "edit", "unit_mem", "class_mem"} | of_locate


def together(made: Simulated, method: str, value: str = "") -> dict[Any, float]:
    """{(layer, unit)}: the score of the mislabeled examples together."""
    found = of_flips(made, value) if method == "flips" else scores(made, method, "true")
    if all(example is None for *_, example in found):
        return {key[:2]: score for key, score in found.items()}
    wrong = {key: score for key, score in found.items() if key[2] < NOISY}
    count = len({example for *_, example in wrong})
    totals: dict[Any, float] = {}
    for key, score in wrong.items():
        totals[key[:2]] = totals.get(key[:2], 0.0) + score / count
    return totals


def agreement(made: Simulated, over: str) -> dict[tuple[str, str], Any]:
    found = rows(made, f"SELECT * FROM atlas_agreement WHERE \"over\" = '{over}'")
    return {(r.one, r.other): r for r in found.itertuples() if not f"{r.one}{r.other}".count("locate.")}


def test_agreement_over_layers(made: Simulated) -> None:
    """depth has block b where the others have b.1 and b.2; flips and depth have no layer d."""
    found, rewinding, flips = agreement(made, "layers"), together(made, "rewinding"), together(made, "flips", "share")
    assert set(found) == {
        ("depth", "flips"), ("depth", "retraining"), ("depth", "rewinding"), ("flips", "retraining"),
        ("flips", "rewinding"), ("retraining", "rewinding"), *(("edit", m) for m in ("flips", "retraining", "rewinding")),
        ("depth", "edit"),
    }  # fmt: skip
    both = [[of.get((layer, None), 0.0) for layer in LAYERS] for of in (flips, rewinding)]
    assert found["flips", "rewinding"].rho == pytest.approx(spearmanr(*both).statistic)
    assert found["flips", "rewinding"].n == 5
    depth = together(made, "depth")
    lost = [rewinding["a", None], (rewinding["b.1", None] + rewinding["b.2", None]) / 2, *(rewinding[k, None] for k in "cd")]
    resolved = [depth.get((layer, None), 0.0) for layer in "abcd"]
    assert found["depth", "rewinding"].rho == pytest.approx(spearmanr(resolved, lost).statistic)
    for one in found.values():
        assert -1 <= one.lo < 0 < one.hi <= 1
        assert 0 < one.p <= 1


def test_permutations_of_layers(made: Simulated) -> None:
    """Against all permutations: retraining and rewinding without ties."""
    one = agreement(made, "layers")["retraining", "rewinding"]
    mine, other = ([together(made, m)[layer, None] for layer in LAYERS] for m in ("retraining", "rewinding"))
    every = [spearmanr(mine, order).statistic for order in permutations(other)]
    assert one.rho == pytest.approx(spearmanr(mine, other).statistic)
    assert one.p == pytest.approx(np.mean(np.abs(every) >= abs(one.rho) - 1e-9), abs=0.05)
    assert (one.lo, one.hi) == pytest.approx(tuple(np.quantile(every, (0.025, 0.975))), abs=0.15)


def within(of: dict[Any, float], keys: list[Any]) -> np.ndarray:
    """Ranks within layers, from −½ to ½."""
    frame = pd.DataFrame({"layer": [layer for layer, _ in keys], "score": [of.get(key, 0.0) for key in keys]})
    by_layer = frame.groupby("layer")["score"]
    ranks: np.ndarray = (by_layer.rank() / (1 + by_layer.transform("size")) - 0.5).to_numpy()
    return ranks


def test_agreement_over_neurons_is_within_layers(made: Simulated) -> None:
    found = agreement(made, "neurons")
    assert set(found) == {("class_mem", "flips"), ("class_mem", "unit_mem"), ("flips", "unit_mem")}
    flips, units = together(made, "flips", "place"), together(made, "unit_mem")
    layers = {layer for layer, _ in flips}
    keys = [key for key in units if key[0] in layers]
    expected = np.corrcoef(within(flips, keys), within(units, keys))[0, 1]
    assert found["flips", "unit_mem"].rho == pytest.approx(expected)
    assert found["flips", "unit_mem"].n == len(keys)
    assert found["class_mem", "unit_mem"].n == 48


def test_permutations_of_neurons(made: Simulated) -> None:
    """Against permutations within layers."""
    units = together(made, "unit_mem")
    keys, pair = list(units), agreement(made, "neurons")["class_mem", "unit_mem"]
    one, other = within(units, keys), within(together(made, "class_mem"), keys)
    layers = np.array([layer for layer, _ in keys])
    draw, drawn = np.random.default_rng(0), []
    for _ in range(2000):
        order = np.concatenate([draw.permutation(np.flatnonzero(layers == layer)) for layer in dict.fromkeys(layers)])
        drawn.append(np.corrcoef(one, other[order])[0, 1])
    assert (pair.lo, pair.hi) == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.02)
    assert pair.hi == pytest.approx(1.96 * np.std(drawn), rel=0.05)
    assert pair.p == pytest.approx(np.mean(np.abs(drawn) >= abs(pair.rho)), abs=0.03)
    assert pair.p == pytest.approx(2 * norm.sf(abs(pair.rho) / (pair.hi / norm.ppf(0.975))), abs=2e-7)


def test_orders_of_neurons_agree_with_the_others_too(made: Simulated) -> None:
    """Methods of locate have examples of their own."""
    found = rows(made, "SELECT * FROM atlas_agreement WHERE \"over\" = 'neurons'")
    (pair,) = found[(found["one"] == "flips") & (found["other"] == "locate.zero_out")].itertuples()
    flips, named = together(made, "flips", "place"), {}
    for row in rows(made, f"SELECT * FROM located WHERE method = 'zero_out' AND example < {NOISY}").itertuples():
        for place, key in enumerate([*zip(row.layers, row.indices, strict=True)], start=1):
            named[key] = named.get(key, 0.0) + 1 / place / 2
    layers = {layer for layer, _ in flips} & {layer for layer, _ in named}
    keys = sorted(key for key in flips.keys() | named.keys() if key[0] in layers)
    assert pair.rho == pytest.approx(np.corrcoef(within(flips, keys), within(named, keys))[0, 1])
    assert pair.n == len(keys)


def test_an_analysis_of_clean_examples_alone_says_nothing_of_mislabeled_ones(tmp_path: Path) -> None:
    simulated = Simulated(tmp_path)
    trial = simulated.training(n=N, noise=NOISY / N)
    for example in (30, 0):  # a clean one, a mislabeled one
        one = {"example": [example], "repeat": [0], "noisy": [example < NOISY], "eligible": [True], "count": [3],
               "censored": [False], "layers": [["a", "b.1", "b.2"]], "indices": [[0, 1, 2]]}  # fmt: skip
        clean = int(example >= NOISY)
        config = {"clean": clean, "noisy": 1 - clean, "repeats": 1, "max_neurons": 200}
        simulated.analysis(trial, "flips", config, flips=one)
    simulated.rewind(trial, dict.fromkeys(LAYERS, 0.5) | {"a": 0.1})
    (pair,) = rows(simulated, "SELECT * FROM atlas_agreement").itertuples()
    assert (pair.one, pair.other, pair.n) == ("flips", "rewinding", 5)


@pytest.mark.filterwarnings("ignore:.*several versions")
def test_of_two_versions_of_a_stage_the_newer_one_counts(tmp_path: Path) -> None:
    """Whichever id comes first: some older ids come before their newer ones, others after."""
    simulated, firsts = Simulated(tmp_path), set()
    for seed in range(6):
        trial = simulated.training(n=N, noise=NOISY / N, seed=seed)
        simulated.retrain(trial, {layer: [0.0, k / 10] for k, layer in enumerate("abcd")})
        ids = [
            simulated.analysis(
                trial,
                "rewind",
                {"epochs": [0, 50], "buffers": "final"},
                version=version,
                rewind={"layer": list("abcd"), "epoch": [0] * 4, "noisy_acc": [abs(k - flipped) / 10 for k in range(4)]},
            )
            for version, flipped in ((1, 3), (2, 0))  # the newer one agrees with retraining
        ]
        firsts.add(ids[0] < ids[1])
    agreements = rows(simulated, "SELECT * FROM atlas_agreement")["rho"].tolist()
    assert firsts == {True, False}
    assert agreements == [pytest.approx(1.0)] * 6


def test_layers_that_both_name_are_compared_as_themselves(tmp_path: Path) -> None:
    """Although one method names their block as well, which the other does not: there it has 0."""
    simulated = Simulated(tmp_path)
    trial = simulated.training(n=N, noise=NOISY / N)
    left = {"b": 0.9, "b.1": 0.2, "b.2": 0.4, "x": 0.1}
    simulated.rewind(trial, left)
    simulated.retrain(trial, {layer: [0.0, value] for layer, value in left.items() if layer != "b"})
    (pair,) = rows(simulated, "SELECT * FROM atlas_agreement").itertuples()
    lost = [1 - value for value in left.values()]
    assert pair.n == 4
    assert pair.rho == pytest.approx(spearmanr(lost, [0.0, *lost[1:]]).statistic)


def test_the_same_every_time(made: Simulated) -> None:
    first, again = (rows(made, "SELECT * FROM atlas_agreement ORDER BY ALL") for _ in range(2))
    assert first.equals(again)


def test_a_table_of_a_plugin_joins_by_its_columns() -> None:
    whole = of_analysis(("method", TEXT), ("layer", TEXT), ("unit", INT), ("example", INT), ("score", FLOAT))
    small = of_analysis(("layer", TEXT), ("score", FLOAT))
    others = {"words": of_analysis(("layer", TEXT), ("score", TEXT)), "moved": of_analysis(("layer", TEXT), ("x", FLOAT))}
    odd = {'a"b': small}
    assert of_tables({"whole": whole, "small": small, **others, **odd}) == [
        "SELECT analysis, trial, 'small' AS method, layer, NULL AS unit, NULL AS example, score FROM \"small\"",
        'SELECT analysis, trial, method, layer, unit, example, score FROM "whole"',
    ]
    assert of_tables({"t": pa.schema([("layer", pa.string()), ("score", pa.float64())])}) == []


PLUGIN = """
from memloc.stages.base import Stage
from memloc.stages.columns import FLOAT, INT, TEXT, of_analysis
class Guess(Stage):
    name, version = "guess", 1
    tables = {"guesses": of_analysis(("method", TEXT), ("layer", TEXT), ("example", INT), ("score", FLOAT))}
    def run(self, config, inputs, part):
        groups = list(inputs.network(0).groups)
        scores, wrong = [float(k) for k in range(9)], int(inputs.data.example[inputs.data.noisy][0])
        methods, examples = ["up"] * 9 + ["down"] * 9 + ["up"] * 9, [None] * 18 + [wrong] * 9
        values = scores + scores[::-1] + [40.0 - k * k for k in range(9)]
        return {"guesses": {"method": methods, "layer": groups * 3, "example": examples, "score": values}}
STAGE = Guess()
"""
SWEEP = """
plugins: [guess.py]
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 60, noise: 0.2, epochs: 1, batch_size: 32}
blocks: {one: {stages: {guess: {}}}}
"""


def test_a_plugin_in_a_store_joins(tmp_path: Path) -> None:
    """The reader does not know the stage: only its table's columns. What a method says of all together counts for all."""
    (tmp_path / "guess.py").write_text(PLUGIN)
    store = Store(str(tmp_path / "store"))
    run_inline(tmp_path, SWEEP, store)
    found = run_sql(store, "SELECT rank FROM atlas WHERE method = 'up' AND example IS NULL ORDER BY score").to_pylist()
    assert [row["rank"] for row in found] == list(range(9, 0, -1))
    (pair,) = run_sql(store, "SELECT one, other, rho, n FROM atlas_agreement").to_pylist()
    assert pair == {"one": "down", "other": "up", "rho": -1.0, "n": 9}
