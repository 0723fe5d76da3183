"""Steps that are replayed from a graph, by their twin on the CPU: it goes through the same fixed places."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast
from unittest.mock import patch

import pytest
import torch
from torch import Tensor

from memloc.models.architectures.vit_small import network as vit_small
from memloc.models.groups import Network
from memloc.models.kept import Kept, Masks, times
from memloc.models.random_masks import RandomMasks
from memloc.models.recomputation import recomputing
from memloc.run.worker import set_up_numerics
from memloc.stages.training import graphed
from memloc.stages.training.graphed import GraphedGradients, Recorded, graphed_steps
from memloc.stages.training.loop import Training
from tests.numerics import kept_numerics
from tests.stages.conftest import CPU, DROPOUTS, settings

CASES: dict[str, dict[str, Any]] = {
    **DROPOUTS,
    "frozen": {"batch_norm": "frozen", **DROPOUTS["standard element"]},
    "frozen, random": {"batch_norm": "frozen", "stochastic": "on", **DROPOUTS["standard element"]},
    "bf16": {"precision": "bf16", **DROPOUTS["standard element"]},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.0},
    "augmented": {"augment": "crop_flip"},
    "transformer": {"model": "vit_small", "width": None, "lr": 0.01},
}


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happened: `record` and `repeat`."""
    seen: list[str] = []
    init, repeat = Recorded.__init__, Recorded.repeat
    monkeypatch.setattr(Recorded, "__init__", lambda self, *a: seen.append("record") or init(self, *a))
    monkeypatch.setattr(Recorded, "repeat", lambda self: seen.append("repeat") or repeat(self))
    return seen


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vit_small, "DIM", 64)
    monkeypatch.setattr(vit_small, "DEPTH", 2)


def bits(tensors: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: t.detach().cpu().numpy().tobytes() for name, t in tensors.items()}


def trained(on: bool, device: torch.device = CPU, again: bool = False, **fields: Any) -> list[dict[str, bytes]]:
    """Two epochs of three batches, the last one smaller; with the logits of every step."""
    training = Training(*settings(**{"subset": 52, "batch_size": 20, **fields}), device)
    with graphed_steps(on), recomputing(again):
        seen = {str(epoch): training.pass_over(epoch)[1] for epoch in (1, 2)}
    momentum = training.optimizer.tensors(training.network.named_parameters())
    return [bits(t) for t in (dict(training.network.state_dict()), momentum, seen)]


@pytest.mark.parametrize("case", CASES)
def test_a_training_has_the_bits_of_plain_steps(case: str, recorded: list[str]) -> None:
    plain = trained(False, **CASES[case])
    assert not recorded
    assert trained(True, **CASES[case]) == plain
    modes = 2 if case.startswith("frozen") else 1
    assert recorded.count("record") == modes
    assert recorded.count("repeat") == 4  # the smaller batches take the plain way


def test_with_activation_checkpointing() -> None:
    assert trained(True, again=True, **CASES["transformer"]) == trained(False, **CASES["transformer"])


@pytest.mark.parametrize("fields", [{"precision": "fp16"}, {"compile": True}])
def test_what_takes_the_plain_way(fields: dict[str, Any], recorded: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda forward, **_: forward)
    assert trained(True, **fields) == trained(False, **fields)
    assert not recorded


def test_an_observed_step_is_plain(recorded: list[str]) -> None:
    training = Training(*settings(subset=40, batch_size=20), CPU)
    graphs: list[bool] = []
    with graphed_steps():
        training.pass_over(1, lambda network, rows, z: graphs.append(z.grad_fn is not None))
    assert graphs == [True, True]
    assert not recorded


def test_it_is_off_unless_asked_for() -> None:
    assert not graphed_steps.is_on()
    with graphed_steps():
        assert graphed_steps.is_on()
    assert not graphed_steps.is_on()


