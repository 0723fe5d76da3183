"""What one worker does: a training with its checkpoints, or one part of an analysis, from inputs to commit.

The only place where stages meet the store. The executors decide where and when; the rows are the same.
"""

from __future__ import annotations

import os
import platform
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from memloc import stages
from memloc.config import TrainConfig, canonical, canonical_json
from memloc.data import Data, Raw, check_identity, prepare
from memloc.errors import ReplayError, last_line
from memloc.run.c_scores import atypical
from memloc.run.memory import parts_together, release
from memloc.run.plan import AnalysisPlan, Item, TrialPlan, Work, lost_epochs, part_passes, train_passes
from memloc.run.writer import StateWriter
from memloc.stages.base import Part, Tables
from memloc.stages.fields import MaskedConfig
from memloc.stages.inputs import Inputs
from memloc.stages.training.loop import VERSION, Epoch, examples_table, train
from memloc.stages.training.schema import TABLES
from memloc.store import Commit, Store, checkpoints, layout, records, tables
from memloc.store.commits import CheckpointEntry
from memloc.version import VERSION as MEMLOC_VERSION

ATTEMPTS = 2  # a failed part is tried once more, then recorded


def never() -> bool:
    return False


def default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@dataclass
class Worker:
    """One process's means to work: the store, the raw data by name, and what is worth keeping between parts."""

    store: Store
    raw: Callable[[str], Raw]
    device: torch.device = field(default_factory=default_device)
    _inputs: tuple[tuple[str, ...], Inputs] | None = None

    def data(self, trial: TrialPlan) -> Data:
        raw = self.raw(trial.config.dataset)
        check_identity(raw, trial.config.dataset, trial.data)
        return prepare(raw, trial.config)

    def inputs(self, trial: TrialPlan, analysis: AnalysisPlan | None = None) -> Inputs:
        """The inputs of an analysis; the data on the device and the last checkpoints stay for the next part.

        Where its S_n are the atypical examples, these are `noisy` there. None: what the labels say.
        """
        means = (trial.id, *_set_of(analysis))
        if self._inputs is None or self._inputs[0] != means:
            commit = self.store.commit(trial.id)
            if commit is None:
                raise RuntimeError(f"training {trial.id} is not committed")
            by_epoch = {c.epoch: c for c in commit.checkpoints}
            weights = lru_cache(maxsize=2)(lambda epoch: checkpoints.read(self.store.files, by_epoch[epoch]))
            self._inputs = means, Inputs(trial.config, _with_set(self.data(trial), analysis), self.device, weights)
        return self._inputs[1]


def _set_of(analysis: AnalysisPlan | None) -> tuple[str, ...]:
    """What tells its S_n from that of other analyses of the training."""
    if analysis is None or not isinstance(analysis.config, MaskedConfig):
        return "labels", "None"
    return analysis.config.memorized, str(analysis.config.c_score_below)


def _with_set(data: Data, analysis: AnalysisPlan | None) -> Data:
    if analysis is None or analysis.c_scores is None or not isinstance(analysis.config, MaskedConfig):
        return data
    assert analysis.config.c_score_below is not None, "only resolved configurations are run"
    return replace(data, noisy=atypical(analysis.c_scores, data.example, analysis.config.c_score_below))


def set_up_numerics(config: TrainConfig, device: torch.device) -> None:
    """The numerical environment of a training and of its analyses, whatever this process did before.

    The trial's thread count and precision (fp32 means fp32: tf32 only where it is asked for), and deterministic
    algorithms on a GPU.
    """
    torch.set_num_threads(config.threads)
    tf32 = config.precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS first runs
        # Warnings, not errors: the 2×2 max pool's backward is listed as nondeterministic for its atomic additions, but
        # windows that do not overlap never add twice to one place.
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False


# --- training ---------------------------------------------------------------------------------------------------------


