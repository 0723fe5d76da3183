"""Neuron flipping against a plain search, one example at a time, and against networks whose neurons are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.reference import flips as reference
from benchmarks.reference.examples import Examples
from memloc.config import TrainConfig
from memloc.models import gates
from memloc.models.blocks import ConvBlock, GatedLinear
from memloc.models.gates import Gates
from memloc.models.groups import Network, State
from memloc.models.kept import Masks
from memloc.stages.flips.compute import sample
from memloc.stages.flips.config import FlipsConfig
from memloc.stages.neurons import BATCH, COPIES
from memloc.stages.neurons.active import Active
from memloc.stages.neurons.search import own_gradient, reference_gradient, search
from memloc.stages.neurons.task import NOISE, Neurons, Search, Task
from tests.models.plain import CONVS
from tests.stages.conftest import Trained, run


def task_of(trained: Trained, estimator: int | None, repeat: int = 0, mode: str = "plain", **more: Any) -> Task:
    inputs = trained.inputs()
    network = inputs.network(trained.config.epochs).requires_grad_(False).to(more.pop("dtype", torch.float64))
    network = network.folded() if more.pop("folded", False) else network
    dropout = inputs.dropout(network)

    def masks(rows: Tensor) -> Masks | None:
        return dropout.evaluation(mode, rows)

    x, y = torch.tensor(trained.data.x), torch.tensor(trained.data.y)
    limit = more.pop("max_neurons", 200)
    return Task(network, x, y, trained.data.example, masks, trained.config.seed, repeat, estimator, limit)


FEW = 54  # images of L_ref, where a test computes it in a loop: so many copies are two groups of the engine, 51 and 3


def draws_of(task: Task) -> reference.Draws:
    """The same noise and batches; what is made of them is the reference's own."""

    def noisy(rows: Any, step: int) -> Tensor:
        return task.noisy(np.array(rows), step).reshape(len(rows), COPIES, *task.x.shape[1:])

    return reference.Draws(noisy, lambda step: task.batch(step).tolist())


def predicted(task: Task) -> list[int]:
    rows = torch.arange(len(task.y))
    return [int(i) for i in rows[task.network(task.images(rows), masks=task.masks(rows)).argmax(dim=1) == task.y]]


def plainly(task: Task, row: int) -> reference.Outcome:
    x = task.images(torch.arange(len(task.y)))
    plain_search = reference.PlainSearch(task.network, Examples(x, task.y, task.masks), draws_of(task), task.reference)
    return plain_search.run(row, min(task.max_neurons, task.neurons.total))


def as_outcome(task: Task, found: Search) -> reference.Outcome:
    return reference.Outcome([task.neurons.locate(k) for k in found.closed], found.censored, found.new_class)


# --- the same choices -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("estimator", "repeat"), [(None, 0), (16, 0), (16, 3)])
def test_the_same_choices_as_the_plain_search(memorizing: Trained, estimator: int | None, repeat: int) -> None:
    """In float64: there rounding decides nothing."""
    task = replace(task_of(memorizing, estimator, repeat, folded=True), size=FEW)
    right = np.array(predicted(task))
    noisy = memorizing.data.noisy[right]
    few = 3 if estimator else 2
    rows = [int(row) for members in (right[noisy], right[~noisy]) for row in members[:few]]
    assert len(rows) == 2 * few
    found = search(task, rows)
    for row, s in zip(rows, found, strict=True):
        assert s.row == row
        assert as_outcome(task, s) == plainly(task, row)
    closed = [task.neurons.locate(k) for s in found for k in s.closed]
    assert {"linear"} < {layer for layer, _ in closed}
    assert max(len(s.closed) for s in found) >= 3  # how many it takes hangs on the rounding of the training


@pytest.mark.parametrize("mode", ["own", "dropped"])
def test_the_same_choices_under_masks(tied: Trained, mode: str) -> None:
    for estimator in (None, 16):
        task = replace(task_of(tied, estimator, mode=mode), size=FEW)
        rows = predicted(task)[::60]
        assert [as_outcome(task, s) for s in search(task, rows)] == [plainly(task, row) for row in rows]


@pytest.mark.parametrize("estimator", [None, 16])
def test_an_examples_result_does_not_depend_on_the_others(memorizing: Trained, estimator: int | None) -> None:
    def task() -> Task:
        return replace(task_of(memorizing, estimator), size=FEW, memo={})

    rows = predicted(task())[:: 20 if estimator else 60]
    together = search(task(), rows)
    assert search(task(), rows[::-1]) == together[::-1]
    for row, found in zip(rows, together, strict=True):
        assert search(task(), [row]) == [found]


