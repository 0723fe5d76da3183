"""Training against a plain loop around torch.optim.SGD: weights, rates, per-example scores, and where it goes on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from memloc.config import TrainConfig
from memloc.data.augment import augment, shifts
from memloc.models.architectures import resolved
from memloc.models.build import build
from memloc.models.dropouts import SparseWeights, build_dropout
from memloc.models.kept import floats
from memloc.stages.training.batches import batches
from memloc.stages.training.dynamics import Dynamics, examples_table
from memloc.stages.training.loop import Epoch, train
from memloc.stages.training.steps import learning_rate, steps_per_epoch
from tests.models import own_nets
from tests.stages import naive
from tests.stages.conftest import CPU, DROPOUTS, Trained, run, settings


def config(**fields: Any) -> TrainConfig:
    return resolved(**{"dataset": "digits", "model": "resnet9", **fields})


# --- batches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 34, 63, 64, 65, 66, 100, 129, 1437])
def test_batches_are_a_permutation_cut_up(n: int) -> None:
    """The last partial batch is kept, but a single example joins the batch before."""
    c = config(batch_size=32)
    found = batches(c, n, epoch=1)
    flat = torch.cat(found).tolist()
    assert sorted(flat) == list(range(n))
    assert [len(b) for b in found] == [len(b) for b in naive.split_into_batches(range(n), 32)]
    assert [b.tolist() for b in found] == naive.split_into_batches(flat, 32)
    assert len(found) == steps_per_epoch(n, 32)
    assert n == 1 or min(len(b) for b in found) >= 2  # batch norm needs two
    assert max(len(b) for b in found) <= 33


def test_batch_order_is_keyed_by_seed_and_epoch_alone() -> None:
    def order(epoch: int = 1, **fields: Any) -> list[int]:
        return torch.cat(batches(config(**{"batch_size": 32, **fields}), 200, epoch)).tolist()

    assert order() == order(batch_size=64, data_seed=5, lr=0.5, epochs=3)
    assert order() != list(range(200))
    different = [order(), order(epoch=2), order(seed=1), order(seed=1, epoch=2)]
    for i, one in enumerate(different):
        for other in different[:i]:
            assert sum(a == b for a, b in zip(one, other, strict=True)) < 10  # two permutations share 1 place on average
    places = np.array([order(epoch=e) for e in range(1, 201)])
    assert abs(places[:, 0].mean() - 99.5) < 5 * 57.7 / math.sqrt(200)  # whoever is first is uniform


# --- the rate ---------------------------------------------------------------------------------------------------------


def rates(c: TrainConfig, per_epoch: int) -> list[float]:
    steps = c.epochs * per_epoch
    return [learning_rate(c, s, steps, per_epoch) for s in range(steps)]


@pytest.mark.parametrize("epochs", [1, 2, 3, 7, 30, 50])
@pytest.mark.parametrize("per_epoch", [1, 2, 12, 98])
@pytest.mark.parametrize("peak_epoch", [None, 1, 5, 1000])
def test_one_cycle_in_closed_form(epochs: int, per_epoch: int, peak_epoch: int | None) -> None:
    c = config(epochs=epochs, lr=0.25, **({} if peak_epoch is None else {"peak_epoch": peak_epoch}))
    peak = max(1, round(epochs / 5)) if peak_epoch is None else peak_epoch
    steps = epochs * per_epoch
    found = rates(c, per_epoch)
    assert found == pytest.approx([naive.one_cycle(s, steps, per_epoch, peak, 0.25) for s in range(steps)], rel=1e-14)
    assert all(r > 0 for r in found)
    assert max(found) == pytest.approx(0.25)
    if steps > 1:
        p = min(max(peak * per_epoch, 1), steps - 1)
        assert found[p - 1] == pytest.approx(0.25)
        assert found[-1] == pytest.approx(0.25 * min(steps / p, 1 / (steps - p)))
        assert all(a < b for a, b in pairwise(found[:p]))
        assert all(a > b for a, b in pairwise(found[p:]))


def test_rates_written_out() -> None:
    """T = 5, B = 2, peak_epoch = 1: N = 10, P = 2, and lr·min((s+1)/2, (10−s)/8)."""
    assert rates(config(epochs=5, lr=1.0), 2) == [0.5, 1.0, 1.0, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8]
    assert rates(config(epochs=1, lr=0.3), 1) == [0.3]  # N = 1
    assert rates(config(epochs=2, lr=1.0), 1) == [1.0, 1.0]  # P clamps to N − 1 = 1: min(1, 2), min(2, 1)
    assert rates(config(epochs=3, lr=1.0, peak_epoch=9), 1) == [0.5, 1.0, 1.0]  # P = 2
    assert config(epochs=50).peak_epoch == 10
    assert config(epochs=30).peak_epoch == 6
    assert config(epochs=1).peak_epoch == config(epochs=7).peak_epoch == 1
    assert config(epochs=8).peak_epoch == 2


@pytest.mark.parametrize(("epochs", "per_epoch"), [(1, 1), (2, 1), (10, 4), (50, 98)])
def test_warmup_then_cosine(epochs: int, per_epoch: int) -> None:
    c = config(epochs=epochs, lr=0.01, schedule="warmup_cosine")
    assert c.peak_epoch == max(1, round(epochs / 10))
    steps = epochs * per_epoch
    p = min(c.peak_epoch * per_epoch, steps - 1) if steps > 1 else 1
    expected = []
    for s in range(steps):
        cosine = (1 + math.cos(math.pi * (s + 1 - p) / (steps - p))) / 2 if steps > p else 1.0
        expected.append(0.01 * ((s + 1) / p if s < p else cosine))
    assert rates(c, per_epoch) == pytest.approx(expected, rel=1e-12, abs=1e-18)


# --- per-example scores -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [1, 2, 5, 7, 12, 13])
def test_scores_against_loops_over_examples_and_epochs(epochs: int) -> None:
    """Random histories, among them examples never and always right, with logits far apart (no overflow)."""
    n, k = 60, 5
    generator = torch.Generator().manual_seed(epochs)
    y = torch.randint(0, k, (n,), generator=generator)
    seen = [torch.randn((n, k), generator=generator) * 3 for _ in range(epochs)]
    for z in seen:
        z[0, y[0]] = -50.0  # never learned
        z[1, y[1]] = 50.0  # always right
        z[2] = z[2] * 100
    dynamics = Dynamics(config(epochs=epochs), n, k, CPU)
    for epoch, z in enumerate(seen, 1):
        loss, correct = dynamics.update(epoch, z, y)
        assert correct.tolist() == [int(max(range(k), key=z[i].tolist().__getitem__)) == int(y[i]) for i in range(n)]
        exact = torch.nn.functional.cross_entropy(z.double(), y, reduction="none")
        torch.testing.assert_close(loss, exact, rtol=1e-12, atol=0)
    found, expected = dynamics.columns(y), naive.scores(seen, y.tolist())
    assert set(found) == set(expected)
    for name in ("learning_time", "forgetting", "alternative"):
        assert found[name].tolist() == expected[name]
    for name in ("aum", "el2n", "mean_loss", "final_loss", "mean_prob", "alternative_prob"):
        assert found[name].dtype == np.float64
        assert found[name].tolist() == pytest.approx(expected[name], rel=1e-9, abs=1e-12)
    assert found["learning_time"][0] == found["forgetting"][0] == epochs + 1
    assert (found["learning_time"][1], found["forgetting"][1]) == (1, 0)


@pytest.mark.parametrize(
    ("correct", "learning_time", "forgetting"),
    [("0000", 5, 5), ("1111", 1, 0), ("0111", 2, 0), ("0101", 4, 1), ("1010", 5, 2), ("1000", 5, 1), ("0001", 4, 0)],
)
def test_learning_and_forgetting_written_out(correct: str, learning_time: int, forgetting: int) -> None:
    dynamics = Dynamics(config(epochs=4), 1, 2, CPU)
    for epoch, bit in enumerate(correct, 1):
        dynamics.update(epoch, torch.tensor([[0.0, 1.0 if bit == "1" else -1.0]]), torch.tensor([1]))
    columns = dynamics.columns(torch.tensor([1]))
    assert (columns["learning_time"].tolist(), columns["forgetting"].tolist()) == ([learning_time], [forgetting])


@pytest.mark.parametrize(
    ("correct", "learning_time", "forgetting"), [("00", 5, 5), ("10", 5, 1), ("01", 2, 0), ("11", 1, 0)]
)
def test_never_is_the_same_number_where_stop_has_ended_the_training(
    correct: str, learning_time: int, forgetting: int
) -> None:
    """After epoch 2 of 4: 5, as in a training that has run all its epochs. 3 would be an epoch that nobody saw."""
    dynamics = Dynamics(config(epochs=4), 1, 2, CPU)
    for epoch, bit in enumerate(correct, 1):
        dynamics.update(epoch, torch.tensor([[0.0, 1.0 if bit == "1" else -1.0]]), torch.tensor([1]))
    columns = dynamics.columns(torch.tensor([1]), stopped=2)
    assert (columns["learning_time"].tolist(), columns["forgetting"].tolist()) == ([learning_time], [forgetting])


def test_el2n_is_over_the_first_fifth() -> None:
    y = torch.tensor([0])
    dynamics = Dynamics(config(epochs=10), 1, 2, CPU)
    for epoch in range(1, 11):
        dynamics.update(epoch, torch.tensor([[0.0, 0.0]]) if epoch <= 2 else torch.tensor([[9.0, 0.0]]), y)
    assert dynamics.columns(y)["el2n"].tolist() == pytest.approx([math.sqrt(0.5)])


class Largest(TorchDispatchMode):
    """The most numbers of a tensor that an operation gives, but for those that are there anyway."""

    def __init__(self, known: Collection[Tensor]) -> None:
        super().__init__()
        self.known, self.numbers = {t.data_ptr() for t in known}, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.data_ptr() not in self.known:
            self.numbers = max(self.numbers, result.numel())
        return result


@pytest.mark.parametrize(("n", "k"), [(1003, 37), (700, 101), (129, 1000)])
def test_pieces_give_the_bits_of_the_whole_and_need_little_memory(n: int, k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many classes and many examples: what an epoch needs besides logits and sums does not grow with the examples."""
    monkeypatch.setattr("memloc.stages.training.dynamics.ROOM", 64 * k)
    generator = torch.Generator().manual_seed(n)
    y = torch.randint(0, k, (n,), generator=generator)
    dynamics = Dynamics(config(epochs=4), n, k, CPU)
    whole = {name: torch.zeros(n, dtype=torch.float64) for name in ("margin", "loss", "el2n")}
    sums = torch.zeros(n, k, dtype=torch.float64)
    for epoch in (1, 2):
        z = torch.randn((n, k), generator=generator) * 5
        with Largest([z, dynamics.values["probabilities"]]) as seen:
            loss, correct = dynamics.update(epoch, z, y)
        assert 64 * k <= seen.numbers <= 128 * k
        z = z.double()
        others = z.scatter(1, y[:, None], -math.inf).amax(dim=1)
        whole["margin"] += z.gather(1, y[:, None])[:, 0] - others
        whole["loss"] += torch.nn.functional.cross_entropy(z, y, reduction="none")
        sums += z.softmax(dim=1)
        if epoch == 1:
            whole["el2n"] += (z.softmax(dim=1) - torch.nn.functional.one_hot(y, k)).norm(dim=1)
        assert torch.equal(loss, torch.nn.functional.cross_entropy(z, y, reduction="none"))
        assert torch.equal(correct, z.argmax(dim=1) == y)
    assert all(torch.equal(dynamics.values[name], values) for name, values in whole.items())
    assert torch.equal(dynamics.values["probabilities"], sums)
    with Largest([dynamics.values["probabilities"]]) as seen:
        columns = dynamics.columns(y, stopped=2)
    assert seen.numbers <= 128 * k
    others = sums.scatter(1, y[:, None], -1.0)
    assert columns["alternative"].tolist() == others.argmax(dim=1).tolist()
    assert columns["alternative_prob"].tolist() == (others.amax(dim=1) / 2).tolist()


