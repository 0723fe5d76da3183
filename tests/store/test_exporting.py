"""What an export leaves out: weights if it shall, trials that are not finished, and the folders of this machine."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import memloc as memloc_package
from memloc.run import ids
from memloc.run.pending import pending
from memloc.store import Store, bundle, layout, records
from memloc.store.verify import verify
from tests.conftest import TINY, planned, run_inline
from tests.models import own_nets
from tests.run.programs import contents, encoded, memloc
from tests.store.compacted import assert_same, shown

WIDER = TINY.replace("evaluate: {}}\n  tied", "evaluate: {}, retrain: {epochs: 1}}\n  tied")  # one more analysis


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the finished store of sweep `tiny`."""
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def names(file: Path) -> list[str]:
    with zipfile.ZipFile(file) as archive:
        return archive.namelist()


def export(folder: Path, store: Path, *arguments: str) -> str:
    done = memloc(folder, "store", "export", *arguments, "--store", str(store), "-o", str(folder / "x.zip"), "--overwrite")
    assert (done.code, done.err) == (0, "")
    return done.out


def take_in(folder: Path, store: Path) -> str:
    done = memloc(folder, "store", "import", str(folder / "x.zip"), "--store", str(store))
    assert (done.code, done.err) == (0, "")
    return done.out


# --- weights ----------------------------------------------------------------------------------------------------------


def test_without_weights(tiny: Path, tmp_path: Path) -> None:
    """Everything is there but the checkpoints, which count as removed on purpose: only what reads them trains again."""
    new = tmp_path / "new"
    out = export(tmp_path, tiny, "--sweep", "tiny", "--without-weights")
    assert out.startswith("exported 2 trials of tiny: 3 analyses, 0 checkpoints, ")
    assert not [name for name in names(tmp_path / "x.zip") if name.startswith("checkpoints")]
    assert take_in(tmp_path, new) == f"imported 2 trials of tiny into {new}: 3 analyses, 0 checkpoints\n"
    assert take_in(tmp_path, new) == f"nothing to do: {new} has all of {tmp_path / 'x.zip'}: 2 trials of tiny\n"
    assert {name: encoded(rows) for name, rows in contents(new).items()} == {
        name: encoded(rows) for name, rows in contents(tiny).items()
    }
    store, plan = Store(str(new)), planned(tmp_path, TINY)
    assert verify(store.files)[0] == []
    assert [work for work in pending(plan, store, store.snapshot(), "all") if work.anything] == []
    before, after = (memloc(tmp_path, "claims", "tiny", "--json", "--store", str(s)) for s in (tiny, new))
    assert (after, after.code) == (before, 0)
    (work,) = [work for work in pending(planned(tmp_path, WIDER), store, store.snapshot(), "all") if work.anything]
    assert (work.train, {part[0].stage for part in work.parts}) == ("replay", {"retrain"})
    run_inline(tmp_path, WIDER, store)
    assert set(store.snapshot().commits) == set(planned(tmp_path, WIDER).trials[0].part_ids) | {
        part for trial in plan.trials for part in trial.part_ids
    }


def test_the_dry_run_says_what_trains_again(tiny: Path, tmp_path: Path) -> None:
    export(tmp_path, tiny, "--sweep", "tiny", "--without-weights")
    take_in(tmp_path, tmp_path / "new")
    (tmp_path / "tiny.yaml").write_text(WIDER)
    done = memloc(tmp_path, "sweep", str(tmp_path / "tiny.yaml"), "--dry-run", "--store", str(tmp_path / "new"))
    assert done.code == 0
    assert "to train again up to epoch 2 (a checkpoint it needs is gone)" in done.out
    assert "to do: 1 training (1 again, for a checkpoint that is gone), " in done.out


def test_weights_that_are_there_stay(copy: Path, tmp_path: Path) -> None:
    export(tmp_path, copy, "--sweep", "tiny", "--without-weights")
    (commit,) = copy.glob("commits/*/" + next(iter(Store(str(copy)).snapshot().trainings())) + "-*")
    before = sorted(copy.glob("checkpoints/*/*"))
    commit.unlink()  # the training is not committed, and its checkpoints are there
    take_in(tmp_path, copy)
    assert sorted(copy.glob("checkpoints/*/*")) == before
    assert verify(Store(str(copy)).files)[0] == []


# --- sweeps -----------------------------------------------------------------------------------------------------------