def test_float32_scores_differ_by_rounding_only(memorizing: Trained) -> None:
    """The first step's scores in single precision, in groups of every size."""
    exact, single = task_of(memorizing, 16), task_of(memorizing, 16, dtype=torch.float32)
    last = exact.neurons.total - 1
    searches = [Search(row, [5, last] if k % 2 else [last]) for k, row in enumerate(predicted(exact)[:24])]

    def scores(task: Task, of: list[Search]) -> Tensor:
        active = Active.of(task, of)
        return own_gradient(task, active, 2)[1] + reference_gradient(task, active, 2)

    wanted = scores(exact, searches)
    for size in (1, 3, 24):
        found = torch.cat([scores(single, searches[k : k + size]) for k in range(0, 24, size)])
        torch.testing.assert_close(found.double(), wanted, rtol=0, atol=2e-5 * float(wanted.abs().max()))


def test_the_numbers_of_the_definition() -> None:
    assert (COPIES, NOISE, BATCH) == (5, 0.01, 512)


@pytest.mark.parametrize("estimator", [None, 16])
def test_an_example_that_is_certain_still_has_a_gradient(memorizing: Trained, estimator: int | None) -> None:
    """Logits so far apart that p_y − 1 is 0 in float32: the loss is taken in float64, so gates have gradients still."""
    exact, single = (task_of(memorizing, estimator, dtype=d) for d in (torch.float64, torch.float32))
    rows = predicted(exact)
    with torch.no_grad():
        for task in (exact, single):
            task.network.get_parameter("linear.weight").mul_(6.0)
        z = exact.network(exact.images(torch.arange(len(exact.y))))
    margins = z.gather(1, exact.y[:, None])[:, 0] - z.scatter(1, exact.y[:, None], -torch.inf).amax(dim=1)
    certain = [Search(row) for row in rows if 25 < margins[row] < 60][:8]
    assert len(certain) == 8
    for gradient in (
        lambda task: own_gradient(task, Active.of(task, certain), 0)[1],
        lambda task: reference_gradient(task, Active.of(task, certain), 0),
    ):
        found, wanted = gradient(single).double(), gradient(exact)
        for one, other in zip(found, wanted, strict=True):
            assert float(other.abs().max()) > 0
            torch.testing.assert_close(one, other, rtol=0, atol=1e-2 * float(other.abs().max()))


