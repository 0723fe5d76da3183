"""Labels as people have them become one value each; what would lose something is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from memloc.data.label_values import LabelError, in_order, label_values

Y = [2, 0, 1, 1, 2]
WHOLE = [
    np.array(Y, dtype=kind) for kind in (np.int8, np.uint8, np.uint16, np.int64, np.uint64, np.float16, np.float32, float)
]


@pytest.mark.parametrize(
    "labels",
    [*WHOLE, Y, tuple(Y), [2.0, 0, True, 1, np.int32(2)], np.array(Y)[:, None], np.eye(3)[Y], np.eye(3, dtype=bool)[Y]],
)
def test_whole_numbers(labels: Any) -> None:
    values, note = label_values(labels, 5)
    assert (values.tolist(), values.dtype) == (Y, np.int64)
    is_plain = np.asarray(labels).ndim == 1 and np.asarray(labels).dtype.kind in "iu"
    assert bool(note) == (not is_plain)


@pytest.mark.parametrize("labels", [["b ", "a", "b"], np.array(["b", " a", "b"]), [b"b", b"a", b"b"], ["b", b"a", "b"]])
def test_text(labels: Any) -> None:
    assert label_values(labels, 3)[0].tolist() == ["b", "a", "b"]


def test_true_and_false() -> None:
    assert label_values([True, False, True], 3)[0].tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1], r"labels have shape \(2,\); must be \(3,\), one per image"),
        ([0, 1, 0.5], "label 0.5 of example 2 is no whole number"),
        ([0, 1, 1e300], "of example 2 is no whole number"),
        ([0, 1, float("inf")], "label inf of example 2"),
        ([0, None, 1], "example 1 has no label"),
        ([0.0, float("nan"), 1], "example 1"),
        (["a", "", "b"], "example 1 has no label"),
        ([b"a", b"\xff", b"b"], "the label of example 1 is not UTF-8"),
        ([0, 1, 2**64], "beyond 64 bits"),
        ([0, "cat", 2], r"some labels are numbers and some are text \(0, 'cat'\); must be of one kind"),
        ([0, [1], 2], "the label of example 1 is of type list"),
        (np.eye(3) * 2, r"shape \(3, 3\)"),
        (np.zeros((3, 3)), r"shape \(3, 3\)"),
        (np.array(["2020-01-01"] * 3, dtype="datetime64[D]"), r"labels are datetime64\[D\]"),
    ],
)
def test_refused(labels: Any, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        label_values(labels, 3)


@pytest.mark.parametrize("labels", [["cat", "cat ", "dog"], np.array(["cat", "cat ", "dog"])])
def test_labels_that_blanks_tell_apart_are_one_and_that_is_said(labels: Any) -> None:
    values, note = label_values(labels, 3)
    assert values.tolist() == ["cat", "cat", "dog"]
    assert note == "blanks around labels are left out: 'cat ' is 'cat'"
    assert label_values(["cat ", "cat ", "dog"], 3)[1] == ""


def test_order() -> None:
    assert in_order(np.array([3, -1, 10, 3])) == [-1, 3, 10]
    assert in_order(np.array(["10", "9", "2"])) == ["2", "9", "10"]  # a folder for every digit
    assert in_order(np.array(["b", "B", "a", "10"])) == ["10", "B", "a", "b"]
