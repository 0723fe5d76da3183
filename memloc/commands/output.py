"""What commands write to a file that `-o` names."""

from __future__ import annotations

import os
import tempfile
from enum import StrEnum
from pathlib import Path

from memloc.errors import UsageError


def check_ending(output: str | None, format: StrEnum) -> None:
    """Refuses a file whose ending names another format than the one that would be written.

    Raises:
        UsageError: for such a file.
    """
    ending = Path(output or "").suffix[1:].lower()
    named = "latex" if ending == "tex" else ending
    if named != format.value and named in [other.value for other in type(format)]:
        raise UsageError(f"-o {output}: ends in .{ending}, but the format is {format.value}; add --format {named}")


def write_whole(target: Path, content: bytes) -> None:
    """Writes the whole file or nothing: after an error the old file is still there. A device, pipe or link stays one."""
    try:
        if target.exists() and not target.is_file():  # such as /dev/null, which root could replace
            target.write_bytes(content)
            return
        target = target.resolve()
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except OSError as error:
        raise UsageError(f"-o {target}: cannot be written: {error.strerror}") from None
