"""What numpy's files say of their own size, checked before anything is unpacked.

A few kilobytes can unpack to more than the memory holds, and a header can promise more values than the file has: numpy makes
room for them first.
"""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Collection
from typing import IO, BinaryIO

import numpy as np


def check_npz(file: BinaryIO, names: Collection[str]) -> None:
    """Checks that the arrays of these names fit into the memory together. The file is at its beginning afterwards.

    Raises:
        ValueError: one phrase, if they do not. zipfile.BadZipFile: it is no file of numpy.savez.
    """
    with zipfile.ZipFile(file) as archive:
        check_fits(sum(m.file_size for m in archive.infolist() if m.filename.removesuffix(".npy") in names))
    file.seek(0)


def check_member(archive: zipfile.ZipFile, name: str) -> None:
    """Checks one array of a file of numpy.savez; raises an error of many types where it is not what it declares."""
    for member in archive.infolist():
        if member.filename.removesuffix(".npy") == name:
            with archive.open(member.filename) as content:
                _check(content, member.file_size)


def check_npy(file: BinaryIO) -> None:
    """Checks a file of numpy.save. It is at its beginning afterwards.

    Raises:
        ValueError: one phrase, if it is not what it declares, or does not fit into the memory.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    check_fits(size)
    _check(file, size)
    file.seek(0)


def check_fits(size: int) -> None:
    """Raises ValueError if so many bytes are more than this machine's memory."""
    if size > (memory := total_memory()):
        raise ValueError(f"unpacked it has {size:,} bytes, and this machine's memory {memory:,}")


def total_memory() -> int:
    """Bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _check(content: IO[bytes], size: int) -> None:
    """size: bytes of the content. What does not begin like an array, or holds objects, is numpy's to refuse."""
    try:
        version = np.lib.format.read_magic(content)
    except ValueError:
        return
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(content)
    declared, there = math.prod(shape) * dtype.itemsize, size - content.tell()
    if not dtype.hasobject and (declared != there or min(shape, default=0) < 0):
        raise ValueError(f"declares {dtype} {shape}, {declared:,} bytes, and has {there:,}")
