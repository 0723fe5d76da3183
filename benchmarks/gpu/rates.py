"""How fast, and with how much memory: the card, a training step by precision beside a bare loop, and the engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.gpu.setting import CLASSES, GIB, SHAPE, Setting, images, kernels, training
from memloc.config import TrainConfig
from memloc.data import Data, normalise
from memloc.models.build import build
from memloc.models.inference import logits
from memloc.models.memory_format import channels_last
from memloc.run.by_shape.computations import of_epoch
from memloc.run.by_shape.subject import Subject
from memloc.run.worker import set_up_numerics
from memloc.stages import base
from memloc.stages.gradients.compute import set_gradients
from memloc.stages.inputs import Inputs
from memloc.stages.neurons.after import Sets, accuracies
from memloc.stages.neurons.search import search
from memloc.stages.neurons.task import Task
from memloc.stages.retrain.compute import retrain
from memloc.stages.retrain.config import Retrain, RetrainConfig
from memloc.stages.rewind.compute import rewound_logits
from memloc.stages.training.batches import split_into_batches
from memloc.stages.training.loop import train

SIDE = 8192  # of the matrices of a product
SEARCHES, STEPS = 32, 10


def machine(setting: Setting) -> None:
    """The card, and its fastest matrix products by precision."""
    if setting.on_gpu:
        card = torch.cuda.get_device_properties(setting.device)
        versions = f"torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}"  # type: ignore[no-untyped-call]
        setting.told("GPU", card.name, f"{card.total_memory / 2**30:.0f} GiB, sm_{card.major}{card.minor}, {versions}")
    side = 256 if setting.small else SIDE
    a = torch.randn(side, side, device=setting.device)
    for precision in _precisions(setting):
        set_up_numerics(setting.config(precision=precision), setting.device)
        b = a.bfloat16() if precision == "bf16" else a
        rate = 2 * side**3 / setting.seconds(lambda b=b: b @ b)  # type: ignore[misc]
        setting.told(f"matrix product, {precision}", f"{rate / 1e12:.2f} TFLOP/s")


def _precisions(setting: Setting) -> tuple[str, ...]:
    return ("fp32", "tf32", "bf16") if setting.on_gpu else ("fp32",)


def steps(setting: Setting) -> None:
    """Milliseconds of a training step beside a bare loop, kernels, and memory as computed by shape and as measured."""
    data = images(4 * setting.batch, 64)
    for name in setting.networks():
        for precision in _precisions(setting):
            what = f"{name}, {precision}: a step of {setting.batch}"
            with setting.fitting(what):
                _step(setting, what, setting.config(name, precision=precision), data)


def _step(setting: Setting, what: str, config: TrainConfig, data: Data) -> None:
    count = len(data.y) / setting.batch
    with training(setting, config, data) as made:
        taken = setting.seconds(lambda: made.pass_over(1)) / count
        seen = kernels(setting, lambda: made.pass_over(1))
    beside = setting.seconds(_bare_loop(setting, config, data)) / count
    busy = f", busy {seen.seconds / (taken * count):.0%}" if setting.on_gpu else ""
    note = f"bare loop {beside * 1e3:.2f} ms; {seen.count / count:.0f} kernels{busy}, {seen.waits / count:.1f} waits"
    setting.told(what, f"{taken * 1e3:.2f} ms", note)


def memory(setting: Setting) -> None:
    """GiB of tensors of a training, with and without activation checkpointing: computed by shape, and measured."""
    data = images(2 * setting.batch, 64)
    for name in setting.networks():
        config = setting.config(name, epochs=1, peak_epoch=1)
        for again in (False, True):
            what = f"{name}, {'with activation checkpointing' if again else 'plain'}"
            with setting.fitting(what):
                _peak(setting, what, config, data, again)


def _peak(setting: Setting, what: str, config: TrainConfig, data: Data, again: bool) -> None:
    with training(setting, config, data, again) as made:
        measured = setting.peak(lambda: made.train_epoch(1))
    network = build(config, SHAPE, CLASSES)
    numbers = sum(tensor.numel() for tensor in network.state_dict().values())
    size = base.Size(len(data.y), int(data.noisy.sum()), len(data.y_test), numbers, tuple(network.groups), CLASSES)
    computed = of_epoch(Subject(config, size, SHAPE, again)).peak / GIB
    close = abs(computed - measured) <= 0.25 * measured + 0.1 if setting.on_gpu else None
    setting.told(what, f"{measured:.2f} GiB", f"computed {computed:.2f} GiB", close)


def _bare_loop(setting: Setting, config: TrainConfig, data: Data) -> Callable[[], None]:
    """The epoch that one would write by hand for this configuration, without determinism and without dynamics."""
    device = setting.device
    network = channels_last(build(config, SHAPE, CLASSES).to(device)).train()
    x = normalise(torch.tensor(data.x, device=device)).contiguous(memory_format=torch.channels_last)
    y = torch.tensor(data.y, device=device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    half = config.precision == "bf16"

    def epoch() -> None:
        strict = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(False)
        for rows in torch.split(torch.randperm(len(y), device=device), config.batch_size):
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                loss = F.cross_entropy(network(x[rows]), y[rows])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        torch.use_deterministic_algorithms(strict)

    return epoch


def engines(setting: Setting) -> None:
    """Images a second of every analysis of ResNet-9, and the time of a step of flip searches."""
    n = 4 * setting.batch
    data = images(n, 64)
    for precision in _precisions(setting)[:2]:
        config = setting.config(precision=precision, epochs=1, peak_epoch=1)
        set_up_numerics(config, setting.device)
        *_, last = train(config, data, setting.device)
        last.wait()
        inputs = Inputs(config, data, setting.device, lambda epoch: last.weights)  # noqa: B023
        found = {**_layers(setting, inputs, n), **_flips(setting, inputs)}
        for what, value in found.items():
            setting.told(f"resnet9, {precision}: {what}", value)
        setting.free()


def _layers(setting: Setting, inputs: Inputs, n: int) -> dict[str, str]:
    """Gradients of three sets, rewinding to five epochs, retraining every group for an epoch."""
    plain: Any = lambda rows: None  # noqa: E731
    folded, network, noisy = inputs.network(1).folded(), inputs.network(1), inputs.data.noisy
    network.use_batch_statistics()
    order = split_into_batches(np.arange(n), setting.batch)
    members = np.stack([~noisy, noisy, np.roll(noisy, 1)])
    config = Retrain().resolve(RetrainConfig(epochs=1), inputs.train)
    works = {
        "gradients of three sets": lambda: set_gradients(network, inputs, order, members, plain),
        "rewinding to five epochs": lambda: rewound_logits(folded, [folded] * 5, inputs.on_device.x, plain),
        "retraining of all groups": lambda: retrain(config, inputs, list(folded.groups)),
    }
    return {what: f"{n / setting.seconds(work, 1):,.0f} images/s" for what, work in works.items()}


def _flips(setting: Setting, inputs: Inputs) -> dict[str, str]:
    folded, data = inputs.network(1).folded(), inputs.on_device
    right = torch.nonzero(logits(folded, data.x).argmax(1) == data.y).flatten().tolist()[:SEARCHES]
    task = Task(folded, data.x, data.y, inputs.data.example, lambda rows: None, 0, 0, 16, STEPS)
    searches = search(task, right)
    count = max((len(s.closed) for s in searches), default=0) + 1
    taken = setting.seconds(lambda: search(task, right), 1) / count
    noise = setting.seconds(lambda: task.noisy(np.array(right, dtype=np.int64), 1)) if right else 0.0
    sets = Sets(data.x, data.y, inputs.data.noisy, np.arange(len(data.y)), None, 0)
    after = setting.seconds(lambda: accuracies(folded, sets, task.masks, searches), 1)
    rate = len(data.y) * max(len(searches), 1) / after
    return {
        f"a step of {len(right)} flip searches": f"{taken * 1e3:.1f} ms, of which noise {noise * 1e3:.1f} ms",
        "accuracies after flips": f"{rate:,.0f} images × searches/s",
    }
