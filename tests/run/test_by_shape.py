"""Memory and work by shapes alone, against what PyTorch's allocator hands out on a CPU, and against counts by hand."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from memloc.models.groups import Network
from memloc.run.by_shape.computations import memory_of_part, of_epoch, of_part, of_step
from memloc.run.by_shape.counting import Counting
from memloc.run.by_shape.elsewhere import NeedsValuesError
from memloc.run.by_shape.memory import CONTEXT, decision, in_words, needs, needs_of_network, on_gpu
from memloc.run.by_shape.price import training_rate
from memloc.run.by_shape.short_runs import part_counts, steps_counts
from memloc.run.by_shape.stand_in import StandIn, stand_in_data
from memloc.run.by_shape.subject import Subject
from memloc.run.card_memory import demands
from memloc.run.cards import CARDS
from memloc.run.estimate import cost_model
from memloc.run.pending import pending
from memloc.run.placement import Resources
from memloc.run.plan import AnalysisPlan
from memloc.run.quantities import checkpoint_bytes, result_bytes, states_bytes
from memloc.run.sweep_needs import needs as sweep_needs
from memloc.stages.training.loop import Training
from memloc.store import Snapshot, Store
from tests.conftest import planned

CPU = torch.device("cpu")
SWEEP = """
defaults: {{{defaults}}}
blocks: {{a: {{stages: {{{stages}}}}}}}
"""
STAGES = {
    "trajectory": "gradients: {epochs: [1]}",
    "checkpoint": "gradients: {at: checkpoint, epochs: [1]}",
    "running": "gradients: {at: checkpoint, epochs: [1], bn: running}",
    "rewind": "rewind: {epochs: [0, 2]}",
    "retrain": "retrain: {epochs: 1}",
    "flips": "flips: {clean: 8, noisy: 8, group_size: 16, max_neurons: 2, post_eval: 100}",
    "definition": "flips: {clean: 4, noisy: 4, max_neurons: 2, post_eval: 0, estimator: definition, batch: 64}",
    "evaluate": "evaluate: {}",
    "second_split": "second_split: {epochs: 1}",
}


def subject_of(folder: Path, model: str = "resnet9", stages: str = "", **more: Any) -> tuple[Subject, list[AnalysisPlan]]:
    usual = {"dataset": "digits", "model": model, "epochs": 2, "batch_size": 64, "subset": 256, "noise": 0.2}
    width = {"width": 0.25} if model == "resnet9" else {}
    text = SWEEP.format(defaults=", ".join(f"{k}: {v}" for k, v in (usual | width | more).items()), stages=stages)
    (trial,) = planned(folder, text).trials
    return Subject.of(trial, (1, 16, 16)), list(trial.analyses)


def measured_peak(run: Callable[[], object]) -> int:
    """The most bytes that PyTorch's allocator for CPUs has handed out at a time, by its profiler."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    events = profiled.profiler.kineto_results.events()  # type: ignore[union-attr]
    alive = peak = 0
    for _, size in sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"):
        alive += size
        peak = max(peak, alive)
    return peak


class OnCpu(StandIn):
    """Inputs on a CPU, whose network predicts class 0 for everything, as networks without numbers do."""

    def network(self, epoch: int) -> Network:
        network = super().network(epoch)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.zero_()
        return network


def train(subject: Subject) -> None:
    training = Training(subject.config, stand_in_data(subject.size, subject.shape), CPU)
    training.train_epoch(1)


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("resnet9", {}),
        ("resnet9", {"optimizer": "adamw"}),
        ("resnet9", {"dropout": "standard", "keep": 0.5}),
        ("resnet9", {"dropout": "example_tied", "p_gen": 0.5, "p_mem": 0.1}),
        pytest.param("resnet50", {"subset": 20, "batch_size": 10}, marks=pytest.mark.slow),
        pytest.param("vit_small", {"subset": 20, "batch_size": 10}, marks=pytest.mark.slow),
    ],
)
def test_the_peak_of_a_training_is_the_allocators(tmp_path: Path, model: str, more: dict[str, Any]) -> None:
    subject, _ = subject_of(tmp_path, model, **more)
    assert steps_counts(subject)[-1].peak == pytest.approx(measured_peak(partial(train, subject)), rel=0.04)


@pytest.mark.parametrize("stage", STAGES)
def test_the_peak_of_a_part_is_the_allocators(tmp_path: Path, stage: str) -> None:
    subject, (analysis,) = subject_of(tmp_path, stages=STAGES[stage])
    part = analysis.parts[0]

    def run() -> None:
        data = stand_in_data(subject.size, subject.shape)
        inputs: StandIn = OnCpu(subject.config, data, CPU, lambda epoch: inputs.first_weights)
        for _ in analysis.kind.run_together(analysis.config, inputs, [part]):
            pass

    peak = part_counts(subject, analysis.kind, analysis.config, part).peak
    if stage == "second_split":  # the last state of the first half: on a GPU it is in the host's memory
        peak += 2 * 4 * subject.size.parameters
    # On a CPU the batch's statistics are added up by operations of our own (models/batch_norm.py).
    assert peak == pytest.approx(measured_peak(run), rel=0.1 if stage == "checkpoint" else 0.05)


