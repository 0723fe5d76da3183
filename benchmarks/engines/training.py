"""Training: the whole of it against a bare loop, and example-tied dropout against none."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import Comparison
from benchmarks.reference import training
from benchmarks.sizes import CPU, Size, size
from memloc.config import ExampleTied, TrainConfig
from memloc.models.build import build
from memloc.models.dropouts import build_dropout
from memloc.models.groups import Network
from memloc.models.memory_format import channels_last
from memloc.run.pending import Work
from memloc.run.plan import TrialPlan
from memloc.run.trainer import run_training
from memloc.run.worker import Worker
from memloc.stages import base
from memloc.stages.training.batches import batches
from memloc.stages.training.loop import train
from memloc.stages.training.steps import learning_rate
from memloc.store import Store


def training_epoch(name: str) -> Sequence[Comparison]:
    """Some epochs with dynamics, test accuracy, checkpoints and commit, against a bare loop with test accuracy."""
    s = size(name, n=384, n_test=64, batch_size=128)
    epochs = 6 if name == "digits" else 2
    s = replace(s, config=s.config.model_copy(update={"epochs": epochs}))

    def engine() -> dict[str, Tensor]:
        with tempfile.TemporaryDirectory() as folder:
            return _trained(s, Path(folder))

    def plain() -> dict[str, Tensor]:
        return _bare(s, epochs)

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
    return channels_last(network)


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
    s = size(name, n=128, n_test=1, batch_size=64)
    tied = s.config.model_copy(update={"dropout": ExampleTied(p_gen=0.2, p_mem=0.1), "epochs": 1, "peak_epoch": 1})
    plain = s.config.model_copy(update={"epochs": 1})

    def epoch(config: TrainConfig) -> Callable[[], dict[str, Tensor]]:
        return lambda: dict(list(train(config, s.data, CPU))[-1].weights)

    def agrees(found: dict[str, Tensor], of_plain: dict[str, Tensor]) -> bool:
        """The tied epoch's weights, against a plain loop with these masks; the other is another model."""
        return _weights_agree(found, _masked_epoch(s, tied))

    return [Comparison("tied", name, "the plain model's epoch", epoch(tied), epoch(plain), agrees)]


def _masked_epoch(s: Size, tied: TrainConfig) -> dict[str, Tensor]:
    network, x, y = build(tied, s.data.shape, s.data.classes), s.images(), s.y
    network.initialise(tied.seed)
    network = channels_last(network)
    dropout = build_dropout(tied, network.sites, s.data.example, CPU)
    optimizer = torch.optim.SGD(network.parameters(), momentum=tied.momentum, weight_decay=tied.weight_decay)
    network.train()
    for k, rows in enumerate(of_epoch := batches(tied, len(y), 1)):
        optimizer.param_groups[0]["lr"] = learning_rate(tied, k, len(of_epoch), len(of_epoch))
        optimizer.zero_grad()
        loss = F.cross_entropy(network(x[rows], masks=dropout.training(rows, 1, k)), y[rows])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return {k: t.detach() for k, t in network.state_dict().items()}
