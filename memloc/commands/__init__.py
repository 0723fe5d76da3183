"""The command line: a file per command. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import gc
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import typer
import typer.core
import typer.main
from typer.exceptions import TyperException

from memloc.commands import (
    answers,
    claims,
    data,
    detect,
    doctor,
    model,
    options,
    query,
    report,
    status,
    stop,
    store,
    store_compact,
    store_export,
    store_gc,
    store_import,
    store_rm,
    submit,
    sweep,
    terminal,
    trials,
)
from memloc.commands.prose import wrapped
from memloc.commands.restart import go_on_in_a_new_process
from memloc.errors import DeviceError, MemlocError, MemlocWarning
from memloc.interruption import whole_orders

EXAMPLES = options.examples(
    "memloc sweep demo                     trains networks and analyses them",
    "memloc status                         how far it is, from any shell",
    "memloc report                         figures and tables, as report.html",
    'memloc query "SELECT * FROM trials"   the numbers behind them',
)

ABOUT = """Where in a neural network do memorized examples live? The experiments of Maini et al. (ICML 2023).

A sweep is a file with trainings and analyses of them. `memloc sweep` runs one and writes its results into a store, which
is a folder or a bucket. The other commands read that store."""


class Program(typer.core.TyperGroup):
    """The commands. An order to stop ends any of them with one line: Typer itself would end without a word."""

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        """Parses the arguments."""
        with _one_line():
            return super().make_context(*arguments, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command that the arguments name."""
        with _one_line():
            return super().invoke(ctx)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        with whole_orders(typer.Exit, TyperException):
            yield
    except KeyboardInterrupt:
        print("memloc: interrupted", file=sys.stderr)
        raise typer.Exit(130) from None


# These make many objects, and all of them stay. Python's collector would look at them again and again: a third of the time.
READING, MANY_OBJECTS = ("status", "trials", "store", "query", "claims", "report"), 100_000

app = typer.Typer(
    name="memloc",
    cls=Program,
    help=ABOUT,
    epilog=EXAMPLES,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("sweep", short_help="Run a sweep, or go on with it.", epilog=sweep.EXAMPLES, cls=sweep.SweepCommand)(sweep.sweep)
app.command("status", epilog=status.EXAMPLES)(status.status)
app.command("stop", short_help="End runs in good order, as Ctrl-C does.", epilog=stop.EXAMPLES)(stop.stop)
app.command(
    "doctor", short_help="Say what would keep a sweep from running well.", epilog=doctor.EXAMPLES, cls=sweep.SweepCommand
)(doctor.doctor)
app.command("submit", epilog=submit.EXAMPLES, cls=sweep.SweepCommand)(submit.submit)
app.command("trials", short_help="List the trainings, and how far each is.", epilog=trials.EXAMPLES)(trials.trials)
app.command("query", epilog=query.EXAMPLES, cls=query.QueryCommand)(query.query)
app.command("report", short_help="Write the figures and tables, as a page or as files.", epilog=report.EXAMPLES)(
    report.report
)
app.command("claims", short_help="Judge the paper's claims on what was run.", epilog=claims.EXAMPLES)(claims.claims)
app.command("model", short_help="Show a network, and what each stage can do with it.", epilog=model.EXAMPLES)(model.model)
app.command("detect", short_help="Find the likely wrong labels of a data set.", epilog=detect.EXAMPLES)(detect.detect)
app.add_typer(data.app, name="data")
store.app.command("compact", epilog=store_compact.EXAMPLES)(store_compact.compact)
store.app.command("gc", short_help="Remove what nothing needs any more.", epilog=store_gc.EXAMPLES)(store_gc.gc)
store.app.command(
    "export", short_help="Write trainings into one file, for `memloc store import`.", epilog=store_export.EXAMPLES
)(store_export.export_trials)
store.app.command("import", epilog=store_import.EXAMPLES)(store_import.import_trials)
store.app.command("rm", short_help="Remove a sweep, and all that no other sweep needs.", epilog=store_rm.EXAMPLES)(
    store_rm.rm
)
app.add_typer(store.app, name="store")


def _version(value: bool) -> None:
    if value:
        from memloc.version import VERSION

        print(f"memloc {VERSION}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _memloc(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version and exit."),
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
    if context.invoked_subcommand in READING:
        gc.set_threshold(MANY_OBJECTS)


def main() -> None:
    """Runs the program; the user's errors and warnings are one line each, a bug keeps its traceback."""
    terminal.show_anything()
    usual = gc.get_threshold()
    try:
        with warnings.catch_warnings(), answers.of_program():
            warnings.showwarning = partial(_show_warning, warnings.showwarning)
            _run()
    finally:
        gc.set_threshold(*usual)


def _show_warning(usual: Callable[..., None], message: Warning | str, category: type[Warning], *rest: Any) -> None:
    if issubclass(category, MemlocWarning):
        line = terminal.plain(f"memloc: warning: {message}")
        print("\n".join(wrapped(line, "", "  ")) if sys.stderr.isatty() else line, file=sys.stderr)
    else:
        usual(message, category, *rest)


def _call() -> Any:
    try:
        return app(standalone_mode=False, prog_name="memloc")
    except FileNotFoundError:
        terminal.working_directory()  # somebody may have removed it since the program began
        raise


def _named() -> str:
    """The command that was typed, as far as there is one. Not every error of Typer knows it."""
    words = ["memloc"]
    command: Any = typer.main.get_command(app)
    for word in sys.argv[1:]:
        command = getattr(command, "commands", {}).get(word)
        if command is None:
            break
        words.append(word)
    return " ".join(words)


def _run() -> None:
    try:
        terminal.check_output()
        terminal.check_names()
        code = _call()
        answers.stream().flush()
        sys.exit(code)
    except BrokenPipeError:
        terminal.reader_left(answers.descriptors())
        sys.exit(1)  # as Typer ends, where it is the first to notice
    except TyperException as error:  # of the command line itself: a missing argument, an unknown option, a bad value
        message = " ".join(getattr(error, "format_message", error.__str__)().split()).rstrip(".")
        message = message.replace("Value error, ", "")  # pydantic's own words, in which Typer checks the values
        message = re.sub(r"\. Did you mean (.*)\?$", r" (did you mean \1?)", message)  # as memloc's own errors have it
        context = getattr(error, "ctx", None)
        print(f"memloc: {message}; see {context.command_path if context else _named()} --help", file=sys.stderr)
        sys.exit(2)
    except MemlocError as error:
        for problem in error.problems:
            print(terminal.plain(f"memloc: {problem}"), file=sys.stderr)
        if isinstance(error, DeviceError):
            go_on_in_a_new_process()
        sys.exit(error.exit_code)
    except (Exception, SystemExit) as error:
        said = _of_own_code(error)
        if said is None:
            raise
        print(terminal.plain(f"memloc: {said}"), file=sys.stderr)
        sys.exit(2)


def _of_own_code(error: BaseException) -> str | None:
    """What a file of the user's raises, in a line. Most of it is told with its place before it comes here."""
    own_code = sys.modules.get("memloc.own_code")  # else there is no such file, and importing it would take time
    said: str | None = own_code.told(error) if own_code else None
    return said
