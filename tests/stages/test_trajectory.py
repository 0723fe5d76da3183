"""Gradients along a training's updates, against a bare training loop and against what the optimizer was given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.config import FieldError
from memloc.errors import ReplayError
from memloc.models.architectures import resolved
from memloc.models.build import build
from memloc.stages.gradients.compute import example_sets
from memloc.stages.gradients.config import Gradients, GradientsConfig
from memloc.stages.gradients.trajectory import trajectory
from memloc.stages.training.batches import batches
from memloc.stages.training.sgd import SGD
from memloc.stages.training.steps import learning_rate
from tests.stages.conftest import DROPOUTS, TIED, Trained, run, run_once
from tests.stages.naive import pixels

STAGE = Gradients()
PART = {"at": "trajectory"}
FROZEN = {"batch_norm": "frozen"}


def sums_of(trained: Trained, by_batch: bool = False) -> list[list[list[Tensor]]]:
    """[epoch − 1][set][parameter]"""
    members = example_sets(trained.data.noisy, trained.config.seed)
    return [s for _, _, s in trajectory(trained.inputs(), trained.config.epochs, members, by_batch)]


def bare_loop(trained: Trained, by_batch: bool = False) -> list[list[list[Tensor]]]:
    """A training of one's own: a forward and a backward pass per set and step, a hand-written SGD."""
    config, data = trained.config, trained.data
    network = build(config, data.shape, data.classes)
    network.load_state_dict(trained.epochs[0].weights)
    x, y, n = pixels(data.x), torch.tensor(data.y), len(data.y)
    members = torch.from_numpy(example_sets(data.noisy, config.seed))
    parameters = list(network.parameters())
    velocity = [torch.zeros_like(p) for p in parameters]
    found = []
    for epoch in range(1, config.epochs + 1):
        sums = [[torch.zeros_like(p) for p in parameters] for _ in members]
        cut = batches(config, n, epoch)
        network.train(config.batch_norm.kind == "train" or epoch == 1)
        for k, rows in enumerate(cut):
            buffers = {name: b.clone() for name, b in network.named_buffers()}
            scale = 1.0 if by_batch else len(rows) / n
            for of_set, total in zip(members, sums, strict=True):
                losses = F.cross_entropy(network(x[rows]), y[rows], reduction="none")
                g = torch.autograd.grad(losses[of_set[rows]].sum() / len(rows), parameters)
                for one, more in zip(total, g, strict=True):
                    one += scale * more
            for name, b in network.named_buffers():
                b.copy_(buffers[name])
            g = torch.autograd.grad(F.cross_entropy(network(x[rows]), y[rows]), parameters)
            lr = learning_rate(config, (epoch - 1) * len(cut) + k, config.epochs * len(cut), len(cut))
            with torch.no_grad():
                for p, v, own in zip(parameters, velocity, g, strict=True):
                    v.mul_(config.momentum).add_(own + config.weight_decay * p)
                    p -= lr * v
        found.append(sums)
    return found


@pytest.mark.parametrize(("by_batch", "batch_norm"), [(False, "train"), (True, "train"), (False, "frozen")])
def test_against_a_bare_loop(by_batch: bool, batch_norm: str) -> None:
    trained = run_once(batch_norm=batch_norm, epochs=2)
    for found, expected in zip(sums_of(trained, by_batch), bare_loop(trained, by_batch), strict=True):
        for of_set, wanted in zip(found, expected, strict=True):
            for a, b in zip(of_set, wanted, strict=True):
                # Rounding grows along a training in which ReLUs switch.
                assert (a - b).norm() <= 2e-3 * b.norm()


