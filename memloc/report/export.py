"""Figures and tables for publications: one PDF, a folder of SVG, or of PDF and LaTeX; and single ones."""

from __future__ import annotations

import math
import re
import textwrap
from dataclasses import dataclass
from itertools import zip_longest

from memloc.errors import UsageError
from memloc.papers.charts import Table
from memloc.papers.exhibits import Shown
from memloc.papers.paper import Paper
from memloc.report import tables
from memloc.report.content import Report, short
from memloc.report.drawing import drawing
from memloc.report.still import FONTS, SANS, Still, beside, drawn, pdf, stack, words

WIDTH = 680  # pixels of a page
UNITS = {"in": 72.0, "cm": 72 / 2.54, "mm": 72 / 25.4, "pt": 1.0, "px": 0.75}  # points
LETTER = 6.2  # pixels of a letter in a table
TEX = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "’": "'", "…": r"\ldots{}"}
    | {"–": "--", "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "√": r"$\surd$", "→": r"$\to$", "§": r"\S"}
    | {"≈": r"$\approx$", "≤": r"$\leq$", "≥": r"$\geq$", "α": r"$\alpha$", "ρ": r"$\rho$", "Δ": r"$\Delta$"}
    | {"<": "$<$", ">": "$>$", "|": "$|$"}  # usual LaTeX fonts have other signs in their places
)


@dataclass(frozen=True)
class Print:
    """How a single figure is printed. points: its width. font: a key of FONTS."""

    points: float = 5.5 * 72
    font: str = "sans"


def points(width: str) -> float:
    """`3.25in` in points.

    Raises:
        UsageError: it is no width.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?|\.\d+) *([a-z]+)", width.strip())
    if not found or found[2] not in UNITS:
        raise UsageError(f"--width {width}: is no width; write a number and {', '.join(UNITS)}, such as 3.25in")
    size = float(found[1]) * UNITS[found[2]]
    if not 72 <= size <= 2880:
        raise UsageError(f"--width {width}: must be 1in to 40in")
    return size


def exhibit_id(paper: Paper, name: str) -> str:
    """The id of a figure or table. name: `3`, `fig03`, `table2`; `15` too, if an exhibit is the paper's figures 3 and 15.

    Raises:
        UsageError: the paper has none of this name.
    """
    if not name.strip():
        raise UsageError("--figure: is empty; write the name of a figure or table, such as 3 or table2")
    exhibits = [exhibit for section in paper.sections for exhibit in section.exhibits]
    ids = [exhibit.id for exhibit in exhibits]
    wanted = f"fig{int(name):02d}" if name.isdecimal() else name
    if wanted not in ids and name.isdecimal():
        also = (e.id for e in exhibits if e.name.startswith("Figures ") and str(int(name)) in re.findall(r"\d+", e.name))
        wanted = next(also, wanted)
    if wanted not in ids:
        raise UsageError(f"--figure {name}: {paper.id} has no such figure or table; valid: {', '.join(map(short, ids))}")
    return wanted


def figure(shown: Shown, format: str, how: Print) -> bytes:
    """One exhibit without words around it. format: svg, pdf, or latex for a table.

    Charts of one exhibit stand below each other, each below what tells it from the others.

    Raises:
        UsageError: the exhibit has nothing in this format.
    """
    if format == "latex":
        if not shown.tables:
            raise UsageError(f"--figure {short(shown.exhibit.id)}: has no table; --format pdf or svg draws it")
        return "\n".join(map(tex, shown.tables)).encode()
    width, font = how.points / UNITS["px"], FONTS[how.font]
    parts = _charts(shown, width, font) or [part for table in shown.tables for part in _fitted(table, width)]
    still = stack(parts, font, width)
    size = f"{how.points:g}pt", f"{UNITS['px'] * still.height:g}pt"
    return still.svg(*size).encode() if format == "svg" else pdf([still])


def svg(report: Report) -> dict[str, bytes]:
    """{file name: content}: fig01.svg, …, table1.svg, …, scorecard.svg."""
    return {f"{name}.svg": still.svg().encode() for name, still in _pages(report)}


def document(report: Report) -> bytes:
    """A PDF with a page for the scorecard and for each exhibit."""
    return pdf([still for _, still in _pages(report)])


def latex(report: Report) -> dict[str, bytes]:
    r"""{file name: content}: a PDF per figure, for \includegraphics, and a booktabs table per table, for \input."""
    files = {"scorecard.tex": scorecard_tex(report).encode()}
    for shown in report.exhibits:
        if shown.charts:
            files[f"{shown.exhibit.id}.pdf"] = pdf([_composed(shown)])
        if shown.tables:
            note = f"\n\\par{{\\footnotesize {tex_words(shown.setting)}\\par}}\n"
            files[f"{shown.exhibit.id}.tex"] = "\n".join([*map(tex, shown.tables), note]).encode()
    return files


def _pages(report: Report) -> list[tuple[str, Still]]:
    numbers = tables.scorecard(report.judgements)
    return [("scorecard", stack([_table(numbers)])), *((s.exhibit.id, _composed(s)) for s in report.exhibits if s.run)]


def _composed(shown: Shown) -> Still:
    """An exhibit with its title above, and its setting below."""
    exhibit = shown.exhibit
    parts = [words(f"{exhibit.name}. {exhibit.title} ({shown.trainings})", WIDTH, 13, bold=True)]
    parts += [*_charts(shown, WIDTH, SANS), *map(_table, shown.tables)]
    return stack([*parts, words(shown.setting, WIDTH, 10.5)])


def _charts(shown: Shown, width: float, font: str) -> list[Still]:
    parts = []
    for k, chart in enumerate(shown.charts):
        if chart.title and len(shown.charts) > 1:
            parts.append(words(chart.title, width))
        parts.append(drawn(drawing(chart), width, f"c{k}", font))
    return parts


def _table(table: Table, width: float = WIDTH) -> Still:
    """A table as text. Columns are as wide as their longest cell. width: of the title's lines."""
    rows = [table.head, *table.rows]
    ends = [8.0]
    for k in range(len(table.head)):
        ends.append(ends[-1] + LETTER * (max(len(row[k]) for row in rows) + 2))
    lines = [words(table.title, width, bold=True), *(beside(list(zip(ends, row, strict=False))) for row in rows)]
    still = stack(lines)
    return Still(still.body, ends[-1], still.height + 8)


