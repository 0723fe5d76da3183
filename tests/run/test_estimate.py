"""How long work will take: costs by hand from what a store has seen, and what cannot be done side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from memloc import sweep
from memloc.config import canonical
from memloc.models.build import build
from memloc.run import training_step
from memloc.run.cost import CostModel, NetworkKind, Rate, _Basis
from memloc.run.estimate import cost_model, estimate, price
from memloc.run.pending import Work, pending
from memloc.run.placement import Resources
from memloc.run.planner import build_plan
from memloc.run.quantities import part_passes, train_passes
from memloc.run.schedule import Slots
from memloc.run.training_step import SPEED, STEP_SECONDS, counted_rate, timed
from memloc.stages import REGISTRY
from memloc.store import Commit, Snapshot, Store, layout
from tests.conftest import TINY

GROUPS, N, TEST = 9, 100, 360
REWIND = (1 + GROUPS / 2) * (N + TEST)  # passes of an epoch rewound to
SHARED = 1 / (1 + GROUPS / 2)


@pytest.fixture
def planned(tmp_path: Path, tiny: Path) -> Any:
    """(works, snapshot) of the tiny sweep under overrides, against its finished store."""

    def plan(*overrides: str) -> tuple[list[Work], Snapshot]:
        path = tmp_path / "tiny.yaml"
        path.write_text(TINY)
        loaded = sweep.load(path, REGISTRY, overrides)
        store = Store(str(tiny))
        snapshot = store.snapshot()
        return pending(build_plan(loaded, loaded.entries, tmp_path), store, snapshot, "all"), snapshot

    return plan


def model_of(works: list[Work], snapshot: Snapshot, folder: Path, train_rate: float = 1.0) -> CostModel:
    return cost_model(works, snapshot, folder, None, lambda trial, shape: Rate(train_rate, "given"))


def test_nothing_to_do_takes_no_time(planned: Any, tmp_path: Path) -> None:
    works, snapshot = planned()
    found = estimate(price(works, model_of(works, snapshot, tmp_path), Slots(1)))
    assert (found.seconds, found.bound, found.critical, found.basis) == (0, 0, None, "nothing to do")


def test_rates_of_a_store_by_hand(planned: Any, tmp_path: Path) -> None:
    """Per training and epoch: 3 × 100 passes of training and 360 of test. The three epochs rewound to ran together."""
    works, snapshot = planned("seed=5")
    commits = snapshot.commits.values()
    assert [c.passes for c in commits if c.stage == "train"] == [2 * (3 * N + TEST)] * 2
    assert [c.passes for c in commits if c.stage == "rewind"] == pytest.approx([REWIND * (1 - SHARED * (1 - 1 / 3))] * 3)
    assert sorted(c.passes for c in commits if c.stage == "evaluate") == [N + TEST, 6 * (N + TEST)]
    seconds = {stage: sum(c.seconds for c in commits if c.stage == stage) for stage in ("train", "rewind", "evaluate")}
    train = seconds["train"] / 2
    rewind = seconds["rewind"] / 3 / (1 - SHARED * (1 - 1 / 3))
    plain, tied = sorted(c.seconds for c in commits if c.stage == "evaluate")  # each of a configuration of its own
    model = model_of(works, snapshot, tmp_path)
    total = 2 * train + rewind * (3 - 2 * SHARED) + plain + tied
    assert estimate(price(works, model, Slots(1))).seconds == pytest.approx(total)
    assert estimate(price(works, model, Slots(1))).bound == pytest.approx(total)
    many = estimate(price(works, model, Slots(1, capacity=1000.0)))
    assert many.seconds == many.bound == pytest.approx(train + max(rewind, plain, tied))
    assert many.critical is not None
    assert [stage for stage, _ in many.critical.stages] == ["train", "rewind" if rewind > tied else "evaluate"]
    assert many.basis == "2 trainings and 5 parts of the same network in this store"


def test_another_network_by_its_training_and_the_factors_of_this_one(planned: Any, tmp_path: Path) -> None:
    works, snapshot = planned("width=0.125")
    commits = snapshot.commits.values()
    rate = {
        stage: sum(c.seconds for c in commits if c.stage == stage) / sum(c.passes for c in commits if c.stage == stage)
        for stage in ("train", "rewind")
    }
    model = model_of(works, snapshot, tmp_path, train_rate=0.5)
    (rewind,) = {a.id: a for w in works for a, _, _ in w.parts if a.stage == "rewind"}.values()
    assert model.part(works[0].trial, rewind) == pytest.approx(REWIND * 0.5 * rate["rewind"] / rate["train"])
    assert model.train(works[0]) == pytest.approx(0.5 * train_passes(works[0].trial))
    found = estimate(price(works, model, Slots(1)))
    assert found.basis == "given; rewind, evaluate as in other networks of this store"


def test_the_same_configuration_says_more_than_the_stage(planned: Any, tmp_path: Path) -> None:
    """Evaluation of tied networks goes through masks: fitted apart from that of plain ones, where there are both."""
    works, snapshot = planned("seed=5")
    tied = next(c for c in snapshot.commits.values() if c.stage == "evaluate" and len(c.config["modes"]) > 1)
    slow = {**snapshot.commits, tied.id: replace(tied, seconds=tied.seconds * 1000)}
    model = model_of(works, Snapshot(slow, {}, []), tmp_path)
    found = [model.part(w.trial, a) for w in works for a in w.trial.analyses if a.stage == "evaluate"]
    plain = next(c.seconds for c in snapshot.commits.values() if c.stage == "evaluate" and c.id != tied.id)
    assert found == pytest.approx([plain, tied.seconds * 1000])
    works, _ = planned("seed=5", "evaluate.epoch=1")  # never run: by all commits of the stage
    rate = (plain + tied.seconds * 1000) / 7
    found = [model.part(w.trial, a) for w in works for a in w.trial.analyses if a.stage == "evaluate"]
    assert found == pytest.approx([rate, 6 * rate])


def test_an_empty_store_takes_all_passes_for_those_of_training(planned: Any, tmp_path: Path) -> None:
    works, _ = planned("seed=5")
    found = estimate(price(works, model_of(works, Snapshot({}, {}, []), tmp_path, 2.0), Slots(1)))
    passes = 2 * 2 * (3 * N + TEST) + REWIND * (3 - 2 * SHARED) + 7 * (N + TEST)
    assert found.seconds == pytest.approx(2.0 * passes)
    assert found.basis == "given; rewind, evaluate at the rate of training"


def test_an_unknown_network_is_timed_for_each_of_its_batch_sizes(planned: Any, tmp_path: Path) -> None:
    """A step of a small batch takes longer for each of its images. From 128 on, as many are timed whatever the batch."""
    works, asked = [planned("width=0.125", f"batch_size={size}")[0][0] for size in (16, 64, 128, 256, 64)], list[int]()

    def unknown(trial: Any, shape: Any) -> Rate:
        asked.append(trial.config.batch_size)
        return Rate(1.0 / trial.config.batch_size, "given")

    def seconds(gpus: Resources | None) -> list[float]:
        asked.clear()
        model = cost_model(works, Snapshot({}, {}, []), tmp_path, gpus, unknown)
        assert len({model.alike(work) for work in works}) == 4
        return [model.train(work) / train_passes(work.trial) for work in works]

    assert seconds(None) == pytest.approx([1 / 16, 1 / 64, 1 / 128, 1 / 128, 1 / 64])
    assert asked == [16, 64, 128]
    assert seconds(Resources()) == pytest.approx([1 / 16, 1 / 64, 1 / 128, 1 / 256, 1 / 64])
    assert asked == [16, 64, 128, 256]


def test_trainings_of_the_same_batch_size_say_more_than_the_network(planned: Any, tmp_path: Path) -> None:
    works, snapshot = planned("seed=5")
    first, second = [c for c in snapshot.commits.values() if c.stage == "train"]
    other = replace(second, config={**second.config, "batch_size": 7}, seconds=second.passes * 10.0)
    commits = {first.id: replace(first, seconds=first.passes * 2.0), other.id: other}
    model = model_of(works, Snapshot(commits, {}, []), tmp_path)
    passes = train_passes(works[0].trial)
    assert model.train(works[0]) == pytest.approx(2.0 * passes)
    works, _ = planned("seed=5", "batch_size=9")  # never trained: by both
    assert model.train(works[0]) == pytest.approx(6.0 * passes)


def test_commits_of_another_device_or_thread_count_say_nothing(planned: Any, tmp_path: Path) -> None:
    works, snapshot = planned("seed=5")
    elsewhere = {i: replace(c, where={**c.where, "device": "cuda"}) for i, c in snapshot.commits.items()}
    assert model_of(works, Snapshot(elsewhere, {}, []), tmp_path, 3.0).train(works[0]) == 3.0 * train_passes(works[0].trial)
    works, snapshot = planned("threads=2")
    assert model_of(works, snapshot, tmp_path, 3.0).train(works[0]) == 3.0 * train_passes(works[0].trial)


def test_commits_on_gpus_are_for_gpus(planned: Any, tmp_path: Path) -> None:
    """Their parts were measured on the share that a task holds; what no commit knows is stretched to it."""
    works, snapshot = planned("seed=5")
    on_gpu = {
        i: replace(c, where={"device": "cuda"}, seconds=c.passes / 1000) for i, c in snapshot.commits.items()
        if c.stage in ("train", "rewind")
    }  # fmt: skip
    gpus = Resources(gpus_per_trial=1.0, gpus_per_task=0.25)
    model = cost_model(works, Snapshot(on_gpu, {}, []), tmp_path, gpus)
    cost = next(t for t in price(works, model, Slots(1), gpus).trials if t.trial == works[0].trial.id)
    assert (cost.trainer, cost.task) == (1.0, 0.25)
    assert cost.train == pytest.approx(train_passes(works[0].trial) / 1000)
    seconds = {part.stage: part.seconds for wave in cost.waves for part in wave}
    assert seconds == pytest.approx({"rewind": REWIND / 1000, "evaluate": 4 * (N + TEST) / 1000})


def test_an_unknown_network_on_half_a_gpu_takes_twice_as_long(planned: Any, tmp_path: Path) -> None:
    works, _ = planned("seed=6")  # to be trained
    empty, trial = Snapshot({}, {}, []), works[0].trial
    seconds = {}
    for share in (1.0, 0.5):
        model = cost_model(works, empty, tmp_path, Resources(gpus_per_trial=share, gpus_per_task=0.5))
        (cost, *_) = [t for t in price(works, model, Slots(1)).trials if t.trial == trial.id]
        seconds[share] = cost.train
    assert seconds[1.0] > 0
    assert seconds[0.5] == pytest.approx(2 * seconds[1.0])


def test_the_basis_counts_trainings_apart_from_all_stages() -> None:
    kind = NetworkKind("resnet9", (1.0,), (1, 8, 8), 1, "fp32")
    basis = _Basis(fitted={(kind, "train"): 2, (kind, "detection"): 3, (kind, "zebra"): 4})
    assert basis.in_words() == "2 trainings and 7 parts of the same network in this store"


def test_a_stage_that_counts_no_passes_takes_what_its_parts_took(planned: Any, tmp_path: Path) -> None:
    path = tmp_path / "more.yaml"
    path.write_text(TINY.replace("evaluate: {}}\n", "evaluate: {}, detection: {}}\n", 1))
    loaded = sweep.load(path, REGISTRY)
    store = Store(str(tmp_path / "none"))
    works = pending(build_plan(loaded, loaded.entries, tmp_path), store, Snapshot({}, {}, []), "all")
    (detection,) = [a for a in works[0].trial.analyses if a.stage == "detection"]
    assert part_passes(works[0].trial, detection) == 0
    _, snapshot = planned()
    training = snapshot.trainings()[works[0].trial.id]
    known = {
        str(i): Commit(
            id=str(i), trial=training.trial, analysis="a", stage="detection", part={}, nth=0, of=1,
            config=canonical(detection.config), where=training.where, seconds=seconds,
        )
        for i, seconds in enumerate((1.0, 3.0))
    }  # fmt: skip
    assert model_of(works, Snapshot({training.id: training, **known}, {}, []), tmp_path).part(
        works[0].trial, detection
    ) == pytest.approx(2.0)
    assert model_of(works, Snapshot({}, {}, []), tmp_path).part(works[0].trial, detection) == 0


def test_what_remains_of_a_training(planned: Any, tmp_path: Path) -> None:
    """One of two epochs has its checkpoint: half is left."""
    works, _ = planned("seed=5")
    store = Store(str(tmp_path / "begun"))
    for epoch in (0, 1):
        store.files.put(layout.checkpoint(works[0].trial.id, epoch), b"anything")
    store.files.put(layout.resume_state(works[0].trial.id, 1, "any device", b""), b"")
    path = tmp_path / "tiny.yaml"
    loaded = sweep.load(path, REGISTRY, ("seed=5",))
    begun = pending(build_plan(loaded, loaded.entries, tmp_path), store, Snapshot({}, {}, []), "all")
    assert [w.reached for w in begun] == [1, 0]
    model = model_of(begun, Snapshot({}, {}, []), tmp_path)
    assert model.train(begun[0]) == train_passes(begun[0].trial) / 2


def test_operations_by_hand(planned: Any) -> None:
    """ResNet-9 of width 1/16 on 1×16×16: multiplications of its nine layers, two operations each."""
    works, _ = planned("threads=2")
    c = [4, 8, 8, 8, 16, 16, 16, 8]  # channels: conv1, conv2, res1 (2), conv3, res2 (2), conv4
    products = 256 * 9 * c[0] + 64 * (25 * c[0] * c[1] + 2 * 9 * c[1] ** 2 + 9 * c[1] * c[4])
    products += 16 * 2 * 9 * c[4] ** 2 + 4 * 9 * c[4] * c[7] + c[7] * 10
    rate = counted_rate(works[0].trial, (1, 16, 16), "cpu")
    assert rate.seconds == pytest.approx(2 * products / (2 * SPEED["cpu"]))
    assert rate.basis == "operations counted, 0.04 TFLOP/s assumed (cpu)"


def test_operations_of_attention_by_hand(planned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The vision transformer, 512 wide, of 8×8 patches of 2×2 and a class token. What a build computes is no part of it."""

    def built(*given: Any) -> Any:
        torch.ones(64, 64) @ torch.ones(64, 64)
        return build(*given)

    monkeypatch.setattr(training_step, "build", built)
    works, _ = planned("model=vit_small")
    tokens, dim = 65, 512
    block = tokens * dim * (3 * dim + dim + 2 * dim) + 2 * tokens**2 * dim  # linear layers; products of all pairs
    products = 64 * 4 * dim + 6 * block + dim * 10
    assert counted_rate(works[0].trial, (1, 16, 16), "cpu").seconds == pytest.approx(2 * products / SPEED["cpu"])


