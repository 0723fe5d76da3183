"""What is compared with what, engine by engine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Comparison
from benchmarks.reference import authors_flips, flips, gradients, rewind, training
from benchmarks.reference.retrain import retrain_group
from benchmarks.sizes import CPU, Size, size
from memloc.config import resolved
from memloc.data import normalise
from memloc.models import Network, build
from memloc.models.inference import logits
from memloc.run.plan import TrialPlan, Work
from memloc.run.trial import Worker, run_training
from memloc.seeds import stream
from memloc.stages import base
from memloc.stages.batches import batches, cut, learning_rate
from memloc.stages.flip_after import Sets, accuracies
from memloc.stages.flip_search import COPIES, Search, Task, _look, search
from memloc.stages.gradients import Gradients, GradientsConfig
from memloc.stages.retrain import Retrain, RetrainConfig, retrain
from memloc.stages.rewind import rewound_logits
from memloc.stages.train import train
from memloc.store import Store

Make = Callable[[str], Sequence[Comparison]]


# --- training ---------------------------------------------------------------------------------------------------------


def training_epoch(name: str) -> Sequence[Comparison]:
    """Two epochs with dynamics, test accuracy, checkpoints and commit, against a bare loop with test accuracy."""
    s = size(name, n=256, n_test=64, batch_size=128)
    s = replace(s, config=s.config.model_copy(update={"epochs": 2}))

    def engine() -> dict[str, Tensor]:
        with tempfile.TemporaryDirectory() as folder:
            return _trained(s, Path(folder))

    def plain() -> dict[str, Tensor]:
        return _bare(s, 2)

    return [Comparison("train", name, "bare loop", engine, plain, _weights_agree)]


def _trained(s: Size, folder: Path) -> dict[str, Tensor]:
    store = Store(str(folder / "store"))
    n, n_test = len(s.data.y), len(s.data.y_test)
    of = base.Size(n, int(s.data.noisy.sum()), n_test, 1, tuple(_network(s).groups), s.data.classes)
    trial = TrialPlan("benchmark", s.config, s.raw.identity, of, (), ())
    epochs = set(range(s.config.epochs + 1))
    worker = Worker(store, lambda _: s.raw, CPU)
    run_training(worker, Work(trial, "train", [], epochs, epochs))
    return dict(worker.inputs(trial).weights(s.config.epochs))


def _network(s: Size) -> Network:
    network = build(s.config, s.data.shape, s.data.classes)
    return network.to(memory_format=torch.channels_last)


def _bare(s: Size, epochs: int) -> dict[str, Tensor]:
    c, x, y = s.config, s.images(), s.y
    x_test, y_test = s.images(test=True), torch.tensor(s.data.y_test)
    network = _network(s)
    network.initialise(c.seed)
    optimizer = torch.optim.SGD(network.parameters(), lr=c.lr, momentum=c.momentum, weight_decay=c.weight_decay)
    for epoch in range(1, epochs + 1):
        of_epoch = batches(c, len(y), epoch)
        for k, rows in enumerate(of_epoch):
            step = (epoch - 1) * len(of_epoch) + k
            optimizer.param_groups[0]["lr"] = learning_rate(c, step, c.epochs * len(of_epoch), len(of_epoch))
            training.train_epoch(network, optimizer, x, y, [rows])
        training.accuracy(network, x_test, y_test)
    return {k: t.detach() for k, t in network.state_dict().items()}


def _weights_agree(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return all(torch.allclose(t, expected[k].contiguous(), rtol=1e-3, atol=1e-5) for k, t in found.items())


def tied_step(name: str) -> Sequence[Comparison]:
    """An epoch with example-tied dropout against one without."""
    s = size(name, n=256, n_test=1, batch_size=128)
    fields = s.config.model_dump() | {"dropout": "example_tied", "p_gen": 0.2, "p_mem": 0.1, "epochs": 1, "peak_epoch": 1}
    tied = resolved(**{k: v for k, v in fields.items() if v is not None})
    plain = s.config.model_copy(update={"epochs": 1})

    def epoch(config: Any) -> Callable[[], int]:
        return lambda: len(list(train(config, s.data, CPU)))

    return [Comparison("tied", name, "the plain model's epoch", epoch(tied), epoch(plain), lambda a, b: a == b == 2)]


# --- gradients, rewinding, retraining ---------------------------------------------------------------------------------


def gradient_accounting(name: str) -> Sequence[Comparison]:
    """One checkpoint in both modes, against a pass per set, and against the epoch of training that it may cost."""
    s = size(name, n=256, n_test=1, batch_size=128)
    stage, last = Gradients(), max(s.checkpoints)
    x, y, noisy = s.images(), s.y, torch.tensor(s.data.noisy)
    n = len(y)
    control = torch.zeros(n, dtype=torch.bool)
    control[stream(s.config.seed, "gradient control").permutation(n)[: int(noisy.sum())]] = True
    order = cut(stream(s.config.seed, "gradient order", last).permutation(n), s.config.batch_size)
    found = []
    for bn in ("batch", "running"):
        config = stage.resolve(GradientsConfig(epochs=(last,), bn=bn), s.config)

        def engine(config: GradientsConfig = config) -> Any:
            return stage.run(config, s.inputs(), {"epoch": last})["gradients"]

        def plain(batch: bool = bn == "batch") -> list[dict[str, Tensor]]:
            network = s.inputs().network(last)
            return gradients.set_gradients(network, x, y, order, [~noisy, noisy, control], batch)

        found.append(Comparison("gradients", f"{name}, bn {bn}", "a pass per set", engine, plain, _norms_agree))
        epoch = partial(_one_epoch, s, x, y)
        found.append(Comparison("gradients", f"{name}, bn {bn}", "an epoch of training", engine, epoch, _not_compared))
    return found


def _norms_agree(found: Any, expected: list[dict[str, Tensor]]) -> bool:
    pairs = zip(("sq_clean", "sq_noisy", "sq_control"), expected, strict=True)
    return all(
        np.allclose(found[column], [float(of[p].double().square().sum()) for p in found["param"]], rtol=0.05)
        for column, of in pairs
    )


def _one_epoch(s: Size, x: Tensor, y: Tensor) -> None:
    network = s.inputs().network(max(s.checkpoints)).requires_grad_(True)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-9)
    training.train_epoch(network, optimizer, x, y, batches(s.config, len(y), 1))


def rewinding(name: str) -> Sequence[Comparison]:
    """All groups of one epoch and of six, training and test set."""
    s = size(name, n=64, n_test=64, batch_size=32) if name != "digits" else size(name)
    inputs, last = s.inputs(), max(s.checkpoints)
    final, early, network = inputs.network(last), inputs.network(0), inputs.network(last)
    final_state = final.state_dict()
    early.load_state_dict({k: v for k, v in final_state.items() if k not in dict(final.named_parameters())}, strict=False)
    x = torch.cat([inputs.on_device.x, inputs.on_device.x_test])
    images = normalise(x).contiguous(memory_format=torch.channels_last)

    def engine(epochs: int) -> Tensor:
        return rewound_logits(final, [early] * epochs, x, lambda rows: None)[0]

    def plain() -> Tensor:
        return torch.stack([rewind.rewound_logits(network, s.checkpoints[0], g, images) for g in final.groups])

    per_group = "a whole evaluation per group"
    return [
        Comparison("rewind", f"{name}, one epoch", per_group, lambda: engine(1), plain, _close),
        Comparison("rewind", f"{name}, six epochs", per_group, lambda: engine(6), plain, _close, 6),
    ]


def _close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= 1e-4 * expected.abs().max())


def retraining(name: str) -> Sequence[Comparison]:
    """All groups for two epochs, evaluated after each."""
    s = size(name, n=64, n_test=32, batch_size=32) if name != "digits" else size(name)
    config = Retrain().resolve(RetrainConfig(epochs=2), s.config)
    clean = np.flatnonzero(~s.data.noisy)
    of_epochs = [
        cut(clean[stream(s.config.seed, "retrain order", e).permutation(len(clean))], s.config.batch_size) for e in (1, 2)
    ]
    per_epoch = len(of_epochs[0])
    schedule = s.config.model_copy(update={"epochs": 2, "lr": config.lr, "peak_epoch": config.peak_epoch})
    rates = [learning_rate(schedule, k, 2 * per_epoch, per_epoch) for k in range(2 * per_epoch)]
    x, y, x_test = s.images(), s.y, s.images(test=True)
    x8 = torch.tensor(s.data.x)
    final = s.inputs().network(max(s.checkpoints))

    def engine() -> list[float | None]:
        return [v.rows[-1]["clean_acc"] for v in retrain(config, s.inputs(), final.groups)]

    def plain(all_gradients: bool) -> list[float]:
        last = []
        for group in final.groups:
            seen: list[Tensor] = []
            network = retrain_group(
                final, s.checkpoints[0], group, lambda epoch: x, y, of_epochs, rates, s.config.momentum,
                s.config.weight_decay, lambda network, seen=seen: seen.append(logits(network, x8)),  # type: ignore[misc]
                all_gradients=all_gradients,
            )  # fmt: skip
            training.accuracy(network, x_test, torch.tensor(s.data.y_test))
            last.append(float((seen[-1].argmax(dim=1) == y)[torch.tensor(clean)].double().mean()))
        return last

    return [
        Comparison("retrain", name, f"one group at a time, {what}", engine, partial(plain, full), _accuracies_agree)
        for what, full in (("full backward pass", True), ("the others frozen", False))
    ]


def _accuracies_agree(found: Sequence[float], expected: Sequence[float]) -> bool:
    return bool(np.allclose(found, expected, atol=0.02))


def _not_compared(found: Any, expected: Any) -> bool:
    """Another computation, for its cost alone."""
    return True


# --- flips ------------------------------------------------------------------------------------------------------------

GROUP = 32


def flip_search(name: str) -> Sequence[Comparison]:
    """digits: whole searches. Else one step of a group: what a search costs is the number of its steps times that."""
    s = size(name, n=1024, n_test=1, batch_size=128) if name != "digits" else size(name)
    task = _task(s, 16)
    rows = _searched(s, task)
    if name == "digits":
        return [*_whole_searches(s, task, rows)]
    gates = torch.ones(GROUP, task.neurons.total)
    gates[:, :2] = 0.0  # as after two closings: all that a later step does
    _look(task, rows, gates, 1, last=False)  # the population's gradient is shared by all searches of a training

    def engine() -> Tensor:
        return _look(task, rows, gates, 1, last=False)[0]

    defined = _task(s, None)

    def by_definition() -> Tensor:
        return _look(defined, rows[:1], gates[:1], 1, last=False)[0]

    x, y = s.images(), s.y
    batch = torch.from_numpy(task.batch(1))

    def authors() -> Tensor:
        authors_flips.search(task.network, x, y, int(rows[0]), [batch], 1)
        return task.y[:1]

    return [
        Comparison("flips_search", name, "definition, one at a time (a step)", engine, by_definition, _same_first, GROUP),
        Comparison("flips_search", name, "the authors' algorithm (a step)", engine, authors, _not_compared, GROUP),
    ]


def _same_first(found: Tensor, expected: Tensor) -> bool:
    return bool(found[0] == expected[0])


def _task(s: Size, reference: int | None) -> Task:
    inputs = s.inputs()
    network = inputs.network(max(s.checkpoints)).folded()
    data = inputs.on_device
    return Task(network, data.x, data.y, s.data.example, lambda rows: None, 0, 0, reference, 200)


def _searched(s: Size, task: Task) -> Any:
    """Rows of 16 clean and 16 noisy examples that are predicted as labelled (or, untrained, whatever they are)."""
    right = (logits(task.network, task.x).argmax(dim=1) == task.y).numpy() if s.name == "digits" else s.data.noisy | True
    chosen = [np.flatnonzero(right & members)[: GROUP // 2] for members in (~s.data.noisy, s.data.noisy)]
    return np.sort(np.concatenate(chosen))


def _whole_searches(s: Size, task: Task, rows: Any) -> Sequence[Comparison]:
    x, y = task.images(torch.arange(len(task.y))), task.y
    counts = [len(found.closed) for found in search(task, rows)]
    few = [int(rows[k]) for k in np.argsort(counts)[[GROUP // 4, 3 * GROUP // 4]]]  # of typical lengths
    copies = _task(s, None)

    def noisy(at: Sequence[int], step: int) -> Tensor:
        return copies.noisy(np.array(at), step).reshape(len(at), COPIES, *x.shape[1:])

    draws = flips.Draws(noisy, lambda step: copies.batch(step).tolist())

    def engine() -> list[int]:
        return [len(found.closed) for found in search(replace(task, memo=dict(task.memo)), rows)]

    def by_definition() -> list[int]:
        return [len(flips.search(copies.network, x, y, i, draws, None, 200).closed) for i in few]

    def authors() -> list[int]:
        return [
            authors_flips.search(copies.network, x, y, i, [torch.from_numpy(copies.batch(k)) for k in range(40)], 40)
            for i in few[:1]
        ]

    steps = sum(counts) + len(counts)
    of_few = sum(by_definition()) + len(few)
    of_authors = sum(authors()) + 1
    return [
        Comparison("flips_search", s.name, "definition, one at a time", engine, by_definition, _counts_near, steps / of_few),
        Comparison("flips_search", s.name, "the authors' algorithm", engine, authors, _not_compared, steps / of_authors),
    ]


def flip_accuracy(name: str) -> Sequence[Comparison]:
    """Accuracy after 32 searches: on everything, and on a twenty-fifth of it (2,000 of 50,000)."""
    s = size(name, n=800, n_test=1, batch_size=128) if name != "digits" else size(name)
    task = _task(s, 16)
    searches = _closings(task)
    n = len(task.y)
    images = task.images(torch.arange(n))
    of = {"full sets": np.arange(n), "a 25th": np.sort(np.random.default_rng(1).choice(n, n // 25, replace=False))}

    def plain() -> list[float]:
        found = []
        for one in searches[:4]:
            closed = [task.neurons.locate(k) for k in one.closed]
            for members in (s.data.noisy, ~s.data.noisy):
                rows = [k for k in np.flatnonzero(members).tolist() if k != one.row]
                accuracy = flips.accuracy_after(task.network, images, task.y, rows, closed, lambda rows: None)
            found.append(accuracy)
        return found

    def engine(rows: Any) -> Any:
        sets = Sets(rows, s.data.noisy)
        return accuracies(task.network, task.x, task.y, sets, None, task.masks, searches)["clean_acc"]

    whole = "the whole training set per search"
    return [
        Comparison(
            "flips_after",
            f"{name}, {what}",
            whole,
            partial(engine, rows),
            plain,
            partial(_first_four_near, len(rows)),
            GROUP / 4,
        )
        for what, rows in of.items()
    ]


def _first_four_near(n: int, found: Sequence[float], expected: Sequence[float]) -> bool:
    """Clean accuracy on n examples: but for one or two near ties the same on all of them, within four errors on a part."""
    return bool(np.allclose(found[:4], expected, atol=max(2 / n, 0.0 if n > 500 else 2 / n**0.5)))


def _counts_near(found: Sequence[int], expected: Sequence[int]) -> bool:
    """The reference has two of the engine's searches, of typical lengths, by the other estimator."""
    return bool(abs(np.mean(found) - np.mean(expected)) <= 3)


# Which layers the demo's 1,900 closings fell into: where a search begins to differ from the open network.
SHARES = {"conv1": 0.03, "conv2": 0.03, "res1.conv2": 0.01, "conv3": 0.12, "conv4": 0.49, "linear": 0.32}


def _closings(task: Task) -> list[Search]:
    """32 searches of five closed neurons each, spread over the layers as in the demo."""
    rng = np.random.default_rng(0)
    starts = dict(zip(task.neurons.shapes, np.cumsum([0, *task.neurons.sizes[:-1]]), strict=True))
    sizes = dict(zip(task.neurons.shapes, task.neurons.sizes, strict=True))
    layers = rng.choice(list(SHARES), (GROUP, 5), p=list(SHARES.values()))
    return [
        Search(k, sorted({int(starts[layer] + rng.integers(sizes[layer])) for layer in of_search}))
        for k, of_search in enumerate(layers)
    ]


ENGINES: dict[str, Make] = {
    "train": training_epoch,
    "tied": tied_step,
    "gradients": gradient_accounting,
    "rewind": rewinding,
    "retrain": retraining,
    "flips_search": flip_search,
    "flips_after": flip_accuracy,
}