def _fitted(table: Table, width: float) -> list[Still]:
    """A table within a width, in letters of the same size.

    Where it is too wide, its cells have several lines, and the columns that find no place beside the names of the rows are
    below, beside these names again.
    """
    whole = _table(table, width)
    if whole.width <= width:
        return [whole]
    room, rows = math.floor((width - 8) / LETTER), [table.head, *table.rows]
    longest = min(max(len(cell) for row in rows for cell in row[1:]), room // 2 - 2)
    wrapped = [[textwrap.wrap(cell, longest, subsequent_indent="\u2002") for cell in row] for row in rows]
    sizes = [max(len(line) for cell in column for line in cell) + 2 for column in zip(*wrapped, strict=True)]
    parts = [[0]]
    for k, size in enumerate(sizes[1:], 1):
        if sum(sizes[c] for c in parts[-1]) + size > room and len(parts[-1]) > 1:
            parts.append([0])
        parts[-1].append(k)
    titles = [table.title, *("" for _ in parts[1:])]
    lines = [[line for row in wrapped for line in zip_longest(*(row[k] for k in part), fillvalue="")] for part in parts]
    return [_table(Table(title, rows[0], rows[1:]), width) for title, rows in zip(titles, lines, strict=True)]


# --- LaTeX ------------------------------------------------------------------------------------------------------------


def tex(table: Table) -> str:
    """A tabular with booktabs' rules."""
    rows = [" & ".join(map(tex_words, row)) + r" \\" for row in (table.head, *table.rows)]
    begin = rf"\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}"
    lines = [begin, r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}", ""]
    return "\n".join([f"% {tex_words(table.title)}", *lines])


def scorecard_tex(report: Report) -> str:
    """All judged numbers as a longtable, which breaks over pages: each claim has a row, with its numbers below."""
    columns = "".join(rf">{{\raggedright\arraybackslash}}p{{{width}\linewidth}}" for width in (0.34, 0.08, 0.26, 0.16))
    head = " & ".join(map(tex_words, tables.scorecard([]).head))
    lines = [r"% \usepackage{booktabs,longtable,array}", rf"\begin{{longtable}}{{{columns}}}"]
    lines += [r"\toprule", rf"{head} \\", r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot"]
    for claim in (claim for section in report.paper.sections for claim in section.claims):
        rows = tables.scorecard([j for j in report.judgements if j.claim_id == claim.id]).rows
        if rows:
            words = tex_words(f"{claim.id}. {claim.text} ({claim.where})")
            lines += [r"\addlinespace", rf"\multicolumn{{4}}{{p{{0.9\linewidth}}}}{{\bfseries {words}}} \\*"]
        for name, *cells in rows:
            broken = tex_words(name).replace(".", r".\allowbreak{}").replace(r"\_", r"\_\allowbreak{}")
            lines.append(" & ".join([broken, *map(tex_words, cells)]) + r" \\")
    return "\n".join([*lines, r"\end{longtable}", ""])


def tex_words(text: str) -> str:
    """Plain text, escaped for LaTeX."""
    return text.translate(TEX)