# --- whole trainings --------------------------------------------------------------------------------------------------


def assert_same_weights(epochs: list[Epoch], expected: naive.Run) -> None:
    for epoch, weights in zip(epochs, expected.weights, strict=True):
        for (name, t), other in zip(epoch.weights.items(), weights.values(), strict=True):
            assert torch.equal(t, other), (epoch.epoch, name)


def assert_same_rows(trained: Trained, expected: naive.Run) -> None:
    """Tables `epochs` and `examples` from the logits that the plain loop saw."""
    data = trained.data
    y, noisy = data.y.tolist(), data.noisy.tolist()
    per_epoch = steps_per_epoch(len(y), trained.config.batch_size)
    assert [e.epoch for e in trained.epochs] == list(range(trained.config.epochs + 1))
    assert trained.epochs[0].row is None
    for epoch in trained.epochs[1:]:
        row, z = epoch.row, expected.seen[epoch.epoch - 1].tolist()
        assert row is not None
        assert list(row) == ["epoch", "lr", "loss", "clean_acc", "noisy_acc", "test_acc"]
        assert row["epoch"] == epoch.epoch
        assert row["lr"] == expected.rates[epoch.epoch * per_epoch - 1]
        right = [max(range(10), key=v.__getitem__) == label for v, label in zip(z, y, strict=True)]
        losses = [naive.cross_entropy(v, label) for v, label in zip(z, y, strict=True)]
        assert row["loss"] == pytest.approx(math.fsum(losses) / len(y), rel=1e-10)
        for name, wanted in (("clean_acc", False), ("noisy_acc", True)):
            members = [r for r, flag in zip(right, noisy, strict=True) if flag == wanted]
            assert row[name] == (sum(members) / len(members) if members else None)
        assert row["test_acc"] == expected.test_acc[epoch.epoch - 1]
    table = examples_table(trained.config, data, trained.epochs[-1].dynamics)
    assert table["example"].tolist() == data.example.tolist()
    assert (table["label"].tolist(), table["noisy"].tolist()) == (y, noisy)
    assert table["true_label"] == data.true_label.tolist()
    for name, values in naive.scores(expected.seen, y).items():
        assert table[name].tolist() == pytest.approx(values, rel=1e-9, abs=1e-12), name


