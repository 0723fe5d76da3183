"""One look for all charts: the colour, mark and dash of each set of examples, on a light and on a dark page.

The colours are Okabe and Ito's. Some are darkened, so that each has a contrast of at least 3:1 (WCAG 1.4.11) on white and on
the dark page. Marks and dashes tell the sets apart without colour.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """colour: hex. mark: a shape of Vega's. dash: lengths on and off in pixels, (1, 0) for a solid line."""

    colour: str
    mark: str
    dash: tuple[float, ...] = (1, 0)


CLEAN = Look("#0072B2", "circle")
NOISY = Look("#D55E00", "diamond")
TOTAL = Look("#767676", "square", (6, 3))
CONTROL = Look("#A8629C", "triangle-up", (2, 2))
TEST = Look("#008F68", "triangle-down", (6, 2, 2, 2))
INK = Look("#808080", "cross", (9, 3))

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
ORDER = (CLEAN, NOISY, TEST, CONTROL, TOTAL, INK)  # of names without a look of their own

# From −1 to 1: orange, white, violet (ColorBrewer's PuOr). People with common colour blindnesses can tell them apart.
DIVERGING = (
    ("#7f3b08", "#b35806", "#e08214", "#fdb863", "#fee0b6", "#f7f7f7"),
    ("#d8daeb", "#b2abd2", "#8073ac", "#542788", "#2d004b"),
)


def looks(names: Iterable[str]) -> dict[str, Look]:
    """{name: its look}. A name without a look of its own gets the first one that no other name of the chart has."""
    chosen = {name: LOOKS.get(name) for name in names}
    free = [look for look in ORDER if look not in chosen.values()] or list(ORDER)
    strangers = [name for name, look in chosen.items() if look is None]
    given = {name: free[k % len(free)] for k, name in enumerate(strangers)}
    return {name: look or given[name] for name, look in chosen.items()}
