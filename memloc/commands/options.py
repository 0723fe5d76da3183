"""Options and arguments that several commands have, and the examples at the end of a command's help."""

from __future__ import annotations

from typing import Any

import typer

from memloc.commands import completion
from memloc.commands.answers import apart

SWEEP: Any = typer.Argument(
    None,
    metavar="SWEEP",
    help="A sweep's name, or NAME@sha8 for one of its contents; the whole store without it.",
    autocompletion=completion.stored_sweeps,
)
STORE: Any = typer.Option(
    None,
    "--store",
    metavar="URI",
    help="A folder or a file://, s3://, gs:// or hdfs:// URI. Default: MEMLOC_STORE, else ./memloc-store.",
)
DATA_DIR: Any = typer.Option(
    None, "--data-dir", metavar="DIR", help="Where the data sets lie. Default: MEMLOC_DATA, else ~/.cache/memloc."
)
ONLY: Any = typer.Option(
    [],
    "--only",
    metavar="FIELD=V,V",
    help="Only trials with one of these values. Give it several times, and all of them must hold.",
    autocompletion=completion.only,
)
CHECKPOINTS: Any = typer.Option(
    None,
    "--checkpoints",
    help="Which checkpoints to keep; default: all, of held-out trainings what their analyses read.",
)
ADDRESS: Any = typer.Option("local", "--address", metavar="local|auto|HOST:PORT", help="Which Ray cluster to use.")
EXECUTOR: Any = typer.Option("ray", "--executor", help="inline: one process, for debugging.")
MOST = 4096  # CPUs or GPUs of one machine
CPUS: Any = typer.Option(None, "--cpus", min=1, max=MOST, help="Local CPUs to use; default: all that this process may use.")
GPUS: Any = typer.Option(None, "--gpus", min=0, max=MOST, help="Local GPUs to use; default: all. 0: only CPUs.")
MAX_CHECKPOINT_BYTES: Any = typer.Option(
    None,
    "--max-checkpoint-bytes",
    metavar="SIZE",
    help="How much the store's checkpoints may take, as 500GB: then finished trainings keep their last one.",
)
STORAGE_PATIENCE: Any = typer.Option(
    "15m",
    "--storage-patience",
    metavar="TIME",
    help="How long to wait for a storage that fails or is full: 90s, 15m, 2h; 0s: not at all.",
)
LOG_TO: Any = typer.Option(
    [], "--log-to", metavar="KIND:WHERE", help="Log epochs too: tensorboard:DIR, mlflow:URI, wandb:PROJECT."
)
MAX_TRIALS: Any = typer.Option(None, "--max-trials", min=1, help="Run the first N trials only.")
YES: Any = typer.Option(False, "--yes", help="Allow more than 100,000 trials.")
DEVICE: Any = typer.Option(
    None, "--device", help="What to compute on; default: the GPUs where there are any. cuda: also of AMD's cards."
)
CUDA_GRAPHS: Any = typer.Option(
    False, "--cuda-graphs", help="Replay training steps from CUDA graphs: fewer calls from the host, the same results."
)
GPUS_PER_TRIAL: Any = typer.Option(None, "--gpus-per-trial", help="The share of a GPU that a training holds; default: 1.")
GPUS_PER_TASK: Any = typer.Option(None, "--gpus-per-task", help="The same of an analysis task; default: 1.")
JSON: Any = typer.Option(False, "--json", callback=apart, help="Print JSON.")
PAPER: Any = typer.Option(
    "maini2023",
    "--paper",
    metavar="NAME|FILE.py",
    help="The paper whose claims are judged, or a Python file with one.",
    autocompletion=completion.papers,
)


def examples(*lines: str) -> str:
    """The end of a command's help: examples to type, line by line."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])