def test_a_sweep_with_all_its_weights(tiny: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert export(tmp_path, tiny, "--sweep", "tiny").startswith("exported 2 trials of tiny: 3 analyses, 6 checkpoints, ")
    take_in(tmp_path, new)
    stores = Store(str(tiny)), Store(str(new))
    assert_same(shown(stores[1], sweep="tiny"), shown(stores[0], sweep="tiny"))
    weights = [{path: s.files.get(path) for path in s.files.listing(layout.CHECKPOINTS) if "epoch" in path} for s in stores]
    assert len(weights[0]) == 6
    assert weights[0] == weights[1]
    assert records.read_sweeps(stores[1].files)[0].trials == records.read_sweeps(stores[0].files)[0].trials
    sha = records.read_sweeps(stores[0].files)[0].sha
    before = (tmp_path / "x.zip").read_bytes()
    export(tmp_path, new, "--sweep", f"tiny@{sha}")
    assert (tmp_path / "x.zip").read_bytes() == before


def test_trials_that_are_not_finished_stay_behind(copy: Path, tmp_path: Path) -> None:
    """So do analyses that the sweep does not have, and trials of other sweeps."""
    run_inline(tmp_path, WIDER.replace("  tied:\n    set: {", "  tied:\n    set: {seed: 1, "), Store(str(copy)), "other")
    store = Store(str(copy))
    tied = next(t for t, c in store.snapshot().trainings().items() if "p_gen" in c.config and c.config["seed"] == 0)
    evaluation = next(c for c in store.snapshot().commits.values() if c.trial == tied and c.stage == "evaluate")
    store.files.delete(store.snapshot().paths[evaluation.id])
    out = export(tmp_path, copy, "--sweep", "tiny")
    assert out.startswith("exported 1 trial of tiny: 2 analyses, 3 checkpoints, ")
    assert out.endswith("\nnot in it, since not finished: 1 trial\n")
    new = Store(str(tmp_path / "new"))
    take_in(tmp_path, tmp_path / "new")
    assert {c.stage for c in new.snapshot().commits.values()} == {"train", "rewind", "evaluate"}
    done = memloc(tmp_path, "status", "tiny", "--json", "--store", new.uri)
    assert json.loads(done.out)["counts"] == {"done": 1, "running": 0, "pending": 1, "failed": 0}
    assert len(pending(planned(tmp_path, TINY), new, new.snapshot(), "all")) == 2


def test_errors_are_one_line(copy: Path, tmp_path: Path) -> None:
    trial = next(iter(Store(str(copy)).snapshot().trainings()))
    for why, *arguments in (
        ("name a TRIAL, or a sweep with --sweep NAME",),
        ("name a TRIAL, or a sweep with --sweep NAME", trial, "--sweep", "tiny"),
        ("no such sweep", "--sweep", "other"),
        ("no such record", "--sweep", "tiny@00000000"),
    ):
        done = memloc(tmp_path, "store", "export", *arguments, "--store", str(copy))
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert why in done.err
    for path in copy.glob("commits/*/*"):
        path.unlink()
    done = memloc(tmp_path, "store", "export", "--sweep", "tiny", "--store", str(copy))
    assert (done.code, done.out) == (2, "")
    assert done.err == "memloc: tiny: none of its 2 trials is finished, so there is nothing to export\n"
    assert not list(tmp_path.glob("*.zip"))


# --- places -----------------------------------------------------------------------------------------------------------

OWN = """
defaults: {dataset: "npz:secret/images.npz", model: "python:secret/nets.py:make", noise: 0.1, batch_size: 20}
blocks:
  a:
    train: {from: "secret/net-{epoch:03d}.pth", epochs: [0, 1]}
    stages: {evaluate: {}}
"""


@pytest.fixture
def own(tmp_path: Path) -> Store:
    """A store of a training whose images, network and checkpoints are files in a folder called secret."""
    secret, draw = tmp_path / "secret", np.random.default_rng(0)
    secret.mkdir()
    images = {f"x_{half}": draw.integers(0, 256, (40, 8, 8, 1), dtype=np.uint8) for half in ("train", "test")}
    np.savez(secret / "images.npz", **images, **{f"y_{half}": np.arange(40) % 4 for half in ("train", "test")})
    (secret / "nets.py").write_text(Path(own_nets.__file__).read_text())
    for epoch in (0, 1):
        torch.manual_seed(epoch)
        torch.save(own_nets.make(1, 8, 8, 4).state_dict(), secret / f"net-{epoch:03d}.pth")
    store = Store(str(tmp_path / "store"))
    run_inline(tmp_path, OWN, store, "own")
    return store


def test_no_folder_of_this_machine_is_in_a_bundle(own: Store, tmp_path: Path) -> None:
    new = Store(str(tmp_path / "new"))
    (trial,) = own.snapshot().trainings()
    export(tmp_path, Path(own.uri), "--sweep", "own")
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert not [name for name in archive.namelist() if b"secret" in archive.read(name)]
    with bundle.opened(str(tmp_path / "x.zip")) as content:
        ids.check(content.trials[trial].training, content.trials[trial].analyses)
    take_in(tmp_path, tmp_path / "new")
    one, other = (store.snapshot() for store in (own, new))
    assert set(one.commits) == set(other.commits)
    config = other.commits[trial].config
    assert config == {
        **one.commits[trial].config,
        "dataset": "npz:images.npz",
        "model": "python:nets.py:make",
        "given_from": "net-{epoch:03d}.pth",
    }
    before, after = ({name: rows.to_pylist() for name, rows in shown(store).items()} for store in (own, new))
    (row,) = after["trials"]
    assert json.loads(row["config"]) == config
    assert (row["dataset"], row["model"], row["given_from"]) == (config["dataset"], config["model"], config["given_from"])
    assert {**after, "trials": 0} == {**before, "trials": 0}
    assert {**row, "config": 0} == {**before["trials"][0], "config": 0} | {
        name: config[name] for name in ("dataset", "model", "given_from")
    }
    assert verify(new.files)[0] == []
    there = memloc_package.open_store(new.uri, data_dir=tmp_path / "secret").trial(trial)
    state = there.with_source(tmp_path / "secret" / "nets.py").model(1).state_dict()
    weights = torch.load(tmp_path / "secret" / "net-001.pth", weights_only=True)
    assert all(torch.equal(state[name], tensor) for name, tensor in weights.items())
    assert [work for work in pending(planned(tmp_path, OWN, "own"), new, new.snapshot(), "all") if work.anything] == []
    bytes_before = (tmp_path / "x.zip").read_bytes()
    export(tmp_path, tmp_path / "new", "--sweep", "own")
    assert (tmp_path / "x.zip").read_bytes() == bytes_before
