"""What a step takes is bounded: kernels, operations, bytes, reads of the host and copies, counted by shape on `meta`.

A GPU gets kernels one by one, waits where the host reads a value, and moves bytes more slowly than it multiplies. So a
change that adds any of these to a step fails here, on a machine without a GPU. Operations are bounded by passes of an image,
F, as docs/performance.md counts them. The other bounds are what was counted when they were set, and a twentieth more.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.harness import Operations
from memloc.models.build import build
from memloc.run.by_shape.computations import of_step
from memloc.run.by_shape.counting import Counts
from memloc.run.by_shape.short_runs import part_counts
from memloc.run.by_shape.subject import Subject
from memloc.run.plan import AnalysisPlan
from tests.run.test_by_shape import subject_of

BATCH = 64  # images of 16×16
STEPS: dict[str, tuple[dict[str, Any], int, float]] = {  # {name: (fields, kernels, MB)}
    "resnet9": ({}, 124, 77),
    "tied": ({"dropout": "example_tied", "p_gen": 0.3, "p_mem": 0.2}, 162, 92),
    "standard": ({"dropout": "standard", "keep": 0.6}, 156, 110),
    "sparse": ({"dropout": "sparse", "keep": 0.6}, 134, 79),
    "crop_flip": ({"augment": "crop_flip"}, 144, 78),
    "resnet50": ({"model": "resnet50"}, 662, 1376),
    "vit_small": ({"model": "vit_small"}, 503, 8400),
}


@cache
def forward(subject: Subject) -> float:
    """Operations of a forward pass of one image, on the CPU."""
    network = build(subject.config, subject.shape, subject.size.classes).eval()
    with torch.no_grad(), Operations() as counted:
        network(torch.zeros(1, *subject.shape))
    return counted.flops


def one(folder: Path, stage: str, **fields: Any) -> tuple[Subject, AnalysisPlan]:
    subject, (analysis,) = subject_of(folder, stages=stage, **fields)
    return subject, analysis


def per_batch(subject: Subject, analysis: AnalysisPlan, few: int, more: int) -> Counts:
    """What `more` − `few` further examples take."""
    kind, config = analysis.kind, analysis.config
    part = next(p for p in analysis.parts if p.get("epoch") != subject.config.epochs or len(analysis.parts) == 1)
    short, longer = (part_counts(subject.of_length(n, 0), kind, config, part) for n in (few, more))
    return longer.since(short)


@pytest.mark.parametrize("name", list(STEPS))
def test_a_training_step(tmp_path: Path, name: str) -> None:
    """Nothing is read and nothing is copied within an epoch; a step is a forward pass and two of the size of it backward."""
    fields, kernels, megabytes = STEPS[name]
    subject, _ = subject_of(tmp_path, **fields)
    step = of_step(subject)
    assert (step.reads, step.copies) == (0, 0)
    assert 2.5 * BATCH * forward(subject) < step.operations <= 3 * BATCH * forward(subject)
    assert step.launches <= kernels
    assert step.moved / 1e6 <= megabytes


@pytest.mark.parametrize(
    ("stage", "passes", "kernels", "megabytes"),
    [
        ("gradients: {at: checkpoint, epochs: [1]}", 7, 195, 172),  # forward, and backward from each of three sets
        ("gradients: {epochs: [1]}", 17, 503, 409),  # a training step, and backward from seven sets
    ],
)
def test_a_batch_of_gradients(tmp_path: Path, stage: str, passes: int, kernels: int, megabytes: float) -> None:
    subject, analysis = one(tmp_path, stage)
    batch = per_batch(subject, analysis, 2 * BATCH, 3 * BATCH)
    assert (batch.reads, batch.copies) == (0, 0)
    assert (passes - 1) * BATCH * forward(subject) < batch.operations <= passes * BATCH * forward(subject)
    assert batch.launches <= kernels
    assert batch.moved / 1e6 <= megabytes


def test_a_group_of_rewinding(tmp_path: Path) -> None:
    """256 images, rewound to one epoch in nine layers: 1 F, and 4.55 F from each layer on."""
    subject, analysis = one(tmp_path, "rewind: {epochs: [0]}", subset=768)
    group = per_batch(subject, analysis, 256, 512)
    assert (group.reads, group.copies) == (0, 0)
    assert group.operations <= 5.55 * 256 * forward(subject)
    assert group.launches <= 247
    assert group.moved / 1e6 <= 430


def test_a_step_of_flip_searches(tmp_path: Path) -> None:
    """A read of the predictions and one of the chosen neurons, however many search together.

    Each search closes a neuron of the first layer, as on `meta` it does. So it takes 10 F for its own five copies, forward
    and backward, and 32 F for 16 references; the open gates' references are 16 F for all.
    """

    def step(searches: int) -> tuple[Subject, Counts]:
        half = f"clean: {searches // 2}, noisy: {searches // 2}, group_size: {searches}"
        subject, analysis = one(tmp_path, f"flips: {{{half}, post_eval: 0}}")
        kind, config, part = analysis.kind, analysis.config, analysis.parts[0]
        short, longer = (config.model_copy(update={"max_neurons": count}) for count in (1, 2))
        counts = [part_counts(subject, kind, c, part, again=True) for c in (short, longer)]
        return subject, counts[1].since(counts[0])

    (subject, of_16), (_, of_8) = step(16), step(8)
    assert of_16.reads == of_8.reads <= 2
    assert of_16.copies == of_8.copies <= 13
    assert of_16.operations <= (42 * 16 + 16) * forward(subject)
    assert of_16.launches <= 222
    assert of_16.moved / 1e6 <= 367
