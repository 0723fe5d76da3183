"""python -m benchmarks.big_store FOLDER [--commits N] [--flip-rows M]: a large store, made in minutes.

Its plan is a real one: a sweep of MNIST in six settings, with gradients, rewinding, flips, evaluation and detection, ten
commits to a training. Layout, commits, schemas, checkpoint entries and the sweep's record are those of a finished run with
`--checkpoints last`. The sweep's file lies in the folder as big.yaml. Rows are drawn (plausible_rows.py), checkpoints are a
few bytes, and nothing waits for the disk. The same call makes the same store, byte by byte. Memory holds the plan, and
one part's rows at a time.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.plausible_rows import draw_of, part_rows, training_rows
from memloc import stages, sweep
from memloc.config import canonical
from memloc.run.plan import AnalysisPlan, Plan, TrialPlan
from memloc.run.planner import build_plan
from memloc.stages import REGISTRY
from memloc.stages.training.schema import VERSION
from memloc.store import Commit, Files, Store, layout, records
from memloc.store.commit_form import CheckpointEntry

SWEEP_FILE = "big.yaml"
REPEATS, EPOCHS, PER_TRAINING = 3, 50, 10  # of flips; of a training; commits
SETTINGS = [(noise, width) for noise in (0.05, 0.1, 0.2) for width in (0.25, 0.5)]
WHERE = {
    "device": "cuda",
    "device_name": "NVIDIA H100 80GB HBM3",
    "memloc": "0.1.0",
    "git": "0" * 40,
    "versions": {"torch": "2.9.1", "timm": "1.0.22", "numpy": "2.3.5", "pyarrow": "22.0.0", "python": "3.12.12"},
}
BEGUN = 1_764_000_000.0  # seconds since 1970: when the first training ended
WEIGHTS = b"\x02\x00\x00\x00\x00\x00\x00\x00{}"  # a safetensors file without tensors


class Unsynced(Files):
    """Writes without waiting for the disk, and without a temporary file: nobody reads meanwhile."""

    def put(self, path: str, data: bytes) -> None:
        """Writes a whole file."""
        target = Path(self.full(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def sweep_text(trainings: int, flip_rows: int) -> str:
    """The sweep file: so many trainings, with about so many searches in all."""
    searched = max(4, round(flip_rows / trainings / REPEATS))
    n = max(200, round(1.25 * searched))
    blocks = {}
    for k, (noise, width) in enumerate(SETTINGS):
        seeds = trainings // len(SETTINGS) + (k < trainings % len(SETTINGS))
        noisy = min(round(noise * n), searched // 2)
        flips = {"clean": searched - noisy, "noisy": noisy, "repeats": REPEATS, "group_size": searched}
        analyses = {"flips": flips, "rewind": {"epochs": [0, EPOCHS]}, "gradients": {"epochs": [10, EPOCHS]}}
        if seeds:
            blocks[f"noise{noise:g}_width{width:g}"] = {
                "axes": {"seed": list(range(seeds))},
                "set": {"noise": noise, "width": width},
                "stages": {**analyses, "evaluate": {}, "detection": {}},
            }
    defaults = {"dataset": "mnist", "model": "resnet9", "subset": n, "epochs": EPOCHS, "batch_size": 100}
    return json.dumps({"about": "A large store.", "defaults": defaults, "blocks": blocks})  # which is YAML too


def planned(folder: Path, trainings: int, flip_rows: int) -> Plan:
    """The plan of that sweep, whose file is written into the folder."""
    path = folder / SWEEP_FILE
    path.write_text(sweep_text(trainings, flip_rows), encoding="utf-8")
    loaded = sweep.load(path, REGISTRY, many=True)
    return build_plan(loaded, loaded.entries, folder)


def make(folder: Path, commits: int, flip_rows: int) -> Plan:
    """Makes the store in a new folder; returns its plan."""
    folder.mkdir(parents=True)
    plan = planned(folder, max(1, commits // PER_TRAINING), flip_rows)
    store = Store(str(folder))
    store.files = Unsynced(str(folder))
    for nth, trial in enumerate(plan.trials):
        for commit, tables in _parts(trial, BEGUN + nth):
            store.publish(commit, tables, stages.tables())
        _keep_last(store, trial)
    records.write_sweep(store.files, plan.name, plan.record())
    return plan


def _parts(trial: TrialPlan, ended: float) -> Iterator[tuple[Commit, dict[str, dict[str, object]]]]:
    """(commit without its files, tables) of the training and of every part of its analyses."""
    own: dict[str, Any] = {"where": WHERE, "passes": float(EPOCHS * trial.size.n), "ended": ended, "seconds": 60.0}
    entries = tuple(_checkpoint(trial, epoch) for epoch in range(EPOCHS + 1))
    origin = {"data": trial.data, "version": VERSION}
    training = Commit(trial.id, trial.id, None, "train", origin, 0, 1, canonical(trial.config), checkpoints=entries)
    yield replace(training, **own), training_rows(trial)
    for analysis in trial.analyses:
        for nth, (part_id, part) in enumerate(zip(analysis.part_ids, analysis.parts, strict=True)):
            yield replace(_commit(trial, analysis, part_id, nth), **own), part_rows(trial, analysis, part_id, part)


def _commit(trial: TrialPlan, analysis: AnalysisPlan, part_id: str, nth: int) -> Commit:
    return Commit(
        id=part_id,
        trial=trial.id,
        analysis=analysis.id,
        stage=analysis.stage,
        part=dict(analysis.parts[nth]),
        nth=nth,
        of=len(analysis.parts),
        config=canonical(analysis.config),
        reads=analysis.reads,
    )


def _checkpoint(trial: TrialPlan, epoch: int) -> CheckpointEntry:
    """What a commit says of a checkpoint. Only that of the last epoch is there."""
    if epoch == EPOCHS:
        return CheckpointEntry(epoch, layout.checkpoint(trial.id, epoch), len(WEIGHTS), layout.sha256(WEIGHTS))
    gone = draw_of(trial.id).bytes(8) + bytes([epoch])
    return CheckpointEntry(epoch, layout.checkpoint(trial.id, epoch), 1_640_000, layout.sha256(gone))


def _keep_last(store: Store, trial: TrialPlan) -> None:
    """As `--checkpoints last` leaves a finished training."""
    store.files.put(layout.checkpoint(trial.id, EPOCHS), WEIGHTS)
    gone = json.dumps(list(range(EPOCHS))).encode()
    store.files.put(layout.pruned(trial.id, gone), gone)


def main() -> None:
    """Makes the store, and says what is in it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.big_store", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--commits", type=int, default=1000, help="default: 1000")
    parser.add_argument("--flip-rows", type=int, help="default: 100 for each commit")
    given = parser.parse_args()
    if given.folder.exists():
        parser.error(f"{given.folder}: is there already; name a new folder")
    plan = make(given.folder, given.commits, given.flip_rows or 100 * given.commits)
    parts = sum(len(trial.part_ids) for trial in plan.trials)
    print(f"{given.folder}: {len(plan.trials)} trainings, {parts} commits", file=sys.stderr)


if __name__ == "__main__":
    main()
