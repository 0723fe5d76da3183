"""Every figure and table of the paper, in its order; Figure 6 is a drawing."""

from __future__ import annotations

from collections.abc import Callable

from memloc.report import dropout, flips, forgotten, gradients, layers
from memloc.report.charts import Exhibit
from memloc.report.source import Source

SECTIONS = {
    "4": "Gradients of clean and noisy examples (§ 4)",
    "5": "Layers set back and trained anew (§ 5)",
    "6.1": "Neurons that carry a prediction (§ 6.1)",
    "6.2": "Example-tied dropout (§ 6.2)",
    "7": "Atypical examples (§ 7)",
    "A": "More on gradients (Appendix A)",
    "B": "More on layers (Appendix B)",
}

EXHIBITS: tuple[Callable[[Source], Exhibit], ...] = (
    gradients.figure1,
    gradients.figure2,
    layers.figure3,
    layers.figure4,
    flips.figure5,
    flips.detection,
    dropout.table1,
    forgotten.figure7,
    dropout.table2,
    dropout.table3,
    gradients.figure8,
    layers.figure9,
    gradients.figure10,
    gradients.figure11,
    gradients.figure12,
    gradients.figure13,
    gradients.figure14,
    layers.figure15,
    layers.figure16,
    layers.figure17,
    layers.figure18,
    layers.figure19,
)


def exhibits(source: Source) -> list[Exhibit]:
    return [make(source) for make in EXHIBITS]


def section_of(exhibit: Exhibit) -> str:
    """The key in SECTIONS."""
    return next(key for key in SECTIONS if exhibit.section == key or exhibit.section.startswith(f"{key}."))
