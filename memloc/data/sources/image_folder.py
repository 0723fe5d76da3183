"""`folder:DIR`: images in a folder per class."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from memloc.counts import counted
from memloc.data.assembly import OwnImages
from memloc.data.halves import Listed, half_of, halved, read_together
from memloc.data.pictures import Encoded, file_content, shown_name
from memloc.data.source import PictureSource, behind
from memloc.errors import UsageError

SUFFIXES = {
    ".avif", ".bmp", ".gif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
}  # fmt: skip
NO_CLASSES = ("__MACOSX", "__pycache__")  # folders that programs leave behind
WANTED = "folder:DIR needs DIR/CLASS/IMAGE, or DIR/train/CLASS/IMAGE and DIR/test/CLASS/IMAGE"


class ImageFolder(PictureSource):
    """A folder with a folder for every class; or with train and test, or val, that have them."""

    PREFIX: ClassVar[str] = "folder:"
    FORM: ClassVar[str | None] = "folder:DIR"

    dataset: Annotated[str, AfterValidator(behind("folder:", "folder:DIR"))]

    @classmethod
    def reads(cls, path: Path) -> bool:
        """As `SourceConfig.reads`."""
        others = any(next(path.glob(name), None) for name in ("*.parquet", "state.json", "dataset_dict.json"))
        return path.is_dir() and not others

    def read(self) -> OwnImages:
        """As `OwnSource.read`."""
        notes: list[str] = []
        folders = _folders(self.path)
        train, test = folders, list[Path]()
        named = [(folder.name, folder) for folder in folders if half_of(folder.name)]
        others = [shown_name(folder.name) for folder in folders if not half_of(folder.name)]
        of_training = [folder for name, folder in named if half_of(name) == "train"]
        if of_training and not (others and not any(map(_folders, of_training))):  # else trains are a class
            of_train, of_test, note = halved(named, str(self.path))
            train, test = ([inner for outer in half for inner in _folders(outer)] for half in (of_train, of_test))
            notes += [note] if note else []
            if others:
                some = f"{', '.join(others[:5])}{', …' if others[5:] else ''}"
                notes.append(f"folders that are neither for training nor for testing are left out: {some}")
        elif named and not others and not of_training and any(_folders(folder) for _, folder in named):
            have = ", ".join(name for name, _ in named)
            raise UsageError(f"{self.path}: no folder is for training: there are {have}; name it train; {WANTED}")
        outer = {folder.parent for folder in (*train, *test)}
        if beside := [name for folder in sorted({self.path, *outer}) for name in _beside(folder, self.path)]:
            notes.append(
                f"images outside of the folders of classes, and folders that begin with __, are left out: "
                f"{', '.join(beside[:5])}{', …' if beside[5:] else ''}"
            )
        if blank := [folder for folder in train if not folder.name.strip()]:
            raise UsageError(f"{blank[0].parent}: folder {blank[0].name!r} has a blank name; a class needs a name")
        if len({folder.name for folder in train}) < 2:
            have = f"the only folder is {shown_name(train[0].name)}" if train else "there are no folders"
            raise UsageError(f"{self.path}: {have}; there must be one for each of at least 2 classes; {WANTED}")
        halves = [self._listed(train, notes), self._listed(test, notes) if test else None]
        where = str(self.path)
        first, second, said = read_together(self, where, halves[0] or Listed([], [], {}), halves[1])
        return OwnImages(where, first, second, "label", notes=[*notes, *said])

    def _listed(self, folders: list[Path], notes: list[str]) -> Listed:
        """The images of these classes. notes: gets lines about empty classes and files that are no images."""
        images, labels, files, others = list[Encoded](), list[str](), list[str](), list[str]()
        empty = []
        for folder in folders:
            before = len(images)
            for path in _files(folder):
                name = shown_name(os.path.relpath(path, self.path))
                if path.suffix.lower() not in SUFFIXES:
                    others.append(name)
                    continue
                images.append(Encoded(name, partial(file_content, path)))
                labels.append(shown_name(folder.name))
                files.append(name)
            empty += [shown_name(folder.name)] if len(images) == before else []
        if empty:
            notes.append(f"folders without images are left out: {', '.join(empty[:5])}{', …' if empty[5:] else ''}")
        if others:
            notes.append(
                f"{counted(len(others), 'file')} whose names are not those of images left out: {others[0]}"
                f"{', …' if others[1:] else ''}"
            )
        return Listed(images, files, {"label": labels})


def _folders(path: Path) -> list[Path]:
    """The folders in a folder, hidden ones left out, in the order of the bytes of their names."""
    try:
        inside = [p for p in path.iterdir() if os.path.isdir(p) and not p.name.startswith((".", "__"))]
    except OSError as error:
        problem = "no such folder" if isinstance(error, FileNotFoundError) else error.strerror
        raise UsageError(f"{path}: {problem}; {WANTED}") from None
    return sorted(inside, key=lambda p: os.fsencode(p.name))


def _beside(path: Path, root: Path) -> list[str]:
    """What may be meant as data in a folder of classes, and is not read: images, and folders that `_folders` leaves out."""
    names = sorted((p for p in path.iterdir() if not p.name.startswith(".")), key=lambda p: os.fsencode(p.name))
    images = [p for p in names if p.suffix.lower() in SUFFIXES and not os.path.isdir(p)]
    hidden = [p for p in names if p.name.startswith("__") and p.name not in NO_CLASSES and os.path.isdir(p)]
    return [shown_name(os.path.relpath(p, root)) for p in (*images, *hidden)]


def _files(folder: Path) -> Iterator[Path]:
    """The files in a folder and below it, hidden ones left out, in order. Links to folders below it are not followed."""

    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename}: cannot be read: {error.strerror}")

    for at, inner, names in os.walk(folder, onerror=refuse):
        inner[:] = sorted((name for name in inner if not name.startswith(".")), key=os.fsencode)
        yield from (Path(at, name) for name in sorted(names, key=os.fsencode) if not name.startswith("."))


SOURCE = ImageFolder
