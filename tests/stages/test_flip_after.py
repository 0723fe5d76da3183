"""Accuracies after closing neurons, against a whole pass per search, and their standard errors against resampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.reference.examples import Examples
from benchmarks.reference.flips import accuracy_after
from memloc.models.kept import Masks
from memloc.stages.flips.config import Flips, FlipsConfig
from memloc.stages.neurons.after import Sets, _share, accuracies, choose
from memloc.stages.neurons.task import Neurons, Search
from tests.stages.conftest import Trained
from tests.stages.naive import pixels


def closings(trained: Trained) -> list[Search]:
    """Nothing, a channel of every layer, linear weights, and mixtures; of a clean and of a noisy example."""
    network = trained.inputs().network(trained.config.epochs)
    neurons = Neurons(network)
    rng = np.random.default_rng(0)
    starts = np.cumsum([0, *neurons.sizes[:-1]])
    lists = [
        [],
        *([int(s)] for s in starts),
        *(sorted(rng.choice(neurons.total, k, replace=False).tolist()) for k in (2, 9, 40, 80, 120)),
    ]
    clean, noisy = np.flatnonzero(~trained.data.noisy), np.flatnonzero(trained.data.noisy)
    return [Search(int((clean, noisy)[k % 2][k]), closed) for k, closed in enumerate(lists)]


def masks_of(trained: Trained, mode: str) -> Any:
    network = trained.inputs().network(trained.config.epochs)
    dropout = trained.inputs().dropout(network)

    def masks(rows: Tensor) -> Masks | None:
        return dropout.evaluation(mode, rows)

    return masks


def check(trained: Trained, post_eval: int | str, mode: str) -> dict[str, list[float | None]]:
    data = trained.data
    network = trained.inputs().network(trained.config.epochs)
    masks, searches = masks_of(trained, mode), closings(trained)
    x, y = torch.tensor(data.x), torch.tensor(data.y)
    x_test, y_test = torch.tensor(data.x_test), torch.tensor(data.y_test)
    chosen, of_test = choose(data, post_eval, trained.config)
    test = None if mode == "own" else (x_test[of_test], y_test[of_test])
    found = accuracies(network, Sets(x, y, data.noisy, chosen, test, len(y_test)), masks, searches)
    neurons = Neurons(network)
    examples, test_examples = Examples(pixels(data.x), y, masks), Examples(pixels(data.x_test), y_test, masks)
    for k, search in enumerate(searches):
        closed = [neurons.locate(index) for index in search.closed]
        for name, members in (("clean_acc", ~data.noisy), ("noisy_acc", data.noisy)):
            rows = [int(r) for r in chosen if members[r] and r != search.row]
            assert found[name][k] == accuracy_after(network, examples, rows, closed), (name, k)
        if test is None:
            assert found["test_acc"][k] is None
        else:
            rows = of_test.tolist()
            assert found["test_acc"][k] == accuracy_after(network, test_examples, rows, closed)
    return found


@pytest.mark.parametrize("post_eval", ["all", 40])
def test_against_a_whole_pass_per_search(memorizing: Trained, post_eval: int | str) -> None:
    found = check(memorizing, post_eval, "plain")
    assert len(set(found["clean_acc"])) >= 3  # the closings are not all alike
    for name in ("clean", "noisy", "test"):
        assert (set(found[f"{name}_se"]) == {0.0}) == (post_eval == "all")


@pytest.mark.parametrize("mode", ["own", "scaled", "dropped"])
def test_mask_modes(tied: Trained, mode: str) -> None:
    check(tied, "all", mode)


def test_the_stratified_subset(plain: Trained) -> None:
    data, config = plain.data, plain.config
    rows, test = choose(data, 40, config)
    assert sorted(set(rows.tolist())) == rows.tolist()
    assert (len(rows), int(data.noisy[rows].sum()), len(test)) == (40, 20, 20)
    for labels, at in ((data.y[~data.noisy], data.y[rows[~data.noisy[rows]]]), (data.y_test, data.y_test[test])):
        wanted = 20 * np.bincount(labels, minlength=10) / len(labels)
        assert np.abs(np.bincount(at, minlength=10) - wanted).max() < 1  # each label in proportion
    assert [a.tolist() for a in choose(data, 40, config)] == [rows.tolist(), test.tolist()]
    for other in ({"seed": 1}, {"data_seed": 1}):
        elsewhere, elsewhere_test = choose(data, 40, config.model_copy(update=other))
        assert set(elsewhere) != set(rows)
        assert set(elsewhere_test) != set(test)
    most, all_test = choose(data, 200, config)
    assert (int(data.noisy[most].sum()), len(all_test)) == (24, 100)  # all of the smaller set
    everything, whole_test = choose(data, "all", config)
    assert (everything.tolist(), whole_test.tolist()) == (list(range(120)), list(range(360)))


@pytest.mark.parametrize(("whole", "m", "share"), [(200, 40, 0.7), (60, 50, 0.4), (1000, 10, 0.5)])
def test_standard_errors_against_sampling(whole: int, m: int, share: float) -> None:
    """Of a sample without replacement: the squared errors average to the estimate's true variance."""
    rng = np.random.default_rng(1)
    population = np.arange(whole) < share * whole
    draws = [_share(rng.permutation(population)[:m], whole) for _ in range(8000)]
    variance = float(np.var([p for p, _ in draws]))
    assert float(np.mean([e**2 for _, e in draws])) == pytest.approx(variance, rel=0.06)  # type: ignore[operator]
    assert np.mean([p for p, _ in draws]) == pytest.approx(population.mean(), abs=0.01)


def test_standard_errors_at_the_edges() -> None:
    right = np.array([True, False, True])
    assert _share(right, 3) == (2 / 3, 0.0)
    assert _share(right[:1], 3) == (1.0, None)
    assert _share(right[:0], 3) == (None, None)
    assert _share(np.array([True, True]), 9) == (1.0, 0.0)


def test_the_stage_writes_them(plain: Trained) -> None:
    stage = Flips()
    config = stage.resolve(FlipsConfig(clean=6, noisy=4, post_eval="all"), plain.config)
    rows = stage.run(config, plain.inputs(), {"repeat": 0, "group": 0})["flips"]
    network = plain.inputs().network(plain.config.epochs)
    where = {int(e): i for i, e in enumerate(plain.data.example)}
    examples = Examples(pixels(plain.data.x), torch.tensor(plain.data.y))
    for k, example in enumerate(rows["example"]):
        closed = list(zip(rows["layers"][k], rows["indices"][k], strict=True))
        others = [i for i in np.flatnonzero(plain.data.noisy) if i != where[int(example)]]
        expected = accuracy_after(network, examples, others, closed)
        assert rows["noisy_acc"][k] == expected
