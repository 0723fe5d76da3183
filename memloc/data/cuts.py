"""Which examples a training of the C-score experiment does without (science.md, Atypical examples; Jiang et al., 2021).

A training with `ratio` r sees round(r·n) of n examples; the others are held out. The held-out sets of the cuts 0, 1, … are
taken, one after the other, from keyed permutations of the examples. So after ⌈m·n / held-out size⌉ cuts every example
was held out at least m times, and no fewer cuts would do.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from memloc.data.arrays import I64
from memloc.seeds import stream


def held_out_size(n: int, ratio: float) -> int:
    """How many of n examples a training does without: n − round(ratio·n), and at least two are trained on, one is not."""
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
    """int64 [permutations·n]: keyed permutations of the rows 0..n−1 in a line, of which any cut has `size` different rows.

    A cut that begins in one permutation and ends in the next would have a row twice where the next one begins with it:
    such rows step back behind the cut's end.
    """
    line = np.empty(permutations * n, dtype=np.int64)
    for k in range(permutations):
        order = stream(data_seed, "held out", n, size, k).permutation(n)
        begun = k * n % size  # rows of the unfinished cut that stand at the end of the permutation before
        if begun:
            again = np.isin(order, line[k * n - begun : k * n])
            fresh = np.flatnonzero(~again)[: size - begun]
            order = np.concatenate([order[fresh], np.delete(order, fresh)])
        line[k * n : (k + 1) * n] = order
    line.flags.writeable = False
    return line
