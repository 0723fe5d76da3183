"""Zip files that somebody else may have made: their list of members is checked before anything of it is used."""

from __future__ import annotations

import stat
import struct
import zipfile
from typing import IO

DIRECTORY = 1 << 28  # bytes of the list of members, which is held in memory
END = 98  # bytes of the end of a file: 56 + 20 where there are many members, then 22


def opened(file: IO[bytes]) -> zipfile.ZipFile:
    """The archive in a file.

    Raises:
        ValueError: it does not end as ours do, or its list of members is very large.
        zipfile.BadZipFile: it is none.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - END))
    end = file.read().rjust(END, b"\0")
    mark, listed = end[-22:-18], struct.unpack("<L", end[-10:-6])[0]
    if mark != b"PK\5\6" or end[-2:] != b"\0\0":
        raise ValueError("it does not end as a zip file without a comment does")
    if end[-42:-38] == b"PK\6\7":
        listed = struct.unpack("<Q", end[40:48])[0] if end[:4] == b"PK\6\6" else size
    if listed > min(DIRECTORY, size):
        raise ValueError(f"its list of members has {listed} bytes")
    return zipfile.ZipFile(file)


def plain_members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """{name: member}, each once, plain and uncompressed; ValueError where there is something else."""
    infos: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.orig_filename
        if name != info.filename or name in infos:
            raise ValueError(f"it has {name!r} twice" if name in infos else f"it has a member called {name!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"{name!r} is compressed")  # and might fill the memory, or the disk
        if info.flag_bits & 0x1 or not _is_plain(info):
            raise ValueError(f"{name!r} is {'encrypted' if info.flag_bits & 0x1 else 'no regular file'}")
        infos[name] = info
    size = archive.fp.seek(0, 2) if archive.fp is not None else 0
    if sum(info.file_size for info in infos.values()) > size:
        raise ValueError("its members are larger than itself")  # they overlap
    return infos


def _is_plain(info: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(info.external_attr >> 16)
    return kind in (0, stat.S_IFREG) and not info.is_dir()