def test_masks_of_another_scale_are_recorded_anew(recorded: list[str]) -> None:
    """It is in the graph, not among its inputs."""
    network = torch.nn.Linear(2, 2)
    x, y, mask = torch.ones(3, 2), torch.zeros(3, dtype=torch.int64), torch.ones(3, 2, dtype=torch.bool)

    def plain(x: Tensor, y: Tensor, masks: Masks | None) -> Tensor:
        z: Tensor = network(times(x, (masks or {})["site"]))
        z.sum().backward()
        return z.detach()

    steps = GraphedGradients(cast(Network, network), 3)
    for scale in (2.0, 4.0, 4.0):
        steps(plain, x, y, {"site": Kept(mask, scale)})
        assert network.weight.grad is not None
        assert network.weight.grad.tolist() == [[3 * scale] * 2] * 2
    assert recorded.count("record") == 2


def test_masks_are_drawn_once_a_step() -> None:
    """Also those that are not kept."""
    training = Training(*settings(subset=20, batch_size=20, **DROPOUTS["standard element"]), CPU)
    with (
        recomputing(),
        graphed_steps(),
        patch.object(RandomMasks, "drawn", autospec=True, side_effect=RandomMasks.drawn) as drawn,
    ):
        training.pass_over(1)
    assert drawn.call_count == len(training.network.sites)


def test_a_training_that_nobody_refers_to_is_gone_at_once() -> None:
    """Without waiting for the garbage collector: on a GPU, all of its memory is free for the next one."""
    training = Training(*settings(subset=20, batch_size=10), CPU)
    training.pass_over(1)
    seen = weakref.ref(training), weakref.ref(training.network)
    gc.disable()
    try:
        del training
        assert [reference() for reference in seen] == [None, None]
    finally:
        gc.enable()


def test_results_stay_where_they_are() -> None:
    """As a graph does, the twin writes each result where the one before was."""
    x = torch.tensor([2.0])
    twin = Recorded(lambda: [x * 3], CPU)
    (place,) = twin.outputs
    x.fill_(5.0)
    assert float(place) == 6.0
    twin.repeat()
    assert float(place) == 15.0
    assert twin.outputs[0] is place


def test_a_capture_is_warmed_up_and_then_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls to torch.cuda, in their order, without a card."""
    events: list[str] = []

    class Fake:
        def __init__(self, name: str = "graph") -> None:
            self.name = name

        def wait_stream(self, other: Fake) -> None:
            events.append(f"{self.name} waits for {other.name}")

        def replay(self) -> None:
            events.append("replay")

    @contextmanager
    def within(what: Any, **options: Any) -> Iterator[None]:
        on = f"on {options['stream'].name} " if "stream" in options else ""
        events.append(f"in {what.name} {on}{options.get('capture_error_mode', '')}".strip())
        yield
        events.append(f"out of {what.name}")

    @contextmanager
    def current(device: torch.device) -> Iterator[None]:
        events.append(f"at {device}")
        yield
        events.append(f"away from {device}")

    fakes: dict[str, Any] = {
        "device": current,
        "CUDAGraph": Fake,
        "Stream": lambda device: Fake("aside"),
        "current_stream": lambda device: Fake("main"),
        "stream": within,
        "graph": within,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    x = torch.tensor([2.0])
    captured = Recorded(lambda: events.append("run") or [x * 3], torch.device("cuda:1"))  # type: ignore[func-returns-value]
    captured.repeat()
    assert events == [
        "at cuda:1", "aside waits for main", "in aside", *["run"] * graphed.WARM_UP, "out of aside", "main waits for aside",
        "in graph on aside thread_local", "run", "out of graph", "away from cuda:1", "replay",
    ]  # fmt: skip


@pytest.mark.cuda
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_a_graph_has_the_bits_of_plain_steps(case: str, again: bool) -> None:
    """With the numerics of a real training: without deterministic algorithms two plain runs may differ."""
    cuda = torch.device("cuda")
    with kept_numerics():
        set_up_numerics(settings(**CASES[case])[0], cuda)
        assert trained(True, cuda, again, **CASES[case]) == trained(False, cuda, **CASES[case])
