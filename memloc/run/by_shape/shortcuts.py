"""Results of common operations on `meta`, which PyTorch finds by Python programs of milliseconds. They are shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def shortcut(func: Any, args: Sequence[Any], tensors: Sequence[Tensor]) -> Any:
    """What the operation gives; NotImplemented for all others. tensors: among its arguments."""
    if not tensors or not all(t.is_meta for t in tensors):
        return NotImplemented
    if func in _RESULTS:
        return _RESULTS[func](args)
    if func in _ELEMENTWISE and _alike(tensors):
        return torch.empty_like(tensors[0])
    if _changes_its_first_argument(func):
        return args[0] if func._schema.returns else None
    return NotImplemented


def _alike(tensors: Sequence[Tensor]) -> bool:
    first = tensors[0]
    layout = first.shape, first.stride(), first.dtype
    return all((t.shape, t.stride(), t.dtype) == layout for t in tensors[1:])


def _changes_its_first_argument(func: Any) -> bool:
    """Does it write numbers there, and nothing else?"""
    if not func._opname.endswith("_") or torch.Tag.inplace_view in func.tags or func._opname in ("set_", "resize_"):
        return False
    first, returns = func._schema.arguments[0], func._schema.returns
    return first.alias_info is not None and first.alias_info.is_write and len(returns) <= 1


def _batch_norm(args: Sequence[Any]) -> tuple[Tensor, ...]:
    x = args[0]
    return torch.empty_like(x), _statistics(x, x.shape[1]), _statistics(x, x.shape[1])


def _statistics(x: Tensor, *shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32 if x.dtype.itemsize < 4 else x.dtype, device="meta")


def _batch_norm_backward(args: Sequence[Any]) -> tuple[Tensor | None, ...]:
    x, mask = args[1], args[9]
    channel = [_statistics(x, x.shape[1]) if wanted else None for wanted in mask[1:]]
    return (torch.empty_like(x) if mask[0] else None, *channel)


def _layer_norm(args: Sequence[Any]) -> tuple[Tensor, ...]:
    x, normalised = args[0], len(args[1])
    shape = (*x.shape[:-normalised], *[1] * normalised)
    return torch.empty(x.shape, dtype=x.dtype, device="meta"), _statistics(x, *shape), _statistics(x, *shape)


def _layer_norm_backward(args: Sequence[Any]) -> tuple[Tensor | None, ...]:
    x, weight, bias, mask = args[1], args[5], args[6], args[7]
    like = ((x, mask[0]), (weight, mask[1]), (bias, mask[2]))
    return tuple(torch.empty(t.shape, dtype=t.dtype, device="meta") if wanted else None for t, wanted in like)


_RESULTS: Mapping[Any, Callable[[Sequence[Any]], Any]] = {
    aten.native_batch_norm.default: _batch_norm,
    aten._native_batch_norm_legit.default: _batch_norm,
    aten._native_batch_norm_legit_no_training.default: _batch_norm,
    aten.native_batch_norm_backward.default: _batch_norm_backward,
    aten.native_layer_norm.default: _layer_norm,
    aten.native_layer_norm_backward.default: _layer_norm_backward,
    aten._foreach_add.List: lambda args: [torch.empty_like(t) for t in args[0]],
    aten._foreach_mul.Scalar: lambda args: [torch.empty_like(t) for t in args[0]],
}
_ELEMENTWISE = frozenset(
    {
        aten.relu.default, aten.gelu.default, aten.gelu_backward.default, aten.threshold_backward.default,
        aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.neg.default,
    }
)  # fmt: skip
