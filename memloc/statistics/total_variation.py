"""How far apart the mean shares of two sets of examples are: the total variation ½ Σ |p − q|, over trainings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from memloc.statistics.interval import Bools, Floats
from memloc.statistics.scales import SHARE
from memloc.statistics.trainings import OverTrainings

RESAMPLES = 2000  # of the bootstrap
AT_ONCE = 64  # at most so many trainings are resampled together


def shares_apart(shares: Floats, noisy: Bools, generator: np.random.Generator) -> OverTrainings:
    """The mean over trainings of the total variation between the mean shares of noisy and of clean examples.

    The interval over examples is the basic bootstrap's: examples are resampled within each set, together in all trainings.
    Resampling adds to a total variation about what sampling has added to the estimate, and the basic interval takes that
    off. Where it takes off more than there is, the interval ends at the estimate.

    Args:
        shares: float64[trainings, examples, layers]; every training has examples of both sets.
        noisy: bool[examples].
        generator: of the resamples.
    """
    both = (noisy, ~noisy)
    ones = [np.ones((1, int(members.sum()))) for members in both]
    each = _apart(shares, both, ones)[0]
    times = []
    for members in both:
        n = int(members.sum())
        times.append(generator.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64))
    resampled = np.sort(_apart(shares, both, times).mean(axis=1))
    value = float(each.mean())
    return OverTrainings(value, tuple(each.tolist()), partial(_basic, value, resampled[~np.isnan(resampled)]), SHARE)


def _apart(shares: Floats, both: tuple[Bools, Bools], weights: Sequence[Floats]) -> Floats:
    """Total variation ½ Σ |p − q|: float64[resamples, trainings]. weights: of both sets, float64[resamples, examples]."""
    parts = []
    for some in np.array_split(shares, -(-len(shares) // AT_ONCE)):
        one, other = (_mean_shares(some[:, members], of_set) for members, of_set in zip(both, weights, strict=True))
        one -= other
        parts.append(0.5 * np.abs(one, out=one).sum(axis=-1))
    return np.concatenate(parts, axis=1)


def _mean_shares(shares: Floats, weights: Floats) -> Floats:
    """float64[resamples, trainings, layers]; NaN where a training has no example of positive weight."""
    there = ~np.isnan(shares[:, :, 0])
    sums = np.einsum("rn,tnl->rtl", weights, np.where(np.isnan(shares), 0.0, shares), optimize=True)
    total = weights @ there.T
    means: Floats = sums / np.where(total > 0, total, np.nan)[:, :, None]
    return means


def _basic(value: float, resampled: Floats, level: float) -> tuple[float, float]:
    lo, hi = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return min(value, max(0.0, float(2 * value - hi))), max(value, min(1.0, float(2 * value - lo)))
