"""A user's own images: `npz:PATH`, a file of `numpy.savez` with x_train, y_train, x_test, y_test."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from memloc.data.types import Raw, content_identity
from memloc.errors import UsageError

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
    if not path.is_file():
        raise UsageError(f"{path}: no such file; npz:PATH needs a file of numpy.savez with {', '.join(ARRAYS)}")
    if not zipfile.is_zipfile(path):
        raise UsageError(
            f"{path}: is not an npz file (numpy.savez writes one with {', '.join(ARRAYS)}); nothing is unpickled"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in ARRAYS if name not in file.files]
            if missing:
                raise UsageError(f"{path}: lacks {', '.join(missing)}; it holds {', '.join(file.files) or 'nothing'}")
            return {name: _array(path, file, name) for name in ARRAYS}
    except (OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: is broken: {error}") from None


def _array(path: Path, file: Any, name: str) -> Any:
    try:
        return file[name]
    except (ValueError, zipfile.BadZipFile, OSError, EOFError) as error:
        what = "holds Python objects (a pickle); nothing is unpickled" if "pickle" in str(error) else f"is broken: {error}"
        raise UsageError(f"{path}:{name}: {what}") from None


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
    if y.ndim != 1 or len(y) != len(x):
        return f"labels have shape {y.shape}; must be ({len(x)},), one per image"
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
