"""What there is to know of a data set before a network sees it: sizes, classes, wrong labels, duplicates, oddities."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from memloc.counts import counted
from memloc.data.arrays import U8, Raw

FEW = 10  # training examples of a class
UNEVEN = 10  # times as many examples of the largest class as of the smallest
SHOWN = 3


@dataclass(frozen=True)
class Overview:
    """A data set in numbers.

    shape: (C, H, W). classes: {name: how many training examples have it}. given_wrong: how many of the labels are known to
    be wrong; None: nobody knows. confused: the most frequent (true class, given class, times) of these. duplicates: training
    images with the pixels of an earlier one. contradictions: those of them that have another label than the earlier one.
    leaked: test images with the pixels of a training image. oddities: sentences. notes: what was converted or left out.
    """

    identity: str
    shape: tuple[int, int, int]
    n_train: int
    n_test: int
    classes: dict[str, int]
    given_wrong: int | None
    confused: list[tuple[str, str, int]]
    duplicates: int
    contradictions: int
    leaked: int
    oddities: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def overview(raw: Raw) -> Overview:
    """The overview of a data set."""
    names = names_of(raw)
    counts = np.bincount(raw.y_train, minlength=raw.classes).tolist()
    train, test = _hashes(raw.x_train), _hashes(raw.x_test)
    alike: dict[bytes, list[int]] = defaultdict(list)
    for example, name in enumerate(train):
        alike[name].append(example)
    several = [examples for examples in alike.values() if len(examples) > 1]
    unlike = [e for e in several if len({int(raw.y_train[k]) for k in e}) > 1]
    leaked = [k for k, name in enumerate(test) if name in alike]
    return Overview(
        raw.identity,
        raw.shape,
        len(raw.y_train),
        len(raw.y_test),
        dict(zip(names, counts, strict=True)),
        raw.description.given_wrong,
        _confused(raw, names),
        sum(len(examples) - 1 for examples in several),
        sum(int(raw.y_train[k]) != int(raw.y_train[e[0]]) for e in unlike for k in e),
        len(leaked),
        [*_of_images(raw, several, unlike), *_of_classes(names, counts)],
        list(raw.origin.notes),
    )


def names_of(raw: Raw) -> list[str]:
    """The names of the classes, or their numbers."""
    return list(raw.origin.class_names) or [str(k) for k in range(raw.classes)]


def _hashes(x: U8) -> list[bytes]:
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in x]


def _confused(raw: Raw, names: Sequence[str]) -> list[tuple[str, str, int]]:
    if raw.y_true is None:
        return []
    known = (raw.y_train != raw.y_true) & (raw.y_true >= 0)
    pairs = Counter(zip(raw.y_true[known].tolist(), raw.y_train[known].tolist(), strict=True))
    most = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
    return [(names[true], names[given], times) for (true, given), times in most]


def name_of(raw: Raw, example: int) -> str:
    """Where a training image comes from, or its number."""
    return raw.origin.files[example] if raw.origin.files else f"example {example}"


def _of_images(raw: Raw, several: Sequence[Sequence[int]], unlike: Sequence[Sequence[int]]) -> list[str]:
    lines = []
    if several:
        lines.append(f"the same pixels: {_groups(raw, several)}")
    if unlike:
        lines.append(f"the same pixels, unlike labels: {_groups(raw, unlike)}")
    plane = raw.x_train.reshape(*raw.x_train.shape[:2], -1)
    blank = np.flatnonzero((plane.min(axis=2) == plane.max(axis=2)).all(axis=1))
    if len(blank):
        lines.append(f"{counted(len(blank), 'image')} of one single colour: {_some(raw, blank.tolist())}")
    return lines


def _groups(raw: Raw, groups: Sequence[Sequence[int]]) -> str:
    shown = [" = ".join(name_of(raw, k) for k in group[:SHOWN]) + (" = …" if group[SHOWN:] else "") for group in groups]
    return ", ".join(shown[:SHOWN]) + (f", and {len(groups) - SHOWN:,} more" if len(groups) > SHOWN else "")


def _some(raw: Raw, examples: Sequence[int]) -> str:
    return ", ".join(name_of(raw, k) for k in examples[:SHOWN]) + (", …" if examples[SHOWN:] else "")


def _of_classes(names: Sequence[str], counts: Sequence[int]) -> list[str]:
    """counts: of the given labels. A class may have none, if only true labels name it."""
    few = [f"{name} ({n})" for name, n in zip(names, counts, strict=True) if n < FEW]
    lines = [f"fewer than {FEW} training examples: {', '.join(few[:5])}{', …' if few[5:] else ''}"] if few else []
    low, high = int(np.argmin(counts)), int(np.argmax(counts))
    if not few and counts[high] >= UNEVEN * counts[low]:
        lines.append(f"uneven classes: {names[high]} has {counts[high]:,} training examples, {names[low]} {counts[low]:,}")
    if sum(counts) < 2 * len(counts) and len(counts) > 2:
        lines.append("almost every example has a label of its own: is this the column of labels?")
    return lines


def as_json(about: Overview) -> dict[str, Any]:
    """The overview for `--json`."""
    confused = [{"true": true, "given": given, "times": times} for true, given, times in about.confused]
    return {**vars(about), "shape": list(about.shape), "confused": confused}
