"""Activation checkpointing: a backward pass with less memory, which computes the activations again. It changes no bit.

An execution setting, off by default: `with recomputing(): …`. It is no field of a configuration and enters no id. While it
is on, a forward pass keeps the states between the pieces of a network (a group or a block each). In the backward pass a
piece runs forward once more, and its activations stay only until its gradients are there. So a training step takes about a
third more operations.

The second run is the first one again: masks are keyed by site, epoch and step, and buffers (running statistics) have the
values from before the first run. What it writes to them is thrown away. A forward pass without gradients is as always.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from memloc.switch import Switch

# Are the forward passes of this thread computed again for their backward passes?
recomputing = Switch("recomputing")


def is_recomputing() -> bool:
    """Will a forward pass of this thread be computed again for its backward pass?"""
    return recomputing.is_on() and torch.is_grad_enabled()


def recomputed(run: Callable[..., Any], state: tuple[Any, ...], modules: Iterable[nn.Module]) -> Any:
    """run(*state), computed again in the backward pass if that is on.

    modules: all modules that `run` uses, or modules that hold them. `run` changes nothing but their buffers.
    """
    if not is_recomputing():
        return run(*state)
    buffers = _Buffers(modules)
    contexts: tuple[AbstractContextManager[Any], AbstractContextManager[Any]] = (nullcontext(), buffers)
    # No global generator is ever used, so there is none whose state must be kept.
    return checkpoint(run, *state, use_reentrant=False, preserve_rng_state=False, context_fn=lambda: contexts)


class _Buffers:
    """The buffers of modules in train mode as they are now. Inside of the context the modules have copies of these.

    It may be entered many times. Evaluation mode changes no buffers.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        owners = dict.fromkeys(m for module in modules for m in module.modules() if m.training)
        self._before: list[tuple[nn.Module, str, Tensor]] = []
        self._own: list[Tensor] = []
        with torch.no_grad():
            for owner in owners:
                self._before += [(owner, name, b.clone()) for name, b in owner._buffers.items() if b is not None]

    def __enter__(self) -> None:
        self._own = []
        with torch.no_grad():
            for owner, name, before in self._before:
                self._own.append(owner.get_buffer(name))
                owner._buffers[name] = before.clone()

    def __exit__(self, *_exception: object) -> None:
        for (owner, name, _), own in zip(self._before, self._own, strict=True):
            owner._buffers[name] = own
