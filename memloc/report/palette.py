"""One look for every chart: what colour, mark and dash each set of examples has, on light and on dark ground.

The colours are Okabe and Ito's, some darkened, so that each stands out by at least 3:1 (WCAG 1.4.11) on white and on the
dark page alike; marks and dashes tell the sets apart without colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LIGHT, DARK = "#ffffff", "#16181d"  # the page's two grounds

Mark = Literal["o", "D", "s", "^", "v"]


@dataclass(frozen=True)
class Look:
    """colour: hex. mark: matplotlib's. dash: lengths on and off in points, () for a solid line."""

    colour: str
    mark: Mark
    dash: tuple[float, ...] = ()


CLEAN = Look("#0072B2", "o")
NOISY = Look("#D55E00", "D")
TOTAL = Look("#767676", "s", (5, 2))
CONTROL = Look("#A8629C", "^", (1.5, 1.5))
TEST = Look("#008F68", "v", (4, 1.5, 1, 1.5))

# A memorized set takes one colour, however it is made up: mislabeled, or atypical by C-score.
LOOKS: dict[str, Look] = {
    "clean": CLEAN,
    "noisy": NOISY,
    "typical": CLEAN,
    "atypical": NOISY,
    "total": TOTAL,
    "control": CONTROL,
    "test": TEST,
    "noisy / clean": NOISY,
    "AUC": CLEAN,
}

# From −1 to 1: orange, white, violet, which the common colour blindnesses keep apart.
DIVERGING = "PuOr"
