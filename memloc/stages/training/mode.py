"""The mode of an epoch's steps (`batch_norm`, `stochastic`), in a training and in stages that train again."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from memloc.config import BatchStatistics, FrozenStatistics, TrainConfig
from memloc.models.dropouts import Dropout, OwnDropouts
from memloc.models.kept import Masks


@dataclass(frozen=True)
class Mode:
    """The mode of a step.

    train: True means train mode: batch norms take the batch's statistics and update the running ones. False means evaluation
    mode: batch norms take the running statistics and do not change them. random_dropout: do masks act that are drawn anew in
    every step?
    """

    train: bool
    random_dropout: bool


def epoch_mode(config: TrainConfig, epoch: int) -> Mode:
    """The mode of an epoch 1..T. Under `batch_norm: frozen` it is evaluation mode from epoch 2 on."""
    if epoch > 1 and isinstance(config.batch_norm, FrozenStatistics):
        return Mode(train=False, random_dropout=config.batch_norm.stochastic == "on")
    return Mode(train=True, random_dropout=True)


def with_batch_norm(config: TrainConfig, kind: str) -> TrainConfig:
    """The training with `batch_norm` of this kind, `train` or `frozen`. Another kind resets `stochastic` to its default."""
    if kind == config.batch_norm.kind:
        return config
    return config.model_copy(update={"batch_norm": FrozenStatistics() if kind == "frozen" else BatchStatistics()})


@dataclass(frozen=True)
class StepMasks:
    """The dropout factors of training steps: a training's dropout together with the architecture's own dropouts.

    mask_mode: under which masks an example-tied network runs (plain, own, scaled, dropped); None: each example's own.
    """

    dropout: Dropout
    own_dropouts: OwnDropouts
    mask_mode: str | None = None

    def at(self, mode: Mode, rows: Tensor, epoch: int, step: int) -> Masks | None:
        """The factors in a step of the epoch, for a batch of these rows (int64 [B])."""
        if self.mask_mode is not None:
            masks = self.dropout.evaluation(self.mask_mode, rows)
        elif mode.random_dropout:
            masks = self.dropout.training(rows, epoch, step)
        else:
            masks = self.dropout.fixed(rows)
        return self.own_dropouts.training(len(rows), epoch, step, masks) if mode.random_dropout else masks
