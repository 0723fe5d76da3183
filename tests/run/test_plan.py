"""Identity of trials, analyses and parts; what is left to do; estimates."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from memloc import sweep
from memloc.data import load
from memloc.errors import UsageError
from memloc.run.cost import Rate
from memloc.run.estimate import cost_model, price
from memloc.run.pending import Work, pending
from memloc.run.placement import Resources, check_capacity, demands, fitting, slots
from memloc.run.plan import Plan
from memloc.run.planner import build_plan
from memloc.run.quantities import checkpoint_bytes, result_bytes, train_passes
from memloc.run.retention import Retention, kept_epochs
from memloc.run.schedule import Slots
from memloc.run.worker import Worker
from memloc.stages import REGISTRY
from memloc.store import Snapshot, Store, checkpoints, layout
from tests.conftest import TINY, run_inline

PINNED = [
    (
        "e74bfb6eda5e32ce",
        [
            ("gradients", "18c8be690690d501", "3874da70192d7dff"),
            ("gradients", "99b53153e7be1f10", "e521fcf812009cc1"),
            ("rewind", "1ddbead0bd21cb7a", "8f77eb65c6f1838c"),
            ("flips", "f75e1f377c96efd1", "c607380c56dce14c"),
            ("evaluate", "2394bba98c2d7d97", "e91a9a2a69a52a41"),
            ("detection", "b034f24b18148a60", "b96daa934619ba45"),
            ("retrain", "0699f87c2ab4b933", "2001e6fc494e6945"),
        ],
    ),
    (
        "cba0b85f8ab30820",
        [
            ("gradients", "8bbfbfa5c9e61ea8", "85688d6815c6ab2b"),
            ("gradients", "2f3a0a3570676f2b", "81445b8ffb33dba5"),
            ("rewind", "d9998b70f80d044c", "39a038b98705a3d6"),
            ("flips", "afdff26818b13481", "756bc9d27b89944e"),
            ("evaluate", "e2334fbd304ecd5f", "14d308763577cf68"),
            ("detection", "f77f4a02a0e5fcec", "bf63a0833a0483ef"),
        ],
    ),
    ("fc766c03da2fb68b", [("evaluate", "0a67f45f876c138f", "ff05b09a54697b7a")]),
    ("bfa2ce969d800897", [("evaluate", "ec0aefcf147df0a4", "0b49266700cd99cc")]),
]


def plan_of(folder: Path, text: str = TINY, *overrides: str) -> Plan:
    path = folder / "tiny.yaml"
    path.write_text(text)
    loaded = sweep.load(path, REGISTRY, overrides)
    return build_plan(loaded, loaded.entries, folder)


def works(store: Path, plan: Plan, retention: str = "all") -> list[Work]:
    opened = Store(str(store))
    return pending(plan, opened, opened.snapshot(), retention)  # type: ignore[arg-type]


def test_todays_ids_are_pinned(tmp_path: Path) -> None:
    """Of the demo. A change here makes every store out there start over: it must be meant (raise a version)."""
    loaded = sweep.load(sweep.find("demo"), REGISTRY)
    plan = build_plan(loaded, loaded.entries, tmp_path)
    found = [(t.id, [(a.stage, a.id, a.part_ids[0]) for a in t.analyses]) for t in plan.trials]
    assert found == PINNED


def test_the_same_data_under_another_path_is_the_same_trial(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 16, 16), dtype=np.uint8), np.arange(40) % 4
    np.savez(tmp_path / "one.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    shutil.copy(tmp_path / "one.npz", tmp_path / "two.npz")
    text = "defaults: {model: resnet9, width: 0.0625, epochs: 2}\n"
    text += 'blocks:\n  a:\n    axes: {dataset: ["npz:one.npz", "npz:two.npz"]}\n'
    (trial,) = plan_of(tmp_path, text).trials
    assert trial.size.n == 40
    np.savez(tmp_path / "two.npz", x_train=x[::-1], y_train=y, x_test=x, y_test=y)
    load.cache_clear()  # a new process reads anew
    assert len(plan_of(tmp_path, text).trials) == 2


def test_a_subset_of_everything_is_no_subset(tmp_path: Path) -> None:
    everything = plan_of(tmp_path, TINY, "subset=1437").trials[0].id
    assert everything == plan_of(tmp_path, TINY, "subset=null").trials[0].id
    assert everything != plan_of(tmp_path, TINY, "subset=1436").trials[0].id
    assert everything == plan_of(tmp_path, TINY, "subset=null", "test_subset=360").trials[0].id
    (small, *_) = plan_of(tmp_path, TINY, "test_subset=120").trials
    assert (small.size.n_test, small.id == everything) == (120, False)


def test_misfits_with_the_data_at_their_place(tmp_path: Path) -> None:
    x, y = np.zeros((4, 8, 8), np.uint8), np.arange(4) % 2
    np.savez(tmp_path / "small.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    text = """defaults: {dataset: digits, model: resnet9}
