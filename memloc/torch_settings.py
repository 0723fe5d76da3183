"""Settings of torch for a whole process, kept as they are while a user's file runs.

Such a file often sets some, as for a script: `torch.set_float32_matmul_precision("high")`, `torch.set_num_threads(8)`. They
would hold for the first training of a process and not for the next one, since a training sets its own numerics before it
begins, and a file is executed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# The places of the precision of float32 products, below torch.backends, from general to special.
PRECISIONS = ("", "cuda.matmul", "cudnn", "cudnn.conv", "cudnn.rnn", "mkldnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")


@contextmanager
def settings_kept() -> Iterator[None]:
    """The settings are afterwards as before."""
    before = [(get(), put) for get, put in _settings()]
    try:
        yield
    finally:
        for (value, put), (get, _) in zip(before, _settings(), strict=True):
            if get() != value and (value is not None or put is _no_default_device):
                put(value)


def _settings() -> Iterator[tuple[Callable[[], Any], Callable[[Any], object]]]:
    """(gives a setting, sets it) of each."""
    import torch

    yield torch.get_num_threads, torch.set_num_threads
    yield torch.get_default_dtype, torch.set_default_dtype
    yield torch.is_grad_enabled, torch.set_grad_enabled
    yield _default_device, _no_default_device
    yield torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode
    for name in ("enabled", "benchmark", "deterministic"):
        yield _of(torch.backends.cudnn, name)
    # By the old names first, which torch keeps beside the new ones. Reading one is an error where the two differ.
    yield _unless_mixed(torch.get_float32_matmul_precision), torch.set_float32_matmul_precision
    get, put = _of(torch.backends.cudnn, "allow_tf32")
    yield _unless_mixed(get), put
    for place in PRECISIONS:
        held: Any = torch.backends
        for part in filter(None, place.split(".")):
            held = getattr(held, part)
        yield _of(held, "fp32_precision")


def _of(held: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    return lambda: getattr(held, name), lambda value: setattr(held, name, value)


def _default_device() -> Any:
    """What `torch.set_default_device` has set. (`torch.get_default_device` is that of a `with torch.device(…)` inside.)"""
    import torch

    return getattr(torch._GLOBAL_DEVICE_CONTEXT, "device_context", None)


def _no_default_device(_: object) -> None:
    import torch

    torch.set_default_device(None)


def _unless_mixed(get: Callable[[], Any]) -> Callable[[], Any]:
    def value() -> Any:
        try:
            return get()
        except RuntimeError:
            return None

    return value
