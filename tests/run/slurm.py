"""A SLURM of one machine with two nodes: its programs sbatch, srun and scontrol, and what slurmctld does to a job.

The programs take the options that `memloc submit` writes, and refuse others. A job's script is really run, with time
limits, pre-emptions and lost nodes. A node is a CPU of this machine. A step's processes are known by their environment, as
SLURM knows them by control groups: whoever leaves the process group is still found.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
JOB, STEP = "FAKE_SLURM_JOB", "FAKE_SLURM_STEP"  # variables by which the processes of a job and of a step are known


def members(name: str, value: str) -> list[psutil.Process]:
    """The processes that have this variable in their environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(name) == value:
                found.append(process)
    return found


def steps(job: str) -> set[str]:
    """The steps of a start of a job that have a process."""
    found = set()
    for process in members(JOB, job):
        with suppress(psutil.Error, OSError):
            found.add(process.environ().get(STEP, ""))
    return found - {""}


def send(name: str, value: str, number: signal.Signals, but: Sequence[int] = ()) -> None:
    for process in members(name, value):
        if process.pid not in but:
            with suppress(psutil.Error):
                process.send_signal(number)


def kill(name: str, value: str) -> None:
    """Kills until none is left: one may fork meanwhile."""
    while left := members(name, value):
        for process in left:
            with suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, timeout=5)


# --- the programs -------------------------------------------------------------------------------------------------------


