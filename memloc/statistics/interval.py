"""What every statistic returns: an estimate with its interval; and the types of its arrays."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Labels: TypeAlias = npt.NDArray[np.generic]

TAIL = 0.025  # the probability outside of a 95 % interval, on either side
Z = float(ndtri(1 - TAIL))  # 1.96


class Interval(NamedTuple):
    """An estimate and its interval, in the unit of the quantity; lo and hi are None where the spread cannot be estimated."""

    value: float
    lo: float | None
    hi: float | None


class Difference(NamedTuple):
    """As Interval, with the two-sided p-value of the difference being zero."""

    value: float
    lo: float | None
    hi: float | None
    p: float | None


def in_brackets(interval: Interval, digits: int) -> str:
    """`5.01 [4.70, 5.32]`, or the estimate alone where its spread is unknown."""
    if interval.lo is None or interval.hi is None:
        return f"{interval.value:.{digits}f}"
    return f"{interval.value:.{digits}f} [{interval.lo:.{digits}f}, {interval.hi:.{digits}f}]"
