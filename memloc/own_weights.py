"""Files of weights of the user's, which memloc did not write: found by epoch, and hashed.

models/weights_file.py reads them. A process on another machine may not see them, so a launch carries them there by their
hashes: there `carried` has them.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path

from memloc.errors import UsageError

CHUNK = 1 << 20
_FETCH: ContextVar[Callable[[str], bytes | None]] = ContextVar("fetch", default=lambda sha256: None)
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


def hash_of(path: str) -> str:
    """The sha256 of the file, 64 hexadecimal digits. It is kept while the file stays as it is.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        state = Path(path).stat()
        return _hash(path, (state.st_mtime_ns, state.st_size, state.st_ino))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


@lru_cache(maxsize=1024)
def _hash(path: str, state: tuple[int, ...]) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def files_of(origin: str, epochs: Sequence[int], seed: int) -> dict[int, str]:
    """{epoch: its file}.

    origin: a path with `{epoch}` (and perhaps `{seed}`) in it, as in `run{seed}/epoch-{epoch:03d}.pt`; or a folder. In a
    folder the epoch is the last number in a file's name.

    Raises:
        UsageError: an epoch has no file, or several.
    """
    if "{" in origin:
        try:
            files = {epoch: origin.format(epoch=epoch, seed=seed) for epoch in epochs}
        except (KeyError, IndexError, ValueError, AttributeError, TypeError):
            raise UsageError(f"{origin}: valid in braces: {{epoch}}, {{epoch:03d}}, {{seed}}") from None
        if len(set(files.values())) < len(files):
            raise UsageError(f"{origin}: is one file for all epochs; write {{epoch}} where it differs")
        missing = [file for file in files.values() if not os.path.isfile(file)]
        if missing:
            raise UsageError(f"{missing[0]}: no such file")
        return files
    if not os.path.isdir(origin):
        raise UsageError(f"{origin}: no such folder; name one, or a path with {{epoch}} in it")
    return {epoch: _in_folder(origin, epoch) for epoch in epochs}


def _in_folder(folder: str, epoch: int) -> str:
    named = [path for path in sorted(Path(folder).iterdir()) if path.suffix in SUFFIXES]
    fitting = [path for path in named if (numbers := re.findall(r"\d+", path.stem)) and int(numbers[-1]) == epoch]
    if len(fitting) == 1:
        return str(fitting[0])
    if fitting:
        names = " and ".join(path.name for path in fitting[:2])
        raise UsageError(f"{folder}: {names} are both epoch {epoch}; write a path with {{epoch}} in it")
    there = ", ".join(path.name for path in named[:5]) or f"no file that ends in {', '.join(SUFFIXES)}"
    raise UsageError(f"{folder}: no file of epoch {epoch}; there: {there}")


def hash_of_all(files: dict[int, str]) -> str:
    """One sha256 of the contents of these files, by epoch."""
    return hashlib.sha256(list_of(files)).hexdigest()


def list_of(files: dict[int, str]) -> bytes:
    """The epochs of these files, each with the hash of its file: the text of which `hash_of_all` is the hash."""
    return "\n".join(f"{epoch} {hash_of(file)}" for epoch, file in sorted(files.items())).encode()


def hashes_in(listed: bytes) -> dict[int, str]:
    """{epoch: the hash of its file} of such a text."""
    return {int(epoch): sha256 for epoch, sha256 in (line.split() for line in listed.decode().splitlines())}


@contextmanager
def carrying(fetch: Callable[[str], bytes | None]) -> Iterator[None]:
    """Files of these hashes are taken from `fetch`, which gives their content, or None for a file that was not carried."""
    token = _FETCH.set(fetch)
    try:
        yield
    finally:
        _FETCH.reset(token)


def carried(sha256: str) -> bytes | None:
    """The content of a file that the launch has carried here; None if it has not: then its path has to do."""
    return _FETCH.get()(sha256)
