"""Timing an engine beside its plain reference: same process, same inputs, same threads, turn by turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class Result:
    """One comparison.

    ratio: median of the reference's seconds over the engine's, turn by turn; with the smallest and largest. flops,
    flops_reference: floating-point operations, counted; bound: their ratio, which is what the work itself allows.
    peak_fraction: of the machine's own matrix-multiply rate, that the engine reaches. peak_mb: resident memory that the
    engine adds at its peak. agrees: both computed the same.
    """

    name: str
    size: str
    reference: str
    ratio: float
    ratio_min: float
    ratio_max: float
    bound: float
    flops: float
    flops_reference: float
    peak_fraction: float
    agrees: bool
    seconds: float
    peak_mb: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """What to time. engine, plain: do the work and return something to compare. agrees: of (engine's, plain's).

    times: how often the reference's work is a part of the whole that the engine does (9 when it does one group of nine).
    """

    name: str
    size: str
    reference: str
    engine: Callable[[], Any]
    plain: Callable[[], Any]
    agrees: Callable[[Any, Any], bool]
    times: float = 1.0


def compare(c: Comparison, turns: int) -> Result:
    """Counts the operations of both, which warms them up, then times them in turns."""
    before = _reset_peak()
    found, flops = _counted(c.engine)
    peak_mb = _status("VmHWM") - before
    expected, flops_reference = _counted(c.plain)
    agrees = c.agrees(found, expected)
    seconds, ratios = [], []
    for turn in range(turns):
        order = (c.engine, c.plain) if turn % 2 == 0 else (c.plain, c.engine)
        took = {}
        for work in order:
            clock = time.perf_counter()
            work()
            took[work] = time.perf_counter() - clock
        seconds.append(took[c.engine])
        ratios.append(c.times * took[c.plain] / took[c.engine])
    median = statistics.median(seconds)
    return Result(
        c.name, c.size, c.reference,
        ratio=statistics.median(ratios), ratio_min=min(ratios), ratio_max=max(ratios),
        bound=c.times * flops_reference / flops, flops=flops, flops_reference=c.times * flops_reference,
        peak_fraction=flops / median / matmul_rate(), agrees=agrees, seconds=median, peak_mb=peak_mb,
    )  # fmt: skip


def _counted(work: Callable[[], Any]) -> tuple[Any, float]:
    """(its result, floating-point operations)."""
    with Operations() as counter:
        result = work()
    return result, counter.flops


class Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts floating-point operations by torch.utils.flop_counter's formulas.

    Its own FlopCounterMode also tracks modules, by hooks that a gradient with respect to gates stumbles over.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.overloadpacket not in flop_registry:
            with self:  # under inference_mode composite operations come whole
                out = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if out is NotImplemented else out
        out = func(*args, **kwargs)
        self.flops += flop_registry[func.overloadpacket](*args, **kwargs, out_val=out)
        return out


def _reset_peak() -> float:
    Path("/proc/self/clear_refs").write_text(
        "5", encoding="utf-8"
    )  # Linux: the high-water mark starts again from the present size
    return _status("VmRSS")


def _status(field: str) -> float:
    """MB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field):
            return float(line.split()[1]) / 1000
    raise KeyError(field)


_rates: dict[int, float] = {}


def matmul_rate() -> float:
    """Floating-point operations per second of the fastest large float32 matrix product, at the present number of threads.

    That of `mm`, or of a 3×3 convolution of 256 channels, which is one too: PyTorch has two libraries for them on a CPU, and
    on some the second is more than twice as fast.
    """
    threads = torch.get_num_threads()
    if threads not in _rates:
        n, c, pixels = 1536, 256, (16, 16)
        a, b = torch.randn(n, n), torch.randn(n, n)
        x = torch.randn(64, c, *pixels).contiguous(memory_format=torch.channels_last)
        w = torch.randn(c, c, 3, 3).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            product = 2 * n**3 / _shortest(lambda: torch.mm(a, b))
            with Operations() as counter:
                F.conv2d(x, w, padding=1)
            convolution = counter.flops / _shortest(lambda: F.conv2d(x, w, padding=1))
        _rates[threads] = max(product, convolution)
    return _rates[threads]


def _shortest(work: Callable[[], Any], times: int = 6) -> float:
    seconds = []
    for _ in range(times):
        clock = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - clock)
    return min(seconds)
