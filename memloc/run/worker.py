"""One process that computes: its store, its device, its numerics, and the inputs that outlive a part."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache, partial
from typing import TypeAlias

import torch

from memloc.config import SourceConfig, TrainConfig
from memloc.data import Data, Raw, check_identity, prepare
from memloc.errors import DamagedError
from memloc.run.arithmetic import WORKSPACE
from memloc.run.memory import release
from memloc.run.plan import AnalysisPlan, TrialPlan
from memloc.run.provenance import numerics
from memloc.run.score_sources import atypical
from memloc.run.state_fit import fit_of
from memloc.stages.inputs import History, Inputs
from memloc.stages.training.loop import Epoch
from memloc.store import Store, checkpoints, layout
from memloc.store.commit_form import CheckpointEntry
from memloc.store.resumable import usable_states

Heal: TypeAlias = Callable[[int], object]  # puts the checkpoint of an epoch back


def never() -> bool:
    """An order to stop that never comes."""
    return False


def default_device() -> torch.device:
    """The GPU if torch sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def unused_accelerator() -> str:
    """What torch could compute on here and memloc does not, as Apple's mps; "" if there is none, or a GPU that it uses."""
    found = torch.accelerator.current_accelerator(check_available=True)
    if found is None or found.type == "cuda":
        return ""
    return {"mps": "Apple's mps", "xpu": "Intel's xpu"}.get(found.type, found.type)


@dataclass
class Worker:
    """The resources of one process: the store, the raw data by source, and the inputs that it keeps between parts."""

    store: Store
    raw: Callable[[SourceConfig], Raw]
    device: torch.device = field(default_factory=default_device)
    _inputs: tuple[tuple[str, ...], Inputs] | None = None

    def data(self, trial: TrialPlan) -> Data:
        """The data of the training: its examples with their labels, and the test set."""
        raw = self.raw(trial.config.source)
        check_identity(raw, trial.config.source, trial.data)
        return prepare(raw, trial.config)

    def inputs(self, trial: TrialPlan, analysis: AnalysisPlan | None = None, heal: Heal | None = None) -> Inputs:
        """The inputs of an analysis. The data on the device and the last checkpoints stay for the next part.

        If S_n of the analysis are the atypical examples, these are `noisy`. Without an analysis, the mislabeled ones are.
        heal: puts a checkpoint back that is lost or damaged; without it, such a checkpoint is an error.
        """
        means = (trial.id, *_set_of(analysis))
        if self._inputs is None or self._inputs[0] != means:
            commit = self.store.files.patience.settled(lambda: self.store.commit(trial.id))
            if commit is None:
                raise RuntimeError(f"training {trial.id} is not committed")
            by_epoch = {c.epoch: c for c in commit.checkpoints}
            weights = lru_cache(maxsize=2)(partial(self._weights, by_epoch, heal))
            data = _with_set(self.data(trial), analysis)
            inputs = Inputs(trial.config, data, self.device, weights, history=self._history(trial, by_epoch, weights))
            self._inputs = means, inputs
        return self._inputs[1]

    def _weights(
        self, committed: Mapping[int, CheckpointEntry], heal: Heal | None, epoch: int
    ) -> Mapping[str, torch.Tensor]:
        try:
            return checkpoints.read(self.store.files, committed[epoch])
        except DamagedError:
            if heal is None:
                raise
            heal(epoch)
            return checkpoints.read(self.store.files, committed[epoch])

    def _history(
        self,
        trial: TrialPlan,
        committed: Mapping[int, CheckpointEntry],
        weights: Callable[[int], Mapping[str, torch.Tensor]],
    ) -> History:
        """The course of a committed training; committed: {epoch: its checkpoint}. weights: those after an epoch."""
        files, bits = self.store.files, numerics(self.device)
        misfit = fit_of(trial.config, lambda: self.data(trial))

        @cache
        def states() -> frozenset[int]:
            paths = files.listing(layout.checkpoints(trial.id))
            return frozenset(epoch for epoch, _ in usable_states(trial.id, paths, (), bits))

        def state(epoch: int) -> Epoch | None:
            saved = checkpoints.load_state(files, trial.id, epoch, bits, misfit)
            if saved is None:
                return None
            return Epoch(epoch, dict(weights(epoch)), saved.momentum, saved.dynamics, scaler=saved.scaler)

        def is_checkpoint(epoch: int, weights: Mapping[str, torch.Tensor]) -> bool:
            return layout.sha256(checkpoints.encode(weights)) == committed[epoch].sha256

        return History(states, state, is_checkpoint)

    def forget(self) -> None:
        """Drops what is kept between parts. The next part reads the store again and finds the device's memory free."""
        self._inputs = None
        release(self.device)


def _set_of(analysis: AnalysisPlan | None) -> tuple[str, ...]:
    """A key of the analysis's S_n: analyses of a training with the same key have the same S_n."""
    threshold = None if analysis is None else analysis.config.c_score_threshold()
    if analysis is None or threshold is None:
        return ()
    return str(analysis.config.c_scores_from()), str(threshold)


def _with_set(data: Data, analysis: AnalysisPlan | None) -> Data:
    threshold = None if analysis is None else analysis.config.c_score_threshold()
    if analysis is None or analysis.c_scores is None or threshold is None:
        return data
    return replace(data, noisy=atypical(analysis.c_scores, data.example, threshold))


def set_up_numerics(config: TrainConfig, device: torch.device) -> None:
    """Sets the numerical environment of a training and of its analyses, whatever this process did before.

    It sets the trial's threads and precision (tf32 is off for fp32), and deterministic algorithms on a GPU: there an
    operation that has none raises a RuntimeError.
    """
    torch.set_num_threads(config.threads)
    tf32 = config.precision != "fp32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    if device.type == "cuda":
        for name, value in WORKSPACE.items():
            os.environ.setdefault(name, value)  # read when cuBLAS first runs
        torch.use_deterministic_algorithms(True)
        # Otherwise PyTorch fills every new tensor before an operation writes it: 217 more kernels in a step of ResNet-9.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False