def test_a_small_step_on_a_gpu_takes_its_least_time(planned: Any) -> None:
    works, _ = planned("batch_size=50", "threads=2")  # of the CPU alone
    rate = counted_rate(works[0].trial, (1, 16, 16), "cuda")
    assert rate.seconds == pytest.approx(STEP_SECONDS["cuda"] / 150)
    assert rate.basis == "operations counted, 10 TFLOP/s assumed (cuda)"


@pytest.mark.parametrize(("seconds", "images"), [(1e-9, 32), (1 / 100, 16), (10.0, 8)])
def test_a_dry_run_does_not_wait_for_a_heavy_network(
    planned: Any, monkeypatch: pytest.MonkeyPatch, seconds: float, images: int
) -> None:
    """By the operations of a forward pass: two seconds for four steps, of 8 images at least, of a batch at most."""
    works, seen = planned()[0], []
    monkeypatch.setattr(training_step, "counted_rate", lambda *_: Rate(seconds, "counted"))

    def built(*given: Any) -> Any:
        network = build(*given)
        network.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
        return network

    monkeypatch.setattr(training_step, "build", built)
    timed(works[0].trial, (1, 16, 16), torch.device("cpu"))
    assert set(seen) == {images}
    assert 2 <= len(seen) <= 4


def test_a_step_timed_here(planned: Any) -> None:
    works, _ = planned("seed=5")
    try:
        rate = timed(works[0].trial, (1, 16, 16), torch.device("cpu"))
    finally:
        torch.set_num_threads(1)
    assert rate.seconds > 0
    assert rate.basis == "a training step timed on this machine (cpu)"
