"""Writes a training's states to the store while the next epoch trains."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

from torch import Tensor

from memloc.stages.training.loop import Epoch
from memloc.store import Files, checkpoints, layout
from memloc.store.commit_form import CheckpointEntry
from memloc.store.state_form import ResumeState


class StateWriter:
    """Writes the checkpoint and then the resume state of one epoch after the other, in a thread of its own.

    At most one state is under way: handing over the next one waits for it. So memory holds at most two states, and a kill
    costs at most the epoch that trains and the one under way. An error in the thread is raised, with its traceback, at the
    next call here. Nothing is written after it.

    keep: epochs whose checkpoints stay. states: epochs whose resume states stay too.
    entries: the checkpoints written so far, complete after `flush`.
    """

    def __init__(
        self,
        files: Files,
        trial: str,
        keep: Collection[int],
        numerics: str,
        entries: Sequence[CheckpointEntry] = (),
        states: Collection[int] = (),
    ) -> None:
        self._files, self._trial, self._keep, self._numerics, self._states = files, trial, keep, numerics, states
        self.entries = list(entries)
        self._stale = self._without_kept(checkpoints.resume_states(files, trial))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="state-writer")
        self._under_way: Future[None] | None = None

    def hand_over(self, epoch: Epoch, rows: Sequence[Mapping[str, Any]]) -> None:
        """Begins to write a state; rows: those of table `epochs` up to it."""
        self.flush()
        self._under_way = self._thread.submit(self._write, epoch, [dict(row) for row in rows])

    def flush(self) -> None:
        """Returns once everything handed over is in the store; raises what went wrong."""
        if self._under_way is not None:
            self._under_way.result()

    def __enter__(self) -> StateWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._thread.shutdown(wait=True)  # the state under way is not lost, whatever stops the training
        if error is None:
            self.flush()

    def _write(self, epoch: Epoch, rows: list[dict[str, Any]]) -> None:
        epoch.wait()
        self.entries.append(self._checkpoint(epoch.epoch, epoch.weights))
        state = ResumeState(epoch.epoch, epoch.momentum, epoch.dynamics, rows, self.entries, self._numerics, epoch.scaler)
        self._stale = self._without_kept([checkpoints.save_resume(self._files, self._trial, state, self._stale)])
        if epoch.epoch > 0 and epoch.epoch - 1 not in self._keep:
            self._files.delete(layout.checkpoint(self._trial, epoch.epoch - 1))

    def _without_kept(self, paths: Sequence[str]) -> list[str]:
        """The states that go once a newer one is written."""
        own = {path: layout.resume_state_of(path) for path in paths}
        return [path for path, named in own.items() if named is None or named[0] not in self._states]

    def _checkpoint(self, epoch: int, weights: Mapping[str, Tensor]) -> CheckpointEntry:
        content = checkpoints.encode(weights)
        entry = checkpoints.entry(self._trial, epoch, content)
        self._files.put(entry.path, content)
        return entry
