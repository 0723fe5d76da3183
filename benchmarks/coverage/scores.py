"""Simulated counts of neurons and detection scores: means, differences and ratios of them, and AUCs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from scipy.special import ndtr, ndtri

from benchmarks.coverage.effects import Drawn, Effect, Generator, How, Shape, Simulation, by_influences, limits_of
from memloc.seeds import stream
from memloc.statistics import Floats
from memloc.statistics.influences import of_aucs, of_differences, of_log_ratios, of_means
from memloc.statistics.scales import AREA, LOG, PROBIT, REAL, Scale
from memloc.statistics.trainings import Limits

NOISY = (2.0, 1.0)  # 1 + gamma(shape, scale): mean 3, variance 2
CLEAN = (1.0, 4.0)  # mean 5, variance 16
MANY = 20_000  # draws behind an expected value without a closed form


@dataclass(frozen=True)
class MeanCount(Simulation):
    """The mean count of m noisy examples, which is skewed: the jackknife."""

    m: int
    runs: ClassVar[int] = 4_000

    @property
    def name(self) -> tuple[str, str]:
        return "mean count", f"{self.m} examples"

    def truth(self, effect: Effect, k: int) -> float:
        return 3.0

    def limits(self, generator: Generator, effect: Effect, shape: Shape, how: How) -> Limits:
        moved = effect.applied(0.0, float(np.sqrt(2.0 / self.m)), REAL, generator.normal(size=(*shape, 1)))
        table = 1 + generator.gamma(*NOISY, size=(*shape[:2], 1, self.m)) + moved
        return limits_of(by_influences(of_means(table), REAL), REAL, how)


@dataclass(frozen=True)
class TwoCounts(Simulation):
    """Mean counts of m noisy against n clean examples, both skewed: the jackknife. Seeds move the noisy ones."""

    m: int
    n: int
    kind: Literal["difference", "ratio"]
    runs: ClassVar[int] = 4_000

    @property
    def pools(self) -> bool:  # type: ignore[override]
        return self.kind == "ratio"

    @property
    def name(self) -> tuple[str, str]:
        return f"{self.kind} of mean counts", f"{self.m} + {self.n} examples"

    def truth(self, effect: Effect, k: int) -> float:
        return 3 / 5 if self.kind == "ratio" else 3.0 - 5.0

    def limits(self, generator: Generator, effect: Effect, shape: Shape, how: How) -> Limits:
        noisy, clean = (
            1 + generator.gamma(*counts, size=(*shape[:2], 1, n)) for counts, n in ((NOISY, self.m), (CLEAN, self.n))
        )
        normal, above = generator.normal(size=(*shape, 1)), np.arange(self.m + self.n) < self.m
        if self.kind == "ratio":
            scale, error = LOG, float(np.sqrt(2 / 9 / self.m + 16 / 25 / self.n))
            noisy = noisy * effect.applied(1.0, error, LOG, normal)
        else:
            scale, error = REAL, float(np.sqrt(2 / self.m + 16 / self.n))
            noisy = noisy + effect.applied(0.0, error, REAL, normal)
        table = np.concatenate([noisy, np.broadcast_to(clean, (*shape, self.n))], axis=-1)
        influences = (of_log_ratios if self.kind == "ratio" else of_differences)(table, above)
        return limits_of(by_influences(influences, scale), scale, how)


@dataclass(frozen=True)
class Ranking(Simulation):
    """The AUC of m noisy against n clean examples, with normal scores: the mean of the trainings', or of the mean scores.

    anew: the share of the scores' variance that each training draws anew, and that averaging removes.
    """

    auc: float
    m: int
    n: int
    averaged: bool = False
    anew: float = 0.0
    runs: ClassVar[int] = 2_000
    transforms: ClassVar[bool] = True

    @property
    def pools(self) -> bool:  # type: ignore[override]
        return not self.averaged

    @property
    def name(self) -> tuple[str, str]:
        return "AUC of mean scores" if self.averaged else "mean AUC", f"{self.auc:g}, {self.m} + {self.n} examples"

    @property
    def error(self) -> float:
        """The standard error over examples, by Hanley & McNeil's (1982) formula."""
        a, q, r = self.auc, self.auc / (2 - self.auc), 2 * self.auc**2 / (1 + self.auc)
        return float(np.sqrt((a * (1 - a) + (self.m - 1) * (q - a**2) + (self.n - 1) * (r - a**2)) / (self.m * self.n)))

    def truth(self, effect: Effect, k: int) -> float:
        if not self.averaged:
            return effect.expected(self.auc, self.error, AREA)
        normal = stream(0, "coverage truth", effect.unit, round(100 * effect.size), k).normal(size=(MANY, k))
        spread = np.sqrt(2 * (1 - self.anew + self.anew / k))
        return float(ndtr(self._distances(effect, normal).mean(axis=1) / spread).mean())

    def limits(self, generator: Generator, effect: Effect, shape: Shape, how: How) -> Limits:
        positive = np.arange(self.m + self.n) < self.m
        scores = np.sqrt(1 - self.anew) * generator.normal(size=(*shape[:2], 1, len(positive)))
        table = scores + self._distances(effect, generator.normal(size=(*shape, 1))) * positive
        if self.anew:
            table = table + np.sqrt(self.anew) * generator.normal(size=table.shape)
        scale: Scale = PROBIT if how == "transformed" else AREA
        drawn = by_influences(of_aucs(table, positive), scale)
        if self.averaged:
            means = by_influences(of_aucs(table.mean(axis=-2, keepdims=True), positive), scale)
            drawn = Drawn(drawn.each, means.value, means.examples)
        return limits_of(drawn, AREA, how)

    def _distances(self, effect: Effect, normal: Floats) -> Floats:
        """Between the means of the two sets, in standard deviations of a score."""
        aucs = np.clip(effect.applied(self.auc, self.error, AREA, normal), 1e-6, 1 - 1e-6)
        distances: Floats = np.sqrt(2) * ndtri(aucs)
        return distances
