"""`memloc submit`: a sweep as a job of a cluster. It starts Ray, runs the sweep, and resumes it until it is complete."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from memloc.commands import completion, options
from memloc.commands.checked_sweep import Asked, Kept, On, checked
from memloc.commands.launch_options import DeviceName, Retention
from memloc.commands.modes import refuse_others
from memloc.commands.output import write_whole
from memloc.errors import MemlocError, UsageError

if TYPE_CHECKING:
    from memloc.run.jobs.kuberay import KubeRayOptions
    from memloc.run.jobs.slurm import SlurmOptions

EXAMPLES = options.examples(
    "memloc submit paper-grid --slurm --store /shared/runs --print",
    "memloc submit my.yaml --slurm --store s3://bucket/runs --nodes 4",
    "memloc submit demo noise=0.2 --ray-job --store s3://bucket/runs",
    "memloc submit demo --kuberay --store s3://bucket/runs --image lab/memloc:1",
)
# The options of every kind of job, then those of each.
COMMON = ("arguments", "only", "store", "data_dir", "checkpoints", "max_checkpoint_bytes", "storage_patience", "log_to",
          "max_trials", "yes", "device", "cuda_graphs", "gpus_per_trial", "gpus_per_task", "print_", "output")  # fmt: skip
SIZE = ("nodes", "gpus_per_node", "cpus_per_node", "memory")
KINDS = {
    "slurm": ("slurm", *SIZE, "time", "partition", "account", "drain", "sbatch", "python"),
    "ray_job": ("ray_job", "address"),
    "kuberay": ("kuberay", *SIZE, "image", "volume", "secret"),
}
JOB_SERVER = "http://127.0.0.1:8265"  # Ray's own default


def submit(
    context: typer.Context,
    arguments: list[str] = typer.Argument(
        ...,
        metavar="NAME|FILE.yaml FIELD=VALUE…",
        help="The sweep, as `memloc sweep` takes it.",
        autocompletion=completion.sweeps_and_fields,
    ),
    slurm: bool = typer.Option(False, "--slurm", help="As a SLURM job that requeues itself until the sweep is complete."),
    ray_job: bool = typer.Option(False, "--ray-job", help="As a job of a running Ray cluster's job server."),
    kuberay: bool = typer.Option(False, "--kuberay", help="As a RayJob of KubeRay, with a cluster of its own."),
    only: list[str] = options.ONLY,
    store: str = options.STORE,
    data_dir: str = options.DATA_DIR,
    checkpoints: Retention = options.CHECKPOINTS,
    max_checkpoint_bytes: str = options.MAX_CHECKPOINT_BYTES,
    storage_patience: str = options.STORAGE_PATIENCE,
    log_to: list[str] = options.LOG_TO,
    max_trials: int = options.MAX_TRIALS,
    yes: bool = options.YES,
    device: DeviceName = options.DEVICE,
    cuda_graphs: bool = options.CUDA_GRAPHS,
    gpus_per_trial: float = options.GPUS_PER_TRIAL,
    gpus_per_task: float = options.GPUS_PER_TASK,
    nodes: int = typer.Option(1, "--nodes", min=1, max=4096, help="Nodes that compute."),
    gpus_per_node: int = typer.Option(0, "--gpus-per-node", min=0, max=64, help="GPUs of each node."),
    cpus_per_node: int = typer.Option(None, "--cpus-per-node", min=1, max=4096, help="CPUs of each node."),
    memory: str = typer.Option(None, "--memory", help="Memory of each node: 64G for SLURM, 64Gi for Kubernetes."),
    time: str = typer.Option(None, "--time", metavar="HH:MM:SS", help="SLURM: the time limit of one start of the job."),
    partition: str = typer.Option(None, "--partition", help="SLURM: the partition."),
    account: str = typer.Option(None, "--account", help="SLURM: the account."),
    drain: int = typer.Option(
        120, "--drain", min=30, max=3600, help="SLURM: seconds before the time limit at which the sweep is told to stop."
    ),
    sbatch: list[str] = typer.Option([], "--sbatch", metavar="OPTION", help="SLURM: more, such as --sbatch=--qos=long."),
    python: str = typer.Option(
        sys.executable,
        "--python",
        help="SLURM: the Python that has memloc, on every node. Default: this one.",
        show_default=False,
    ),
    address: str = typer.Option(
        None, "--address", help=f"The job server. Default: RAY_API_SERVER_ADDRESS, else {JOB_SERVER}."
    ),
    image: str = typer.Option(None, "--image", help="KubeRay: the image, with memloc and Ray."),
    volume: list[str] = typer.Option([], "--volume", metavar="CLAIM:/PATH", help="KubeRay: a volume claim to mount."),
    secret: str = typer.Option(None, "--secret", help="KubeRay: a Secret whose entries become environment variables."),
    print_: bool = typer.Option(False, "--print", help="Only write the file; do not submit it."),
    output: str = typer.Option(None, "-o", "--output", metavar="FILE", help="The file; with --print, default: the screen."),
) -> None:
    """Submit a sweep as a job. Its arguments are checked first, as `memloc sweep --dry-run` checks them."""
    kind = _kind({"slurm": slurm, "ray_job": ray_job, "kuberay": kuberay})
    refuse_others(context, (*COMMON, *KINDS[kind]), f"is no option of --{kind.replace('_', '-')}; leave it out")
    if kind != "ray_job":
        _check_gpus(gpus_per_node, device, cuda_graphs)
    kept = Kept(checkpoints, max_checkpoint_bytes)
    on = On(device, cuda_graphs, {"--gpus-per-trial": gpus_per_trial, "--gpus-per-task": gpus_per_task})
    asked = Asked(arguments, only, store, data_dir, kept, max_trials, yes, on, storage_patience, log_to)
    to = _To(print_, output)
    if kind == "slurm":
        from memloc.run.jobs.slurm import SlurmOptions

        more = SlurmOptions(nodes, gpus_per_node, cpus_per_node, time, partition, account, memory, drain, sbatch)
        _slurm(asked, more, python, to)
    elif kind == "ray_job":
        _ray_job(asked, address or os.environ.get("RAY_API_SERVER_ADDRESS") or JOB_SERVER, to)
    else:
        from memloc.run.jobs.kuberay import KubeRayOptions

        if image is None:
            raise UsageError("--kuberay: name the image that has memloc and Ray, with --image")
        _kuberay(asked, KubeRayOptions(image, nodes, gpus_per_node, cpus_per_node, memory, volume, secret), to)


class _To:
    """Where the file of a job goes, and whether the job is submitted too."""

    def __init__(self, print_: bool, output: str | None) -> None:
        self.only_writes, self.output = print_, output

    def write(self, text: str, default: str) -> Path | None:
        """Writes the file, or prints it; returns its path if the job is to be submitted."""
        if self.only_writes and self.output is None:
            print(text, end="")
            return None
        file = Path(self.output or default)
        write_whole(file, text.encode())
        print(f"{file}: written")
        return None if self.only_writes else file


def _kind(given: dict[str, bool]) -> str:
    named = [kind for kind, wanted in given.items() if wanted]
    if len(named) != 1:
        raise UsageError("submit: say as what, with one of --slurm, --ray-job, --kuberay")
    return named[0]


def _check_gpus(per_node: int, device: DeviceName | None, graphs: bool) -> None:
    """Raises UsageError where the nodes of the job have no GPUs for what is asked of them, or have some for nothing."""
    if per_node and device is DeviceName.cpu:
        raise UsageError(f"--gpus-per-node {per_node}: does not go with --device cpu; leave one of them out")
    needs = "--device cuda" if device is DeviceName.cuda else "--cuda-graphs" if graphs else ""
    if needs and not per_node:
        raise UsageError(f"{needs}: the nodes of the job have no GPUs; say how many with --gpus-per-node")


def _slurm(asked: Asked, more: SlurmOptions, python: str, to: _To) -> None:
    from memloc.run.jobs.slurm import script

    if problems := list(more.problems()):
        raise UsageError(*problems)
    arguments = checked(asked, here=True).arguments
    if file := to.write(script(arguments, more, python), f"memloc-{arguments.name}.sbatch"):
        print(_output_of("sbatch", [str(file)], "--slurm"))


def _kuberay(asked: Asked, more: KubeRayOptions, to: _To) -> None:
    from memloc.run.jobs.kuberay import manifest

    if problems := list(more.problems()):
        raise UsageError(*problems)
    sweep = checked(asked, here=False)
    text = manifest(sweep.arguments, more, sweep.file.read_text(encoding="utf-8") if sweep.file else None)
    if file := to.write(text, f"memloc-{sweep.arguments.name}.rayjob.yaml"):
        print(_output_of("kubectl", ["apply", "-f", str(file)], "--kuberay"))


def _ray_job(asked: Asked, address: str, to: _To) -> None:
    from memloc.run.jobs.script import sweep_script

    sweep = checked(asked, here=False)
    if not address.startswith(("http://", "https://")):
        raise UsageError(f"--address {address}: valid: http://HOST:8265, where the job server of the cluster listens")
    file = to.write(sweep_script(sweep.arguments, "python"), f"memloc-{sweep.arguments.name}.sh")
    if file is None:
        return
    from memloc.run.ray.job_server import submit_job

    with tempfile.TemporaryDirectory(prefix="memloc-") as folder:
        shutil.copy(file, Path(folder, "sweep.sh"))
        if sweep.file is not None:
            shutil.copy(sweep.file, Path(folder, sweep.file.name))
        job = submit_job(address, Path(folder), "bash sweep.sh")
    print(f"submitted job {job}; ray job logs {job} --address {address} --follow shows what it says")


def _output_of(name: str, arguments: list[str], option: str) -> str:
    """Runs a program that submits; what it says.

    Raises:
        UsageError: there is no such program.
        MemlocError: it refuses the job.
    """
    program: Any = shutil.which(name)
    if program is None:
        raise UsageError(f"{option}: this machine has no {name}; add --print to only write the file")
    done = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MemlocError(f"{name} {' '.join(arguments)}: {' '.join((done.stderr or done.stdout).split())}")
    return done.stdout.strip()
