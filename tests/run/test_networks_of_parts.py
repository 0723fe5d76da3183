"""Parts that make networks: one stage of a user's writes them, another reads them, and the store treats them as data."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from memloc import sweep
from memloc.analysis.reading import read_table
from memloc.models.architectures import TRAINING
from memloc.run.pending import pending
from memloc.run.plan import Plan
from memloc.run.planner import build_plan
from memloc.stages import REGISTRY
from memloc.store import Commit, Store, bundle, compaction, exporting, importing, layout, records, removal
from memloc.store.verify import verify
from tests.conftest import carry_out

STAGES = """
from memloc.config import Count, StageConfig
from memloc.stages.base import Stage, WithNetwork
from memloc.stages.columns import FLOAT, INT, of_analysis

class DoubledConfig(StageConfig):
    times: Count = 2
    '''How many networks are made. [mine]'''

class Doubled(Stage):
    name, version = "doubled", 1
    config = DoubledConfig
    tables = {"doubled": of_analysis(("factor", INT))}
    def parts(self, config, train, size):
        return [{"factor": k + 1} for k in range(config.times)]
    def run(self, config, inputs, part):
        weights = {name: w * part["factor"] for name, w in inputs.weights(1).items()}
        return WithNetwork({"doubled": {"factor": [part["factor"]]}}, weights, 1)

class SummedConfig(StageConfig):
    last: Count | None = None
    '''The number of networks. [mine]'''

class Summed(Stage):
    name, version = "summed", 1
    config = SummedConfig
    reads = ("doubled",)
    tables = {"summed": of_analysis(("factor", INT), ("total", FLOAT))}
    def completed(self, config, read):
        return SummedConfig(last=read["doubled"].times)
    def parts(self, config, train, size):
        return [{"network": k} for k in range(config.last)]
    def run(self, config, inputs, part):
        made = inputs.networks[part["network"]]
        total = float(made.weights()["linear.weight"].double().sum())
        return {"summed": {"factor": [made.part["factor"]], "total": [total]}}

