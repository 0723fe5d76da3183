"""The views of queries, against scikit-learn and loops."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from memloc import stages
from memloc.analysis.instruments import instruments
from memloc.analysis.observations import Observations
from memloc.analysis.pooled_draws import aucs_by_draws
from memloc.analysis.reader import known_tables
from memloc.analysis.reading import read_table, run_sql
from memloc.analysis.views import FLIP_COUNTS, FORGOTTEN, GRADIENT_LAYERS, LEADERBOARD
from memloc.store import Store, records
from tests.papers.maini2023.simulated import Simulated


@pytest.fixture
def simulated(tmp_path: Path) -> Simulated:
    return Simulated(tmp_path)


def rows(store: Store, sql: str) -> pd.DataFrame:
    frame: pd.DataFrame = run_sql(store, sql).to_pandas()
    return frame


def test_sums_of_gradients_do_not_depend_on_the_order_of_rows() -> None:
    """Five tensors of very different size: added in another order, the last digits would differ."""
    draw = np.random.default_rng(3)
    columns = ("sq_clean", "sq_noisy", "sq_control", "dot", "dot_control")
    sizes = {c: draw.lognormal(0, 8, 5) * (draw.choice([-1, 1], 5) if "dot" in c else 1) for c in columns}
    table = pd.DataFrame({"analysis": "a", "trial": "t", "epoch": 1, "layer": "l", "numel": [3, 7, 11, 5, 2], **sizes})
    found = set()
    for _ in range(30):
        connection = duckdb.connect()
        connection.register("gradients", table.sample(frac=1, random_state=draw))
        found.add(connection.execute(GRADIENT_LAYERS).fetchone())
    assert len(found) == 1


def test_auc_by_the_number_of_repeats(simulated: Simulated) -> None:
    """Few distinct counts, so that many are tied; some searches censored or not eligible; two analyses of one training."""
    trial, generator = simulated.training(n=60, noise=0.4), np.random.default_rng(0)
    expected = {}
    for most in (9, 200):
        table = [
            (e, r, e < 24, generator.random() < 0.9, int(generator.integers(1, 5))) for r in range(3) for e in range(60)
        ]
        frame = pd.DataFrame(table, columns=["example", "repeat", "noisy", "eligible", "count"])
        frame["censored"] = generator.random(len(frame)) < 0.1
        config = {"max_neurons": most, "clean": 36, "noisy": 24, "repeats": 3}
        analysis = simulated.analysis(trial, "flips", config, flips={c: frame[c].tolist() for c in frame})
        frame["count"] = frame["count"].where(~frame["censored"], most)
        for k in (1, 2, 3):
            means = (
                frame[frame["eligible"] & (frame["repeat"] < k)].groupby("example").agg({"count": "mean", "noisy": "first"})
            )
            expected[analysis, k, len(means)] = roc_auc_score(means["noisy"].astype(bool), -means["count"])
    found = rows(simulated.store, "SELECT * FROM flips_auc ORDER BY ALL")
    assert {(r["analysis"], r["repeats"], r["n"]): r["auc"] for r in found.to_dict("records")} == pytest.approx(expected)


def test_auc_by_the_number_of_trainings_and_repeats(simulated: Simulated) -> None:
    """30 seeds × 1 repeat, 1 seed × 30 repeats and what is between; never pooled: data_seeds, settings, configurations."""
    generator, expected = np.random.default_rng(1), {}
    for width, seeds, repeats, data_seed, reference in (
        (1, 30, 1, 0, 16),
        (0.5, 1, 30, 0, 16),
        (0.25, 2, 3, 0, 16),
        (0.25, 2, 3, 1, 16),
        (0.25, 2, 3, 0, 64),
    ):
        given = []
        for seed in reversed(range(seeds)):
            trial = simulated.training(n=60, noise=0.4, seed=seed, data_seed=data_seed, width=width)
            table = [
                (seed, e, r, e < 24, generator.random() < 0.9, int(generator.integers(1, 5)))
                for r in range(repeats)
                for e in range(60)
            ]
            frame = pd.DataFrame(table, columns=["seed", "example", "repeat", "noisy", "eligible", "count"])
            frame["censored"] = generator.random(len(frame)) < 0.1
            config = {"max_neurons": 9, "clean": 36, "noisy": 24, "repeats": repeats, "reference": reference}
            columns = {c: frame[c].tolist() for c in frame if c != "seed"}
            simulated.analysis(trial, "flips", config, flips=columns)
            given.append(frame.assign(count=frame["count"].where(~frame["censored"], 9)))
        searches = pd.concat(given)
        order = {key: k for k, key in enumerate(sorted(set(zip(searches["seed"], searches["repeat"], strict=True))))}
        searches["draw"] = [order[key] for key in zip(searches["seed"], searches["repeat"], strict=True)]
        for k in range(1, len(order) + 1):
            of = searches[searches["eligible"] & (searches["draw"] < k)]
            means = of.groupby("example").agg({"count": "mean", "noisy": "first"})
            key = (width, data_seed, reference, k, len(means))
            expected[key] = roc_auc_score(means["noisy"].astype(bool), -means["count"])
    found = rows(
        simulated.store,
        """SELECT CAST(setting->>'width' AS DOUBLE) AS width, CAST(setting->>'data_seed' AS INTEGER) AS data_seed,
                  CAST(analysis_config->>'reference' AS INTEGER) AS reference, draws, n, auc, setting
           FROM flips_auc_pooled ORDER BY ALL""",
    )
    keys = ["width", "data_seed", "reference", "draws", "n"]
    assert {tuple(r[k] for k in keys): r["auc"] for r in found.to_dict("records")} == pytest.approx(expected)
    assert all("seed" not in json.loads(s) for s in found["setting"])
    with closing(simulated.reader()) as reader:
        observations = Observations(reader)
        for setting in observations.settings("flips"):
            pooled = aucs_by_draws(observations, list(setting.analyses.values()))
            reference = setting.variant.get("reference", 16)
            of = found[found["setting"].isin(pooled.index) & (found["reference"] == reference)]
            assert {k: row.dropna().tolist() for k, row in pooled.iterrows()} == {
                k: mine.sort_values("draws")["auc"].tolist() for k, mine in of.groupby("setting")
            }
    one = rows(
        simulated.store,
        "SELECT repeats, auc FROM flips_auc JOIN trials USING (trial) WHERE width = 0.5 ORDER BY repeats",
    )
    alone = found[found["width"] == 0.5]
    assert one["auc"].tolist() == alone["auc"].tolist()


@pytest.mark.parametrize("view", ["flips_auc", "flips_auc_pooled"])
def test_auc_of_one_class_is_nothing(simulated: Simulated, view: str) -> None:
    simulated.flips(simulated.training(), {True: [3] * 4, False: []})
    assert rows(simulated.store, f"SELECT auc FROM {view}")["auc"].isna().tolist() == [True]


def test_the_leaderboard_has_every_example_once_with_its_scores(simulated: Simulated) -> None:
    """Of several flips those with most searches; predictions of the last epoch, mode plain."""
    trial, other = simulated.training(n=20), simulated.training(n=20, seed=1, evaluated=None)
    simulated.flips(trial, {True: [50], False: [50]})
    simulated.flips(trial, {True: [3, 4], False: [7, 8, 9]}, repeats=2)
    for epoch, margin in ((30, -1.0), (50, 1.5)):
        told = {"mode": ["plain"] * 20, "rescale": ["none"] * 20, "example": range(20), "correct": [margin > 0] * 20}
        simulated.analysis(trial, "evaluate", {"epoch": epoch}, predictions={**told, "margin": [margin] * 20})
    found = rows(simulated.store, "SELECT * FROM leaderboard ORDER BY trial, example")
    assert len(found) == 40
    mine = found[found["trial"] == trial].reset_index(drop=True)
    assert mine["flips"].dropna().tolist() == [3, 4, 7, 8, 9]
    assert mine["flips"].dropna().index.tolist() == [0, 1, 2, 3, 4]
    assert mine["margin"].tolist() == [1.5] * 20
    assert mine["correct"].tolist() == [True] * 20
    rest = found[found["trial"] == other]
    assert rest[["flips", "correct", "margin", "c_score", "second_split"]].isna().all().all()
    examples = read_table(simulated.store, "examples").to_pandas().sort_values(["trial", "example"]).reset_index(drop=True)
    assert found["learning_time"].tolist() == examples["learning_time"].tolist()
    assert found["noisy"].tolist() == examples["noisy"].tolist()


def test_the_leaderboard_has_every_column_of_examples(tiny: Path) -> None:
    store = Store(str(tiny))
    examples = read_table(store, "examples")
    ranked = read_table(store, "leaderboard").select(examples.column_names)
    order = [("trial", "ascending"), ("example", "ascending")]
    assert ranked.sort_by(order).to_pylist() == examples.sort_by(order).to_pylist()
    assert examples["mean_prob"].null_count == 0


def test_a_censored_search_counts_all_that_it_was_allowed_everywhere(simulated: Simulated) -> None:
    """With `choose: positive` a search may end, censored, after few: in the view, the summary, Figure 5 and the claims."""
    trial = simulated.training()
    search = {"example": [0, 1, 50, 51], "repeat": [0] * 4, "noisy": [True, True, False, False], "layers": [["a"]] * 4}
    counted = {"eligible": [True, True, True, False], "count": [2, 4, 4, 0], "censored": [False, True, True, False]}
    config = {"estimator": "fast", "max_neurons": 200, "clean": 2, "noisy": 2, "repeats": 1, "choose": "positive"}
    simulated.analysis(trial, "flips", config, flips={**search, **counted})
    counts = rows(simulated.store, "SELECT example, noisy, neurons, censored FROM flip_counts ORDER BY example")
    assert counts.to_numpy().tolist() == [[0, True, 2, False], [1, True, 200, True], [50, False, 200, True]]
    (flips,) = [f for f in stages.instruments() if f.stage == "flips"]
    table = rows(simulated.store, f"SELECT {flips.columns} FROM {flips.table} GROUP BY ALL ORDER BY ALL")
    assert table[["neurons", "below_10"]].to_numpy().tolist() == [[200.0, 0.0], [101.0, 0.5]]
    found = simulated.judged()
    assert (found["F1.noisy"].ours, found["F1.clean"].ours, found["F2"].ours) == (101, 200, 0.5)


def test_scores_of_tables_that_a_store_may_have() -> None:
    """Second-split times are joined by training, C-scores by data set."""
    there = known_tables()
    with duckdb.connect(":memory:") as connection:
        for name, schema in there.items():
            connection.register(name, schema.empty_table())
        one, two = ({"trial": t, "example": 7, "noisy": False} for t in ("t", "u"))
        connection.register("examples", pa.Table.from_pylist([one, two], schema=there["examples"]))
        own = {"data_seed": 3, "wrong": "uniform"}
        trials = [
            {"trial": trial, "dataset": dataset, "epochs": 5, "noise": 0.1, "data_seed": 3, "config": json.dumps(own)}
            for trial, dataset in (("t", "mnist"), ("u", "svhn"))
        ]
        connection.register("trials", pa.Table.from_pylist(trials, schema=there["trials"]))
        split = [{"analysis": a, "trial": "t", "example": 7, "time": time} for a, time in (("b", 9), ("a", 4))]
        connection.register("second_split", pa.Table.from_pylist(split, schema=there["second_split"]))
        # Two sets on its labels (the larger counts), and larger ones on other labels.
        others = [{"data_seed": 4}, {"wrong": "offset"}, {"noise_count": "floor"}, {"subset": 100}]
        sets = [("b", 0.1, 9, {}, 0.25), ("a", 0.1, 8, {}, 0.5), ("c", 0.0, 10, {}, 0.75)]
        sets += [(f"d{k}", 0.1, 10, other, 1.0) for k, other in enumerate(others)]
        scores = [
            {
                "scores": i, "dataset": "svhn", "noise": noise, "example": 7, "c_score": c, "memorization": 0.5,
                "config": json.dumps({**own, **other, "held_out": {"ratios": [0.5, 0.7], "min_held_out": least}}),
            }
            for i, noise, least, other, c in sets
        ]  # fmt: skip
        connection.register("c_scores", pa.Table.from_pylist(scores, schema=there["c_scores"]))
        connection.execute(f"CREATE VIEW flip_counts AS {FLIP_COUNTS}")
        found = connection.sql(f"SELECT trial, second_split, c_score, memorization FROM ({LEADERBOARD}) ORDER BY trial")
        assert found.fetchall() == [("t", 4, None, None), ("u", None, 0.25, 0.5)]


def test_forgotten_are_the_clean_examples_that_dropping_costs() -> None:
    """Five examples of one training; the second set of C-scores is on other labels."""
    predictions = [
        {"analysis": "a", "trial": "t", "mode": mode, "rescale": rescale, "example": e, "predicted": 9, "correct": right}
        for e, own, dropped in ((0, True, True), (1, True, False), (2, False, False), (3, True, False), (4, True, False))
        for mode, rescale, right in (("own", "none", own), ("dropped", "none", dropped), ("dropped", "authors", not dropped))
    ]
    examples = [{"trial": "t", "example": e, "label": e, "noisy": e == 3, "learning_time": 10 + e} for e in range(5)]
    scores = [
        {
            "scores": i, "dataset": "digits", "noise": noise, "example": 1, "c_score": c,
            "config": json.dumps({"data_seed": 0, "held_out": {"ratios": [0.7], "min_held_out": least}, **subset}),
        }
        for i, noise, least, subset, c in (
            ("a", 0.1, 9, {}, 0.9), ("b", 0.0, 5, {}, 0.4), ("c", 0.0, 4, {}, 0.6), ("d", 0.0, 9, {"subset": 3}, 0.7),
        )
    ]  # fmt: skip
    rows = {
        "predictions": predictions, "examples": examples, "c_scores": scores,
        "trials": [{"trial": "t", "dataset": "digits", "noise": 0.1, "config": json.dumps({"data_seed": 0})}],
    }  # fmt: skip
    with duckdb.connect(":memory:") as connection:
        for name, of_table in rows.items():
            connection.register(name, pa.Table.from_pylist(of_table, schema=known_tables()[name]))
        found = connection.sql(
            f"SELECT example, label, predicted, learning_time, c_score FROM ({FORGOTTEN}) ORDER BY example"
        )
        assert found.fetchall() == [(1, 1, 9, 11, 0.4), (4, 4, 9, 14, None)]


def test_the_query_of_an_instrument_names_which_examples_are_meant(simulated: Simulated) -> None:
    """Noisy columns of a training without noise are of atypical examples: the label says so."""
    given, groups = [], {"a": 0.5, "b": 0.9}
    for noise, config in ((0.1, {"memorized": "labels"}), (0.0, {"memorized": "c_score:0123"})):
        trial = simulated.training(noise=noise)
        given.append((trial, simulated.rewind(trial, groups, **config)))
    commits = simulated.store.snapshot().commits.values()
    trials = [
        {
            "trial": trial,
            "config": {},
            "blocks": ["b"],
            "analyses": [
                {"analysis": a, "stage": "rewind", "config": {}, "parts": [c.id for c in commits if c.analysis == a]}
            ],
        }
        for trial, a in given
    ]
    records.write_sweep(simulated.store.files, "mine", trials)
    (rewind,) = [f for f in instruments(simulated.store, "mine") if "(§5.1)" in f.title]
    rows = run_sql(simulated.store, rewind.sql).to_pandas()
    named = rows[["noise", "rewind_memorized"]].drop_duplicates().to_records(index=False).tolist()
    assert named == [(0.0, "c_score:0123"), (0.1, "labels")]
