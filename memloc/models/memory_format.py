"""The memory layout of tensors: channels last, which is faster for convolutions."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def channels_last(module: M) -> M:
    """The module itself, its parameters and buffers of rank 4 (B×C×H×W, out×in×h×w) channels last in memory.

    `nn.Module.to(memory_format=torch.channels_last)` does the same, but fails for tensors of rank 5. Some models of timm
    have such buffers.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.to(memory_format=torch.channels_last)
    return module
