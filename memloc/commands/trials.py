"""`memloc trials`: the trainings of a store or a sweep, the fields in which they differ, and how far each is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from memloc.commands import options, terminal
from memloc.commands.output import print_list

if TYPE_CHECKING:
    from memloc.analysis.trial_list import ListedTrial

EXAMPLES = options.examples(
    "memloc trials                         every training of ./memloc-store",
    "memloc trials demo --only dropout=example_tied",
    "memloc trials paper-grid --json --store s3://bucket/runs",
)


def trials(
    sweep: str = options.SWEEP,
    only: list[str] = options.ONLY,
    store: str = options.STORE,
    as_json: bool = options.JSON,
) -> None:
    """List the trainings: id, state, and the fields in which they differ. Reads the store only."""
    from memloc.analysis.trial_list import list_trials
    from memloc.store.opening import existing

    listed = list_trials(existing(store), sweep, only)
    if as_json:
        print_list(t.as_json() for t in listed)
    else:
        print(terminal.plain(render(listed)))


def render(listed: Sequence[ListedTrial]) -> str:
    """A row for each training. The fields in which all agree come last."""
    from memloc.analysis.trial_list import differing_fields
    from memloc.commands.formatting import common_fields
    from memloc.commands.text_table import text_table
    from memloc.config import written

    if not listed:
        return "no trainings yet"
    fields = [t.config.flat() for t in listed]
    differing = differing_fields([t.config for t in listed])
    cells = [["" if f.get(name) is None else written(f[name], quote=False) for name in differing] for f in fields]
    rows = [[t.trial[:8], _state(t), *line] for t, line in zip(listed, cells, strict=True)]
    return text_table(["trial", "state", *differing], rows) + "\n" + common_fields([t.config for t in listed])


def _state(listed: ListedTrial) -> str:
    """`done`, or what the training is doing: `running train, epoch 12 of 30`, `pending, epoch 6 of 10`."""
    progress = listed.progress
    if progress.state in ("done", "failed"):
        return progress.state + ("" if progress.stopped is None else f", stopped at epoch {progress.stopped}")
    at_work = ", ".join(dict.fromkeys(stage for stage, state in progress.stages if state == "running"))
    waits = ", waits for a place" if progress.waits else ""
    epoch = "" if progress.epoch is None else f", epoch {progress.epoch} of {progress.last_epoch}"
    return f"{progress.state} {at_work}".rstrip() + waits + epoch
