"""No stage's inner loop waits for the device: what is counted or would be read does not grow with the number of batches.

The device here is torch's `meta`: it runs every operation without any data, so whatever wants to read some (`item`,
`nonzero`, a boolean mask as an index, a copy to the host) raises. What goes there is counted. On a GPU the same loops run
under `set_sync_debug_mode("error")`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from memloc.config import TrainConfig
from memloc.data.device import OnDevice
from memloc.models.build import build
from memloc.models.dropouts import build_dropout
from memloc.models.groups import Network
from memloc.models.inference import logits
from memloc.run.worker import set_up_numerics
from memloc.stages.gradients.compute import set_gradients
from memloc.stages.gradients.trajectory import Steps
from memloc.stages.inputs import Inputs
from memloc.stages.neurons.search import search
from memloc.stages.neurons.task import Task
from memloc.stages.retrain import compute as retraining
from memloc.stages.retrain.config import Retrain, RetrainConfig
from memloc.stages.rewind.compute import rewound_logits
from memloc.stages.training.batches import split_into_batches
from memloc.stages.training.loop import Training
from tests.numerics import kept_numerics
from tests.stages.conftest import CPU, DROPOUTS, Trained, settings

META = torch.device("meta")
REPEATED = 16  # 16 images are a group of 256, and 32 are two
Loop = Callable[[torch.device, dict[str, Any]], Callable[[], Any]]  # (device, fields) -> the loop, ready to run


class Transfers(TorchDispatchMode):
    """Counts the operations between host and device: those with tensors (not single numbers) on both."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)]
        on_host = any(t.device == CPU and t.ndim for t in tensors)
        if on_host and any(t.device == META for t in tensors):
            self.seen.append(str(func))
        return out


# --- the loops --------------------------------------------------------------------------------------------------------


def placed(device: torch.device, fields: dict[str, Any]) -> tuple[TrainConfig, Inputs, Network]:
    config, data = settings(**fields)
    network = build(config, data.shape, data.classes).to(device, memory_format=torch.channels_last)
    weights = {k: torch.zeros(t.shape, dtype=t.dtype) for k, t in network.state_dict().items()}
    inputs = Inputs(config, data, device, lambda epoch: weights)
    inputs._on_device = OnDevice(data, device)
    inputs._dropout = build_dropout(config, network.sites, data.example, device)
    return config, inputs, network


def training(device: torch.device, fields: dict[str, Any]) -> Callable[[], Any]:
    config, data = settings(**fields)
    in_progress = Training(config, data, device)
    return lambda: in_progress.pass_over(1)


def along(device: torch.device, fields: dict[str, Any]) -> Callable[[], Any]:
    """A training whose gradients are taken apart."""
    config, inputs, network = placed(device, fields)
    noisy = inputs.data.noisy
    steps = Steps(inputs, np.stack([~noisy, noisy, noisy]), by_batch=False)
    steps.sums = [[torch.zeros_like(p) for p in network.parameters()] for _ in range(3)]
    in_progress = Training(config, inputs.data, device)
    return lambda: in_progress.pass_over(1, steps.add)


def retrained(device: torch.device, fields: dict[str, Any]) -> tuple[RetrainConfig, Inputs, Network, Any]:
    train, inputs, network = placed(device, fields)
    config = Retrain().resolve(RetrainConfig(epochs=2, mask_mode="own" if train.example_tied else None), train)
    trained = [name for name, _ in network.named_parameters()]
    final = network.requires_grad_(False)
    inputs.dropout(network).constrain(network)
    return config, inputs, final, retraining._variants(config, inputs, final, ["conv2", "linear"], trained)


def retrain_epoch(device: torch.device, fields: dict[str, Any]) -> Callable[[], Any]:
    config, inputs, final, variants = retrained(device, fields)
    schedule = inputs.train.model_copy(update={"epochs": 2, "lr": 0.1, "peak_epoch": 1})
    return lambda: retraining._train_epoch(config, schedule, 1, inputs, final, variants)


def retrain_logits(device: torch.device, fields: dict[str, Any]) -> Callable[[], Any]:
    config, inputs, final, variants = retrained(device, fields)
    x = inputs.on_device.x.repeat(REPEATED, 1, 1, 1)
    masks = inputs.masks(final, config.mask_mode)
    n = len(inputs.data.y)
    return lambda: retraining._logits(final, variants, x, lambda rows: masks(rows % n))


def gradients(device: torch.device, fields: dict[str, Any]) -> Callable[[], Any]:
    config, inputs, network = placed(device, fields)
    network.use_batch_statistics()
    noisy = inputs.data.noisy
    order = split_into_batches(np.arange(len(noisy)), config.batch_size)
    dropout = inputs.dropout(network)
    mode = "own" if config.example_tied else "plain"
    members = np.stack([~noisy, noisy, noisy])
    return lambda: set_gradients(network, inputs, order, members, lambda rows: dropout.evaluation(mode, rows))


def rewind(device: torch.device, fields: dict[str, Any]) -> Callable[[], Any]:
    _, inputs, network = placed(device, fields)
    network.eval()
    x = inputs.on_device.x.repeat(REPEATED, 1, 1, 1)
    return lambda: rewound_logits(network, [network], x, lambda rows: None)