def test_more_examples_follow_from_few(tmp_path: Path) -> None:
    """An epoch of 1,797 examples, from those of 512 and of 768: as if all had run."""
    subject, _ = subject_of(tmp_path, subset="null", width=0.125)
    every, few = steps_counts(subject)[-1], of_epoch(subject)
    assert few.operations == pytest.approx(every.operations, rel=0.01)
    assert few.moved == pytest.approx(every.moved, rel=0.02)
    assert few.launches == pytest.approx(every.launches, rel=0.05)
    assert few.peak == pytest.approx(every.peak, rel=0.02)
    assert few.kept == pytest.approx(every.kept, rel=0.02)


@pytest.mark.parametrize(
    "stage", ["rewind", *(pytest.param(s, marks=pytest.mark.slow) for s in ("retrain", "second_split", "checkpoint"))]
)
def test_more_examples_and_epochs_of_a_part(tmp_path: Path, stage: str) -> None:
    subject, (analysis,) = subject_of(
        tmp_path, stages=STAGES[stage].replace("epochs: 1}", "epochs: 3}"), subset="null", width=0.125
    )
    part = analysis.parts[0]
    every, few = part_counts(subject, analysis.kind, analysis.config, part), of_part(subject, analysis)
    assert few.operations == pytest.approx(every.operations, rel=0.03)
    assert few.launches == pytest.approx(every.launches, rel=0.1)
    assert few.peak == pytest.approx(every.peak, rel=0.05)
    assert memory_of_part(subject, analysis)[0] == pytest.approx(
        every.peak, rel=0.3
    )  # of two batches: without what grows with all examples


@pytest.mark.parametrize("stage", STAGES)
def test_work_is_that_of_a_cpu(tmp_path: Path, stage: str) -> None:
    """What `meta` gives without computing has the shapes of what is computed, and every read gets its value."""
    subject, (analysis,) = subject_of(tmp_path, stages=STAGES[stage], width=0.125)
    part = analysis.parts[0]
    with Counting("cpu") as counting:
        data = stand_in_data(subject.size, subject.shape)
        inputs: StandIn = OnCpu(subject.config, data, CPU, lambda epoch: inputs.first_weights)
        for _ in analysis.kind.run_together(analysis.config, inputs, [part]):
            pass
    counted = part_counts(subject, analysis.kind, analysis.config, part)
    assert counted.operations == pytest.approx(counting.counts.operations, rel=1e-6)
    assert counted.operations > 0


def test_a_step_by_hand(tmp_path: Path) -> None:
    """ResNet-9: three times the products of a forward pass, less the gradient of the images. Nothing is read or copied."""
    subject, _ = subject_of(tmp_path, width=0.0625)
    c = [4, 8, 8, 8, 16, 16, 16, 8]  # channels: conv1, conv2, res1 (2), conv3, res2 (2), conv4
    first = 256 * 9 * c[0]
    rest = 64 * (25 * c[0] * c[1] + 2 * 9 * c[1] ** 2 + 9 * c[1] * c[4])
    rest += 16 * 2 * 9 * c[4] ** 2 + 4 * 9 * c[4] * c[7] + c[7] * 10
    step = of_step(subject)
    assert step.operations == 2 * 64 * (2 * first + 3 * rest)
    assert (step.reads, step.copies) == (0, 0)
    assert step.launches < 150
    images = 64 * 256 * 4
    assert 20 * images < step.moved < 400 * images


def test_recomputing_takes_less_memory_and_a_third_more_operations(tmp_path: Path) -> None:
    subject, _ = subject_of(tmp_path, "resnet50", subset=512, batch_size=256)
    subject = subject.of_length(512, 64)._replace(shape=(3, 32, 32))
    plain, again = (of_epoch(subject._replace(recomputing=on)) for on in (False, True))
    assert again.peak - again.kept < 0.7 * (plain.peak - plain.kept)
    assert 1.2 < again.operations / plain.operations < 1.4


def test_the_largest_training_of_a_sweep(tmp_path: Path) -> None:
    text = """
defaults: {dataset: digits, model: resnet9, subset: 512, epochs: 1, batch_size: 128}
blocks: {a: {axes: {width: [0.5, 0.125], seed: 0..9}}}
"""
    plan, store = planned(tmp_path, text), Store(str(tmp_path / "store"))
    needed = sweep_needs(pending(plan, store, Snapshot({}, {}, []), "all", set_aside=False), tmp_path, "all", gpus=True)
    assert needed.training == "a training of resnet9 on digits with batches of 128"
    again = (Subject.of(trial, (1, 16, 16))._replace(recomputing=True) for trial in (plan.trials[0], plan.trials[-1]))
    largest, smallest = map(of_epoch, again)
    assert needed.gpu_bytes == pytest.approx(on_gpu(largest.peak), rel=0.001)  # all logits and dynamics are not counted
    assert needed.gpu_bytes > on_gpu(smallest.peak) > CONTEXT
    assert needed.gpu_bytes < on_gpu(of_epoch(Subject.of(plan.trials[0], (1, 16, 16))).peak)
    assert needed.store_bytes > 20 * 2 * 4 * plan.trials[-1].size.parameters


