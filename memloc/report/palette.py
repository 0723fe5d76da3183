"""One look for all charts: the colour, mark and dash of each set of examples, on a light and on a dark page.

The colours are Okabe and Ito's. Some are darkened, so that each has a contrast of at least 3:1 (WCAG 1.4.11) on white and on
the dark page. Marks and dashes tell the sets apart without colour.
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

# A memorized set has one colour, whether it is mislabeled or atypical by C-score.
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

# From −1 to 1: orange, white, violet. People with common colour blindnesses can tell them apart.
DIVERGING = "PuOr"