blocks:
  a: {set: {subset: 5000}}
  b: {set: {dataset: "npz:small.npz"}}
  c: {set: {dataset: "npz:none.npz"}}
"""
    with pytest.raises(UsageError) as caught:
        plan_of(tmp_path, text)
    a, b, c = (p.replace(str(tmp_path) + "/", "") for p in caught.value.problems)
    assert a == "tiny.yaml:3:blocks.a.set.subset: 5000 is not valid; valid: 10 (one per class) to 1437 (all)"
    assert b == "tiny.yaml:4:blocks.b.set.dataset: images of 8×8 pixels; resnet9 needs at least 11×11"
    assert c.startswith("tiny.yaml:5:blocks.c.set.dataset: none.npz: no such file")


def test_nothing_to_do_when_everything_is_committed(tmp_path: Path, tiny: Path) -> None:
    assert not any(w.anything for w in works(tiny, plan_of(tmp_path)))


def test_a_new_analysis_of_an_old_training(tmp_path: Path, tiny: Path) -> None:
    standard, tied = works(tiny, plan_of(tmp_path, TINY.replace("epochs: [0, 1, 2]", "epochs: [0, 1, 2], buffers: rewound")))
    assert (standard.train, [p["epoch"] for _, _, p in standard.parts]) == ("done", [0, 1, 2])
    assert not tied.anything


def test_what_lost_a_file_is_done_again_and_only_that(tmp_path: Path, tiny: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny, store)
    plan = plan_of(tmp_path)
    opened = Store(str(store))
    victim = next(c for c in opened.snapshot().commits.values() if c.stage == "rewind" and c.part == {"epoch": 1})
    (store / victim.files[0].path).unlink()
    standard, tied = works(store, plan)
    assert (standard.train, [(i, p) for _, i, p in standard.parts]) == ("done", [(victim.id, {"epoch": 1})])
    assert not tied.anything
    run_inline(tmp_path, TINY, opened)
    assert not any(w.anything for w in works(store, plan))


def test_a_truncated_checkpoint_means_a_replay(tmp_path: Path, tiny: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny, store)
    plan = plan_of(tmp_path)
    victim = store / "checkpoints" / plan.trials[0].id / "epoch-0001.safetensors"
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1])
    standard, tied = works(store, plan)
    assert (standard.train, standard.parts, tied.train) == ("replay", [], "done")
    assert (standard.until, tied.until) == (1, 2)
    model = cost_model([standard], Snapshot({}, {}, []), tmp_path, None, lambda trial, shape: Rate(0.5, "given"))
    (cost,) = price([standard], model, Slots(1)).trials
    assert cost.train == 0.5 * train_passes(standard.trial) / 2  # it ends after the lost epoch
    assert (cost.reached, cost.epochs, cost.replays) == (0, 1, True)
    run_inline(tmp_path, TINY, Store(str(store)))
    assert victim.read_bytes() == whole


def test_checkpoints_that_come_back_do_not_count_as_pruned(tmp_path: Path, tiny: Path) -> None:
    """`--checkpoints last`, then `all` with an analysis that reads epoch 1: training again brings all of them back."""
    store, plan = Store(str(shutil.copytree(tiny, tmp_path / "store"))), plan_of(tmp_path)
    trial = plan.trials[0]
    commit = store.snapshot().commits[trial.id]
    checkpoints.prune(store.files, trial.id, commit.checkpoints, {2})
    assert checkpoints.read_pruned(store.files, trial.id) == {0, 1}
    more = TINY.replace("epochs: [0, 1, 2]", "epochs: [1], buffers: rewound")
    run_inline(tmp_path, more, store, name="more")
    assert checkpoints.read_pruned(store.files, trial.id) == set()
    (tmp_path / "store" / layout.checkpoint(trial.id, 0)).unlink()
    assert works(tmp_path / "store", plan)[0].train == "replay"


def test_a_dry_run_changes_nothing(tmp_path: Path, tiny: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny, store)
    next(store.glob("data/rewind/*/*")).unlink()
    before = sorted(store.rglob("*"))
    opened = Store(str(store))
    (standard, _) = pending(plan_of(tmp_path), opened, opened.snapshot(), "all", set_aside=False)
    assert len(standard.parts) == 1
    assert sorted(store.rglob("*")) == before


def test_retention(tmp_path: Path) -> None:
    standard, tied = plan_of(tmp_path, TINY.replace("epochs: [0, 1, 2]", "epochs: [0, 3]"), "epochs=5").trials
    assert kept_epochs(standard, "all") == {0, 1, 2, 3, 4, 5}
    assert kept_epochs(standard, "rewound") == {0, 3, 5}
    assert kept_epochs(standard, "last") == {5}
    assert kept_epochs(tied, "rewound") == {0, 5}
    assert kept_epochs(standard, None) == kept_epochs(standard, "all")


def test_blocks_choose_which_checkpoints_stay(tmp_path: Path) -> None:
    """A training of two blocks keeps what both keep. The command line's choice is for all."""
    head = TINY[: TINY.index("blocks:")]
    shared = (
        "blocks:\n  a: {checkpoints: last, axes: {seed: [0, 1]}}\n"
        "  b: {KEY axes: {seed: [1, 2]}, stages: {rewind: {epochs: [0, 1]}}}\n"
    )
    expected: dict[str, list[set[int]]] = {
        "checkpoints: rewound,": [{2}, {0, 1, 2}, {0, 1, 2}],
        "checkpoints: all,": [{2}, {0, 1, 2}, {0, 1, 2}],
        "checkpoints: null,": [{2}, {0, 1, 2}, {0, 1, 2}],
        "": [{2}, {0, 1, 2}, {0, 1, 2}],
        "checkpoints: last,": [{2}, {2}, {2}],
    }
    for key, kept in expected.items():
        plan = plan_of(tmp_path, head + shared.replace("KEY", key), "epochs=2")
        assert [kept_epochs(trial, None) for trial in plan.trials] == kept, key
        assert [kept_epochs(trial, "last") for trial in plan.trials] == [{2}] * 3
    four = plan_of(tmp_path, head + shared.replace("KEY", "checkpoints: rewound,"), "epochs=4")
    assert [kept_epochs(trial, None) for trial in four.trials] == [{4}, {0, 1, 4}, {0, 1, 4}]
    ids = {tuple(t.id for t in plan_of(tmp_path, head + shared.replace("KEY", key)).trials) for key in expected}
    assert len(ids) == 1  # no identity depends on it


