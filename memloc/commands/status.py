"""`memloc status`: how far a sweep is, from any shell and any machine that sees the store."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import typer

from memloc.commands import options, terminal
from memloc.commands.answers import answer
from memloc.commands.prose import fitted
from memloc.errors import UsageError

EXAMPLES = options.examples(
    "memloc status                         every sweep of ./memloc-store",
    "memloc status demo --watch            one sweep, again every 5 s",
    "memloc status demo --json --store s3://bucket/runs",
)
SHOWN = 12  # trials at work, and trainings that are begun


def status(
    sweep: str = options.SWEEP,
    store: str = options.STORE,
    as_json: bool = options.JSON,
    watch: bool = typer.Option(False, "--watch", help="Look again every 5 s, until Ctrl-C. Needs a terminal."),
) -> None:
    """Show what is done, running, pending and failed. Reads the store only."""
    from memloc.analysis.sweep_status import sweep_status
    from memloc.store.opening import check_existing, existing

    if watch and (as_json or not sys.stdout.isatty()):
        raise UsageError("--watch: needs a terminal; without one, or with --json, leave it out")
    opened = existing(store)
    if watch:
        from memloc.commands.watch import watch as show

        def look() -> str:
            check_existing(opened)  # somebody may have removed it meanwhile
            return terminal.plain(render(sweep_status(opened, sweep)))

        return show(look)
    progress = sweep_status(opened, sweep)
    answer(json.dumps(progress) if as_json else terminal.plain(render(progress)))
    return None


def render(progress: Mapping[str, Any]) -> str:
    """The counts as a small table, the runs at work and their time left, trainings that have begun, and failures."""
    from memloc.counts import counted

    lines = [_counts(progress), *_at_work(progress), *_partial(progress)]
    for waiting in progress["waiting"]:
        trials = counted(waiting["trials"], "trial")
        lines.append(
            f"block {waiting['block']}: {waiting['stage']} of {trials} waits for C-scores; "
            "the sweep's --dry-run says what it needs"
        )
    lines += _superseded(progress)
    for one in progress["stopped"][:SHOWN]:
        without = f"; not run: {', '.join(one['not_run'])}" if one["not_run"] else ""
        lines.append(f"stopped: {one['trial'][:8]} after epoch {one['epoch']} ({one['rule']}){without}")
    if len(progress["stopped"]) > SHOWN:
        lines.append(f"  and {len(progress['stopped']) - SHOWN} more")
    lines = [fitted("\n".join(lines))]
    for failure in progress["failures"]:
        said = f"\nfailed: {failure['stage']} of trial {failure['trial']} on {failure['host']}: {failure['error']}"
        lines += [fitted(said), *("  " + line for line in failure["traceback"].strip().splitlines())]
    return "\n".join(lines)


def _superseded(progress: Mapping[str, Any]) -> list[str]:
    """A line about what older launches of a sweep have left undone, and a later one has planned anew."""
    from memloc.counts import counted

    old = progress["superseded"]
    named = [counted(old[name], noun) for name, noun in (("trainings", "training"), ("analyses", "analysis")) if old[name]]
    if not named:
        return []
    return [f"not counted: {' and '.join(named)} of older launches, which a later launch has planned anew (memloc store ls)"]


def _counts(progress: Mapping[str, Any]) -> str:
    from memloc.analysis.trial_states import STATES
    from memloc.commands.text_table import text_table

    rows = [["trials", *(str(progress["counts"][s]) for s in STATES), ""]]
    for stage, counts in progress["stages"].items():
        parts = progress["progress"][stage]
        done = f"{parts['parts_done']} of {parts['parts']}" if stage != "train" else ""
        rows.append([f"  {stage}", *(str(counts[s]) for s in STATES), done])
    return text_table(["", *STATES, "parts"], rows).rstrip()


def _at_work(progress: Mapping[str, Any]) -> list[str]:
    """A line for every run, and one for every trial that it works on."""
    if not progress["runs"] and not progress["at_work"]:
        return []
    from memloc.commands.formatting import seconds_in_words

    lines = []
    for run in progress["runs"]:
        heard = f"last heartbeat {seconds_in_words(run['heard_seconds_ago'])} ago"
        eta = f", about {seconds_in_words(run['eta_seconds'])} to go" if run["eta_seconds"] else ""
        lines.append(f"run {run['run']} on {run['host']}: {run['state']}{eta} ({heard})")
    for trial in progress["at_work"][:SHOWN]:
        lines.append(f"  {trial['trial'][:8]} {_doing(trial)}")
    if len(progress["at_work"]) > SHOWN:
        lines.append(f"  and {len(progress['at_work']) - SHOWN} more trials")
    return lines


def _doing(trial: Mapping[str, Any]) -> str:
    """What a trial is doing, where, and the time of its last news."""
    from memloc.commands.formatting import clock_in_words, metrics_in_words, seconds_in_words

    if trial["state"] == "storage":
        since = clock_in_words(time.time() - (trial["news_seconds_ago"] or 0.0))
        return f"waiting for storage since {since}: {trial['fault']}"
    host = trial["host"] or "an unknown machine"
    stages = ", ".join(trial["stages"] or ["the last parts"])
    if trial["state"] == "waiting" and trial["fault"]:
        what = f"{stages} {trial['fault']}"
    elif trial["state"] == "waiting":
        what = "its training waits for a place" if stages == "train" else f"{stages}: waits for a place"
    elif trial["state"] == "starting":
        what = f"its training's process is starting on {host}"
    elif trial["stages"] == ["train"] and trial["epoch"] is not None:
        begun = f", from epoch {trial['from_epoch']} on" if trial["from_epoch"] else ""
        last = f" of {trial['epochs']}" if trial["epochs"] else ""
        what = f"epoch {trial['epoch']}{last}{begun} on {host}"
        what = f"trains again, since a checkpoint is gone: {what}" if trial["replays"] else what
        what += f": {metrics_in_words(trial['metrics'])}" if trial["metrics"] else ""
    else:
        what = stages
    news = trial["news_seconds_ago"]
    return what if news is None else f"{what}; last news {seconds_in_words(news)} ago"


def _partial(progress: Mapping[str, Any]) -> list[str]:
    """The trainings that have begun and that no run works on."""
    busy = {trial["trial"] for trial in progress["at_work"]}
    idle = [training for training in progress["partial"] if training["trial"] not in busy]
    lines = [f"  {t['trial'][:8]} epoch {t['epoch']} of {t['epochs']}" for t in idle[:SHOWN]]
    if len(idle) > SHOWN:
        lines.append(f"  and {len(idle) - SHOWN} more")
    head = "These trainings have begun and no run is working on them. The command that began them continues them:"
    return [head, *lines] if lines else []
