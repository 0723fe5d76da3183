"""How many parts of an analysis a device computes together, and what to do when its memory runs out.

Results do not depend on it. A part's rows are the same bits whatever other parts run with it, and no batch and no group of
examples ever becomes smaller.
"""

from __future__ import annotations

import gc

import torch

from memloc.run.kinds import CardMemory

SHARE = 0.5  # of free memory, for what grows with the parts; the rest is for one part's activations and other processes


def parts_together(device: torch.device, wanted: int, bytes_per_part: int) -> int:
    """How many of `wanted` parts to compute together, at least 1; all of them if the device has no memory of its own."""
    if device.type != "cuda" or not bytes_per_part:
        return wanted
    return max(1, min(wanted, int(SHARE * free_bytes(device) / bytes_per_part)))


def free_bytes(device: torch.device) -> int:
    """What this process can still allocate: free on the device, or held by PyTorch without being used."""
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def card_in_words(device: torch.device) -> str:
    """The device and its memory: `NVIDIA A100 (40.0 GB, 39.2 GB of it free before)`."""
    if device.type != "cuda":
        return "the CPU"
    total = torch.cuda.get_device_properties(device).total_memory
    return (
        f"{torch.cuda.get_device_name(device)} ({total / 1e9:.1f} GB, {free_bytes(device) / 1e9:.1f} GB of it free before)"
    )


def smallest_card(first: int | None = None) -> CardMemory | None:
    """The one with the least memory of this machine's GPUs, or of so many first ones; None if torch sees none.

    Makes no context on any of them.
    """
    cards = [torch.cuda.get_device_properties(k) for k in range(torch.cuda.device_count())][:first]
    named = (CardMemory(str(card.name), int(card.total_memory)) for card in cards)
    return min(named, key=lambda card: card.total, default=None)


def release(device: torch.device) -> None:
    """Frees unreferenced memory. Call it outside of the exception's handler: the traceback there refers to all of it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
