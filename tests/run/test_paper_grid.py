"""The sweep of the paper's size: what its blocks share, and how near its schedule comes to what no schedule can undercut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memloc import sweep
from memloc.commands.dry_run import _blocks
from memloc.run.cost import Rate, Shape
from memloc.run.estimate import TimeEstimate, cost_model, estimate, price
from memloc.run.pending import Work, pending
from memloc.run.placement import Resources
from memloc.run.plan import Plan, TrialPlan
from memloc.run.planner import build_plan
from memloc.run.schedule import Slots
from memloc.run.training_step import counted_rate
from memloc.stages import REGISTRY
from memloc.store import Snapshot, Store


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    loaded = sweep.load(sweep.find("paper-grid"), REGISTRY)
    return build_plan(loaded, loaded.entries, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def works(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> list[Work]:
    store = Store(str(tmp_path_factory.mktemp("empty") / "store"))
    return pending(plan, store, Snapshot({}, {}, []), "all")


def test_every_training_is_done_once(plan: Plan) -> None:
    """Main 27 + 27 + 9; flips 30, of which 3 are main's; noise curve 14 × 3, of which 9 are; tied 36 + 6; baselines 12;
    atypical 6."""
    assert len(plan.trials) == 63 + 27 + 33 + 42 + 12 + 6 == 183
    stages = [{a.stage for a in t.analyses} for t in plan.trials]
    assert {"gradients", "rewind", "evaluate", "retrain", "flips", "second_split", "detection"} in stages
    assert sum("retrain" in s for s in stages) == 27
    assert sum("second_split" in s for s in stages) == 3
    assert sum("flips" in s for s in stages) == 30
    assert sum("gradients" in s for s in stages) == 63 + 33
    assert {t.config.model for t in plan.trials} == {"resnet9", "resnet50", "vit_small"}
    assert sum(bool(t.unmet) for t in plan.trials) == 6  # atypical: no C-scores in an empty folder


def test_a_dry_run_counts_blocks(plan: Plan) -> None:
    """Trainings of each block, and those of them that no block above has: 183 in all."""
    rows = [line.split() for line in _blocks(plan).splitlines()[3:]]
    assert {(name, int(count), int(new)) for name, count, new in rows} == {
        ("main", 27, 27),
        ("retraining", 27, 0),
        ("flips", 30, 27),
        ("forgetting", 3, 0),
        ("trajectories", 3, 0),
        ("noise_curve", 42, 33),
        ("main_resnet50", 27, 27),
        ("main_vit", 9, 9),
        ("tied", 36, 36),
        ("tied_other", 6, 6),
        ("baselines", 12, 12),
        ("atypical_cifar10", 3, 3),
        ("atypical_mnist", 3, 3),
    }


def test_what_is_asked_of_them(plan: Plan) -> None:
    """Gradients after every epoch, rewinding to every tenth, 1000 + 1000 searches; trajectories of three trainings."""
    asked: dict[str, list[Any]] = {}
    for trial in plan.trials:
        for analysis in trial.analyses:
            asked.setdefault(analysis.stage, []).append((trial.config, analysis.config))
    for train, config in asked["gradients"]:
        assert (config.epochs, config.bn) == (tuple(range(train.epochs + 1)), "batch") or config.at == "trajectory"
    assert sum(config.at == "trajectory" for _, config in asked["gradients"]) == 3
    for _, config in asked["rewind"]:
        assert (config.epochs, config.buffers) == ((0, 10, 20, 30, 40, 50), "final")
    for _, config in asked["flips"]:
        assert (config.clean, config.noisy, config.repeats, config.max_neurons) == (1000, 1000, 1, 200)
    for _, config in asked["retrain"]:
        assert (config.epochs, config.peak_epoch) == (20, 10)
    for train, config in asked["evaluate"]:
        assert config.epoch == train.epochs
    rates = {
        (t.config.architecture.width, t.config.epochs, t.config.subset) for t in plan.trials if t.config.model == "resnet9"
    }
    assert rates == {(1.0, 50, None)}


@pytest.mark.parametrize("per_task", [0.5, 1.0])
@pytest.mark.parametrize("gpus", [1, 8, 64, 1024])
def test_within_ten_percent_of_the_bound(works: list[Work], tmp_path: Path, gpus: int, per_task: float) -> None:
    """Whatever the assumed speed: it cancels."""
    found = on_gpus(works, tmp_path, gpus, per_task)
    assert found.bound * (1 - 1e-9) <= found.seconds <= 1.1 * found.bound


def test_the_critical_path_is_the_largest_training_and_its_gradients(works: list[Work], tmp_path: Path) -> None:
    """Of SVHN, whose training set is the largest. A task that holds a whole GPU shortens it: nothing else can."""
    half, whole = (on_gpus(works, tmp_path, 1024, per_task).critical for per_task in (0.5, 1.0))
    assert half is not None
    assert whole is not None
    assert [stage for stage, _ in half.stages] == ["train", "gradients"]
    config = {w.trial.id: w.trial.config for w in works}
    assert {(config[c.trial].dataset, config[c.trial].model) for c in (half, whole)} == {("svhn", "vit_small")}
    assert half.stages[0] == whole.stages[0]
    assert half.stages[1][1] == pytest.approx(2 * whole.stages[1][1])


def on_gpus(works: list[Work], folder: Path, gpus: int, per_task: float) -> TimeEstimate:
    resources = Resources(gpus_per_trial=1.0, gpus_per_task=per_task)
    model = cost_model(works, Snapshot({}, {}, []), folder, resources, rate)
    return estimate(price(works, model, Slots(gpus), resources))


RATES: dict[tuple[str, Shape], Rate] = {}


def rate(trial: TrialPlan, shape: Shape) -> Rate:
    """By its operations on a GPU of its own, as a cost model has it for unknown networks; counted once for all tests."""
    network = (trial.config.architecture.model_dump_json(), shape)
    if network not in RATES:
        RATES[network] = counted_rate(trial, shape, "cuda")
    return RATES[network]