@pytest.mark.parametrize("estimator", [None, 16])
def test_what_the_folded_network_replays_is_what_it_would_compute(memorizing: Trained, estimator: int | None) -> None:
    """Gradients for searches that begin to differ in every layer, with and without known outputs, in float64."""
    task = task_of(memorizing, estimator)
    task = replace(task, size=FEW)
    folded = replace(task, network=task.network.folded(), memo={})
    starts = np.cumsum([0, *task.neurons.sizes[:-1]])
    searches = [Search(row, [int(start) + 1]) for row, start in zip(predicted(task), starts, strict=False)]
    calls: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("memloc.models.blocks.replayed", lambda *a: calls.append(1) or gates.replayed(*a))
        found = reference_gradient(folded, Active.of(folded, searches), 3)
    expected = reference_gradient(task, Active.of(task, searches), 3)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10 * float(expected.abs().max()))
    assert len(calls) == sum(range(len(starts))) * (1 if estimator else -(-FEW // (256 // COPIES)))


# --- draws ------------------------------------------------------------------------------------------------------------


def test_noise(plain: Trained) -> None:
    task = task_of(plain, 16, repeat=2)
    rows = np.array([3, 77, 5])
    x = task.images(torch.from_numpy(rows))
    noise = task.noisy(rows, 4).reshape(3, COPIES, *x.shape[1:]) - x[:, None]
    norms = noise.flatten(2).norm(dim=2) / x.flatten(1).norm(dim=1)[:, None]
    torch.testing.assert_close(norms, torch.full_like(norms, 0.01), rtol=1e-9, atol=0)
    directions = noise.flatten(2) / noise.flatten(2).norm(dim=2, keepdim=True)
    products = torch.einsum("acx,bdx->abcd", directions, directions).flatten().abs()
    assert int((products > 0.999).sum()) == 3 * COPIES  # no two alike
    assert products[products < 0.999].max() < 0.35  # 256 dimensions: as good as orthogonal
    torch.testing.assert_close(task.noisy(rows[1:2], 4), task.noisy(rows, 4)[COPIES : 2 * COPIES])
    for other in (task.noisy(rows, 5), task_of(plain, 16, repeat=3).noisy(rows, 4)):
        assert not torch.isclose(other, task.noisy(rows, 4)).all()


def test_draws_are_keyed_by_the_example_and_the_seed() -> None:
    """Not by its place in the training; and by data_seed only as far as it says which examples there are."""
    few, more = run(subset=60, epochs=1), run(subset=120, epochs=1)
    common = sorted(set(few.data.example.tolist()) & set(more.data.example.tolist()))
    assert len(common) == 60  # a smaller subset is part of a larger one
    places = [np.searchsorted(t.data.example, common) for t in (few, more)]
    assert (places[0] != places[1]).any()
    noise = [task_of(t, 16).noisy(at, 1) for t, at in zip((few, more), places, strict=True)]
    assert torch.equal(*noise)
    other = run(subset=60, epochs=1, seed=1)
    assert other.data.example.tolist() == few.data.example.tolist()
    assert not torch.equal(task_of(other, 16).noisy(places[0], 1), noise[0])
    assert task_of(other, 16).batch(1).tolist() != task_of(few, 16).batch(1).tolist()
    rows = sample(few.data, FlipsConfig(clean=9, noisy=9), few.config.data_seed)
    assert rows.tolist() == sample(other.data, FlipsConfig(clean=9, noisy=9), other.config.data_seed).tolist()


def test_reference_batches() -> None:
    trained = run(subset=600, epochs=1)
    task, other = task_of(trained, 16), task_of(trained, 16, repeat=1)
    batch = task.batch(0)
    assert len(set(batch.tolist())) == len(batch) == BATCH == 512
    assert task.batch(0).tolist() == batch.tolist()
    assert len({tuple(b.tolist()) for b in (batch, task.batch(1), other.batch(0))}) == 3
    assert replace(task, size=70).batch(0).tolist() == batch[:70].tolist()
    small = task_of(run(epochs=1), 16)
    assert sorted(small.batch(0).tolist()) == list(range(120))


# --- hand-built networks ----------------------------------------------------------------------------------------------


class Hand(Network):
    """A 1×1 convolution of positive features, then a linear layer: logits = W·relu(V·pixels)."""

    def __init__(self, features: list[list[float]], weights: list[list[float]]) -> None:
        super().__init__()
        self.conv = ConvBlock(len(features[0]), len(features), 1)
        self.linear = GatedLinear(len(features), len(weights))
        self.groups = ("conv", "linear")
        self.sites = {}
        self.neurons = {"conv": (len(features),), "linear": (len(weights), len(features))}
        with torch.no_grad():
            self.conv.conv.weight.copy_(torch.tensor(features)[:, :, None, None])
            self.linear.weight.copy_(torch.tensor(weights))
        self.requires_grad_(False).eval().double()

    @classmethod
    def build(cls, config: TrainConfig, shape: tuple[int, int, int], classes: int) -> Network:
        raise NotImplementedError

    def run_group(self, group: str, state: State, gates: Gates | None = None, masks: Masks | None = None) -> State:
        gate = gates.get(group) if gates else None
        if group == "conv":
            return (self.conv(state[0], gate).amax(dim=(2, 3)),)
        return (self.linear(state[0], gate),)


def hand_task(network: Network, x: list[list[int]], y: list[int], estimator: int | None = None, **more: Any) -> Task:
    """Images of one pixel; 255 is 1, 0 is −1 (below the ReLU)."""
    pixels = torch.tensor(x, dtype=torch.uint8)[:, :, None, None]
    return Task(
        network, pixels, torch.tensor(y), np.arange(len(y)), lambda rows: None,
        more.get("seed", 0), more.get("repeat", 0), estimator, more.get("max_neurons", 200),
    )  # fmt: skip


EYE = [[float(i == j) for j in range(4)] for i in range(4)]
FOUR = [[255 * (i == j) for j in range(4)] for i in range(4)]


@pytest.mark.parametrize("estimator", [None, 4])
def test_the_critical_neurons_of_a_hand_built_network(estimator: int | None) -> None:
    """Example 0 has features 0, 1, 2 on: logit 0 is 5 + 3 + 1 = 9 against 4.5 for class 1 from feature 2.

    The channel of feature 0 carries 5 of it: without, 4 < 4.5. The population does not use feature 0, so nothing speaks
    against closing it. Closing the linear weight (0, 0) does exactly the same: of equals the first in layer order.
    """
    network = Hand(EYE, [[5.0, 3.0, 1.0, 0.0], [0.0, 0.0, 4.5, 2.0]])
    others = [[0, 0, 0, 255]] * 6  # class 1, by feature 3
    task = hand_task(network, [[255, 255, 255, 0], *others], [0, *[1] * 6], estimator)
    (found,) = search(task, [0])
    assert [task.neurons.locate(k) for k in found.closed] == [("conv", 0)]
    assert (found.new_class, found.censored) == (1, False)
    assert as_outcome(task, found) == plainly(task, 0)


@pytest.mark.parametrize("estimator", [None, 16])
def test_what_all_searches_share_is_computed_once(estimator: int | None) -> None:
    """Feature 0 carries the example most, but the whole population lives on it: feature 1 is closed instead."""
    network = Hand(EYE, [[3.0, 2.9, 0.0, 0.0], [0.0, 0.0, 4.0, 0.0]])
    others = [[255, 0, 0, 0]] * 15
    alone = hand_task(network, [[255, 255, 255, 0], [0, 0, 255, 0]], [0, 1], estimator)
    crowd = hand_task(network, [[255, 255, 255, 0], *others], [0, *[0] * 15], estimator)
    assert [alone.neurons.locate(k) for k in search(alone, [0])[0].closed] == [("conv", 0)]
    assert [crowd.neurons.locate(k) for k in search(crowd, [0])[0].closed] == [("conv", 1)]


def test_a_linear_weight_is_a_neuron_of_its_own() -> None:
    """Feature 0 speaks for both classes; only its weight towards class 1 can be taken away without losing class 0."""
    network = Hand(EYE, [[4.0, 0.0, 0.0, 0.0], [5.0, 0.0, 0.0, 0.0], [0.0, 0.0, 4.5, 0.0]])
    crowd = [[255, 0, 0, 0]] * 3 + [[0, 255, 0, 0]]
    task = hand_task(network, [[255, 0, 255, 0], *crowd], [1, 0, 0, 0, 0])
    (found,) = search(task, [0])
    assert [task.neurons.locate(k) for k in found.closed] == [("linear", 1 * 4 + 0)]
    assert found.new_class == 2


@pytest.mark.parametrize("estimator", [None, 16])
@pytest.mark.parametrize(("limit", "count"), [(200, 4 + 12), (3, 3)])
def test_a_network_that_cannot_be_flipped(estimator: int | None, limit: int, count: int) -> None:
    """All gates closed, every logit is 0, and class 0 it is, for ever."""
    network = Hand(EYE, [[1.0] * 4, [0.0] * 4, [0.0] * 4])
    task = hand_task(network, FOUR, [0, 0, 0, 0], estimator, max_neurons=limit)
    for found in search(task, [0, 1, 2, 3]):
        assert found.censored
        assert found.new_class is None
        assert len(set(found.closed)) == len(found.closed) == count
        expected = plainly(task, found.row)  # in which order, equal scores and rounding decide
        assert (len(expected.closed), expected.censored, expected.new_class) == (count, True, None)


def test_flipped_by_the_last_neuron_allowed_is_not_censored() -> None:
    network = Hand(EYE, [[5.0, 3.0, 1.0, 0.0], [0.0, 0.0, 4.5, 2.0]])
    task = hand_task(network, [[255, 255, 255, 0], [0, 0, 0, 255]], [0, 1], max_neurons=1)
    (found,) = search(task, [0])
    assert (len(found.closed), found.censored, found.new_class) == (1, False, 1)


def test_wrong_at_once_is_a_count_of_zero() -> None:
    """On the boundary, noise alone decides: about half of the repeats end before anything is closed."""
    network = Hand(EYE, [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    counts = []
    for repeat in range(40):
        task = hand_task(network, [[255, 255, 0, 0], [0, 255, 0, 0]], [0, 1], 2, repeat=repeat)
        (found,) = search(task, [0])
        assert not found.censored
        assert found.new_class == 1
        counts.append(len(found.closed))
    assert 8 <= counts.count(0) <= 32
    assert counts.count(0) + counts.count(1) == 40


def test_ties_go_to_the_first_in_layer_order() -> None:
    """Channels 1 and 3 are the same, and so are their weights; scores are equal to the last bit."""
    features = [[0.0, 0.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
    network = Hand(features, [[0.0, 2.0, 0.0, 2.0], [0.0, 0.0, 3.0, 0.0]])
    task = hand_task(network, [[255, 0, 255, 0], [0, 255, 0, 255]], [0, 1], 2)
    assert [task.neurons.locate(k) for k in search(task, [0])[0].closed] == [("conv", 1)]


def test_neurons_as_one_vector(plain: Trained) -> None:
    network = plain.inputs().network(0)
    neurons = Neurons(network)
    assert list(neurons.shapes) == [*CONVS, "linear"]
    assert neurons.total == sum(int(np.prod(s)) for s in network.neurons.values())
    vector = torch.arange(neurons.total, dtype=torch.float64)[None]
    for layer, gate in neurons.split(vector).items():
        for index, value in enumerate(gate.flatten().tolist()):
            assert neurons.locate(int(value)) == (layer, index)
    classes, features = network.neurons["linear"]
    assert neurons.locate(neurons.total - 1) == ("linear", (classes - 1) * features + features - 1)
    with pytest.raises(IndexError):
        neurons.locate(neurons.total)