def run_training(
    worker: Worker,
    work: Work,
    on_epoch: Callable[[int], None] = lambda epoch: None,
    should_stop: Callable[[], bool] = never,
) -> bool:
    """Trains to the commit, from wherever an earlier run got to; False where `should_stop` said so first.

    A training that is committed with every checkpoint in place is left alone, also when that happens under way; one that
    lost a checkpoint is replayed.
    """
    trial, store = work.trial, worker.store
    set_up_numerics(trial.config, worker.device)
    commit = store.commit(trial.id)
    if commit is not None:
        sizes = store.files.listing(layout.checkpoints(trial.id))
        lost = lost_epochs(commit, sizes, work.write, checkpoints.read_pruned(store.files, trial.id))
        return not lost or _replay(worker, trial, commit, lost, on_epoch, should_stop)
    return _train(worker, work, on_epoch, should_stop)


def _train(worker: Worker, work: Work, on_epoch: Callable[[int], None], should_stop: Callable[[], bool]) -> bool:
    trial, store, data = work.trial, worker.store, worker.data(work.trial)
    of_here = numerics(worker.device)
    after, rows, entries = _found(store, work, of_here)
    overtaken = False  # by a worker that was taken for dead, or by our successor
    if after is not None:
        on_epoch(after.epoch)
    with StateWriter(store.files, trial.id, work.write, of_here, entries) as writer:
        clock = time.perf_counter()
        for epoch in _epochs_left(trial, data, worker.device, after):
            seconds = time.perf_counter() - clock
            if overtaken := store.commit(trial.id) is not None:
                break
            if epoch.row is not None:
                rows.append({**epoch.row, "seconds": seconds})
            writer.hand_over(epoch, rows)
            after = epoch
            on_epoch(epoch.epoch)
            if epoch.epoch < trial.config.epochs and should_stop():
                return False  # what was handed over is written first
            clock = time.perf_counter()
    if overtaken:
        return run_training(worker, work, on_epoch, should_stop)
    assert after is not None
    after.wait()
    _commit_training(worker, work, data, rows, writer.entries, after.dynamics)
    return True


def _found(store: Store, work: Work, of_here: str) -> tuple[Epoch | None, list[dict[str, Any]], list[CheckpointEntry]]:
    """(the state to go on from, the rows and the checkpoints up to it) that an earlier run left."""
    found = checkpoints.load_resume(store.files, work.trial.id, work.write, of_here)
    if found is None:
        return None, [], []
    state, weights = found
    epoch = Epoch(state.epoch, weights, state.momentum, state.dynamics, scaler=state.scaler)
    return epoch, list(state.rows), list(state.entries)


def _epochs_left(trial: TrialPlan, data: Data, device: torch.device, after: Epoch | None) -> Iterator[Epoch]:
    if after is not None and after.epoch == trial.config.epochs:
        return iter(())
    return train(trial.config, data, device, after)


def _commit_training(
    worker: Worker,
    work: Work,
    data: Data,
    rows: list[dict[str, Any]],
    entries: list[CheckpointEntry],
    dynamics: dict[str, torch.Tensor],
) -> None:
    trial, n = work.trial, len(data.y)
    # Written down, so that nobody takes them for lost, nor what is here for pruned (in an earlier life of the trial).
    checkpoints.prune(worker.store.files, trial.id, entries, work.write)
    c = trial.config
    names = ("dataset", "model", "width", "noise", "seed", "data_seed", "dropout", "p_gen", "p_mem", "keep", "epochs")
    own: dict[str, list[Any]] = {"trial": [trial.id], **{k: [c.flat().get(k)] for k in names}}
    own |= {"n_train": [n], "config": [canonical_json(c)]}
    written = {
        "trials": own,
        "epochs": {"trial": [trial.id] * len(rows), **{k: [row[k] for row in rows] for k in rows[0]}},
        "examples": {"trial": [trial.id] * n, **examples_table(c, data, dynamics)},
    }
    commit = Commit(
        id=trial.id,
        trial=trial.id,
        analysis=None,
        stage="train",
        part={"version": VERSION, "data": trial.data},
        nth=0,
        of=1,
        config=canonical(c),
        checkpoints=tuple(entries),
        where=where(worker.device),
        seconds=sum(row["seconds"] for row in rows),
        passes=train_passes(trial, len(rows)),
        ended=time.time(),
    )
    worker.store.publish(commit, written, TABLES)


