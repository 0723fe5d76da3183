"""Keyed random streams: every draw is named by (seed, purpose, what it is for), never taken from a global generator.

So no result depends on how work was split, in which order it ran, or on how many workers. Two forms:

* `stream` / `torch_seed`: a whole generator for one purpose, for example the batch order of epoch 7;
* `hashed`: a counter-based hash, one 64-bit word per counter. It is for draws of an example that must not depend on the
  other examples computed with it (masks, label noise, augmentation).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Key: TypeAlias = str | int
U64: TypeAlias = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Weyl increment of splitmix64
_ODD = np.uint64(0xD1342543DE82EF95)


def _digest(seed: int, purpose: str, what: tuple[Key, ...]) -> bytes:
    return hashlib.sha256(json.dumps([int(seed), purpose, *what], separators=(",", ":")).encode()).digest()


def stream(seed: int, purpose: str, *what: Key) -> np.random.Generator:
    """A NumPy generator (Philox, 128-bit key) for one purpose."""
    key = np.frombuffer(_digest(seed, purpose, what)[:16], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def torch_seed(seed: int, purpose: str, *what: Key) -> int:
    """A 63-bit seed for a private `torch.Generator`."""
    return int.from_bytes(_digest(seed, purpose, what)[16:24], "little") >> 1


def _mix(z: U64) -> U64:
    """The finaliser of splitmix64 (Stafford's variant 13): a bijection of 64-bit words in which every bit avalanches."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def hashed(seed: int, purpose: str, *what: Key, i: npt.ArrayLike, j: npt.ArrayLike = 0) -> U64:
    """One 64-bit word per counter pair (i, j), broadcast. A word does not depend on the other pairs."""
    k0, k1 = np.frombuffer(_digest(seed, purpose, what)[:16], dtype=np.uint64)
    a: Any = np.asarray(i, dtype=np.uint64)
    b: Any = np.asarray(j, dtype=np.uint64)
    with np.errstate(over="ignore"):  # arithmetic modulo 2^64 is what is meant
        return _mix(_mix(k0 + _GOLDEN * (a + np.uint64(1))) ^ (k1 + _ODD * (b + np.uint64(1))))


def uniform(words: U64) -> npt.NDArray[np.float64]:
    """Words as uniform numbers in [0, 1), 53 bits each."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def below(words: U64, bound: int) -> npt.NDArray[np.int64]:
    """Words as uniform integers 0..bound−1 (the bias, bound / 2^53, is far below anything measurable)."""
    return np.floor(uniform(words) * bound).astype(np.int64)
