"""Copies between host and GPU for which the host does not wait. On a CPU the same calls are plain copies."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device. Later work of the device sees all of it."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # the allocator keeps the pinned copy until it is read


class HostCopies:
    """Copies of a device's tensors on their way to the CPU. After `wait` they are valid, contiguous and not shared.

    From a GPU they go to page-locked memory, after all earlier work of the device and before all later work. So an update
    that follows cannot overtake them. From a CPU they are made at once.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._end = torch.cuda.Event(blocking=True) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def take(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Begins to copy; returns where the copies will be."""
        copies = {}
        for name, tensor in tensors.items():
            source = tensor.detach()
            if self._end is not None:
                source = source.contiguous()  # before the copy: a copy between devices that also rearranges would wait
            copy = torch.empty(source.shape, dtype=source.dtype, pin_memory=self._end is not None)
            copies[name] = copy.copy_(source, non_blocking=True)
        if self._end is not None:
            self._end.record(torch.cuda.current_stream(self._device))
        return copies

    def wait(self) -> None:
        """Returns once every copy that was begun is there; from any thread."""
        if self._end is not None:
            self._end.synchronize()
