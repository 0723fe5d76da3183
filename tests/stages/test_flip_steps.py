"""What a step of flip searches asks of the host: few reads, few copies, and noise that is there in time."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch

from memloc.models.build import build
from memloc.models.inference import logits
from memloc.models.memory_format import channels_last
from memloc.run.by_shape.counting import Counting
from memloc.seeds import stream
from memloc.stages.neurons import noise
from memloc.stages.neurons.active import Active, ByGroup
from memloc.stages.neurons.noise import Noise
from memloc.stages.neurons.search import search
from memloc.stages.neurons.task import Search, Task
from tests.stages.conftest import Trained, settings

META = torch.device("meta")
SEARCHES = 32


def on_meta(steps: int, **options: Any) -> Task:
    """Every label is 0, which is also what is read there: a search goes on for all of its steps."""
    config, data = settings(subset=64)
    with torch.device(META):
        network = channels_last(build(config, data.shape, data.classes)).eval()
    x, y = torch.empty(data.x.shape, dtype=torch.uint8, device=META), torch.zeros(64, dtype=torch.int64, device=META)
    given: dict[str, Any] = {"reference": 16, **options}
    return Task(
        network.folded(), x, y, data.example, lambda rows: None, 0, 0, max_neurons=steps, size=60, **given
    )  # fmt: skip


def counts(steps: int, **options: Any) -> tuple[int, int]:
    """(reads, copies to the device)"""
    task = on_meta(steps, **options)
    with Counting() as counting:
        search(task, range(SEARCHES))
    return counting.counts.reads, counting.counts.copies - counting.counts.reads


@pytest.mark.parametrize(
    ("options", "reads", "copies"),
    [
        # Read: the predictions, the chosen gates. To the device: the noise, the rows of L_ref.
        ({}, 2, 2),
        ({"reference": None}, 2, 3),  # L_ref has noise, too
        ({"positive": True}, 2, 2),
    ],
)
def test_a_step_reads_twice_and_copies_little(options: dict[str, Any], reads: int, copies: int) -> None:
    """However many searches there are. (Before, 32 searches copied 13 and 42 times to the device.)"""
    two, three, five = (counts(steps, **options) for steps in (2, 3, 5))
    assert (three[0] - two[0], three[1] - two[1]) == (reads, copies)
    assert (five[0] - three[0], five[1] - three[1]) == (2 * reads, 2 * copies)


# --- the gates stay on the device ---------------------------------------------------------------------------------------


@pytest.fixture
def task(memorizing: Trained) -> Task:
    inputs = memorizing.inputs()
    network, data = inputs.network(memorizing.config.epochs).folded(), inputs.on_device
    return Task(network, data.x, data.y, inputs.data.example, lambda rows: None, 0, 0, 16, 6)


def gates_of(task: Task, searches: list[Search]) -> list[list[float]]:
    return [[0.0 if k in s.closed else 1.0 for k in range(task.neurons.total)] for s in searches]


def test_what_the_device_has_is_what_the_searches_say(task: Task) -> None:
    """After a gate is closed, after searches have ended, and in the order of groups and back."""
    last = task.neurons.total - 1
    searches = [Search(7, [last]), Search(3), Search(5, [2, last]), Search(9, [last, 4]), Search(1, [last - 1])]
    active = Active.of(task, searches)
    chosen = [1, 0, last - 3, 3, last]
    active = active.closing(torch.tensor(chosen))
    for s, index in zip(searches, chosen, strict=True):
        s.closed.append(index)
    gradient = torch.arange(5.0)[:, None].expand(5, last + 1)
    some, of_them = active.only([0, 2, 3, 4], gradient)
    assert of_them is not None
    assert of_them[:, 0].tolist() == [0, 2, 3, 4]
    assert active.only(range(5), gradient) == (active, gradient)
    for now in (active, some, ByGroup.of(task, active).active, ByGroup.of(task, some).active):
        assert now.gates.tolist() == gates_of(task, now.searches)
        assert now.rows.tolist() == [s.row for s in now.searches]
        assert now.labels.tolist() == task.y[now.rows].tolist()


def test_the_order_of_groups_and_back(task: Task) -> None:
    last = task.neurons.total - 1
    searches = [Search(k, closed) for k, closed in enumerate([[last], [0], [last, 0], [], [last], [1], []])]
    ordered = ByGroup.of(task, Active.of(task, searches))
    groups = len(task.network.groups)
    assert [s.row for s in ordered.active.searches] == [0, 4, 1, 2, 5, 3, 6]
    assert ordered.sizes == [(groups - 1, 2), (0, 3), (groups, 2)]
    assert ordered.in_first_order(ordered.active.rows).tolist() == list(range(7))
    pieces = [(first, [s.row for s in ordered.active.searches[at]]) for first, at in ordered.pieces(2)]
    assert pieces == [(groups - 1, [0, 4]), (0, [1, 2]), (0, [5]), (groups, [3, 6])]
    assert ByGroup.of(task, Active.of(task, searches[:1])).back is None


# --- noise ------------------------------------------------------------------------------------------------------------


def drawn(row: int, step: int) -> np.ndarray:
    """By the definition: a stream per row and step."""
    return stream(1, "x", row, step).standard_normal((5, 2, 3), dtype=np.float32)


def test_noise_is_the_same_whichever_thread_draws_it() -> None:
    threads: list[str] = []

    def keyed(row: int, step: int) -> np.random.Generator:
        threads.append(threading.current_thread().name)
        return stream(1, "x", row, step)

    source = Noise(keyed, (5, 2, 3))
    expected = {step: np.stack([drawn(row, step) for row in (4, 2, 9)]) for step in range(3)}
    assert np.array_equal(source.directions([4, 2, 9], 0), expected[0])
    source.ahead([4], 1)  # without a thread it does nothing
    assert threads == ["MainThread"] * 3
    with source.drawing_ahead():
        source.ahead([2, 9, 4, 2], 1)
        source.ahead([4, 2, 9], 2)
        for step in (1, 2, 1):  # the step before is still there
            assert np.array_equal(source.directions([4, 2, 9], step), expected[step])
        assert len(threads) == 9
        assert all(name.startswith("flip-noise") for name in threads[3:])
        assert np.array_equal(source.directions([4, 5], 2), np.stack([drawn(4, 2), drawn(5, 2)]))  # not all were begun
        assert threads[9:] == ["MainThread"] * 2
    assert np.array_equal(source.directions([4], 2), expected[2][:1])
    assert threads[11:] == ["MainThread"]
    assert not [t for t in threading.enumerate() if t.name.startswith("flip-noise")]


@pytest.mark.parametrize("reference", [16, None])
def test_a_search_with_noise_drawn_ahead(task: Task, reference: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: all noise but that of the first step is begun before it is needed, and no choice is another."""
    task.reference, task.size = reference, 54
    rows = np.flatnonzero((logits(task.network, task.x).argmax(dim=1) == task.y).numpy())[:8].tolist()
    plain = search(task, rows)
    assert max(len(s.closed) for s in plain) > 1
    late: list[tuple[int, str]] = []
    stream_of = Task._stream

    def watched(self: Task, row: int, step: int) -> np.random.Generator:
        late.append((step, threading.current_thread().name))
        return stream_of(self, row, step)

    original = Noise.drawing_ahead

    def always(self: Noise, on: bool = True) -> AbstractContextManager[None]:
        return original(self, True)

    monkeypatch.setattr(Task, "_stream", watched)
    monkeypatch.setattr(noise.Noise, "drawing_ahead", always)
    task.__post_init__()
    assert search(task, rows) == plain
    assert {step for step, thread in late if thread == "MainThread"} == {0}
    assert len({step for step, thread in late if thread != "MainThread"}) > 1