@pytest.mark.parametrize(
    ("value", "words"), [("most", "'most' is none of all, rewound, last"), ("[last]", "is none of"), ("3", "3 is none of")]
)
def test_a_wrong_choice_of_checkpoints(tmp_path: Path, value: str, words: str) -> None:
    text = TINY.replace("  standard:\n", f"  standard:\n    checkpoints: {value}\n")
    with pytest.raises(UsageError, match=rf"\.yaml:\d+:blocks\.standard\.checkpoints: .*{words}"):
        plan_of(tmp_path, text)


def test_held_out_trainings_keep_what_is_read_unless_told_otherwise(tmp_path: Path) -> None:
    text = (
        TINY[: TINY.index("  standard:")] + "  scores:\n    stages: {held_out: {ratios: [0.5], min_held_out: 1}, REWIND}\n"
    )
    for trial in plan_of(tmp_path, text.replace(", REWIND", "")).trials:
        assert trial.config.held_out.ratio == 0.5
        kept: dict[Retention, set[int]] = {None: {2}, "all": {0, 1, 2}, "rewound": {0, 2}, "last": {2}}
        assert {retention: kept_epochs(trial, retention) for retention in kept} == kept
    for trial in plan_of(tmp_path, text.replace("REWIND", "gradients: {at: checkpoint, epochs: [1]}")).trials:
        assert kept_epochs(trial, None) == {1, 2}


def test_estimated_bytes_are_near_the_truth(tmp_path: Path, tiny: Path) -> None:
    for trial in plan_of(tmp_path).trials:
        files = [p.stat().st_size for p in (tiny / "checkpoints" / trial.id).iterdir()]
        assert 0.7 < checkpoint_bytes(trial, "all") / sum(files) < 1.5
        assert result_bytes([trial]) > 100 * 60  # at least the examples table


