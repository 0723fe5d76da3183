"""Neuron flipping against a plain search, one example at a time, and against networks whose neurons are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.reference import flips as reference
from memloc.config import FieldError, TrainConfig, resolved
from memloc.models.base import ConvBlock, GatedLinear, Gates, Masks, Network, State
from memloc.stages.flip_search import BATCH, COPIES, Neurons, Search, Task, search
from memloc.stages.flips import Flips, FlipsConfig, sample
from tests.models.plain import CONVS
from tests.stages.conftest import TIED, Trained, run

STAGE = Flips()
COLUMNS = [
    "example", "repeat", "noisy", "eligible", "count", "censored", "layers", "indices", "new_class",
    "clean_acc", "noisy_acc", "test_acc", "clean_se", "noisy_se",
]  # fmt: skip


def task_of(trained: Trained, estimator: int | None, repeat: int = 0, mode: str = "plain", **more: Any) -> Task:
    inputs = trained.inputs()
    network = inputs.network(trained.config.epochs).requires_grad_(False).to(more.pop("dtype", torch.float64))
    dropout = inputs.dropout(network)

    def masks(rows: Tensor) -> Masks | None:
        return dropout.evaluation(mode, rows)

    x, y = torch.tensor(trained.data.x), torch.tensor(trained.data.y)
    limit = more.pop("max_neurons", 200)
    return Task(network, x, y, trained.data.example, masks, trained.config.seed, repeat, estimator, limit)


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
    return reference.search(
        task.network, x, task.y, row, draws_of(task), task.reference, min(task.max_neurons, task.neurons.total), task.masks
    )  # fmt: skip


def as_outcome(task: Task, found: Search) -> reference.Outcome:
    return reference.Outcome([task.neurons.locate(k) for k in found.closed], found.censored, found.new_class)


# --- the same choices -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("estimator", "repeat"), [(None, 0), (16, 0), (16, 3)])
def test_the_same_choices_as_the_plain_search(memorizing: Trained, estimator: int | None, repeat: int) -> None:
    """In float64: there rounding decides nothing."""
    task = task_of(memorizing, estimator, repeat)
    right = np.array(predicted(task))
    noisy = memorizing.data.noisy[right]
    few = 10 if estimator else 3
    rows = [int(row) for members in (right[noisy], right[~noisy]) for row in members[:few]]
    assert len(rows) == 2 * few
    found = search(task, rows)
    for row, s in zip(rows, found, strict=True):
        assert s.row == row
        assert as_outcome(task, s) == plainly(task, row)
    closed = [task.neurons.locate(k) for s in found for k in s.closed]
    assert {"linear"} < {layer for layer, _ in closed}
    assert max(len(s.closed) for s in found) >= 4


@pytest.mark.parametrize("mode", ["own", "dropped"])
def test_the_same_choices_under_masks(tied: Trained, mode: str) -> None:
    for estimator in (None, 16):
        task = task_of(tied, estimator, mode=mode)
        rows = predicted(task)[::40]
        assert [as_outcome(task, s) for s in search(task, rows)] == [plainly(task, row) for row in rows]


@pytest.mark.parametrize("estimator", [None, 16])
def test_an_examples_result_does_not_depend_on_the_others(memorizing: Trained, estimator: int | None) -> None:
    task = task_of(memorizing, estimator)
    rows = predicted(task)[:: 7 if estimator else 40]
    together = search(task, rows)
    assert search(task_of(memorizing, estimator), rows[::-1]) == together[::-1]
    for row, found in zip(rows, together, strict=True):
        assert search(task_of(memorizing, estimator), [row]) == [found]


def test_float32_scores_differ_by_rounding_only(memorizing: Trained) -> None:
    """The first step's scores in single precision, in groups of every size."""
    from memloc.stages.flip_search import _look

    exact, single = task_of(memorizing, 16), task_of(memorizing, 16, dtype=torch.float32)
    rows = np.array(predicted(exact)[:24])
    gates = torch.ones(len(rows), exact.neurons.total)
    gates[:, 5] = 0.0
    _, wanted = _look(exact, rows, gates.double(), 2, last=False)
    for size in (1, 3, 24):
        scores = torch.cat([_look(single, r, gates[: len(r)], 2, last=False)[1] for r in np.split(rows, 24 // size)])
        torch.testing.assert_close(scores.double(), wanted, rtol=0, atol=2e-5 * float(wanted.abs().max()))


def test_the_same_bits_whatever_was_computed_before(memorizing: Trained) -> None:
    """The memo of a process that has searched other groups and repeats changes nothing."""
    config = STAGE.resolve(FlipsConfig(clean=20, noisy=12, repeats=2, group_size=8, post_eval=40), memorizing.config)
    parts = STAGE.parts(config, memorizing.config, memorizing.size)
    used = memorizing.inputs()
    forward = [STAGE.run(config, used, part)["flips"] for part in parts]
    for part, rows in zip(parts[::-1], forward[::-1], strict=True):
        fresh = STAGE.run(config, memorizing.inputs(), part)["flips"]
        assert {k: list(v) for k, v in fresh.items()} == {k: list(v) for k, v in rows.items()}


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


def test_reference_batches() -> None:
    trained = run(subset=600, epochs=1)
    task, other = task_of(trained, 16), task_of(trained, 16, repeat=1)
    batch = task.batch(0)
    assert len(set(batch.tolist())) == len(batch) == BATCH == 512
    assert task.batch(0).tolist() == batch.tolist()
    assert len({tuple(b.tolist()) for b in (batch, task.batch(1), other.batch(0))}) == 3
    small = task_of(run(epochs=1), 16)
    assert sorted(small.batch(0).tolist()) == list(range(120))


# --- hand-built networks ----------------------------------------------------------------------------------------------


class Hand(Network):
    """A 1×1 convolution of positive features, then a linear layer: logits = W·relu(V·pixels)."""

    smallest_side = 1

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
def test_what_everybody_needs_is_spared(estimator: int | None) -> None:
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


# --- the stage --------------------------------------------------------------------------------------------------------


def rows_of(trained: Trained, **fields: Any) -> dict[str, list[Any]]:
    """All parts' rows, one after the other."""
    config = STAGE.resolve(FlipsConfig(**{"clean": 10, "noisy": 6, "post_eval": 0, **fields}), trained.config)
    inputs = trained.inputs()
    out: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for part in STAGE.parts(config, trained.config, trained.size):
        columns: Mapping[str, Any] = STAGE.run(config, inputs, part)["flips"]
        assert sorted(columns) == sorted(COLUMNS)
        for name in COLUMNS:
            out[name] += list(columns[name])
    return out


def test_rows(plain: Trained) -> None:
    rows = rows_of(plain, repeats=2, group_size=7)
    n = 16
    assert rows["repeat"] == [0] * n + [1] * n
    for name in ("example", "noisy", "eligible"):
        assert rows[name][:n] == rows[name][n:]
    assert rows["example"][:n] == sorted(set(rows["example"]))
    assert sum(rows["noisy"][:n]) == 6
    where = {int(e): i for i, e in enumerate(plain.data.example)}
    z = plain.inputs().network(12)(torch.stack([pixel(plain, where[int(e)]) for e in rows["example"]]))
    for k, row in enumerate(where[int(e)] for e in rows["example"]):
        right = int(z[k].argmax()) == plain.data.y[row]
        assert rows["eligible"][k] == right
        assert rows["noisy"][k] == plain.data.noisy[row]
        assert rows["count"][k] == len(rows["layers"][k]) == len(rows["indices"][k])
        assert rows["new_class"][k] != plain.data.y[row]
        if not right:
            assert (rows["count"][k], rows["new_class"][k]) == (0, int(z[k].argmax()))
    assert 0 < sum(rows["eligible"]) < 2 * n
    assert all(rows[name] == [None] * 2 * n for name in COLUMNS[-5:])


def test_repeats_have_noise_and_references_of_their_own(memorizing: Trained) -> None:
    rows = rows_of(memorizing, repeats=2)
    n = len(rows["repeat"]) // 2
    assert rows["example"][:n] == rows["example"][n:]
    assert rows["indices"][:n] != rows["indices"][n:]


def pixel(trained: Trained, row: int) -> Tensor:
    return torch.tensor(trained.data.x[row]).float() / 127.5 - 1.0


def test_an_example_alone_gives_the_same_row(memorizing: Trained) -> None:
    """In float32 rounding could choose otherwise in a near tie; at these it does not."""
    together, alone = rows_of(memorizing, group_size=16), rows_of(memorizing, group_size=1)
    same = [a == b for a, b in zip(zip(*together.values(), strict=True), zip(*alone.values(), strict=True), strict=True)]
    assert sum(same) >= 15


def test_the_sample_hangs_on_data_seed_alone_and_grows(plain: Trained) -> None:
    def chosen(data_seed: int, **fields: int) -> set[int]:
        rows = sample(plain.data, FlipsConfig(**fields), data_seed)  # type: ignore[arg-type]
        assert sorted(rows) == list(rows)
        return set(rows.tolist())

    few, more = chosen(0, clean=10, noisy=5), chosen(0, clean=20, noisy=10)
    assert few < more
    assert (len(few), sum(plain.data.noisy[sorted(few)])) == (15, 5)
    assert chosen(1, clean=10, noisy=5) != few
    assert chosen(0) == set(range(120))  # fewer than 1000: all of them


def test_parts_follow_from_the_configuration(plain: Trained) -> None:
    def parts(**fields: Any) -> list[Any]:
        return list(STAGE.parts(STAGE.resolve(FlipsConfig(**fields), plain.config), plain.config, plain.size))

    assert (plain.size.n, plain.size.n_noisy) == (120, 24)
    assert parts() == [{"repeat": 0, "group": g} for g in range(4)]  # all 120 in groups of 32
    assert parts(clean=8, noisy=8, repeats=2, group_size=8) == [{"repeat": r, "group": g} for r in (0, 1) for g in (0, 1)]
    assert parts(clean=0, noisy=50, group_size=24) == [{"repeat": 0, "group": 0}]


def test_without_noisy_examples(plain: Trained) -> None:
    trained = run(noise=0.0)
    assert not any(rows_of(trained, noisy=5)["noisy"])
    assert rows_of(trained, clean=0, noisy=5) == {name: [] for name in COLUMNS}
    accuracies = rows_of(trained, post_eval="all")
    assert accuracies["noisy_acc"] == [None] * 10
    assert all(0 <= a <= 1 for a in accuracies["clean_acc"])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"clean": 0, "noisy": 0}, "clean"),
        ({"estimator": "definition", "reference": 16}, "reference"),
        ({"mask_mode": "own"}, "mask_mode"),
    ],
)
def test_what_does_not_fit_is_an_error(plain: Trained, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(FieldError) as error:
        STAGE.resolve(FlipsConfig(**fields), plain.config)
    assert error.value.field == field


def test_configurations(plain: Trained) -> None:
    config = STAGE.resolve(FlipsConfig(), plain.config)
    assert (config.clean, config.noisy, config.repeats, config.reference) == (1000, 1000, 1, 16)
    assert (config.max_neurons, config.post_eval, config.group_size, config.estimator) == (200, 2000, 32, "fast")
    assert STAGE.resolve(FlipsConfig(estimator="definition"), plain.config).reference is None
    with pytest.raises(FieldError):
        STAGE.resolve(FlipsConfig(), resolved(dataset="digits", model="resnet9", **TIED))
