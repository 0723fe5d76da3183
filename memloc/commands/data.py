"""`memloc data`: which data sets there are, fetching them, checking them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from memloc.errors import MemlocError, UsageError, nearest

if TYPE_CHECKING:
    from memloc.data import NamedDataset

app = typer.Typer(help="List, fetch and check the named data sets.", rich_markup_mode=None)

_DIR = typer.Option(None, "--data-dir", metavar="DIR", help="Default: MEMLOC_DATA, else ~/.cache/memloc.")
_NAMES = typer.Argument(None, metavar="[NAME]…", help="Data sets; memloc data list shows them.")


@app.callback(invoke_without_command=True)
def _data(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("list")
def list_(data_dir: str = _DIR) -> None:
    """List the named data sets: images, sizes, and whether they are there."""
    from memloc.commands.query import text_table
    from memloc.data import SOURCES, NamedDataset, describe, directory

    where = directory.data_dir(data_dir)
    rows = []
    for name, source in SOURCES.items():
        about = source if isinstance(source, NamedDataset) else describe(name)
        there = _there(source, where) if isinstance(source, NamedDataset) else ["bundled", "scikit-learn"]
        shape = "×".join(map(str, about.shape))
        rows.append([name, shape, str(about.n_train), str(about.n_test), str(about.classes), *there])
    print(text_table(["data set", "images", "training", "test", "classes", "state", "where"], rows), end="")


def _there(dataset: NamedDataset, data_dir: Path) -> list[str]:
    """Its state, and the folder of its files."""
    missing, files = len(dataset.missing(data_dir)), len(dataset.files)
    state = "present" if not missing else "missing" if missing == files else f"partly ({files - missing} of {files} files)"
    return [state, str((data_dir / dataset.files[0].path).parent)]


@app.command("fetch")
def fetch(names: list[str] = _NAMES, data_dir: str = _DIR) -> None:
    """Download data sets, each file verified; what is there already is not downloaded again."""
    from memloc.data import SOURCES, NamedDataset, directory
    from memloc.data import fetch as fetching

    if not names:
        raise UsageError(f"data fetch: name a data set; valid: {', '.join(SOURCES)}")
    _check_names(names)
    where = directory.data_dir(data_dir)
    problems: list[str] = []
    for name in dict.fromkeys(names):
        source = SOURCES[name]
        if not isinstance(source, NamedDataset):
            print(f"{name}: bundled, nothing to fetch")
            continue
        try:
            fetching.fetch(source, where, _Screen())
        except UsageError:  # the directory cannot be written: so it is for the others
            raise
        except MemlocError as error:
            problems += error.problems
    if problems:
        raise MemlocError(*problems)


@app.command("check")
def check(names: list[str] = _NAMES, data_dir: str = _DIR) -> None:
    """Verify the checksum of every file of the named data sets (by default, of those that are there); 1 if any is wrong."""
    from memloc.data import SOURCES, NamedDataset, directory

    _check_names(names or [])
    where = directory.data_dir(data_dir)
    fine = True
    for name in dict.fromkeys(names or SOURCES):
        source = SOURCES[name]
        if not isinstance(source, NamedDataset):
            print(f"{name}: bundled, nothing to check")
        elif names or len(source.missing(where)) < len(source.files):
            fine = _check_files(source, where) and fine
        else:
            print(f"{name}: not in {where}")
    if not fine:
        raise typer.Exit(1)


def _check_names(names: Sequence[str]) -> None:
    from memloc.data import SOURCES

    wrong = [n for n in names if n not in SOURCES]
    if wrong:
        raise UsageError(*(f"{n}: no such data set; valid: {', '.join(SOURCES)}{nearest(n, SOURCES)}" for n in wrong))


def _check_files(dataset: NamedDataset, data_dir: Path) -> bool:
    """Prints a line for each file, whether it is fine; returns whether all are."""
    fine = True
    for file in dataset.files:
        forms = file.present(data_dir)
        if not forms:
            print(f"{data_dir / file.path}: missing; {dataset.how_to_fetch(data_dir)} downloads it")
            fine = False
        for path in forms:
            try:
                dataset.verified(file, path, data_dir)
                print(f"{path}: ok")
            except UsageError as error:
                print(error)
                fine = False
    return fine


class _Screen:
    """Lines on standard output, and a bar where standard error is a terminal."""

    def say(self, line: str) -> None:
        print(line, flush=True)

    @contextmanager
    def bar(self, name: str) -> Iterator[Any]:
        if not sys.stderr.isatty():
            yield False
            return
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            yield _Bar(progress, name)


class _Bar:
    """What pooch drives, as a bar of rich."""

    def __init__(self, progress: Any, name: str) -> None:
        self.total = 0  # set by pooch; 0 where the server does not say
        self.progress, self.task = progress, progress.add_task(name, total=None)

    def update(self, n: int) -> None:
        self.progress.update(self.task, advance=n, total=self.total or None)

    def reset(self) -> None:
        self.progress.reset(self.task)

    def close(self) -> None:
        pass
