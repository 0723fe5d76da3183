"""Options of the published code in training: half precision with a scaled loss, and stopping once everything is learned."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from memloc.config import fingerprint
from memloc.models.architectures import resolved
from memloc.models.build import build
from memloc.run.provenance import numerics
from memloc.stages.training.dynamics import Dynamics, examples_table
from memloc.stages.training.loop import Epoch, train
from memloc.stages.training.steps import learning_rate
from memloc.store import checkpoints
from tests.run.test_resume import Place
from tests.stages import naive
from tests.stages.conftest import BASE, CPU, Trained, run

QUICK: dict[str, Any] = {"subset": 40, "width": 0.125, "batch_size": 8, "epochs": 24}
SCALER = {"growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000, "_growth_tracker": 0}


@pytest.fixture(scope="module")
def stopped() -> Trained:
    return run(**QUICK, stop_after_perfect=2)


@pytest.fixture(scope="module")
def unstopped() -> Trained:
    return run(**QUICK)


def perfect(trained: Trained) -> list[bool]:
    """Of the epochs trained, in order: was every example's training pass right?"""
    rows = [e.row for e in trained.epochs if e.row is not None]
    return [row["clean_acc"] == row["noisy_acc"] == 1.0 for row in rows]


def same_tensors(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(t, other[k]) for k, t in one.items())


def assert_same(places: list[Place]) -> None:
    one, other = (place.contents() for place in places)
    assert list(one) == list(other)
    assert all(table.equals(other[name]) for name, table in one.items())
    assert places[0].hashes() == places[1].hashes()


# --- stop_after_perfect -----------------------------------------------------------------------------------------------


def test_it_stops_after_the_nth_perfect_epoch_in_a_row(stopped: Trained, unstopped: Trained) -> None:
    whole = perfect(unstopped)
    stop = next(t for t in range(2, len(whole) + 1) if whole[t - 2] and whole[t - 1])
    assert stop < 24
    assert len(perfect(stopped)) == stop
    assert [e.epoch for e in stopped.epochs] == list(range(25))
    for mine, theirs in zip(stopped.epochs[: stop + 1], unstopped.epochs, strict=False):
        assert mine.row == theirs.row
        assert same_tensors(mine.weights, theirs.weights)
    for later in stopped.epochs[stop + 1 :]:
        assert later.row is None
        assert same_tensors(later.weights, stopped.epochs[stop].weights)
    assert not same_tensors(unstopped.epochs[-1].weights, stopped.epochs[-1].weights)


def test_one_imperfect_epoch_begins_the_count_anew() -> None:
    y = torch.tensor([1, 1])
    for history, stop in (("1101101110", 9), ("1110000000", 3), ("0000000111", 10), ("0101010101", 10), ("1111111111", 3)):
        dynamics = Dynamics(resolved(**BASE | {"epochs": 10}, stop_after_perfect=3), 2, 2, CPU)
        seen = 0
        for epoch, bit in enumerate(history, 1):
            if epoch > dynamics.stop():
                break
            dynamics.update(epoch, torch.tensor([[0.0, 1.0], [0.0, 1.0 if bit == "1" else -1.0]]), y)
            seen = epoch
        assert seen == stop, history
        assert dynamics.stop() == stop


def test_scores_are_over_the_epochs_trained(stopped: Trained, unstopped: Trained) -> None:
    stop = len(perfect(stopped))
    plainly = naive.train(unstopped.config, unstopped.data, unstopped.epochs[0].weights)
    early = max(1, round(24 / 5))  # of the epochs planned
    assert stop > early
    expected = naive.scores(plainly.seen[:stop], stopped.data.y.tolist())
    table = examples_table(stopped.config, stopped.data, stopped.epochs[-1].dynamics)
    for name in ("learning_time", "forgetting"):
        assert table[name].tolist() == expected[name]
    for name in ("aum", "mean_loss", "final_loss", "mean_prob"):
        assert table[name].tolist() == pytest.approx(expected[name], rel=1e-9, abs=1e-12)
    whole = examples_table(unstopped.config, unstopped.data, unstopped.epochs[-1].dynamics)
    assert table["el2n"].tolist() == whole["el2n"].tolist()
    assert max(table["learning_time"]) <= stop


def test_a_training_that_is_never_perfect_is_the_same_but_for_its_id() -> None:
    one, other = run(stop_after_perfect=2), run()
    assert [e.row for e in one.epochs] == [e.row for e in other.epochs]
    assert all(same_tensors(a.weights, b.weights) for a, b in zip(one.epochs, other.epochs, strict=True))
    tables = [examples_table(t.config, t.data, t.epochs[-1].dynamics) for t in (one, other)]
    assert all(list(tables[0][k]) == list(tables[1][k]) for k in tables[0])
    assert fingerprint(one.config) != fingerprint(other.config)


