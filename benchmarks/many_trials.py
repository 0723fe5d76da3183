"""python -m benchmarks.many_trials --trials N [--cpus 2] [--only NAME] [--profile FILE] [--json]: a driver of many trials.

Two programs run one after the other, each with a local Ray of its own:

- driver: memloc's driver with a plan of N trainings of `digits`, each with one analysis. Leases, heartbeats, coordinators
  and admission are the real ones. Only the training and the analysis do nothing.
- tune: Ray Tune alone, with as many trials that end with their first result. As many run at a time as memloc has
  coordinators, in reused actors. Their CPUs limit them, and not `max_concurrent_trials`: Tune keeps an actor whose trial has
  ended only for a trial that waits for CPUs, so with that limit it would start a process for nearly every trial.

Prints the trials per second from the tenth part of the trials to the last one, the CPU time of all processes for each of
them, and the driver's resident memory (of 10⁶ bytes) when 0, 10, 50 and 100 % of the trials have ended. Other work on the
machine changes the rate much, and the CPU time little.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# isort: off
import memloc.run.ray as _environment  # noqa: F401  (first: it sets what Ray reads when it is imported)
import ray
from ray import tune

# isort: on
from memloc.commands.text_table import text_table
from memloc.run.events import Event, PartResult, TrainingResult
from memloc.run.fanout import PricedPart
from memloc.run.placement import Resources
from memloc.run.ray.connect import connected
from memloc.run.ray.coordinator import Coordinator
from memloc.run.ray.driver import OnRay
from memloc.run.ray.workers import Job
from memloc.run.schedule import coordinators

SHARES = (0, 10, 50, 100)  # per cent of the trials
KINDS = ("driver", "coordinators", "admission", "workers", "Ray itself")  # of processes; coordinators: Tune's actors


@ray.remote(max_retries=0)  # type: ignore[untyped-decorator]
def train_nothing(job: Job) -> TrainingResult:
    """A training that has a place, and ends."""
    job.admission.placed.remote(job.work.trial.id, platform.node())
    return TrainingResult(True)


@ray.remote  # type: ignore[untyped-decorator]
def compute_nothing(job: Job, part_ids: list[str]) -> list[PartResult]:
    """Parts that end."""
    return [PartResult(part_id) for part_id in part_ids]


class Idle(Coordinator):
    """A coordinator whose processes have the real `Job` and compute nothing."""

    def start_training(self) -> Any:
        return train_nothing.options(scheduling_strategy="DEFAULT", **self.assignment.trainer).remote(self.assignment.job)

    def start_parts(self, parts: list[PricedPart]) -> Any:
        asked = compute_nothing.options(scheduling_strategy="DEFAULT", **self.assignment.task)
        return asked.remote(self.assignment.job, [part.id for part in parts])


class Nothing(tune.Trainable):  # type: ignore[misc]
    """A trial of Ray Tune that ends with its first result."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Its share of the CPUs, so that as many run as memloc has coordinators."""
        return tune.PlacementGroupFactory([{"CPU": config["cpus"]}])

    def step(self) -> dict[str, Any]:
        return {"done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing. Tune asks for the method when it reuses actors."""


class Watch:
    """Notes the time, the CPU seconds of all processes and the memory of this one when a share of the trials has ended."""

    def __init__(self, trials: int) -> None:
        self.trials, self.ended = trials, 0
        self.notes: dict[int, tuple[float, dict[str, float], float]] = {}
        self._note()

    def count(self) -> None:
        """One more trial has ended."""
        self.ended += 1
        self._note()

    def _note(self) -> None:
        for share in SHARES:
            if share not in self.notes and self.ended * 100 >= share * self.trials:
                self.notes[share] = time.monotonic(), cpu_seconds(), resident()

    def result(self) -> dict[str, Any]:
        """What is printed."""
        (began, before, _), (ended, after, _) = self.notes[10], self.notes[100]
        steady = self.trials - -(-self.trials // 10)
        return {
            "trials": self.trials,
            "trials_per_s": steady / (ended - began),
            "cpu_ms": {kind: 1000 * (after[kind] - before.get(kind, 0.0)) / steady for kind in after},
            "megabytes": {share: note[2] for share, note in self.notes.items()},
        }


def cpu_seconds() -> dict[str, float]:
    """{kind of process: CPU seconds so far} of this process and of those that came from it and still live."""
    stats = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            name, _, rest = (entry / "stat").read_text(encoding="utf-8").partition("(")[2].rpartition(")")
            fields = rest.split()
            ticks = sum(int(fields[i]) for i in (11, 12))  # user, system
            stats[int(entry.name)] = name, int(fields[1]), ticks / os.sysconf("SC_CLK_TCK")
    own, totals = {os.getpid()}, dict.fromkeys(KINDS, 0.0)
    for pid, (name, parent, seconds) in sorted(stats.items()):  # a parent is older
        if pid in own or parent in own:
            own.add(pid)
            totals[_kind(pid, name)] += seconds
    return totals


def _kind(pid: int, name: str) -> str:
    if pid == os.getpid():
        return "driver"
    if name.startswith(("ray::_Inner", "ray::Idle", "ray::Nothing")):  # the first is what Tune makes of the second
        return "coordinators"
    if name.startswith("ray::Admission"):
        return "admission"
    return "workers" if name.startswith(("ray::train", "ray::compute", "ray::IDLE")) else "Ray itself"


def resident() -> float:
    """The resident memory of this process, of 10⁶ bytes."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def sweep_text(trials: int) -> str:
    """A sweep of so many trainings that differ in the seed, each with one analysis."""
    blocks = {"idle": {"axes": {"seed": list(range(trials))}, "stages": {"evaluate": {}}}}
    defaults = {"dataset": "digits", "model": "resnet9", "width": 0.25, "subset": 200, "epochs": 1}
    return json.dumps({"about": "Trials that compute nothing.", "defaults": defaults, "blocks": blocks})


def drive(trials: int, cpus: int, folder: Path, profiled: Callable[[], Any]) -> dict[str, Any]:
    """memloc's driver."""
    from memloc import sweep
    from memloc.run.estimate import price_on
    from memloc.run.executor import execute
    from memloc.run.pending import pending
    from memloc.run.planner import build_plan
    from memloc.run.pulse import Heartbeats, new_run
    from memloc.stages import REGISTRY
    from memloc.store import Store, records

    path = folder / "idle.yaml"
    path.write_text(sweep_text(trials), encoding="utf-8")
    loaded = sweep.load(path, REGISTRY, many=True)
    plan = build_plan(loaded, loaded.entries, folder)
    store = Store(str(folder / "store"))
    works = pending(plan, store, store.snapshot(), "all")
    record = records.write_sweep(store.files, plan.name, plan.record())
    watch = Watch(trials)

    class Counting:
        def planned(self, plan: Any) -> None:
            """Nothing."""

        def __call__(self, event: Event) -> None:
            if event.kind == "finished":
                watch.count()

    with Heartbeats(store, works, record, new_run()) as heartbeats, profiled():
        on_ray = OnRay(store, folder, Resources(cpus=cpus, gpus=0), sys.exit, heartbeats.holder)
        on_ray.coordinator = Idle
        outcome = execute(
            works,
            on_ray,
            lambda left, capacity: price_on(left, store.snapshot(), folder, capacity),
            [heartbeats, Counting()],
            lambda: False,
        )
    if outcome.failed or watch.ended != trials:
        raise SystemExit(f"{watch.ended} of {trials} trials have ended; failed: {outcome.failed[:1]}")
    return watch.result()


def tune_alone(trials: int, cpus: int, folder: Path, profiled: Callable[[], Any]) -> dict[str, Any]:
    """Ray Tune without memloc."""
    watch = Watch(trials)

    class Counting(tune.Callback):  # type: ignore[misc]
        def __getstate__(self) -> dict[str, Any]:
            return {}

        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            watch.count()

    with connected(Resources(cpus=cpus, gpus=0), "alone") as connection, profiled():
        tune.Tuner(
            Nothing,
            param_space={"cpus": cpus / coordinators(cpus), "trial": tune.grid_search([f"{i:016x}" for i in range(trials)])},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=connection.scratch,
                verbose=0,
                callbacks=[Counting()],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    return watch.result()


PROGRAMS = {"driver": drive, "tune": tune_alone}


@contextmanager
def _profile(file: Path | None) -> Iterator[None]:
    """Meanwhile the main thread is profiled, if the profile has a file."""
    if file is None:
        yield
        return
    with cProfile.Profile() as profile:
        yield
    profile.dump_stats(file)


def table(results: dict[str, dict[str, Any]]) -> str:
    """The results as a table."""
    rows = [
        [name, str(r["trials"]), f"{r['trials_per_s']:.1f}", *(f"{r['cpu_ms'][kind]:.0f} ms" for kind in KINDS),
         *(f"{megabytes:.0f} MB" for megabytes in r["megabytes"].values())]
        for name, r in results.items()
    ]  # fmt: skip
    header = ["", "trials", "trials/s", *KINDS, *(f"at {share} %" for share in SHARES)]
    lines = text_table(header, rows)
    if len(results) == len(PROGRAMS):
        lines += (
            f"memloc's driver has {results['driver']['trials_per_s'] / results['tune']['trials_per_s']:.2f} of Tune's rate\n"
        )
    return lines


def main() -> int:
    """Runs each program in a process of its own, so that neither counts the memory of the other."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.many_trials", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--only", choices=PROGRAMS)
    parser.add_argument("--profile", type=Path, help="with --only: where cProfile writes what the driver's main thread does")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if given.trials < 10:
        parser.error(f"--trials {given.trials}: valid: 10 or more")
    if given.only:
        with tempfile.TemporaryDirectory(prefix="memloc-") as folder:
            run = PROGRAMS[given.only]
            results = {given.only: run(given.trials, given.cpus, Path(folder), lambda: _profile(given.profile))}
    else:
        results = {}
        for name in PROGRAMS:
            own = [sys.executable, "-m", "benchmarks.many_trials", "--only", name, "--json"]
            own += ["--trials", str(given.trials), "--cpus", str(given.cpus)]
            done = subprocess.run(own, stdout=subprocess.PIPE, text=True, check=True)
            results |= json.loads(done.stdout.splitlines()[-1])
    print(json.dumps(results) if given.json else table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
