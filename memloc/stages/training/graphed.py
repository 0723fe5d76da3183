"""The gradients of training steps, computed as they come or by a CUDA graph: one launch for the kernels of a whole step.

An execution setting, off by default: `with graphed_steps(): …`. It is no field and enters no id: the kernels are those of
the plain step, in its order. The update of the weights stays outside, because torch's `foreach` forms read a learning rate
on the host. A graph has fixed addresses. So images, labels and masks are copied to where it looks for them, and logits and
gradients are where it leaves them. Batches of another size, steps that are observed, `fp16` and `compile: true` take the
plain way. The memory of a step is held between steps, and its masks are all there before it.

On a CPU a twin goes through the same places without a graph. It is for tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from memloc.models.groups import Network
from memloc.models.kept import Factor, Kept, Masks
from memloc.models.recomputation import is_recomputing
from memloc.switch import Switch

# (images, labels, masks) -> logits B×K; afterwards the parameters have their gradients
Gradients: TypeAlias = Callable[[Tensor, Tensor, Masks | None], Tensor]

graphed_steps = Switch("graphed steps")  # are the training steps of this thread replayed from graphs?
WARM_UP = 3  # steps before the capture, in which libraries choose kernels and make workspaces


class Recorded:
    """A computation that is repeated on fixed inputs, after they were written to. outputs: where its results are.

    run: computes the results from the inputs. Called a second time it gives tensors of the same shapes. Its first calls must
    leave nothing behind.
    """

    def __init__(self, run: Callable[[], Sequence[Tensor]], device: torch.device) -> None:
        self._graph: torch.cuda.CUDAGraph | None = None
        if device.type == "cuda":
            with torch.cuda.device(device):
                self._graph, self.outputs = _captured(run, device)
        else:
            self._run, self.outputs = run, [output.clone() for output in run()]

    def repeat(self) -> None:
        """Computes the outputs from what the inputs are now."""
        if self._graph is not None:
            self._graph.replay()
            return
        for output, result in zip(self.outputs, self._run(), strict=True):
            output.copy_(result)


def _captured(run: Callable[[], Sequence[Tensor]], device: torch.device) -> tuple[torch.cuda.CUDAGraph, list[Tensor]]:
    """(the graph of the current device, its outputs)"""
    graph = torch.cuda.CUDAGraph()
    aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream(device).wait_stream(aside)
    # On this stream: torch's own is one for the whole process, on the device of the first capture. Other threads may wait
    # for the device meanwhile: the one that writes states does.
    with torch.cuda.graph(graph, stream=aside, capture_error_mode="thread_local"):
        return graph, list(run())


class GraphedGradients:
    """The gradients of steps of one shape at a time; another shape, mode or set of masks is recorded anew.

    size: of the batches that are replayed.
    """

    def __init__(self, network: Network, size: int) -> None:
        self._network, self._size = network, size
        self._key: object = None
        self._places: list[Tensor] = []
        self._recorded: Recorded | None = None
        self._parameters: list[Tensor] = []

    def __call__(self, plain: Gradients, x: Tensor, y: Tensor, masks: Masks | None) -> Tensor:
        """Logits, float B×K, which later steps do not change. plain: computes the gradients as they come."""
        if len(x) != self._size:
            return plain(x, y, masks)
        made = None if masks is None else dict(masks)  # drawn once
        given = [x, y, *(_tensor(factor) for factor in (made or {}).values())]
        sites = [(site, factor.scale if isinstance(factor, Kept) else None) for site, factor in (made or {}).items()]
        key = self._network.training, is_recomputing(), sites, [(t.shape, t.stride(), t.dtype) for t in given]
        if self._recorded is None or self._key != key:
            self._key, self._recorded = key, None  # the memory of the one before is free first
            self._places = [torch.empty_like(tensor) for tensor in given]
            self._write(given)
            self._record(plain, x.device, made)
        assert self._recorded is not None
        self._write(given)
        self._recorded.repeat()
        logits, *gradients = self._recorded.outputs
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return logits.clone()

    def _write(self, given: Sequence[Tensor]) -> None:
        for place, tensor in zip(self._places, given, strict=True):
            place.copy_(tensor)

    @torch.no_grad()
    def _record(self, plain: Gradients, device: torch.device, masks: Masks | None) -> None:
        """Buffers (running statistics) are afterwards as before: what is run here is no step."""
        before = [(buffer, buffer.clone()) for buffer in self._network.buffers()]
        x, y, *factors = self._places
        fixed = None if masks is None else _placed(masks, factors)
        of_network = list(self._network.parameters())

        def run() -> list[Tensor]:
            for parameter in of_network:
                parameter.grad = None
            with torch.enable_grad():
                logits = plain(x, y, fixed)
            self._parameters = [p for p in of_network if p.grad is not None]
            return [logits, *(p.grad for p in self._parameters if p.grad is not None)]

        self._recorded = Recorded(run, device)
        for buffer, values in before:
            buffer.copy_(values)


def _tensor(factor: Factor) -> Tensor:
    return factor.mask if isinstance(factor, Kept) else factor


def _placed(masks: Masks, places: Sequence[Tensor]) -> Mapping[str, Factor]:
    """The masks with their numbers in these places."""
    each = zip(masks.items(), places, strict=True)
    return {site: Kept(place, f.scale) if isinstance(f, Kept) else place for (site, f), place in each}
