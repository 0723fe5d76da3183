"""The memory layout of tensors: channels last, which is faster for convolutions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def channels_last(module: M) -> M:
    """The module itself, its parameters and buffers of rank 4 (B×C×H×W, out×in×h×w) channels last in memory.

    `nn.Module.to(memory_format=torch.channels_last)` does the same, but fails for tensors of rank 5. Some models of timm
    have such buffers.
    """
    for tensor in _of_rank_4(module):
        tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return module


@contextmanager
def channels_first(module: nn.Module) -> Iterator[None]:
    """In it the parameters and buffers of rank 4 lie as PyTorch has them by default; afterwards channels last."""
    for tensor in _of_rank_4(module):
        tensor.data = laid_by_default(tensor.data)
    try:
        yield
    finally:
        channels_last(module)


def laid_by_default(x: Tensor) -> Tensor:
    """A copy that lies as PyTorch has it by default. (`contiguous` leaves what has one channel, or one pixel, as it is.)"""
    return x.clone(memory_format=torch.contiguous_format)


def _of_rank_4(module: nn.Module) -> list[Tensor]:
    return [tensor for tensor in (*module.parameters(), *module.buffers()) if tensor.ndim == 4]
