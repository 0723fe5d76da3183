"""A training step of networks that memloc did not write: does every operation have a deterministic algorithm on a GPU?"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context

import numpy as np
import torch

from memloc.config import TrainConfig
from memloc.data import Data
from memloc.run.device_faults import fault_of
from memloc.run.worker import set_up_numerics
from memloc.stages.training.loop import Training

IMAGES = 4  # a batch norm needs more than one
_REFUSAL = re.compile(r"^(\S+) does not have a deterministic implementation")  # torch's words


@dataclass(frozen=True)
class TriedNetwork:
    """A training's network for images of shape (C, H, W). trial: the id of one such training."""

    trial: str
    config: TrainConfig
    shape: tuple[int, int, int]
    classes: int


def problems(networks: Sequence[TriedNetwork], device: torch.device) -> list[str]:
    """One line for each network with an operation that has no deterministic algorithm on the device.

    Another process tries them: a context on a GPU would hold memory until this one ends, and its numerics would change.
    """
    if not networks:
        return []
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            operations = [_tried(pool, network, device) for network in networks]
        except KeyboardInterrupt:
            for process in active_children():  # the pool would wait for its step
                process.kill()
            raise
    return [
        f"model: {network.config.model}: {without_algorithm(operation)}; train it with --device cpu, or take another network"
        for network, operation in zip(networks, operations, strict=True)
        if operation
    ]


def _tried(pool: ProcessPoolExecutor, network: TriedNetwork, device: torch.device) -> str | None:
    """As `nondeterministic_operation`, in the other process. What it raises keeps its traceback, and says where that was."""
    try:
        with _ctrl_c_held():
            step = pool.submit(nondeterministic_operation, network, device)
        return step.result()
    except Exception as error:
        error.add_note(
            f"memloc: this ended the training step that tries trial {network.trial} (model: {network.config.model}) on "
            f"{device} before the sweep. The sweep has not begun. --device cpu leaves this step out"
        )
        raise


@contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """A process that begins in it does not get Ctrl-C. On a terminal all processes do, and each would print a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def nondeterministic_operation(network: TriedNetwork, device: torch.device) -> str | None:
    """What torch calls the operation, of a training epoch or of its evaluation, that is refused; None: there is none.

    It changes the numerics of this process. If the device is full or fails now, the answer is None.
    """
    set_up_numerics(network.config, device)
    torch.use_deterministic_algorithms(True)
    n, labels = IMAGES, np.arange(IMAGES) % network.classes
    x = np.zeros((n, *network.shape), np.uint8)
    data = Data(x, labels, labels, np.zeros(n, bool), np.arange(n), x, labels, network.classes)
    try:
        Training(network.config, data, device).train_epoch(1)
    except Exception as error:
        if operation := refused_operation(error):
            return operation
        if not fault_of(error):
            raise
    return None


def refused_operation(error: BaseException | None) -> str | None:
    """The operation that torch refused because it has no deterministic algorithm; None: the error has another cause."""
    while error is not None:
        if isinstance(error, RuntimeError) and (refusal := _REFUSAL.match(str(error))):
            return refusal[1]
        error = error.__cause__  # a traced network tells of what its forward pass raises
    return None


def without_algorithm(operation: str) -> str:
    """What is said of such an operation, in one line."""
    return f"torch has no deterministic algorithm for {operation} on a GPU, so its results could not be repeated"
