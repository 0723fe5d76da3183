"""The forward passes of every architecture, and of every stage that has one, on tensors of a GPU that is not there.

Fake tensors (torch FakeTensorMode) have a device, a shape and no data. An operation between `cuda:0` and the CPU raises, and
so does reading a value. Without a driver, backward passes and random generators of a GPU do not work on them:
test_synchronisation.py and test_step_bounds.py run these on `meta`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import _disable_current_modes

from memloc.data.device import OnDevice
from memloc.models import dropouts, random_masks
from memloc.models.build import build
from memloc.models.dropouts import OwnDropouts
from memloc.models.groups import Network
from memloc.models.inference import logits, margins
from memloc.models.running_statistics import recompute_statistics
from memloc.models.weight_gates import WeightGated
from memloc.stages.edit.compute import Edited, edited_logits
from memloc.stages.inputs import Inputs
from memloc.stages.neurons.active import Active
from memloc.stages.neurons.after import _predictions
from memloc.stages.neurons.search import own_gradient
from memloc.stages.neurons.task import Search, Task
from memloc.stages.retrain.compute import Variant, _logits
from memloc.stages.rewind.compute import Rewound, rewound_logits
from memloc.stages.training.forward import forward_pass
from memloc.stages.training.loop import autocast
from memloc.stages.training.mode import StepMasks, epoch_mode
from tests.stages.conftest import DROPOUTS, settings
from tests.stages.test_architectures import MODELS

GPU, CLASSES = torch.device("cuda:0"), 10
NETWORKS = {"resnet9": {"model": "resnet9", "width": 0.125}, **MODELS}
MODE = FakeTensorMode(allow_non_fake_inputs=True)  # one for all, because constants of the program are kept


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fake tensors, without what needs a driver: page-locked memory, and generators of random numbers on the GPU."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: tensor)
    generator = torch.Generator
    monkeypatch.setattr(torch, "Generator", lambda at="cpu": None if torch.device(at) == GPU else generator(at))
    for module in (random_masks, dropouts):
        monkeypatch.setattr(module, "scale_of", lambda keep: 1 / keep)  # it reads a tensor of the host
    monkeypatch.setattr("torch.amp.autocast_mode.torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    with MODE:
        yield


def folded(network: Network) -> Network:
    return network.eval().folded()


class Placed:
    """A training's network, inputs and images on the fake GPU."""

    def __init__(self, name: str, **fields: Any) -> None:
        given = {"subset": 24, "batch_size": 8, "width": None, **NETWORKS[name], **fields}
        self.config, data = settings(tested=8, **given)
        self.network = self.made()
        self.inputs = Inputs(self.config, data, GPU, lambda epoch: {}, _on_device=OnDevice(data, GPU))
        self.x, self.y = self.inputs.on_device.x, self.inputs.on_device.y
        self.n, self.rows = len(data.y), torch.arange(8, device=GPU)

    def made(self, change: Callable[[Network], Network] = lambda network: network) -> Network:
        """A network whose parameters and buffers are on the GPU. What it keeps elsewhere stays on the CPU.

        change: what becomes of it while it is real, because fake tensors cannot be copied with their module.
        """
        with _disable_current_modes():
            network = change(build(self.config, (1, 16, 16), CLASSES))
        for module in network.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    module._parameters[name] = nn.Parameter(on_gpu(parameter))
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = on_gpu(buffer)
        return network

    def masks(self, mask_mode: str) -> Callable[[Tensor], Any]:
        dropout = self.inputs.dropout(self.network)
        return lambda rows: dropout.evaluation(mask_mode, rows)

    def search(self, change: Callable[[Network], Network] = folded) -> tuple[Task, list[Search]]:
        network = self.made(change)
        task = Task(network, self.x, self.y, self.inputs.data.example, self.masks("plain"), 0, 0, 4, 5)
        return task, [Search(0, [0]), Search(1, [3, task.neurons.total - 1]), Search(2)]


def on_gpu(tensor: Tensor) -> Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, device=GPU)


def check(z: Tensor, *shape: int) -> None:
    assert (z.device, tuple(z.shape)) == (GPU, shape)


