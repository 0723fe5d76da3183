"""Neuron flipping: the search against the definition and against the published code; the accuracy after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Comparison
from benchmarks.reference import authors_flips, flips
from benchmarks.reference.examples import Examples
from benchmarks.sizes import Size, size
from memloc.models.inference import logits
from memloc.stages.neurons import BATCH, COPIES
from memloc.stages.neurons.active import Active
from memloc.stages.neurons.after import Sets, accuracies
from memloc.stages.neurons.search import own_gradient, reference_gradient, search
from memloc.stages.neurons.task import Search, Task

GROUP = 32  # searches at once, as by default
PLAINLY = 2  # searches that the plain way is timed on
STEPS = 16  # searches whose step is timed at width 1
PART = 32  # of the 512 images of a step's reference batch: what a reference is timed on at width 1

# Which layers the demo's 1,900 closings fell into: where a search begins to differ from the open network.
SHARES = {"conv1": 0.03, "conv2": 0.03, "res1.conv2": 0.01, "conv3": 0.12, "conv4": 0.49, "linear": 0.32}


def flip_search(name: str) -> Sequence[Comparison]:
    """digits: whole searches. Else one step: what a search costs is the number of its steps times that."""
    return _whole_searches(size(name)) if name == "digits" else _one_step(size(name, n=BATCH, n_test=1))


def _task(s: Size, reference: int | None) -> Task:
    inputs = s.inputs()
    network = inputs.network(max(s.checkpoints)).folded()
    data = inputs.on_device
    return Task(network, data.x, data.y, s.data.example, lambda rows: None, 0, 0, reference, 200)


def _draws(task: Task, images: int = BATCH) -> flips.Draws:
    """The engine's noise and batches for the reference; `images`: only so many of each batch."""

    def noisy(at: Sequence[int], step: int) -> Tensor:
        return task.noisy(np.array(at), step).reshape(len(at), COPIES, *task.x.shape[1:])

    return flips.Draws(noisy, lambda step: task.batch(step)[:images].tolist())


