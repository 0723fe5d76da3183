"""`memloc sweep --dry-run` and the other ways to look before running."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from memloc.commands import forecast
from memloc.commands.launch_options import ExecutorName, Options
from memloc.run import cluster
from memloc.run.cost import CostModel
from memloc.run.placement import Resources
from memloc.run.provenance import numerics
from memloc.sizes import bytes_in_words
from memloc.store import Snapshot, Store, layout
from tests.commands.test_query import run
from tests.conftest import TINY


@pytest.fixture
def sweep_file(tmp_path: Path) -> str:
    (tmp_path / "tiny.yaml").write_text(TINY)
    return str(tmp_path / "tiny.yaml")


def test_before_anything_is_there(
    tmp_path: Path, sweep_file: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    code, out, err = run(capfd, monkeypatch, "sweep", sweep_file, "--dry-run", "--store", str(store))
    assert (code, err) == (0, "")
    assert "2 trials, 0 done; to do: 2 trainings, 5 parts" in out
    assert "basis: a training step timed on this machine (cpu); rewind, evaluate at the rate of training" in out
    assert "critical path: " in out
    assert "simulated" not in out  # done in a minute on two cores
    assert not store.exists()


def test_too_few_batches_for_frozen_statistics(
    tmp_path: Path, sweep_file: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said once, however many trainings; not of a network without batch norms, nor where epoch 1 is long enough."""
    where = ("--dry-run", "--store", str(tmp_path / "store"))
    code, _, err = run(capfd, monkeypatch, "sweep", sweep_file, "batch_norm=frozen", "subset=60", "batch_size=16", *where)
    assert code == 0
    start, says = (
        "memloc: note: batch_norm: frozen with 4 batches in an epoch: 66% of the frozen statistics is still",
        "22 batches",
    )
    assert [line.startswith(start) and says in line for line in err.splitlines()] == [True]
    for fields in ("batch_norm=train batch_size=16", "batch_norm=frozen batch_size=2"):
        assert run(capfd, monkeypatch, "sweep", sweep_file, "subset=60", *fields.split(), *where)[2] == ""
    transformer = ("model=vit_small", "batch_norm=frozen", "subset=60", "batch_size=16")
    assert run(capfd, monkeypatch, "sweep", sweep_file, *transformer, *where)[2] == ""


