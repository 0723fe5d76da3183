"""`memloc store export`: one training and its analyses in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from memloc.commands import options
from memloc.counts import counted

EXAMPLES = options.examples(
    "memloc store export 3f2a              writes TRIAL.zip",
    "memloc store export 3f2a -o best.zip --store s3://bucket/runs",
)
TRIAL: Any = typer.Argument(..., metavar="TRIAL", help="The trial's id, or the digits with which it begins (memloc trials).")
OUTPUT: Any = typer.Option(None, "-o", "--output", metavar="FILE", help="The file to write; default: TRIAL.zip.")


def export_trial(trial: str = TRIAL, output: str = OUTPUT, store: str = options.STORE) -> None:
    """Write a training's weights, configuration, tables and complete analyses into one file, for `memloc store import`."""
    from memloc.commands.output import whole_file
    from memloc.sizes import bytes_in_words
    from memloc.store import exporting
    from memloc.store.opening import existing

    opened = existing(store)
    snapshot = opened.snapshot()
    export = exporting.plan(opened, snapshot, snapshot.training(trial))
    target = Path(output or f"{export.manifest.trial}.zip")
    if target.is_dir():
        target /= f"{export.manifest.trial}.zip"
    with whole_file(target) as file:
        export.write(file)
    what = f"{counted(export.analyses, 'analysis')}, {counted(export.checkpoints, 'checkpoint')}"
    size = bytes_in_words(sum(member.size for member in export.manifest.files))
    print(f"exported trial {export.manifest.trial}: {what}, {size}: {target}")
