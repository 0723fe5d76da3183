"""Bytes on a filesystem: a local folder or an object store, through pyarrow.fs (Ray's own storage layer).

A file appears whole or not at all: one PUT on an object store, temporary file + fsync + rename on a disk.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pyarrow import fs

from memloc.errors import StoreError

SCHEMES = ("file", "s3", "gs", "hdfs")
T = TypeVar("T")
R = TypeVar("R")


class Files:
    """A folder of a filesystem. Paths are relative to it, with forward slashes.

    Every failure of the filesystem itself is a StoreError of one line, naming the store.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._fs, self.root = _resolve(uri)
        self.local = isinstance(self._fs, fs.LocalFileSystem)

    def full(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def check_usable(self) -> None:
        """Raises StoreError unless a folder is (or can be made) here and can be written."""
        with self._errors("cannot be used"):
            info = self._fs.get_file_info(self.root)
        if info.type == fs.FileType.File:
            raise StoreError(f"store {self.uri}: is a file; name a folder")
        probe = f"tmp/probe-{uuid.uuid4().hex}"
        with self._errors("cannot be written"):
            self.put(probe, b"")
            self.delete(probe)

    def exists(self) -> bool:
        """Is there anything here?"""
        with self._errors("cannot be read"):
            return bool(self._fs.get_file_info(self.root).type == fs.FileType.Directory)

    def put(self, path: str, data: bytes) -> None:
        """Writes a whole file; a reader never sees a part of it under `path`."""
        with self._errors(f"{path} cannot be written"):
            if self.local:
                self._put_local(path, data)
            else:
                self._put_remote(path, data)

    def _put_local(self, path: str, data: bytes) -> None:
        target = Path(self.full(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(self.full(f"tmp/{uuid.uuid4().hex}"))
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        folder = os.open(target.parent, os.O_RDONLY)  # the rename itself must survive a power cut
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _put_remote(self, path: str, data: bytes) -> None:
        # The bytes are complete before the stream opens, and go in with one write: a stream that is dropped half-way
        # would publish a truncated object.
        stream = self._fs.open_output_stream(self.full(path))
        stream.write(data)
        stream.close()
        size = self._fs.get_file_info(self.full(path)).size
        if size != len(data):
            raise OSError(f"wrote {len(data)} bytes, found {size}")

    def get(self, path: str) -> bytes:
        """The bytes of a file; raises FileNotFoundError where there is none."""
        try:
            with self._fs.open_input_file(self.full(path)) as file:
                return bytes(file.read())
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreError(f"store {self.uri}: {path} cannot be read: {_first_line(error)}") from error

    def size(self, path: str) -> int | None:
        """Bytes of a file, or None where there is none."""
        with self._errors(f"{path} cannot be read"):
            info = self._fs.get_file_info(self.full(path))
        return int(info.size) if info.type == fs.FileType.File else None

    def listing(self, folder: str, recursive: bool = True) -> dict[str, int]:
        """{path: bytes} of the files in a folder; empty where there is no such folder."""
        with self._errors(f"{folder} cannot be listed"):
            selector = fs.FileSelector(self.full(folder), allow_not_found=True, recursive=recursive)
            infos = self._fs.get_file_info(selector)
        cut = len(self.root) + 1
        return {i.path[cut:]: int(i.size) for i in infos if i.type == fs.FileType.File}

    def folders(self, folder: str) -> list[str]:
        """The names of the folders directly in a folder."""
        with self._errors(f"{folder} cannot be listed"):
            infos = self._fs.get_file_info(fs.FileSelector(self.full(folder), allow_not_found=True))
        return sorted(i.base_name for i in infos if i.type == fs.FileType.Directory)

    def delete(self, path: str) -> None:
        """Removes a file; that it is gone already is no error."""
        try:
            self._fs.delete_file(self.full(path))
        except FileNotFoundError:
            return
        except OSError as error:
            if self.size(path) is not None:
                raise StoreError(f"store {self.uri}: {path} cannot be removed: {_first_line(error)}") from error

    def move(self, source: str, target: str) -> None:
        """Moves a file (on object stores copy, then delete: a kill in between leaves both)."""
        with self._errors(f"{source} cannot be moved"):
            if self.local:
                Path(self.full(target)).parent.mkdir(parents=True, exist_ok=True)
            self._fs.move(self.full(source), self.full(target))

    def dataset_filesystem(self) -> Any:
        """The pyarrow filesystem, for pyarrow.dataset and pyarrow.parquet."""
        return self._fs

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """`function` over `items` in order; on object stores many at a time, since each waits for the network."""
        if self.local:
            yield from map(function, items)
            return
        with ThreadPoolExecutor(16) as pool:
            yield from pool.map(function, items)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(f"store {self.uri}: {what}: {_first_line(error)}") from error


def _resolve(uri: str) -> tuple[Any, str]:
    scheme, separator, _ = uri.partition("://")
    if not uri.strip():
        raise StoreError("store: is empty; name a folder, or one of " + ", ".join(f"{s}://" for s in SCHEMES))
    if not separator:
        return fs.LocalFileSystem(), str(Path(uri).expanduser().absolute())
    if scheme not in SCHEMES:
        raise StoreError(f"store {uri}: unknown scheme {scheme}://; valid: a path, " + ", ".join(f"{s}://" for s in SCHEMES))
    try:
        filesystem, root = fs.FileSystem.from_uri(uri)
    except (ValueError, OSError, NotImplementedError) as error:
        raise StoreError(f"store {uri}: cannot be opened: {_first_line(error)}") from error
    if not root.strip("/"):
        raise StoreError(f"store {uri}: names no folder; such as {scheme}://bucket/memloc")
    return filesystem, root.rstrip("/")


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
