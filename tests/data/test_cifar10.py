"""CIFAR-10's batches: what Python 2 wrote, and pickles that ask for more."""

from __future__ import annotations

import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memloc.data.cifar10 import batch
from memloc.data.named import Content
from memloc.errors import UsageError
from tests.data.small import python2_pickle

X = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
LABELS = [3, 0, 9, 1]


def read(data: bytes) -> tuple[Any, Any]:
    return batch(Content(Path("there/data_batch_1"), data))


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_a_batch_of_python_2(module: bytes) -> None:
    stream = python2_pickle(X, LABELS, module)
    assert b"c" + module + b"\n_reconstruct\n" in stream
    assert {op.proto for op, _, _ in pickletools.genops(stream)} <= {0, 1, 2}
    x, y = read(stream)
    assert x.dtype == np.uint8
    assert x.shape == (4, 3, 32, 32)
    assert y.dtype == np.int64
    assert y.tolist() == LABELS
    for i, channel, row, column in [(0, 0, 0, 0), (0, 1, 0, 0), (3, 2, 31, 30), (2, 1, 7, 19)]:
        assert x[i, channel, row, column] == X[i, 1024 * channel + 32 * row + column]


@pytest.mark.parametrize("protocol", range(5))  # arrays in protocol 5 come in another form, which no true file has
def test_a_batch_pickled_anew(protocol: int) -> None:
    x, y = read(pickle.dumps({b"data": X, b"labels": LABELS}, protocol=protocol))
    assert (x.reshape(4, -1) == X).all()
    assert y.tolist() == LABELS


class Bomb:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def test_a_pickle_that_asks_for_more_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "exploded"
    bombs = [Bomb(os.system, f"touch {trace}"), Bomb(open, str(trace), "w"), Bomb(eval, f"open({str(trace)!r}, 'w')")]
    for bomb in bombs:
        for protocol in (0, 2, 4):
            for value in (bomb, {b"data": X, b"labels": [bomb]}):
                with pytest.raises(UsageError) as caught:
                    read(pickle.dumps(value, protocol=protocol))
                (problem,) = caught.value.problems
                assert problem.startswith("there/data_batch_1: is not a batch of CIFAR-10: it asks for ")
                assert problem.endswith("only numpy arrays are admitted")
                assert "\n" not in problem
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["numpy\nload", "numpy\nmemmap", "builtins\ngetattr", "numpy\nndarray.tofile", "codecs\nopen"]
)
def test_other_names_of_numpy_are_not_admitted(name: str) -> None:
    with pytest.raises(UsageError, match="only numpy arrays are admitted"):
        read(b"\x80\x02c" + name.encode() + b"\n.")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "EOFError"),
        (b"\x80\x02", "EOFError"),
        (python2_pickle(X, LABELS)[:-100], "truncated"),
        (b"not a pickle at all", "is not a batch of CIFAR-10"),
        (pickle.dumps([1, 2], 2), "its data are not uint8 N×3072"),
        (pickle.dumps({b"labels": LABELS}, 2), "its data are not uint8 N×3072"),
        (pickle.dumps({b"data": X.astype(np.int64), b"labels": LABELS}, 2), "its data are not uint8 N×3072"),
        (pickle.dumps({b"data": X[:, :3071], b"labels": LABELS}, 2), "its data are not uint8 N×3072"),
        (pickle.dumps({b"data": X, b"labels": LABELS[:3]}, 2), "its labels are not 4 numbers 0..9"),
        (pickle.dumps({b"data": X, b"labels": [3, 0, 10, 1]}, 2), "its labels are not 4 numbers 0..9"),
        (pickle.dumps({b"data": X, b"labels": [3, 0, -1, 1]}, 2), "its labels are not 4 numbers 0..9"),
        (pickle.dumps({b"data": X, b"labels": [3, 0, 1.0, 1]}, 2), "its labels are not 4 numbers 0..9"),
    ],
)
def test_what_is_no_batch(data: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read(data)
    assert len(caught.value.problems) == 1
    assert "\n" not in caught.value.problems[0]