def _replay(
    worker: Worker,
    trial: TrialPlan,
    commit: Commit,
    lost: set[int],
    on_epoch: Callable[[int], None],
    should_stop: Callable[[], bool],
) -> bool:
    """Trains again from epoch 0 and puts lost checkpoints back; each must have the committed hash."""
    expected = {c.epoch: c for c in commit.checkpoints}
    for epoch in train(trial.config, worker.data(trial), worker.device):
        epoch.wait()
        content = checkpoints.encode(epoch.weights)
        entry = expected[epoch.epoch]
        if layout.sha256(content) != entry.sha256:
            raise ReplayError(
                f"trial {trial.id}, epoch {epoch.epoch}: training again gave another checkpoint; committed on "
                f"{canonical_json(commit.where)}, now on {canonical_json(where(worker.device))}"
            )
        if epoch.epoch in lost:
            worker.store.files.put(entry.path, content)
        on_epoch(epoch.epoch)
        if epoch.epoch >= max(lost):
            return True
        if should_stop():
            return False
    return True


def prune(store: Store, work: Work) -> None:
    """Retention: removes the checkpoints that are no longer needed, once everything of the trial is committed."""
    commit = store.commit(work.trial.id)
    if work.prune and commit is not None:
        checkpoints.prune(store.files, work.trial.id, commit.checkpoints, work.keep)


# --- analyses ---------------------------------------------------------------------------------------------------------


def run_parts(worker: Worker, trial: TrialPlan, items: Sequence[Item]) -> Iterator[tuple[str, float]]:
    """Computes and commits parts of one analysis that are not committed yet; (part id, seconds) as each ends.

    Where the device's memory runs out, what is left goes on with half as many together, down to one.

    Raises:
        torch.OutOfMemoryError: where one part alone does not fit.
    """
    analysis, store = items[0][0], worker.store
    todo = []
    for _, part_id, part in items:
        if store.commit(part_id) is not None:
            yield part_id, 0.0
        else:
            todo.append((part_id, part))
    if not todo:
        return
    set_up_numerics(trial.config, worker.device)
    inputs = worker.inputs(trial, analysis)
    inputs.tables = _tables_read(store, trial, analysis)
    inputs.c_scores = None if analysis.c_scores is None else analysis.c_scores.values[inputs.data.example]
    at_once = parts_together(worker.device, len(todo), analysis.kind.memory(analysis.config, analysis.size))
    while todo:
        bunch, too_many = todo[:at_once], False
        try:
            for part_id, seconds in _run_together(worker, trial, analysis, inputs, bunch):
                todo = todo[1:]
                yield part_id, seconds
        except torch.OutOfMemoryError:
            if len(bunch) == 1:
                raise
            too_many = True
        if too_many:
            at_once = len(bunch) // 2
            release(worker.device)


def _run_together(
    worker: Worker, trial: TrialPlan, analysis: AnalysisPlan, inputs: Inputs, bunch: Sequence[tuple[str, Part]]
) -> Iterator[tuple[str, float]]:
    """Computes and commits parts side by side; (part id, seconds) as each is committed."""
    clock = time.perf_counter()
    computed = analysis.kind.run_together(analysis.config, inputs, [part for _, part in bunch])
    share, company = 0.0, 1
    if analysis.kind.lockstep:  # nobody can say which part took how long
        computed = iter(list(computed))
        share, company = (time.perf_counter() - clock) / len(bunch), len(bunch)
    for (part_id, part), tables_of_part in zip(bunch, computed, strict=True):
        seconds = share or time.perf_counter() - clock
        _commit_part(worker, trial, analysis, part_id, part, tables_of_part, seconds, company)
        yield part_id, seconds
        clock = time.perf_counter()


def _commit_part(
    worker: Worker,
    trial: TrialPlan,
    analysis: AnalysisPlan,
    part_id: str,
    part: Part,
    computed: Tables,
    seconds: float,
    company: int,
) -> None:
    """company: how many parts, this one included, shared what can be shared."""
    saved = analysis.kind.shared(analysis.config, analysis.size) * (1 - 1 / company)
    commit = Commit(
        id=part_id,
        trial=trial.id,
        analysis=analysis.id,
        stage=analysis.stage,
        part=dict(part),
        nth=analysis.part_ids.index(part_id),
        of=len(analysis.parts),
        config=canonical(analysis.config),
        reads=analysis.reads,
        where=where(worker.device),
        seconds=seconds,
        passes=part_passes(trial, analysis) * (1 - saved),
        ended=time.time(),
    )
    with_ids = {t: _with_ids(columns, analysis.id, trial.id) for t, columns in computed.items()}
    worker.store.publish(commit, with_ids, analysis.kind.tables)


