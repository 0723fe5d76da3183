"""Parts of one analysis. They are computed together if that saves work. Each is committed when it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pyarrow as pa

from memloc import stages
from memloc.config import canonical
from memloc.run.chains import starts, wanted_states
from memloc.run.device_faults import fault_of
from memloc.run.events import PartResult
from memloc.run.execution import as_planned
from memloc.run.kinds import check_kind
from memloc.run.memory import parts_together, release
from memloc.run.pending import Item
from memloc.run.plan import AnalysisPlan, TrialPlan
from memloc.run.provenance import where
from memloc.run.quantities import part_passes, retrained_passes
from memloc.run.replay import heal
from memloc.run.worker import Worker, set_up_numerics
from memloc.stages.base import Given, Part, WithNetwork
from memloc.stages.inputs import Inputs, OfPart
from memloc.stages.plugins import origins
from memloc.store import Commit, Store, checkpoints, tables
from memloc.store.commit_form import CheckpointEntry


def run_parts(worker: Worker, trial: TrialPlan, items: Sequence[Item]) -> Iterator[PartResult]:
    """Computes and commits the parts of one analysis that are not committed yet. It yields a result when a part ends.

    If the device's memory runs out, the remaining parts go on with half as many together, down to one.

    Raises:
        RuntimeError: one part alone does not fit (`fault_of`).
        OtherKindError: a part goes on with a training that was committed on another kind of device.
    """
    analysis, store = items[0][0], worker.store
    todo = []
    for _, part_id, part in items:
        if store.commit(part_id) is not None:
            yield PartResult(part_id)
        else:
            todo.append((part_id, part))
    if not todo:
        return
    if (stopped := _stopped(store, trial, analysis)) is not None:
        for part_id, part in todo:
            commit = _commit_of(trial, analysis, part_id, part)
            store.publish(replace(commit, where={**where(worker.device), "stopped": stopped}), {}, {})
            yield PartResult(part_id, not_run=True)
        return
    if wanted_states((analysis, part_id, part) for part_id, part in todo):
        check_kind(_committed(store, trial.id), worker.device)
    set_up_numerics(trial.config, worker.device)
    inputs = worker.inputs(trial, analysis, lambda epoch: heal(worker, trial, epoch))
    inputs.tables, inputs.networks = _read(store, trial, analysis)
    inputs.c_scores = None if analysis.c_scores is None else analysis.c_scores.values[inputs.data.example]
    at_once = parts_together(worker.device, len(todo), analysis.kind.memory(analysis.config, analysis.size))
    computation = _Computation(worker, trial, analysis, inputs)
    while todo:
        bunch, too_many = todo[:at_once], False
        try:
            with as_planned(trial, analysis.stage):
                for result in computation.run(bunch):
                    todo = todo[1:]
                    yield result
        except RuntimeError as error:  # PyTorch's own type, and what CUDA's libraries say
            if len(bunch) == 1 or fault_of(error, worker.device) != "memory":
                raise
            too_many = True
        if too_many:
            at_once = len(bunch) // 2
            release(worker.device)


@dataclass(frozen=True)
class _Computation:
    """One analysis of one trial, on one worker."""

    worker: Worker
    trial: TrialPlan
    analysis: AnalysisPlan
    inputs: Inputs

    def run(self, bunch: Sequence[tuple[str, Part]]) -> Iterator[PartResult]:
        """Computes and commits parts, given as (id, part), together. It yields a result when a part is committed."""
        kind, config = self.analysis.kind, self.analysis.config
        clock = time.perf_counter()
        computed = kind.run_together(config, self.inputs, [part for _, part in bunch])
        mean, company = 0.0, 1
        shared = kind.shared(config, self.analysis.size)
        if kind.lockstep and shared:  # it is unknown how long each part took
            computed = iter(list(computed))
            mean, company = (time.perf_counter() - clock) / len(bunch), len(bunch)
        share = 1 - shared * (1 - 1 / company)
        before = self._trained_before(bunch)
        for (part_id, part), given in zip(bunch, computed, strict=True):
            result = PartResult(part_id, mean or time.perf_counter() - clock, share)
            passes = part_passes(self.trial, self.analysis) * share + retrained_passes(self.trial, before.get(part_id, 0))
            self._commit(part, given, result, passes)
            yield result
            clock = time.perf_counter()

    def _trained_before(self, bunch: Sequence[tuple[str, Part]]) -> dict[str, int]:
        """{part: how many epochs are trained again before its own}."""
        wanted = wanted_states((self.analysis, part_id, part) for part_id, part in bunch)
        of_parts = wanted.get(self.analysis.id)
        if not of_parts:
            return {}
        return {part_id: start.before for part_id, start in starts(of_parts, self.inputs.history.states()).items()}

    def _commit(self, part: Part, given: Given, result: PartResult, passes: float) -> None:
        analysis, trial = self.analysis, self.trial
        rows, made = (given.tables, self._write(result.part_id, given)) if isinstance(given, WithNetwork) else (given, ())
        commit = replace(
            _commit_of(trial, analysis, result.part_id, part),
            where=where(self.worker.device) | ({"plugins": origins(analysis.plugins)} if analysis.plugins else {}),
            seconds=result.seconds,
            passes=passes,
            checkpoints=made,
        )
        ids, schemas = {"analysis": analysis.id, "trial": trial.id}, analysis.kind.tables
        whole = {table: _whole(columns, ids, result.seconds, schemas[table]) for table, columns in rows.items()}
        self.worker.store.publish(commit, whole, schemas)

    def _write(self, part_id: str, given: WithNetwork) -> tuple[CheckpointEntry, ...]:
        """Writes the network of a part; nobody sees it before the commit."""
        content = checkpoints.encode({name: tensor.contiguous() for name, tensor in given.weights.items()})
        entry = checkpoints.entry(part_id, given.epoch, content)
        self.worker.store.files.put(entry.path, content)
        return (entry,)


def _commit_of(trial: TrialPlan, analysis: AnalysisPlan, part_id: str, part: Part) -> Commit:
    """The commit of a part that ends now, without what it took."""
    return Commit(
        id=part_id,
        trial=trial.id,
        analysis=analysis.id,
        stage=analysis.stage,
        part=dict(part),
        nth=analysis.part_ids.index(part_id),
        of=len(analysis.parts),
        config=canonical(analysis.config),
        reads=analysis.reads,
        ended=time.time(),
    )


def _stopped(store: Store, trial: TrialPlan, analysis: AnalysisPlan) -> int | None:
    """The epoch at which `stop` has ended the training, if the analysis cannot be run for that; else None."""
    training = store.commit(trial.id) if trial.config.stop else None
    if training is None or training.stopped is None:
        return None
    kind = analysis.kind
    read = [epoch for part in analysis.parts for epoch in kind.epochs(analysis.config, trial.config, part)]
    begun = [kind.goes_on_from(analysis.config, part) for part in analysis.parts]
    read += [epoch + 1 for epoch in begun if epoch is not None]  # the epoch that such a part trains again
    if max(read, default=0) > training.stopped:
        return training.stopped
    others = (part_id for other in trial.analyses if other.id in analysis.reads for part_id in other.part_ids)
    commits = (store.commit(part_id) for part_id in others)
    return training.stopped if any(commit is not None and commit.stopped is not None for commit in commits) else None


def _whole(columns: Mapping[str, Any], ids: Mapping[str, str], seconds: float, schema: pa.Schema) -> dict[str, Any]:
    """The columns of a stage with what it does not know: ids, and where its table wants `seconds`, each row's share."""
    n = len(next(iter(columns.values())))
    clock = {"seconds": [seconds / n] * n if n else []} if "seconds" in schema.names else {}
    return {**{name: [value] * n for name, value in ids.items()}, **clock, **columns}


def _read(store: Store, trial: TrialPlan, analysis: AnalysisPlan) -> tuple[dict[str, dict[str, Any]], list[OfPart]]:
    """(the rows of the training and of the analyses that this one reads, by table; the networks that these have made).

    Table `analyses` has their configurations.
    """
    if not analysis.kind.reads:
        return {}, []
    by_id = {a.id: a for a in trial.analyses}
    wanted = [_committed(store, part_id) for part_id in (trial.id, *(p for i in analysis.reads for p in by_id[i].part_ids))]
    names = dict.fromkeys(["analyses", *(f.table for c in wanted for f in c.files)])
    rows = {name: tables.read(store.files, wanted, name, stages.tables()).to_pydict() for name in names}
    made = [OfPart(c.stage, c.part, partial(checkpoints.read, store.files, e)) for c in wanted[1:] for e in c.checkpoints]
    return rows, made


def _committed(store: Store, part_id: str) -> Commit:
    commit = store.files.patience.settled(lambda: store.commit(part_id, placed=True))
    if commit is None:
        raise RuntimeError(f"part {part_id} is not committed")
    return commit
