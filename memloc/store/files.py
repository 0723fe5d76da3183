"""Bytes on a filesystem: a local folder or an object store, through pyarrow.fs (Ray's own storage layer).

A file appears whole or not at all: one PUT on an object store, temporary file + fsync + rename on a disk.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from pyarrow import fs

from memloc.errors import StorageError, StoreError, error_line
from memloc.store import filesystem, layout, local
from memloc.store.local import Info
from memloc.store.patience import Patience, patiently

T = TypeVar("T")
R = TypeVar("R")

# What a path is, or what lies there. Waiting changes nothing about it.
_LASTING = frozenset({errno.ELOOP, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EINVAL})


class TooLargeError(ValueError):
    """A file that has more bytes than its reader takes. size: its bytes."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"has {size} bytes; {most} at most are read")
        self.size = size


class Files:
    """A folder of a filesystem. Paths are relative to it, with forward slashes.

    Every failure of the filesystem itself is a StorageError of one line that names the store. patience: how long reading and
    writing wait until such a fault is over.
    """

    def __init__(self, uri: str, patience: Patience | None = None) -> None:
        self.uri, self.patience = uri, patience or Patience()
        self._fs, self._hasty, self.root = filesystem.resolve(uri)
        self.local = isinstance(self._fs, fs.LocalFileSystem)
        self.on_odd: local.OnOdd = lambda problems: None  # called with what lies in the place of our files and is none

    def full(self, path: str) -> str:
        """The path on the filesystem of a path within the folder; "" is the folder itself."""
        return f"{self.root}/{path}" if path else self.root

    @property
    def address(self) -> str:
        """The name of the same store for other processes, in any working directory. To open it, none asks the network."""
        return filesystem.located(self.uri, self._fs)

    def exists(self) -> bool:
        """Is there a folder here? It answers within seconds, even if the server does not.

        Raises:
            StoreError: there is a file instead, or no access.
        """
        with self._errors("cannot be reached"):
            kind = self._hasty.get_file_info(self.root).type
        if kind == fs.FileType.File:
            raise StoreError(f"store {self.uri}: is a file; name a folder")
        return bool(kind == fs.FileType.Directory)

    def is_store(self) -> bool:
        """Is there anything of a store in the folder? It lists a few folders, and no whole store."""
        return any(
            layout.is_own(file)
            for mark in layout.MARKS
            for folder in self._names(mark, fs.FileType.Directory)
            if layout.is_own_folder(folder)
            for file in self._names(folder, fs.FileType.File)
        )

    def _names(self, folder: str, kind: Any) -> list[str]:
        """The files or the folders that lie directly in a folder, from a first look that does not wait long."""
        with self._errors("cannot be reached"):
            if self.local:
                return local.names(self.root, folder, kind == fs.FileType.Directory)
            try:
                infos = self._hasty.get_file_info(fs.FileSelector(self.full(folder), allow_not_found=True))
            except NotADirectoryError:
                return []
        return [f"{folder}/{info.base_name}" for info in infos if info.type == kind]

    def check_usable(self) -> None:
        """Raises StoreError if there is no folder here that can be written, and none can be made."""
        self.exists()
        probe = layout.temporary("probe-")
        with self._errors("cannot be written"):
            self._write(probe, b"")
            self._fs.delete_file(self.full(probe))

    @patiently
    def clock(self) -> float:
        """The time by the clock of the storage, in seconds since 1970: the date of a file that is written now."""
        probe = layout.temporary("probe-")
        with self._errors("cannot be written"):
            self._write(probe, b"")
        info = self.patience.settled(lambda: self.info(probe))
        self.delete(probe)
        if info is None:
            raise StorageError(f"store {self.uri}: {probe} was written and is not there")
        return info.written

    @patiently
    def put(self, path: str, data: bytes) -> None:
        """Writes a whole file; a reader never sees a part of it under `path`."""
        with self._errors(f"{path} cannot be written"):
            self._write(path, data)

    def _write(self, path: str, data: bytes) -> None:
        if self.local:
            local.write(self.root, path, data)
        else:
            self._write_remote(self.full(path), data)

    def _write_remote(self, target: str, data: bytes) -> None:
        # The bytes are complete before the stream opens, and go in with one write: a stream that is dropped half-way
        # would publish a truncated object. pyarrow sends up to 10 MB as one PUT, more as a multipart upload, which
        # becomes visible as a whole when it is completed.
        stream = self._fs.open_output_stream(target)
        stream.write(data)
        stream.close()
        size = self._fs.get_file_info(target).size
        if size != len(data):
            raise OSError(f"wrote {len(data)} bytes, found {size}")

    @patiently
    def get(self, path: str, most: int | None = None) -> bytes:
        """The bytes of a file.

        Raises:
            FileNotFoundError: there is none. TooLargeError: it has more than `most` bytes, and none is read.
        """
        if self.local and self.size(path) is None:  # pyarrow would follow a link, and wait for a pipe
            raise FileNotFoundError(path)
        try:
            with self._fs.open_input_file(self.full(path)) as file:
                size = file.size()
                if most is not None and size > most:
                    raise TooLargeError(size, most)
                return bytes(file.read())
        except FileNotFoundError:
            raise
        except OSError as error:
            if self.size(path) is None:  # an object store is asked for the size first; the file may be removed in between
                raise FileNotFoundError(path) from error
            raise self._error(error, f"{path} cannot be read") from error

    @patiently
    def end(self, path: str, most: int) -> tuple[int | None, bytes]:
        """(bytes of a file, the last ones, at most `most`); (None, b"") where there is no file."""
        if self.local and self.size(path) is None:
            return None, b""
        try:
            with self._errors(f"{path} cannot be read"), self._fs.open_input_file(self.full(path)) as file:
                size = int(file.size())
                return size, bytes(file.read_at(min(size, most), max(0, size - most)))
        except StoreError:
            if self.size(path) is None:
                return None, b""
            raise

    def find(self, path: str, most: int | None = None) -> bytes | None:
        """The bytes of a file, or None where there is none (any more); raises TooLargeError as `get`."""
        try:
            return self.get(path, most)
        except FileNotFoundError:
            return None

    def size(self, path: str) -> int | None:
        """The size of a file in bytes, or None if there is no file."""
        info = self.info(path)
        return None if info is None else info.size

    @patiently
    def info(self, path: str) -> Info | None:
        """The size and the date of a file, or None if there is no file."""
        with self._errors(f"{path} cannot be read"):
            if self.local:
                return local.regular(self.root, path)
            info = self._fs.get_file_info(self.full(path))
        return _info(info) if info.type == fs.FileType.File else None

    def listing(self, folder: str, recursive: bool = True) -> dict[str, int]:
        """{path: bytes} of the files in a folder; empty where there is no such folder."""
        return {path: info.size for path, info in self._infos(folder, recursive).items()}

    @contextmanager
    def noting_odd(self) -> Iterator[dict[str, str]]:
        """{path: why} of what lies in the place of files of ours and is left out, such as a link; `on_odd` is told too."""
        noted: dict[str, str] = {}
        told = self.on_odd

        def note(problems: Mapping[str, str]) -> None:
            noted.update(problems)
            told(problems)

        self.on_odd = note
        try:
            yield noted
        finally:
            self.on_odd = told

    def infos(self, folder: str) -> dict[str, Info]:
        """{path: its size and date} of the files in a folder."""
        return self._infos(folder)

    def dates(self, folder: str) -> dict[str, float]:
        """{path: seconds since 1970 when it was last written} of the files in a folder."""
        return {path: info.written for path, info in self._infos(folder).items()}

    @patiently
    def _infos(self, folder: str, recursive: bool = True) -> dict[str, Info]:
        with self._errors(f"{folder} cannot be listed"):
            if self.local:
                return dict(local.listing(self.root, folder, recursive, self.on_odd))
            selector = fs.FileSelector(self.full(folder), allow_not_found=True, recursive=recursive)
            try:
                infos = self._fs.get_file_info(selector)
            except FileNotFoundError:  # another process made it just after pyarrow did not find it
                infos = self._fs.get_file_info(selector)
        cut = len(self.root) + 1
        return {info.path[cut:]: _info(info) for info in infos if info.type == fs.FileType.File}

    @patiently
    def delete(self, path: str) -> None:
        """Removes a file. It is no error if the file is already gone."""
        try:
            if self.local:
                local.check_way(self.root, path)
            self._fs.delete_file(self.full(path))
        except FileNotFoundError:
            return
        except OSError as error:
            if self.size(path) is not None:
                raise self._error(error, f"{path} cannot be removed") from error

    def empty_folders(self, folder: str) -> dict[str, float]:
        """{path: when it was last changed} of our empty folders directly in a folder of a disk. Elsewhere there are none."""
        with self._errors(f"{folder} cannot be listed"):
            return local.empty_folders(self.root, folder) if self.local else {}

    def delete_folder(self, path: str) -> bool:
        """Removes a folder of a disk if it is empty; False if it is not."""
        if self.local and local.link_on_way(self.root, f"{path}/") is None:
            with suppress(OSError):
                os.rmdir(self.full(path))
                return True
        return False

    @patiently
    def move(self, source: str, target: str) -> bool:
        """Moves a file; False if it is gone. On object stores this copies, then deletes; a kill in between leaves both."""
        with self._errors(f"{source} cannot be moved"):
            if self.local:
                return local.move(self.root, source, target)
            try:
                self._fs.move(self.full(source), self.full(target))
            except OSError:
                if self._fs.get_file_info(self.full(source)).type == fs.FileType.NotFound:
                    return False
                raise
            return True

    def dataset_filesystem(self) -> Any:
        """The pyarrow filesystem, for pyarrow.dataset and pyarrow.parquet."""
        return self._fs

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """`function` over `items` in order; on object stores many at a time, since each waits for the network."""
        if self.local:
            yield from map(function, items)
            return
        with ThreadPoolExecutor(16) as pool:
            yield from pool.map(self.patience.as_here(function), items)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(error, what) from error

    def _error(self, error: OSError, what: str) -> StoreError:
        """The error for one of the filesystem. what: what has failed, as the end of a sentence."""
        kind = StoreError if error.errno in _LASTING else StorageError
        return kind(f"store {self.uri}: {what}: {error_line(error, with_type=False)}")


def _info(info: Any) -> Info:
    """What pyarrow says of a file."""
    return Info(int(info.size), float(info.mtime_ns or 0) / 1e9)