def test_going_on_from_any_epoch_even_after_the_stop(stopped: Trained) -> None:
    stop = next(t for t in range(1, 25) if stopped.epochs[t].row is None)
    for start in (0, stop - 2, stop - 1, stop, 23):
        rest = list(train(stopped.config, stopped.data, CPU, after=stopped.epochs[start]))
        assert [e.epoch for e in rest] == list(range(start + 1, 25))
        for one, other in zip(rest, stopped.epochs[start + 1 :], strict=True):
            assert one.row == other.row
            for name in ("weights", "momentum", "dynamics"):
                assert same_tensors(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("retention", ["all", "last"])
def test_interrupted_after_every_epoch(tmp_path: Path, retention: Any) -> None:
    """The table of epochs has those that were trained, and every checkpoint is there."""
    fields = {"subset": 30, "width": 0.125, "batch_size": 8, "epochs": 16, "noise": 0.1, "lr": 0.05, "stop_after_perfect": 1}
    places = [Place(tmp_path / name, fields, retention=retention) for name in ("whole", "interrupted")]
    assert places[0].train()[0]
    for _ in range(16):
        assert not places[1].train(should_stop=lambda: True)[0]
    assert places[1].train() == (True, [15, 16])
    assert_same(places)
    trained = places[0].contents("epochs")["epochs"].column("epoch").to_pylist()
    assert trained == list(range(1, len(trained) + 1))
    assert 2 < len(trained) < 16
    commit = places[0].store.commit(places[0].trial.id)
    assert commit is not None
    assert [c.epoch for c in commit.checkpoints] == list(range(17))
    assert len({c.sha256 for c in commit.checkpoints[len(trained) :]}) == 1
    assert len({c.sha256 for c in commit.checkpoints}) == len(trained) + 1
    assert commit.passes == pytest.approx(len(trained) * (3 * 30 + 360))


# --- fp16 -------------------------------------------------------------------------------------------------------------


def scaled_by_hand(trained: Trained, scale: float) -> tuple[list[dict[str, Tensor]], list[float]]:
    """(weights after every epoch, scales) of a plain loop that multiplies the loss, looks for overflow, and divides."""
    c, data = trained.config, trained.data
    network = build(
        c, data.shape, data.classes
    )  # not `Plain`: in half precision maxima tie, and gradients of ties are shared
    network.load_state_dict(trained.epochs[0].weights)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0, momentum=c.momentum, weight_decay=c.weight_decay)
    x, y = naive.pixels(data.x), torch.tensor(data.y)
    weights, scales = [], []
    for epoch in range(1, c.epochs + 1):
        order = naive.split_into_batches(list(naive.stream(c.seed, "batch order", epoch).permutation(len(y))), c.batch_size)
        for k, rows in enumerate(order):
            optimizer.param_groups[0]["lr"] = learning_rate(
                c, (epoch - 1) * len(order) + k, c.epochs * len(order), len(order)
            )
            with torch.autocast("cpu", torch.float16):
                loss = nn.functional.cross_entropy(network.train()(x[rows]), y[rows])
            optimizer.zero_grad()
            (loss * scale).backward()
            if all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None):
                for p in network.parameters():
                    assert p.grad is not None
                    p.grad /= scale
                optimizer.step()
            else:
                scale *= 0.5
        weights.append(naive.copy(network))
        scales.append(scale)
    return weights, scales


# Half precision is slow on a CPU.
HALF = {"precision": "fp16", "subset": 60, "epochs": 2}


@pytest.fixture(scope="module")
def half() -> Trained:
    return run(**HALF)


@pytest.mark.parametrize("start", [2.0**16, 2.0**20])
def test_half_precision_against_a_loop_that_scales_by_hand(half: Trained, start: float) -> None:
    """From 2^20 the first gradients overflow: those updates are left out, the scale halves until they do not."""
    trained = replace(half, epochs=[replace(half.epochs[0], scaler={"scale": start, **SCALER})])
    rest = list(train(trained.config, trained.data, CPU, after=trained.epochs[0]))
    weights, scales = scaled_by_hand(trained, start)
    assert [e.scaler["scale"] for e in rest] == scales
    assert (scales[0] < start) == (start > 2.0**16)
    for epoch, expected in zip(rest, weights, strict=True):
        for (name, found), wanted in zip(epoch.weights.items(), expected.values(), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")
    assert all(t.dtype == torch.float32 for t in rest[-1].weights.values() if t.is_floating_point())


def test_half_precision_goes_on_to_the_bit(half: Trained, tmp_path: Path) -> None:
    """With the scaler's state; also through the store, whose states hold it."""
    states: list[Epoch] = [replace(half.epochs[0], scaler={"scale": 2.0**20, **SCALER})]
    states += train(half.config, half.data, CPU, after=states[0])
    assert states[0].scaler["scale"] > states[1].scaler["scale"]
    for start in range(len(states)):
        rest = list(train(half.config, half.data, CPU, after=states[start]))
        for one, other in zip(rest, states[start + 1 :], strict=True):
            assert (one.row, one.scaler) == (other.row, other.scaler)
            assert same_tensors(one.weights, other.weights)
            assert same_tensors(one.momentum, other.momentum)
    places = [Place(tmp_path / name, HALF) for name in ("whole", "interrupted")]
    assert places[0].train()[0]
    while not places[1].train(should_stop=lambda: True)[0]:
        work, store = places[1].work, places[1].store
        found = checkpoints.load_resume(store.files, work.trial.id, [], numerics(CPU))
        assert found is not None
        assert found[0].scaler["scale"] == 2.0**16
        assert found[0].scaler["_growth_tracker"] == 2 * found[0].epoch
    assert_same(places)


def test_it_is_another_training() -> None:
    half, single = run(**HALF), run(subset=60, epochs=2)
    assert fingerprint(half.config) != fingerprint(single.config)
    assert not same_tensors(half.epochs[1].weights, single.epochs[1].weights)
    rows = [t.epochs[1].row for t in (half, single)]
    assert rows[0] is not None
    assert rows[1] is not None
    assert math.isclose(rows[0]["loss"], rows[1]["loss"], rel_tol=0.05)
