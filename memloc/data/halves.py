"""Training and test images: which files or folders are for which, by their names, and decoding them together."""

from __future__ import annotations

import ntpath
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from memloc.data.arrays import U8
from memloc.data.assembly import Half, picked
from memloc.data.pictures import Encoded, unified
from memloc.data.source import PictureSource
from memloc.errors import UsageError

T = TypeVar("T")

HALVES = {
    "train": ("train", "training"),
    "test": ("test", "testing"),
    "val": ("val", "valid", "validation", "dev"),
}


def half_of(name: str) -> str | None:
    """train, test or val if a name begins with such a word, as `train-00000-of-00002` does; else None."""
    first = re.match(r"[a-z]*", name.lower())
    word = first[0] if first else ""
    return next((half for half, words in HALVES.items() if word in words), None)


def halved(named: Sequence[tuple[str, T]], where: str) -> tuple[list[T], list[T], str]:
    """(for training, for testing, a note or ""), in the order given. What has another name is for training.

    Without anything for testing, validation takes its place. If all is for testing, or all for validation, it is trained on.
    where: what these are, for messages.

    Raises:
        UsageError: some are for testing and some for validation, and none for training.
    """
    parts: dict[str | None, list[T]] = {}
    for name, item in named:
        parts.setdefault(half_of(name), []).append(item)
    train = [item for name, item in named if half_of(name) in (None, "train")]
    if not train and len(parts) > 1:
        have = ", ".join(dict.fromkeys(name for name, _ in named))
        raise UsageError(f"{where}: nothing is for training: there are {have}; name what is to be trained on train")
    if not train:
        return [item for _, item in named], [], ""
    if "test" in parts:
        return train, parts["test"], "the validation images are left out" if "val" in parts else ""
    return train, parts.get("val", []), "the validation images are the test set" if "val" in parts else ""


@dataclass(frozen=True)
class Listed:
    """Training or test images that are not decoded yet. files: where each comes from. columns: {name: labels}."""

    images: Iterable[Encoded]
    files: Sequence[str]
    columns: Mapping[str, Sequence[Any]]

    def half(self, x: U8, kept: Sequence[int]) -> Half:
        """The same with the pixels, x, of the images that are kept."""
        files = placeless(self.files)
        if len(kept) == len(files):
            return Half(x, self.columns, files)
        return Half(x, {name: picked(values, kept) for name, values in self.columns.items()}, picked(files, kept))


def placeless(files: Sequence[str]) -> list[str]:
    """The files, absolute paths relative to the folder that they have in common: tables and pages are passed on."""
    named = [re.sub("^//+", "/", file) for file in files]  # two slashes are one, except to pathlib
    for kind, system in ((PurePosixPath, posixpath), (PureWindowsPath, ntpath)):
        absolute = {k: kind(file) for k, file in enumerate(named) if kind(file).is_absolute()}
        if not absolute:
            continue
        try:
            common = system.commonpath([str(path.parent) for path in absolute.values()])
        except ValueError:  # on several drives
            common = ""
        for k, path in absolute.items():
            named[k] = path.relative_to(common or path.anchor).as_posix()
    return named


def read_together(
    source: PictureSource, where: str, train: Listed, test: Listed | None
) -> tuple[Half, Half | None, list[str]]:
    """(training images, test images, what was converted or left out): of one size, and grey only if all are.

    Raises:
        UsageError: as `pictures.unified`.
    """
    n = len(train.files)
    images = train.images if test is None else chain(train.images, test.images)
    total = n + (0 if test is None else len(test.files))
    read = unified(images, total, where, source.sides, source.skip_broken)
    of_train = sum(k < n for k in read.kept)
    first = train.half(read.x[:of_train], read.kept[:of_train])
    if test is None:
        return first, None, read.notes
    return first, test.half(read.x[of_train:], [k - n for k in read.kept[of_train:]]), read.notes
