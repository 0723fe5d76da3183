"""What commands write to a file that `-o` names."""

from __future__ import annotations

import json
import stat
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from memloc.commands.answers import answer, stream
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


def print_list(items: Iterable[Any]) -> None:
    """Prints a list as `json.dumps(list, indent=1)` has it, an item at a time: the text of ten thousand is never whole."""
    between = "[\n "
    for item in items:
        stream().write(between + json.dumps(item, indent=1).replace("\n", "\n "))  # a text in JSON has no line break
        between = ",\n "
    answer("[]" if between.startswith("[") else "\n]")


def write_whole(target: Path, content: bytes) -> None:
    """Writes the whole file or nothing: after an error the old file is still there. A device, pipe or link stays one.

    A file that is replaced keeps its mode; a new one has the mode that the umask gives.

    Raises:
        UsageError: where it cannot be written.
    """
    with whole_file(target) as file:
        file.write(content)


@contextmanager
def whole_file(target: Path) -> Iterator[IO[bytes]]:
    """The same for content that comes in pieces: a file to write to, which gets its name at the end."""
    try:
        if target.exists() and not target.is_file():  # such as /dev/null, which root could replace
            with open(target, "wb") as device:
                yield device
            return
        target = target.resolve()
        temporary = target.parent / f".memloc-{uuid.uuid4().hex}"
        try:
            with open(temporary, "xb") as file:  # with the mode that the umask gives
                yield file
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"-o {target}: cannot be written: {error.strerror}") from None
