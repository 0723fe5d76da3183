"""The items of each truth: which example, in which network, under which masks, and which neurons are the true ones."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from memloc.data.arrays import I64
from memloc.data.device import images
from memloc.models.groups import Network
from memloc.models.kept import Masks
from memloc.seeds import hashed
from memloc.stages.inputs import Inputs
from memloc.stages.locate.config import REFERENCES
from memloc.stages.locate.item import Examples, Item
from memloc.stages.locate.judged import Bools
from memloc.stages.neurons.active import Active
from memloc.stages.neurons.search import own_gradient, reference_gradient, search
from memloc.stages.neurons.task import Search, Task

SAME_LABEL = 16
POOL = 320  # clean examples of which L_ref of a search is the mean
SEARCHED = 64  # closings at which a search, and a deletion, is censored
ESTIMATED = 16  # images per step of a search


@dataclass(frozen=True)
class Setting:
    """A network with its examples.

    before: the network before it memorized. labels: int64 [n], on the device, what it was trained on. noisy: bool [n], the
    memorized examples. members: the rows of all items of the analysis in this network, whose number no score depends on.
    """

    inputs: Inputs
    network: Network
    before: Network
    labels: Tensor
    noisy: Bools
    members: I64
    memo: dict[Hashable, Tensor] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """The training's."""
        return self.inputs.train.seed

    def ordered(self, purpose: str, rows: I64, *what: int) -> I64:
        """Rows in a keyed order, which does not depend on the other rows."""
        keys = hashed(self.seed, f"locate {purpose}", *what, i=self.inputs.data.example[rows])
        return rows[np.argsort(keys, kind="stable")]

    def clean(self, without: Sequence[int] = ()) -> I64:
        """The clean rows in a keyed order, without some."""
        rows = self.ordered("references", np.flatnonzero(~self.noisy))
        return rows[~np.isin(rows, without)]

    def examples(self, rows: I64 | Sequence[int]) -> Examples:
        """Images and labels of rows."""
        at = torch.as_tensor(np.asarray(rows, dtype=np.int64)).to(self.labels.device)
        return Examples(images(self.inputs.on_device.x[at]), self.labels[at])

    def item(self, row: int, other: int, number: int, masks: Masks | None = None, without: Sequence[int] = ()) -> Item:
        """The item of a row. other: the row of another memorized example. number: that of the network. without: rows that
        are no references, besides these two.
        """
        clean = self.clean((row, other, *without))
        same = clean[self.labels.cpu().numpy()[clean] == int(self.labels[row])]
        return Item(
            self.network,
            self.before,
            self.examples([row]),
            self.examples(clean[:REFERENCES]),
            self.examples(same[:SAME_LABEL]),
            self.examples([other]),
            (self.seed, number, int(self.inputs.data.example[row])),
            partial(self._search, row, masks),
            masks,
        )

    def _search(self, row: int, masks: Masks | None) -> tuple[list[int], Tensor]:
        """(the neurons that the greedy search closes, its gradient at the first step)."""
        task, place = self._task(row, masks)
        active = Active.of(task, [Search(place)])
        gradient = own_gradient(task, active, 0)[1] + reference_gradient(task, active, 0)
        (found,) = search(task, [place])
        return found.closed, gradient[0].detach()

    def _task(self, row: int, masks: Masks | None) -> tuple[Task, int]:
        """(the search for a row, beside a pool; its place there). Without masks all share what depends on the pool alone."""
        pool = self.clean()[:POOL]
        rows = np.append(pool, row)
        at = torch.from_numpy(rows).to(self.labels.device)
        task = Task(
            self.network,
            self.inputs.on_device.x[at],
            self.labels[at],
            self.inputs.data.example[rows],
            lambda rows: masks,
            self.seed,
            0,
            ESTIMATED,
            SEARCHED,
            memo=self.memo if masks is None else {},
            over=len(pool),
        )
        return task, len(pool)


@dataclass(frozen=True)
class Case:
    """An example, and what is known of where it is.

    item: None if its label, or under the truth tied that of its decoy, is not predicted. row, number: of the example, of its
    network. candidates, truth: bool [total]. spared: the true neurons of other items, from which those of this one must be
    told. of_other: those of them that are of the item's `other`.
    plain: (all neurons of the example, those of every example). None where the truth has no such neurons.
    """

    item: Item | None
    row: int
    candidates: Bools
    truth: Bools | None = None
    spared: Bools | None = None
    of_other: Bools | None = None
    plain: tuple[Bools, Bools] | None = None
    number: int | None = None


def is_predicted(item: Item) -> bool:
    """Does the network with every gate open predict the label of the item? One that has diverged predicts none."""
    with torch.no_grad():
        z = item.logits(item.own, item.open())[0, 0]
    return bool(z.isfinite().all()) and int(z.argmax()) == int(item.own.y[0])
