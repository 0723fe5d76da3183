"""The true labels of a user's own images, from a column of them, or from which of the given ones are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from memloc.data.arrays import I64
from memloc.data.label_values import Values
from memloc.errors import UsageError


def check_known(where: str, given: Values, true: Values | None) -> None:
    """Raises UsageError for true labels of -1 where no given label is -1: there they mean that nobody knows.

    where: the true ones, for the message.
    """
    if true is None or true.dtype.kind != "i" or (given == -1).any() or not (true == -1).any():
        return
    raise UsageError(
        f"{where}: label -1 of example {int(np.argmax(true == -1))} is no class of the given labels; every true label must "
        "be known: leave out the examples without one (`noisy` of an npz file says which labels are wrong without them)"
    )


def true_labels(where: str, given: I64, true: I64 | None, wrong: Any) -> I64 | None:
    """int64 [N]: the true labels; -1 where a label is wrong and nobody knows the right one; None: nothing is known.

    Args:
        where: what the images are, for messages.
        given: int64 [N], the labels that are trained on.
        true: int64 [N], or None.
        wrong: which of the given labels are wrong, where that is known; else None.

    Raises:
        UsageError: `wrong` is of another form, or contradicts the true labels.
    """
    if wrong is None:
        return true
    if wrong.shape != given.shape or wrong.dtype.kind != "b":
        raise UsageError(f"{where}:noisy: {wrong.dtype} {wrong.shape}; must be {len(given)} booleans, one per image")
    if true is None:
        return np.where(wrong, -1, given)
    if (unlike := np.flatnonzero(wrong != (given != true))).size:
        raise UsageError(
            f"{where}: wrong labels: {int(wrong.sum())} by noisy, {int((given != true).sum())} by the true labels; they "
            f"differ first at example {unlike[0]}; mend one of them, or leave it out"
        )
    return true
