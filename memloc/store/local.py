"""A store's folder on a disk.

Below this folder no symbolic link is followed. A link can lead anywhere, and whoever may write to the store may not thereby
make memloc read, move or remove what lies elsewhere. The folder itself may be a link: its owner has named it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from memloc.store import layout

# The errors of network and FUSE file systems for a folder that they cannot sync; PostgreSQL tolerates the same ones. The
# content of files is synced nevertheless. Errors that mean lost data (EIO, ENOSPC, EDQUOT, …) are not among them.
FOLDER_NOT_SYNCED = frozenset(
    {
        errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY,  # no such operation here
        errno.EBADF, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS,  # a folder cannot be opened, or synced as opened
    }
)  # fmt: skip
LATEST = 253_370_764_800.0  # the year 9999: a file's date that no calendar has is shown as this one

LINK = "is a symbolic link, and memloc follows none in a store"

OnOdd = Callable[[Mapping[str, str]], None]  # called with {path that is left out: why, as the rest of a sentence}


@dataclass(frozen=True)
class Info:
    """A file: its size in bytes, and when it was last written in seconds since 1970."""

    size: int
    written: float


def listing(root: str, folder: str, recursive: bool, on_odd: OnOdd) -> Iterator[tuple[str, Info]]:
    """(path below the root, what it is) of every regular file in a folder; nothing where there is no such folder."""
    odd: dict[str, str] = {}
    waiting = [folder] if not folder or _is_reached(root, folder, odd) else []
    while waiting:
        here = waiting.pop()
        for entry in _entries(root, here, odd):
            path = f"{here}/{entry.name}" if here else entry.name
            if entry.is_dir(follow_symlinks=False):
                if layout.is_own(path):
                    odd[path] = "is a folder where a file belongs"
                elif recursive:
                    waiting.append(path)
            elif entry.is_file(follow_symlinks=False):
                if (info := _info(entry)) is not None:
                    yield path, info
            elif layout.is_own(path) or layout.is_own_folder(path) or layout.holds_own(path):
                odd[path] = LINK if entry.is_symlink() else "is no regular file"
    if odd:
        on_odd(odd)


def _entries(root: str, folder: str, odd: dict[str, str]) -> list[os.DirEntry[str]]:
    """What lies in a folder. A name whose bytes are not UTF-8 is none of ours."""
    try:
        with os.scandir(f"{root}/{folder}" if folder else root) as entries:
            return [entry for entry in entries if _is_text(entry.name)]
    except NotADirectoryError:
        odd[folder] = "is a file where a folder belongs"
    except FileNotFoundError:
        pass
    return []


def names(root: str, folder: str, folders: bool) -> list[str]:
    """The paths of the folders, or else of the regular files, that lie directly in a folder."""
    if link_on_way(root, f"{folder}/") is not None:
        return []
    is_wanted = os.DirEntry.is_dir if folders else os.DirEntry.is_file
    return [f"{folder}/{e.name}" for e in _entries(root, folder, {}) if is_wanted(e, follow_symlinks=False)]


def _is_reached(root: str, folder: str, odd: dict[str, str]) -> bool:
    """Whether no symbolic link lies on the way to a folder."""
    link = link_on_way(root, f"{folder}/")
    if link is not None:
        odd[link] = LINK
    return link is None


def _info(entry: os.DirEntry[str]) -> Info | None:
    try:
        info = entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # removed since the folder was read
        return None
    return Info(info.st_size, min(max(info.st_mtime, 0.0), LATEST))


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:  # bytes that are not UTF-8, so not a name of ours
        return False
    return True


def link_on_way(root: str, path: str) -> str | None:
    """The first folder on the way to a path that is a symbolic link; None where there is none, or the way ends before."""
    *folders, _ = path.split("/")
    here = ""
    for name in folders:
        here = f"{here}/{name}" if here else name
        try:
            if stat.S_ISLNK(os.lstat(f"{root}/{here}").st_mode):
                return here
        except (FileNotFoundError, NotADirectoryError):
            break
    return None


def check_way(root: str, path: str) -> None:
    """Raises OSError, naming the link, if a symbolic link lies on the way to a path."""
    if (link := link_on_way(root, path)) is not None:
        raise OSError(errno.ELOOP, f"{link} {LINK}")


def regular(root: str, path: str) -> Info | None:
    """What the regular file at a path is; None where there is none, or where a symbolic link lies on the way to it."""
    if link_on_way(root, path) is not None:
        return None
    try:
        info = os.lstat(f"{root}/{path}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Info(info.st_size, info.st_mtime) if stat.S_ISREG(info.st_mode) else None


def write(root: str, path: str, data: bytes) -> None:
    """Writes a whole file: a temporary one, synced, then renamed."""
    target, temporary = Path(f"{root}/{path}"), Path(f"{root}/{layout.temporary()}")
    check_way(root, path)
    check_way(root, f"{layout.TEMPORARY}/")
    make_folder(temporary.parent)
    make_folder(target.parent)
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)  # the rename itself must survive a power cut


def move(root: str, source: str, target: str) -> bool:
    """Moves a file, or a link in its place but not what it leads to; False if there is none. Its date becomes the move's."""
    check_way(root, source)
    check_way(root, target)
    make_folder(Path(f"{root}/{target}").parent)
    try:
        if stat.S_ISDIR(os.lstat(f"{root}/{source}").st_mode):
            return False
        os.replace(f"{root}/{source}", f"{root}/{target}")
    except (FileNotFoundError, NotADirectoryError):
        return False
    with suppress(OSError):  # somebody else's file, or it has been moved on
        os.utime(f"{root}/{target}", follow_symlinks=False)
    return True


def empty_folders(root: str, folder: str) -> dict[str, float]:
    """{path: when it was last changed} of the folders of ours directly in a folder that have nothing in them."""
    empty = {}
    for path in names(root, folder, folders=True):
        if layout.is_own_folder(path) and not _entries(root, path, {}):
            with suppress(FileNotFoundError):
                empty[path] = os.lstat(f"{root}/{path}").st_mtime
    return empty


def make_folder(folder: Path) -> None:
    """mkdir -p, each new name synced to the disk."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a power cut, if the file system can do that."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in FOLDER_NOT_SYNCED:
            raise
