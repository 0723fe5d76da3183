"""A state of a training that is well formed, has its hash, and is of something else: it is passed over and named."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from memloc.errors import MemlocWarning
from memloc.run.provenance import numerics
from memloc.run.state_fit import fit_of
from memloc.run.worker import Worker
from memloc.store import checkpoints, layout
from tests.numerics import kept_numerics
from tests.run.test_resume import Place, assert_same, loaded

CPU = torch.device("cpu")
State = dict[str, Any]


@pytest.fixture(autouse=True)
def _numerics() -> Iterator[None]:
    with kept_numerics():
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    assert place.train()[0]
    return place


def stopped(tmp_path: Path) -> Place:
    """A training with a state after epoch 1."""
    place = Place(tmp_path / "stopped")
    for _ in range(2):
        place.train(should_stop=lambda: True)
    return place


def write(place: Place, change: Callable[[State, State], None], weights: dict[str, torch.Tensor] | None = None) -> str:
    """Puts a state in the place of the present one, its hash and its list of checkpoints right; returns its path.

    change: gets the state, and what of it is JSON.
    """
    state: State = torch.load(place.resume_state, weights_only=True)
    extra = json.loads(state["extra"])
    files, trial = place.store.files, place.trial.id
    if weights is not None:
        content = checkpoints.encode(weights)
        files.put(layout.checkpoint(trial, 1), content)
        extra["entries"][-1] = vars(checkpoints.entry(trial, 1, content))
    change(state, extra)
    state["extra"] = json.dumps(extra)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    path = layout.resume_state(trial, state["epoch"], extra["numerics"], buffer.getvalue())
    place.resume_state.unlink()
    files.put(path, buffer.getvalue())
    return path


def first(tensors: dict[str, torch.Tensor]) -> str:
    return next(name for name, tensor in tensors.items() if tensor.ndim > 1)


def reshaped(state: State, kind: str) -> None:
    name = first(state[kind]) if kind == "momentum" else "margin"
    state[kind][name] = state[kind][name][:1]


def in_row(name: str, value: Any) -> Callable[[State, State], None]:
    return lambda state, extra: extra["rows"][0].update({name: value})


ODD: dict[str, tuple[Callable[[State, State], None], str]] = {
    "momentum of another shape": (lambda state, _: reshaped(state, "momentum"), "its momentum have"),
    "momentum of another parameter": (lambda state, _: state["momentum"].update(x=torch.ones(1)), "other names: 'x'"),
    "dynamics of fewer examples": (lambda state, _: reshaped(state, "dynamics"), "'margin' as"),
    "dynamics of other names": (lambda state, _: state["dynamics"].pop("loss"), "other names: 'loss'"),
    "dynamics of another type": (lambda state, _: state["dynamics"].update(loss=state["dynamics"]["loss"].int()), "int32"),
    "no rows": (lambda _, extra: extra.update(rows=[]), "rows of 0 epochs"),
    "a row of another epoch": (in_row("epoch", 7), "a row is of epoch 7"),
    "a row without a loss": (lambda _, extra: extra["rows"][0].pop("loss"), "loss of epoch 1"),
    "a row with a text": (in_row("lr", "fast"), "lr of epoch 1 is 'fast'"),
    "seconds without end": (in_row("seconds", float("inf")), "inf seconds"),
    "seconds that are no number": (in_row("seconds", None), "seconds of epoch 1 is 'None'"),
    "a checkpoint twice": (
        lambda _, extra: extra["entries"].insert(0, extra["entries"][0]),
        "one checkpoint for each epoch",
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_what_does_not_fit_is_passed_over(tmp_path: Path, undisturbed: Place, name: str) -> None:
    """The training failed at it in every launch, or committed what it says."""
    change, words = ODD[name]
    place = stopped(tmp_path)
    path = write(place, change)
    with pytest.warns(MemlocWarning, match=f"left out: {path} is no state of this training .*({words})"):
        assert place.train() == (True, [0, 1, 2, 3])
    assert_same(place, undisturbed)


def test_weights_of_another_network(tmp_path: Path, undisturbed: Place) -> None:
    place = stopped(tmp_path)
    path = write(place, lambda state, extra: None, {"w": torch.ones(3)})
    with pytest.warns(MemlocWarning, match=f"{path} is no state of this training .its weights have other names"):
        assert place.train() == (True, [0, 1, 2, 3])
    assert_same(place, undisturbed)


def test_a_state_after_the_last_epoch(tmp_path: Path, undisturbed: Place) -> None:
    place = stopped(tmp_path)
    content = place.path(1).read_bytes()
    trial = place.trial.id
    entries = [vars(checkpoints.entry(trial, epoch, content)) for epoch in range(10)]

    def change(state: State, extra: State) -> None:
        state["epoch"] = 9
        extra["rows"] = [{**extra["rows"][0], "epoch": epoch} for epoch in range(1, 10)]
        extra["entries"] = [*extra["entries"], *entries[2:]]

    for epoch in range(2, 10):
        place.store.files.put(layout.checkpoint(trial, epoch), content)
    path = write(place, change)
    with pytest.warns(MemlocWarning, match=f"{path} is no state of this training .it is after epoch 9 of 3"):
        assert place.train() == (True, [0, 1, 2, 3])
    assert_same(place, undisturbed)


@pytest.mark.parametrize("fields", [{"precision": "bf16"}, {"optimizer": "adamw", "lr": 0.001}, {"stop_after_perfect": 1}])
def test_what_fits_is_taken(tmp_path: Path, fields: dict[str, Any]) -> None:
    """Of every optimizer, also where the parameters have no momentum yet, and where the last epochs have no rows."""
    whole, place = Place(tmp_path / "whole", fields), Place(tmp_path / "stopped", fields)
    assert whole.train()[0]
    for epoch in range(3):
        assert place.train(should_stop=lambda: True)[1][0] == max(0, epoch - 1)
    assert place.train()[0]
    assert place.hashes() == whole.hashes()


def test_a_scaler_of_other_numbers(tmp_path: Path) -> None:
    fields = {"precision": "fp16"}
    whole, place = Place(tmp_path / "whole", fields), Place(tmp_path / "stopped", fields)
    assert whole.train()[0]
    for _ in range(2):
        place.train(should_stop=lambda: True)
    path = write(place, lambda _, extra: extra.update(scaler={"scale": 1.0}))
    with pytest.warns(
        MemlocWarning, match=f"{path} is no state of this training .it has not the numbers of a gradient scaler"
    ):
        assert place.train() == (True, [0, 1, 2, 3])
    assert place.hashes() == whole.hashes()


def test_a_state_of_a_committed_training(tmp_path: Path) -> None:
    """From which a replay goes on, and a stage that trains again: its weights and rows come from the commit."""
    place = stopped(tmp_path)
    misfit = fit_of(place.trial.config, lambda: Worker(place.store, loaded, CPU).data(place.trial))
    store = place.store
    files, trial, bits = store.files, place.trial.id, numerics(CPU)
    write(place, lambda _, extra: extra.update(rows=[]))
    assert checkpoints.load_state(files, trial, 1, bits, misfit) is not None
    path = write(place, lambda state, _: reshaped(state, "momentum"))
    with pytest.warns(MemlocWarning, match=f"{path} is no state of this training .its momentum have"):
        assert checkpoints.load_state(files, trial, 1, bits, misfit) is None
