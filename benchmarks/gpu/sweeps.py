"""One sweep with every stage: in one process, again, and on Ray with whole and with half GPUs. All write the same bits."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.setting import Setting
from memloc import sweep as sweeps
from memloc.run.clock import PricedPlan
from memloc.run.estimate import price_on
from memloc.run.executor import Capacity, Executor, execute
from memloc.run.inline import Inline
from memloc.run.pending import Work, pending
from memloc.run.placement import Resources
from memloc.run.planner import build_plan
from memloc.stages import REGISTRY
from memloc.store import Store, records

SWEEP = """
defaults: {{dataset: digits, model: resnet9, width: {width}, noise: 0.1, epochs: 3, batch_size: 64, subset: {subset}}}
blocks:
  one:
    axes: {{seed: [0, 1]}}
    stages:
      {{gradients: {{}}, rewind: {{epochs: [0, 1, 3]}}, retrain: {{epochs: 2}}, evaluate: {{}}, second_split: {{}},
       detection: {{}}, flips: {{clean: {flips}, noisy: {flips}, max_neurons: 20, post_eval: 100}}}}
  tied:
    set: {{dropout: example_tied, p_gen: 0.4, p_mem: 0.1}}
    stages: {{evaluate: {{}}}}
"""
SMALL = {"width": 0.0625, "subset": 100, "flips": 2}
USUAL = {"width": 0.25, "subset": 1400, "flips": 16}


def same_tables(setting: Setting) -> None:
    """Each way's time, and whether its checkpoints and tables are those of the first. Without a GPU, Ray has CPUs."""
    first: dict[str, list[str]] | None = None
    with tempfile.TemporaryDirectory() as root:
        for name in _ways(setting):
            store, works = _planned(Path(root) / name, setting.small)
            clock = time.perf_counter()
            outcome = _carried_out(setting, name, store, works, Path(root))
            taken = time.perf_counter() - clock
            found = _results(store)
            first = found if first is None else first
            right = not outcome and found == first and bool(found)
            useful = sum(commit.seconds for commit in store.snapshot().commits.values())
            setting.told(name, f"{taken:.0f} s", f"useful {useful:.0f} s {' '.join(list(outcome)[:1])}".strip(), right)
            setting.free()


def _ways(setting: Setting) -> tuple[str, ...]:
    if setting.on_gpu:
        return "inline", "inline again", "Ray, whole GPUs", "Ray, half GPUs"
    return "inline", "Ray, CPUs"


def _planned(folder: Path, small: bool) -> tuple[Store, list[Work]]:
    folder.mkdir(parents=True)
    path = folder / "check.yaml"
    path.write_text(SWEEP.format(**(SMALL if small else USUAL)), encoding="utf-8")
    loaded = sweeps.load(path, REGISTRY)
    plan = build_plan(loaded, loaded.entries, folder)
    store = Store(str(folder / "store"))
    records.write_sweep(store.files, plan.name, plan.record())
    return store, [work for work in pending(plan, store, store.snapshot(), "all") if work.anything]


def _carried_out(setting: Setting, name: str, store: Store, works: Sequence[Work], data_dir: Path) -> Sequence[str]:
    """Does the works; returns what has failed."""

    def prices(left: Sequence[Work], capacity: Capacity) -> PricedPlan:
        return price_on(left, store.snapshot(), data_dir, capacity)

    outcome = execute(works, _executor(setting, name, store, data_dir), prices, [], lambda: False)
    return [str(failure) for failure in outcome.failures.values()]


def _executor(setting: Setting, name: str, store: Store, data_dir: Path) -> Executor:
    if name.startswith("inline"):
        return Inline(store, data_dir, setting.device)
    from memloc.run.ray import OnRay

    share = 0.5 if "half" in name else 1.0
    resources = Resources(cpus=4 if setting.on_gpu else 2, gpus=1 if setting.on_gpu else 0, gpus_per_task=share)
    return OnRay(store, data_dir, resources, lambda what: None)


def _results(store: Store) -> dict[str, list[str]]:
    """{training or part: the hashes of its checkpoints and tables}, without the table that has seconds."""
    found = {}
    for name, commit in store.snapshot().commits.items():
        same = [file.sha256 for file in commit.files if file.table != "epochs"]
        found[name] = [checkpoint.sha256 for checkpoint in commit.checkpoints] + same
    return found
