"""Tensors between the host's memory and a GPU's without the host waiting; on a CPU, plain copies through the same calls."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device; what the device is asked to do from now on sees it whole."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)  # the allocator keeps the pinned copy until it is read


class HostCopies:
    """Copies of a device's tensors on their way to the CPU: valid, contiguous and nobody else's after `wait`.

    From a GPU they go to page-locked memory, after everything that the device has been asked to do so far and before
    everything that it is asked later: an update that follows cannot overtake them. From a CPU they are made at once.
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
                source = source.contiguous()  # here, since a copy between devices that also rearranges has to wait
            copy = torch.empty(source.shape, dtype=source.dtype, pin_memory=self._end is not None)
            copies[name] = copy.copy_(source, non_blocking=True)
        if self._end is not None:
            self._end.record(torch.cuda.current_stream(self._device))
        return copies

    def wait(self) -> None:
        """Returns once every copy that was begun is there; from any thread."""
        if self._end is not None:
            self._end.synchronize()
