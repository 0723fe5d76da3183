"""Gradients along a training's updates, against a bare training loop and against what the optimizer was given."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.analysis.reading import run_sql
from memloc.config import FieldError, canonical
from memloc.errors import ReplayError
from memloc.models.architectures import resolved
from memloc.models.build import build
from memloc.stages.gradients.config import CONTROLS, Gradients, GradientsConfig
from memloc.stages.gradients.sets import example_sets
from memloc.stages.gradients.trajectory import trajectory
from memloc.stages.training.batches import batches
from memloc.stages.training.loop import Training
from memloc.stages.training.optimizer import SGD
from memloc.stages.training.steps import learning_rate
from memloc.store import Store
from tests.conftest import run_inline
from tests.stages.conftest import DROPOUTS, TIED, Trained, run, run_once
from tests.stages.naive import pixels

STAGE = Gradients()
FROZEN = {"batch_norm": "frozen"}


def sums_of(trained: Trained, by_batch: bool = False) -> list[list[list[Tensor]]]:
    """[epoch − 1][set][parameter]"""
    epochs = range(1, trained.config.epochs + 1)
    return [s for _, _, s in trajectory(trained.inputs(), epochs, members_of(trained), by_batch)]


def members_of(trained: Trained) -> np.ndarray:
    return example_sets(trained.data.noisy, trained.data.y, trained.config.seed, CONTROLS)


def bare_loop(trained: Trained, by_batch: bool = False) -> list[list[list[Tensor]]]:
    """A training of one's own: a forward and a backward pass per set and step, a hand-written SGD."""
    config, data = trained.config, trained.data
    network = build(config, data.shape, data.classes)
    network.load_state_dict(trained.epochs[0].weights)
    x, y, n = pixels(data.x), torch.tensor(data.y), len(data.y)
    members = torch.from_numpy(members_of(trained))
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
    for epoch, (clean, noisy, *_) in enumerate(found):
        steps = given[epoch * len(given) // 2 : (epoch + 1) * len(given) // 2]
        for i, (c, o) in enumerate(zip(clean, noisy, strict=True)):
            whole = sum(g[i] for g in steps)
            assert (c + o - whole).norm() <= 1e-4 * max(float(c.norm()), float(o.norm())) + 1e-7


def rows_of(trained: Trained, *epochs: int, states: Collection[int] = ()) -> list[dict[str, list[Any]]]:
    config = STAGE.resolve(GradientsConfig(epochs=epochs or None), trained.config)
    parts = STAGE.parts(config, trained.config, trained.size)
    return [dict(tables["gradients"]) for tables in STAGE.run_together(config, trained.inputs(states), parts)]


def test_rows() -> None:
    plain = run_once(epochs=4)
    _, rows = rows_of(plain, 1, 3)
    assert set(rows["epoch"]) == {3}
    config = STAGE.resolve(GradientsConfig(epochs=(1, 3)), plain.config)
    assert STAGE.rows(config, plain.size)["gradients"] >= len(rows["epoch"])
    assert [STAGE.goes_on_from(config, part) for part in STAGE.parts(config, plain.config, plain.size)] == [0, 2]
    clean, noisy, *controls = sums_of(plain)[2]
    name, _ = next(iter(build(plain.config, plain.data.shape, plain.data.classes).named_parameters()))
    assert rows["param"][0] == name
    c, o = (s[0].double().flatten() for s in (clean, noisy))
    assert rows["dot"][0] == pytest.approx(float(c @ o))
    each = [control[0].double().flatten() for control in controls]
    assert len(each) == 5
    assert rows["sq_control"][0] == pytest.approx(np.mean([float(r @ r) for r in each]))
    assert rows["dot_control"][0] == pytest.approx(np.mean([float(r @ (c + o - r)) for r in each]))
    assert len({float(r @ r) for r in each}) == 5


STOPPED = {"stop_after_perfect": 1, "epochs": 6, "subset": 10, "batch_size": 5, "width": 0.25, "noise": 0.1}


@pytest.mark.parametrize("fields", [{}, STOPPED, FROZEN, TIED], ids=["plain", "stopped", "frozen", "tied"])
def test_the_same_bits_from_any_state(fields: dict[str, Any]) -> None:
    """From the state before the epoch, from an earlier one, from the start, and after the epoch before in one go."""
    trained = run(**fields)
    last = trained.config.epochs
    assert (trained.epochs[-1].row is None) == (fields == STOPPED)
    mask_mode = {"mask_mode": "own"} if "dropout" in fields else {}
    config = STAGE.resolve(GradientsConfig(**mask_mode), trained.config)
    parts = STAGE.parts(config, trained.config, trained.size)
    whole = list(STAGE.run_together(config, trained.inputs(), parts))
    for states in (range(last), (1,)):
        assert [STAGE.run(config, trained.inputs(states), part) for part in parts] == whole
        assert list(STAGE.run_together(config, trained.inputs(states), parts)) == whole


QUANTITIES = ("sq_clean", "sq_noisy", "dot", "sq_control", "dot_control")


def test_an_epoch_without_updates_has_no_gradients() -> None:
    """After `stop_after_perfect` there is nothing to add up. A norm of 0 would say that the sets ask for nothing."""
    trained = run(**STOPPED)
    there = [epoch.row is not None for epoch in trained.epochs[1:]]
    assert set(there) == {True, False}
    for states in ((), range(6)):
        for rows, has_updates in zip(rows_of(trained, states=states), there, strict=True):
            assert all((value is not None) == has_updates for name in QUANTITIES for value in rows[name])
            assert rows["numel"] == [p.numel() for p in build(trained.config, (1, 16, 16), 10).parameters()]


def test_means_over_epochs_are_over_those_with_updates(tmp_path: Path) -> None:
    given = {**STOPPED, "dataset": "digits", "model": "resnet9"}
    fields = ", ".join(f"{name}: {value}" for name, value in given.items())
    store = Store(str(tmp_path / "store"))
    run_inline(tmp_path, f"defaults: {{{fields}}}\nblocks: {{b: {{stages: {{gradients: {{}}}}}}}}\n", store)
    trained = run_sql(store, "SELECT epoch FROM epochs ORDER BY epoch")["epoch"].to_pylist()
    assert len(trained) < 6
    seen = run_sql(store, "SELECT DISTINCT epoch FROM gradient_layers ORDER BY epoch")["epoch"].to_pylist()
    assert seen == trained
    stored = run_sql(store, "SELECT count(DISTINCT epoch) AS n FROM gradients")["n"].to_pylist()
    assert stored == [6]


def test_each_epoch_begins_at_the_nearest_state(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = run(epochs=6)
    passed: list[int] = []
    pass_over = Training.pass_over

    def counted(self: Training, epoch: int, observe: Any = None) -> Any:
        passed.append(epoch)
        return pass_over(self, epoch, observe)

    monkeypatch.setattr(Training, "pass_over", counted)
    for states, epochs, expected in (
        ((), (2, 4), [1, 2, 3, 4]),
        (range(6), (2, 6), [2, 6]),
        ((3,), (2, 3, 6), [1, 2, 3, 4, 5, 6]),
        ((2, 4), (3, 5, 6), [3, 5, 6]),
    ):
        passed.clear()
        rows_of(trained, *epochs, states=states)
        assert passed == expected


def test_an_empty_set_is_null() -> None:
    trained = run(noise=0.0, epochs=1)
    (rows,) = rows_of(trained)
    assert set(rows["sq_noisy"]) == set(rows["dot"]) == set(rows["sq_control"]) == {None}
    assert None not in rows["sq_clean"]


def test_another_checkpoint_is_an_error() -> None:
    trained = run()
    weights = dict(trained.epochs[2].weights)
    name = next(iter(weights))
    weights[name] = weights[name] * (1 + 1e-7)
    trained.epochs[2] = replace(trained.epochs[2], weights=weights)
    with pytest.raises(ReplayError, match="epoch 2: training again gave other weights than the checkpoint's"):
        sums_of(trained)


def test_sums_lie_as_the_gradients_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise `foreach` adds them one by one, each by a kernel of its own."""
    seen: list[bool] = []
    add = torch._foreach_add_

    def noted(sums: list[Tensor], others: Any, *more: Any, **options: Any) -> Any:
        if isinstance(others, list) and not options:  # of an optimizer they have a rate
            seen.append(all(a.stride() == b.stride() for a, b in zip(sums, others, strict=True)))
        return add(sums, others, *more, **options)

    trained = run_once(epochs=1)
    monkeypatch.setattr(torch, "_foreach_add_", noted)
    rows_of(trained)
    assert len(seen) > CONTROLS
    assert all(seen)


def test_a_rule_to_stop_is_not_judged_again_by_other_sets() -> None:
    """Without label noise `stop` never ends a training. S_n of an analysis may be atypical examples nevertheless."""
    fields = {"noise": 0.0, "epochs": 3}
    with_rule = run(**fields, stop={"noisy_acc_below": 1.0, "at_epoch": 1})
    assert len(with_rule.epochs) == 4
    atypical = replace(with_rule.data, noisy=np.arange(len(with_rule.data.y)) % 5 == 0)
    found = [rows_of(replace(trained, data=atypical)) for trained in (with_rule, run(**fields))]
    assert found[0] == found[1]
    assert min(found[0][-1]["sq_noisy"]) > 0


def test_a_diverged_training_has_nan() -> None:
    trained = run(lr=1e30, epochs=2)
    assert all(v.isnan().any() for v in trained.epochs[1].weights.values() if v.is_floating_point())
    assert all(np.isnan(v) for v in rows_of(trained)[1]["sq_clean"])


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


def test_the_default_and_the_neutral_value() -> None:
    config = resolved(dataset="digits", model="resnet9", epochs=3)
    assert STAGE.resolve(GradientsConfig(at="trajectory"), config) == STAGE.resolve(GradientsConfig(), config)
    at_checkpoints, along = (STAGE.resolve(GradientsConfig(at=at), config) for at in ("checkpoint", "trajectory"))
    assert [canonical(c).get("at") for c in (at_checkpoints, along)] == [None, "trajectory"]
    assert STAGE.parts(at_checkpoints, config, Trained) == [{"epoch": t} for t in range(4)]  # type: ignore[arg-type]
    assert STAGE.parts(along, config, Trained) == [{"epoch": t} for t in range(1, 4)]  # type: ignore[arg-type]
    assert [STAGE.epochs(along, config, part) for part in ({"epoch": 1}, {"epoch": 3})] == [[], []]


def test_the_controls_have_the_class_counts_of_the_noisy_set() -> None:
    noisy, y = np.arange(60) % 5 == 0, np.arange(60) % 4 * (np.arange(60) < 50)
    clean, other, *controls = example_sets(noisy, y, 3, CONTROLS)
    assert np.array_equal(clean, ~noisy)
    assert np.array_equal(other, noisy)
    for control in controls:
        assert np.array_equal(np.bincount(y[control], minlength=4), np.bincount(y[noisy], minlength=4))
    assert len({control.tobytes() for control in (*controls, noisy)}) == 6
    assert np.array_equal(controls[0], example_sets(noisy, y, 3, 1)[2])  # that of a checkpoint
    assert not np.array_equal(controls[0], example_sets(noisy, y, 4, 1)[2])
    drawn = np.mean([example_sets(noisy, y, seed, 1)[2] for seed in range(400)], axis=0)
    expected = (np.bincount(y[noisy], minlength=4) / np.bincount(y, minlength=4))[y]
    assert np.abs(drawn - expected).max() < 0.12  # every example of a class with the same probability