def _with_ids(columns: Mapping[str, Any], analysis: str, trial: str) -> dict[str, Any]:
    n = len(next(iter(columns.values())))
    return {"analysis": [analysis] * n, "trial": [trial] * n, **columns}


def _tables_read(store: Store, trial: TrialPlan, analysis: AnalysisPlan) -> dict[str, dict[str, Any]]:
    """The rows of the analyses that this one reads, and of its training, by table; `analyses` has the former's settings."""
    if not analysis.kind.reads:
        return {}
    snapshot = store.snapshot()
    complete = snapshot.analyses()
    wanted = [snapshot.commits[trial.id], *(c for i in analysis.reads for c in complete[i])]
    names = dict.fromkeys(["analyses", *(f.table for c in wanted for f in c.files)])
    return {name: tables.read(store.files, wanted, name, stages.tables()).to_pydict() for name in names}


# --- failures and provenance ------------------------------------------------------------------------------------------


def attempt(
    worker: Worker, trial: TrialPlan, part_id: str, stage: str, action: Callable[[], Any], tries: int = ATTEMPTS
) -> tuple[Any, str]:
    """(result, "") of an action, tried twice; or (None, error line) after its failure has been recorded."""
    for n in range(tries):
        try:
            return action(), ""
        except Exception as error:  # whatever a part raises is recorded with its traceback, and the rest goes on
            worker._inputs = None  # the next try starts from what is on disk
            if n == tries - 1:
                records.record_failure(worker.store.files, part_id, trial.id, stage, traceback.format_exc())
                return None, last_line(error)
        release(worker.device)
    raise AssertionError("unreachable")


def attempt_parts(
    worker: Worker, trial: TrialPlan, items: Sequence[Item], should_stop: Callable[[], bool] = never
) -> Iterator[tuple[str, float, str]]:
    """(part id, seconds, error line) of each part as it ends; none is begun once `should_stop` says so.

    The parts of one analysis are tried together; where that fails, those that are left one by one.
    """
    for _, bunch in groupby(items, key=lambda item: item[0].id):
        left, failed = list(bunch), False
        while left and not failed and not should_stop():
            try:
                for part_id, seconds in run_parts(worker, trial, left):
                    left = [item for item in left if item[1] != part_id]
                    yield part_id, seconds, ""
                    if should_stop():
                        break
            except Exception:
                failed = True
        if failed:  # outside the handler, whose traceback refers to everything that the attempt has allocated
            worker._inputs = None
            release(worker.device)
            yield from _one_by_one(worker, trial, left, should_stop)


def _one_by_one(
    worker: Worker, trial: TrialPlan, items: Sequence[Item], should_stop: Callable[[], bool]
) -> Iterator[tuple[str, float, str]]:
    for item in items:
        if should_stop():
            return
        analysis, part_id, _ = item
        found, error = attempt(
            worker, trial, part_id, analysis.stage, lambda: list(run_parts(worker, trial, [item])), ATTEMPTS - 1  # noqa: B023
        )  # fmt: skip
        yield part_id, found[0][1] if found else 0.0, error


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("torch", "timm", "numpy", "pyarrow")} | {"python": platform.python_version()}


@lru_cache(maxsize=1)
def _git_revision() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def numerics(device: torch.device) -> str:
    """What, beside the configuration, the bits of a training depend on."""
    return canonical_json({"device": where(device)["device_name"], **_versions()})


def where(device: torch.device) -> dict[str, Any]:
    """On what and with which versions something was computed."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:  # kernels are chosen by the instruction set: another one may round differently
        name = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return {
        "device": device.type,
        "device_name": name,
        "memloc": MEMLOC_VERSION,
        "git": _git_revision(),
        "versions": _versions(),
    }
