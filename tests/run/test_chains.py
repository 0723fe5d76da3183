"""Parts that go on with their training: where each begins, what is kept for them; and their rows, which never change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memloc import sweep
from memloc.run.chains import Start, starts
from memloc.run.clock import PricedPlan
from memloc.run.cost import Rate
from memloc.run.estimate import cost_model, price
from memloc.run.fanout import cut
from memloc.run.pending import Work, pending
from memloc.run.planner import build_plan
from memloc.run.quantities import states_bytes
from memloc.run.schedule import Slots
from memloc.stages import REGISTRY
from memloc.store import Store, layout
from tests.conftest import carry_out
from tests.run.programs import assert_same

TEXT = """
defaults: {dataset: digits, model: resnet9, width: 0.0625, subset: 100, noise: 0.2, epochs: 5, batch_size: 32}
blocks: {one: {stages: {STAGES}}}
"""
ALONG = "gradients: {epochs: [2, 4, 5]}"


def test_by_hand() -> None:
    wanted = {"a": 1, "b": 3, "c": 4, "d": 8}
    assert starts(wanted, {1, 3, 4, 8}) == {name: Start("", 0) for name in wanted}
    assert starts(wanted, ()) == {"a": Start("a", 1), "b": Start("a", 1), "c": Start("a", 0), "d": Start("a", 3)}
    assert starts(wanted, {3, 6}) == {"a": Start("", 1), "b": Start("b", 0), "c": Start("b", 0), "d": Start("", 2)}
    assert starts({"first": 0}, ()) == {"first": Start("", 0)}  # the initialisation needs no state


@given(st.sets(st.integers(0, 30), min_size=1), st.sets(st.integers(0, 30)))
def test_as_few_epochs_as_the_states_allow(wanted: set[int], states: set[int]) -> None:
    """Against a walk over all epochs: an epoch is trained if a wanted one can be reached only through it."""
    found = starts({str(e): e for e in wanted}, states)
    walked, there = 0, states | {0}
    for epoch in range(31):
        next_state = next((e for e in range(epoch + 1, 32) if e in there), 32)
        walked += any(epoch < w < next_state for w in wanted) and epoch not in wanted
    assert sum(start.before for start in found.values()) == walked


# --- on a store -------------------------------------------------------------------------------------------------------


def works_of(home: Path, stages: str, **more: object) -> tuple[Store, list[Work]]:
    home.mkdir(exist_ok=True)
    path = home / "one.yaml"
    path.write_text(TEXT.replace("{STAGES}", f"{{{stages}}}"))
    loaded = sweep.load(path, REGISTRY)
    store = Store(str(home / "store"))
    retention = more.get("retention", "all")
    plan = build_plan(loaded, loaded.entries, home)
    return store, pending(plan, store, store.snapshot(), retention)  # type: ignore[arg-type]


def do(home: Path, stages: str, **more: object) -> Store:
    store, works = works_of(home, stages, **more)
    assert carry_out([w for w in works if w.anything], store, home).failures == {}
    return store


def states(store: Store) -> list[int]:
    names = [layout.resume_state_of(path) for path in store.files.listing(layout.CHECKPOINTS)]
    return sorted(named[0] for named in names if named)


def priced(store: Store, works: list[Work], home: Path) -> PricedPlan:
    model = cost_model(works, store.snapshot(), home, None, lambda trial, shape: Rate(1.0, "one"))
    return price(works, model, Slots(1))


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store in which training and gradients were planned together."""
    home = tmp_path_factory.mktemp("usual")
    do(home, ALONG)
    return home / "store"


def test_how_many_bytes_the_states_take(tmp_path: Path) -> None:
    """Against the files that are there before the parts are computed; the last state and checkpoint stay in any case."""
    home = tmp_path / "home"
    store, (work,) = works_of(home, ALONG)
    carry_out([replace(work, parts=[], prune=False)], store, home)
    kept = [p for e in (1, 3, 4) for p in Path(store.uri).glob(f"checkpoints/*/*-000{e}[.-]*")]
    assert len(kept) == 6
    assert states_bytes(work.trial) == pytest.approx(sum(p.stat().st_size for p in kept), rel=0.5)
    assert states_bytes(works_of(home, "evaluate: {}")[1][0].trial) == 0


