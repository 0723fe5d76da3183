"""A part that fails: it is tried again, then recorded, and everything else goes on. On Ray: test_cluster_slow.py."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from memloc.config import TrainConfig
from memloc.data import Data, load
from memloc.errors import DeviceError
from memloc.models.recomputation import is_recomputing
from memloc.run import attempts, replay
from memloc.run.pending import pending
from memloc.run.plan import TrialPlan
from memloc.run.provenance import numerics
from memloc.run.worker import Worker
from memloc.stages.training.loop import Epoch, train
from memloc.store import Store, checkpoints
from memloc.store.state_form import ResumeState
from tests.conftest import carry_out, planned, shared
from tests.run.moody import moody, run_moody
from tests.run.programs import SMALL, Finished, assert_same, command, contents, encoded, environment, memloc, python


def trained(factory: pytest.TempPathFactory, folder: Path) -> Path:
    """A store in the folder, with the trainings of the small sweep, before any analysis."""

    def make(home: Path) -> None:
        text = SMALL.read_text()
        bare = home / "small.yaml"
        bare.write_text(
            text[: text.index("    stages:")] + text[text.index("  tied:") :].replace("    stages: {evaluate: {}}\n", "")
        )
        done = memloc(home, "sweep", str(bare), "--executor", "inline", "--store", str(home / "store"))
        assert done.code == 0, done.err

    return Path(shutil.copytree(shared(factory, "trained", make) / "store", folder / "store"))


def flip_a_bit(path: Path) -> None:
    """The last bit but a few: the size stays, so only whoever reads the file can notice."""
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def failed_and_gone_on(folder: Path, store: Path, whole: Path, *executor: str, **environ: str) -> None:
    """Damages rows of a store of trainings that a part reads, and goes on with it. whole: the store of the small sweep.

    executor, environ: options and variables of the sweep that meets the damage.
    """
    arguments = ("sweep", str(SMALL), "--store", str(store))
    detected = contents(whole)["detection"].column("trial").to_pylist()
    victim = next(path for path in store.glob("data/examples/*/*") if path.name[:16] == detected[0])
    flip_a_bit(victim)
    done = memloc(folder, *arguments, *executor, **environ)
    assert done.code == 1
    assert "1 part failed" in done.err
    assert f"{victim.name} was changed since it was committed; it is set aside, and the same command" in done.err
    status = memloc(folder, "status", "small", "--store", str(store))
    assert "Traceback (most recent call last)" in status.out
    assert victim.name in status.out
    assert contents(store)["rewind"].num_rows == contents(whole)["rewind"].num_rows - 9 * 4  # without the victim's training
    # The part has set the damaged training aside. So the same command computes it again, without anybody's help.
    again = memloc(folder, *arguments, "--executor", "inline")
    assert again.code == 0, again.err
    assert_same(whole, store)
    assert "failed:" not in memloc(folder, "status", "small", "--store", str(store)).out


def test_a_failed_part_is_retried_then_recorded_while_the_rest_goes_on(
    tmp_path: Path, small_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    failed_and_gone_on(tmp_path, trained(tmp_path_factory, tmp_path), small_store, "--executor", "inline")


SLOW = pytest.mark.slow


@pytest.mark.parametrize("damage", ["changed", pytest.param("missing", marks=SLOW), pytest.param("cut", marks=SLOW)])
def test_a_checkpoint_that_a_part_finds_damaged_is_healed(
    tmp_path: Path, small_store: Path, tmp_path_factory: pytest.TempPathFactory, damage: str
) -> None:
    """In the same run: the training is repeated up to that epoch, and must give the committed bits."""
    store = trained(tmp_path_factory, tmp_path)
    plan = planned(tmp_path, SMALL.read_text(), "small")
    opened = Store(str(store))
    works = pending(plan, opened, opened.snapshot(), "all")
    victims = sorted(store.glob("checkpoints/*/epoch-000[12].safetensors"))  # of all trainings: parts read some of them
    for victim in victims:  # after the plan, so that nothing is planned about it
        if damage == "changed":
            flip_a_bit(victim)
        elif damage == "missing":
            victim.unlink()
        else:
            os.truncate(victim, 100)
    outcome = carry_out(works, opened, tmp_path)
    assert outcome.failures == {}
    healed = {
        p.parent.name for p in victims if p.exists() and p.read_bytes() == (small_store / p.relative_to(store)).read_bytes()
    }
    rewound = set(contents(small_store)["rewind"].column("trial").to_pylist())
    assert rewound <= healed
    assert {name: encoded(t) for name, t in contents(store).items()} == {
        name: encoded(t) for name, t in contents(small_store).items()
    }


def test_what_cannot_be_healed_fails_with_its_reason(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another processor gives other bits: they are not put in the place of the committed ones."""
    store = trained(tmp_path_factory, tmp_path)
    arguments = ("sweep", str(SMALL), "--only", "block=tied", "--executor", "inline", "--store", str(store))
    trial = next(t for t in planned(tmp_path, SMALL.read_text(), "small").trials if t.config.dropout.kind == "example_tied")
    victim = store / "checkpoints" / trial.id / "epoch-0004.safetensors"
    flip_a_bit(victim)
    damaged = victim.read_bytes()
    real = replay.train

    def rounding_otherwise(*arguments: Any) -> Iterator[Epoch]:
        for epoch in real(*arguments):
            yield dataclasses.replace(
                epoch,
                weights={name: t.nextafter(t + 1) if t.is_floating_point() else t for name, t in epoch.weights.items()},
            )

    monkeypatch.setattr(replay, "train", rounding_otherwise)
    done = memloc(tmp_path, *arguments)
    assert done.code == 1
    assert "training again gave another checkpoint" in done.err
    assert victim.read_bytes() == damaged


