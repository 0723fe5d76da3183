"""In which mode the steps of an epoch run (`batch_norm`, `stochastic`): for a training and for what trains again."""

from __future__ import annotations

from dataclasses import dataclass

from memloc.config import FrozenStatistics, TrainConfig


@dataclass(frozen=True)
class Mode:
    """train: train mode, so that batch norms take the batch's statistics and update the running ones. Else evaluation mode:
    batch norms take the running statistics, which stay. random_dropout: the masks that are drawn anew in every step act.
    """

    train: bool
    random_dropout: bool


def mode(config: TrainConfig, epoch: int) -> Mode:
    """The mode of an epoch 1..T. Under `batch_norm: frozen` it is evaluation mode from epoch 2 on."""
    if epoch > 1 and isinstance(config.batch_norm, FrozenStatistics):
        return Mode(train=False, random_dropout=config.batch_norm.stochastic == "on")
    return Mode(train=True, random_dropout=True)
