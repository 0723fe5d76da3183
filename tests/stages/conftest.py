"""Trainings of a few seconds in all, shared by the stages' tests: 120 digits, 20% noise, a ResNet-9 of width 1/16."""

from __future__ import annotations

import pickle
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from memloc.config import TrainConfig
from memloc.data import Data, load, prepare
from memloc.models.architectures import resolved
from memloc.stages.base import Size
from memloc.stages.inputs import History, Inputs
from memloc.stages.training.loop import Epoch, train
from tests.conftest import shared
from tests.models.plain import GROUPS

CPU = torch.device("cpu")
BASE: dict[str, Any] = {
    "dataset": "digits",
    "model": "resnet9",
    "width": 0.0625,
    "subset": 120,
    "noise": 0.2,
    "epochs": 3,
    "batch_size": 32,
}
TIED = {"dropout": "example_tied", "p_gen": 0.3, "p_mem": 0.2}
DROPOUTS: dict[str, dict[str, Any]] = {
    "none": {},
    "tied": TIED,
    "standard element": {"dropout": "standard", "keep": 0.6, "unit": "element"},
    "standard channel": {"dropout": "standard", "keep": 0.6, "unit": "channel"},
    "sparse weight": {"dropout": "sparse", "keep": 0.6, "unit": "weight"},
    "sparse element": {"dropout": "sparse", "keep": 0.6, "unit": "element"},
    "sparse channel": {"dropout": "sparse", "keep": 0.6, "unit": "channel"},
    "sparse batch_element": {"dropout": "sparse", "keep": 0.6, "unit": "batch_element"},
}


@dataclass(frozen=True)
class Trained:
    config: TrainConfig
    data: Data
    epochs: list[Epoch]

    @property
    def size(self) -> Size:
        n, n_noisy, n_test = len(self.data.y), int(self.data.noisy.sum()), len(self.data.y_test)
        return Size(n, n_noisy, n_test, parameters=1, groups=GROUPS, classes=self.data.classes)

    def inputs(self, states: Collection[int] = ()) -> Inputs:
        """states: the epochs after which the training can go on."""
        history = History(lambda: frozenset(states), lambda t: self.epochs[t], self._is_checkpoint)
        return Inputs(self.config, self.data, CPU, lambda t: self.epochs[t].weights, history=history)

    def _is_checkpoint(self, epoch: int, weights: Mapping[str, Tensor]) -> bool:
        """Bytes are compared, because NaN (of a training that diverged) is not equal to itself."""
        own = self.epochs[epoch].weights
        return own.keys() == weights.keys() and all(own[k].numpy().tobytes() == weights[k].numpy().tobytes() for k in own)


def settings(tested: int = 80, **fields: Any) -> tuple[TrainConfig, Data]:
    """tested: how many of the 360 test images there are. All of them are two groups of at most 256."""
    given = {**BASE, **fields}
    config = resolved(**{name: value for name, value in given.items() if value is not None})  # None: as if not given
    data = prepare(load(config.dataset), config.model_copy(update={"held_out": None}))
    return config, replace(data, x_test=data.x_test[:tested], y_test=data.y_test[:tested])


def run(**fields: Any) -> Trained:
    config, data = settings(**fields)
    return Trained(config, data, list(train(config, data, CPU)))


def run_once(**fields: Any) -> Trained:
    """As `run`, but each training is done once in a process. Only to be read."""
    return _run_once(tuple(sorted(fields.items())))


@cache
def _run_once(fields: tuple[tuple[str, Any], ...]) -> Trained:
    return run(**dict(fields))


def kept(factory: pytest.TempPathFactory, name: str, **fields: Any) -> Trained:
    """As `run` with all test images, but each training is done once for all processes. Only to be read."""
    folder = shared(factory, name, lambda f: (f / "run.pickle").write_bytes(pickle.dumps(run(tested=360, **fields))))
    trained: Trained = pickle.loads((folder / "run.pickle").read_bytes())
    return trained


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """No dropout, long enough that the noisy examples are partly memorized."""
    return kept(tmp_path_factory, "stages-plain", epochs=12, batch_size=16)


@pytest.fixture(scope="session")
def memorizing(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """No dropout, wide and long enough that nearly every noisy example is memorized, in several layers."""
    return kept(tmp_path_factory, "stages-memorizing", width=0.125, epochs=24, batch_size=16)


@pytest.fixture(scope="session")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Wide and long enough that every mode and rescaling has accuracies of its own."""
    return kept(tmp_path_factory, "stages-tied", **{**TIED, "p_gen": 0.5}, width=0.125, epochs=14, batch_size=16)
