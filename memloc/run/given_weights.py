"""The weights of given checkpoints (`run/given.py`): checked, then copied into the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from memloc.config import TrainConfig
from memloc.data import Data
from memloc.errors import UsageError
from memloc.models.build import build
from memloc.models.groups import Network
from memloc.models.weights_file import read_weights
from memloc.run.given import GivenFile, given_files
from memloc.run.plan import TrialPlan
from memloc.run.training_commit import Course, commit_training
from memloc.run.worker import Worker
from memloc.store import checkpoints
from memloc.store.commit_form import CheckpointEntry

LABELS = ("example", "label", "true_label", "noisy")


def misfit(config: TrainConfig, files: Sequence[GivenFile], images: tuple[tuple[int, int, int], int]) -> str | None:
    """Why the files are none of this network, in one line; None if they are. images: their shape (C, H, W), the classes."""
    network = build(config, *images)
    try:
        for file in files:
            take_over(network, file)
    except UsageError as error:
        return "; ".join(error.problems)
    return None


def take_over(network: Network, given: GivenFile) -> None:
    """Loads the weights of a file into the network, by name.

    Raises:
        UsageError: a name is missing or one too many, a shape is another one, or the names of one tensor have two values.
    """
    file, tensors, state = given.name, read_weights(given.name, given.sha256), network.state_dict()
    # Older checkpoints lack the count of batches, which nothing here uses.
    missing = [name for name in state if name not in tensors and not name.endswith("num_batches_tracked")]
    extra = [name for name in tensors if name not in state]
    if missing:
        beside = f"; it has {extra[0]}, …" if extra else ""
        raise UsageError(f"{file}: has no {missing[0]}{beside}: it is of another network")
    if extra:
        raise UsageError(f"{file}: has {extra[0]}, which the network has not: it is of another network")
    for name, tensor in tensors.items():
        if tensor.shape != state[name].shape:
            here, there = list(state[name].shape), list(tensor.shape)
            raise UsageError(f"{file}: {name} is of shape {there}, the network's of {here}: other images, classes or width")
    network.load_state_dict({**state, **tensors})
    first: dict[int, str] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        one = first.setdefault(id(parameter), name)
        if one != name and not torch.allclose(tensors[one], tensors[name], rtol=0, atol=0, equal_nan=True):
            raise UsageError(f"{file}: {one} and {name} are one parameter of the network, and have two values here")


def encoded(trial: TrialPlan, data: Data) -> Iterator[tuple[int, bytes]]:
    """(epoch, the content of its checkpoint in the store) of every given checkpoint."""
    network = build(trial.config, data.shape, data.classes)
    for epoch, file in given_files(trial.config).items():
        take_over(network, file)
        yield epoch, checkpoints.encode({name: tensor.contiguous() for name, tensor in network.state_dict().items()})


def copy_given(worker: Worker, trial: TrialPlan, on_epoch: Callable[[int, Mapping[str, Any]], None]) -> None:
    """Copies the given checkpoints into the store, and commits them as the training.

    There are no rows in table `epochs`, and only labels in table `examples`.
    """
    data, clock, entries = worker.data(trial), time.perf_counter(), list[CheckpointEntry]()
    for epoch, content in encoded(trial, data):
        entry = checkpoints.entry(trial.id, epoch, content)
        worker.store.files.put(entry.path, content)
        entries.append(entry)
        on_epoch(epoch, {})
    true_label = [None if label < 0 else label for label in data.true_label.tolist()]
    known = dict(zip(LABELS, (data.example, data.y, true_label, data.noisy), strict=True))
    course = Course((), known, entries, time.perf_counter() - clock)
    commit_training(worker.store, torch.device("cpu"), trial, data, course)
