"""How many labels are wrong, from labels that were made wrong on purpose.

Some labels are planted: they are made wrong, and it is known which. The others are a mixture: a share π of them is wrong,
the rest is right. If planted labels look like the wrong ones among the others, then for every threshold c of a score

    P(score of another ≥ c) = π·P(score of a planted one ≥ c) + (1 − π)·P(score of a right one ≥ c) ≥ π·P(planted ≥ c).

So q_others(c) / q_planted(c) is π, and more by what right examples reach c. A high c is reached by few right examples, but
by few planted ones too. As in best bin estimation (Garg et al., 2021), c is the threshold whose ratio has the smallest
upper limit. Their limit (Dvoretzky–Kiefer–Wolfowitz) is far too wide for shares of some per cent of some thousand
examples. Here it is that of two proportions.

A planted label may be right: planting draws it from the K − 1 classes that are not the given one, and a given label that is
wrong becomes the true one with probability 1/(K − 1). So of the planted labels only the share 1 − π/(K − 1) is wrong, and
the ratio is r = π / (1 − π/(K − 1)), whichever classes are confused. The estimate is π = r / (1 + r/(K − 1)).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memloc.statistics.interval import Floats
from memloc.statistics.parametric import wilson_limits
from memloc.statistics.trainings import PRINTED

REACHED = (0.9, 0.75, 0.5, 0.25)  # the shares of the planted that reach the thresholds; more of them would fit the noise


@dataclass(frozen=True)
class PlantedShare:
    """π of one training.

    value: from 0 to (K − 1)/K, the share of wrong labels if they are drawn at random. threshold: the score ĉ. planted,
    others: the shares of both that reach ĉ. n_planted, n_others: how many there are. classes: K.
    """

    value: float
    threshold: float
    planted: float
    others: float
    n_planted: int
    n_others: int
    classes: int

    def limits(self, level: float) -> tuple[float, float]:
        """The interval over examples, with the training and ĉ fixed."""
        ratios = ratio_limits((self.others, self.n_others), (self.planted, self.n_planted), level)
        lo, hi = (_share_of(ratio, self.classes) for ratio in ratios)
        return min(lo, self.value), max(hi, self.value)


def _share_of(ratio: float, classes: int) -> float:
    """π of the ratio r."""
    r = min(1.0, max(0.0, ratio))
    return r / (1 + r / (classes - 1))


def planted_shares(trainings: Sequence[tuple[Floats, Floats]], classes: int) -> list[PlantedShare]:
    """The share of wrong labels among the others, of each training. All use the same quantile of their planted ones.

    Args:
        trainings: (scores of examples whose labels were made wrong, scores of the other examples), float64[m] and
            float64[n], of each; higher is more suspect.
        classes: K, of which planting draws; at least 2.

    Raises:
        ValueError: there is no training, or there are no planted examples, or no others.
    """
    if not trainings or not all(len(planted) and len(others) for planted, others in trainings):
        raise ValueError("needs planted examples and others")
    candidates = [[_share(*scores, reached, classes) for scores in trainings] for reached in REACHED]
    return min(candidates, key=lambda shares: math.fsum(share.limits(PRINTED)[1] for share in shares))


def _share(planted: Floats, others: Floats, reached: float, classes: int) -> PlantedShare:
    cut = float(np.quantile(planted, 1 - reached, method="higher"))
    p, q = float(np.mean(planted >= cut)), float(np.mean(others >= cut))
    return PlantedShare(_share_of(q / p, classes), cut, p, q, len(planted), len(others), classes)


def ratio_limits(above: tuple[float, int], below: tuple[float, int], level: float) -> tuple[float, float]:
    """The interval of a ratio of two independent proportions from Wilson's intervals of both (Donner & Zou, 2012, MOVER-R).

    Args:
        above, below: (proportion, how many examples it is of); that below is above 0.
        level: of the interval.
    """
    (p, n), (q, m) = above, below
    l1, u1 = (float(v) for v in wilson_limits(np.array(p), n, level))
    l2, u2 = (float(v) for v in wilson_limits(np.array(q), m, level))
    root_lo = max(0.0, (p * q) ** 2 - l1 * u2 * (2 * p - l1) * (2 * q - u2))
    root_hi = max(0.0, (p * q) ** 2 - u1 * l2 * (2 * p - u1) * (2 * q - l2))
    return (p * q - root_lo**0.5) / (u2 * (2 * q - u2)), (p * q + root_hi**0.5) / (l2 * (2 * q - l2))
