"""Fetches data sets. A file gets its final name only when it is whole and its checksum is right.

Files are prepared in DIR/.fetch/NAME, on the same disk, and then renamed. A kill leaves at most that folder behind, and the
next fetch removes it. One process fetches a data set at a time. The others wait, and then find it there.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from memloc.data.named import Download, File, NamedDataset, verified
from memloc.errors import MemlocError, UsageError, error_line

CONNECT, READ = 10.0, 60.0  # seconds without an answer, without a byte
LOOK = 3.0  # seconds for a first look
CHUNK = 2**14


class Screen(Protocol):
    """A place that shows progress."""

    def say(self, line: str) -> None: ...

    def bar(self, name: str) -> AbstractContextManager[Any]:
        """A progress bar with the interface of pooch (total, update, reset, close), or False for no bar."""
        ...


class _FetchError(Exception):
    """An address did not give the file."""


def fetch(dataset: NamedDataset, data_dir: Path, screen: Screen) -> None:
    """Brings the files of a data set that are missing or damaged.

    Raises:
        UsageError: where the data directory cannot be written.
        MemlocError: one line: what failed, and which files to put where, from which addresses.
    """
    there = f"{dataset.name}: already there, in {data_dir}"
    if not _wanting(dataset, data_dir):
        return screen.say(there)
    staging = data_dir / ".fetch" / dataset.name
    try:
        staging.parent.mkdir(parents=True, exist_ok=True)
        with _alone(
            staging.with_suffix(".lock"), lambda: screen.say(f"{dataset.name}: another process fetches it; waiting")
        ):
            wanting = _wanting(dataset, data_dir)  # or else that process brought it
            _bring_all(dataset, wanting, data_dir, staging, screen)
    except OSError as error:
        raise UsageError(f"--data-dir {data_dir}: cannot be written: {error.strerror or error}") from None
    return screen.say(f"{dataset.name}: fetched to {data_dir}" if wanting else there)


def reached(dataset: NamedDataset) -> str:
    """The first server that answers for a file of the data set, within seconds; "" where none does."""
    import requests

    for url in dict.fromkeys(url for download in dataset.downloads() for url in download.urls):
        try:
            with requests.get(url, timeout=LOOK, stream=True) as answer:  # some servers refuse HEAD
                if answer.ok:
                    return urlsplit(url).netloc
        except requests.RequestException:
            continue
    return ""


def _wanting(dataset: NamedDataset, data_dir: Path) -> list[File]:
    """The files that are not there whole, in any form."""
    return [file for file in dataset.files if not _is_whole(dataset, file, data_dir)]


def _is_whole(dataset: NamedDataset, file: File, data_dir: Path) -> bool:
    try:
        dataset.content(file, data_dir)
    except UsageError:
        return False
    return True


@contextmanager
def _alone(lock: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """Holds the lock, which ends with the process however that ends."""
    with lock.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _bring_all(dataset: NamedDataset, wanting: Sequence[File], data_dir: Path, staging: Path, screen: Screen) -> None:
    staging.mkdir(exist_ok=True)
    try:
        for download in dataset.downloads():
            if files := [file for file in wanting if file.path in download.files]:
                _bring(dataset, download, files, data_dir, staging, screen)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _bring(
    dataset: NamedDataset, download: Download, files: Sequence[File], data_dir: Path, staging: Path, screen: Screen
) -> None:
    """Downloads, unpacks, verifies, and renames file by file."""
    if not download.is_archive:
        path = _downloaded(dataset, download, data_dir, staging, screen)
        _place(dataset, path, data_dir / download.path, files[0], data_dir)
        return
    archive = _at_hand(download, data_dir) or _downloaded(dataset, download, data_dir, staging, screen)
    screen.say(f"{dataset.name}: unpacking {archive.name}")
    for file, path in _unpacked(archive, files, staging):
        _place(dataset, path, data_dir / file.path, file, data_dir)


def _at_hand(download: Download, data_dir: Path) -> Path | None:
    """The archive, if a user has put it into the data directory."""
    path = data_dir / download.path
    if not path.is_file():
        return None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return path if digest.hexdigest() == download.md5 else None


def _downloaded(dataset: NamedDataset, download: Download, data_dir: Path, staging: Path, screen: Screen) -> Path:
    """The path in `staging` of the verified file, from the first address that gives it."""
    failures = []
    for url in download.urls:
        screen.say(f"{dataset.name}: downloading {url}")
        try:
            return _get(url, download, staging, screen)
        except _FetchError as error:
            failures.append(f"{urlsplit(url).netloc}: {error}")
    raise MemlocError(_by_hand(dataset, data_dir, failures))


def _get(url: str, download: Download, staging: Path, screen: Screen) -> Path:
    import pooch
    from requests import RequestException

    pooch.get_logger().setLevel(logging.WARNING)
    name = Path(download.path).name
    # identity: the checksum is of the packed file, so nothing may unpack it on the way.
    headers = {"Accept-Encoding": "identity", "User-Agent": "memloc"}
    try:
        with screen.bar(name) as bar:
            get = pooch.HTTPDownloader(progressbar=bar, chunk_size=CHUNK, timeout=(CONNECT, READ), headers=headers)
            return Path(pooch.retrieve(url, known_hash=f"md5:{download.md5}", fname=name, path=staging, downloader=get))
    except RequestException as error:
        raise _FetchError(_why(error)) from None
    except ValueError:
        raise _FetchError("sends something else (wrong checksum)") from None


def _why(error: Any) -> str:
    """A failure of requests in a few words."""
    import requests

    if error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    phrases = {
        requests.ConnectTimeout: f"no answer in {CONNECT:.0f} s",
        requests.exceptions.SSLError: "no secure connection",
        requests.exceptions.ProxyError: "the proxy does not let it through",
        requests.exceptions.ChunkedEncodingError: "broke off half-way",
        requests.Timeout: f"no answer in {READ:.0f} s",
        requests.ConnectionError: "cannot be reached",
    }
    return next((w for kind, w in phrases.items() if isinstance(error, kind)), error_line(error))


def _by_hand(dataset: NamedDataset, data_dir: Path, failures: Sequence[str]) -> str:
    paths = {file.path for file in _wanting(dataset, data_dir)}
    downloads = [d for d in dataset.downloads() if paths & set(d.files)]
    puts = ", ".join(f"{' or '.join(d.urls)} as {(data_dir / d.path).absolute()}" for d in downloads)
    then = f"; {dataset.how_to_fetch(data_dir)} then unpacks it" if any(d.is_archive for d in downloads) else ""
    return f"{dataset.name}: cannot be downloaded ({', '.join(failures)}); put {puts}{then}"


def _unpacked(archive: Path, files: Sequence[File], staging: Path) -> Iterator[tuple[File, Path]]:
    """The wanted files of a verified archive, one after the other, in `staging`. Nothing else is unpacked."""
    wanted = {file.path: file for file in files}
    with tarfile.open(archive, "r|gz") as tar:  # once from front to back: going back would uncompress it again
        for member in tar:
            content = tar.extractfile(member) if member.isreg() and member.name in wanted else None
            if content is not None:
                path = staging / Path(member.name).name
                with path.open("wb") as target:
                    shutil.copyfileobj(content, target)
                yield wanted.pop(member.name), path
    if wanted:
        raise MemlocError(f"{archive}: lacks {', '.join(wanted)}")


def _place(dataset: NamedDataset, path: Path, target: Path, file: File, data_dir: Path) -> None:
    """Gives a verified file its final name and removes its damaged forms."""
    verified(path, dataset.md5s()[file.path])
    for taken in (target, *file.present(data_dir)):
        if taken.is_dir():
            raise UsageError(f"{taken}: is a folder where a file of {dataset.name} belongs; move it away")
    path.chmod(0o644)
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(path, target)
    for damaged in file.present(data_dir):
        if damaged != target:
            damaged.unlink()
