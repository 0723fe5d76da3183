"""`memloc store export`: trainings and their analyses in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from memloc.commands import completion, options, terminal
from memloc.counts import counted
from memloc.errors import UsageError

if TYPE_CHECKING:
    from memloc.store import Snapshot, Store
    from memloc.store.exporting import Export, Wanted

EXAMPLES = options.examples(
    "memloc store export 3f2a              writes TRIAL.zip",
    "memloc store export --sweep demo --without-weights -o results.zip",
    "memloc store export 3f2a -o best.zip --store s3://bucket/runs",
)
TRIAL: Any = typer.Argument(
    None, metavar="TRIAL", help="The trial's id, or the digits with which it begins (memloc trials)."
)
SWEEP: Any = typer.Option(
    None,
    "--sweep",
    metavar="NAME",
    help="In place of a trial: all finished trials of a sweep, with its record.",
    autocompletion=completion.stored_sweeps,
)
OUTPUT: Any = typer.Option(None, "-o", "--output", metavar="FILE", help="The file to write; default: TRIAL.zip or NAME.zip.")
WITHOUT_WEIGHTS: Any = typer.Option(
    False, "--without-weights", help="Leave the checkpoints out. What needs them later trains again."
)
OVERWRITE: Any = typer.Option(False, "--overwrite", help="Replace the file if it is there.")


def export_trials(
    trial: str = TRIAL,
    sweep: str = SWEEP,
    output: str = OUTPUT,
    without_weights: bool = WITHOUT_WEIGHTS,
    overwrite: bool = OVERWRITE,
    store: str = options.STORE,
) -> None:
    """Write trainings with their tables, complete analyses and weights into one file, for `memloc store import`."""
    from memloc.commands.output import whole_file
    from memloc.store import exporting
    from memloc.store.opening import existing

    if (trial is None) == (sweep is None):
        raise UsageError("store export: name a TRIAL, or a sweep with --sweep NAME; one of the two")
    opened = existing(store)
    snapshot = opened.snapshot()
    if sweep is None:
        name, wanted, left = _of_trial(snapshot, trial, not without_weights)
    else:
        name, wanted, left = _of_sweep(opened, snapshot, sweep, not without_weights)
    target = Path(output or f"{name}.zip")
    if target.is_dir():
        target /= f"{name}.zip"
    if target.is_file() and not overwrite:
        raise UsageError(f"-o {target}: is there already; name another file, or add --overwrite")
    with whole_file(target) as file:
        export = exporting.write(opened, snapshot, wanted, file)
    print(terminal.plain(_summary(name, sweep is not None, export, target)))
    if left:
        print(f"not in it, since not finished: {counted(left, 'trial')}")


def _of_trial(snapshot: Snapshot, prefix: str, weights: bool) -> tuple[str, Wanted, int]:
    """(the trial's id, what its bundle shall have, 0)."""
    from memloc.models.architectures import TRAINING
    from memloc.store.exporting import Wanted

    trial = snapshot.training(prefix).trial
    return trial, Wanted({trial}, TRAINING.placeless, weights=weights), 0


def _of_sweep(store: Store, snapshot: Snapshot, sweep: str, weights: bool) -> tuple[str, Wanted, int]:
    """(the sweep's name, what its bundle shall have, how many trials are not finished).

    Raises:
        UsageError: there is no such sweep, or none of its trials is finished.
    """
    from memloc.analysis.superseded import current
    from memloc.analysis.sweep_records import contents_of
    from memloc.analysis.trial_states import units
    from memloc.models.architectures import TRAINING
    from memloc.store.exporting import Wanted

    records = contents_of(store, sweep)
    trials = current(records, snapshot).trials
    finished = [
        trial for trial in trials
        if not trial["waiting"] and all(snapshot.complete(parts) for _, parts in units(trial))
    ]  # fmt: skip
    if not finished:
        raise UsageError(f"{sweep}: none of its {counted(len(trials), 'trial')} is finished, so there is nothing to export")
    analyses = {analysis["analysis"] for trial in finished for analysis in trial["analyses"]}
    wanted = Wanted({trial["trial"] for trial in finished}, TRAINING.placeless, analyses, records, weights)
    return sweep, wanted, len(trials) - len(finished)


def _summary(name: str, is_sweep: bool, export: Export, target: Path) -> str:
    from memloc.sizes import bytes_in_words

    what = f"{counted(len(export.trials), 'trial')} of {name}" if is_sweep else f"trial {name}"
    content = f"{counted(export.analyses, 'analysis')}, {counted(export.checkpoints, 'checkpoint')}"
    return f"exported {what}: {content}, {bytes_in_words(export.bytes)}: {target}"
