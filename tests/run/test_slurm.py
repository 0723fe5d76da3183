"""The job that `memloc submit --slurm` writes, run by SLURM's programs as tests have them, with a stand-in for Python.

The stand-in takes the place of Ray and of memloc, so that the script alone is tested: what it passes on, when it goes into
the queue again, and what it leaves behind. `test_slurm_slow.py` runs real sweeps.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from memloc.errors import UsageError
from memloc.run.jobs.slurm import SlurmOptions, script
from memloc.run.jobs.sweep_arguments import SweepArguments
from tests.run.slurm import Slurm, Trouble

STAND_IN = """#!{python} -I
import json, os, signal, sys, time
home, arguments = {home!r}, sys.argv[1:]
text = " ".join(arguments)
if arguments[0] == "-m":
    with open(home + "/sweeps", "a") as file:
        print(json.dumps([arguments, os.environ["RAY_AUTH_TOKEN"]]), file=file)
    code, wait = json.load(open(home + "/answer"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    if wait == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        wait = 60
    time.sleep(wait)
    sys.exit(code)
elif "usable_cpus" in text:
    print(1)
elif "SOCK" in text.upper() and "bind" in text:
    print(20000)
elif "wait_for" in text:
    tries = home + "/tries"
    open(tries, "a").write(".")
    while not os.path.exists(home + "/nodes") and not os.path.exists(home + "/no-ray"):
        time.sleep(0.1)
    sys.exit(int(os.path.exists(home + "/no-ray")))
else:  # Ray on a node
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    with open(home + "/nodes", "a") as file:
        print(json.dumps([arguments[arguments.index("start"):], os.environ["RAY_AUTH_TOKEN"]]), file=file)
    time.sleep(60)
"""
SHORT = SlurmOptions(time="00:00:20", drain=8)


def job(home: Path, code: int, wait: float | str, options: SlurmOptions = SHORT, words: Sequence[str] = ()) -> Slurm:
    """A cluster with a job whose sweep ends with this code after so many seconds, or with 130 when it is told to stop."""
    stand_in = home / "it's a python"
    stand_in.write_text(STAND_IN.format(python=sys.executable, home=str(home)))
    stand_in.chmod(0o755)
    (home / "answer").write_text(json.dumps([code, wait]))
    slurm = Slurm(home / "slurm")
    (home / "job.sbatch").write_text(script(SweepArguments("my sweep", "x.yaml", words, ()), options, str(stand_in)))
    done = os.spawnve(
        os.P_WAIT, "/bin/sh", ["sh", "-c", f"cd '{home}' && sbatch job.sbatch > submitted"], slurm.environment(os.environ)
    )
    assert done == 0
    assert (home / "submitted").read_text() == f"Submitted batch job {slurm.job}\n"
    return slurm


def lines(file: Path) -> list[list[str]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def forever(*troubles: Trouble | None) -> itertools.chain[Trouble | None]:
    return itertools.chain(troubles, itertools.repeat(None))


SLOW = pytest.mark.slow


@pytest.mark.parametrize("code", [*(pytest.param(code, marks=SLOW) for code in (0, 1, 2, 3, 139)), 130])
def test_it_ends_with_the_sweep(tmp_path: Path, code: int) -> None:
    """Nothing is complete or wrong that another start would mend; 130 is the answer to `memloc stop`."""
    slurm = job(tmp_path, code, 0.2)
    assert slurm.run(os.environ, forever()) == code
    assert slurm.ends == [f"exit code {code}"]
    assert f"the sweep has ended with exit code {code}" in (tmp_path / f"memloc-my-sweep-{slurm.job}.log").read_text()


@pytest.mark.parametrize(
    ("trouble", "end"),
    [
        pytest.param(Trouble(1.5, "steps"), "requeued", id="steps"),
        pytest.param(Trouble(1.5, "all"), "requeued", id="all", marks=SLOW),
        pytest.param(Trouble(1.5, "node"), "node lost", id="node", marks=SLOW),
    ],
)
def test_it_goes_on_after_a_pre_emption(tmp_path: Path, trouble: Trouble, end: str) -> None:
    slurm = job(tmp_path, 0, 300.0)  # it does not end before the trouble comes, however slow the machine is

    def ending() -> object:
        yield trouble
        (tmp_path / "answer").write_text("[0, 0.1]")
        yield None

    assert slurm.run(os.environ, ending()) == 0  # type: ignore[arg-type]
    assert slurm.ends == [end, "exit code 0"]
    tokens = [token for _, token in lines(tmp_path / "nodes")]
    assert len(tokens) == len(set(tokens))  # a new one for every start
    assert all(len(token) == 64 for token in tokens)


@SLOW
def test_it_goes_on_after_its_time_limit_even_if_the_sweep_does_not_end(tmp_path: Path) -> None:
    slurm = job(tmp_path, 0, "deaf", SlurmOptions(time="00:00:10", drain=8))
    begun = time.monotonic()
    troubles = forever()

    def ending() -> object:
        yield next(troubles)
        (tmp_path / "answer").write_text("[0, 0.1]")
        yield None

    assert slurm.run(os.environ, ending()) == 0  # type: ignore[arg-type]
    assert slurm.ends == ["requeued", "exit code 0"]
    assert time.monotonic() - begun < 25


@SLOW
def test_told_before_the_sweep_begins(tmp_path: Path) -> None:
    slurm = job(tmp_path, 0, 0.1)
    (tmp_path / "no-ray").touch()

    def ending() -> object:
        yield Trouble(0.3, "all")
        (tmp_path / "no-ray").unlink()
        yield None

    assert slurm.run(os.environ, ending()) == 0  # type: ignore[arg-type]
    assert slurm.ends == ["requeued", "exit code 0"]


@SLOW
def test_ray_does_not_start(tmp_path: Path) -> None:
    """Three tries, and no sweep without Ray; the job must not go round for ever."""
    slurm = job(tmp_path, 0, 0.1)
    (tmp_path / "no-ray").touch()
    assert slurm.run(os.environ, forever()) == 1
    assert (tmp_path / "tries").read_text() == "..."
    assert not (tmp_path / "sweeps").exists()


HOSTILE = [
    "a=$(touch run)",
    "b=`touch run`",
    "c='; touch run; '",
    'd="\n#SBATCH --nodes=9',
    "e=\\",
    "f=*",
    "g=@HEADER@",
    "ü=é",
]


def test_every_value_arrives_as_it_was_typed_and_nothing_is_left_on_the_nodes(tmp_path: Path) -> None:
    slurm = job(tmp_path, 0, 0.1, words=HOSTILE)
    assert slurm.run(os.environ, forever()) == 0
    ((arguments, token),) = lines(tmp_path / "sweeps")
    head = os.uname().nodename
    assert arguments == ["-m", "memloc", "sweep", "x.yaml", *HOSTILE, "--address", f"{head}:20000"]
    assert not (tmp_path / "run").exists()
    assert not [name for name in os.listdir("/tmp") if name.startswith(f"memloc-{slurm.job}-")]
    ((start, same), *_) = lines(tmp_path / "nodes")
    assert start[:3] == ["start", "--head", "--port=20000"]
    assert token == same
    assert token not in start  # which every user of the machine can read
    (folder,) = [word.partition("=")[2] for word in start if word.startswith("--temp-dir=")]
    assert len(folder) <= 43  # a socket's path below it has at most 107 bytes


@pytest.mark.parametrize(
    "options",
    [
        {"time": "1h"},
        {"time": "01:00:00\n#SBATCH --x"},
        {"partition": "gpu long"},
        {"account": "$(id)"},
        {"partition": "--wrap"},
        {"memory": "64 G"},
        {"more": ["--qos=high low"]},
        {"more": ["qos=high"]},
        {"more": ["--nodes=3"]},
        {"more": ["--no-requeue"]},
    ],
    ids=str,
)
def test_what_sbatch_could_misread_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError) as raised:
        script(SweepArguments("demo", "demo", (), ()), SlurmOptions(**options), "python")  # type: ignore[arg-type]
    (line,) = raised.value.problems
    assert line.startswith("--")
    assert "\n" not in line


def test_the_header(tmp_path: Path) -> None:
    options = SlurmOptions(4, 8, 96, "2-00:00:00", "gpu,long", "lab_1", "512G", 300, ["--qos=high", "--exclusive"])
    text = script(SweepArguments("my sweep; rm -rf ~", "demo", (), ()), options, "python")
    header = text.partition("\n#\n")[0].splitlines()
    assert header == [
        "#!/bin/bash",
        "#SBATCH --job-name=memloc-my-sweep-rm--rf-",
        "#SBATCH --output=%x-%j.log",
        "#SBATCH --open-mode=append",
        "#SBATCH --requeue",
        "#SBATCH --signal=B:TERM@300",
        "#SBATCH --nodes=4",
        "#SBATCH --ntasks-per-node=1",
        "#SBATCH --cpus-per-task=96",
        "#SBATCH --gpus-per-node=8",
        "#SBATCH --time=2-00:00:00",
        "#SBATCH --partition=gpu,long",
        "#SBATCH --account=lab_1",
        "#SBATCH --mem=512G",
        "#SBATCH --qos=high",
        "#SBATCH --exclusive",
    ]
    assert "--num-gpus=8" in text
    assert "drain=270 " in text
