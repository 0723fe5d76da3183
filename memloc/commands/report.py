"""`memloc report`: what a store says about a paper, on one page, or as figures and tables for publications."""

from __future__ import annotations

import sys
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from memloc.commands import options
from memloc.commands.output import check_ending, write_whole
from memloc.errors import UsageError

if TYPE_CHECKING:
    from memloc.papers.paper import Paper

EXAMPLES = options.examples(
    "memloc report                         report.html of all in ./memloc-store",
    "memloc report demo -o demo.pdf --format pdf",
    "memloc report --figure 3 --width 3.25in --font serif",
    "memloc report --format latex -o figures",
)
NEEDS = ("altair", "vl_convert", "pypdf", "PIL")


class Format(StrEnum):
    """How the report, or a figure of it, is written."""

    html = "html"
    pdf = "pdf"
    svg = "svg"
    latex = "latex"
    md = "md"


class Font(StrEnum):
    """The letters of a figure."""

    sans = "sans"
    serif = "serif"
    mono = "mono"


DEFAULTS = {
    Format.html: "report.html",
    Format.pdf: "report.pdf",
    Format.svg: "report-svg",
    Format.latex: "report-latex",
    Format.md: "report.md",
}
ENDINGS = {Format.pdf: ".pdf", Format.svg: ".svg", Format.latex: ".tex"}  # of a single figure


def report(
    sweep: str = options.SWEEP,
    store: str = options.STORE,
    output: str = typer.Option(
        None, "-o", metavar="FILE", help="Default: report.html, report.pdf, report.md, or a folder report-svg, report-latex."
    ),
    format: Format = typer.Option(
        None,
        "--format",
        help="html: one offline page, the default; pdf: one file; md: words and tables; svg, latex: a folder.",
    ),
    figure: str = typer.Option(
        None, "--figure", metavar="NAME", help="One figure or table alone, without words around it: 3, table2. Default: pdf."
    ),
    width: str = typer.Option(None, "--width", metavar="W", help="Its width: 3.25in, 8cm, 80mm, 234pt. Default: 5.5in."),
    font: Font = typer.Option(None, "--font", help="Its letters. Default: sans."),
    data_dir: str = options.DATA_DIR,
    paper: str = options.PAPER,
) -> None:
    """Write the scorecard, and every figure and table of the paper that the store has data for."""
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise UsageError(f"report: needs {', '.join(missing)}; install them: pip install 'memloc[report]'")
    from memloc.papers import registry

    of_paper = registry.paper(paper)
    if figure is None:
        for name, value in (("--width", width), ("--font", font)):
            if value is not None:
                raise UsageError(f"{name} {value}: is for a single figure; add --figure")
        target = _whole(of_paper, sweep, store, output, format or Format.html, data_dir)
    else:
        target = _single(of_paper, sweep, store, output, (figure, format or Format.pdf, width, font), data_dir)
    print(f"report: {target}")


def _whole(
    paper: Paper, sweep: str | None, store: str | None, output: str | None, format: Format, data_dir: str | None
) -> Path:
    """Writes the report in its format. stderr says what its exhibits lack."""
    check_ending(output, format)
    target = Path(output or DEFAULTS[format])
    _check(target, format)
    from memloc.analysis.resolvable import reading_resolvable
    from memloc.data.directory import data_dir as directory
    from memloc.report import content, export
    from memloc.store.opening import existing

    at, html = directory(data_dir), format is Format.html
    made = reading_resolvable(existing(store), lambda reader: content.gather(reader, paper, sweep, at, html), sweep)
    for problem in made.problems:
        print(f"memloc: note: {problem}", file=sys.stderr)
    if html:
        from memloc.report.html import page

        write_whole(target, page(made).encode())
    elif format is Format.pdf:
        write_whole(target, export.document(made))
    elif format is Format.md:
        from memloc.report import markdown

        write_whole(target, markdown.document(made))
    else:
        _write_folder(target, (export.svg if format is Format.svg else export.latex)(made))
    return target


def _single(
    paper: Paper,
    sweep: str | None,
    store: str | None,
    output: str | None,
    asked: tuple[str, Format, str | None, Font | None],
    data_dir: str | None,
) -> Path:
    """Writes one figure or table. asked: its name, format, width and font."""
    from memloc.analysis.resolvable import reading_resolvable
    from memloc.data.directory import data_dir as directory
    from memloc.report import content, export
    from memloc.store.opening import existing

    name, format, width, font = asked
    id = export.exhibit_id(paper, name)
    how = export.Print(export.points(width or "5.5in"), (font or Font.sans).value)
    if format not in ENDINGS:
        raise UsageError(f"--figure {name}: is written as pdf, svg or latex, not as {format.value}")
    check_ending(output, format)
    target = Path(output or f"{id}{ENDINGS[format]}")
    _check(target, Format.pdf)
    at = directory(data_dir)
    shown = reading_resolvable(existing(store), lambda reader: content.one(reader, paper, id, at, sweep), sweep)
    write_whole(target, export.figure(shown, format.value, how))
    return target


def _check(target: Path, format: Format) -> None:
    """Raises UsageError where the target cannot be written, before anything is computed."""
    folder = format in (Format.svg, Format.latex)
    if folder and target.exists() and not target.is_dir():
        raise UsageError(f"-o {target}: is a file; --format {format.value} writes a folder")
    if not folder and target.is_dir():
        raise UsageError(f"-o {target}: is a directory; name a file")
    if not target.parent.is_dir():
        raise UsageError(f"-o {target}: there is no folder {target.parent}")


def _write_folder(target: Path, files: dict[str, bytes]) -> None:
    """Writes these files into a folder, each whole or not at all. Other files in the folder stay."""
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"-o {target}: cannot be made: {error.strerror}") from None
    for name, content in files.items():
        write_whole(target / name, content)
