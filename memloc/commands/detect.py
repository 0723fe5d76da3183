"""`memloc detect`: the likely mislabeled examples of a data set, as a table, as files, and as a page to look through."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import typer

from memloc.commands import completion, options, terminal
from memloc.commands.answers import answer
from memloc.commands.closing import Launched, Telling, close
from memloc.commands.durations import in_seconds
from memloc.commands.launch import launch, preview
from memloc.commands.launch_options import DeviceName, ExecutorName, Options, TrialSelection
from memloc.commands.output import write_whole
from memloc.commands.own_files import loaded
from memloc.errors import UsageError
from memloc.invocation import at_store, program

if TYPE_CHECKING:
    from memloc.data import Source
    from memloc.report.suspects import Found

EXAMPLES = options.examples(
    "memloc detect folder:photos           images in a folder per class",
    "memloc detect npz:mine.npz --epochs 30 -o found",
    "memloc detect digits                  images that are bundled",
    "memloc detect parquet:train.parquet --model timm:resnet18 --seeds 5",
    "memloc detect mine --plugins mine.py  a data set that mine.py registers",
)
SHOWN = 10  # suspects that are printed
OWN = ("noise", "seed", "noise_seed", "ratio", "cut", "truth")  # fields that the sweep of `detect` sets itself
DRAWS = ("subset", "data_seed", "wrong", "noise_count")  # fields that decide which examples and labels a training sees


def detect(
    data: str = typer.Argument(
        ...,
        metavar="DATA",
        help="A data set such as cifar10, or images of your own: folder:DIR, npz:FILE, csv:FILE, … (docs/data.md).",
        autocompletion=completion.data_sets,
    ),
    fields: list[str] = typer.Argument(
        None, metavar="FIELD=VALUE…", help="Fields of the trainings, as for a sweep: width=1, batch_size=256, subset=5000."
    ),
    model: str = typer.Option(
        None, "--model", metavar="MODEL", help="The network. Default: resnet9 at a quarter of its width."
    ),
    seeds: int = typer.Option(
        3, "--seeds", min=1, max=100, help="Trainings with planted labels. One without any comes on top."
    ),
    epochs: int = typer.Option(None, "--epochs", min=1, help="Of a training; default: 20."),
    top: int = typer.Option(
        None, "--top", min=1, help="Rows of suspects.csv and of the page; default: twice the estimate, at least 100."
    ),
    flips: bool = typer.Option(False, "--flips", help="Also search each example's neurons, which takes far longer."),
    out_of_sample: bool = typer.Option(
        False, "--out-of-sample", help="Judge each example by networks that have not seen it: five times the trainings."
    ),
    plugins: list[str] = typer.Option(
        [],
        "--plugins",
        metavar="FILE",
        help="A Python file that registers DATA, or a module. Give it several times for more.",
    ),
    output: str = typer.Option(None, "-o", metavar="FOLDER", help="Where the files go; default: detect-NAME."),
    store: str = options.STORE,
    data_dir: str = options.DATA_DIR,
    address: str = options.ADDRESS,
    executor: ExecutorName = options.EXECUTOR,
    cpus: int = options.CPUS,
    gpus: int = options.GPUS,
    device: DeviceName = options.DEVICE,
    gpus_per_trial: float = options.GPUS_PER_TRIAL,
    storage_patience: str = options.STORAGE_PATIENCE,
    dry_run: bool = typer.Option(False, "--dry-run", help="List the trainings and what they cost; run nothing."),
    as_json: bool = options.JSON,
) -> None:
    """Train on a data set, and rank its examples by how likely their labels are wrong."""
    from memloc.commands.sweep import resources
    from memloc.data.directory import data_dir as directory
    from memloc.sweep.detecting import Detecting

    origins = loaded(plugins)
    given = {"dataset": data, "model": model, "epochs": epochs}
    typed = [*(f"{name}={value}" for name, value in given.items() if value is not None), *(fields or [])]
    _check(typed)
    typed += _as_given(data, {field.partition("=")[0] for field in typed})
    if flips and out_of_sample:
        raise UsageError("--flips: searches networks that have seen the example; leave out --out-of-sample or --flips")
    where = resources(address, executor, {"cpus": cpus, "gpus": gpus, "gpus_per_trial": gpus_per_trial}, device)
    patience = in_seconds("--storage-patience", storage_patience)
    how = Options(store, directory(data_dir), executor, where, None, as_json, patience)
    name = f"detect-{_stem(data)}"
    target = Target(Path(output or name), name, top)
    target.check()
    detecting = Detecting(seeds, flips, out_of_sample)
    target.check_data(detecting.text(data, shlex.join(typed)))
    telling = Telling(partial(_found, target), partial(_steps, target), False)
    with target.sweep(lambda folder: detecting.text(data, shlex.join(typed), _below(folder, origins)), dry_run) as sweep:
        selection = TrialSelection(sweep.path, typed, [], None, False)
        if dry_run:
            preview(selection, how)
        else:
            launch(selection, how, partial(close, telling=telling), sweep.keep)


def _check(typed: Sequence[str]) -> None:
    """Raises UsageError if `detect` sets a field itself, or if the trainings would see several data sets."""
    from memloc.data import KINDS
    from memloc.stages import REGISTRY
    from memloc.sweep.block import COMMAND_LINE
    from memloc.sweep.checker import Checker
    from memloc.sweep.command_line import is_several
    from memloc.sweep.command_line import typed as value_of

    of_data = {*DRAWS, *(name for kind in KINDS.values() for name in kind.model_fields)}
    for given in typed:
        name, _, text = given.partition("=")
        if name in OWN:
            raise UsageError(f"{given}: detect sets {', '.join(OWN)} itself (--seeds says how often); leave it out")
        if name in of_data and is_several(Checker(REGISTRY, None), name, value_of(text, f"{COMMAND_LINE}{name}")):
            raise UsageError(f"{given}: all trainings of detect judge the same labels; give one value of {name}")


def _stem(data: str) -> str:
    """What names a data set in a file: `photos` for `folder:/home/me/photos`."""
    last = data.rstrip("/").rpartition(":")[2].rpartition("/")[2]
    return re.sub(r"[^\w-]+", "-", last.partition(".")[0]).strip("-") or "data"


def _below(folder: Path, origins: Collection[str]) -> list[str]:
    """Plugins as a sweep file in this folder names them: what is passed on has no folder of this machine, if it can."""
    from memloc.own_code import is_path

    return [os.path.relpath(origin, folder.resolve()) if is_path(origin) else origin for origin in origins]


def _as_given(data: str, typed: Collection[str]) -> list[str]:
    """The values with which every label is learned as it is given, but for fields that are typed."""
    from memloc.data.source import every_label_as_given

    kind = _kind(data)
    values = {} if kind is None else every_label_as_given(kind)
    return [f"{name}={value}" for name, value in values.items() if name not in typed]


def _kind(data: str) -> type[Source] | None:
    from memloc.data import KINDS

    return KINDS.get(data) or KINDS.get(data.partition(":")[0] + ":")


@dataclass(frozen=True)
class Target:
    """Where the files go. name: of the sweep. top: how many suspects `suspects.csv` and the page have; None: the default."""

    folder: Path
    name: str
    top: int | None

    def check(self) -> None:
        """Raises UsageError where there can be no such folder, before anything is computed."""
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"-o {self.folder}: is a file; name a folder")
        if not self.folder.parent.is_dir():
            raise UsageError(f"-o {self.folder}: there is no folder {self.folder.parent}")

    def check_data(self, text: str) -> None:
        """Raises UsageError if the folder has the files of another data set than the sweep with this text."""
        from memloc.sweep.detecting import data_of

        data = data_of(text) or ""
        if _kind(data) is None:  # no such data set: the plan says so
            return
        for path in (p for p in sorted(self.folder.glob("detect-*.yaml")) if p.is_file()):
            other = data_of(path.read_text(encoding="utf-8", errors="replace"))
            if other is None and path.name == f"{self.name}.yaml":
                raise UsageError(f"-o {self.folder}: {path} is not a file of detect; give another folder with -o")
            if other is not None and _absolute(other) != _absolute(data):
                raise UsageError(
                    f"-o {self.folder}: has the suspects of other data, {other} ({path.name}); give another folder with -o"
                )

    @contextmanager
    def sweep(self, text: Callable[[Path], str], dry_run: bool) -> Iterator[SweepFile]:
        """The file of the sweep. If it cannot even be planned, or is only looked at, all is as it was before.

        text: its text, for the folder that it lies in.
        """
        with ExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory())) if dry_run else self.folder
            file = SweepFile(folder / f"{self.name}.yaml")
            file.write(text(folder))
            try:
                yield file
            except UsageError:
                file.undo.close()
                raise


@dataclass(frozen=True)
class SweepFile:
    """A file that goes away again, or gets its former text back, unless it is kept."""

    path: Path
    undo: ExitStack = field(default_factory=ExitStack)

    def write(self, text: str) -> None:
        """Writes the file, and makes its folder."""
        if not self.path.parent.exists():
            self.path.parent.mkdir()
            self.undo.callback(_remove_empty, self.path.parent)
        if self.path.exists():
            self.undo.callback(write_whole, self.path, self.path.read_bytes())
        else:
            self.undo.callback(self.path.unlink, missing_ok=True)
        write_whole(self.path, text.encode())

    def keep(self) -> None:
        """From here on it stays, whatever happens."""
        self.undo.pop_all()


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # somebody has put a file there
        folder.rmdir()


def _absolute(data: str) -> str:
    """A data set by the absolute paths of its files."""
    kind = _kind(data)
    try:
        return data if kind is None else kind.absolute(data, Path.cwd())
    except (OSError, RuntimeError, ValueError):  # no path: the plan says so
        return data


def _found(target: Target, launched: Launched, options: Options) -> None:
    """Writes the files and prints what was found."""
    from memloc.report.suspects import csv, find, page, parquet

    trials = {trial.id: trial.config for trial in launched.plan.trials}
    found = find(launched.store, launched.record, trials, launched.plan.trials[0].data, options.data_dir)
    top = target.top or max(2 * found.suspects.number, 100)
    write_whole(target.folder / "suspects.csv", csv(found, top).encode())
    write_whole(target.folder / "suspects.parquet", parquet(found))
    write_whole(target.folder / "suspects.html", page(found, top, target.name).encode())
    if options.as_json:
        answer(json.dumps(found.as_json(SHOWN)))
    else:
        print(terminal.plain(_told(found, launched)), end="")


def _steps(target: Target, launched: Launched, options: Options) -> str:
    sql = "SELECT * FROM leaderboard WHERE NOT noisy ORDER BY mean_prob - alternative_prob"
    at = f'{program()} query "{sql}" --sweep {launched.name}{at_store(options.store)}'
    return (
        f"Next: open {target.folder}/suspects.html (y and n judge a label; the page exports what you judged)\n      {at}\n"
    )


def _told(found: Found, launched: Launched) -> str:
    """The findings in a few sentences, and the first suspects as a table."""
    from memloc.commands.prose import wrapped
    from memloc.commands.text_table import text_table

    lines = [line for sentence in found.sentences() for line in wrapped(sentence)]
    rows = found.rows(SHOWN)
    header = [name for name in rows[0] if any(row[name] for row in rows)]
    return "\n".join(lines) + "\n\n" + text_table(header, [[row[name] for name in header] for row in rows]) + "\n"
