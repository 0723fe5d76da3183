"""Layer retraining against the plain way: one group at a time, whole passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.reference.retrain import Recipe, retrain_group
from memloc.config import FieldError, canonical
from memloc.data.augment import augment, shifts
from memloc.models.architectures import resolved
from memloc.models.groups import Network
from memloc.models.inference import logits
from memloc.models.kept import Masks
from memloc.seeds import stream
from memloc.stages.retrain.compute import retrain
from memloc.stages.retrain.config import Retrain, RetrainConfig
from tests.models import own_nets
from tests.models.plain import GROUPS
from tests.stages.conftest import DROPOUTS, TIED, Trained, run, run_once
from tests.stages.naive import one_cycle, pixels, split_into_batches

STAGE = Retrain()
E = 3


def config_of(trained: Trained, **fields: Any) -> RetrainConfig:
    return STAGE.resolve(RetrainConfig(**{"epochs": E, **fields}), trained.config)


def rows_of(trained: Trained, group: str, **fields: Any) -> dict[str, list[Any]]:
    return dict(STAGE.run(config_of(trained, **fields), trained.inputs(), {"layer": group})["retrain"])


def plainly(
    trained: Trained, group: str, lr: float = 0.1, peak: int = 2, mode: str | None = None, frozen: bool = False
) -> tuple[Network, list[tuple[float, float]], float]:
    """(network at the end, [(clean, noisy) accuracy] before the first and after each epoch, test accuracy)."""
    c, data = trained.config, trained.data
    clean = np.flatnonzero(~data.noisy)
    batches: list[list[Tensor]] = []
    for epoch in range(1, E + 1):
        order = clean[stream(c.seed, "retrain order", epoch).permutation(len(clean))]
        batches.append([torch.tensor(b) for b in split_into_batches(list(order), c.batch_size)])
    per_epoch = len(batches[0])
    rates = [one_cycle(s, E * per_epoch, per_epoch, peak, lr) for s in range(E * per_epoch)]
    final = trained.inputs().network(c.epochs)
    dropout = trained.inputs().dropout(final)

    def masks(rows: Tensor) -> Masks | None:
        return dropout.evaluation(mode or "plain", rows)

    def training_masks(rows: Tensor, epoch: int, k: int) -> Masks | None:
        if c.dropout.kind == "standard" and frozen and epoch > 1 and c.flat().get("stochastic") != "on":
            return None
        return dropout.evaluation(mode, rows) if mode else dropout.training(rows, epoch, k)

    def images(epoch: int) -> Tensor:
        if c.augment == "none":
            return pixels(data.x)
        moved = [
            augment(torch.tensor(data.x[i : i + 1]), shifts(c.augment, data.example[i : i + 1], 16, 16, c.seed, epoch))
            for i in range(len(data.y))
        ]
        return pixels(torch.cat(moved).numpy())

    seen: list[tuple[float, float]] = []

    def watch(network: Network) -> None:
        correct = logits(network, torch.tensor(data.x), masks).argmax(dim=1).numpy() == data.y
        seen.append((float(correct[~data.noisy].mean()), float(correct[data.noisy].mean())))

    recipe = Recipe(
        images, torch.tensor(data.y), batches, rates, c.momentum, c.weight_decay, training_masks, frozen
    )  # fmt: skip
    network = retrain_group(final, trained.epochs[0].weights, group, recipe, watch)
    test_acc = float("nan")
    if mode != "own":
        test_acc = float((logits(network, torch.tensor(data.x_test), masks).argmax(dim=1).numpy() == data.y_test).mean())
    return network, seen, test_acc


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_against_the_plain_way(plain: Trained, group: str) -> None:
    expected, seen, test_acc = plainly(plain, group)
    (variant,) = retrain(config_of(plain), plain.inputs(), [group])
    behind = tuple(f"{g}." for g in GROUPS[GROUPS.index(group) :])  # the frozen layers before it are shared
    wanted = {k: t for k, t in expected.state_dict().items() if k.startswith(behind)}
    assert len(wanted) >= 1
    for name, found in variant.network.state_dict().items():
        if name not in wanted:
            continue
        torch.testing.assert_close(found, wanted[name], rtol=1e-3, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")
    rows = rows_of(plain, group)
    assert rows["layer"] == [group] * (E + 1)
    assert rows["epoch"] == list(range(E + 1))
    assert list(zip(rows["clean_acc"], rows["noisy_acc"], strict=True)) == seen
    assert rows["test_acc"] == [None] * E + [test_acc]


def test_a_groups_result_does_not_depend_on_its_company(plain: Trained) -> None:
    config = config_of(plain)
    together = retrain(config, plain.inputs(), GROUPS)
    assert [v.group for v in together] == list(GROUPS)
    reverse = {v.group: v for v in retrain(config, plain.inputs(), GROUPS[::-1])}
    for variant in together:
        for other in (reverse[variant.group], *retrain(config, plain.inputs(), [variant.group])):
            assert other.rows == variant.rows
            ours, theirs = variant.network.state_dict(), other.network.state_dict()
            assert all(torch.equal(t, theirs[k]) for k, t in ours.items()), variant.group


@pytest.mark.parametrize("dropout", ["none", "sparse weight"])
def test_frozen_parameters_are_bit_identical(dropout: str) -> None:
    trained = run_once(**DROPOUTS[dropout])
    final = trained.epochs[-1].weights
    for variant in retrain(config_of(trained), trained.inputs(), GROUPS):
        moved = {name for name, p in variant.network.named_parameters() if not torch.equal(p, final[name])}
        assert moved == set(variant.network.parameters_of(variant.group))
        assert not any(p.requires_grad for n, p in variant.network.named_parameters() if n not in moved)


def test_before_the_first_epoch_the_group_is_at_its_initial_values(plain: Trained) -> None:
    """Epoch 0's row is that of rewinding to epoch 0 with the statistics left final."""
    from memloc.stages.rewind.config import Rewind, RewindConfig

    stage = Rewind()
    config = stage.resolve(RewindConfig(epochs=(0,)), plain.config)
    rewound = stage.run(config, plain.inputs(), {"epoch": 0})["rewind"]
    for i, group in enumerate(GROUPS):
        rows = rows_of(plain, group, epochs=1)
        assert (rows["clean_acc"][0], rows["noisy_acc"][0]) == (rewound["clean_acc"][i], rewound["noisy_acc"][i])


