"""A stage added from outside: a folder with its configuration, schema and computation, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from memloc import stages, sweep
from memloc.analysis.pooling import variant_of
from memloc.analysis.reader import known_tables
from memloc.analysis.reading import read_table, run_sql
from memloc.errors import UsageError
from memloc.run.events import Event
from memloc.run.pending import pending
from memloc.run.plan import Plan
from memloc.run.planner import build_plan
from memloc.run.retention import kept_epochs
from memloc.stages import REGISTRY, STAGES
from memloc.stages.base import Tables
from memloc.stages.evaluate import compute as evaluation
from memloc.store import Store
from tests.conftest import carry_out
from tests.run.programs import contents

OUTSIDE = Path(__file__).parent / "outside"


@pytest.fixture
def with_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder is all that is added: the registry finds it there as it finds memloc's own."""
    monkeypatch.setattr(stages, "__path__", [*stages.__path__, str(OUTSIDE)])
    monkeypatch.setitem(STAGES, "count", stages.discover()["count"])


SWEEP = """
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 100, noise: 0.1, epochs: 2, batch_size: 32}
blocks:
  reading:
    stages:
      count: {above: %s}
      evaluate: {%s}
"""


def plan(folder: Path, above: float = 0.0, evaluate: str = "") -> Plan:
    path = folder / "reading.yaml"
    path.write_text(SWEEP % (above, evaluate))
    loaded = sweep.load(path, REGISTRY)
    return build_plan(loaded, loaded.entries, folder)


@pytest.mark.usefixtures("with_stage")
def test_a_stage_that_reads_another(tmp_path: Path) -> None:
    store, events = Store(str(tmp_path / "store")), list[Event]()
    works = pending(plan(tmp_path), store, store.snapshot(), "all")
    outcome = carry_out(works, store, tmp_path, events.append)
    assert outcome.failures == {}
    # The stage stands first in the file, but what it reads is computed first.
    assert [e.stage for e in events if e.kind == "part"] == ["evaluate", "count"]
    tables = contents(tmp_path / "store")
    expected = sum(m > 0 for m in tables["predictions"]["margin"].to_pylist())
    assert tables["counts"].select(["above", "known"]).to_pylist() == [{"above": expected, "known": 100}]


@pytest.mark.usefixtures("with_stage")
def test_the_ids_of_what_is_read_enter(tmp_path: Path) -> None:
    def ids(p: Plan) -> dict[str, str]:
        return {a.stage: a.id for a in p.trials[0].analyses}

    base, same, other_read = ids(plan(tmp_path)), ids(plan(tmp_path)), ids(plan(tmp_path, evaluate="epoch: 1"))
    assert base == same
    assert base["count"] != other_read["count"]
    assert base["evaluate"] != other_read["evaluate"]
    assert ids(plan(tmp_path, above=0.5))["evaluate"] == base["evaluate"]
    assert ids(plan(tmp_path, above=0.5))["count"] != base["count"]


@pytest.mark.usefixtures("with_stage")
def test_what_reads_a_failed_part_is_left_for_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> Tables:
        raise RuntimeError("no luck")

    store = Store(str(tmp_path / "store"))
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "run", broken)
        outcome = carry_out(pending(plan(tmp_path), store, store.snapshot(), "all"), store, tmp_path)
    assert list(outcome.failures.values()) == ["RuntimeError: no luck"]
    assert contents(tmp_path / "store")["counts"].num_rows == 0
    outcome = carry_out(pending(plan(tmp_path), store, store.snapshot(), "all"), store, tmp_path)
    assert outcome.failures == {}
    assert contents(tmp_path / "store")["counts"].num_rows == 1


def test_its_table_is_read_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written where the stage is there, read where nobody knows it: the columns are those of the files."""
    store = Store(str(tmp_path / "store"))
    with monkeypatch.context() as patched:
        patched.setattr(stages, "__path__", [*stages.__path__, str(OUTSIDE)])
        patched.setitem(STAGES, "count", stages.discover()["count"])
        carry_out(pending(plan(tmp_path), store, store.snapshot(), "all"), store, tmp_path)
        written = read_table(store, "counts")
        schema = STAGES["count"].tables["counts"]
    assert "counts" not in known_tables()
    reader = Store(str(tmp_path / "store"))
    assert read_table(reader, "counts").equals(written)
    assert written.schema.equals(schema)
    (row,) = written.to_pylist()
    assert run_sql(reader, "SELECT * FROM counts").to_pylist() == [row]
    assert run_sql(reader, "SELECT stage FROM counts JOIN analyses USING (analysis)").to_pylist() == [{"stage": "count"}]


@pytest.mark.usefixtures("with_stage")
def test_what_its_fields_mean_is_known_by_their_types(tmp_path: Path) -> None:
    """Checkpoints beyond a shorter training go, `rewound` keeps the others, a path is relative to the sweep's file."""
    folder = tmp_path / "mine"
    folder.mkdir()
    path = folder / "reading.yaml"
    path.write_text(SWEEP.replace("epochs: 2", "epochs: 9") % ("0.5, seen: [3, 5, 7], examples: 'file:some.txt'", ""))
    loaded = sweep.load(path, REGISTRY, ["epochs=6"])
    assert loaded.notes == ("count.seen: 7 dropped, training ends at epoch 6",)
    (request,) = [r for r in loaded.entries[0].requests if r.stage == "count"]
    assert request.config.model_dump() == {"above": 0.5, "seen": (3, 5), "examples": f"file:{folder / 'some.txt'}"}
    (trial,) = build_plan(loaded, loaded.entries, tmp_path).trials
    assert kept_epochs(trial, "rewound") == {0, 3, 5, 6}


@pytest.mark.usefixtures("with_stage")
def test_what_does_not_fit_the_data_or_the_network_is_told_at_its_field(tmp_path: Path) -> None:
    """When planned, once for all trainings of a block."""
    with pytest.raises(UsageError) as caught:
        plan(tmp_path, above=1000.0)
    assert caught.value.problems == (
        f"{tmp_path}/reading.yaml:6:blocks.reading.stages.count.above: 1000.0: above 100 examples and 164 neurons",
    )


@pytest.mark.usefixtures("with_stage")
def test_how_much_is_measured_makes_no_other_setting() -> None:
    assert variant_of("count", {"above": 0.5, "seen": [3, 5]}, 5) == {"above": 0.5}
