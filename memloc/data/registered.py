"""Data sets that a program registers: anything with a length whose items are (image, label), as torchvision's are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from pydantic import AfterValidator

from memloc.counts import counted
from memloc.data.assembly import OwnImages, unlike_names
from memloc.data.halves import Listed, read_together
from memloc.data.pictures import Encoded
from memloc.data.pixels import CHANNELS, PixelError, as_uint8
from memloc.data.source import LabelledSource, PictureSource
from memloc.data.sources import KINDS
from memloc.errors import UsageError, error_line, wrong_type
from memloc.own_code import BROKEN

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image

NAME = re.compile(r"[A-Za-z_][\w-]*")
ITEMS = "a data set with a length whose items are (image, label), such as torchvision's"


@dataclass(frozen=True)
class _Registered:
    train: Any
    test: Any
    true_labels: Any
    class_names: tuple[str, ...]


_REGISTERED: dict[str, _Registered] = {}


def _known(value: str) -> str:
    if value in _REGISTERED:
        return value
    raise ValueError(f"valid: {', '.join(_REGISTERED) or 'none is registered'}")


class Registered(LabelledSource, PictureSource):
    """A registered data set. It is read where the sweep is launched; workers get its arrays."""

    PREFIX: ClassVar[str] = ""

    dataset: Annotated[str, AfterValidator(_known)]

    @classmethod
    def absolute(cls, dataset: str, folder: Path) -> str:
        """As `SourceConfig.absolute`: a name has no path."""
        return dataset

    def read(self) -> OwnImages:
        """As `OwnSource.read`."""
        known = _REGISTERED[self.dataset]
        halves = [_Items(self.dataset, known.train)]
        halves += [] if known.test is None else [_Items(f"{self.dataset}, test", known.test)]
        listed = [half.listed() for half in halves]
        if known.true_labels is not None:
            listed[0].columns["true_label"] = _true_labels(self.dataset, known)  # type: ignore[index]
        train, test, notes = read_together(self, self.dataset, listed[0], listed[1] if known.test is not None else None)
        names = known.class_names or _names(known.train)
        of_test = () if known.class_names else _names(known.test)
        if names and of_test and (unlike := unlike_names(names, of_test)):
            raise UsageError(f"{self.dataset}: train.classes and test.classes differ: {unlike}")
        return OwnImages(self.dataset, train, test, "label", {"label": names} if names else {}, notes=notes)


def _true_labels(name: str, known: _Registered) -> Any:
    """A list, or an array: a Series of pandas has an index of its own, which is not the order of the examples."""
    labels = known.true_labels
    labels = labels if isinstance(labels, list | tuple) else np.asarray(_plain(labels))
    is_one = isinstance(labels, np.ndarray) and labels.ndim == 0
    if is_one or len(labels) != len(known.train):
        have = "one value" if is_one else counted(len(labels), "label")
        raise UsageError(f"{name}: true_labels has {have}; must be {len(known.train)}, one for each training example")
    return labels


def _plain(value: Any) -> Any:
    """A tensor without its gradient and on the CPU, so that it is an array; anything else as it is."""
    return value.detach().cpu() if hasattr(value, "detach") else value


@dataclass(frozen=True)
class _Items:
    """The items of a data set. name: for messages."""

    name: str
    items: Any

    def listed(self) -> Listed:
        """The images with their labels; an item is taken when its image is decoded."""
        labels = list[Any]()
        try:
            n = len(self.items)
        except BROKEN as error:
            raise UsageError(f"{self.name}: has no length: {error_line(error)}; must be {ITEMS}") from error
        samples = getattr(self.items, "samples", None)  # (path, class) of each, as torchvision's folders have them
        is_files = isinstance(samples, list) and len(samples) == n and all(isinstance(s, tuple) and s for s in samples)
        paths = [str(s[0]) for s in samples] if is_files and samples else []
        root = _common(paths)  # the folder of a machine is nobody's business
        files = [os.path.relpath(path, root) for path in paths] if root else [f"{self.name}[{k}]" for k in range(n)]
        return Listed(self._images(files, labels), files, {"label": labels})

    def _images(self, names: Sequence[str], labels: list[Any]) -> Iterator[Encoded]:
        """labels: gets the label of each. Items are made one after the other: a data set need not be made for threads."""
        for k, name in enumerate(names):
            image, label = self._item(k)
            if k == 0 and _differ(image, self._item(0)[0]):
                raise UsageError(
                    f"{name}: gives another image each time; register the data set without random transforms (augment: "
                    "crop_flip shifts and mirrors)"
                )
            labels.append(label.item() if getattr(label, "ndim", None) == 0 else label)
            yield Encoded(name, partial(_same, image))

    def _item(self, k: int) -> tuple[Image, Any]:
        """(an image of Pillow, its label)."""
        try:
            item = self.items[k]
        except BROKEN as error:
            raise UsageError(f"{self.name}[{k}]: {error_line(error)}") from error
        if not isinstance(item, tuple | list) or len(item) < 2:
            raise UsageError(f"{self.name}[{k}]: is of type {type(item).__name__}; must be (image, label)")
        try:
            return _image(item[0]), item[1]
        except (PixelError, TypeError, ValueError, RuntimeError) as error:
            raise UsageError(f"{self.name}[{k}]: {error_line(error, with_type=False)}") from None


def _common(paths: Sequence[str]) -> str:
    """The folder that these files have in common; "" if there is none, as of absolute and relative paths."""
    try:
        return os.path.commonpath(paths) if len(paths) > 1 else ""
    except ValueError:
        return ""


def _same(image: Image) -> Image:
    return image


def _differ(one: Image, other: Image) -> bool:
    try:
        return one.size != other.size or one.tobytes() != other.tobytes()
    except Exception:  # one that Pillow has not decoded yet may be damaged, in any way; reading says so
        return False


def _image(image: Any) -> Image:
    """An image of Pillow, of one or of an array or tensor: H×W, H×W×C, C×H×W; numbers with a point are from 0 to 1."""
    from PIL import Image as Pillow

    if isinstance(image, Pillow.Image):
        return image
    pixels = as_uint8(np.asarray(_plain(image)), unit=True)[0]
    if pixels.ndim == 3 and pixels.shape[0] in CHANNELS and pixels.shape[2] not in CHANNELS:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not pixels.size or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in CHANNELS)):
        raise PixelError(f"image has shape {pixels.shape}; must be H×W, H×W×C or C×H×W with 1, 3 or 4 channels")
    return Pillow.fromarray(np.ascontiguousarray(pixels))


def _names(items: Any) -> tuple[str, ...]:
    """The names of the classes, as torchvision's data sets have them."""
    names = getattr(items, "classes", None)
    return tuple(map(str, names)) if isinstance(names, list | tuple) else ()


