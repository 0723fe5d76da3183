"""The analyses that go layer by layer, gradient accounting, rewinding and retraining, against one set or group at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Comparison
from benchmarks.reference import gradients, rewind, training
from benchmarks.reference.examples import Examples
from benchmarks.reference.retrain import Recipe, retrain_group
from benchmarks.sizes import Size, size
from memloc.data import normalise
from memloc.models.inference import logits
from memloc.seeds import stream
from memloc.stages.gradients.config import Gradients, GradientsConfig, ResolvedGradients
from memloc.stages.retrain.compute import retrain
from memloc.stages.retrain.config import Retrain, RetrainConfig
from memloc.stages.rewind.compute import early_network, rewound_logits
from memloc.stages.rewind.config import Rewind, RewindConfig
from memloc.stages.training.batches import batches, split_into_batches
from memloc.stages.training.steps import learning_rate


def gradient_accounting(name: str) -> Sequence[Comparison]:
    """One checkpoint in both modes, against a pass per set, and against the epoch of training that it may cost."""
    s = size(name, n=128, n_test=1, batch_size=64)
    stage, last = Gradients(), max(s.checkpoints)
    x, y, noisy = s.images(), s.y, torch.tensor(s.data.noisy)
    n = len(y)
    control = torch.zeros(n, dtype=torch.bool)
    control[stream(s.config.seed, "gradient control").permutation(n)[: int(noisy.sum())]] = True
    order = split_into_batches(stream(s.config.seed, "gradient order", last).permutation(n), s.config.batch_size)
    found = []
    for bn in ("batch", "running"):
        config = stage.resolve(GradientsConfig(epochs=(last,), bn=bn), s.config)

        def engine(config: ResolvedGradients = config) -> Any:
            tables: Any = stage.run(config, s.inputs(), {"epoch": last})
            return tables["gradients"]

        def plain(batch: bool = bn == "batch") -> list[dict[str, Tensor]]:
            network = s.inputs().network(last)
            return gradients.set_gradients(network, Examples(x, y), order, [~noisy, noisy, control], batch)

        found.append(Comparison("gradients", name, f"a pass per set (bn: {bn})", engine, plain, _norms_agree))
        epoch = partial(_one_epoch, s, x, y)
        # Another computation, for its cost alone; the engine's is compared as above.
        agrees = partial(_norms_agree_with, plain)
        found.append(Comparison("gradients", name, f"an epoch of training (bn: {bn})", engine, epoch, agrees))
    return found


def _norms_agree(found: Any, expected: list[dict[str, Tensor]]) -> bool:
    pairs = zip(("sq_clean", "sq_noisy", "sq_control"), expected, strict=True)
    return all(
        np.allclose(found[column], [float(of[p].double().square().sum()) for p in found["param"]], rtol=0.05)
        for column, of in pairs
    )


def _norms_agree_with(plain: Callable[[], list[dict[str, Tensor]]], found: Any, of_other: Any) -> bool:
    return _norms_agree(found, plain())


def _one_epoch(s: Size, x: Tensor, y: Tensor) -> None:
    network = s.inputs().network(max(s.checkpoints)).requires_grad_(True)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-9)
    training.train_epoch(network, optimizer, x, y, batches(s.config, len(y), 1))


def rewinding(name: str) -> Sequence[Comparison]:
    """All groups of one epoch, and of six of which one is the last, as by default; training and test set."""
    s = size(name, n=24, n_test=24, batch_size=32)
    inputs, last = s.inputs(), max(s.checkpoints)
    config = Rewind().resolve(RewindConfig(epochs=(0, last)), s.config)
    network = inputs.network(last)
    final, early = network.folded(), early_network(config, inputs, network, 0)
    x = torch.cat([inputs.on_device.x, inputs.on_device.x_test])
    images = normalise(x).contiguous(memory_format=torch.channels_last)

    def engine(earlier: int, last: int = 0) -> Tensor:
        return rewound_logits(final, [early] * earlier + [None] * last, x, lambda rows: None)[0]

    def plain() -> Tensor:
        return torch.stack([rewind.rewound_logits(network, s.checkpoints[0], g, images) for g in final.groups])

    per_group = "a whole evaluation per group"
    return [
        Comparison("rewind", name, f"{per_group} (one epoch)", lambda: engine(1), plain, _close),
        Comparison("rewind", name, f"{per_group} (six epochs)", lambda: engine(5, 1), plain, _close, 6),
    ]


def _close(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).abs().max() <= 1e-4 * expected.abs().max())


def retraining(name: str) -> Sequence[Comparison]:
    """All groups for an epoch, evaluated before and after."""
    s = size(name, n=32, n_test=32, batch_size=32)
    config = Retrain().resolve(RetrainConfig(epochs=1), s.config)
    clean = np.flatnonzero(~s.data.noisy)
    order = clean[stream(s.config.seed, "retrain order", 1).permutation(len(clean))]
    steps = split_into_batches(order, s.config.batch_size)
    schedule = s.config.model_copy(update={"epochs": 1, "lr": config.lr, "peak_epoch": config.peak_epoch})
    rates = [learning_rate(schedule, k, len(steps), len(steps)) for k in range(len(steps))]
    x, y, x_test = s.images(), s.y, s.images(test=True)
    x8 = torch.tensor(s.data.x)
    final = s.inputs().network(max(s.checkpoints))

    def engine() -> list[float | None]:
        return [v.rows[-1]["clean_acc"] for v in retrain(config, s.inputs(), final.groups)]

    def plain(all_gradients: bool) -> list[float]:
        last, c = [], s.config
        recipe = Recipe(
            lambda epoch: x, y, [steps], rates, c.momentum, c.weight_decay, all_gradients=all_gradients
        )  # fmt: skip
        for group in final.groups:
            seen: list[Tensor] = []
            network = retrain_group(
                final, s.checkpoints[0], group, recipe,
                lambda network, seen=seen: seen.append(logits(network, x8)),  # type: ignore[misc]
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
