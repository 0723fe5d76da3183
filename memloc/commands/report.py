"""`memloc report`: what a store says about the paper, on one page, or as figures and tables for publications."""

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
    from memloc.analysis.reader import Reader

EXAMPLES = options.examples(
    "memloc report                         report.html of all in ./memloc-store",
    "memloc report demo -o demo.pdf --format pdf",
    "memloc report --format latex -o figures",
)
NEEDS = ("matplotlib", "altair", "vl_convert", "PIL")


class Format(StrEnum):
    """How the report is written."""

    html = "html"
    pdf = "pdf"
    svg = "svg"
    latex = "latex"


DEFAULTS = {Format.html: "report.html", Format.pdf: "report.pdf", Format.svg: "report-svg", Format.latex: "report-latex"}


def report(
    sweep: str = options.SWEEP,
    store: str = options.STORE,
    output: str = typer.Option(
        None, "-o", metavar="FILE", help="Default: report.html, report.pdf, or a folder report-svg, report-latex."
    ),
    format: Format = typer.Option(
        Format.html, "--format", help="html: one offline page; pdf: one file; svg, latex: a folder."
    ),
    data_dir: str = options.DATA_DIR,
) -> None:
    """Write the scorecard, and every figure and table of the paper that the store has data for."""
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise UsageError(f"report: needs {', '.join(missing)}; install them: pip install 'memloc[report]'")
    check_ending(output, format)
    target = Path(output or DEFAULTS[format])
    _check(target, format)
    _make(target, format, sweep, store, data_dir)
    print(f"report: {target}")


def _make(target: Path, format: Format, sweep: str | None, store: str | None, data_dir: str | None) -> None:
    """Judges the claims, makes the exhibits, and writes both in the format. stderr says what the exhibits lack."""
    from memloc.analysis.findings import findings_of
    from memloc.analysis.reading import reading
    from memloc.analysis.resolvable import resolvable
    from memloc.data.directory import data_dir as directory
    from memloc.papers.maini2023 import Judgement, judgements
    from memloc.report.charts import Exhibit
    from memloc.report.exhibits import exhibits
    from memloc.report.source import Source
    from memloc.store.opening import existing

    def make(reader: Reader) -> tuple[list[Judgement], list[Exhibit], list[str], list[tuple[str, str]]]:
        source = Source(reader, directory(data_dir))
        examples = [(finding.title, finding.sql) for finding in findings_of(reader)]
        return judgements(reader), exhibits(source), source.problems, examples

    judged, made, problems, examples = reading(resolvable(existing(store), sweep), make, sweep)
    for problem in problems:
        print(f"memloc: note: {problem}", file=sys.stderr)
    if format is Format.html:
        from memloc.report.html import page

        write_whole(target, page(judged, made, sweep, examples).encode())
    else:
        from memloc.report import export

        if format is Format.pdf:
            write_whole(target, export.pdf(judged, made))
        else:
            _write_folder(target, (export.svg if format is Format.svg else export.latex)(judged, made))


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