@pytest.mark.parametrize(
    "fields",
    [*DROPOUTS.values(), {"augment": "crop_flip"}, FROZEN, {**FROZEN, **DROPOUTS["standard element"], "stochastic": "on"}],
    ids=[*DROPOUTS, "augment", "frozen", "frozen with random dropout"],
)
def test_clean_and_noisy_add_up_to_what_the_optimizer_was_given(
    fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = run(**fields, epochs=2, subset=72)
    n, given = len(trained.data.y), []
    sizes = [len(rows) for epoch in (1, 2) for rows in batches(trained.config, n, epoch)]
    step = SGD.step

    def recorded(self: SGD) -> None:
        scale = sizes[len(given)] / n
        given.append([scale * p.grad.clone() for group in self.param_groups for p in group["params"]])
        step(self)

    monkeypatch.setattr(SGD, "step", recorded)
    found = sums_of(trained)
    for epoch, (clean, noisy, _) in enumerate(found):
        steps = given[epoch * len(given) // 2 : (epoch + 1) * len(given) // 2]
        for i, (c, o) in enumerate(zip(clean, noisy, strict=True)):
            whole = sum(g[i] for g in steps)
            assert (c + o - whole).norm() <= 1e-4 * max(float(c.norm()), float(o.norm())) + 1e-7


def test_rows() -> None:
    trained = run_once(epochs=4)
    config = STAGE.resolve(GradientsConfig(at="trajectory", epochs=(1, 3)), trained.config)
    rows = STAGE.run(config, trained.inputs(), PART)["gradients"]
    assert sorted(set(rows["epoch"])) == [1, 3]
    assert STAGE.rows(config, trained.size)["gradients"] >= len(rows["epoch"])
    assert list(STAGE.epochs(config, trained.config, PART)) == list(range(4))
    clean, noisy, control = sums_of(trained)[2]
    at = rows["epoch"].index(3)
    name, _ = next(iter(build(trained.config, trained.data.shape, trained.data.classes).named_parameters()))
    assert rows["param"][at] == name
    assert rows["dot"][at] == pytest.approx(float(clean[0].double().flatten() @ noisy[0].double().flatten()))
    rest = clean[0].double() + noisy[0].double() - control[0].double()
    assert rows["dot_control"][at] == pytest.approx(float((control[0].double() * rest).sum()))


def test_an_empty_set_is_null() -> None:
    trained = run(noise=0.0, epochs=1)
    config = STAGE.resolve(GradientsConfig(at="trajectory"), trained.config)
    rows = STAGE.run(config, trained.inputs(), PART)["gradients"]
    assert set(rows["sq_noisy"]) == set(rows["dot"]) == {None}
    assert None not in rows["sq_clean"]


def test_another_checkpoint_is_an_error() -> None:
    trained = run()
    weights = dict(trained.epochs[2].weights)
    name = next(iter(weights))
    weights[name] = weights[name] * (1 + 1e-7)
    trained.epochs[2] = replace(trained.epochs[2], weights=weights)
    with pytest.raises(ReplayError, match=f"epoch 2: training again gave other weights.*{name}"):
        sums_of(trained)


def test_a_diverged_training_has_nan() -> None:
    trained = run(lr=1e30, epochs=2)
    assert all(v.isnan().any() for v in trained.epochs[1].weights.values() if v.is_floating_point())
    config = STAGE.resolve(GradientsConfig(at="trajectory"), trained.config)
    rows = STAGE.run(config, trained.inputs(), PART)["gradients"]
    assert all(np.isnan(v) for e, v in zip(rows["epoch"], rows["sq_clean"], strict=True) if e == 2)


@pytest.mark.parametrize(
    ("training", "fields", "field", "says"),
    [
        ({}, {"bn": "running"}, "bn", "valid: batch"),
        (FROZEN, {"bn": "batch"}, "bn", "valid: running"),
        ({}, {"epochs": (0, 2)}, "epochs", "valid: 1 to T"),
        (TIED, {"mask_mode": "plain"}, "mask_mode", "valid: own"),
        (TIED, {}, "mask_mode", "required"),
        ({"precision": "fp16"}, {}, "at", "precision: fp16"),
        ({"compile": True}, {}, "at", "compile: true"),
    ],
)
def test_what_does_not_fit(training: dict[str, Any], fields: dict[str, Any], field: str, says: str) -> None:
    config = resolved(dataset="digits", model="resnet9", epochs=3, **training)
    with pytest.raises(FieldError, match=says) as caught:
        STAGE.resolve(GradientsConfig(at="trajectory", **fields), config)
    assert caught.value.field == field


def test_a_checkpoint_is_the_default_and_in_no_id() -> None:
    config = resolved(dataset="digits", model="resnet9", epochs=3)
    assert STAGE.resolve(GradientsConfig(at="checkpoint"), config) == STAGE.resolve(GradientsConfig(), config)
    assert STAGE.parts(STAGE.resolve(GradientsConfig(), config), config, Trained) == [{"epoch": t} for t in range(4)]


def test_members_of_the_control() -> None:
    noisy = np.arange(50) < 12
    clean, other, control = example_sets(noisy, 3)
    assert control.sum() == 12
    assert np.array_equal(clean, ~noisy)
    assert np.array_equal(other, noisy)
    assert not np.array_equal(example_sets(noisy, 4)[2], control)