def test_running_statistics_move_everywhere(plain: Trained) -> None:
    final = plain.epochs[-1].weights
    for variant in retrain(config_of(plain, epochs=1), plain.inputs(), GROUPS):
        moved = {k for k, t in variant.network.state_dict().items() if "running" in k and not torch.equal(t, final[k])}
        behind = GROUPS[GROUPS.index(variant.group) :]
        assert moved == {k for k in final if "running" in k and k.startswith(tuple(f"{g}." for g in behind))}


def test_noisy_examples_are_never_seen(plain: Trained) -> None:
    """Other labels and images of the noisy examples change their accuracy at most, never the trained group."""
    from dataclasses import replace

    noisy = plain.data.noisy
    x, y = plain.data.x.copy(), plain.data.y.copy()
    x[noisy], y[noisy] = 255 - x[noisy], 0
    other = replace(plain, data=replace(plain.data, x=x, y=y))
    a, b = (retrain(config_of(plain), t.inputs(), ["conv3"])[0] for t in (plain, other))
    assert all(torch.equal(t, b.network.state_dict()[k]) for k, t in a.network.state_dict().items())
    assert [r["clean_acc"] for r in a.rows] == [r["clean_acc"] for r in b.rows]


@pytest.mark.parametrize("mode", ["plain", "own", "dropped"])
def test_mask_modes_against_the_plain_way(tied: Trained, mode: str) -> None:
    expected, seen, test_acc = plainly(tied, "conv3", mode=mode)
    (variant,) = retrain(config_of(tied, mask_mode=mode), tied.inputs(), ["conv3"])
    torch.testing.assert_close(
        variant.network.conv3.conv.weight, expected.conv3.conv.weight, rtol=1e-3, atol=1e-5  # type: ignore[attr-defined]
    )  # fmt: skip
    assert [(r["clean_acc"], r["noisy_acc"]) for r in variant.rows] == seen
    assert variant.rows[-1]["test_acc"] == (None if mode == "own" else test_acc)


def test_rates_and_settings_are_taken_over(plain: Trained) -> None:
    _, seen, _ = plainly(plain, "conv2", lr=0.02, peak=1)
    rows = rows_of(plain, "conv2", lr=0.02, peak_epoch=1)
    assert list(zip(rows["clean_acc"], rows["noisy_acc"], strict=True)) == seen
    assert rows != rows_of(plain, "conv2")


