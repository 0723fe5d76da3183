"""Does a state of a training, as somebody has written it into the store, fit to its network and its data?

One whose hash is right can be of another network. Such a state is passed over, as a damaged one is: an older one serves, or
the training begins anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor

from memloc.config import TrainConfig
from memloc.data import Data
from memloc.models.build import build
from memloc.stages.training.dynamics import Dynamics
from memloc.stages.training.optimizer import optimizer_of
from memloc.stages.training.schema import TABLES
from memloc.store.documents import LIMIT
from memloc.store.state_form import Misfit, ResumeState

Shapes = Mapping[str, tuple[torch.Size, torch.dtype]]
SCALER = ("scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker")


def fit_of(config: TrainConfig, data: Callable[[], Data]) -> Misfit:
    """A function that says what of a state does not fit to this training, or None. data: is asked once a state is there."""

    @cache
    def expected() -> tuple[Shapes, Shapes, Shapes]:
        known, meta = data(), torch.device("meta")
        with meta:
            network = build(config, known.shape, known.classes)
            optimizer = optimizer_of(config, network.parameters(), config.lr)
            optimizer.prepare()
            slots = optimizer.tensors(network.named_parameters())
        dynamics = Dynamics(config, len(known.y), known.classes, meta).values
        return _shapes(network.state_dict()), _shapes(slots), _shapes(dynamics)

    def misfit(state: ResumeState, weights: Mapping[str, Tensor] | None) -> str | None:
        of_weights, of_momentum, of_dynamics = expected()
        wrong = None
        if weights is not None:  # else it is of a committed training: its weights, rows and checkpoints come from the commit
            wrong = _unlike("weights", weights, of_weights) or _odd_rows(state, config)
        wrong = wrong or _unlike("dynamics", state.dynamics, of_dynamics)
        # Parameters that have had no gradient yet have no state.
        wrong = wrong or _unlike("momentum", state.momentum, {n: s for n, s in of_momentum.items() if n in state.momentum})
        return wrong or (_odd_scaler(state.scaler) if config.precision == "fp16" else None)

    return misfit


def _shapes(tensors: Mapping[str, Tensor]) -> Shapes:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _unlike(what: str, found: Mapping[str, Tensor], expected: Shapes) -> str | None:
    if found.keys() != expected.keys():
        return f"its {what} have other names: {sorted(found.keys() ^ expected.keys())[0]!r}"
    for name, tensor in found.items():
        if (tensor.shape, tensor.dtype) != expected[name]:
            shape, kind = expected[name]
            return f"its {what} have {name!r} as {list(tensor.shape)} {tensor.dtype}, and not as {list(shape)} {kind}"
    return None


def _odd_rows(state: ResumeState, config: TrainConfig) -> str | None:
    """What is wrong with the rows of table `epochs`, or with the list of checkpoints."""
    count = len(state.rows)
    if state.epoch > config.epochs:
        return f"it is after epoch {state.epoch} of {config.epochs}"
    if count != state.epoch and not (config.stop_after_perfect is not None and count < state.epoch):  # later ones have none
        return f"it has rows of {count} epochs"
    if [entry.epoch for entry in state.entries] != list(range(state.epoch + 1)):
        return "it does not list one checkpoint for each epoch"
    for epoch, row in enumerate(state.rows, start=1):
        for name in TABLES["epochs"].names[1:]:
            value = row.get(name, "")
            if not (_is_number(value) or (value is None and name.endswith("_acc"))):
                return f"{name} of epoch {epoch} is {str(value)[:40]!r}"
        if row["epoch"] != epoch or not 0 <= row["seconds"] < LIMIT:
            return f"a row is of epoch {row['epoch']}, and of {row['seconds']} seconds"
    return None


def _odd_scaler(scaler: Any) -> str | None:
    numbers = isinstance(scaler, dict) and all(_is_number(scaler.get(name)) and 0 <= scaler[name] < LIMIT for name in SCALER)
    if numbers and all(isinstance(scaler[name], int) for name in ("growth_interval", "_growth_tracker")):
        return None
    return "it has not the numbers of a gradient scaler"


def _is_number(value: Any) -> bool:
    """Also NaN and infinities: the loss of a training that diverges."""
    return isinstance(value, float) or (type(value) is int and abs(value) < LIMIT)
