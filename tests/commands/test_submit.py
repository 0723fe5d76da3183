"""`memloc submit`: what it checks before anything waits in a queue, what it writes, and what it hands to sbatch."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from memloc.commands import app
from memloc.commands.submit import COMMON
from tests.commands.test_query import run
from tests.conftest import TINY
from tests.run.slurm import Slurm

import typer.main  # isort: skip

SHARED = ("--store", "/shared/runs")


def sweep_of(text: str) -> list[str]:
    """The arguments of `memloc` in a job's script, as bash reads them."""
    (line,) = [line for line in text.splitlines() if line.startswith("sweep=(")]
    return shlex.split(line.removeprefix("sweep=(").removesuffix(")"))


def test_print(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY)
    store = tmp_path / "a store"
    code, out, err = run(
        capfd, monkeypatch, "submit", "tiny.yaml", "noise=0.2", "--slurm", "--print", "--store", str(store),
        "--data-dir", "data", "--checkpoints", "last", "--log-to", "tensorboard:logs", "--only",
        "seed=0", "--only", "block=standard", "--max-trials", "5", "--max-checkpoint-bytes", "2TB", "--device", "cuda",
        "--gpus-per-node", "2", "--cuda-graphs", "--gpus-per-trial", "0.5", "--yes",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert sorted(os.listdir(tmp_path)) == ["tiny.yaml"]
    arguments = sweep_of(out)
    words = "--only seed=0 --only block=standard --store STORE --data-dir DATA --checkpoints last"
    words += " --max-checkpoint-bytes 2TB --storage-patience 15m --log-to LOGS --max-trials 5 --device cuda"
    words += " --gpus-per-trial 0.5 --cuda-graphs --yes"
    there = {"STORE": str(store), "DATA": str(tmp_path / "data"), "LOGS": f"tensorboard:{tmp_path / 'logs'}"}
    options = [there.get(word, word) for word in words.split()]
    assert arguments == ["sweep", str(tmp_path / "tiny.yaml"), "noise=0.2", *options]
    typer.main.get_command(app).make_context("memloc", [*arguments, "--address", "head:6379"])  # memloc understands them
    assert f"python={sys.executable}" in out
    assert subprocess.run(["bash", "-n"], input=out, text=True, check=False).returncode == 0


def test_a_job_takes_what_a_sweep_takes() -> None:
    """But for what the job itself decides: where Ray runs, and how much of a machine. --gpu and --tflops are of dry runs."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    of_sweep, of_submit = ({p.name for p in commands[name].params} for name in ("sweep", "submit"))
    decided = {"address", "executor", "cpus", "gpus"}
    other_things = {"dry_run", "show", "fields", "as_json", "gpu", "tflops"}
    assert of_sweep - of_submit == (decided | other_things) - {"address"}  # that of `submit` is the job server's
    assert (of_submit - of_sweep) & set(COMMON) == {"print_", "output"}


def test_submit(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    slurm = Slurm(tmp_path / "slurm")
    for name, value in slurm.environment(os.environ).items():
        monkeypatch.setenv(name, value)
    order = ("submit", "demo", "--slurm", *SHARED, "--time", "10:00:00")
    code, out, _ = run(capfd, monkeypatch, *order)
    assert (code, out) == (0, f"memloc-demo.sbatch: written\nSubmitted batch job {slurm.job}\n")
    assert (slurm.state / f"script-{slurm.job}").read_text() == Path("memloc-demo.sbatch").read_text()
    code, _, err = run(capfd, monkeypatch, *order, "--sbatch=--unknown", "-o", "x.sbatch")
    assert code == 1
    assert err.startswith("memloc: sbatch x.sbatch: ")
    assert err.count("\n") == 1
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = run(capfd, monkeypatch, *order)
    assert (code, err) == (2, "memloc: --slurm: this machine has no sbatch; add --print to only write the file\n")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["demo", *SHARED], 2, "submit: say as what, with one of --slurm, --ray-job, --kuberay"),
        (["demo", *SHARED, "--slurm", "--kuberay"], 2, "submit: say as what, with one of"),
        (["demo", *SHARED, "--slurm", "--image", "x"], 2, "--image: is no option of --slurm"),
        (["demo", *SHARED, "--slurm", "--storage-patience", "soon"], 2, "--storage-patience"),
        (["demo", *SHARED, "--slurm", "--log-to", "paper:x"], 2, "--log-to paper:x: valid: tensorboard:DIR"),
        (["demo", *SHARED, "--kuberay"], 2, "--kuberay: name the image"),
        (["demo", *SHARED, "--kuberay", "--image", "x", "--time", "1"], 2, "--time: is no option of --kuberay"),
        (
            ["demo", *SHARED, "--kuberay", "--image", "x", "--data-dir", "y"],
            2,
            "--data-dir y: name the folder by its absolute",
        ),
        (["demo", *SHARED, "--ray-job", "--address", "head:8265"], 2, "--address head:8265: valid: http://HOST:8265"),
        (["demos", "--slurm", *SHARED], 2, "no such sweep (did you mean 'demo'?)"),
        (["demo", "nois=3", "--slurm", *SHARED], 2, "nois: unknown field (did you mean 'noise'?)"),
        (["demo", "--only", "seed=77", "--slurm", *SHARED], 2, "77"),
        (["noise=3", "--slurm", *SHARED], 2, "name a sweep first"),
        (["demo", "--slurm"], 2, "store ./memloc-store: a job needs one that all of its nodes see"),
        (["demo", "--slurm", "--store", "runs"], 2, "store runs: a job needs one that all of its nodes see"),
        (
            ["demo", "--slurm", "--store", "~no-such-user/runs"],
            3,
            "store ~no-such-user/runs: cannot be opened: Could not determine",
        ),
        (["demo", "--slurm", "--store", "ftp://x/y"], 3, "unknown scheme ftp://"),
        (
            ["demo", "--slurm", *SHARED, "--gpus-per-trial", "0"],
            2,
            "--gpus-per-trial 0: a training uses one GPU; valid: above 0, at most 1",
        ),
        (["demo", "--slurm", *SHARED, "--max-checkpoint-bytes", "much"], 2, "--max-checkpoint-bytes 'much': valid"),
        (["demo", "--slurm", *SHARED, "--device", "cuda"], 2, "--device cuda: the nodes of the job have no GPUs; say how"),
        (["demo", "--slurm", *SHARED, "--cuda-graphs"], 2, "--cuda-graphs: the nodes of the job have no GPUs; say how"),
        (
            ["demo", "--slurm", *SHARED, "--device", "cpu", "--gpus-per-node", "4"],
            2,
            "--gpus-per-node 4: does not go with --device cpu; leave one of them out",
        ),
        (
            ["demo", "--ray-job", *SHARED, "--device", "cpu", "--cuda-graphs"],
            2,
            "--cuda-graphs: --device cpu leaves the GPUs alone",
        ),
        (["demo", "--slurm", *SHARED, "--partition", "a b"], 2, "--partition 'a b': valid: letters, digits"),
        (["demo", "--slurm", *SHARED, "--nodes", "0"], 2, "see memloc submit --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int,
    message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEMLOC_STORE", raising=False)
    ended, out, err = run(capfd, monkeypatch, "submit", *arguments)
    assert (ended, out, err.count("\n")) == (code, "", 1)
    assert message in err
    assert os.listdir(tmp_path) == []


def test_data_that_are_not_here(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """They may lie elsewhere on the nodes, so this is a note."""
    order = ("submit", "demo", "dataset=mnist", "--slurm", "--print", *SHARED, "--data-dir", str(tmp_path))
    code, out, err = run(capfd, monkeypatch, *order)
    assert code == 0
    assert out.startswith("#!/bin/bash\n")
    assert f"memloc: note: mnist is not in {tmp_path}; memloc data fetch mnist --data-dir {tmp_path} must bring it" in err


@pytest.mark.skipif(importlib.util.find_spec("aiohttp") is not None, reason="Ray's job server has all that it needs here")
def test_without_the_client_of_job_servers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """tests/run/test_ray_job_slow.py has the client, and a server."""
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capfd, monkeypatch, "submit", "demo", "--ray-job", *SHARED, "--address", "http://127.0.0.1:1")
    assert (code, err.count("\n")) == (2, 1)
    assert err.endswith("type: pip install 'memloc[jobs]' (the cluster needs it too)\n")
