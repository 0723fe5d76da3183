"""The numerical environment of this process, kept for the tests that come after one that changes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def kept_numerics() -> Iterator[None]:
    """Threads, tf32 and deterministic algorithms are at the end as they were, whatever `set_up_numerics` did."""
    backends, memory = torch.backends, torch.utils.deterministic
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    tf32 = backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32
    filled, tried = memory.fill_uninitialized_memory, backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(mode)
        backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32 = tf32
        memory.fill_uninitialized_memory, backends.cudnn.benchmark = filled, tried