def test_the_same_wrong_labels_for_every_seed_and_others_for_another_data_seed(tmp_path: Path) -> None:
    worker = Worker(Store(str(tmp_path / "store")), lambda name: load(name, tmp_path))
    by_seed = [t for t in plan_of(tmp_path, TINY, "seed=[0,1,2]").trials if t.config.dropout.kind == "none"]
    first, *rest = [worker.data(t) for t in by_seed]
    assert len(rest) == 2
    for data in rest:
        assert (data.example == first.example).all()
        assert (data.y == first.y).all()
    (other, _) = plan_of(tmp_path, TINY, "data_seed=1").trials
    assert (worker.data(other).example != first.example).any()


def test_more_than_any_node_has_is_said_not_waited_for(tmp_path: Path) -> None:
    chosen = works(tmp_path / "store", plan_of(tmp_path, TINY, "threads=2"))
    with pytest.raises(UsageError, match=r"^threads: 2 is more than any node's CPUs; valid: 1 to 1 \(see --cpus\)$"):
        check_capacity(chosen, [{"CPU": 1.0}, {"CPU": 1.0}], Resources())
    with pytest.raises(UsageError, match=r"^threads: 2 is more than any node's CPUs; valid: 1 to 1$"):
        check_capacity(chosen, [{"CPU": 1.0}, {"CPU": 1.0}], Resources("head:6379"))  # --cpus is of this machine
    with pytest.raises(UsageError, match=r"^no node has a CPU to compute on; start one with `ray start --num-cpus N`$"):
        check_capacity(chosen, [{"CPU": 0.0}, {"GPU": 8.0}], Resources("head:6379", device="cpu"))
    check_capacity(chosen, [{"CPU": 1.0}, {"CPU": 2.0}], Resources())
    check_capacity(chosen, [{"CPU": 1.0, "GPU": 2.0}, {"GPU": 1.0}], Resources())
    cpus = {"num_cpus": 2.0, "num_gpus": 0.0}
    assert demands(chosen[0], [{"CPU": 2.0}], Resources()) == (cpus, cpus)  # the threads, and nothing else
    card = {"num_cpus": 0.0, "num_gpus": 1.0}  # one process at a time
    assert demands(chosen[0], [{"CPU": 2.0}, {"GPU": 1.0}], Resources()) == (card, card)
    gpus = [{"num_cpus": 0.0, "num_gpus": share} for share in (1.0, 0.5)]
    assert demands(chosen[0], [{"CPU": 2.0}, {"GPU": 1.0}], Resources(gpus_per_task=0.5)) == tuple(gpus)
    assert demands(chosen[0], [{"CPU": 2.0}, {"GPU": 1.0}], Resources(device="cpu")) == (cpus, cpus)
    with pytest.raises(UsageError, match=r"^--device cuda: no node has a GPU; valid: cpu$"):
        check_capacity(chosen, [{"CPU": 2.0}], Resources(device="cuda"))


def test_slots_are_cpus_by_node_where_all_nodes_have_as_many() -> None:
    assert slots([{"CPU": 4.0}] * 3, Resources()) == Slots(3, 4.0)
    assert slots([{"CPU": 4.0}, {"CPU": 2.0}, {}], Resources()) == Slots(1, 6.0)
    assert slots([{"CPU": 4.0, "GPU": 4.0}, {"GPU": 3.0}], Resources()) == Slots(7)
    assert slots([{"CPU": 4.0, "GPU": 4.0}], Resources(device="cpu")) == Slots(1, 4.0)


@pytest.mark.parametrize(
    ("nodes", "demand", "count"),
    [
        ([{"CPU": 5.0}, {"CPU": 1.0}, {"CPU": 2.0}], {"num_cpus": 2.0, "num_gpus": 0.0}, 3),  # each on one node
        ([{"CPU": 1.0, "GPU": 2.0}, {"GPU": 1.0}], {"num_cpus": 0.0, "num_gpus": 0.5}, 6),
        ([{"CPU": 8.0}], {"num_cpus": 0.0, "num_gpus": 1.0}, 0),
        ([{"GPU": 1.0}], {"num_cpus": 0.0, "num_gpus": 1 / 3}, 3),  # not 2 by rounding
    ],
)
def test_how_many_processes_fit(nodes: list[dict[str, float]], demand: dict[str, float], count: int) -> None:
    assert fitting(nodes, demand) == count