def evaluation(device: torch.device, fields: dict[str, Any]) -> Callable[[], Any]:
    _, inputs, network = placed(device, fields)
    dropout, n = inputs.dropout(network), len(inputs.data.y)
    x = inputs.on_device.x.repeat(REPEATED, 1, 1, 1)
    return lambda: logits(network, x, lambda rows: dropout.evaluation("plain", rows % n))


LOOPS: list[Loop] = [training, along, retrain_epoch, retrain_logits, gradients, rewind, evaluation]
# A generator of random numbers on `meta` does not exist; on a GPU these are run below.
KINDS = [name for name in DROPOUTS if not name.startswith("standard")]


def transfers(loop: Loop, **fields: Any) -> list[str]:
    run = loop(META, fields)
    with Transfers() as counter:
        run()
    return counter.seen


def cases() -> Iterator[Any]:
    """Every loop with the kinds of dropout and the augmentation that it uses.

    Rewinding uses neither here. Augmentation and dropout do not know of each other, so both at once are tried with one kind.
    """
    for loop in LOOPS:
        of_loop = [("none", kind) for kind in (KINDS if loop is not rewind else ["none"])]
        of_loop += [("crop_flip", "tied")] if loop in (training, along, retrain_epoch) else []
        for augment, kind in of_loop:
            yield pytest.param(loop, augment, kind, id=f"{loop.__name__}-{augment}-{kind}")


@pytest.mark.parametrize(("loop", "augment", "kind"), list(cases()))
def test_transfers_do_not_grow_with_the_number_of_batches(loop: Loop, augment: str, kind: str) -> None:
    """And nothing is read from the device at all: it has nothing to read. One batch (one group of 256), then two."""
    fields = {**DROPOUTS[kind], "augment": augment, "batch_size": 16}
    one, more = transfers(loop, **fields, subset=16), transfers(loop, **fields, subset=32)
    assert len(one) == len(more) <= 3, (one, more)


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: bool(x[0] > 0),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.cpu(),
        lambda x: x.numpy(),
    ],
)
def test_reading_from_that_device_raises(read: Callable[[Tensor], Any]) -> None:
    """The test above is able to fail."""
    with pytest.raises((RuntimeError, NotImplementedError, TypeError)):
        read(torch.ones(3, device=META))


def test_transfers_are_counted() -> None:
    x = torch.ones(4, device=META)
    with Transfers() as counter:
        torch.arange(4).to(META)
        x[torch.tensor([1, 2])]
        x + 1.0
        torch.arange(4, device=META)
    assert counter.seen == ["aten._to_copy.default", "aten.index.Tensor"]


def test_the_logits_of_an_epoch_are_gathered_once() -> None:
    """No step writes by index. On a GPU such a write sorts the indices, so that it is deterministic."""

    class Called(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            names.append(func._opname)
            return func(*args, **(kwargs or {}))

    for subset in (16, 32):
        run, names = training(META, {"subset": subset, "batch_size": 16}), list[str]()
        with Called():
            run()
        assert {"index_put", "index_put_", "_index_put_impl_", "scatter_", "index_copy_"}.isdisjoint(names)
        assert names.count("sort") == 1


# --- the search of flips reads once per step --------------------------------------------------------------------------

READS = ("item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__int__", "__float__", "__index__")


class Reads(TorchFunctionMode):
    """Counts what brings values of a tensor to the host."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += getattr(func, "__name__", "") in READS
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("reference", [16, None])
def test_a_flip_search_reads_a_few_times_per_step(memorizing: Trained, reference: int | None) -> None:
    """However many examples are searched together."""
    inputs = memorizing.inputs()
    network = inputs.network(memorizing.config.epochs).folded()
    rows = np.flatnonzero((logits(network, inputs.on_device.x).argmax(dim=1) == inputs.on_device.y).numpy())

    def reads(count: int, steps: int) -> int:
        data = inputs.on_device
        task = Task(network, data.x, data.y, inputs.data.example, lambda rows: None, 0, 0, reference, steps)
        with Reads() as counter:
            found = search(task, rows[:count].tolist())
        assert any(s.censored for s in found)  # it went to its last step
        return counter.count

    assert reads(16, 2) == reads(8, 2) > reads(8, 1) > 0


# --- on a GPU ---------------------------------------------------------------------------------------------------------


@contextmanager
def no_waiting() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.cuda
@pytest.mark.parametrize("kind", list(DROPOUTS))
@pytest.mark.parametrize("augment", ["none", "crop_flip"])
@pytest.mark.parametrize("loop", LOOPS)
def test_no_loop_waits_for_a_gpu(loop: Loop, augment: str, kind: str) -> None:
    """As trainings and analyses run: with deterministic algorithms, which sort where an index is written."""
    device, fields = torch.device("cuda"), {**DROPOUTS[kind], "augment": augment}
    with kept_numerics():
        set_up_numerics(settings(**fields)[0], device)
        run = loop(device, fields)
        run()  # libraries are loaded and workspaces made when they are first needed
        with no_waiting():
            run()
