"""Which checkpoints of a training stay after its analyses: a choice of the user that no identity depends on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias, get_args

Choice: TypeAlias = Literal["all", "rewound", "last"]
Retention: TypeAlias = Choice | None  # None: the user has not chosen
CHOICES: tuple[Choice, ...] = get_args(Choice)  # the one that keeps most first


def most(choices: Iterable[Retention]) -> Retention:
    """The choice that keeps what each of these keeps. Where one is None, nobody has chosen for all."""
    found = set(choices)
    return None if None in found else next((choice for choice in CHOICES if choice in found), None)
