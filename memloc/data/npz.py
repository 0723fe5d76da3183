"""A user's own images: `npz:PATH`, a file of `numpy.savez` with x_train, y_train, x_test, y_test."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from memloc.data.types import Raw, content_identity
from memloc.errors import UsageError, last_line

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def load(path: Path) -> Raw:
    """Reads and checks the four arrays: x uint8 N×H×W or N×H×W×C, y whole numbers 0..K−1.

    Nothing is unpickled: an array of Python objects is refused, and so is a pickle named .npz.

    Raises:
        UsageError: every problem found, one per line.
    """
    arrays = _read(path)
    problems = [
        problem
        for part in ("train", "test")
        for problem in (_image_problem(arrays[f"x_{part}"]), _label_problem(arrays[f"y_{part}"], arrays[f"x_{part}"]))
        if problem
        for problem in [f"{path}:{'x' if problem.startswith('images') else 'y'}_{part}: {problem}"]
    ]
    if problems:
        raise UsageError(*problems)
    x_train, x_test = _channels_first(arrays["x_train"]), _channels_first(arrays["x_test"])
    y_train, y_test = arrays["y_train"].astype(np.int64), arrays["y_test"].astype(np.int64)
    if x_train.shape[1:] != x_test.shape[1:]:
        raise UsageError(
            f"{path}:x_test: images of {arrays['x_test'].shape[1:]}, but x_train has {arrays['x_train'].shape[1:]}"
        )
    classes = _classes(path, y_train, y_test)
    return Raw(x_train, y_train, x_test, y_test, classes, "npz:" + content_identity(x_train, y_train, x_test, y_test))


def _read(path: Path) -> dict[str, Any]:
    with _opened(path) as file:
        if not zipfile.is_zipfile(file):
            raise UsageError(
                f"{path}: is not an npz file (numpy.savez writes one with {', '.join(ARRAYS)}); nothing is unpickled"
            )
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as content:
                missing = [name for name in ARRAYS if name not in content.files]
                if missing:
                    raise UsageError(f"{path}: lacks {', '.join(missing)}; it holds {', '.join(content.files) or 'nothing'}")
                return {name: _array(path, content, name) for name in ARRAYS}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise UsageError(f"{path}: {_why(error)}") from None


def _opened(path: Path) -> BinaryIO:
    wanted = f"npz:PATH needs a file of numpy.savez with {', '.join(ARRAYS)}"
    try:
        if path.is_file():  # opening a pipe would wait for ever
            return path.open("rb")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; {wanted}") from None
    raise UsageError(f"{path}: no such file; {wanted}")


def _array(path: Path, content: Any, name: str) -> Any:
    try:
        array = content[name]
    except Exception as error:  # damaged, encrypted, larger than memory: a file can be wrong in any way
        raise UsageError(f"{path}:{name}: {_why(error)}") from None
    if not isinstance(array, np.ndarray):  # numpy gives the bytes of what does not begin like an array
        raise UsageError(f"{path}:{name}: is not an array; nothing is unpickled")
    return array


def _why(error: Exception) -> str:
    if "pickle" in str(error):
        return "holds Python objects (a pickle); nothing is unpickled"
    return f"is broken: {last_line(error)}"


def _image_problem(x: Any) -> str | None:
    if x.dtype != np.uint8:
        nan = " with NaN" if x.dtype.kind == "f" and np.isnan(x).any() else ""
        return f"images are {x.dtype}{nan}; must be uint8, 0..255"
    if x.ndim not in (3, 4) or 0 in x.shape:
        return f"images have shape {x.shape}; must be N×H×W or N×H×W×C, none empty"
    if x.ndim == 4 and x.shape[3] > 16:
        return f"images have shape {x.shape}; must be N×H×W×C with at most 16 channels last (is this N×C×H×W?)"
    return None


def _label_problem(y: Any, x: Any) -> str | None:
    if y.dtype.kind not in "iu":
        nan = " with NaN" if y.dtype.kind == "f" and np.isnan(y).any() else ""
        return f"labels are {y.dtype}{nan}; must be whole numbers 0..K-1"
    n = len(x) if x.ndim else 0
    if y.shape != (n,):
        return f"labels have shape {y.shape}; must be ({n},), one per image"
    if len(y) and (int(y.min()) < 0 or int(y.max()) > 1_000_000):
        bad = int(np.argmax((y < 0) | (y > 1_000_000)))
        return f"label {y[bad]} of example {bad} is out of range; must be 0..K-1"
    return None


def _classes(path: Path, y_train: Any, y_test: Any) -> int:
    """K, such that the training labels are exactly 0..K−1."""
    present = np.unique(y_train)
    classes = len(present)
    if classes < 2:
        raise UsageError(f"{path}:y_train: has {classes} class; needs at least 2")
    if int(present[-1]) != classes - 1:
        raise UsageError(
            f"{path}:y_train: {classes} different labels, but the largest is {present[-1]}; must be 0..{classes - 1}"
        )
    if int(y_test.max()) >= classes:
        bad = int(np.argmax(y_test >= classes))
        raise UsageError(
            f"{path}:y_test: label {y_test[bad]} of example {bad} is out of range; y_train has 0..{classes - 1}"
        )
    return classes


def _channels_first(x: Any) -> Any:
    return np.ascontiguousarray(x[:, None] if x.ndim == 3 else x.transpose(0, 3, 1, 2))