@pytest.mark.parametrize(
    "fields",
    [
        {},
        # One example is left over and joins the batch before; the test images are two groups.
        {"subset": 129, "batch_size": 64, "seed": 3, "tested": 360},
        {"momentum": 0.0, "weight_decay": 0.0, "epochs": 2},
        {"noise": 0.0, "epochs": 1, "batch_size": 500},  # one step; S_n is empty
        {"noise": 1.0, "epochs": 2, "peak_epoch": 2, "lr": 0.05},  # S_c is empty
    ],
)
def test_bit_equal_to_a_plain_loop(fields: dict[str, Any]) -> None:
    trained = run(**fields)
    expected = naive.train(trained.config, trained.data, trained.epochs[0].weights)
    assert_same_weights(trained.epochs, expected)
    assert_same_rows(trained, expected)


def test_augmented_training_is_bit_equal_to_a_plain_loop() -> None:
    trained = run(augment="crop_flip")
    data = trained.data

    def moved(epoch: int) -> np.ndarray:
        shift = shifts("crop_flip", data.example, 16, 16, trained.config.seed, epoch)
        return augment(torch.tensor(data.x), shift).numpy()

    assert not np.array_equal(moved(1), moved(2))
    expected = naive.train(trained.config, data, trained.epochs[0].weights, moved=moved)
    assert_same_weights(trained.epochs, expected)
    assert_same_rows(trained, expected)


