"""The device on which a launch computes, as far as this process can know it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from memloc.counts import counted
from memloc.errors import UsageError

if TYPE_CHECKING:
    from memloc.commands.launch_options import Options
    from memloc.run.pending import Work


def device_here(options: Options) -> str:
    """The type of the device of a launch on this machine: `cpu` for --device cpu and --gpus 0, even if there is a GPU."""
    from memloc.run.machine import machine

    return "cpu" if options.resources.gpus == 0 else machine().device


def expected_numerics(options: Options, dry_run: bool) -> str | None:
    """What the bits of a training depend on where it will run; None if this process cannot know it.

    The nodes of a cluster may have any device. The driver of Ray asks no GPU for its name: if it has PyTorch, it would
    keep a context, which holds memory, until the sweep ends.
    """
    from memloc.run.machine import numerics_here

    if options.resources.address != "local":
        return None
    device = device_here(options)
    asks = dry_run or options.executor.value == "inline" or device == "cpu"
    return numerics_here(device) if asks else None


def check_device(options: Options) -> None:
    """Checks the device of a run on this machine.

    Raises:
        UsageError: the options ask for GPUs that are not there, so that trainings would have no device; or there is an
            accelerator on which memloc does not train, and nobody has chosen the CPU.
    """
    from memloc.run.machine import machine

    here = machine()
    asked, seen = options.resources.gpus, here.gpus
    if options.resources.device == "cuda" and options.resources.address == "local" and not seen:
        raise UsageError("--device cuda: torch sees no GPU on this machine; valid: cpu")
    if options.graphs and options.resources.address == "local" and not seen:
        raise UsageError("--cuda-graphs: torch sees no GPU on this machine; leave it out")
    if options.resources.address == "local" and asked != 0 and not seen and here.unused:
        raise UsageError(
            f"this machine computes on {here.unused}, on which memloc does not train; --device cpu trains on its CPU"
        )
    if asked and asked > seen:
        valid = f"0 to {seen}" if seen else "0; --cpus N says how many CPUs to use"
        raise UsageError(f"--gpus {asked}: torch sees {seen} on this machine; valid: {valid} (--dry-run takes more)")


def check_compiler(works: Sequence[Work], options: Options) -> None:
    """Raises UsageError if a training is to be compiled on this CPU and cannot be. Elsewhere its trainer says so."""
    if options.resources.address == "local" and any(w.trial.config.compile and w.train != "done" for w in works):
        from memloc.stages.training.forward import require_compiler

        if device_here(options) == "cpu":
            require_compiler()


def check_graphs(asked: bool, device: str | None, gpus: int | None) -> None:
    """Raises UsageError if steps are to be replayed from CUDA graphs and other options leave the GPUs alone."""
    other = "--device cpu" if device == "cpu" else "--gpus 0" if gpus == 0 else ""
    if asked and other:
        raise UsageError(f"--cuda-graphs: {other} leaves the GPUs alone, and a CPU has no graphs; leave one of them out")


def use_graphs(works: Sequence[Work], options: Options) -> None:
    """Tells the trials of the works whether their training steps are replayed from CUDA graphs.

    Where training steps are always plain, a line says so.
    """
    if not options.graphs:
        return
    trainings = [work.trial.config for work in works if work.train != "done"]
    plain = sum(config.compile or config.precision == "fp16" for config in trainings)
    if plain:
        which = f"{plain} of {counted(len(trainings), 'training')}"
        print(f"memloc: note: --cuda-graphs: plain steps in {which}, by precision=fp16 or compile", file=sys.stderr)
    for work in works:
        work.trial = replace(work.trial, graphed=True)
