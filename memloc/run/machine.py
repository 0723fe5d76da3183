"""What torch sees of this machine, and what the bits of trainings here depend on. Another process may look (`aside`)."""

from __future__ import annotations

from dataclasses import dataclass

from memloc.aside import aside
from memloc.run.kinds import CardMemory


@dataclass(frozen=True)
class Machine:
    """device: on which memloc computes unless somebody chooses, `cuda` or `cpu`. gpus: how many torch sees. unused: what
    torch could compute on and memloc does not, as Apple's mps, or "". rocm: whether torch is for AMD's GPUs.
    """

    device: str
    gpus: int
    unused: str
    rocm: bool


def machine() -> Machine:
    """This machine."""
    return aside(_machine)


def _machine() -> Machine:
    import torch

    from memloc.run.worker import default_device, unused_accelerator

    return Machine(default_device().type, torch.cuda.device_count(), unused_accelerator(), bool(torch.version.hip))


def numerics_here(device: str) -> str:
    """As `provenance.numerics`, of the first device of a type."""
    return aside(_numerics, device)


def _numerics(device: str) -> str:
    import torch

    from memloc.run.provenance import numerics

    return numerics(torch.device(device))


def smallest_card(first: int | None = None) -> CardMemory | None:
    """As `memory.smallest_card`."""
    return aside(_smallest_card, first)


def _smallest_card(first: int | None) -> CardMemory | None:
    from memloc.run.memory import smallest_card

    return smallest_card(first)
