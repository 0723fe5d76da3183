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

CHUNK = 32  # permutations that are made at once; the cuts of a usual sweep need no more


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
    out = np.zeros(n, dtype=bool)
    for k in range(first // n, (end - 1) // n + 1):  # a cut begins in one permutation and may end in the next
        out[_orders(n, size, k // CHUNK, data_seed)[k % CHUNK, max(first - k * n, 0) : end - k * n]] = True
    return out


@lru_cache(maxsize=16)
def _orders(n: int, size: int, chunk: int, data_seed: int) -> I64:
    """int64 [CHUNK, n]: the permutations from number chunk·CHUNK on. Kept, because neighbouring cuts need the same ones."""
    first = chunk * CHUNK
    orders = np.empty((CHUNK, n), dtype=np.int64)
    order = None
    # After every size / gcd(n, size) permutations a cut ends with a permutation. What stands before does not matter then.
    for k in range(first - first % (size // math.gcd(n, size)), first + CHUNK):
        order = _next(n, size, k, order, data_seed)
        if k >= first:
            orders[k - first] = order
    orders.flags.writeable = False
    return orders


def _next(n: int, size: int, k: int, before: I64 | None, data_seed: int) -> I64:
    """int64 [n]: the k-th keyed permutation of the rows 0..n−1. Every cut has `size` different rows.

    A cut may begin in the permutation `before` and end in this one. A row at the beginning of this one that the cut already
    has is moved behind the end of the cut. So the permutations follow from each other, in order.
    """
    order = stream(data_seed, "held out", n, size, k).permutation(n)
    begun = k * n % size  # rows of the unfinished cut, at the end of the permutation before
    if begun and before is not None:
        fresh = np.flatnonzero(~np.isin(order, before[n - begun :]))[: size - begun]
        order = np.concatenate([order[fresh], np.delete(order, fresh)])
    return order
