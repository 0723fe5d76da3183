"""`memloc sweep --dry-run`: what a sweep would do and cost, without doing any of it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from memloc.commands.answers import stream
from memloc.commands.device import expected_numerics
from memloc.commands.forecast import believed, forecasts, in_words, path_as_json
from memloc.commands.formatting import common_fields, labeller
from memloc.commands.prose import fitted
from memloc.commands.text_table import text_table
from memloc.config import TrainConfig
from memloc.counts import counted
from memloc.models.architectures import TRAINING
from memloc.run.card_memory import demands, largest
from memloc.run.pending import Work, pending
from memloc.run.plan import Plan
from memloc.run.quantities import checkpoint_bytes, result_bytes, states_bytes
from memloc.sizes import bytes_in_words
from memloc.store import Snapshot, Store

if TYPE_CHECKING:
    from memloc.commands.launch_options import Options

SHOWN = 40


def dry_run(plan: Plan, store: Store, options: Options) -> None:
    """Prints the trials, how much of them is committed, bytes and time."""
    # A dry run makes no store, so there may be none yet.
    there = store.files.exists()
    snapshot = store.snapshot() if there else Snapshot({}, {}, [])
    bits = expected_numerics(options, dry_run=True)
    works = pending(plan, store, snapshot, options.retention, set_aside=False, numerics=bits)
    forecast = forecasts(works, snapshot, options)
    here = forecast[0]
    totals = {
        "trials": len(works),
        "done": sum(_done(w) for w in works),
        "trainings": sum(w.train != "done" for w in works),
        "replays": sum(w.train == "replay" for w in works),
        "parts": sum(len(w.parts) for w in works),
        "checkpoint_bytes": sum(checkpoint_bytes(t, options.retention) for t in plan.trials),
        "states_bytes": max((states_bytes(w.trial) for w in works if w.train != "done"), default=0),
        "result_bytes": result_bytes(plan.trials),
        "seconds": round(here.estimate.seconds, 1),
        "basis": here.estimate.basis,
        "slots": here.count,
        "critical_path": path_as_json(here.estimate.critical),
        "schedule": [f.as_json() for f in forecast],
        "calibration": forecast[-1].calibration_as_json(),
    }
    if options.as_json:
        needed = largest(demands(works, options.data_dir))
        _print_json(works, totals | {"memory": needed.as_json() if needed else None})
        return
    label = labeller([trial.config for trial in plan.trials])
    print(_trials(works, label) + _blocks(plan), end="")
    print(fitted(_totals(plan, store, totals)))
    configs = {trial.id: trial.config for trial in plan.trials}
    print(fitted("\n".join(in_words(forecast, lambda trial: label(configs[trial]), options.resources.address))))
    if headline := believed(plan.name, forecast, works, options.resources.gpus or 8):
        print(fitted(headline))
        if needed := largest(demands(works, options.data_dir)):
            print(fitted(f"memory: {needed.in_words()}"))


def _print_json(works: Sequence[Work], totals: dict[str, Any]) -> None:
    """Prints {"trials", "totals"}, a trial at a time: the text of ten thousand is never whole in memory."""
    write, between = stream().write, '{"trials": ['
    for work in works:
        write(between + json.dumps(_as_json(work)))
        between = ", "
    write(f'{"" if works else between}], "totals": {json.dumps(totals)}}}\n')


def _done(work: Work) -> bool:
    return work.train == "done" and not work.parts and not work.trial.unmet


def _as_json(work: Work) -> dict[str, Any]:
    trial = work.trial
    stages = ["train", *dict.fromkeys(a.stage for a in trial.analyses)]
    return {
        **dict.fromkeys(TRAINING),
        **trial.config.flat(),
        "trial": trial.id,
        "stages": stages,
        "done": _done(work),
        "blocks": list(trial.blocks),
        "needs": [unmet.as_json() for unmet in trial.unmet],
    }


def _state(work: Work) -> str:
    if _done(work):
        return "done"
    total = sum(len(a.parts) for a in work.trial.analyses)
    begun = f"to train from epoch {work.reached} of {work.trial.config.epochs} on" if work.reached else "to train"
    up_to = f"up to epoch {work.until}" if work.until else "from the start"
    again = f"to train again {up_to} (a checkpoint it needs is gone)"
    train = {"done": "trained", "train": begun, "replay": again}[work.train]
    needs = "".join(f", needs: {what}" for what in dict.fromkeys(u.need.what for u in work.trial.unmet))
    return (f"{train}, {len(work.parts)} of {total} parts to do" if total else train) + needs


def _trials(works: list[Work], label: Callable[[TrainConfig], str]) -> str:
    rows = [
        [
            w.trial.id[:8],
            ", ".join(w.trial.blocks),
            label(w.trial.config),
            " ".join(dict.fromkeys(a.stage for a in w.trial.analyses)),
            _state(w),
        ]
        for w in works[:SHOWN]
    ]
    text = text_table(["trial", "blocks", "training", "analyses", "state"], rows)
    return text + (f"… and {len(works) - SHOWN} more (--json lists all)\n" if len(works) > SHOWN else "")


def _blocks(plan: Plan) -> str:
    """The trainings of each block, and how many of them no earlier block has; empty if there is one block."""
    trainings = Counter(block for t in plan.trials for block in t.blocks)
    new = Counter(t.blocks[0] for t in plan.trials)
    rows = [[block, str(count), str(new[block])] for block, count in trainings.items()]
    return "\n" + text_table(["block", "trainings", "new"], rows) if len(rows) > 1 else ""


def _totals(
    plan: Plan,
    store: Store,
    totals: dict[str, Any],
) -> str:
    left = f"{counted(totals['trainings'], 'training')}{{}}, {counted(totals['parts'], 'part')}"
    again = f" ({totals['replays']} again, for a checkpoint that is gone)" if totals["replays"] else ""
    most = bytes_in_words(totals["states_bytes"])
    states = f"states to go on from: up to {most} a training, until its parts have used them"
    return "\n".join(
        [
            "",
            common_fields([trial.config for trial in plan.trials]),
            f"{counted(totals['trials'], 'trial')}, {totals['done']} done; to do: {left.format(again)}",
            *(f"{line} (not counted below)" for line in plan.needs()),
            f"store {store.uri}: checkpoints {bytes_in_words(totals['checkpoint_bytes'])}, "
            f"results {bytes_in_words(totals['result_bytes'])} before compression",
            *([states] if totals["states_bytes"] else []),
        ]
    )
