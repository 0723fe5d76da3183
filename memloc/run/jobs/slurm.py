"""A sweep as a SLURM job: an sbatch file that starts Ray, runs the sweep, and requeues itself until it is complete."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from memloc.errors import UsageError
from memloc.run.cluster import FAULT_DETECTION
from memloc.run.jobs.script import filled
from memloc.run.jobs.sweep_arguments import SweepArguments

TEMPLATE = Path(__file__).with_name("slurm.sh")
TIME = re.compile(r"(\d+-)?\d{1,3}(:\d{1,2}){0,2}")
NAME = re.compile(r"[\w.,:+@%/\[\]-]+", re.ASCII)  # of partitions, accounts, …: no blank, no quote, nothing a shell reads
OPTION = re.compile(r"--[a-z][a-z-]+(=[\w.,:+@%/\[\]*&|-]+)?", re.ASCII)
# Options that the script sets itself, or that would take its job apart.
OWN = ("signal", "requeue", "no-requeue", "nodes", "ntasks", "ntasks-per-node", "array", "wrap", "open-mode")


@dataclass(frozen=True)
class SlurmOptions:
    """What the job asks of SLURM.

    nodes, gpus_per_node, cpus_per_node (None: as the cluster gives): its size. time, partition, account, memory (of a node):
    as SLURM writes them. drain: seconds before its time limit at which the sweep is told to stop. more: further options of
    sbatch, such as `--qos=long`.
    """

    nodes: int = 1
    gpus_per_node: int = 0
    cpus_per_node: int | None = None
    time: str | None = None
    partition: str | None = None
    account: str | None = None
    memory: str | None = None
    drain: int = 120
    more: Sequence[str] = ()

    def problems(self) -> Iterator[str]:
        """What SLURM or a shell could misread; a line for each."""
        if self.time is not None and not TIME.fullmatch(self.time):
            yield f"--time {self.time!r}: valid: HH:MM:SS, or D-HH:MM:SS"
        for option, value in (("partition", self.partition), ("account", self.account), ("memory", self.memory)):
            if value is not None and (value.startswith("-") or not NAME.fullmatch(value)):
                yield f"--{option} {value!r}: valid: letters, digits and . , : + @ % / - _"
        for option in self.more:
            if not OPTION.fullmatch(option):
                yield f"--sbatch {option!r}: valid: an option of sbatch without blanks and quotes, such as --qos=long"
            elif option[2:].partition("=")[0] in OWN:
                yield f"--sbatch {option}: the job sets this itself; leave it out"

    def header(self, name: str) -> list[str]:
        """The lines with which sbatch reads them. name: of the sweep."""
        asked = {
            "nodes": self.nodes, "ntasks-per-node": 1, "cpus-per-task": self.cpus_per_node,
            "gpus-per-node": self.gpus_per_node or None, "time": self.time, "partition": self.partition,
            "account": self.account, "mem": self.memory,
        }  # fmt: skip
        job = re.sub(r"[^\w.-]+", "-", f"memloc-{name}", flags=re.ASCII)
        fixed = [f"--job-name={job}", "--output=%x-%j.log", "--open-mode=append", "--requeue"]
        given = [f"--{option}={value}" for option, value in asked.items() if value is not None]
        return [f"#SBATCH {line}" for line in [*fixed, f"--signal=B:TERM@{self.drain}", *given, *self.more]]


def script(arguments: SweepArguments, options: SlurmOptions, python: str) -> str:
    """The sbatch file. python: the interpreter that has memloc, on every node.

    Raises:
        UsageError: naming every option that cannot be.
    """
    if problems := list(options.problems()):
        raise UsageError(*problems)
    values = {
        "HEADER": "\n".join(options.header(arguments.name)),
        "PYTHON": shlex.quote(python),
        "SWEEP": shlex.join(arguments.words()),
        "DRAIN": str(options.drain - min(30, options.drain // 4)),  # the rest is for ending Ray and for the requeue
        "GPUS": str(options.gpus_per_node),
        "DETECTION": " ".join(f"{name}={value}" for name, value in FAULT_DETECTION.items()),
    }
    return filled(TEMPLATE, values)
