"""Lines of a chart from one value per training at each point, and the axis around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from memloc.report.charts import Series
from memloc.report.setting_rows import over_seeds


def decades(values: Sequence[float]) -> tuple[float, float] | None:
    """The powers of ten around positive values: a logarithmic axis for means. Intervals that reach 0 are cut there."""
    known = [v for v in values if v > 0]
    if not known:
        return None
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    return 10.0**low, 10.0 ** max(high, low + 1)


def series(name: str, x: Sequence[float], lists: Any, lowest: float, highest: float = float("inf")) -> Series | None:
    """The line of a column of lists with one value per training; None if there are no values."""
    known = [
        (float(at), v) for at, values in zip(x, lists, strict=True) if (v := over_seeds(values, lowest, highest)) is not None
    ]
    return Series(name, [at for at, _ in known], [v for _, v in known]) if known else None
