"""`batch_norm: frozen` and `stochastic` against plain loops that call `network.eval()` after epoch 1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.config import canonical
from memloc.models.architectures import resolved
from memloc.models.architectures.vit_small import network as vit_small
from memloc.models.build import build
from memloc.models.dropouts import Dropout, OwnDropouts, build_dropout
from memloc.models.groups import Network
from memloc.models.kept import floats
from memloc.stages.training.loop import train
from memloc.stages.training.steps import frozen_note
from tests.stages import naive
from tests.stages.conftest import CPU, DROPOUTS, Trained, run, run_once
from tests.stages.test_train import assert_same_rows, assert_same_weights

FROZEN: dict[str, Any] = {"batch_norm": "frozen"}
SMALL = {"subset": 72}  # three batches of 32, 32 and 8 an epoch
AT_SITES = [name for name in DROPOUTS if name != "sparse weight"]  # in test_train.py


def plain_run(trained: Trained, random_on: bool) -> naive.Run:
    """The plain loop, with hooks that multiply in what the dropout gives; random masks after epoch 1 only if they are on."""
    network = build(trained.config, trained.data.shape, trained.data.classes)
    dropout = build_dropout(trained.config, network.sites, trained.data.example, CPU)
    tied = trained.config.example_tied is not None

    def factors(rows: list[int], epoch: int, step: int) -> dict[str, Tensor]:
        if trained.config.dropout.kind == "standard" and epoch > 1 and not random_on:
            return {}
        if tied:
            return stacked(dropout, network, rows)
        return dict(floats(dropout.training(torch.tensor(rows), epoch, step)) or {})

    test = floats(dropout.evaluation("scaled" if tied else "plain", torch.arange(len(trained.data.y_test))))
    return naive.train(trained.config, trained.data, trained.epochs[0].weights, factors, test)


def stacked(dropout: Dropout, network: Network, rows: list[int]) -> dict[str, Tensor]:
    own = [dropout.own(row) for row in rows]
    return {s: torch.from_numpy(np.stack([o[s] for o in own])).float()[:, :, None, None] for s in network.sites}


@pytest.mark.parametrize("stochastic", ["off", "on"])
@pytest.mark.parametrize("name", AT_SITES)
def test_bit_equal_to_a_loop_that_evaluates_from_epoch_2_on(name: str, stochastic: str) -> None:
    trained = run_once(**DROPOUTS[name], **FROZEN, stochastic=stochastic, **SMALL)
    expected = plain_run(trained, stochastic == "on")
    assert_same_weights(trained.epochs, expected)
    assert_same_rows(trained, expected)


def test_what_the_two_fields_change() -> None:
    """Epoch 1 is that of any training; `stochastic` matters where a dropout is random, and nowhere else."""
    for name in AT_SITES:
        train_mode = run_once(**DROPOUTS[name], **SMALL)
        off, on = (run_once(**DROPOUTS[name], **FROZEN, stochastic=s, **SMALL) for s in ("off", "on"))
        for epoch in (0, 1):
            assert same(train_mode, off, epoch)
            assert same(train_mode, on, epoch)
        assert not same(train_mode, off, 2)
        assert same(off, on, 2) == (not name.startswith("standard"))


def same(one: Trained, other: Trained, epoch: int) -> bool:
    a, b = one.epochs[epoch], other.epochs[epoch]
    return a.row == b.row and all(torch.equal(t, b.weights[k]) for k, t in a.weights.items())


def test_running_statistics_stay_those_of_epoch_1() -> None:
    trained = run_once(**FROZEN)
    statistics = [k for k in trained.epochs[0].weights if k.endswith(("running_mean", "running_var", "num_batches_tracked"))]
    assert len(statistics) == 3 * 8
    first, *later = trained.epochs[1:]
    for name in statistics:
        assert not torch.equal(trained.epochs[0].weights[name], first.weights[name])
        assert all(torch.equal(first.weights[name], epoch.weights[name]) for epoch in later)


@pytest.mark.parametrize("name", list(DROPOUTS))
@pytest.mark.parametrize("stochastic", ["off", "on"])
def test_going_on_from_any_epoch_is_bit_identical(name: str, stochastic: str) -> None:
    whole = run_once(**DROPOUTS[name], **FROZEN, stochastic=stochastic, **SMALL)
    for start in range(whole.config.epochs + 1):
        rest = list(train(whole.config, whole.data, CPU, after=whole.epochs[start]))
        for one, other in zip(rest, whole.epochs[start + 1 :], strict=True):
            assert one.row == other.row
            for kind in ("weights", "momentum", "dynamics"):
                mine, theirs = getattr(one, kind), getattr(other, kind)
                assert list(mine) == list(theirs)
                assert all(torch.equal(mine[k], theirs[k]) for k in mine)


@pytest.mark.parametrize("stochastic", ["off", "on"])
def test_a_transformers_own_dropouts(stochastic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in (("DIM", 32), ("DEPTH", 1)):
        monkeypatch.setattr(vit_small, name, small)
    trained = run(
        model="vit_small", width=None, subset=20, batch_size=10, epochs=2, lr=0.01, **FROZEN, stochastic=stochastic
    )  # fmt: skip
    c, data = trained.config, trained.data
    network = build(c, data.shape, data.classes)
    network.load_state_dict(trained.epochs[0].weights)
    own = OwnDropouts(network, c.seed, CPU)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0, momentum=c.momentum, weight_decay=c.weight_decay)
    x, y = naive.pixels(data.x), torch.tensor(data.y)
    for epoch in (1, 2):
        order = naive.split_into_batches(list(naive.stream(c.seed, "batch order", epoch).permutation(20)), 10)
        for k, rows in enumerate(order):
            optimizer.param_groups[0]["lr"] = naive.one_cycle((epoch - 1) * 2 + k, 4, 2, c.peak_epoch or 0, c.lr)
            masks = floats(own.training(len(rows), epoch, k)) if epoch == 1 or stochastic == "on" else None
            optimizer.zero_grad()
            F.cross_entropy(network(x[rows], masks=masks), y[rows]).backward()
            optimizer.step()
        for name, found in trained.epochs[epoch].weights.items():
            assert torch.allclose(found, network.state_dict()[name], rtol=1e-5, atol=1e-7), (epoch, name)


# --- the fields -------------------------------------------------------------------------------------------------------


def test_neutral_values_are_in_no_identity() -> None:
    plain = resolved(dataset="digits", model="resnet9")
    assert plain.flat()["batch_norm"] == "train"
    assert canonical(resolved(dataset="digits", model="resnet9", batch_norm="train")) == canonical(plain)
    frozen = resolved(dataset="digits", model="resnet9", batch_norm="frozen")
    assert canonical(resolved(dataset="digits", model="resnet9", batch_norm="frozen", stochastic="off")) == canonical(frozen)
    assert canonical(frozen) == canonical(plain) | {"batch_norm": "frozen"}
    on = resolved(dataset="digits", model="resnet9", batch_norm="frozen", stochastic="on")
    assert canonical(on) == canonical(frozen) | {"stochastic": "on"}


@pytest.mark.parametrize(
    ("n", "batch_size", "share"),
    [(21 * 8, 8, "11%"), (22 * 8, 8, None), (21 * 8 + 1, 8, "11%"), (21 * 8 + 2, 8, None), (50, 64, "90%"), (5000, 8, None)],
)
def test_a_short_epoch_1_is_mentioned(n: int, batch_size: int, share: str | None) -> None:
    """0.9^21 = 0.109 and 0.9^22 = 0.098; a single example that is left over makes no batch of its own."""
    fields: dict[str, Any] = {"dataset": "digits", "model": "resnet9", "batch_size": batch_size}
    note = frozen_note(resolved(**fields, **FROZEN), n)
    assert frozen_note(resolved(**fields), n) is None
    if share is None:
        assert note is None
    else:
        assert note is not None
        assert f"{share} of the frozen statistics" in note
        assert "22 batches" in note
        assert ("with 1 batch in" in note) == (n == 50)
