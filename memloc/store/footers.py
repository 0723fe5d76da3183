"""The footer of a Parquet file: where its columns lie and what they are called.

Pages carry checksums, which a scan verifies as it reads them. The footer has none: a bit that changes there can turn a
column into NULL or into another column, without an error. So a commit has the hash of the footer, and a query checks it
before it scans the file.
"""

from __future__ import annotations

from memloc.store import layout
from memloc.store.entries import ListedTable
from memloc.store.files import Files

END = 8  # bytes: the length of the footer, and PAR1
USUAL = 1 << 16  # of the end of a file, read at once. A footer of forty columns has a tenth of that


def footer(content: bytes) -> bytes:
    """The footer with its length and mark, from the whole file or from an end of it that holds the footer."""
    return content[-_length(content) :]


def _length(end: bytes) -> int:
    return min(int.from_bytes(end[-END:-4], "little") + END, 1 << 30)


def problem(files: Files, entry: ListedTable) -> str | None:
    """What is wrong with the size or the footer of a data file, or None. Commits of version 2 have no hash of it."""
    if not entry.footer:
        return None
    size, end = files.end(entry.path, USUAL)
    if size is None:
        return "is missing"
    if size != entry.size:
        return f"has {size} bytes, was committed with {entry.size}"
    if len(end) < _length(end) <= size:
        _, end = files.end(entry.path, _length(end))
    return None if layout.sha256(footer(end)) == entry.footer else "was changed since it was committed"
