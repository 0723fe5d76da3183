"""Is it right? Against the CPU, strictly deterministic, the same bits again, and without waiting."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.setting import CLASSES, GIB, SHAPE, Setting, images, training
from memloc.config import TrainConfig
from memloc.data import Data
from memloc.models.architectures import resolved
from memloc.models.build import build
from memloc.models.inference import logits
from memloc.models.recomputation import recomputing
from memloc.run.trial_step import TriedNetwork, nondeterministic_operation
from memloc.run.worker import set_up_numerics
from memloc.stages.gradients.compute import set_gradients
from memloc.stages.inputs import Inputs
from memloc.stages.training.batches import split_into_batches
from memloc.stages.training.graphed import graphed_steps
from memloc.stages.training.loop import Epoch, train

OTHERS = ("timm:resnet18", "timm:mobilenetv3_small_050", "timm:convnext_atto", "timm:vit_tiny_patch16_224")
TIED = {"dropout": "example_tied", "p_gen": 0.3, "p_mem": 0.2}
LOGITS, GRADIENTS = 1e-4, 1e-3  # relative differences to the CPU that float32 may have
STEPS = 3  # of an epoch that is replayed from graphs
LITTLE = 3 * GIB  # of memory that is left where little is left


def against_cpu(setting: Setting) -> None:
    """Logits and gradients in float32 of every network, beside those of the CPU."""
    data = images(32, 8)  # the CPU has one thread, as trainings have
    for name in setting.networks():
        config = setting.config(name, precision="fp32")
        network = build(config, SHAPE, CLASSES)
        network.initialise(1)
        weights = {key: tensor.clone() for key, tensor in network.state_dict().items()}
        expected, found = (_computed(config, data, weights, at) for at in (torch.device("cpu"), setting.device))
        for what, one, other, limit in zip(("logits", "gradients"), expected, found, (LOGITS, GRADIENTS), strict=True):
            difference = float((one - other).norm() / one.norm())
            setting.told(
                f"{name}, {what}: relative difference", f"{difference:.1e}", f"at most {limit:g}", difference <= limit
            )


def _computed(config: TrainConfig, data: Data, weights: dict[str, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    set_up_numerics(config, device)
    inputs = Inputs(config, data, device, lambda epoch: weights)
    network = inputs.network(0)
    z = logits(network, inputs.on_device.x).cpu()
    network.use_batch_statistics()
    order = split_into_batches(np.arange(len(data.y)), 64)
    sums = set_gradients(network, inputs, order, np.stack([~data.noisy, data.noisy]), lambda rows: None)
    return z, torch.cat([tensor.double().cpu().flatten() for tensor in sums[0]])


def deterministic(setting: Setting) -> None:
    """An epoch of a few images of each network; an operation without a deterministic algorithm is an error."""
    usual = {name: setting.config(name) for name in setting.networks()}
    others = {} if setting.small else {name: resolved(dataset="cifar10", model=name) for name in OTHERS}
    for name, config in {**usual, **others}.items():
        operation = nondeterministic_operation(TriedNetwork(name, config, SHAPE, CLASSES), setting.device)
        of_memloc = name in usual  # those of timm may have one: then their sweep is refused in one line
        setting.told(name, operation or "every operation", "", operation is None if of_memloc else None)


def _kinds(setting: Setting) -> Iterator[tuple[str, dict[str, Any]]]:
    """(network, more fields) of trainings that differ in what their steps do."""
    yield "resnet9", {}
    yield "resnet9", TIED
    if not setting.small:
        yield "resnet9", {"dropout": "standard", "keep": 0.6}
        yield "resnet9", {"dropout": "sparse", "keep": 0.6}
        yield "resnet9", {"augment": "crop_flip"}
        for precision in ("tf32", "bf16", "fp16"):
            yield "resnet9", {"precision": precision}
        yield "resnet50", {}
        yield "vit_small", {}


def _named(network: str, fields: dict[str, Any]) -> str:
    return " ".join([network, *(str(value) for value in fields.values())])


def no_waiting(setting: Setting) -> None:
    """The host never waits within an epoch: under torch's debug mode for that, which is an error then; on a GPU alone."""
    data = images(2 * setting.batch, 8)
    for network, fields in _kinds(setting):
        what = _named(network, fields)
        with setting.fitting(what), training(setting, setting.config(network, **fields), data) as made:
            made.pass_over(1)
            found = "no wait"
            with _no_waits(setting):
                try:
                    made.pass_over(1)
                except RuntimeError as error:
                    found = str(error).splitlines()[0][:100]
            setting.told(what, found, "", found == "no wait" if setting.on_gpu else None)