def _whole_searches(s: Size) -> Sequence[Comparison]:
    task, defined = _task(s, 16), _task(s, None)
    examples = Examples(task.images(torch.arange(len(task.y))), task.y)
    rows = _searched(s, task)
    counts = [len(found.closed) for found in search(task, rows)]
    few = [int(rows[k]) for k in np.argsort(counts)[[GROUP // 4, 3 * GROUP // 4]]]  # of typical lengths
    plain_search = flips.PlainSearch(defined.network, examples, _draws(defined))

    def engine() -> list[int]:
        # The population's gradient is shared by all searches of a training; a step's, by those of a repeat.
        return [len(found.closed) for found in search(replace(task, memo=dict(task.memo)), rows)]

    def by_definition() -> list[list[tuple[str, int]]]:
        return [plain_search.run(i, 200).closed for i in few]

    def authors() -> list[int]:
        batches = [torch.from_numpy(defined.batch(k)) for k in range(40)]
        return [authors_flips.search(defined.network, examples, i, batches, 40) for i in few[:1]]

    steps = sum(counts) + len(counts)
    plainly = by_definition()
    of_few = sum(map(len, plainly)) + len(few)
    of_authors = sum(authors()) + 1
    ours = [[defined.neurons.locate(k) for k in one.closed] for one in search(defined, few)]

    def agrees(found: list[int], of_reference: Any) -> bool:
        """By `definition` the engine closes what the plain search closes; by `fast`, as it is timed, about as many."""
        return ours == plainly and bool(abs(np.mean(found) - np.mean([len(closed) for closed in plainly])) <= 3)

    return [
        Comparison("flips_search", s.name, what, engine, plain, agrees, times)
        for what, plain, times in (
            ("definition, one at a time", by_definition, steps / of_few),
            ("the authors' algorithm", authors, steps / of_authors),
        )
    ]


def _searched(s: Size, task: Task) -> Any:
    """Rows of 16 clean and 16 noisy examples that are predicted as labelled."""
    right = (logits(task.network, task.x).argmax(dim=1) == task.y).numpy()
    chosen = [np.flatnonzero(right & members)[: GROUP // 2] for members in (~s.data.noisy, s.data.noisy)]
    return np.sort(np.concatenate(chosen))


def _one_step(s: Size) -> Sequence[Comparison]:
    """The second step of searches that have closed two gates; the references on a sixteenth of their batch, times 16."""
    task = _task(s, 16)
    task.y = logits(task.network, task.x).argmax(dim=1)  # nothing is learned from random images: as if it were
    searches = _closings(task, 2)[:STEPS]
    examples, batch = Examples(s.images(), task.y), torch.from_numpy(task.batch(1)[:PART])
    times = len(searches) * BATCH / PART

    def engine() -> Tensor:  # the population's gradient is shared by all searches of a training
        active = Active.of(task, searches)
        return own_gradient(task, active, 1)[1] + reference_gradient(task, active, 1)

    def by_definition() -> int:
        return len(flips.PlainSearch(task.network, examples, _draws(task, PART)).run(0, 1).closed)

    def authors() -> int:
        return authors_flips.search(task.network, examples, 0, [batch], 1)

    engine()
    return [
        Comparison(
            "flips_search", s.name, f"{what} (a step)", engine, plain, partial(_as_plain, task, examples, searches[0]), times
        )
        for what, plain in (("definition, one at a time", by_definition), ("the authors' algorithm", authors))
    ]


def _as_plain(task: Task, examples: Examples, one: Search, found: Tensor, closed: int) -> bool:
    """The first search's scores, against one plain pass per loss; and the reference did close a gate."""
    gates = torch.ones(1, task.neurons.total)
    gates[0, one.closed] = 0.0
    leaves = {layer: g.clone().requires_grad_() for layer, g in task.neurons.split(gates).items()}
    plain_search = flips.PlainSearch(task.network, examples, _draws(task), reference=16)
    score = plain_search.scores(one.row, plain_search.smoothed([one.row], 1, leaves), 1, leaves)
    expected = torch.cat([score[layer].flatten() for layer in leaves])
    return closed == 1 and bool((found[0] - expected).abs().max() <= 1e-4 * expected.abs().max())


def flip_accuracy(name: str) -> Sequence[Comparison]:
    """Accuracy after 32 searches: on everything, and on a twenty-fifth of it (2,000 of 50,000)."""
    s = size(name) if name == "digits" else size(name, n=BATCH, n_test=1)
    task = _task(s, 16)
    searches = _closings(task, 5)
    examples, n = Examples(task.images(torch.arange(len(task.y))), task.y), len(task.y)
    some = np.arange(n if name == "digits" else 128)  # at width 1 both on as many: what an image costs is the same
    few = np.sort(np.random.default_rng(1).choice(n, n // 25, replace=False))

    def engine(rows: Any) -> Any:
        sets = Sets(task.x, task.y, s.data.noisy, rows)
        return accuracies(task.network, sets, task.masks, searches)["clean_acc"]

    def plain(rows: Any) -> list[float]:
        return [_plain_accuracy(s, task, examples, rows, one) for one in searches[:PLAINLY]]

    return [
        Comparison(
            "flips_after", name, f"all examples per search ({what})",
            partial(engine, rows), partial(plain, whole), partial(_near, len(rows), len(whole)), GROUP / PLAINLY,
        )
        for what, rows, whole in (("all here too", some, some), ("a 25th here", few, np.arange(n)))
    ]  # fmt: skip


def _plain_accuracy(s: Size, task: Task, examples: Examples, rows: Any, one: Search) -> float:
    """Clean accuracy without the example itself; the noisy one is computed too."""
    closed = [task.neurons.locate(k) for k in one.closed]
    found = 0.0
    for members in (s.data.noisy, ~s.data.noisy):
        others = [k for k in rows.tolist() if members[k] and k != one.row]
        found = flips.accuracy_after(task.network, examples, others, closed)
    return found


def _near(n: int, whole: int, found: Sequence[float], expected: Sequence[float]) -> bool:
    """On the same examples the same but for one or two near ties; on a part of them within four standard errors."""
    return bool(np.allclose(found[:PLAINLY], expected, atol=2 / n if n == whole else 2 / n**0.5))


def _closings(task: Task, count: int) -> list[Search]:
    """32 searches of `count` closed neurons each, spread over the layers as in the demo."""
    rng = np.random.default_rng(0)
    starts = dict(zip(task.neurons.shapes, np.cumsum([0, *task.neurons.sizes[:-1]]), strict=True))
    sizes = dict(zip(task.neurons.shapes, task.neurons.sizes, strict=True))
    layers = rng.choice(list(SHARES), (GROUP, count), p=list(SHARES.values()))
    return [
        Search(k, sorted({int(starts[layer] + rng.integers(sizes[layer])) for layer in of_search}))
        for k, of_search in enumerate(layers)
    ]
