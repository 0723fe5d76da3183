"""Labels that are wrong as given are treated as if the same wrong labels had been drawn: every table is the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pytest

from memloc.analysis.reading import read_table, run_sql
from memloc.commands.summary import summary
from memloc.data import load, prepare
from memloc.errors import UsageError
from memloc.models.architectures import resolved
from memloc.papers.judging import judge
from memloc.papers.registry import paper
from memloc.stages import STAGES, tables
from memloc.store import Store
from tests.conftest import planned, run_inline
from tests.every_stage import blocks

SWEEP = """
defaults: {dataset: "npz:FILE", model: resnet9, width: 0.0625, epochs: 2, batch_size: 25, NOISE}
"""
# It puts wrong labels of its own into a network, so it is refused where labels are wrong already.
REFUSED = {"inject"}
RUN = sorted(set(STAGES) - REFUSED)
TABLES = [name for stage in RUN for name in STAGES[stage].tables]
EMPTY = {"located"}  # after two epochs no label is memorized, so no method is asked where one is
RATE = 0.1


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    """{"drawn": wrong labels are drawn, "given": the file has the same ones}."""
    folder = tmp_path_factory.mktemp("given")
    raw = load("digits")
    x, y = raw.x_train[:100, 0], raw.y_train[:100]
    test = {"x_test": raw.x_test[:20, 0], "y_test": raw.y_test[:20]}
    np.savez(folder / "drawn.npz", x_train=x, y_train=y, **test)
    drawn = resolved(dataset=f"npz:{folder}/drawn.npz", model="resnet9", noise=RATE)
    data = prepare(load(drawn.source), drawn)
    np.savez(folder / "given.npz", x_train=x, y_train=data.y, y_true=y, **test)
    made = {}
    for name, noise in (("drawn", f"noise: {RATE}"), ("given", "noise: 0")):
        made[name] = Store(str(folder / name))
        text = SWEEP.replace("FILE", f"{name}.npz").replace("NOISE", noise)
        run_inline(folder, text + blocks(RUN), made[name], "sweep")
    return made


def rows(store: Store, table: str) -> pa.Table:
    """Without ids; those of the training on all examples come first, then those that hold some out."""
    whole = read_table(store, table, None, False)
    ids = run_sql(store, "SELECT trial FROM trials ORDER BY ratio NULLS FIRST, cut", None, False)["trial"].to_pylist()
    whole = pa.concat_tables([whole.filter(pa.compute.equal(whole["trial"], one)) for one in ids])
    return whole.drop_columns([c for c in ("trial", "analysis", "seconds") if c in whole.column_names])


def test_every_stage_of_the_registry_runs(stores: dict[str, Store]) -> None:
    for store in stores.values():
        assert {commit.stage for commit in store.snapshot().commits.values()} == {"train", *RUN}


@pytest.mark.parametrize("stage", sorted(REFUSED))
def test_what_does_not_run_says_why(stores: dict[str, Store], stage: str) -> None:
    folder = Path(stores["given"].uri).parent
    with pytest.raises(UsageError, match="put into a training without wrong labels, and 10 labels are wrong as given"):
        planned(folder, SWEEP.replace("FILE", "given.npz").replace("NOISE", "noise: 0") + blocks([stage]))


@pytest.mark.parametrize("table", ["epochs", "examples", *TABLES])
def test_every_table_is_the_same(stores: dict[str, Store], table: str) -> None:
    drawn, given = (rows(stores[name], table) for name in ("drawn", "given"))
    assert drawn.num_rows > 0 or table in EMPTY
    assert drawn.equals(given)


def test_rows_of_examples_say_which_labels_are_wrong_as_given(stores: dict[str, Store]) -> None:
    with np.load(Path(stores["given"].uri).parent / "given.npz") as file:
        wrong = np.flatnonzero(file["y_train"] != file["y_true"])
    assert len(wrong) == 10
    saying = [name for name in TABLES if {"example", "noisy"} <= set(tables()[name].names)]
    assert {"flips", "held_out", "localization", "units"} <= set(saying)
    for name in ["examples", *saying]:
        of_examples = read_table(stores["given"], name).to_pandas().dropna(subset=["example"])
        assert (of_examples["noisy"] == of_examples["example"].isin(wrong)).all(), name
        assert of_examples["noisy"].any() or name in EMPTY, name


def test_the_closing_summary_is_the_same(stores: dict[str, Store]) -> None:
    drawn, given = (summary(stores[name], "sweep") for name in ("drawn", "given"))
    assert len(drawn.splitlines()) > 3
    assert drawn == given


@pytest.mark.parametrize("written", ["true", "'true'"])
def test_the_true_labels_are_asked_for_as_the_pages_say(tmp_path: Path, written: str) -> None:
    """In YAML `true` is no text."""
    x, y = np.zeros((40, 16, 16), dtype=np.uint8), np.arange(40) % 4
    np.savez(tmp_path / "mine.npz", x_train=x, y_train=np.roll(y, 1), y_true=y)
    fields = f"dataset: 'npz:mine.npz', model: resnet9, width: 0.0625, epochs: 1, labels: {written}"
    (trial,) = planned(tmp_path, f"defaults: {{{fields}}}\nblocks: {{a: {{stages: {{evaluate: {{}}}}}}}}").trials
    assert trial.config.source.labels == "true"  # type: ignore[attr-defined]


def test_the_share_of_wrong_labels_is_told(stores: dict[str, Store]) -> None:
    wrong = "(SELECT count_if(noisy)::INT FROM examples AS e WHERE e.trial = t.trial) AS wrong"
    sql = f"SELECT noise, given_noise, labels, {wrong} FROM trials AS t WHERE ratio IS NULL"
    assert run_sql(stores["given"], sql, None, False).to_pylist() == [
        {"noise": 0.0, "given_noise": RATE, "labels": "given", "wrong": 10}
    ]
    assert run_sql(stores["drawn"], sql, None, False).to_pylist()[0]["given_noise"] is None


def test_the_scorecard_is_the_same(stores: dict[str, Store]) -> None:
    """Apart from the settings' names: given noise has a rate of its own. Two epochs memorize nothing, which it says."""
    judged = {
        name: sorted((j.claim, j.verdict, j.reason, j.ours is None) for j in judge(store, paper("maini2023"), None))
        for name, store in stores.items()
    }
    assert sum(verdict == "not_testable" for _, verdict, *_ in judged["drawn"]) > 5
    assert judged["given"] == judged["drawn"]
