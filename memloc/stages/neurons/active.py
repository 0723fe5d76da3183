"""The searches that go on, with what the device has of them: nothing of it is made anew in a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from memloc.stages.neurons.task import Search, Task
from memloc.stages.training.transfer import to_device


@dataclass(frozen=True)
class Active:
    """searches: B of them. rows: int64 [B], the searched examples. labels: int64 [B], what they are trained on. gates:
    B×total, 0 where a search has closed.
    """

    searches: list[Search]
    rows: Tensor
    labels: Tensor
    gates: Tensor

    @classmethod
    def of(cls, task: Task, searches: Sequence[Search]) -> Active:
        """As the searches stand."""
        rows = task.on_device(np.array([s.row for s in searches], dtype=np.int64))
        gates = torch.ones(len(searches), task.neurons.total, dtype=task.dtype)
        for k, s in enumerate(searches):
            gates[k, s.closed] = 0.0
        return cls(list(searches), rows, task.y[rows], to_device(gates, rows.device))

    def only(self, kept: Sequence[int], gradient: Tensor | None = None) -> tuple[Active, Tensor | None]:
        """Some of the searches, in this order, and their rows of a gradient (B×total)."""
        if list(kept) == list(range(len(self.searches))):
            return self, gradient
        at = to_device(torch.tensor(kept, dtype=torch.int64), self.rows.device)
        some = Active([self.searches[k] for k in kept], self.rows[at], self.labels[at], self.gates[at])
        return some, None if gradient is None else gradient[at]

    def closing(self, best: Tensor) -> Active:
        """One more gate of each closed on the device; best: int64 [B]."""
        places = torch.arange(self.gates.shape[1], device=best.device)
        return replace(self, gates=self.gates.masked_fill(places == best[:, None], 0.0))


@dataclass(frozen=True)
class ByGroup:
    """Searches in the order of the group with their first closed gate. Up to it the network does the same for all of them.

    sizes: [(index of that group, how many searches)]. back: int64 [B], where each search of the first order is now; None if
    it is the same order.
    """

    active: Active
    sizes: list[tuple[int, int]]
    back: Tensor | None

    @classmethod
    def of(cls, task: Task, active: Active) -> ByGroup:
        groups: dict[int, list[int]] = {}
        for k, s in enumerate(active.searches):
            places = [task.group_index(task.neurons.locate(index)[0]) for index in s.closed]
            groups.setdefault(min(places, default=len(task.network.groups)), []).append(k)
        sizes = [(first, len(members)) for first, members in groups.items()]
        order = [k for members in groups.values() for k in members]
        if order == list(range(len(order))):
            return cls(active, sizes, None)
        both = to_device(torch.from_numpy(np.stack([order, np.argsort(order)])), active.rows.device)
        of_order = Active(
            [active.searches[k] for k in order], *(t[both[0]] for t in (active.rows, active.labels, active.gates))
        )
        return cls(of_order, sizes, both[1])

    def pieces(self, at_most: int) -> Iterator[tuple[int, slice]]:
        """(index of the first group, searches that go through the network together)."""
        start = 0
        for first, count in self.sizes:
            for k in range(start, start + count, at_most):
                yield first, slice(k, min(k + at_most, start + count))
            start += count

    def in_first_order(self, values: Tensor) -> Tensor:
        """Rows of these searches (B×…) in the order in which the searches were given."""
        return values if self.back is None else values[self.back]
