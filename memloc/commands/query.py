"""`memloc query`: SQL over a store's tables."""

from __future__ import annotations

import io
import math
import sys
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from memloc.commands import completion, options, terminal
from memloc.commands.cells import as_texts, number, plain_number, readable
from memloc.commands.modes import refuse_others
from memloc.commands.output import check_ending, write_whole
from memloc.commands.text_table import text_table
from memloc.errors import UsageError

SHOWN = 40  # rows on a terminal, about a screen
EXAMPLES = options.examples(
    'memloc query "SELECT layer, epoch, noisy_acc FROM rewind" --sweep demo',
    'memloc query "FROM epochs JOIN trials t USING (trial) WHERE epoch=t.epochs"',
    'memloc query "SELECT * FROM trials" --format csv -o trials.csv',
    "memloc query --examples --sweep demo",
)


class Format(StrEnum):
    """How rows are written."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"
    latex = "latex"


class QueryCommand(TyperCommand):
    """A command whose help names the tables and views. They are looked up only for the help."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Writes the names of tables and views, then the examples."""
        from memloc.analysis.reader import known_tables
        from memloc.analysis.views import VIEWS

        for title, names in (("Tables (docs/tables.md)", known_tables()), ("Views", VIEWS)):
            with formatter.section(title):
                formatter.write_text(", ".join(names))
        super().format_epilog(ctx, formatter)


def query(
    context: typer.Context,
    sql: str = typer.Argument(None, metavar="SQL", help="One SELECT over the tables (docs/tables.md)."),
    examples: bool = typer.Option(False, "--examples", help="Print queries of what was run, ready to paste."),
    sweep: str = typer.Option(
        None,
        "--sweep",
        metavar="NAME",
        help="Only the trials and analyses of this sweep.",
        autocompletion=completion.stored_sweeps,
    ),
    partial: bool = typer.Option(False, "--partial", help="Show incomplete analyses too."),
    store: str = options.STORE,
    format: Format = typer.Option(Format.table, "--format", help="How to print the rows."),
    output: str = typer.Option(None, "-o", metavar="FILE", help="Write to a file instead of standard output."),
) -> None:
    """Ask the store: one SELECT over its tables."""
    from memloc.analysis.reading import run_sql
    from memloc.store.opening import existing

    if examples:
        refuse_others(
            context, ("examples", "sweep", "store"), "--examples prints queries and runs none; leave one of them out"
        )
        return _print_examples(sweep, store)
    if sql is None:
        raise UsageError('query: needs one SELECT, such as "SELECT * FROM trials"; --examples prints some to paste')
    check_ending(output, format)
    target = _target(output, format)
    rows = run_sql(existing(store), sql, sweep, partial)
    if target is not None:
        return write_whole(target, render(rows, format))
    some = format is Format.table and sys.stdout.isatty() and rows.num_rows > SHOWN
    content = render(rows.slice(0, SHOWN) if some else rows, format, fit=True)
    if format is Format.table:
        sys.stdout.write(terminal.plain(content.decode("utf-8")))  # for people, in the terminal's own encoding
    else:
        sys.stdout.buffer.write(content)
    if some:
        print(f"the first {SHOWN} of {rows.num_rows} rows; for all of them: --format csv, -o FILE, or | less")
    sys.stdout.flush()
    return None


def _print_examples(sweep: str | None, store: str | None) -> None:
    from memloc.commands.summary import examples
    from memloc.store.opening import existing

    print(examples(existing(store), sweep, store), end="")


def _target(output: str | None, format: Format) -> Path | None:
    if output is None:
        if format is Format.parquet:
            raise UsageError("--format parquet: is not for a terminal; name a file with -o FILE")
        return None
    target = Path(output)
    if target.is_dir():
        raise UsageError(f"-o {output}: is a directory; name a file")
    if not target.parent.is_dir():
        raise UsageError(f"-o {output}: there is no folder {target.parent}")
    return target


def render(rows: Any, format: Format, fit: bool = False) -> bytes:
    """An Arrow table as bytes in one of the formats; NULL is empty in csv and table, null in json.

    fit: a table is for standard output, and as narrow as a terminal there.
    """
    if format is Format.parquet:
        return _parquet(rows)
    from memloc.analysis.written import written

    rows = written(rows)
    if format is Format.json:
        import json

        plain = [_plain(readable(row)) for row in rows.to_pylist()]
        return (json.dumps(plain, indent=1, default=str, allow_nan=False) + "\n").encode()
    if format is Format.csv:
        import csv

        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(rows.column_names)
        writer.writerows([["" if v is None else readable(v) for v in row.values()] for row in rows.to_pylist()])
        return text.getvalue().encode()
    if format is Format.latex:
        latex: str = (
            as_texts(rows).to_pandas().to_latex(index=False, escape=True, float_format=lambda v: number(v, 4), na_rep="")
        )
        return latex.encode()
    return text_table(rows.column_names, [[_cell(v) for v in row.values()] for row in rows.to_pylist()], fit).encode()


def _parquet(rows: Any) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    try:
        pq.write_table(rows, sink)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:  # a type, and a value
        problem = " ".join(str(error).split())
        raise UsageError(f"--format parquet: {problem}; make it text, such as CAST(x AS VARCHAR)") from None
    return sink.getvalue()


def _plain(value: Any) -> Any:
    """A value for JSON: exact numbers are numbers, NaN and infinities are null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):  # an entry of a MAP is a tuple
        return [_plain(v) for v in value]
    if isinstance(value, Decimal):
        return plain_number(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return number(value, 6) if isinstance(value, float) else str(readable(value))
