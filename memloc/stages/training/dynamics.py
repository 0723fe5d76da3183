"""Training dynamics of each example (science.md, Training and Detection scores), and table `examples` made from them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from memloc.config import TrainConfig
from memloc.data import Data
from memloc.models.inference import margins

ROOM = 2**22  # numbers, float64, of what an update needs for each example and class at the same time: 32 MB a tensor


class Dynamics:
    """Running per-example statistics over the training passes, [n] each, on the device; `probabilities` is [n, K].

    Every example's logits come from its training pass, before the update (science.md, Training).
    """

    INTEGERS = ("last_wrong", "forgetting", "was_correct", "ever_correct")
    SUMS = ("margin", "loss", "el2n", "final_loss")

    def __init__(self, config: TrainConfig, n: int, classes: int, device: torch.device) -> None:
        self.early = max(1, round(config.epochs / 5))
        self.epochs = config.epochs
        self.patience = config.stop_after_perfect
        self.values = {k: torch.zeros(n, dtype=torch.int64, device=device) for k in self.INTEGERS}
        self.values |= {k: torch.zeros(n, dtype=torch.float64, device=device) for k in self.SUMS}
        self.values["probabilities"] = torch.zeros(n, classes, dtype=torch.float64, device=device)

    def update(self, epoch: int, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Takes in one epoch's logits (n×K float32); returns (loss float64 [n], correct bool [n])."""
        found = [self._update(epoch, rows, z[rows], y[rows]) for rows in _pieces(*z.shape)]
        return torch.cat([loss for loss, _ in found]), torch.cat([correct for _, correct in found])

    def _update(self, epoch: int, rows: slice, z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        z = z.to(torch.float64)
        loss = F.cross_entropy(z, y, reduction="none")
        margin = margins(z, y)
        correct = z.argmax(dim=1) == y
        v = {name: values[rows] for name, values in self.values.items()}  # views: what follows changes the values
        v["forgetting"] += (v["was_correct"] == 1) & ~correct
        v["last_wrong"].masked_fill_(~correct, epoch)
        v["was_correct"].copy_(correct)
        v["ever_correct"] |= correct
        v["margin"] += margin
        v["loss"] += loss
        v["final_loss"].copy_(loss)
        probabilities = z.softmax(dim=1)
        v["probabilities"] += probabilities
        if epoch <= self.early:
            v["el2n"] += (probabilities - F.one_hot(y, z.shape[1])).norm(dim=1)
        return loss, correct

    def stop(self) -> int:
        """The epoch after which the training ends, as far as is known: T, or the Nth perfect epoch in a row."""
        if self.patience is None:
            return self.epochs
        return min(self.epochs, int(self.values["last_wrong"].max()) + self.patience)

    def columns(self, y: Tensor, stopped: int | None = None) -> dict[str, Any]:
        """The raw scores of table `examples`, NumPy [n] each, after the last epoch; means are over the epochs trained.

        What is wrong in the last of these, or was never right, has T + 1 for "never", with the T that was asked for.

        stopped: the epoch at which `stop` has ended the training, if it has.
        alternative: of the classes other than the label y (int64 [n]), the one with the largest mean probability.
        """
        v = {k: t.cpu() for k, t in self.values.items()}
        label = y.cpu()[:, None]
        others = [_largest_but(v["probabilities"][rows], label[rows]) for rows in _pieces(*v["probabilities"].shape)]
        alternative, sums = (torch.cat(each) for each in zip(*others, strict=True))
        trained = self.stop() if stopped is None else stopped
        never = v["ever_correct"] == 0
        columns = {
            "learning_time": torch.where(v["last_wrong"] == trained, self.epochs, v["last_wrong"]) + 1,
            "forgetting": torch.where(never, self.epochs + 1, v["forgetting"]),
            "aum": v["margin"] / trained,
            "el2n": v["el2n"] / min(self.early, trained),
            "mean_loss": v["loss"] / trained,
            "final_loss": v["final_loss"],
            "mean_prob": v["probabilities"].gather(1, label).squeeze(1) / trained,
            "alternative": alternative,
            "alternative_prob": sums / trained,
        }
        return {k: t.numpy() for k, t in columns.items()}


def _pieces(n: int, classes: int) -> list[slice]:
    """All n rows in pieces of about as many rows each, at most `ROOM` numbers (or 64 rows) in one.

    A piece begins at a multiple of 64 rows, so a row lies in memory as it does in the whole, and its sums have the same
    bits.
    """
    blocks = -(-n // 64)
    count = min(blocks, -(-blocks * 64 * classes // ROOM))
    bounds = [min(n, 64 * (blocks * k // count)) for k in range(count + 1)]
    return [slice(start, end) for start, end in pairwise(bounds)]


def _largest_but(sums: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """(the other class with the largest sum, that sum) of each row. sums: n×K. label: int64 [n, 1]."""
    others = sums.scatter(1, label, -1.0)
    return others.argmax(dim=1), others.amax(dim=1)


def examples_table(
    config: TrainConfig, data: Data, dynamics: dict[str, Tensor], stopped: int | None = None
) -> dict[str, Any]:
    """Table `examples` from the last epoch's dynamics; stopped: as in `Dynamics.columns`."""
    state = Dynamics(config, len(data.y), data.classes, torch.device("cpu"))
    state.values = dict(dynamics)
    true_label = [None if label < 0 else label for label in data.true_label.tolist()]  # −1: nobody knows it
    labels = {"example": data.example, "label": data.y, "true_label": true_label, "noisy": data.noisy}
    return labels | state.columns(torch.from_numpy(data.y), stopped)
