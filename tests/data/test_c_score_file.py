"""C-scores from files: what is read, and what is refused and how."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memloc.data.c_score_file import load
from memloc.errors import UsageError

SCORES = np.array([0.0, 0.25, 0.5, 1.0])


def test_npy_and_npz_with_the_same_scores_are_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", SCORES)
    np.savez(tmp_path / "b.npz", scores=SCORES.astype(np.float32), labels=[0, 1, 2, 3])
    np.savez(tmp_path / "c.npz", scores=SCORES, y=np.array([0, 1, 2, 3], np.uint8))
    a, b, c = (load(tmp_path / name, 4) for name in ("a.npy", "b.npz", "c.npz"))
    assert a.identity == b.identity == c.identity
    assert a.values.tolist() == SCORES.tolist()
    assert a.labels is None
    assert b.labels is not None
    assert c.labels is not None
    assert b.labels.tolist() == c.labels.tolist() == [0, 1, 2, 3]
    np.save(tmp_path / "d.npy", SCORES[::-1])
    assert load(tmp_path / "d.npy", 4).identity != a.identity


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"scores": SCORES[:3]}, "scores: shape (3,); must be (4,), one per training example of the data set"),
        ({"scores": SCORES[:, None]}, "scores: shape (4, 1); must be (4,), one per training example of the data set"),
        ({"scores": SCORES * 2}, "scores: 2.0 for example 3; must be from 0 to 1"),
        ({"scores": np.array([0, np.nan, 0, 0])}, "scores: nan for example 1; must be from 0 to 1"),
        ({"scores": np.array(list("abcd"))}, "scores: <U1; must be numbers from 0 to 1"),
        ({"cscores": SCORES}, "lacks scores; it holds cscores; C-scores are a file of numpy.save of N scores"),
        ({"scores": SCORES, "labels": [0, 1]}, "labels: int64 (2,); must be 4 whole numbers, one per training example"),
        ({"scores": SCORES, "labels": SCORES}, "labels: float64 (4,); must be 4 whole numbers"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, arrays: dict[str, Any], problem: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "a.npz", 4)
    (line,) = caught.value.problems
    assert line.startswith(f"{tmp_path}/a.npz:")
    assert problem in line


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}, {}, {}, {}], dtype=object), allow_pickle=True)
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY rubbish")
    for name in ("a.npy", "b.npy"):
        with pytest.raises(UsageError, match=f"{name}: is no file of C-scores"):
            load(tmp_path / name, 4)


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.npy").mkdir()
    os.mkfifo(tmp_path / "pipe.npy")  # reading it would wait for ever
    for name, what in (("folder", "is a folder"), ("pipe", "is no regular file"), ("missing", "no such file")):
        with pytest.raises(UsageError) as caught:
            load(tmp_path / f"{name}.npy", 4)
        (line,) = caught.value.problems
        assert line.startswith(f"{tmp_path}/{name}.npy: {what}; valid: numpy.save of N scores, or numpy.savez with scores")


def test_labels_must_be_those_of_the_data_set(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", scores=SCORES, labels=[0, 1, 2, 3])
    scores = load(tmp_path / "a.npz", 4)
    scores.check_labels(np.array([0, 1, 2, 3]))
    with pytest.raises(UsageError, match=r"a.npz:labels: 2 for example 2, but the data set has 7; C-scores must be of this"):
        scores.check_labels(np.array([0, 1, 7, 3]))


def test_a_header_that_declares_more_than_the_file_has(tmp_path: Path) -> None:
    """It is refused before numpy makes room for it."""
    path = tmp_path / "scores.npy"
    np.save(path, np.zeros(5))
    path.write_bytes(path.read_bytes().replace(b"(5,), }     ", b"(500000,), }", 1))
    with pytest.raises(UsageError, match=r"declares float64 \(500000,\), 4,000,000 bytes, and has 40\)"):
        load(path, 5)