@contextmanager
def _no_waits(setting: Setting) -> Iterator[None]:
    if not setting.on_gpu:
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def same_bits(setting: Setting) -> None:
    """Two trainings have the same bits, and one resumed, one with activation checkpointing, one with little memory."""
    data = images(3 * setting.batch, 64)
    for network, fields in _kinds(setting):
        with setting.fitting(_named(network, fields)):
            _repeated(setting, network, fields, data)


def _repeated(setting: Setting, network: str, fields: dict[str, Any], data: Data) -> None:
    config = setting.config(network, epochs=2, **fields)
    set_up_numerics(config, setting.device)
    epochs = list(train(config, data, setting.device))
    first = digests(epochs)
    found = {
        "again": digests(train(config, data, setting.device)) == first,
        "resumed": digests(train(config, data, setting.device, after=epochs[1])) == first[2:],
    }
    with recomputing():
        found["recomputed"] = digests(train(config, data, setting.device)) == first
    if setting.on_gpu and (network, fields) == ("resnet9", {}):
        found["with little memory"] = _with_little_memory(setting, config, data) == first
    wrong = [how for how, same in found.items() if not same]
    setting.told(_named(network, fields), f"{'differs ' if wrong else ''}{', '.join(wrong or found)}", "", not wrong)


def graphs(setting: Setting) -> None:
    """Steps that are replayed from a graph: have they the bits of plain steps, and how fast are they?"""
    data = images(STEPS * setting.batch, 64)
    for network, fields in _kinds(setting):
        with setting.fitting(_named(network, fields)):
            _replayed(setting, network, fields, data)


def _replayed(setting: Setting, network: str, fields: dict[str, Any], data: Data) -> None:
    config = setting.config(network, epochs=2, **fields)
    set_up_numerics(config, setting.device)
    plain = digests(train(config, data, setting.device))
    with graphed_steps():
        same = digests(train(config, data, setting.device)) == plain
    taken = [_milliseconds(setting, config, data, on) for on in (True, False)]
    note = f"a step {taken[0]:.2f} ms, plain {taken[1]:.2f} ms"
    setting.told(_named(network, fields), "same bits" if same else "differs", note, same)


def _milliseconds(setting: Setting, config: TrainConfig, data: Data, graphed: bool) -> float:
    """Of a step."""
    with training(setting, config, data) as made, graphed_steps(graphed):
        return setting.seconds(lambda: made.pass_over(1)) / STEPS * 1e3


def _with_little_memory(setting: Setting, config: TrainConfig, data: Data) -> list[str]:
    setting.free()
    free, _ = torch.cuda.mem_get_info(setting.device)
    held = torch.empty(max(0, free - LITTLE), dtype=torch.uint8, device=setting.device)
    try:
        return digests(train(config, data, setting.device))
    finally:
        del held


def digests(epochs: Iterable[Epoch]) -> list[str]:
    """A hash of the weights after each epoch."""
    found = []
    for epoch in epochs:
        epoch.wait()
        tensors = b"".join(epoch.weights[name].numpy().tobytes() for name in sorted(epoch.weights))
        found.append(hashlib.sha256(tensors).hexdigest())
    return found
