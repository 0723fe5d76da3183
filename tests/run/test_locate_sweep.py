"""Injection and localization through plan, store and resume: the same bits whichever parts run when, one file a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from memloc import sweep
from memloc.analysis.instruments import instruments
from memloc.analysis.reading import run_sql
from memloc.run.pending import pending
from memloc.run.plan import Plan
from memloc.run.planner import build_plan
from memloc.stages import REGISTRY
from memloc.store import Store
from memloc.store.verify import verify
from tests.conftest import carry_out
from tests.run.programs import contents, encoded

SWEEP = """
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 100, epochs: 6, batch_size: 16}
blocks:
  injected:
    stages:
      inject: {networks: 2, items: 2, share: 0.05, steps: 25}
      locate: {methods: [gradient], evaluated: 10}
  tied:
    set: {noise: 0.1, dropout: example_tied, p_gen: 0.4, p_mem: 0.2}
    stages: {locate: {methods: [gradient], noisy: 2, clean: 2, evaluated: 10}}
"""
METHODS = {"gradient", "norm_out", "other_item", "random", "reference_only"}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    folder = tmp_path_factory.mktemp("locate")
    (folder / "locate.yaml").write_text(SWEEP)
    loaded = sweep.load(folder / "locate.yaml", REGISTRY)
    return build_plan(loaded, loaded.entries, folder)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> Store:
    folder = tmp_path_factory.mktemp("whole")
    store = Store(str(folder / "store"))
    outcome = carry_out(pending(plan, store, store.snapshot(), "all"), store, folder)
    assert outcome.failures == {}
    return Store(store.uri)


def test_a_row_per_item_and_method(whole: Store) -> None:
    accepted = run_sql(whole, "SELECT count(*) FILTER (accepted) AS n FROM injections").to_pylist()[0]["n"]
    rows = run_sql(whole, "SELECT truth, method, count(*) AS n FROM localization GROUP BY ALL").to_pylist()
    tied = {row["method"]: row["n"] for row in rows if row["truth"] == "tied"}
    injected = {row["method"]: row["n"] for row in rows if row["truth"] == "injected"}
    assert tied == dict.fromkeys(METHODS, 4)
    assert injected == (dict.fromkeys(METHODS, accepted) if accepted else {})
    assert run_sql(whole, "SELECT count(*) AS n FROM injections").to_pylist() == [{"n": 2 * 2}]
    assert run_sql(whole, "SELECT count(*) AS n FROM localization WHERE NOT (seconds > 0)").to_pylist() == [{"n": 0}]


def test_every_part_of_a_network_reads_the_same_file(whole: Store, plan: Plan) -> None:
    makers = [c for c in whole.snapshot().commits.values() if c.stage == "inject"]
    assert sorted(c.part["network"] for c in makers) == [0, 1]
    assert len({entry.sha256 for c in makers for entry in c.checkpoints}) == 2
    (locate,) = [a for t in plan.trials for a in t.analyses if a.stage == "locate" and a.reads]
    (inject,) = [a for t in plan.trials for a in t.analyses if a.stage == "inject"]
    assert locate.reads == (inject.id,)
    assert len(locate.parts) == 2 * len(METHODS)
    assert verify(whole.files)[0] == []


@pytest.mark.slow
def test_stopped_after_every_part_it_gives_the_same_bits(whole: Store, plan: Plan, tmp_path: Path) -> None:
    store, ended = Store(str(tmp_path / "store")), 1
    while ended:
        ended, left = 0, pending(plan, store, store.snapshot(), "all")
        counted: list[str] = []
        carry_out(
            [work for work in left if work.anything], store, tmp_path,
            lambda event, counted=counted: counted.append(event.kind) if event.kind in ("part", "trained") else None,
            should_stop=lambda counted=counted: len(counted) >= 4,
        )  # fmt: skip
        ended, store = len(counted), Store(store.uri)
    one, other = contents(whole.uri), contents(store.uri)
    for table in ("injections", "localization"):
        assert encoded(one[table]) == encoded(other[table])


def test_a_summary_has_both(whole: Store) -> None:
    titles = {one.title for one in instruments(whole, None)}
    assert {"Examples that were put into known neurons", "Which method finds where an example is"} <= titles
