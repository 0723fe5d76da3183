"""What a whole computation takes, from counts of a few short runs of it. Quantities grow linearly with what these vary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from memloc.run.by_shape.counting import Counts


@dataclass(frozen=True)
class Taken:
    """terms: (weight, counts of a short run); a quantity of the whole is the weighted sum of the runs' own.

    memory: the terms for memory; runs that repeat something do not need more of it. held: bytes that are alive all the
    time, beyond those of the runs.
    """

    terms: tuple[tuple[float, Counts], ...]
    memory: tuple[tuple[float, Counts], ...]
    held: int = 0

    def total(self, quantity: Callable[[Counts], float]) -> float:
        """The quantity of the whole, at least 0."""
        return max(0.0, sum(weight * quantity(counts) for weight, counts in self.terms))

    @property
    def operations(self) -> float:
        """Operations of matrix products and convolutions."""
        return self.total(lambda counts: counts.operations)

    @property
    def moved(self) -> float:
        """Bytes that kernels read and write."""
        return self.total(lambda counts: counts.moved)

    @property
    def launches(self) -> float:
        """Kernels."""
        return self.total(lambda counts: counts.launches)

    @property
    def reads(self) -> float:
        """How often the host waits for a value of the device."""
        return self.total(lambda counts: counts.reads)

    @property
    def copies(self) -> float:
        """Transfers between host and device."""
        return self.total(lambda counts: counts.copies)

    @cached_property
    def peak(self) -> int:
        """The most bytes of live tensors.

        Every line of the program has its own peak, which grows linearly with the number of examples. The line with the
        largest peak in the end is not always the one that has it in the runs.
        """
        runs = [counts for _, counts in self.memory]
        places = set.intersection(*(set(counts.peaks) for counts in runs))
        extended = (sum(weight * counts.peaks[place] for weight, counts in self.memory) for place in places)
        return self.held + int(max([*extended, *(counts.peak for counts in runs)]))

    @property
    def kept(self) -> int:
        """Bytes of tensors that are alive at the end: what stays from batch to batch."""
        return self.held + int(max(0.0, sum(weight * counts.kept for weight, counts in self.memory)))
