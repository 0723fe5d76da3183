"""The published code's ways of flipping, against a search that copies a plain network and zeroes weights for real."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.reference import flips as reference
from benchmarks.reference.examples import Examples
from memloc.config import FieldError, canonical
from memloc.models.architectures import resolved
from memloc.models.architectures.vit_small.config import ViTSmall
from memloc.models.weight_gates import WeightGated
from memloc.seeds import stream
from memloc.stages.flips.config import Flips, FlipsConfig
from memloc.stages.neurons import COPIES
from memloc.stages.neurons.active import Active
from memloc.stages.neurons.after import Sets, accuracies
from memloc.stages.neurons.search import reference_gradient, search
from memloc.stages.neurons.task import Search, Task
from tests.models.plain import CONVS, Plain
from tests.stages.conftest import Trained, run
from tests.stages.naive import pixels
from tests.stages.test_flip_search import EYE, FEW, Hand, as_outcome, hand_task, predicted, task_of

STAGE = Flips()
LAYERS = [f"{conv}.{kind}" for conv in CONVS for kind in ("conv", "bn.weight", "bn.bias")] + ["linear"]


def weight_task(trained: Trained, **fields: Any) -> Task:
    task = task_of(trained, fields.pop("estimator", None), repeat=fields.pop("repeat", 0))
    return replace(task, network=WeightGated(task.network), memo={}, **fields)


# --- the plain way ----------------------------------------------------------------------------------------------------


def noisy(trained: Trained, rows: list[int], step: int, over_all: bool) -> Tensor:
    """The five noisy copies of the rows' images, 5×rows×C×H×W, one after the other."""
    x = pixels(trained.data.x[rows], torch.float64)
    copies: list[Tensor] = []
    draws = [stream(trained.config.seed, "flip noise", int(trained.data.example[i]), 0, step) for i in rows]
    u = np.stack([d.standard_normal((COPIES, *x.shape[1:]), dtype=np.float32) for d in draws])
    for c in range(COPIES):
        of_copy = torch.tensor(u[:, c]).double()
        if over_all:
            copies.append(x + 0.01 * (x**2).sum().sqrt() / (of_copy**2).sum().sqrt() * of_copy)
        else:
            each = [xi + 0.01 * (xi**2).sum().sqrt() / (ui**2).sum().sqrt() * ui for xi, ui in zip(x, of_copy, strict=True)]
            copies.append(torch.stack(each))
    return torch.stack(copies)


def smoothed(model: nn.Module, images: Tensor) -> Tensor:
    return torch.stack([model(x) for x in images]).mean(dim=0)


