"""Figures and tables for publications: one PDF, or a folder of SVG, or of PDF and LaTeX."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure

from memloc.papers.maini2023 import Judgement
from memloc.report import draw, scorecard
from memloc.report.charts import Chart, Exhibit, Table

ACROSS = 2  # charts side by side: a page's text width
BLACK = {
    "text.color": "black",
    "axes.labelcolor": "black",
    "axes.edgecolor": "black",
    "xtick.color": "black",
    "ytick.color": "black",
}
TITLE = 0.2  # inches of a line of it
SIGNS = {"±": r"$\pm$", "−": "$-$", "→": r"$\to$", "≈": r"$\approx$", "§": r"\S", "–": "--", "≥": r"$\geq$", "√": r"$\surd$"}
SPECIAL = {
    **{letter: "\\" + letter for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}
PDF = {"CreationDate": None, "ModDate": None}


def svg(judgements: Sequence[Judgement], exhibits: Sequence[Exhibit]) -> dict[str, bytes]:
    """{file name: content}: fig01.svg, …, table1.svg, …, scorecard.svg. Letters are paths, so no font is needed."""
    with draw.style(**BLACK):
        return {f"{name}.svg": draw.svg(figure).encode() for name, figure in _figures(judgements, exhibits)}


def pdf(judgements: Sequence[Judgement], exhibits: Sequence[Exhibit]) -> bytes:
    """One document, a page per exhibit."""
    sink = io.BytesIO()
    with draw.style(**BLACK), PdfPages(sink, metadata={"Title": "memloc report", **PDF}) as pages:
        for _, figure in _figures(judgements, exhibits):
            pages.savefig(figure)
    return sink.getvalue()


def latex(judgements: Sequence[Judgement], exhibits: Sequence[Exhibit]) -> dict[str, bytes]:
    r"""{file name: content}: a PDF per figure, for \includegraphics, and a booktabs table per table, for \input."""
    files: dict[str, bytes] = {"scorecard.tex": scorecard_tex(judgements).encode()}
    with draw.style(**BLACK):
        for exhibit in exhibits:
            if exhibit.charts:
                sink = io.BytesIO()
                _compose(exhibit).savefig(sink, format="pdf", metadata=PDF)
                files[f"{exhibit.id}.pdf"] = sink.getvalue()
            if exhibit.tables:
                files[f"{exhibit.id}.tex"] = "\n".join([*(tex(t) for t in exhibit.tables), _under(exhibit)]).encode()
    return files


def tex(table: Table) -> str:
    """A tabular with booktabs' rules."""
    import pandas as pd

    frame = pd.DataFrame([list(row) for row in table.rows], columns=list(table.head))
    text: str = frame.to_latex(index=False, escape=True, column_format="l" + "r" * (len(table.head) - 1))
    return f"% {table.title}\n{_signs(text)}"


def scorecard_tex(judgements: Sequence[Judgement]) -> str:
    """All judged numbers as a longtable, which breaks over pages: each claim has a row, with its numbers below."""
    columns = "".join(rf">{{\raggedright\arraybackslash}}p{{{width}\linewidth}}" for width in (0.34, 0.08, 0.26, 0.16))
    lines = [
        r"% \usepackage{booktabs,longtable,array}",
        rf"\begin{{longtable}}{{{columns}}}",
        r"\toprule",
        r"id & paper & ours [95 \%] & verdict \\",
        r"\midrule",
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
    ]
    for claim in (c for family in scorecard.families(judgements) for c in family.judged):
        words = tex_words(f"{claim.id}. {claim.text} ({claim.where})")
        lines += [r"\addlinespace", rf"\multicolumn{{4}}{{p{{0.9\linewidth}}}}{{\bfseries {words}}} \\*"]
        for j in claim.judgements:
            name = tex_words(j.id).replace(".", r".\allowbreak{}").replace(r"\_", r"\_\allowbreak{}")
            cells = (scorecard.number(j.paper), scorecard.ours(j), j.verdict_in_words)
            lines.append(" & ".join([name, *map(tex_words, cells)]) + r" \\")
    return "\n".join([*lines, r"\end{longtable}", ""])


def tex_words(text: str) -> str:
    """Plain text, escaped for LaTeX."""
    return _signs("".join(SPECIAL.get(letter, letter) for letter in text))


def _signs(text: str) -> str:
    for sign, command in SIGNS.items():
        text = text.replace(sign, command)
    return text


# --- composed figures -------------------------------------------------------------------------------------------------


