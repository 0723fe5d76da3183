"""Charts made by hand, of every kind and with one to seven trainings."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from memloc.papers.charts import Curves, Dots, Gallery, Heat, Line, Picture
from memloc.statistics.quantities import mean_of_trainings
from memloc.statistics.trainings import OverTrainings

SHIFTS = (0.0, 0.011, -0.017, 0.023, -0.029, 0.031, -0.007)  # of trainings from their common value


def over(k: int, value: float, spread: float = 1.0) -> OverTrainings:
    """A quantity over k trainings."""
    return mean_of_trainings([value + spread * shift for shift in SHIFTS[:k]])


def line(name: str, values: Sequence[float], k: int, spread: float = 1.0) -> Line:
    """A line over 0, 1, 2, … of k trainings."""
    each = [[value + spread * shift for value in values] for shift in SHIFTS[:k]]
    return Line(name, list(range(len(values))), each, [over(k, value, spread).printed for value in values])


def curves(k: int, spread: float = 1.0, **more: object) -> Curves:
    """Two lines of k trainings."""
    lines = [line("clean", (0.2, 0.5, 0.9), k, spread), line("noisy", (0.1, 0.3, 0.91), k, spread)]
    return Curves("one", {"": lines}, "epoch", "accuracy", **more)  # type: ignore[arg-type]


def png(side: int = 4) -> bytes:
    """A grey image."""
    rows = b"".join(b"\0" + bytes(range(side)) for _ in range(side))
    parts = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = [struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d)) for t, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


FACETS = Curves(
    "facets",
    {f"layer{n}": [line("clean", (0.1, 0.9), 2), line("noisy", (0.2, 0.7), 2)] for n in range(7)},
    "epoch that the layer is set back to",
    "accuracy",
    y_range=(0.0, 1.0),
)
LOG = Curves(
    "log", {"": [line("noisy / clean", (0.5, 9.0), 2)]}, "noise, %", "ratio", y_range=(0.1, 10.0), log_y=True,
    rule=(1.0, "equal"),
)  # fmt: skip
STEPS = Curves("steps", {"": [line("clean", [k / 40 for k in range(40)], 3)]}, "neurons", "share", steps=True)
DOTS = Dots("dots", ["a", "b"], {"clean": [over(3, 1.0), None], "noisy": [over(6, 2.0), over(1, 0.5)]}, "norm")
HEAT = Heat(
    "heat", ["a", "b"], [0, 5], {n: [[over(2, -0.9), None], [over(1, 0.1), over(2, 0.8)]] for n in "xy"}, "epoch", "cosine"
)
PAIRS = [[over(2, -0.9), None], [over(1, 0.1), over(2, 0.8)]]
MATRIX = Heat(
    "matrix",
    ["rewinding", "locate.zero_out"],
    ["flips", "rewinding"],
    {"": PAIRS},
    "method",
    "rank correlation",
    "",
    "method",
)
GALLERY = Gallery("images", [Picture(png(), "1 → 2", k) for k in range(9)])
CHARTS = (curves(3), curves(6), FACETS, LOG, STEPS, DOTS, HEAT, MATRIX)