def test_what_doctor_says_of_a_sweep_is_what_a_launch_would_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Analyses count that need more than the training."""
    text = """
defaults: {dataset: digits, model: resnet9, subset: 256, epochs: 2, batch_size: 64, width: 0.125}
blocks: {a: {stages: {gradients: {at: trajectory}}}}
"""
    plan, store = planned(tmp_path, text), Store(str(tmp_path / "store"))
    works = pending(plan, store, Snapshot({}, {}, []), "all", set_aside=False)
    monkeypatch.setattr("memloc.run.by_shape.computations.memory_of_part", lambda *_: (3 << 30, 0))
    needed, told = sweep_needs(works, tmp_path, "all", gpus=True), list(demands(works, tmp_path))
    assert [demand.need.what for demand in told] == ["training", "gradients trajectory"]
    assert needed.gpu_bytes == told[1].need.least > told[0].need.least
    assert needed.training == "gradients trajectory of resnet9 on digits with batches of 64"
    (trial,) = plan.trials
    without = checkpoint_bytes(trial, "all") + result_bytes([trial])
    assert needed.store_bytes == without + states_bytes(trial) > without


NEEDS_VALUES = """
import torch
from torch import nn

class Scaled(nn.Module):
    def forward(self, x):
        return x * float(x.detach().numpy().max() > -1)

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv, self.scaled, self.fc = nn.Conv2d(1, 8, 3), Scaled(), nn.Linear(8, classes)

    def forward(self, x):
        return self.fc(self.scaled(torch.relu(self.conv(x))).mean((2, 3)))

def make(c, h, w, classes):
    return Net(classes)
"""


def test_a_network_that_needs_values_is_priced_and_its_memory_left_out(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NEEDS_VALUES)
    text = f"""
defaults: {{dataset: digits, model: "python:{tmp_path}/nets.py:make", subset: 256, epochs: 1, batch_size: 64}}
blocks: {{a: {{stages: {{evaluate: {{}}}}}}}}
"""
    plan, store = planned(tmp_path, text), Store(str(tmp_path / "store"))
    works = pending(plan, store, Snapshot({}, {}, []), "all", set_aside=False)
    assert sweep_needs(works, tmp_path, "all", gpus=True).gpu_bytes == 0
    assert list(demands(works, tmp_path)) == []
    model = cost_model(works, store.snapshot(), tmp_path, Resources(), card=CARDS["h100"])
    (trial,) = plan.trials
    assert model.train(works[0]) > 0
    assert "assumed (cuda)" in model.basis()
    with pytest.raises(NeedsValuesError, match="meta"):
        training_rate(trial, (1, 16, 16), CARDS["h100"])


def test_a_bug_of_memloc_is_not_taken_for_a_network_that_needs_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = SWEEP.format(defaults="dataset: digits, model: resnet9, subset: 260, epochs: 2, width: 0.125", stages="")
    plan, store = planned(tmp_path, text), Store(str(tmp_path / "store"))
    works = pending(plan, store, Snapshot({}, {}, []), "all", set_aside=False)

    def wrong(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("memloc.run.by_shape.short_runs.stand_in_data", wrong)
    with pytest.raises(RuntimeError, match="a bug"):
        list(demands(works, tmp_path))
    (trial,) = plan.trials
    with pytest.raises(RuntimeError, match="a bug"):
        list(needs_of_network(trial.config, (1, 16, 16), 10, (260, 100)))


@pytest.mark.parametrize(
    ("plain", "least", "card", "decided"),
    [
        (10, 6, 10, "plain"),
        (10, 6, 9, "recomputing"),
        (10, 6, 6, "recomputing"),
        (10, 6, 5, "too large"),
        (10, 10, 9, "too large"),
    ],
)
def test_when_activations_are_computed_again(plain: int, least: int, card: int, decided: str) -> None:
    assert decision(plain, least, card) == decided


def test_the_needs_of_a_training_and_its_gradients(tmp_path: Path) -> None:
    stages = "gradients: [{epochs: [1]}, {epochs: [2]}, {at: checkpoint}], rewind: {}"
    text = SWEEP.format(defaults="dataset: digits, model: resnet9, epochs: 2, batch_size: 256", stages=stages)
    (trial,) = planned(tmp_path, text).trials
    training, trajectory, checkpoint = needs(trial, (1, 16, 16))
    assert [n.what for n in (training, trajectory, checkpoint)] == [
        "training",
        "gradients trajectory",
        "gradients checkpoint",
    ]
    assert trajectory.peak > training.peak > training.recomputed > training.kept > 4 * 3 * trial.size.parameters
    assert training.plain > training.least > CONTEXT
    assert in_words(training).startswith("training 1.")
    assert in_words(training).endswith(" with activation checkpointing)")
