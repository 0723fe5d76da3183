"""The memory that a training takes, against what a process really holds between its forward and its backward pass."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from memloc.data import describe
from memloc.run.pending import pending
from memloc.run.sweep_needs import needs
from memloc.run.training_memory import CONTEXT, COPIES, training_bytes
from memloc.store import Snapshot, Store
from tests.conftest import planned
from tests.run.programs import environment, python

SWEEP = (
    "defaults: {{dataset: digits, model: {model}, width: {width}, epochs: 1, batch_size: {batch}}}\nblocks: {{a: {{}}}}\n"
)

# In a process of its own, whose memory nothing else changes. Freed memory goes back to the system at once.
PROGRAM = """
import json, os, sys
import psutil, torch
from memloc.models.build import build
from memloc.config import TrainConfig
from tests.conftest import planned
from pathlib import Path

torch.set_num_threads(1)
folder, text, batch = sys.argv[1:]
(trial,) = planned(Path(folder), text, "measured").trials
network = build(trial.config, (1, 16, 16), 10).train()
network.initialise(0)
network(torch.zeros(2, 1, 16, 16)).square().mean().backward()
x = torch.rand(int(batch), 1, 16, 16)
held = []
for part in (x[:2], x):
    before = psutil.Process().memory_info().rss
    loss = network(part).square().mean()
    held.append(psutil.Process().memory_info().rss - before)
    del loss
print(json.dumps(held))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("model", "width"), [("resnet9", 0.5), ("vit_small", 0.25)])
def test_what_the_forward_pass_keeps(tmp_path: Path, model: str, width: float) -> None:
    batch = 512
    text = SWEEP.format(model=model, width=width, batch=batch)
    environ = environment(tmp_path, MALLOC_MMAP_THRESHOLD_="65536", MALLOC_TRIM_THRESHOLD_="0")
    done = python(environ, "-c", PROGRAM, str(tmp_path), text, str(batch))
    assert done.code == 0, done.err
    _, held = json.loads(done.out)
    (trial,) = planned(tmp_path, text).trials
    data = (trial.size.n + trial.size.n_test) * 256
    counted = training_bytes(trial, describe("digits").shape) - CONTEXT - 16 * trial.size.parameters - data
    assert COPIES == 4
    assert held == pytest.approx(counted, rel=0.35), (held, counted)  # which has gradients on top
    assert sys.maxsize > held > 10_000_000


def test_the_largest_training_of_a_sweep(tmp_path: Path) -> None:
    text = SWEEP.format(model="resnet9", width=0.125, batch=128).replace(
        "{a: {}}", "{a: {axes: {width: [0.5, 0.125], seed: 0..9}}}"
    )
    plan, store = planned(tmp_path, text), Store(str(tmp_path / "store"))
    needed = needs(pending(plan, store, Snapshot({}, {}, []), "all", set_aside=False), tmp_path, "all", gpus=True)
    assert needed.training == "a training of resnet9 on digits with batches of 128"
    assert needed.gpu_bytes == training_bytes(plan.trials[0], (1, 16, 16)) > training_bytes(plan.trials[-1], (1, 16, 16))
    assert needed.store_bytes > 20 * 2 * 4 * plan.trials[-1].size.parameters


def test_it_grows_with_the_batch(tmp_path: Path) -> None:
    small, large = (
        training_bytes(planned(tmp_path, SWEEP.format(model="resnet9", width=0.5, batch=b)).trials[0], (1, 16, 16))
        for b in (128, 256)
    )
    fixed = 2 * small - large  # what does not grow
    (trial,) = planned(tmp_path, SWEEP.format(model="resnet9", width=0.5, batch=128)).trials
    assert fixed == pytest.approx(CONTEXT + 16 * trial.size.parameters + 1797 * 256, rel=0.01)