def test_a_replay_goes_on_from_the_nearest_state(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from the start, where an intact state before the lost epoch is left."""
    store = trained(tmp_path_factory, tmp_path)
    opened = Store(str(store))
    trial = next(t for t in planned(tmp_path, SMALL.read_text(), "small").trials if t.config.dropout.kind == "none")
    worker = Worker(opened, lambda name: load(name, tmp_path), torch.device("cpu"))
    leave_states(worker, trial, {1, 2})
    begun: list[int] = []
    real = replay.train

    def watched(config: TrainConfig, data: Data, device: torch.device, after: Epoch | None) -> Iterator[Epoch]:
        begun.append(after.epoch if after else 0)
        return real(config, data, device, after)

    monkeypatch.setattr(replay, "train", watched)
    paths = {epoch: store / "checkpoints" / trial.id / f"epoch-{epoch:04}.safetensors" for epoch in range(5)}
    contents = {epoch: path.read_bytes() for epoch, path in paths.items()}
    for damaged, start in [({4}, 2), ({3}, 2), ({2}, 1), ({2, 4}, 1), ({1}, 0)]:
        for epoch in damaged:
            flip_a_bit(paths[epoch])
        replay.heal(worker, trial, max(damaged))
        # All that is damaged is mended at once, from the nearest state before it.
        assert {epoch: path.read_bytes() for epoch, path in paths.items()} == contents
        assert begun.pop() == start


def test_a_training_that_a_part_repeats_computes_activations_again_where_it_has_to(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would need more memory than the training had."""
    store = trained(tmp_path_factory, tmp_path)
    trial = next(t for t in planned(tmp_path, SMALL.read_text(), "small").trials if t.config.dropout.kind == "none")
    worker = Worker(Store(str(store)), lambda name: load(name, tmp_path), torch.device("cpu"))
    seen: list[bool] = []
    real = replay.train

    def watched(*given: Any) -> Iterator[Epoch]:
        seen.append(is_recomputing())
        return real(*given)

    monkeypatch.setattr(replay, "train", watched)
    for stages in ({"train"}, {"gradients"}):
        flip_a_bit(store / "checkpoints" / trial.id / "epoch-0002.safetensors")
        replay.heal(worker, dataclasses.replace(trial, recompute=frozenset(stages)), 2)
    assert seen == [True, False]
    assert not is_recomputing()


def leave_states(worker: Worker, trial: TrialPlan, epochs: set[int]) -> None:
    """The states after these epochs, as a training leaves them for its trajectory."""
    commit = worker.store.commit(trial.id)
    assert commit is not None
    for epoch in train(trial.config, worker.data(trial), worker.device):
        if epoch.epoch in epochs:
            entries = list(commit.checkpoints[: epoch.epoch + 1])
            state = ResumeState(epoch.epoch, epoch.momentum, epoch.dynamics, [], entries, numerics(worker.device))
            checkpoints.save_resume(worker.store.files, trial.id, state, [])


def test_one_process_gives_way_to_a_new_one_when_its_device_has_failed(tmp_path: Path) -> None:
    """Twice. A third failure ends the launch with one line, and the same command goes on."""
    moods, store = moody(tmp_path), tmp_path / "store"
    options = "--executor", "inline", "--store", str(store)
    assert run_moody(tmp_path, "store", moods).failures == {}  # so that no step of the network is timed in the next launch
    arguments = command("sweep", str(moods.path), "seed=1", *options)[1:]

    def run(failures: str) -> Finished:
        moods.be("fault")
        return python(environment(tmp_path, MEMLOC_DEVICE_FAILURES=failures), *arguments)

    last = run("2")
    said = "memloc: AcceleratorError: CUDA error: device-side assert triggered; this process cannot use the device any more"
    assert (last.code, last.err.splitlines()[-1]) == (1, said)
    assert not list(store.glob("failures/*"))
    done = run("")
    assert done.code == 0, done.err
    assert "memloc: goes on in a new process (1 of 2)" in done.err.splitlines()
    pids = [pid for pid, _ in moods.told()]
    assert len(set(pids)) == 2  # the first run's, and the other's: a new process in the place of the old one has its number
    assert [mood for _, mood in moods.told()][:3] == ["fails", "fails", "fits"]
    assert contents(store)["epochs"].num_rows == 2


def test_a_device_that_has_failed_ends_the_process(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every other part would fail in this process too: one error, no failure recorded, and the same command goes on.

    To free the device's memory before a second try would fail in the same way.
    """
    store = trained(tmp_path_factory, tmp_path)
    asked: list[str] = []

    def fails(*_: object) -> Iterator[None]:
        asked.append("part")
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        yield

    monkeypatch.setattr(attempts, "run_parts", fails)
    opened = Store(str(store))
    works = pending(planned(tmp_path, SMALL.read_text(), "small"), opened, opened.snapshot(), "all")

    def release(device: object) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("memloc.run.worker.release", release)
    with pytest.raises(
        DeviceError, match="illegal memory access was encountered; this process cannot use the device any more"
    ):
        carry_out(works, opened, tmp_path)
    assert len(asked) == 1
    assert opened.files.listing("failures") == {}
