"""The held-out examples of trainings behind C-scores (science.md, Atypical examples; Jiang et al., 2021).

A training with `ratio` r sees round(r·n) of n examples. The others are held out. The held-out sets of the cuts 0, 1, … are
taken one after the other from keyed permutations of the examples. So every example is held out at least m times after
⌈m·n / held-out size⌉ cuts, and fewer cuts are not enough.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from memloc.data.arrays import I64
from memloc.seeds import stream


def held_out_size(n: int, ratio: float) -> int:
    """How many of n examples are held out: n − round(ratio·n), at least one and at most n − 2."""
    return n - min(max(2, round(ratio * n)), n - 1)


def cuts_needed(n: int, ratio: float, min_held_out: int) -> int:
    """The number of trainings after which every example was held out `min_held_out` times."""
    return math.ceil(min_held_out * n / held_out_size(n, ratio))


def held_out(n: int, ratio: float, cut: int, data_seed: int) -> npt.NDArray[np.bool_]:
    """bool [n]: the rows that the cut holds out."""
    size = held_out_size(n, ratio)
    first, end = cut * size, (cut + 1) * size
    permutations = 1 << (math.ceil(end / n) - 1).bit_length()  # a power of two, so that few orders serve many cuts
    out = np.zeros(n, dtype=bool)
    out[_order(n, size, permutations, data_seed)[first:end]] = True
    return out


@lru_cache(maxsize=16)
def _order(n: int, size: int, permutations: int, data_seed: int) -> I64:
    """int64 [permutations·n]: keyed permutations of the rows 0..n−1 in a line. Every cut has `size` different rows.

    A cut may begin in one permutation and end in the next. A row at the beginning of the next one that the cut already has
    is moved behind the end of the cut.
    """
    line = np.empty(permutations * n, dtype=np.int64)
    for k in range(permutations):
        order = stream(data_seed, "held out", n, size, k).permutation(n)
        begun = k * n % size  # rows of the unfinished cut, at the end of the previous permutation
        if begun:
            again = np.isin(order, line[k * n - begun : k * n])
            fresh = np.flatnonzero(~again)[: size - begun]
            order = np.concatenate([order[fresh], np.delete(order, fresh)])
        line[k * n : (k + 1) * n] = order
    line.flags.writeable = False
    return line