def plainly(trained: Trained, task: Task, row: int) -> reference.Outcome:
    """One example's search on a copy of the network: gradients of all weights, and the chosen ones become 0."""
    c, data = trained.config, trained.data
    model = Plain(data.shape[0], data.classes, c.architecture.width).load(trained.epochs[-1].weights).double().eval()
    y = torch.tensor(data.y)
    outcome = reference.Outcome()
    for step in range(task.max_neurons + 1):
        z = smoothed(model, noisy(trained, [row], step, True))
        if int(z.argmax()) != int(y[row]):
            outcome.new_class = int(z.argmax())
            return outcome
        if step == task.max_neurons:
            break
        if task.own_batch is None:
            rows = stream(c.seed, "flip batch", 0, step).permutation(len(y))[: task.size].tolist()
        else:
            rows = [i for i in range(len(y)) if i // task.own_batch == row // task.own_batch]
        of_batch = smoothed(model, noisy(trained, rows, step, task.norm_over_batch))
        model.zero_grad()
        (F.cross_entropy(of_batch, y[rows]) - F.cross_entropy(z, y[[row]])).backward()
        chosen = best(model, outcome.closed, task.positive)
        if chosen is None:
            break
        outcome.closed.append(chosen)
        zero(model, *chosen)
    outcome.censored = True
    return outcome


def best(model: nn.Module, closed: list[tuple[str, int]], positive: bool) -> tuple[str, int] | None:
    """(layer, index) of the open unit with the largest Σ weight·∂(L_ref − ℓ_i)/∂weight."""
    found: tuple[float, str, int] | None = None
    for layer, parameter in zip(LAYERS, model.parameters(), strict=True):
        assert parameter.grad is not None
        effect = parameter.detach() * parameter.grad
        effect = effect.flatten(1).sum(dim=1) if parameter.ndim == 4 else effect.flatten()
        for index, value in enumerate(effect.tolist()):
            if (layer, index) not in closed and (found is None or value > found[0]):
                found = (value, layer, index)
    assert found is not None
    return None if positive and found[0] <= 0 else found[1:]


@torch.no_grad()
def zero(model: nn.Module, layer: str, index: int) -> None:
    parameter = dict(zip(LAYERS, model.parameters(), strict=True))[layer]
    if parameter.ndim == 4:
        parameter[index] = 0.0
    else:
        parameter.view(-1)[index] = 0.0


# --- the same choices -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"own_batch": 16},
        {"own_batch": 16, "norm_over_batch": True, "positive": True},
        {"norm_over_batch": True},
    ],
    ids=str,
)
def test_the_same_choices_as_zeroing_for_real(memorizing: Trained, fields: dict[str, Any]) -> None:
    task = weight_task(memorizing, **fields, size=FEW)
    right = np.array(predicted(task))
    of_noisy = memorizing.data.noisy[right]
    rows = [int(r) for members in (right[of_noisy], right[~of_noisy]) for r in members[:: len(members) // 2][:2]]
    found = search(task, rows)
    for row, s in zip(rows, found, strict=True):
        assert as_outcome(task, s) == plainly(memorizing, task, row)
    layers = {task.neurons.locate(k)[0] for s in found for k in s.closed}
    assert len({layer.rsplit(".", 1)[-1] for layer in layers}) > 1
    assert max(len(s.closed) for s in found) >= 3


def test_every_kind_of_weight(plain: Trained) -> None:
    """Logits and gradients of gates with some of every layer closed, against zeroed weights and their gradients."""
    c, data = plain.config, plain.data
    task = weight_task(plain)
    assert list(task.neurons.shapes) == LAYERS
    rng = np.random.default_rng(0)
    starts = np.cumsum([0, *task.neurons.sizes[:-1]])
    some = [[int(start + rng.integers(size)) for start, size in zip(starts, task.neurons.sizes, strict=True)] for _ in "abc"]
    some += [[], [int(starts[1])]]
    rows = torch.arange(20)
    x, y = task.images(rows), task.y[rows]
    gates = torch.ones(len(some), task.neurons.total, dtype=torch.float64)
    for k, closed in enumerate(some):
        gates[k, closed] = 0.0
    leaf = gates.requires_grad_()
    z = task.network(x.repeat(len(some), 1, 1, 1).contiguous(memory_format=torch.channels_last), task.neurons.split(leaf))
    z = z.view(len(some), 20, -1)
    model = Plain(data.shape[0], data.classes, c.architecture.width).load(plain.epochs[-1].weights).double().eval()
    for k, closed in enumerate(some):
        zeroed = deepcopy(model)
        for index in closed:
            zero(zeroed, *task.neurons.locate(index))
        expected = zeroed(x)
        torch.testing.assert_close(z[k], expected, rtol=1e-9, atol=1e-10)
        (gradient,) = torch.autograd.grad(F.cross_entropy(z[k], y), leaf, retain_graph=True)
        F.cross_entropy(expected, y).backward()
        effects = []
        for p in zeroed.parameters():
            assert p.grad is not None
            effect = p.detach() * p.grad
            effects.append(effect.flatten(1).sum(dim=1) if p.ndim == 4 else effect.flatten())
        still_open = gates[k] > 0
        torch.testing.assert_close(gradient[k][still_open], torch.cat(effects)[still_open], rtol=1e-8, atol=1e-11)
        assert (gradient[[j for j in range(len(some)) if j != k]] == 0).all()


def test_without_gates_it_is_the_network(plain: Trained) -> None:
    network = plain.inputs().network(12)
    x = weight_task(plain).images(torch.arange(30)).float()
    assert torch.equal(WeightGated(network)(x), network(x))


@pytest.mark.parametrize("own", [None, 16])
def test_activations_with_the_other_options(memorizing: Trained, own: int | None) -> None:
    """Batch and noise of L_ref are options of their own, whatever closing a neuron does."""
    task = replace(task_of(memorizing, None, folded=True), own_batch=own, norm_over_batch=True, size=FEW)
    x = task.images(torch.arange(len(task.y)))
    for row in predicted(task)[::40]:

        def copies(rows: Any, step: int) -> Tensor:
            return noisy(memorizing, list(rows), step, True).transpose(0, 1)

        def batch(step: int, row: int = row) -> list[int]:
            if own is None:
                return task.batch(step).tolist()
            return [i for i in range(len(task.y)) if i // own == row // own]

        draws = reference.Draws(copies, batch)
        plain_search = reference.PlainSearch(task.network, Examples(x, task.y), draws)
        expected = plain_search.run(row, task.max_neurons)
        assert [as_outcome(task, s) for s in search(task, [row])] == [expected]


def test_norms_are_over_the_whole_batch(plain: Trained) -> None:
    """Not each image's: within a batch, every noise has the same factor of its Gaussian."""
    task = replace(task_of(plain, None), norm_over_batch=True)
    rows = np.arange(30)
    scale = task.scale_over(rows, 2)
    assert scale is not None
    expected = noisy(plain, rows.tolist(), 2, True).transpose(0, 1).flatten(0, 1)
    torch.testing.assert_close(task.noisy(rows, 2, scale), expected, rtol=1e-6, atol=1e-7)
    assert not torch.allclose(task.noisy(rows, 2), expected, rtol=1e-4, atol=1e-4)
    assert replace(task, norm_over_batch=False).scale_over(rows, 2) is None


def test_the_norm_is_not_that_of_a_group_in_one_pass(plain: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """So small a difference of the noise seldom changes which neuron is closed, so the images are counted."""
    task = replace(task_of(plain, None), norm_over_batch=True, size=FEW)
    normed: list[int] = []
    original = Task.scale_over
    monkeypatch.setattr(Task, "scale_over", lambda t, rows, step: normed.append(len(rows)) or original(t, rows, step))
    reference_gradient(task, Active.of(task, [Search(0)]), 1)
    assert normed == [FEW]


@pytest.mark.parametrize("ablate", ["activation", "weight"])
def test_an_examples_result_does_not_depend_on_the_others(memorizing: Trained, ablate: str) -> None:
    fields: dict[str, Any] = {"own_batch": 16, "norm_over_batch": True, "positive": True, "max_neurons": 5}

    def task() -> Task:
        if ablate == "weight":
            return weight_task(memorizing, **fields)
        return replace(task_of(memorizing, None), memo={}, **fields)

    rows = predicted(task())[::24]
    together = search(task(), rows)
    assert search(task(), rows[::-1]) == together[::-1]
    for row, found in zip(rows, together, strict=True):
        assert search(task(), [row]) == [found]


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_without_a_positive_score_a_search_ends(weight: float) -> None:
    """All live on feature 0, the others less surely than the example: closing it costs them more. The example alone has
    feature 1, where that has a weight; the rest is without effect."""
    network = Hand(EYE, [[5.0, weight, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    task = hand_task(network, [[255, 255, 0, 0], [166, 0, 0, 0], [166, 0, 0, 0]], [0, 0, 0])
    (found,) = search(replace(task, positive=True), [0])
    places = [task.neurons.locate(k) for k in found.closed]
    assert places in ([[("conv", 1)], [("linear", 1)]] if weight else [[]])  # closing either does the same
    assert (found.censored, found.new_class) == (True, None)
    (free,) = search(replace(task, memo={}), [0])
    assert free.closed[: len(found.closed)] == found.closed
    assert len(free.closed) > len(found.closed)


# --- the stage --------------------------------------------------------------------------------------------------------

AUTHORS = {"estimator": "definition", "batch": "own", "ablate": "weight", "choose": "positive", "noise_norm": "batch"}


def test_rows_of_the_authors_way(memorizing: Trained) -> None:
    """Through the stage; accuracies after the closings are those of the network with its weights zeroed."""
    config = STAGE.resolve(FlipsConfig(clean=4, noisy=4, post_eval="all", **AUTHORS), memorizing.config)
    rows = STAGE.run(config, memorizing.inputs(), {"repeat": 0, "group": 0})["flips"]
    c, data = memorizing.config, memorizing.data
    model = Plain(data.shape[0], data.classes, c.architecture.width).load(memorizing.epochs[-1].weights).eval()
    where = {int(e): i for i, e in enumerate(data.example)}
    assert set(LAYERS) >= {layer for of in rows["layers"] for layer in of} > {"linear"}
    for k, example in enumerate(rows["example"]):
        row = where[int(example)]
        zeroed = deepcopy(model)
        for layer, index in zip(rows["layers"][k], rows["indices"][k], strict=True):
            zero(zeroed, layer, index)
        with torch.no_grad():
            right = zeroed(pixels(data.x)).argmax(dim=1).numpy() == data.y
            test = zeroed(pixels(data.x_test)).argmax(dim=1).numpy() == data.y_test
        others = np.arange(len(data.y)) != row
        assert rows["clean_acc"][k] == pytest.approx(right[~data.noisy & others].mean())
        assert rows["noisy_acc"][k] == pytest.approx(right[data.noisy & others].mean())
        assert rows["test_acc"][k] == pytest.approx(test.mean())


def test_after_nothing_is_closed(plain: Trained) -> None:
    task = weight_task(plain)
    network = WeightGated(plain.inputs().network(12))
    sets = Sets(task.x, task.y, plain.data.noisy, np.arange(len(task.y)))
    found = accuracies(network, sets, task.masks, [Search(0), Search(1, [0])])
    assert len(found["clean_acc"]) == 2


@pytest.mark.parametrize(
    ("fields", "field", "problem"),
    [
        ({"batch": "own"}, "batch", "used only with estimator: definition (here estimator is fast)"),
        ({"noise_norm": "batch"}, "noise_norm", "used only with estimator: definition (here estimator is fast)"),
        (
            {"estimator": "definition", "reference": 16},
            "reference",
            "used only with estimator: fast (here estimator is definition)",
        ),
    ],
)
def test_fields_that_do_not_go_together(fields: dict[str, Any], field: str, problem: str) -> None:
    with pytest.raises(FieldError) as caught:
        STAGE.resolve(FlipsConfig(**fields), resolved(dataset="digits", model="resnet9"))
    assert (caught.value.field, str(caught.value)) == (field, problem)


def test_weights_of_other_architectures() -> None:
    other = resolved(dataset="digits", model="resnet9").model_copy(update={"architecture": ViTSmall()})
    with pytest.raises(FieldError, match=r"^'weight' with model: vit_small; valid here: activation; weight is for resnet9$"):
        STAGE.resolve(FlipsConfig(ablate="weight"), other)


def test_the_papers_way_by_name_is_the_default(plain: Trained) -> None:
    assert FlipsConfig(choose="any", ablate="activation") == FlipsConfig()
    of_a_batch = STAGE.resolve(FlipsConfig(estimator="definition"), plain.config)
    assert of_a_batch.noise_norm == "example"
    assert "noise_norm" not in canonical(of_a_batch)


def test_own_batches_are_of_the_training(plain: Trained) -> None:
    """Whose last one is what is left over."""
    trained = run(subset=50, batch_size=20, epochs=1)
    task = replace(task_of(trained, None), own_batch=20)
    found = [(k, rows.tolist()) for k, rows in task.batches([Search(r) for r in (3, 45, 19, 20, 49)], 7)]
    assert found == [([0, 2], list(range(20))), ([1, 4], list(range(40, 50))), ([3], list(range(20, 40)))]
