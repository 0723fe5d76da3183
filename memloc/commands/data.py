"""`memloc data`: which data sets there are, fetching them, checking them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from memloc.commands import completion, options, terminal
from memloc.commands.answers import answer
from memloc.commands.own_files import loaded
from memloc.errors import MemlocError, UsageError, nearest

if TYPE_CHECKING:
    from memloc.data import NamedDataset

EXAMPLES = options.examples(
    "memloc data list                      which there are, and where",
    "memloc data fetch cifar10",
    "memloc data check                     the checksums of what is there",
    "memloc data check folder:pets         what images of your own are",
)
app = typer.Typer(help="List, fetch and check data sets, also images of your own.", epilog=EXAMPLES, rich_markup_mode=None)

_NAMES: Any = typer.Argument(
    None, metavar="NAME", help="Data sets. `memloc data list` shows them.", autocompletion=completion.data_sets
)
_CHECKED: Any = typer.Argument(
    None,
    metavar="NAME|SOURCE|FIELD=VALUE",
    help="Data sets, or images of your own such as folder:DIR, and how to read them.",
    autocompletion=completion.data_sets,
)
COLUMNS = ("n_train", "n_test", "classes", "state", "where")  # of data list, after the name and the shape of the images
LIST_EXAMPLES = options.examples("memloc data list", "memloc data list --json --data-dir /data/torchvision")
FETCH_EXAMPLES = options.examples("memloc data fetch cifar10", "memloc data fetch mnist svhn --data-dir /data")
CHECK_EXAMPLES = options.examples(
    "memloc data check                     every file that is there",
    "memloc data check cifar10 --json",
    "memloc data check folder:pets image=32x32 -o pets.png",
    "memloc data check mine --plugins mine.py",
    "memloc data check parquet:train.parquet labels=person true_label=label",
)


@app.callback(invoke_without_command=True)
def _data(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("list", short_help="List the named data sets, and whether they are there.", epilog=LIST_EXAMPLES)
def list_(data_dir: str = options.DATA_DIR, as_json: bool = options.JSON) -> None:
    """List the named data sets: images, sizes, and whether they are there."""
    from memloc.commands.text_table import text_table
    from memloc.data import SOURCES, directory

    where = directory.data_dir(data_dir)
    rows = [_listed(name, where) for name in SOURCES]
    if as_json:
        answer(json.dumps(rows, indent=1))
        return
    header = ["data set", "images", "training", "test", "classes", "state", "where"]
    cells = [["×".join(map(str, row["shape"])), *(str(row[c]) for c in COLUMNS)] for row in rows]
    print(text_table(header, [[row["dataset"], *line] for row, line in zip(rows, cells, strict=True)]), end="")


def _listed(name: str, data_dir: Path) -> dict[str, Any]:
    """One data set: shape C×H×W of its images, its sizes, whether its files are there, and in which folder."""
    from memloc.data import SOURCES, NamedDataset, describe

    source = SOURCES[name]
    about = source if isinstance(source, NamedDataset) else describe(name)
    state, where = "bundled", "scikit-learn"
    if isinstance(source, NamedDataset):
        missing, files = len(source.missing(data_dir)), len(source.files)
        partly = f"partly ({files - missing} of {files} files)"
        state = "present" if not missing else "missing" if missing == files else partly
        where = str((data_dir / source.files[0].path).parent)
    return {
        "dataset": name,
        "shape": list(about.shape),
        "n_train": about.n_train,
        "n_test": about.n_test,
        "classes": about.classes,
        "state": state,
        "where": where,
    }


@app.command("fetch", short_help="Download data sets; each file is verified.", epilog=FETCH_EXAMPLES)
def fetch(names: list[str] = _NAMES, data_dir: str = options.DATA_DIR) -> None:
    """Download data sets, each file verified; what is there already is not downloaded again."""
    from memloc.data import SOURCES, NamedDataset, directory
    from memloc.data import fetch as fetching

    if not names:
        raise UsageError(f"data fetch: name a data set; valid: {', '.join(SOURCES)}")
    _check_names(names, list(SOURCES))
    where = directory.data_dir(data_dir)
    problems: list[str] = []
    for name in dict.fromkeys(names):
        source = SOURCES[name]
        if not isinstance(source, NamedDataset):
            print(f"{name}: bundled, nothing to fetch")
            continue
        try:
            fetching.fetch(source, where, _Screen())
        except UsageError:  # the directory cannot be written, for the other data sets too
            raise
        except MemlocError as error:
            problems += error.problems
    if problems:
        raise MemlocError(*problems)


@app.command("check", short_help="Verify checksums; say what images of your own are.", epilog=CHECK_EXAMPLES)
def check(
    names: list[str] = _CHECKED,
    data_dir: str = options.DATA_DIR,
    output: str = typer.Option(None, "-o", metavar="FILE.png", help="A contact sheet of images of your own."),
    plugins: list[str] = typer.Option(
        [],
        "--plugins",
        metavar="FILE",
        help="A Python file that registers a data set, or a module. Give it several times for more.",
    ),
    skip_broken: bool = typer.Option(False, "--skip-broken", help="Leave out images that cannot be read."),
    as_json: bool = options.JSON,
) -> None:
    """Verify the checksums of named data sets (by default, of those that are there); say what images of your own are.

    The exit code is 1 if a checksum is wrong.
    """
    from memloc.commands import data_check
    from memloc.data import KINDS, directory

    loaded(plugins)
    by_name, own, fields = data_check.sorted_out(names or [])
    _check_names(by_name, [kind.FORM or name for name, kind in KINDS.items()])
    data_check.check_sheet(output, own)
    if fields and not own:
        raise UsageError(f"{fields[0]}: is a field of images of your own; name them too, such as folder:DIR")
    of_own = [data_check.checked(source, output) for source in data_check.sources(own, fields, skip_broken)]
    checked = [*(_checked(by_name, directory.data_dir(data_dir)) if by_name or not own else []), *of_own]
    said = "\n".join(str(entry["says"]) for entry in checked)
    answer(json.dumps(checked, indent=1) if as_json else terminal.plain(said))
    if not all(entry["ok"] for entry in checked):
        raise typer.Exit(1)


def _checked(names: Sequence[str], where: Path) -> list[dict[str, Any]]:
    """The files of the named data sets, or of all; where: the data directory."""
    from memloc.data import SOURCES, NamedDataset

    checked: list[dict[str, Any]] = []
    for name in dict.fromkeys(names or SOURCES):
        source = SOURCES[name]
        if not isinstance(source, NamedDataset):
            checked.append({"dataset": name, "file": None, "ok": True, "says": f"{name}: bundled, nothing to check"})
        elif names or len(source.missing(where)) < len(source.files):
            checked += [{"dataset": name, **file} for file in _checked_files(source, where)]
        else:
            checked.append({"dataset": name, "file": None, "ok": True, "says": f"{name}: not in {where}"})
    return checked


def _check_names(names: Sequence[str], valid: Sequence[str]) -> None:
    """Raises UsageError for what is no named data set. valid: what can be written here."""
    from memloc.config import written_for
    from memloc.data import KINDS, SOURCES

    wrong = [n for n in names if n not in SOURCES]
    if wrong:
        hints = {name: written_for(name, KINDS) or nearest(name, SOURCES) for name in wrong}
        raise UsageError(*(f"{n}: no such data set; valid: {', '.join(valid)}{hints[n]}" for n in wrong))


def _checked_files(dataset: NamedDataset, data_dir: Path) -> Iterator[dict[str, Any]]:
    """Each file: its path, whether it has the pinned checksum, and the result in words."""
    for file in dataset.files:
        forms = file.present(data_dir)
        if not forms:
            path = data_dir / file.path
            yield {"file": str(path), "ok": False, "says": f"{path}: missing; {dataset.how_to_fetch(data_dir)} downloads it"}
        for path in forms:
            try:
                dataset.verified_content(file, path, data_dir)
                yield {"file": str(path), "ok": True, "says": f"{path}: ok"}
            except UsageError as error:
                yield {"file": str(path), "ok": False, "says": str(error)}


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
    """A progress bar of rich with the interface that pooch needs."""

    def __init__(self, progress: Any, name: str) -> None:
        self.total = 0  # set by pooch; 0 where the server does not say
        self.progress, self.task = progress, progress.add_task(name, total=None)

    def update(self, n: int) -> None:
        self.progress.update(self.task, advance=n, total=self.total or None)

    def reset(self) -> None:
        self.progress.reset(self.task)

    def close(self) -> None:
        pass
