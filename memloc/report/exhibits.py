"""Every figure and table of the paper, in its order. Figure 6 is a drawing, so it is left out."""

from __future__ import annotations

from collections.abc import Callable

from memloc.report import dropout_tables, forgotten_figure, gradient_figures, layer_figures, neuron_figures, noise_figure
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
    gradient_figures.figure1,
    gradient_figures.figure2,
    layer_figures.figure3,
    layer_figures.figure4,
    neuron_figures.figure5,
    neuron_figures.detection,
    dropout_tables.table1,
    forgotten_figure.figure7,
    dropout_tables.table2,
    dropout_tables.table3,
    gradient_figures.figure8,
    layer_figures.figure9,
    gradient_figures.figure10,
    noise_figure.figure11,
    gradient_figures.figure12,
    gradient_figures.figure13,
    gradient_figures.figure14,
    layer_figures.figure15,
    layer_figures.figure16,
    layer_figures.figure17,
    layer_figures.figure18,
    layer_figures.figure19,
)


def exhibits(source: Source) -> list[Exhibit]:
    return [make(source) for make in EXHIBITS]


def section_of(exhibit: Exhibit) -> str:
    """The key in SECTIONS."""
    return next(key for key in SECTIONS if exhibit.section == key or exhibit.section.startswith(f"{key}."))