def parser(*options: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(allow_abbrev=False)
    for option in options:
        made.add_argument(f"--{option}")
    return made


def sbatch(arguments: Sequence[str]) -> None:
    """Takes a job file: reads its #SBATCH lines as SLURM does, up to the first line that is no comment."""
    (file,) = arguments
    lines = []
    for line in Path(file).read_text().splitlines():
        if not line.startswith("#"):
            break
        if line.startswith("#SBATCH "):
            lines.append(line.removeprefix("#SBATCH "))
    known = parser("job-name", "output", "open-mode", "signal", "nodes", "ntasks-per-node", "cpus-per-task", "gpus-per-node",
                   "time", "partition", "account", "mem", "qos")  # fmt: skip
    known.add_argument("--requeue", action="store_true")
    asked = vars(known.parse_args(lines))
    state = Path(os.environ["FAKE_SLURM"])
    job = str(time.time_ns() // 10**6 % 10**8)  # no other test has it, though it may run on this machine too
    shutil.copy(file, state / f"script-{job}")
    (state / f"job-{job}.json").write_text(json.dumps({**asked, "cwd": os.getcwd()}))
    print(f"Submitted batch job {job}")


def scontrol(arguments: Sequence[str]) -> None:
    match list(arguments):
        case ["show", "hostnames", nodes]:
            print("\n".join(nodes.split(",")))
        case ["requeue", job]:
            assert job == os.environ["SLURM_JOB_ID"]
            (Path(os.environ["FAKE_SLURM"]) / f"requeue-{job}").touch()
        case _:
            sys.exit(f"scontrol: {arguments}")


def srun(arguments: Sequence[str]) -> None:
    """Runs a step: a process on each of its nodes. Signals that it gets go to all processes of the step."""
    known = parser("nodes", "ntasks", "ntasks-per-node", "nodelist", "exclude", "cpus-per-task")
    known.add_argument("command", nargs=argparse.REMAINDER)
    asked = known.parse_args(arguments)
    every = os.environ["SLURM_JOB_NODELIST"].split(",")
    nodes = [n for n in every if n in (asked.nodelist or n).split(",") and n != asked.exclude]
    assert len(nodes) == int(asked.nodes) == int(asked.ntasks), (nodes, asked)
    step = f"{os.environ['SLURM_JOB_ID']}.{os.getpid()}"
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda given, frame: send(STEP, step, signal.Signals(given)))
    tasks = []
    for index, node in enumerate(nodes):
        environ = {**os.environ, STEP: step, "SLURM_NODEID": str(index), "SLURMD_NODENAME": node}
        cpu = {sorted(os.sched_getaffinity(0))[every.index(node) % len(os.sched_getaffinity(0))]}
        tasks.append(subprocess.Popen(asked.command, env=environ, preexec_fn=lambda cpu=cpu: os.sched_setaffinity(0, cpu)))
    codes = [task.wait() for task in tasks]
    kill(STEP, step)  # what a task has left behind ends with the step
    sys.exit(max(codes))


# --- the controller -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trouble:
    """What happens to a start of a job.

    after: seconds from its beginning; or what says that it is time. kind: `steps`: a pre-emption that tells the steps;
    `all`: one that tells the batch script too; `node`: the node is lost, and nobody is told; `none`: nothing. grace:
    seconds until all is killed.
    """

    after: float | Callable[[], object]
    kind: str
    grace: float = 20.0


@dataclass
class Slurm:
    """The controller of a cluster of two nodes. state: its folder. ends: how each start of a job has ended."""

    state: Path
    nodes: Sequence[str] = field(default_factory=lambda: (os.uname().nodename, "second-node"))
    ends: list[str] = field(default_factory=list)
    waiting: Trouble | None = None  # a trouble whose time has not come in the last start

    def __post_init__(self) -> None:
        self.state.mkdir(parents=True, exist_ok=True)
        programs = self.state / "bin"
        programs.mkdir(exist_ok=True)
        for name in ("sbatch", "srun", "scontrol"):
            (programs / name).write_text(f"#!{sys.executable}\nfrom tests.run import slurm\nslurm.main({name!r})\n")
            (programs / name).chmod(0o755)

    def environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        """That of a login node, and of jobs."""
        path = f"{self.state / 'bin'}{os.pathsep}{environ['PATH']}"
        python = os.pathsep.join([str(ROOT), environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        return {**environ, "PATH": path, "PYTHONPATH": python, "FAKE_SLURM": str(self.state)}

    @property
    def job(self) -> str:
        """The id of the last job."""
        return max((file.stem.partition("-")[2] for file in self.state.glob("job-*.json")), key=int)

    def run(self, environ: Mapping[str, str], troubles: Iterator[Trouble | None]) -> int:
        """Starts the job, again and again while it is requeued; its exit code, or −1 if its time was over before."""
        job = self.job
        asked = json.loads((self.state / f"job-{job}.json").read_text())
        start = 0
        while True:
            self.waiting = self.waiting or next(troubles)
            code = self._start(job, asked, environ, start)
            if code is not None:
                return code
            start += 1

    def _start(self, job: str, asked: dict[str, Any], environ: Mapping[str, str], start: int) -> int | None:
        """One start; None if the job goes into the queue again."""
        mark = f"{job}-{start}-{os.getpid()}"
        more = {
            "SLURM_JOB_ID": job, "SLURM_JOB_NUM_NODES": asked["nodes"], "SLURM_RESTART_COUNT": str(start), JOB: mark,
            "SLURM_JOB_NODELIST": ",".join(self.nodes[: int(asked["nodes"])]),
        }  # fmt: skip
        more |= {"SLURM_CPUS_PER_TASK": asked["cpus_per_task"]} if asked.get("cpus_per_task") else {}
        output = asked["output"].replace("%x", asked["job_name"]).replace("%j", job)
        with open(Path(asked["cwd"]) / output, "ab") as log:
            batch = subprocess.Popen(
                ["bash", str(self.state / f"script-{job}")], cwd=asked["cwd"], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, env={**self.environment(environ), **more}, start_new_session=True,
            )  # fmt: skip
            try:
                end = self._watch(job, mark, asked, batch)
            finally:
                kill(JOB, mark)
                batch.wait()
        self.ends.append(end)
        return None if end in ("requeued", "pre-empted", "node lost") else -1 if end == "time is over" else batch.returncode

    def _watch(self, job: str, mark: str, asked: dict[str, Any], batch: Any) -> str:
        """Does to a start what its time limit and its trouble ask for; says how it has ended."""
        begun, told, requeue = time.monotonic(), False, self.state / f"requeue-{job}"
        limit, lead = seconds(asked["time"]), float(re.fullmatch(r"B:TERM@(\d+)", asked["signal"])[1])  # type: ignore[index]
        deadline, how = limit, "time is over"
        while True:
            passed = time.monotonic() - begun
            if requeue.exists():
                requeue.unlink()
                return "requeued"
            if batch.poll() is not None:
                return f"exit code {batch.returncode}"
            if passed > deadline:
                return how
            if passed > limit - lead and not told:
                told = True
                batch.send_signal(signal.SIGTERM)
            trouble = self.waiting
            if trouble is not None and (trouble.after() if callable(trouble.after) else passed > trouble.after):
                grace = 0.0 if trouble.kind == "node" else trouble.grace
                deadline, how = min(deadline, passed + grace), "node lost" if trouble.kind == "node" else "pre-empted"
                if trouble.kind in ("steps", "all"):
                    for step in steps(mark):
                        send(STEP, step, signal.SIGTERM)
                if trouble.kind == "all":
                    batch.send_signal(signal.SIGTERM)
                self.waiting = None
            time.sleep(0.1)


def seconds(limit: str) -> float:
    """HH:MM:SS in seconds."""
    hours, minutes, rest = (int(part) for part in limit.split(":"))
    return float(hours * 3600 + minutes * 60 + rest)


def main(name: str) -> None:
    {"sbatch": sbatch, "srun": srun, "scontrol": scontrol}[name](sys.argv[1:])
