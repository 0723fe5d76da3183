"""Downloaded data sets: files with pinned checksums, in torchvision's layout.

Checksums and addresses come from torchvision. It is imported only where they are needed, because that takes seconds. The
checksums protect against damage and mix-ups. Users who can write into the data directory are trusted.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shlex
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from memloc.data.arrays import I64, U8, Description, Origin, Raw
from memloc.data.directory import data_dir as default_dir
from memloc.errors import UsageError, error_line

LARGEST = 2**28  # bytes; every file of these data sets, uncompressed, is smaller

Arrays = tuple[U8, I64, U8, I64]  # x_train, y_train, x_test, y_test


@dataclass(frozen=True)
class File:
    """A file below the data directory. gz: it may also lie there compressed, as PATH.gz."""

    path: str
    gz: bool = False

    def present(self, data_dir: Path) -> list[Path]:
        """The forms of it that are there."""
        plain = data_dir / self.path
        forms = [plain, plain.with_name(plain.name + ".gz")] if self.gz else [plain]
        return [p for p in forms if os.path.exists(p)]  # Path.exists raises if a folder cannot be read

    def __str__(self) -> str:
        return f"{self.path}{'[.gz]' if self.gz else ''}"


@dataclass(frozen=True)
class Download:
    """A download: its path below the data directory, its MD5, the addresses to try in turn.

    files: the paths of the data set's files in it: one file, or those in an archive (.tar.gz).
    """

    path: str
    md5: str
    urls: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def is_archive(self) -> bool:
        """Whether it is unpacked after the download."""
        return self.path.endswith(".tar.gz")


@dataclass(frozen=True)
class Content:
    """A file's verified content, and where it lies."""

    path: Path
    data: bytes


@dataclass(frozen=True)
class NamedDataset:
    """A data set known by name.

    shape: (C, H, W) of an image. md5s: gives the MD5 of every file's uncompressed content, by its path. downloads: gives the
    downloads. read: makes arrays of the contents of `files`, in that order. class_names: in the order of the labels;
    empty where the classes are digits.

    Only `load` needs the files. The identity is that of the pinned checksums.
    """

    name: str
    shape: tuple[int, int, int]
    n_train: int
    n_test: int
    classes: int
    files: tuple[File, ...]
    md5s: Callable[[], Mapping[str, str]]
    downloads: Callable[[], tuple[Download, ...]]
    read: Callable[[Iterator[Content]], Arrays]
    class_names: tuple[str, ...] = ()

    @property
    def description(self) -> Description:
        """What a plan must know. The identity is a hash of the files' paths and pinned checksums."""
        md5s = self.md5s()
        pins = "\n".join(f"{file.path} {md5s[file.path]}" for file in self.files)
        identity = f"{self.name}:{hashlib.sha256(pins.encode()).hexdigest()}"
        return Description(identity, self.shape, self.n_train, self.n_test, self.classes)

    def missing(self, data_dir: Path) -> list[File]:
        """The files of which no form is there."""
        return [file for file in self.files if not file.present(data_dir)]

    def load(self, data_dir: Path) -> Raw:
        """Verifies and reads the files.

        Raises:
            UsageError: one line on what is missing, damaged or not as the data set is.
        """
        if missing := self.missing(data_dir):
            raise UsageError(self._what_is_missing(data_dir, missing))
        arrays = self.read(self.content(file, data_dir) for file in self.files)
        for problem in self._misfits(arrays):
            raise UsageError(f"{self.name} in {data_dir}: {problem}")
        return Raw(*arrays, self.classes, self.description.identity, origin=Origin(self.class_names))

    def content(self, file: File, data_dir: Path) -> Content:
        """The verified content of a file: of the first of its forms that is whole.

        Raises:
            UsageError: where none is.
        """
        problems: list[str] = []
        for path in file.present(data_dir) or [data_dir / file.path]:
            try:
                return self.verified_content(file, path, data_dir)
            except UsageError as error:
                problems += error.problems
        raise UsageError(problems[0])

    def verified_content(self, file: File, path: Path, data_dir: Path) -> Content:
        """The verified content of one form of a file.

        Raises:
            UsageError: what is wrong with it, and what to do.
        """
        if path.is_dir():
            raise UsageError(f"{path}: is a folder where a file of {self.name} belongs; move it away")
        try:
            return Content(path, verified(path, self.md5s()[file.path]))
        except UsageError as error:
            raise UsageError(f"{error}; {self.how_to_fetch(data_dir)} replaces it") from None

    def how_to_fetch(self, data_dir: Path) -> str:
        """What to type."""
        where = "" if data_dir == default_dir() else f" --data-dir {shlex.quote(str(data_dir))}"
        return f"memloc data fetch {self.name}{where}"

    def _what_is_missing(self, data_dir: Path, missing: Sequence[File]) -> str:
        there = len(self.files) - len(missing)
        state = f"only {there} of {len(self.files)} files are in {data_dir}" if there else f"not in {data_dir}"
        names = ", ".join(map(str, missing))
        return f"{self.name}: {state}; {self.how_to_fetch(data_dir)} downloads it, or put {names} there"

    def _misfits(self, arrays: Arrays) -> list[str]:
        x_train, y_train, x_test, y_test = arrays
        parts = [("train", self.n_train, x_train, y_train), ("test", self.n_test, x_test, y_test)]
        return [problem for part in parts if (problem := _misfit(part, self.shape, self.classes))]


def _misfit(part: tuple[str, int, Any, Any], shape: tuple[int, int, int], classes: int) -> str | None:
    name, n, x, y = part
    if x.dtype != np.uint8 or x.shape != (n, *shape):
        return f"x_{name} is {x.dtype} {x.shape}; must be uint8 {(n, *shape)}"
    if y.dtype != np.int64 or y.shape != (n,):
        return f"y_{name} is {y.dtype} {y.shape}; must be int64 {(n,)}"
    if int(y.min()) < 0 or int(y.max()) >= classes:
        bad = int(np.argmax((y < 0) | (y >= classes)))
        return f"label {y[bad]} of example {bad} of y_{name} is out of range; must be 0..{classes - 1}"
    return None


def verified(path: Path, md5: str) -> bytes:
    """The content of a file, uncompressed where it is named .gz, if its MD5 is this.

    Raises:
        UsageError: where it cannot be read or is something else.
    """
    try:
        if not path.is_file():  # opening a pipe would wait for ever
            raise UsageError(f"{path}: is not a file")
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(LARGEST)
    except gzip.BadGzipFile:
        raise UsageError(f"{path}: is not a gzip file, or a damaged one") from None
    except (EOFError, zlib.error) as error:
        raise UsageError(f"{path}: is damaged: {error_line(error)}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None
    if (actual := hashlib.md5(content, usedforsecurity=False).hexdigest()) != md5:
        raise UsageError(f"{path}: is damaged or another file (MD5 {actual}, must be {md5})")
    return content