def test_gpus_beside_what_no_schedule_can_undercut(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day on this machine's cores. --gpus 3 adds a row."""
    arguments = ("sweep", "demo", "epochs=100000", "rewind.epochs=[0]", "gradients.epochs=[1]", "--dry-run", "--cpus", "2")
    where = ("--store", str(tmp_path / "store"))
    code, out, _ = run(capfd, monkeypatch, *arguments, "--gpus", "3", *where)
    assert code == 0
    out_in_words = out
    assumed = "assumes 60% of 20 TFLOP/s (fp32) and 75% of 1.6 TB/s"
    table = out[out.index(f"on a100, simulated (basis: operations and bytes by shape on a100: {assumed}") :]
    rows = [line.split() for line in table.splitlines()[3:8]]
    assert [row[0] for row in rows] == ["1", "3", "8", "64", "1024"]
    assert all(1 <= float(row[-1]) < 2 for row in rows)
    _, out, _ = run(capfd, monkeypatch, *arguments, "--gpus-per-trial", "0.5", "--json", *where)
    totals = json.loads(out)["totals"]
    here, *on_gpus = totals["schedule"]
    assert (here["slots"], here["unit"], here["seconds"], here["basis"]) == (
        totals["slots"], "workers", totals["seconds"], totals["basis"]
    )  # fmt: skip
    assert totals["states_bytes"] > 0  # of the gradients along the trajectory
    assert "\nstates to go on from: up to " in out_in_words
    assert [(f["slots"], f["unit"]) for f in on_gpus] == [(1, "GPUs"), (8, "GPUs"), (64, "GPUs"), (1024, "GPUs")]
    assert all(f["bound"] <= f["seconds"] for f in totals["schedule"])
    path = totals["critical_path"]
    assert path["stages"][0]["stage"] == "train"
    assert path["seconds"] == pytest.approx(sum(s["seconds"] for s in path["stages"]), abs=1)
    assert path["seconds"] <= here["bound"] + 1


def test_what_is_believed_of_a_card(
    tmp_path: Path, sweep_file: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said however short the sweep is: time, assumptions and memory. tf32 and a faster card take less time."""
    where = ("sweep", sweep_file, "--dry-run", "--gpus", "2", "--store", str(tmp_path / "store"))
    code, out, _ = run(capfd, monkeypatch, *where, "--gpu", "h100", "precision=tf32")
    assert code == 0
    headline, memory = out.splitlines()[-2:]
    assert headline.startswith("tiny on 2 × h100, tf32: ")
    assert headline.endswith("; assumes 36% of 495 TFLOP/s (tf32) and 75% of 3.4 TB/s")
    assert memory.startswith("memory: needs ")
    assert " MB on each GPU (training of resnet9 on digits with batches of 32)" in memory
    seconds = {}
    for options in ("--gpu t4 precision=fp32", "--gpu h100 precision=fp32", "--tflops 0.01"):
        _, out, _ = run(capfd, monkeypatch, *where, *options.split(), "width=1", "epochs=3000", "--json")
        entry = json.loads(out)["totals"]["schedule"][1]
        seconds[entry["card"]] = entry["seconds"]
        assert len(entry["assumed"]) == 1
        assert entry["assumed"][0].startswith("assumes ")
    assert seconds["GPU of 0.01 TFLOP/s"] > seconds["t4"] > 2 * seconds["h100"] > 0
    code, _, err = run(capfd, monkeypatch, *where[:2], "--gpu", "h100")
    assert (code, err) == (
        2, "memloc: --gpu and --tflops: are for --dry-run, which forecasts; a run computes on the GPUs that are there\n"
    )  # fmt: skip
    assert run(capfd, monkeypatch, *where, "--gpu", "h101")[0] == 2


def test_json_with_everything_committed(
    sweep_file: str, tiny: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = run(capfd, monkeypatch, "sweep", sweep_file, "--dry-run", "--json", "--store", str(tiny))
    found = json.loads(out)
    assert code == 0
    assert [t["stages"] for t in found["trials"]] == [["train", "rewind", "evaluate"], ["train", "evaluate"]]
    assert all(t["done"] for t in found["trials"])
    assert found["trials"][1]["p_gen"] == 0.4
    assert found["trials"][0]["p_gen"] is None
    assert {t["trial"] for t in found["trials"]} == {p.name for p in (tiny / "checkpoints").iterdir()}
    totals = found["totals"]
    assert (totals["done"], totals["trainings"], totals["parts"], totals["seconds"]) == (2, 0, 0, 0)
    assert totals["critical_path"] is None
    assert (totals["memory"], totals["calibration"]) == (None, [])
    assert totals["states_bytes"] == 0
    assert all(f["seconds"] == f["bound"] == 0 for f in totals["schedule"])


def test_basis_is_what_the_store_has_seen(
    sweep_file: str, tiny: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out, _ = run(capfd, monkeypatch, "sweep", sweep_file, "seed=7", "--dry-run", "--json", "--store", str(tiny))
    totals = json.loads(out)["totals"]
    assert totals["basis"] == "2 trainings and 5 parts of the same network in this store"
    assert totals["seconds"] > 0


def test_json_says_what_the_text_says(
    tmp_path: Path, sweep_file: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The memory that is needed, and how the store's commits compare with what is believed."""
    monkeypatch.setattr(CostModel, "calibration", lambda self, trials: {"resnet9 (fp32)": (3, 1.25)})
    where = ("sweep", sweep_file, "--dry-run", "--gpu", "h100", "--store", str(tmp_path / "store"))
    _, text, _ = run(capfd, monkeypatch, *where)
    _, out, _ = run(capfd, monkeypatch, *where, "--json")
    totals = json.loads(out)["totals"]
    assert totals["calibration"] == [{"network": "resnet9 (fp32)", "card": "h100", "trainings": 3, "ratio": 1.25}]
    assert "\ncalibration: 3 trainings of resnet9 (fp32) in this store took 1.25 times what is believed of h100\n" in text
    memory = totals["memory"]
    needs = f"{bytes_in_words(memory['gpu'])} on each GPU ({memory['what']} of {memory['of']})"
    assert text.splitlines()[-1] == f"memory: needs {needs}"
    assert memory["gpu"] >= memory["gpu_recomputed"] > 8e8


def test_a_pruned_checkpoint_that_is_needed_again(
    tmp_path: Path, sweep_file: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ("--store", str(tmp_path / "store"), "--data-dir", str(tmp_path), "--executor", "inline")
    only = ("--only", "block=tied")
    assert run(capfd, monkeypatch, "sweep", sweep_file, *where, *only, "--checkpoints", "last")[0] == 0
    (kept,) = (tmp_path / "store" / "checkpoints").glob("*/epoch-*")
    assert kept.name == "epoch-0002.safetensors"
    code, out, _ = run(capfd, monkeypatch, "sweep", sweep_file, *where, *only, "--dry-run")
    assert "1 trial, 1 done; to do: 0 trainings, 0 parts" in out  # what was pruned on purpose is not missed
    code, out, _ = run(capfd, monkeypatch, "sweep", sweep_file, "evaluate.epoch=1", *where, *only, "--dry-run")
    assert code == 0
    assert "to train again up to epoch 1 (a checkpoint it needs is gone)" in out
    assert "1 training (1 again" in out
    assert run(capfd, monkeypatch, "sweep", sweep_file, "evaluate.epoch=1", *where, *only, "--checkpoints", "last")[0] == 0
    assert [p.name for p in (tmp_path / "store" / "checkpoints").glob("*/epoch-*")] == ["epoch-0002.safetensors"]


def test_listing_and_showing(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run(capfd, monkeypatch, "sweep")
    assert code == 0
    assert "\ndemo\n" in f"\n{out}"
    code, out, _ = run(capfd, monkeypatch, "sweep", "demo", "--show")
    assert code == 0
    assert out == (Path(__file__).parents[2] / "sweeps" / "demo.yaml").read_text()


def test_only_and_max_trials_narrow_the_run_but_not_the_record(
    tmp_path: Path, tiny: Path, sweep_file: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny, store)
    before = sorted(p.name for p in (store / "sweeps" / "tiny").iterdir())
    where = ("--store", str(store), "--data-dir", str(tmp_path), "--executor", "inline", "--json")
    code, out, _ = run(capfd, monkeypatch, "sweep", sweep_file, "--max-trials", "1", *where)
    assert code == 0
    assert json.loads(out.splitlines()[-1])["counts"]["done"] == 2
    assert sorted(p.name for p in (store / "sweeps" / "tiny").iterdir()) == before


def test_it_says_from_which_epoch_a_training_goes_on(
    tmp_path: Path, sweep_file: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of two epochs is there. A checkpoint alone, or a state of another device, is nothing to go on from."""
    store = Store(str(tmp_path / "store"))
    store.files.check_usable()
    where = ("--dry-run", "--store", store.uri)
    trial = json.loads(run(capfd, monkeypatch, "sweep", sweep_file, *where, "--json")[1])["trials"][0]["trial"]
    for epoch in (0, 1):  # all checkpoints are kept
        store.files.put(layout.checkpoint(trial, epoch), b"weights")
    store.files.put(layout.resume_state(trial, 1, "another device", b"state"), b"state")
    assert "to train from epoch" not in run(capfd, monkeypatch, "sweep", sweep_file, *where)[1]
    store.files.put(layout.resume_state(trial, 1, numerics(torch.device("cpu")), b"state"), b"state")
    _, out, _ = run(capfd, monkeypatch, "sweep", sweep_file, *where)
    first, second = (line for line in out.splitlines() if "to train" in line)
    assert first.startswith(trial[:8])
    assert "to train from epoch 1 of 2 on, 4 of 4 parts to do" in first
    assert "to train, 1 of 1 parts to do" in second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("threads=2", "--cpus", "1"), "threads: 2 is more than any node's CPUs; valid: 1 to 1 (see --cpus)"),
        (("--gpus", "2", "--gpus-per-trial", "2"), "--gpus-per-trial 2: a training uses one GPU; valid: above 0, at most 1"),
    ],
)
def test_what_the_run_would_refuse(
    tmp_path: Path,
    sweep_file: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    where = ("--dry-run", "--store", str(tmp_path / "store"))
    code, out, err = run(capfd, monkeypatch, "sweep", sweep_file, *arguments, *where)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"memloc: {message}")


def test_gpus_that_are_not_there(
    tmp_path: Path, sweep_file: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forecast may be of more GPUs than there are; a run may not."""
    where = ("--store", str(tmp_path / "store"))
    for seen, valid in ((0, "0; --cpus N says how many CPUs to use"), (1, "0 to 1")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda seen=seen: seen)
        code, _, err = run(capfd, monkeypatch, "sweep", sweep_file, "--gpus", "2", *where)
        assert (code, len(err.splitlines())) == (2, 1)
        assert err.startswith(f"memloc: --gpus 2: torch sees {seen} on this machine; valid: {valid}")
        assert not (tmp_path / "store").exists()
        assert run(capfd, monkeypatch, "sweep", sweep_file, "--gpus", "2", "--dry-run", *where)[::2] == (0, "")


@pytest.mark.parametrize(("kind", "name"), [("mps", "Apple's mps"), ("xpu", "Intel's xpu")])
def test_accelerators_on_which_nothing_is_trained(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: str, name: str
) -> None:
    """One line, before anything is written. With --device cpu the sweep runs; so does one on a cluster, and a dry run."""
    (tmp_path / "one.yaml").write_text(TINY)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: torch.device(kind))
    where = (str(tmp_path / "one.yaml"), "--executor", "inline", "--store", str(tmp_path / "store"))
    for command in (("sweep", *where), ("detect", "digits", *where[1:], "-o", str(tmp_path / "found"))):
        code, out, err = run(capfd, monkeypatch, *command)
        said = f"memloc: this machine computes on {name}, on which memloc does not train; --device cpu trains on its CPU\n"
        assert (code, out, err) == (2, "", said)
    assert not (tmp_path / "store").exists()
    assert run(capfd, monkeypatch, "sweep", *where, "--dry-run")[0] == 0
    assert run(capfd, monkeypatch, "sweep", *where, "--device", "cpu")[0] == 0


def test_a_gpu_that_is_asked_for_and_not_there(
    tmp_path: Path, sweep_file: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    code, _, err = run(capfd, monkeypatch, "sweep", sweep_file, "--device", "cuda", "--store", str(tmp_path / "store"))
    assert (code, err) == (2, "memloc: --device cuda: torch sees no GPU on this machine; valid: cpu\n")


def test_a_forecast_for_a_cluster_says_that_it_is_none(
    tmp_path: Path, sweep_file: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_ask", lambda address: {"address": address})
    monkeypatch.setattr(forecast, "usable_cpus", lambda: 1)
    where = ("--dry-run", "--store", str(tmp_path / "store"), "--address", "head:6379")
    code, out, _ = run(capfd, monkeypatch, "sweep", sweep_file, "threads=2", *where)
    assert code == 0  # a node there may have as many
    (line,) = [line for line in out.splitlines() if line.startswith("time: ")]
    assert " of this machine, not of the cluster at head:6379 (basis: " in line


def test_nothing_is_timed_for_a_calibration_that_nobody_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine with a GPU, where the store knows its networks."""
    asked: list[str] = []
    monkeypatch.setattr(CostModel, "calibration", lambda self, trials: asked.append("asked") or {})
    options = Options(None, tmp_path, ExecutorName.ray, Resources(), None, False)
    for here in (True, False):
        forecast._on_gpus([], Snapshot({}, {}, []), options, Resources(), [1], here)
        assert asked == ([] if here else ["asked"])