def test_devices_cannot_be_mixed_and_nothing_can_be_read() -> None:
    """The tests below are able to fail."""
    x = torch.ones(3, device=GPU)
    for wrong in (lambda: x + torch.ones(3), lambda: x[x > 0].sum().item(), lambda: x.tolist(), lambda: bool(x[0] > 0)):
        with pytest.raises((RuntimeError, DataDependentOutputException, DynamicOutputShapeException)):
            wrong()


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        *((name, "fp32") for name in NETWORKS),
        *((name, half) for name in ("resnet9", "vit_small") for half in ("bf16", "fp16")),
    ],
)
def test_a_training_step_forward(name: str, precision: str) -> None:
    placed = Placed(name, precision=precision)
    config, network = placed.config, placed.network.train()
    masks = OwnDropouts(network, 0, GPU).training(8, 1, 0)
    with autocast(config, GPU):
        z, loss = forward_pass(config, network, GPU)(
            placed.inputs.on_device.batch(placed.rows), placed.y[placed.rows], masks
        )
    check(z, 8, CLASSES)
    check(loss)
    assert z.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


@pytest.mark.parametrize("kind", list(DROPOUTS))
def test_every_dropout_in_a_step(kind: str) -> None:
    placed = Placed("resnet9", **DROPOUTS[kind])
    network, dropout = placed.network.train(), placed.inputs.dropout(placed.network)
    masks = StepMasks(dropout, OwnDropouts(network, 0, GPU)).at(epoch_mode(placed.config, 1), placed.rows, 1, 0)
    check(network(placed.inputs.on_device.batch(placed.rows), masks=masks), 8, CLASSES)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_evaluation(name: str) -> None:
    placed = Placed(name)
    z = logits(placed.network, placed.x, placed.masks("plain"))
    check(z, placed.n, CLASSES)
    check(margins(z, placed.y), placed.n)
    check(F.cross_entropy(z.to(torch.float64), placed.y, reduction="none"), placed.n)


@pytest.mark.parametrize("mask_mode", ["plain", "own", "scaled", "dropped"])
def test_evaluation_with_the_masks_of_examples(mask_mode: str) -> None:
    placed = Placed("resnet9", **DROPOUTS["tied"])
    check(logits(placed.network, placed.x, placed.masks(mask_mode)), placed.n, CLASSES)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_rewinding(name: str) -> None:
    placed = Placed(name)
    final = placed.made(folded)
    z = rewound_logits(final, [placed.made(folded), None], placed.x, placed.masks("plain"))
    check(z, 2, len(final.groups), placed.n, CLASSES)


@pytest.mark.parametrize("name", ["resnet9", "timm transformer"])
def test_rewinding_with_statistics_anew(name: str) -> None:
    placed = Placed(name)
    order, masks = torch.arange(placed.n, device=GPU), placed.masks("plain")
    rewound = Rewound(placed.network.eval(), placed.made().eval(), placed.network.groups[1])
    rewound.measure_statistics(placed.x, order, masks)
    check(rewound.logits(placed.x, masks), placed.n, CLASSES)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_retraining_evaluates(name: str) -> None:
    placed = Placed(name)
    groups = placed.network.groups
    optimizer: Any = None
    variants = [Variant(group, group, placed.made(), optimizer) for group in (groups[0], groups[-1])]
    for z in _logits(placed.network, variants, placed.x, placed.masks("plain")).values():
        check(z, placed.n, CLASSES)


@pytest.mark.parametrize("name", ["resnet9", "timm transformer"])
def test_edited_networks(name: str) -> None:
    """Their statistics anew, then all of them over the same images, one from a later group on."""
    placed = Placed(name)
    network, masks = placed.network.eval(), placed.masks("plain")
    edits = [Edited(placed.made().eval(), group, {}) for group in network.groups[:2]]
    with torch.no_grad():
        edited = edits[0].network
        recompute_statistics([edited], edited, placed.x, torch.arange(placed.n, device=GPU), masks)
    for z in edited_logits(network, edits, placed.x, masks):
        check(z, placed.n, CLASSES)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_gradients_forward(name: str) -> None:
    placed = Placed(name)
    placed.network.use_batch_statistics()
    check(placed.network(placed.inputs.on_device.batch(placed.rows), masks=placed.masks("plain")(placed.rows)), 8, CLASSES)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_a_step_of_a_flip_search_forward(name: str) -> None:
    """The noisy copies under gates, and the accuracies after it."""
    placed = Placed(name)
    if not placed.network.neurons:
        pytest.skip("it has no neurons")
    task, searches = placed.search()
    predicted, gradient = own_gradient(task, Active.of(task, searches), 1, wanted=False)
    check(predicted, 3)
    check(gradient, 3, task.neurons.total)
    check(_predictions(task.network, placed.x, task.masks, None, searches), 3, placed.n)


def test_a_flip_search_in_weights() -> None:
    placed = Placed("resnet9")
    task = placed.search(WeightGated)[0]
    searches = [Search(0, [0]), Search(1, [task.neurons.total - 1])]
    check(own_gradient(task, Active.of(task, searches), 1, wanted=False)[0], 2)
