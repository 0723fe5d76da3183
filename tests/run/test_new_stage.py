"""A stage added from outside: its file, an entry in the registry, a schema, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pytest

from memloc import sweep
from memloc.config import StageConfig, TrainConfig
from memloc.run import inline
from memloc.run.events import Event
from memloc.run.pending import pending
from memloc.run.plan import Plan
from memloc.run.planner import build_plan
from memloc.stages import STAGES
from memloc.stages.base import Inputs, Part, Size, Stage, Tables
from memloc.store import Store, schemas
from tests.run.programs import contents


class CountConfig(StageConfig):
    above: float = 0.0


class Count(Stage[CountConfig]):
    """Counts the training examples whose margin in `evaluation` is above a number: reads another stage's rows."""

    name: ClassVar[str] = "count"
    version: ClassVar[int] = 1
    tables: ClassVar[tuple[str, ...]] = ("counts",)
    reads: ClassVar[tuple[str, ...]] = ("evaluate",)
    config = CountConfig

    def resolve(self, config: CountConfig, train: TrainConfig, beside: Collection[str] = ()) -> CountConfig:
        return config

    def parts(self, config: CountConfig, train: TrainConfig, size: Size) -> Sequence[Part]:
        return [{"all": "all"}]

    def epochs(self, config: CountConfig, train: TrainConfig, part: Part) -> Sequence[int]:
        return []

    def passes(self, config: CountConfig, size: Size) -> float:
        return 0.0

    def rows(self, config: CountConfig, size: Size) -> Mapping[str, int]:
        return {"counts": 1}

    def run(self, config: CountConfig, inputs: Inputs, part: Part) -> Tables:
        margins = inputs.tables["predictions"]["margin"]
        known = len(inputs.tables["examples"]["example"])
        return {"counts": {"above": [sum(m > config.above for m in margins)], "known": [known]}}


@pytest.fixture
def with_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES, "count", Count())
    columns = [("analysis", pa.string()), ("trial", pa.string()), ("above", pa.int64()), ("known", pa.int64())]
    monkeypatch.setitem(schemas.TABLES, "counts", pa.schema(columns))


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
    loaded = sweep.load(path, STAGES)
    return build_plan(loaded, loaded.entries, folder)


@pytest.mark.usefixtures("with_stage")
def test_a_stage_that_reads_another(tmp_path: Path) -> None:
    store, events = Store(str(tmp_path / "store")), list[Event]()
    works = pending(plan(tmp_path), store, store.snapshot(), "all")
    outcome = inline.execute(works, store, tmp_path, events.append)
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
        patched.setattr(type(STAGES["evaluate"]), "run", broken)
        outcome = inline.execute(pending(plan(tmp_path), store, store.snapshot(), "all"), store, tmp_path, lambda e: None)
    assert list(outcome.failures.values()) == ["RuntimeError: no luck"]
    assert contents(tmp_path / "store")["counts"].num_rows == 0
    outcome = inline.execute(pending(plan(tmp_path), store, store.snapshot(), "all"), store, tmp_path, lambda e: None)
    assert outcome.failures == {}
    assert contents(tmp_path / "store")["counts"].num_rows == 1