def _figures(judgements: Sequence[Judgement], exhibits: Sequence[Exhibit]) -> list[tuple[str, Figure]]:
    figures = [("scorecard", _tabulate("Scorecard", [scorecard.table(judgements)]))]
    for exhibit in exhibits:
        if exhibit.charts:
            figures.append((exhibit.id, _compose(exhibit)))
        if exhibit.tables:
            figures.append((exhibit.id, _tabulate(_heading(exhibit), exhibit.tables, _foot(exhibit))))
    return figures


def _heading(exhibit: Exhibit) -> str:
    return f"{exhibit.name}. {exhibit.title} ({exhibit.seeds})"


def _foot(exhibit: Exhibit) -> str:
    return f"{exhibit.setting} {exhibit.note}".strip()


def _under(exhibit: Exhibit) -> str:
    r"""The note under a table in LaTeX: a paragraph in small letters."""
    return f"\n\\par{{\\footnotesize {tex_words(_foot(exhibit))}\\par}}\n"


def _compose(exhibit: Exhibit) -> Figure:
    """A figure with all charts of an exhibit side by side, titles above and settings below."""
    charts = exhibit.charts
    across = min(ACROSS, len(charts))
    lines = [charts[k : k + across] for k in range(0, len(charts), across)]
    heights = [max(draw.height(c) + TITLE * len(_title(c)) for c in line) for line in lines]
    width = draw.WIDTH * across + 0.1
    heading = textwrap.wrap(_heading(exhibit), math.floor(width * 14))
    top = 0.1 + 0.16 * len(heading)
    foot = textwrap.wrap(_foot(exhibit), math.floor(width * 16))
    bottom = 0.1 + 0.14 * len(foot)
    figure = Figure(figsize=(width, top + sum(heights) + bottom))
    parts: Any = figure.subfigures(3, 1, height_ratios=[top, sum(heights), bottom])
    above, body, below = parts
    above.text(0.01, 0.5, "\n".join(heading), va="center", fontsize=9)
    below.text(0.01, 0.5, "\n".join(foot), va="center", fontsize=7.5)
    grid: Any = body.subfigures(len(lines), across, squeeze=False, height_ratios=heights)
    for place, chart in zip(grid.flat, [c for line in lines for c in line], strict=False):
        _titled(place, chart)
    return figure


def _title(chart: Chart) -> list[str]:
    return textwrap.wrap(chart.title, math.floor(draw.WIDTH * 15))


def _titled(place: Any, chart: Chart) -> None:
    title = _title(chart)
    above, below = place.subfigures(2, 1, height_ratios=[TITLE * len(title), draw.height(chart)])
    above.text(0.02, 0.5, "\n".join(title), va="center", fontsize=8)
    draw.paint(below, chart)


def _tabulate(heading: str, tables: Sequence[Table], foot: str = "") -> Figure:
    """A figure with tables as text and a last paragraph. Columns are as wide as their longest cell."""
    columns = [[max(_length(row[k]) for row in [t.head, *t.rows]) for k in range(len(t.head))] for t in tables]
    width = max(5.0, max((sum(c) + 2 * len(c) for c in columns), default=0) * 0.068)
    last = textwrap.wrap(foot, math.floor(width * 15))
    lines = sum(sum(_lines(row) for row in t.rows) + 2.5 for t in tables) + 1.5 + len(last)
    figure = Figure(figsize=(width, 0.2 + 0.17 * lines))
    figure.text(0.01, 1 - 0.1 / figure.get_figheight(), heading, va="top", fontsize=9)
    y = 1.5
    for table, widths in zip(tables, columns, strict=True):
        y = _write_table(figure, table, widths, y)
    if last:
        figure.text(0.01, 1 - (0.1 + 0.17 * y) / figure.get_figheight(), "\n".join(last), va="top", fontsize=7.5)
    return figure


LINE_LENGTH = 60  # letters of a cell


def _length(cell: str) -> int:
    return min(len(cell), LINE_LENGTH)


def _lines(row: Sequence[str]) -> int:
    return max(math.ceil(len(cell) / LINE_LENGTH) for cell in row if cell) if any(row) else 1


def _write_table(figure: Figure, table: Table, widths: Sequence[int], y: float) -> float:
    """Writes a table whose first line is y lines below the top; returns the line below it."""
    tall, wide = figure.get_figheight(), figure.get_figwidth()
    rows = [(table.title, *[""] * (len(widths) - 1)), table.head, *table.rows]
    for number, row in enumerate(rows):
        x = 0.08
        for cell, width in zip(row, widths, strict=True):
            text = cell if number == 0 else textwrap.fill(cell, LINE_LENGTH)
            weight = "bold" if number == 0 else "normal"
            figure.text(x / wide, 1 - (0.1 + 0.17 * y) / tall, text, va="top", fontsize=7.5, fontweight=weight)
            x += (width + 2) * 0.068
        y += 1 if number < 2 else _lines(row)
    return y + 0.5