@pytest.mark.parametrize(
    "fields",
    [DROPOUTS["standard element"], DROPOUTS["standard channel"], DROPOUTS["sparse channel"], {"augment": "crop_flip"}],
    ids=str,
)
def test_dropout_and_augmentation_as_in_training(fields: dict[str, Any]) -> None:
    trained = run_once(**fields)
    expected, seen, test_acc = plainly(trained, "conv3")
    (variant,) = retrain(config_of(trained), trained.inputs(), ["conv3"])
    for name in ("conv3.conv.weight", "conv3.bn.weight", "res2.conv1.bn.running_var"):
        torch.testing.assert_close(
            variant.network.state_dict()[name], expected.state_dict()[name], rtol=1e-3, atol=1e-5
        )  # fmt: skip
    assert [(r["clean_acc"], r["noisy_acc"]) for r in variant.rows] == seen
    assert variant.rows[-1]["test_acc"] == test_acc


FROZEN = {"batch_norm": "frozen"}


@pytest.mark.parametrize(
    ("training", "fields", "frozen"),
    [
        ({}, FROZEN, True),  # of a training in train mode
        (FROZEN, {}, True),  # by default as the training
        (FROZEN, {"batch_norm": "train"}, False),
        ({**FROZEN, **DROPOUTS["standard element"]}, {}, True),
        ({**FROZEN, **DROPOUTS["standard element"], "stochastic": "on"}, {}, True),
        ({**FROZEN, **DROPOUTS["sparse channel"]}, {}, True),
        ({**FROZEN, **TIED}, {"mask_mode": "own"}, True),
    ],
    ids=str,
)
def test_its_own_batch_norm(training: dict[str, Any], fields: dict[str, Any], frozen: bool) -> None:
    """Frozen: train mode in the retraining's first epoch, evaluation mode after it, whatever the training did."""
    trained = run_once(**training)
    expected, seen, test_acc = plainly(trained, "conv3", mode=fields.get("mask_mode"), frozen=frozen)
    (variant,) = retrain(config_of(trained, **fields), trained.inputs(), ["conv3"])
    for name in ("conv3.conv.weight", "conv3.bn.weight", "res2.conv1.bn.running_var", "res2.conv1.bn.num_batches_tracked"):
        torch.testing.assert_close(
            variant.network.state_dict()[name], expected.state_dict()[name], rtol=1e-3, atol=1e-5
        )  # fmt: skip
    assert [(r["clean_acc"], r["noisy_acc"]) for r in variant.rows] == seen
    assert variant.rows[-1]["test_acc"] == (None if "mask_mode" in fields else test_acc)
    steps = {name: int(t) for name, t in variant.network.state_dict().items() if name.endswith("num_batches_tracked")}
    tracked = int(trained.epochs[-1].weights["conv4.bn.num_batches_tracked"])
    assert steps["conv4.bn.num_batches_tracked"] == tracked + 3 * (1 if frozen else E)


@pytest.mark.parametrize(("noise", "expected"), [(0.0, "noisy"), (1.0, "both")])
def test_empty_sets_are_null(noise: float, expected: str) -> None:
    rows = rows_of(run(noise=noise, epochs=1), "conv3", epochs=2)
    assert rows["noisy_acc"] == [None] * 3
    assert (rows["clean_acc"] == [None] * 3) == (expected == "both")
    assert rows["epoch"] == [0, 1, 2]


def test_a_group_that_the_network_detaches_stays_as_it_is() -> None:
    """No epoch of the training moves it either, so θ^0 is θ^T."""
    trained = run(model=f"python:{own_nets.__file__}:detached", width=None, subset=60)
    (variant,) = retrain(config_of(trained), trained.inputs(), ["conv"])  # type: ignore[arg-type]
    for name, values in trained.epochs[-1].weights.items():
        assert torch.equal(variant.network.state_dict()[name], values)
    assert len({tuple(row.items()) for row in variant.rows[:-1]}) == 1


def test_configurations() -> None:
    train = resolved(dataset="digits", model="resnet9", epochs=4)
    for epochs, peak in ((20, 10), (1, 1), (5, 2), (7, 4)):
        config = STAGE.resolve(RetrainConfig(epochs=epochs), train)
        assert (config.peak_epoch, config.lr) == (peak, 0.1)
    with pytest.raises(FieldError):
        STAGE.resolve(RetrainConfig(), resolved(dataset="digits", model="resnet9", **TIED))
    assert RetrainConfig().epochs == 20
    frozen = resolved(dataset="digits", model="resnet9", epochs=4, batch_norm="frozen")
    assert STAGE.resolve(RetrainConfig(), train).batch_norm == "train"
    assert STAGE.resolve(RetrainConfig(), frozen).batch_norm == "frozen"
    assert STAGE.resolve(RetrainConfig(batch_norm="train"), frozen).batch_norm == "train"
    assert "batch_norm" not in canonical(STAGE.resolve(RetrainConfig(), train))
