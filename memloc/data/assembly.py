"""From a user's own images to the arrays of a data set: classes are numbered, true labels found, a test set split off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from memloc.counts import counted
from memloc.data.arrays import I64, U8, Origin, Raw, own_raw
from memloc.data.label_values import LabelError, Values, in_order, label_values
from memloc.data.labels import stratified
from memloc.data.table_columns import label_column
from memloc.data.true_labels import check_known, true_labels
from memloc.errors import UsageError, nearest, setting
from memloc.seeds import hashed

TEST = 0.2  # the share that is split off where there is no test set
_KINDS = {True: "text", False: "whole numbers"}
TRUE_COLUMNS = ("true_label", "y_true")


def picked(values: Any, at: Sequence[int]) -> Any:
    """Some of these values: of an array an array, whose rows may be one-hot; else a list."""
    return values[np.asarray(at, dtype=np.int64)] if isinstance(values, np.ndarray) else [values[i] for i in at]


@dataclass(frozen=True)
class Half:
    """Training or test images. x: uint8 N×C×H×W. columns: {name: labels [N]}. files: where each comes from; () where that
    says nothing. labels: how messages call its labels, if not by the name of their column.
    """

    x: U8
    columns: Mapping[str, Any]
    files: Sequence[str] = ()
    labels: str = ""

    def rows(self, at: I64) -> Half:
        """Some of its examples."""
        columns = {name: picked(values, at.tolist()) for name, values in self.columns.items()}
        return Half(self.x[at], columns, picked(self.files, at.tolist()) if self.files else ())


@dataclass(frozen=True)
class OwnImages:
    """The images of a user, with all their labels.

    where: what they are, for messages. label: the usual column of labels; None: its name must tell. names: {column: names of
    its numbers}. unlike: {column: how the names of its numbers differ between files}. wrong: bool [N], which of the given
    labels are wrong, where only that is known. notes: what was converted or left out, a line each.
    """

    where: str
    train: Half
    test: Half | None
    label: str | None
    names: Mapping[str, Sequence[str]] = field(default_factory=dict)
    wrong: Any = None
    notes: Sequence[str] = ()
    unlike: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Classes:
    """values: of the labels, in order. names: of the classes; () where they are their numbers."""

    values: list[Any]
    names: tuple[str, ...]
    note: str = ""

    def numbers(self, values: Values, where: str) -> I64:
        """int64 [N]; raises UsageError where there is another class."""
        kinds = [isinstance(v, str) for v in (self.values[0], *values[:1].tolist())]
        if kinds[0] != kinds[-1]:
            raise UsageError(
                f"{where}: labels are {_KINDS[kinds[-1]]} ({values[0]}), those for training {_KINDS[kinds[0]]} "
                f"({self.values[0]}); must be of one kind"
            )
        known = {value: k for k, value in enumerate(self.values)}
        numbers = np.fromiter((known.get(v, -1) for v in values.tolist()), dtype=np.int64, count=len(values))
        if (numbers < 0).any():
            bad = int(np.argmax(numbers < 0))
            valid = ", ".join(map(str, self.values[:10])) + (", …" if len(self.values) > 10 else "")
            raise UsageError(
                f"{where}: label {values[bad]} of example {bad} is of a class without training examples; they have {valid}"
            )
        return numbers


def assembled(own: OwnImages, test: float | None, labels: str = "given", true_label: str | None = None) -> Raw:
    """The arrays of a data set.

    Args:
        own: the images.
        test: the share for testing where there is no test set; None: `TEST`.
        labels: given, true, or the column that is trained on.
        true_label: the column with the true labels; None: one of `TRUE_COLUMNS`, if there is one.

    Raises:
        UsageError: one line on what does not fit, and what would.
    """
    usual = own.label or _usual(own, true_label)
    given, true = _columns(own, usual, labels, true_label)
    _check_sizes(own)
    notes = list(own.notes)
    if true is None and labels != "true" and usual not in (None, given):
        notes.append(f"the labels are {given}; if {usual} has the true ones, true_label: {usual} tells which are wrong")
    names = _names(own, given, true, usual)
    y_given = _values(own, own.train, given, notes)
    y_true = None if true is None else _values(own, own.train, true, notes)
    if y_true is not None and y_true.dtype.kind != y_given.dtype.kind:
        raise UsageError(
            f"{own.where}: {given} and {true} have unlike labels ({y_given[0].item()!r} and {y_true[0].item()!r})"
        )
    check_known(f"{own.where}:{true}", y_given, y_true)
    every = y_given if y_true is None else np.concatenate([y_given, y_true])
    classes = _classes(own, every, names)
    notes += [classes.note] if classes.note else []
    y = classes.numbers(y_given, own.where)
    y_true = None if y_true is None else classes.numbers(y_true, own.where)
    truth = true_labels(own.where, y, y_true, own.wrong if labels == "given" else None)
    train, test_half, split = _split(own, y if truth is None or (truth < 0).any() else truth, test, notes)
    if split is not None:
        y, truth = y[split], None if truth is None else truth[split]
    y_test = _test_labels(own, test_half, (true, given, usual), classes, notes)
    return _raw(own, train, test_half, (y, truth, y_test), classes, notes)


def _columns(own: OwnImages, usual: str | None, labels: str, true_label: str | None) -> tuple[str, str | None]:
    """The columns of the labels that are trained on, and of the true ones."""
    have = list(own.train.columns)
    if not have:
        raise UsageError(f"{own.where}: no column holds labels; they must be whole numbers or text")
    for name, column in (("labels", labels), ("true_label", true_label)):
        if column is not None and column not in (*have, *(("given", "true") if name == "labels" else ())):
            raise UsageError(
                f"{own.where}: {name}: there is no column {column!r}; it has {', '.join(have)}{nearest(column, have)}"
            )
    true = true_label or next((c for c in TRUE_COLUMNS if c in have), None)
    if labels == "true":
        true = true or next((c for c in have if c == "true"), None)
        if true is None:
            raise UsageError(
                f"{own.where}: labels: true: the true labels are not known; name their column, "
                f"{setting('true_label', 'COLUMN')}; it has {', '.join(have)}"
            )
        return true, None
    if labels == "given":
        if usual is None:
            say = setting("labels", "COLUMN")
            raise UsageError(f"{own.where}: which column holds the labels? Say {say}; it has {', '.join(have)}")
        return usual, None if true == usual else true
    return labels, None if true == labels else true


def _usual(own: OwnImages, true_label: str | None) -> str | None:
    """The usual column of labels, by its name."""
    others = [name for name in own.train.columns if name not in (true_label, *TRUE_COLUMNS)]
    usual = label_column(others, [name for name in others if name in own.names])
    return usual or next((name for name in others if name == "given"), None)


def _check_sizes(own: OwnImages) -> None:
    n = len(own.train.x)
    if n < 2:
        raise UsageError(f"{own.where}: has {counted(n, 'training image')}; needs at least 2")
    if own.test is not None and own.test.x.shape[1:] != own.train.x.shape[1:]:
        unlike = "×".join(map(str, own.test.x.shape[1:])), "×".join(map(str, own.train.x.shape[1:]))
        raise UsageError(f"{own.where}: test images are {unlike[0]} (channels×height×width), training images {unlike[1]}")


def _names(own: OwnImages, given: str, true: str | None, usual: str | None) -> Sequence[str]:
    """The names of the numbers in these columns; () if there are none. All columns that are read must have the same."""
    of_test = None if own.test is None else _test_column(own.test, (true, given, usual))
    read = [c for c in dict.fromkeys((given, true, of_test)) if c is not None]
    for column in read:
        if column in own.unlike:
            raise UsageError(f"{own.where}:{column}: {own.unlike[column]}")
    named = [c for c in (*read, usual) if c is not None and c in own.names]
    for column in read:
        if column in own.names and (unlike := unlike_names(own.names[named[0]], own.names[column])):
            raise UsageError(f"{own.where}: {named[0]} and {column} name their classes differently: {unlike}")
    return own.names[named[0]] if named else ()


def unlike_names(one: Sequence[str], other: Sequence[str]) -> str:
    """How the names of two lists of classes differ first, in a phrase that says what would be right; "" if they do not."""
    if tuple(one) == tuple(other):
        return ""
    k = next((k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    first, second = (repr(names[k]) if k < len(names) else "missing" for names in (one, other))
    return f"class {k} is {first} in one and {second} in the other; both must have the same names in the same order"


def _values(own: OwnImages, half: Half, column: str, notes: list[str]) -> Values:
    try:
        values, note = label_values(half.columns[column], len(half.x))
    except LabelError as error:
        raise UsageError(f"{own.where}:{half.labels or column}: {error}") from None
    if note and note not in notes:
        notes.append(note)
    return values


def _classes(own: OwnImages, every: Values, names: Sequence[str]) -> _Classes:
    values = in_order(every)
    k = len(values)
    if k < 2:
        only = f" ({values[0]})" if k else ""
        raise UsageError(f"{own.where}: the training labels have {k} class{only}; needs at least 2")
    if every.dtype.kind == "U":
        return _Classes(values, tuple(map(str, values)))
    low, high = values[0], values[-1]
    if names and (low < 0 or high >= len(names)):
        bad = low if low < 0 else high
        raise UsageError(
            f"{own.where}: label {bad} of example {int(np.argmax(every == bad)) % len(own.train.x)} is no class; must be "
            f"0 to {len(names) - 1} ({', '.join(names[:3])}, …)"
        )
    if names:
        have = set(values)
        absent = [name for number, name in enumerate(names) if number not in have]
        note = f"classes without training examples are left out: {', '.join(absent[:5])}{', …' if absent[5:] else ''}"
        used = tuple(names[v] for v in values)
        if len(set(used)) < len(used):
            twice = next(name for k, name in enumerate(used) if name in used[:k])
            raise UsageError(f"{own.where}: two classes have the name {twice!r}; every class needs its own")
        return _Classes(values, used, note if absent else "")
    if (low, high) == (0, k - 1):
        return _Classes(values, ())
    few = ", ".join(map(str, values if k <= 6 else [*values[:5], "…", high]))
    shown = f"{low} to {high}" if high - low == k - 1 else few
    note = f"labels {shown} are numbered 0 to {k - 1}; table labels has what they were"
    return _Classes(values, tuple(map(str, values)), note)


def _split(own: OwnImages, y: I64, test: float | None, notes: list[str]) -> tuple[Half, Half, I64 | None]:
    """(training images, test images, which of all the training images are; None: all of them)."""
    if own.test is not None:
        if test:
            raise UsageError(f"{own.where}: test: {test:g}: there is a test set of {len(own.test.x)} images; leave test out")
        return own.train, own.test, None
    share = TEST if test is None else test
    at = held_for_testing(y, share)
    if not len(at):
        notes.append("there is no test set: test accuracy is NULL")
        return own.train, own.train.rows(at), None
    if test is None:
        notes.append(
            f"there is no test set: {len(at)} of {len(y)} images, {share:g} of every class, become one (test: 0: none do)"
        )
    rest = np.setdiff1d(np.arange(len(y)), at)
    return own.train.rows(rest), own.train.rows(at), rest


def held_for_testing(y: I64, share: float) -> I64:
    """The examples that are kept for testing, in order: of every class in proportion, by a constant key.

    One example of every class at least stays for training. y: int64 [N].
    """
    n = len(y)
    if not (size := round(share * n)):
        return np.zeros(0, dtype=np.int64)
    rank = hashed(0, "test split", i=np.arange(n))
    taken = stratified(y, size, rank)
    kept = [members[np.argmax(rank[members])] for label in np.unique(y) if len(members := np.flatnonzero(y == label))]
    return np.setdiff1d(taken, np.array(kept, dtype=np.int64))


def _test_labels(own: OwnImages, half: Half, columns: Sequence[str | None], classes: _Classes, notes: list[str]) -> I64:
    """int64 [m]: those of the first of these columns that the test set has."""
    column = _test_column(half, columns)
    if column is None:
        raise UsageError(
            f"{own.where}: the test set has no column {columns[1]}; it has {', '.join(half.columns) or 'no labels'}"
        )
    return classes.numbers(_values(own, half, column, notes), f"{own.where}:{half.labels or f'{column} of the test set'}")


def _test_column(half: Half, columns: Sequence[str | None]) -> str | None:
    return next((c for c in columns if c is not None and c in half.columns), None)


def _raw(
    own: OwnImages, train: Half, test: Half, labels: tuple[I64, I64 | None, I64], classes: _Classes, notes: list[str]
) -> Raw:
    y, truth, y_test = labels
    origin = Origin(classes.names, tuple(train.files), tuple(f"{own.where}: {note}" for note in notes))
    return own_raw((train.x, y, test.x, y_test), len(classes.values), truth, origin)
