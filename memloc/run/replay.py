"""Trains a committed training again, because checkpoints of it are lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from memloc.config import canonical_json
from memloc.errors import ReplayError
from memloc.run.arithmetic import arithmetic
from memloc.run.plan import TrialPlan
from memloc.run.provenance import where
from memloc.run.worker import Worker
from memloc.stages.training.loop import train
from memloc.store import Commit, checkpoints, layout


@dataclass(frozen=True)
class Lost:
    """The epochs whose checkpoints a committed training has lost."""

    commit: Commit
    epochs: set[int]


def replay(
    worker: Worker,
    trial: TrialPlan,
    lost: Lost,
    on_epoch: Callable[[int, Mapping[str, Any]], None],
    should_stop: Callable[[], bool],
) -> bool:
    """Trains again from epoch 0 and puts lost checkpoints back; False if `should_stop` was true first.

    Raises:
        ReplayError: an epoch's checkpoint has another hash than the committed one.
    """
    expected = {c.epoch: c for c in lost.commit.checkpoints}
    clock = time.perf_counter()
    for epoch in train(trial.config, worker.data(trial), worker.device):
        row = {} if epoch.row is None else {**epoch.row, "seconds": time.perf_counter() - clock}
        epoch.wait()
        content = checkpoints.encode(epoch.weights)
        entry = expected[epoch.epoch]
        if layout.sha256(content) != entry.sha256:
            now = where(worker.device) | {"arithmetic": arithmetic(worker.device)}
            raise ReplayError(
                f"trial {trial.id}, epoch {epoch.epoch}: training again gave another checkpoint; "
                f"{differences(lost.commit.where, now)}"
            )
        if epoch.epoch in lost.epochs:
            worker.store.files.put(entry.path, content)
        on_epoch(epoch.epoch, row)
        if epoch.epoch >= max(lost.epochs):
            return True
        if should_stop():
            return False
        clock = time.perf_counter()
    return True


def differences(committed: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What the two records of where something was computed differ in: `committed under …, now under …`."""
    one, other = _flat(committed), _flat(now)
    names = [name for name in dict.fromkeys([*one, *other]) if one.get(name) != other.get(name)]
    if not names:
        return "its device, versions and environment are the same as when it was committed"
    before, after = ({name: record.get(name) for name in names} for record in (one, other))
    return f"committed under {canonical_json(before)}, now under {canonical_json(after)}"


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