@pytest.mark.parametrize("name", [name for name in DROPOUTS if name not in ("none", "sparse weight")])
def test_dropout_multiplies_each_examples_own_factors(name: str) -> None:
    """Bit-equal to hooks on the plain network that multiply in what the dropout gives for these rows and this step."""
    trained = run(**DROPOUTS[name])
    network = build(trained.config, trained.data.shape, trained.data.classes)
    dropout = build_dropout(trained.config, network.sites, trained.data.example, CPU)

    def factors(rows: list[int], epoch: int, step: int) -> dict[str, Tensor]:
        if name == "tied":
            own = [dropout.own(row) for row in rows]
            return {s: torch.from_numpy(np.stack([o[s] for o in own])).float()[:, :, None, None] for s in network.sites}
        return dict(floats(dropout.training(torch.tensor(rows), epoch, step)) or {})

    test = floats(dropout.evaluation("scaled" if name == "tied" else "plain", torch.arange(len(trained.data.y_test))))
    expected = naive.train(trained.config, trained.data, trained.epochs[0].weights, factors, test)
    assert_same_weights(trained.epochs, expected)
    assert_same_rows(trained, expected)


@pytest.mark.parametrize("batch_norm", ["train", "frozen"])
def test_sparse_weights_train_as_with_the_mask_inside_the_forward_pass(
    batch_norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float64, so that what rounding makes of another order of operations stays far below what a mistake makes."""
    monkeypatch.setattr("memloc.data.device.normalise", lambda x: x.double() / 127.5 - 1.0)
    monkeypatch.setattr("memloc.stages.training.loop.build", lambda *arguments: build(*arguments).to(torch.float64))
    trained = run(**DROPOUTS["sparse weight"], batch_norm=batch_norm)
    c = trained.config
    network = build(c, trained.data.shape, trained.data.classes).to(torch.float64)
    dropout = build_dropout(c, network.sites, trained.data.example, CPU)
    assert isinstance(dropout, SparseWeights)
    masks = {i: dropout.mask(n, p.shape) for i, (n, p) in enumerate(network.named_parameters()) if p.ndim > 1}
    network.initialise(c.seed)  # unmasked: the mask is in the oracle's forward pass alone
    start = {k: t.clone() for k, t in network.state_dict().items()}
    expected = naive.train(c, trained.data, start, weight_masks={i: m.double() for i, m in masks.items()})
    mask_of = {name: masks[i] for i, (name, _) in enumerate(network.named_parameters()) if i in masks}
    assert len(mask_of) == 9
    for epoch, weights in zip(trained.epochs, expected.weights, strict=True):
        for (name, found), other in zip(epoch.weights.items(), weights.values(), strict=True):
            if name in mask_of:
                assert (found[~mask_of[name]] == 0).all(), (epoch.epoch, name)
                assert found[mask_of[name]].abs().min() > 0
                found, other = found[mask_of[name]], other[mask_of[name]]
            torch.testing.assert_close(found, other, rtol=1e-8, atol=1e-10)


def test_sparse_keeps_its_share_of_a_weight_that_two_layers_have() -> None:
    """Both names are of one weight, of 324 numbers; five standard deviations of their share are 0.14."""
    trained = run(model=f"python:{own_nets.__file__}:shared", width=None, **{**DROPOUTS["sparse weight"], "keep": 0.5})
    kept = [epoch.weights["one.weight"] != 0 for epoch in trained.epochs]
    assert all(torch.equal(mask, kept[0]) for mask in kept)
    assert kept[0].numel() == 324
    assert float(kept[0].float().mean()) == pytest.approx(0.5, abs=0.14)
    assert all(torch.equal(epoch.weights["two.weight"], epoch.weights["one.weight"]) for epoch in trained.epochs)


@pytest.mark.parametrize("name", list(DROPOUTS))
@pytest.mark.parametrize("kind", ["none", "crop_flip"])
def test_going_on_from_any_epoch_is_bit_identical(name: str, kind: str) -> None:
    whole = run(**DROPOUTS[name], augment=kind, subset=72)
    for start in range(whole.config.epochs + 1):
        torch.manual_seed(start)  # no global generator has a part in it
        rest = list(train(whole.config, whole.data, CPU, after=whole.epochs[start]))
        assert [e.epoch for e in rest] == list(range(start + 1, whole.config.epochs + 1))
        for one, other in zip(rest, whole.epochs[start + 1 :], strict=True):
            assert one.row == other.row
            for mine, theirs in (
                (one.weights, other.weights),
                (one.momentum, other.momentum),
                (one.dynamics, other.dynamics),
            ):
                assert list(mine) == list(theirs)
                assert all(torch.equal(mine[k], theirs[k]) for k in mine)


def test_what_is_yielded_is_owned() -> None:
    """A later epoch changes nothing in an earlier one's tensors."""
    c, data = settings(epochs=2)
    kept = []
    for epoch in train(c, data, CPU):
        tensors = [*epoch.weights.values(), *epoch.momentum.values(), *epoch.dynamics.values()]
        kept.append((tensors, [t.clone() for t in tensors]))
    for tensors, clones in kept:
        assert all(torch.equal(a, b) for a, b in zip(tensors, clones, strict=True))
    assert len({tuple(t.flatten()[:3].tolist()) for t in (tensors[0] for tensors, _ in kept)}) == 3


def test_seed_and_data_seed_drive_what_they_should() -> None:
    one, same, other = run(epochs=1), run(epochs=1), run(epochs=1, seed=1)
    elsewhere = run(epochs=1, data_seed=1)
    first = "conv1.conv.weight"
    assert all(torch.equal(one.epochs[1].weights[k], t) for k, t in same.epochs[1].weights.items())
    assert not torch.equal(one.epochs[0].weights[first], other.epochs[0].weights[first])
    assert one.data.example.tolist() == other.data.example.tolist()
    assert one.data.y.tolist() == other.data.y.tolist()
    assert torch.equal(one.epochs[0].weights[first], elsewhere.epochs[0].weights[first])
    assert one.data.example.tolist() != elsewhere.data.example.tolist()


def test_every_epoch_shows_every_example_once() -> None:
    c = config(batch_size=32)
    for epoch in (1, 2, 3):
        assert Counter(torch.cat(batches(c, 120, epoch)).tolist()) == Counter(range(120))


def test_running_statistics_come_from_training_batches_alone(plain: Trained) -> None:
    """One update per step: measuring test accuracy after every epoch adds none."""
    steps = steps_per_epoch(len(plain.data.y), plain.config.batch_size)
    for epoch in plain.epochs:
        assert int(epoch.weights["res2.conv2.bn.num_batches_tracked"]) == epoch.epoch * steps


def test_it_memorizes(plain: Trained) -> None:
    """The set-up of the stages' tests has something to localise: noisy labels are learned, beyond chance."""
    row = plain.epochs[-1].row
    assert row is not None
    assert row["clean_acc"] > 0.6
    assert row["noisy_acc"] > 0.2
