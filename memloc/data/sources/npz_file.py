"""`npz:FILE`: arrays of images and labels that `numpy.savez` wrote."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator

from memloc.data.assembly import Half, OwnImages
from memloc.data.declared import check_member, check_npz
from memloc.data.label_values import LabelError, label_values
from memloc.data.pixels import PixelError, as_uint8, channels_first, is_unit
from memloc.data.regular_file import opened
from memloc.data.source import LabelledSource, behind
from memloc.errors import UsageError, error_line

# The names of the arrays: training images, their labels, test images, their labels. The second row has those of MedMNIST.
NAMES = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
)
VALIDATION = (("x_val", "y_val"), ("val_images", "val_labels"))  # for the same rows; left out if there is a test set
WANTED = (
    f"npz:FILE needs a file of numpy.savez with {', '.join(NAMES[0])}; FILE is relative to the sweep file, on the command "
    "line to the current folder (--data-dir and MEMLOC_DATA say where the named data sets lie)"
)


class NpzFile(LabelledSource):
    """One file: x_train, y_train and, if there are any, x_test, y_test, true labels, further labels of training images.

    Nothing is unpickled: an array of Python objects is refused, and so is a pickle named .npz.
    """

    PREFIX: ClassVar[str] = "npz:"
    FORM: ClassVar[str | None] = "npz:FILE"

    dataset: Annotated[str, AfterValidator(behind("npz:", "npz:FILE"))]

    @classmethod
    def reads(cls, path: Path) -> bool:
        """As `SourceConfig.reads`."""
        return path.suffix == ".npz"

    def read(self) -> OwnImages:
        """As `OwnSource.read`."""
        arrays = self._arrays()
        row = next(k for k, names in enumerate(NAMES) if names[0] in arrays)
        (x_name, y_name, x_test, y_test), (x_val, y_val) = NAMES[row], VALIDATION[row]
        notes = []
        if x_val in arrays:
            if x_test in arrays:
                notes.append("the validation images are left out")
            else:
                x_test, y_test = x_val, y_val
                notes.append("the validation images are the test set")
        images = self._images(arrays, {x_name: y_name, x_test: y_test}, notes)
        n = len(images[x_name])
        own = {name: a for name, a in arrays.items() if name not in (x_name, x_test, y_test, "noisy")}
        columns = {y_name: arrays[y_name]} | {name: a for name, a in own.items() if a.shape == (n,) or name == "y_true"}
        if (y_true := arrays.get("y_true")) is not None and y_true.shape[:1] != (n,):
            raise UsageError(f"{self.path}:y_true: labels have shape {y_true.shape}; must be ({n},), one per image")
        wrong_labels = arrays.get("noisy")
        if wrong_labels is not None and wrong_labels.shape == (n, 1):
            wrong_labels = wrong_labels[:, 0]
        test = Half(images[x_test], {y_name: arrays[y_test]}, labels=y_test) if x_test in arrays else None
        return OwnImages(str(self.path), Half(images[x_name], columns), test, y_name, {}, wrong_labels, notes)

    def _images(self, arrays: Mapping[str, Any], labels: Mapping[str, str], notes: list[str]) -> dict[str, Any]:
        """uint8 N×C×H×W of each. Numbers with a point are from 0 to 1 if they are so in all. labels: {images: labels}."""
        floats = {name: a for name in labels if (a := arrays.get(name)) is not None and a.dtype.kind == "f" and a.size}
        unit = all(map(is_unit, floats.values())) if floats else None
        images, problems = {}, []
        if len(floats) == 2 and not unit and is_unit(next(iter(floats.values()))):  # dark test images alone are possible
            ranges = " and ".join(f"{name} from {a.min():g} to {a.max():g}" for name, a in floats.items())
            raise UsageError(f"{self.path}: {ranges}; both must be 0..1, or both 0..255")
        for name, of_labels in labels.items():
            if name not in arrays:
                continue
            try:
                pixels, note = as_uint8(arrays[name], unit)
                images[name] = channels_first(pixels)
                notes += [note] if note and note not in notes else []
            except PixelError as error:
                problems.append(f"{self.path}:{name}: {error}")
            try:
                label_values(arrays[of_labels], len(arrays[name]) if arrays[name].ndim else 0)
            except LabelError as error:
                problems.append(f"{self.path}:{of_labels}: {error}")
        if problems:
            raise UsageError(*problems)
        return images

    def _arrays(self) -> dict[str, Any]:
        with opened(self.path, WANTED) as file:
            if not zipfile.is_zipfile(file):
                raise UsageError(
                    f"{self.path}: is not an npz file (numpy.savez writes one with {', '.join(NAMES[0])}); nothing is "
                    "unpickled"
                )
            try:
                with zipfile.ZipFile(file) as archive:
                    names = [member.removesuffix(".npy") for member in archive.namelist()]
                self._check_names(names)
                file.seek(0)
                check_npz(file, names)
                with np.load(file, allow_pickle=False) as content:
                    return {name: self._array(content, name) for name in content.files}
            except (OSError, ValueError, zipfile.BadZipFile) as error:
                raise UsageError(f"{self.path}: {_why(error)}") from None

    def _check_names(self, names: list[str]) -> None:
        """Training images and labels must be there. Test images need labels, and labels images."""
        held = ", ".join(names[:10]) + (f" and {len(names) - 10:,} more" if names[10:] else "") or "nothing"
        row = next((k for k, n in enumerate(NAMES) if n[0] in names or n[1] in names), 0)
        missing = [name for name in NAMES[row][:2] if name not in names]
        x_test, y_test = NAMES[row][2:]
        missing += [one for one, other in ((x_test, y_test), (y_test, x_test)) if other in names and one not in names]
        x_val, y_val = VALIDATION[row]
        missing += [y_val] if x_val in names and x_test not in names and y_val not in names else []
        if missing:
            raise UsageError(f"{self.path}: lacks {', '.join(missing)}; it holds {held}")

    def _array(self, content: Any, name: str) -> Any:
        try:
            check_member(content.zip, name)
            array = content[name]
        except Exception as error:  # damaged, encrypted, larger than memory: a file can be wrong in any way
            raise UsageError(f"{self.path}:{name}: {_why(error)}") from None
        if not isinstance(array, np.ndarray):  # numpy gives the bytes of what does not begin like an array
            raise UsageError(f"{self.path}:{name}: is not an array; nothing is unpickled")
        return array


def _why(error: Exception) -> str:
    if "pickle" in str(error):
        return "holds Python objects (a pickle); nothing is unpickled"
    return f"is broken: {error_line(error)}"


SOURCE = NpzFile