def register_dataset(
    name: str,
    train: Any,
    *,
    test: Any = None,
    true_labels: Sequence[Any] | None = None,
    class_names: Sequence[str] = (),
) -> None:
    """Makes a data set known to this program under a name, which `dataset` of a training may then have.

    Its identity is its content. A later data set of the same name takes the place of the earlier one.

    Args:
        name: letters, digits, `_` and `-`; none of memloc's own data sets has it.
        train: the training examples: it has a length, and its items are (image, label). An image is one of Pillow, or an
            array or a tensor: uint8, or from 0 to 1.
        test: the test examples; None: a part of `train`, as field `test` says.
        true_labels: [len(train)] the right labels, if those in `train` may be wrong; then the wrong ones are known.
        class_names: in the order of the labels; (): those of `train.classes`, if it has them.

    Raises:
        UsageError: the name is taken or no name, `train` or `test` is no such data set, or `class_names` has no names.
    """
    from memloc.data import load

    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise UsageError(f"register_dataset: {name!r} is no name; must be letters, digits, _ and -, such as 'mine'")
    if name in KINDS and name not in _REGISTERED:
        raise UsageError(f"register_dataset: {name!r} is a data set of memloc's own; choose another name")
    for items in (train, *([] if test is None else [test])):
        if not (hasattr(items, "__len__") and hasattr(items, "__getitem__")):
            raise wrong_type("register_dataset", items, ITEMS)
    names = () if isinstance(class_names, str) or not isinstance(class_names, Iterable) else tuple(class_names)
    if (not names and class_names != ()) or not all(isinstance(c, str) for c in names):
        raise UsageError(f"register_dataset: class_names={class_names!r}; must be a list of names, such as ['cat', 'dog']")
    _REGISTERED[name] = _Registered(train, test, true_labels, names)
    KINDS[name] = Registered
    load.cache_clear()  # a data set of this name may have been read