A, B = Doubled(), Summed()
"""
SWEEP = """
plugins: [two.py]
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 40, epochs: 1, batch_size: 32}
blocks: {all: {stages: {summed: {}, doubled: {times: 3}}}}
"""


def planned(folder: Path) -> Plan:
    (folder / "two.py").write_text(STAGES)
    (folder / "mine.yaml").write_text(SWEEP)
    loaded = sweep.load(folder / "mine.yaml", REGISTRY)
    return build_plan(loaded, loaded.entries, folder)


def computed(plan: Plan, store: Store, folder: Path) -> list[str]:
    """Carries out what is left of the plan; the stages of the parts that were computed, in order."""
    ended: list[str] = []
    works = pending(plan, store, store.snapshot(), "all")
    outcome = carry_out(works, store, folder, lambda e: ended.append(e.stage) if e.kind == "part" else None)
    assert outcome.failures == {}
    return ended


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return planned(tmp_path)


@pytest.fixture
def store(tmp_path: Path, plan: Plan) -> Store:
    store = Store(str(tmp_path / "store"))
    records.write_sweep(store.files, plan.name, plan.record())
    assert computed(plan, store, tmp_path) == ["doubled"] * 3 + ["summed"] * 3
    return Store(store.uri)


def makers(store: Store) -> list[Commit]:
    return sorted((c for c in store.snapshot().commits.values() if c.stage == "doubled"), key=lambda c: c.nth)


def rows(store: Store) -> list[dict[str, object]]:
    return [{k: row[k] for k in ("factor", "total")} for row in read_table(store, "summed").to_pylist()]


def test_a_network_is_a_file_of_its_part_that_another_stage_reads(store: Store) -> None:
    (trial,) = store.snapshot().trainings()
    first = load(store.files.get(layout.checkpoint(trial, 1)))["linear.weight"]
    for factor, commit in enumerate(makers(store), start=1):
        (entry,) = commit.checkpoints
        content = store.files.get(entry.path)
        assert entry.path == f"checkpoints/{commit.id}/epoch-0001.safetensors"
        assert (entry.size, entry.sha256) == (len(content), layout.sha256(content))
        assert torch.equal(load(content)["linear.weight"], first * factor)
    assert rows(store) == [{"factor": k, "total": float((first * k).double().sum())} for k in (1, 2, 3)]


def test_parts_follow_from_what_is_read(plan: Plan) -> None:
    (summed,) = [a for a in plan.trials[0].analyses if a.stage == "summed"]
    assert (summed.config.last, len(summed.parts)) == (3, 3)


@pytest.mark.parametrize("harm", ["changed", "gone", "shorter"])
def test_a_damaged_network_is_made_again_and_nothing_else(store: Store, plan: Plan, tmp_path: Path, harm: str) -> None:
    before, path = rows(store), Path(store.uri) / makers(store)[1].checkpoints[0].path
    content = path.read_bytes()
    damaged = {"changed": content[:-1] + bytes([content[-1] ^ 1]), "shorter": content[:-1]}
    path.unlink() if harm == "gone" else path.write_bytes(damaged[harm])
    if harm == "changed":  # its size tells nothing
        (broken,), _ = verify(store.files)
        assert broken.path == str(path.relative_to(store.uri))
        assert "doubled {'factor': 2}" in broken.consequence
    assert computed(plan, Store(store.uri), tmp_path) == ["doubled"]
    assert path.read_bytes() == content
    assert rows(Store(store.uri)) == before
    assert verify(store.files)[0] == []


def test_what_reads_a_damaged_network_sets_its_part_aside(store: Store, plan: Plan, tmp_path: Path) -> None:
    before, maker = rows(store), makers(store)[0]
    path = Path(store.uri) / maker.checkpoints[0].path
    path.write_bytes(bytes(len(path.read_bytes())))
    reader = next(c for c in store.snapshot().commits.values() if c.stage == "summed" and c.nth == 0)
    (Path(store.uri) / store.snapshot().paths[reader.id]).unlink()
    outcome = carry_out(pending(plan, store, store.snapshot(), "all"), store, tmp_path)
    assert "was changed since it was committed" in next(iter(outcome.failures.values()))
    assert computed(plan, Store(store.uri), tmp_path) == ["doubled", "summed"]
    assert rows(Store(store.uri)) == before


def test_compaction_leaves_it_as_it_is(store: Store, plan: Plan, tmp_path: Path) -> None:
    before = rows(store)
    compacted = compaction.compact(store.files)
    assert compacted is not None
    assert compacted.parts == 1 + 3  # the training, and the parts that made nothing
    assert compaction.compact(store.files) is None
    after = Store(store.uri)
    assert [len(c.checkpoints) for c in makers(after)] == [1, 1, 1]
    assert rows(after) == before
    assert computed(plan, after, tmp_path) == []
    assert verify(after.files)[0] == []


def test_it_goes_with_an_export_and_with_a_removal(store: Store, plan: Plan, tmp_path: Path) -> None:
    before, snapshot = rows(store), store.snapshot()
    with (tmp_path / "one.zip").open("wb") as file:
        exporting.write(store, snapshot, exporting.Wanted(set(snapshot.trainings()), TRAINING.placeless), file)
    paths = [c.checkpoints[0].path for c in makers(store)]
    list(removal.remove(store.files, removal.plan(store.files, plan.name)))
    assert [path for path in paths if (Path(store.uri) / path).parent.exists()] == []
    other = Store(str(tmp_path / "other"))
    with bundle.opened(str(tmp_path / "one.zip")) as opened:
        importing.carry_out(other, opened, importing.plan(other, opened, other.snapshot()))
    assert rows(Store(other.uri)) == before
    assert verify(other.files)[0] == []
    assert computed(plan, Store(other.uri), tmp_path) == []
