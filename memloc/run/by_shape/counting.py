"""Counts what a computation takes, from the shapes of its tensors: on the device `meta` nothing is computed.

On `meta` a read of the host gives zeros, and a mask selects everything. So a computation whose course follows from its
shapes runs as it is. On other devices the same counts are taken while it computes; tests compare the two.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from memloc.run.by_shape.shortcuts import shortcut

aten = torch.ops.aten
PACKAGE, HERE = str(Path(__file__).parents[2]), str(Path(__file__).parent)
FREE = ("empty", "new_empty", "empty_like", "empty_strided", "lift_fresh", "detach", "_local_scalar_dense", "set_")
Place: TypeAlias = tuple[int, ...]  # a line of the program, with those that have called it


class Kernel(NamedTuple):
    """One operation of the device.

    operations: of matrix products and convolutions, by torch's formulas, else 0. A multiplication and its addition are two.
    moved: bytes of its operands, read and written. dtype: of what it computes with.
    """

    operations: int
    moved: int
    dtype: torch.dtype


@dataclass
class Counts:
    """What a computation has taken.

    kernels: {kernel: how often}. reads: how often the host waited for a value of the device. copies: transfers between host
    and device. peak: the most bytes of live tensors. kept: those that are alive at the end. peaks: {place: its most}.
    """

    kernels: Counter[Kernel] = field(default_factory=Counter)
    reads: int = 0
    copies: int = 0
    peak: int = 0
    kept: int = 0
    peaks: dict[Place, int] = field(default_factory=dict)

    @property
    def operations(self) -> int:
        """Operations of all kernels."""
        return sum(kernel.operations * times for kernel, times in self.kernels.items())

    @property
    def moved(self) -> int:
        """Bytes that all kernels read and write."""
        return sum(kernel.moved * times for kernel, times in self.kernels.items())

    @property
    def launches(self) -> int:
        """How many kernels."""
        return self.kernels.total()

    def since(self, earlier: Counts) -> Counts:
        """What was counted after `earlier`, a copy of these counts; memory stays that of all."""
        return Counts(
            self.kernels - earlier.kernels,
            self.reads - earlier.reads,
            self.copies - earlier.copies,
            self.peak,
            self.kept,
            dict(self.peaks),
        )

    def copy(self) -> Counts:
        """The counts so far."""
        return Counts(Counter(self.kernels), self.reads, self.copies, self.peak, self.kept, dict(self.peaks))


class Counting(TorchDispatchMode):
    """Counts in `counts` what the tensors of one kind of device go through meanwhile.

    device: `meta` or `cpu`. Tensors count as alive from their first use on; what was made before does not.
    """

    def __init__(self, device: str = "meta") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = device
        self.counts = Counts()
        self._alive: dict[int, Any] = {}  # {address of a storage: a weak reference to it}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise the compiler is imported, in order to be kept away from this mode

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func._can_decompose() and func._overloadpacket not in flop_registry:  # in inference mode
            with self:
                return func.decompose(*args, **kwargs)
        inputs = list(_tensors((args, kwargs)))
        result = self._on_meta(func, args, kwargs, inputs) if self.device == "meta" else func(*args, **kwargs)
        outputs = list(_tensors(result))
        self._count(func, (args, kwargs), inputs, result)
        for tensor in (*inputs, *outputs):
            self._is_alive(tensor)
        if self.counts.kept > self.counts.peak:
            self.counts.peak = self.counts.kept
        place = _place()
        self.counts.peaks[place] = max(self.counts.peaks.get(place, 0), self.counts.kept)
        return result

    # --- memory -------------------------------------------------------------------------------------------------------

    def _is_alive(self, tensor: Tensor) -> None:
        if tensor.device.type != self.device:
            return
        storage = tensor.untyped_storage()
        address, size = storage._cdata, storage.nbytes()
        if address in self._alive:
            return
        self.counts.kept += size
        self._alive[address] = weakref.ref(storage, self._end_of(address, size))

    def _end_of(self, address: int, size: int) -> Callable[[object], None]:
        def ended(_: object) -> None:
            self.counts.kept -= size
            del self._alive[address]

        return ended

    # --- work ---------------------------------------------------------------------------------------------------------

    def _count(self, func: Any, given: tuple[Any, Any], inputs: Sequence[Tensor], result: Any) -> None:
        outputs = list(_tensors(result))
        here = [t for t in inputs if t.device.type == self.device]
        made = [t for t in outputs if t.device.type == self.device]
        if func is aten._local_scalar_dense.default or func is aten.equal.default:
            self.counts.reads += bool(here)
            return
        kinds = {t.device.type for t in (*inputs, *outputs)}
        if self.device != "cpu" and len(kinds) > 1 and func in (aten._to_copy.default, aten.copy_.default):
            self.counts.copies += 1
            self.counts.reads += func is aten._to_copy.default and not made
            return
        if not (here or made) or func._opname in FREE or _is_view(func, here, made):
            return
        formula = flop_registry.get(func._overloadpacket)
        operations = 0 if formula is None else formula(*given[0], **given[1], out_val=result)
        new = {id(t): t for t in made if not any(t is other for other in here)}
        written = new.values() if not func._schema.is_mutable else list(_mutated(func, *given))
        moved = sum(t.nbytes for t in here) + sum(t.nbytes for t in written if t.device.type == self.device)
        dtype = next((t.dtype for t in here if t.is_floating_point()), made[0].dtype if made else torch.float32)
        kernels = len(made) if func is aten.convolution_backward.default else 1
        for _ in range(max(1, kernels)):
            self.counts.kernels[Kernel(operations // max(1, kernels), moved // max(1, kernels), dtype)] += 1

    # --- what `meta` cannot do, or takes long for ---------------------------------------------------------------------

    def _on_meta(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], inputs: Sequence[Tensor]) -> Any:
        result = self._to_host(func, args, kwargs)
        if result is NotImplemented:
            result = shortcut(func, args, inputs)
        return func(*args, **kwargs) if result is NotImplemented else result

    def _to_host(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """The result of an operation that needs values: zeros on the host, all rows of a mask. Else NotImplemented."""
        if func is aten._local_scalar_dense.default and args[0].is_meta:
            return torch.zeros((), dtype=args[0].dtype).item()
        if func is aten.equal.default and args[0].is_meta:
            return True
        if func is aten._to_copy.default and args[0].is_meta and _is_host(kwargs.get("device")):
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        if func is aten.copy_.default and args[1].is_meta and not args[0].is_meta:
            return args[0]
        if func is aten.nonzero.default and args[0].is_meta:
            self.counts.reads += 1
            return torch.empty(args[0].numel(), args[0].ndim, dtype=torch.int64, device="meta")
        if func is aten.index.Tensor and args[0].is_meta and any(_is_mask(i) for i in args[1]):
            self.counts.reads += 1
            return func(args[0], [chosen for index in args[1] for chosen in _chosen(index)])
        return NotImplemented


def _is_host(device: torch.device | None) -> bool:
    return device is not None and device.type == "cpu"


def _is_mask(index: Tensor | None) -> bool:
    return index is not None and index.dtype is torch.bool


def _chosen(index: Tensor | None) -> list[Tensor | None]:
    """An index; for a mask those of all its elements, one for each dimension."""
    if index is None or not _is_mask(index):
        return [index]
    return [torch.empty(index.numel(), dtype=torch.int64, device="meta") for _ in range(index.ndim)]


def _is_view(func: Any, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
    """Does the operation only look at its input in another way?"""
    if func._schema.is_mutable or not outputs or not inputs:
        return False
    storages = {t.untyped_storage()._cdata for t in inputs}
    return all(t.untyped_storage()._cdata in storages for t in outputs)


def _mutated(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[Tensor]:
    """The arguments that an operation writes to."""
    for k, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from _tensors(args[k] if k < len(args) else kwargs.get(argument.name))


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors in nested arguments."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)


def _place() -> Place:
    """The lines of memloc that are being carried out, the innermost first, without those that count."""
    lines, frame = [], sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if _is_counted(name):
            lines.append(hash((name, frame.f_lineno)))
        frame = frame.f_back  # type: ignore[assignment]
    return tuple(lines)


@cache
def _is_counted(file: str) -> bool:
    """Is it of the program, and not of these modules?"""
    return file.startswith(PACKAGE) and not file.startswith(HERE)
