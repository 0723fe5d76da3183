"""A user's own images: `npz:PATH`, a file of `numpy.savez` with x_train, y_train, x_test, y_test."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from memloc.data.arrays import Raw, content_identity
from memloc.data.declared import check_member, check_npz
from memloc.data.regular_file import opened
from memloc.errors import UsageError, error_line

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
CHANNELS = (1, 3, 4)  # of images as people have them: grey, RGB, RGBA
MOST_CHANNELS = 16
WANTED = (
    f"npz:PATH needs a file of numpy.savez with {', '.join(ARRAYS)}; PATH is relative to the sweep file, on the command "
    "line to the current folder (--data-dir and MEMLOC_DATA say where the named data sets lie)"
)


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
    with opened(path, WANTED) as file:
        if not zipfile.is_zipfile(file):
            raise UsageError(
                f"{path}: is not an npz file (numpy.savez writes one with {', '.join(ARRAYS)}); nothing is unpickled"
            )
        try:
            check_npz(file, ARRAYS)
            with np.load(file, allow_pickle=False) as content:
                missing = [name for name in ARRAYS if name not in content.files]
                if missing:
                    raise UsageError(f"{path}: lacks {', '.join(missing)}; it holds {', '.join(content.files) or 'nothing'}")
                return {name: _array(path, content, name) for name in ARRAYS}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise UsageError(f"{path}: {_why(error)}") from None


def _array(path: Path, content: Any, name: str) -> Any:
    try:
        check_member(content.zip, name)
        array = content[name]
    except Exception as error:  # damaged, encrypted, larger than memory: a file can be wrong in any way
        raise UsageError(f"{path}:{name}: {_why(error)}") from None
    if not isinstance(array, np.ndarray):  # numpy gives the bytes of what does not begin like an array
        raise UsageError(f"{path}:{name}: is not an array; nothing is unpickled")
    return array


def _why(error: Exception) -> str:
    if "pickle" in str(error):
        return "holds Python objects (a pickle); nothing is unpickled"
    return f"is broken: {error_line(error)}"


def _image_problem(x: Any) -> str | None:
    if x.dtype != np.uint8:
        return f"images are {_dtype(x)}; must be uint8, 0..255{_how_to_uint8(x)}"
    if x.ndim not in (3, 4) or 0 in x.shape:
        return f"images have shape {x.shape}; must be N×H×W or N×H×W×C, none empty"
    if x.ndim == 4 and x.shape[1] in CHANNELS and x.shape[3] not in CHANNELS:
        return f"images have shape {x.shape}, which looks like N×C×H×W; must be N×H×W×C: x.transpose(0, 2, 3, 1)"
    if x.ndim == 4 and x.shape[3] > MOST_CHANNELS:
        return f"images have shape {x.shape}; must be N×H×W×C with at most {MOST_CHANNELS} channels last"
    return None


def _dtype(array: Any) -> str:
    return f"{array.dtype} with NaN" if array.dtype.kind == "f" and np.isnan(array).any() else str(array.dtype)


def _how_to_uint8(x: Any) -> str:
    """What to write where the pixels are numbers from 0 to 1; else nothing."""
    is_unit = x.dtype.kind == "f" and ((x >= 0) & (x <= 1)).all()
    return ": (255 * x).round().astype('uint8')" if is_unit else ""


def _label_problem(y: Any, x: Any) -> str | None:
    if y.dtype.kind not in "iu":
        return f"labels are {_dtype(y)}; must be whole numbers 0..K-1"
    n = len(x) if x.ndim else 0
    if y.shape != (n,):
        return f"labels have shape {y.shape}; must be ({n},), one per image{_how_to_flatten(y, n)}"
    if len(y) and (int(y.min()) < 0 or int(y.max()) > 1_000_000):
        bad = int(np.argmax((y < 0) | (y > 1_000_000)))
        return f"label {y[bad]} of example {bad} is out of range; must be 0..K-1"
    return None


def _how_to_flatten(y: Any, n: int) -> str:
    """What to write for one-hot labels and for a column of labels; else nothing."""
    if y.ndim != 2 or len(y) != n:
        return ""
    return ": y[:, 0]" if y.shape[1] == 1 else ": y.argmax(axis=1)" if (y.sum(axis=1) == 1).all() else ""


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