def test_states_stay_until_the_parts_are_done(tmp_path: Path, usual: Path) -> None:
    home = tmp_path / "home"
    store, (work,) = works_of(home, ALONG)
    assert (work.train, work.states, {s.before for s in work.starts.values()}) == ("train", {1, 3, 4}, {0})
    carry_out([replace(work, parts=[], prune=False)], store, home)  # the training alone
    assert states(store) == [1, 3, 4, 5]
    store, (work,) = works_of(home, ALONG)
    assert (work.train, set(work.starts.values())) == ("done", {Start("", 0)})
    tasks = cut(priced(store, [work], home).trials[0].waves[0], 1000)
    assert [len(task) for task in tasks] == [1, 1, 1]
    do(home, ALONG)
    assert states(store) == [5]
    assert works_of(home, ALONG)[1][0].anything is False
    assert_same(usual, home / "store")


def test_with_the_fewest_checkpoints_too(tmp_path: Path, usual: Path) -> None:
    store = do(tmp_path / "home", ALONG, retention="last")
    assert states(store) == [5]
    assert [p.rsplit("/", 1)[1] for p in store.files.listing(layout.CHECKPOINTS) if "epoch" in p] == [
        "epoch-0005.safetensors"
    ]
    of_trial = json.loads(next(iter(Path(store.uri).glob("checkpoints/*/pruned-*.json"))).read_text())
    assert of_trial == [0, 1, 2, 3, 4]
    assert rows(store) == rows(Store(str(usual)))


def rows(store: Store) -> list[bytes]:
    return sorted(store.files.get(path) for path in store.files.listing(layout.DATA) if "/gradients/" in path)


@pytest.mark.parametrize("retention", ["all", "last"])
def test_without_states_one_task_trains_again(tmp_path: Path, usual: Path, retention: str) -> None:
    """As after a training of before, or a pruned one. No checkpoint is needed, because the commit has their hashes."""
    home = tmp_path / "home"
    store = do(home, "", retention=retention)
    assert states(store) == [5]
    store, (work,) = works_of(home, ALONG, retention="last")
    assert work.train == "done"
    assert [start.before for start in work.starts.values()] == [1, 1, 0]
    plan = priced(store, [work], home)
    (wave,) = plan.trials[0].waves
    assert [len(task) for task in cut(wave, 1000)] == [3]
    assert [part.passes for part in wave] == [17 * 100 + 300, 17 * 100 + 300, 17 * 100]
    assert plan.trials[0].chain() == [("gradients", sum(part.seconds for part in wave))]
    assert PricedPlan.from_json(json.loads(json.dumps(plan.as_json()))) == replace(
        plan,
        trials=tuple(replace(t, waves=tuple(tuple(replace(p, needs=()) for p in w) for w in t.waves)) for t in plan.trials),
    )
    carry_out([work], store, home)
    assert rows(store) == rows(Store(str(usual)))
    commits = [c for c in store.snapshot().commits.values() if c.stage == "gradients"]
    assert sorted(c.passes for c in commits) == [1700, 2000, 2000]
    assert states(store) == [5]


def test_some_states_lost(tmp_path: Path, usual: Path) -> None:
    home = tmp_path / "home"
    store, (work,) = works_of(home, ALONG)
    carry_out([replace(work, parts=[], prune=False)], store, home)
    (lost,) = (home / "store" / "checkpoints").glob("*/resume-0003-*")
    lost.unlink()
    (damaged,) = (home / "store" / "checkpoints").glob("*/resume-0004-*")
    store, (work,) = works_of(home, ALONG)
    assert [(s.before, bool(s.chain)) for s in work.starts.values()] == [(0, True), (1, True), (0, False)]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    outcome = carry_out([work], store, home)
    assert outcome.failures == {}
    assert rows(store) == rows(Store(str(usual)))


def test_stopped_in_between_and_gone_on(tmp_path: Path, usual: Path) -> None:
    """After every epoch and part."""
    home, runs = tmp_path / "home", 0
    while True:
        store, works = works_of(home, ALONG)
        if not works[0].anything:
            break
        calls = iter(range(100))
        carry_out(works, store, home, should_stop=lambda calls=calls: next(calls) > 3)
        runs += 1
        assert runs < 20
    assert runs > 3
    assert_same(usual, home / "store")
    assert states(store) == [5]
