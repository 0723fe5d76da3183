"""Tables of text, as commands print them."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest

from memloc.commands.terminal import plain

BETWEEN = "  "
NARROWEST, NARROW = 8, 16  # letters of a column of text; longer words than NARROW are broken, and an id has so many
JUDGED = 40  # rows by which the room is shared
Lines = list[str]  # of a cell


def text_table(header: list[str], rows: list[list[str]], fit: bool = True) -> str:
    """Columns aligned by spaces: numbers to the right, text to the left. A line break within a cell is shown as `\\n`.

    In a pipe every row is a line. On a terminal long texts have several lines, so that the table is no wider than it. A
    table with too many columns for that is cut into several below each other. fit: False for a table that goes elsewhere.
    """
    every = [[_one_line(cell) for cell in row] for row in [header, *rows]]
    columns = [list(column) for column in zip(*every, strict=True)]
    most = shutil.get_terminal_size().columns if fit and sys.stdout.isatty() else None
    pieces = [list(range(len(header)))] if most is None else list(_pieces(columns, most))
    return "\n".join(_piece([columns[i] for i in piece], most) for piece in pieces)


def _one_line(cell: str) -> str:
    return plain(cell).replace("\n", "\\n").replace("\t", "\\t")


def _width(column: Sequence[str]) -> int:
    return max(map(len, column))


def _pieces(columns: Sequence[Sequence[str]], most: int) -> Iterator[list[int]]:
    """The columns of each table: all of them, if they fit with their texts broken; else as many as fit.

    Each table has the first column, if it is narrow. Numbers are never broken.
    """
    widths, least = [_width(column) for column in columns], [_least(column) for column in columns]
    if _total(least) > most:  # there is room for long texts then
        least = [
            min(width, most // 2) if width > 4 * NARROW else narrow for width, narrow in zip(widths, least, strict=True)
        ]
    first = [0] if least[0] <= most // 3 else []
    piece: list[int] = []
    for place in range(len(columns)):
        if piece and _total([least[i] for i in (*piece, place)]) > most:
            yield piece
            piece = list(first)
        piece.append(place)
    yield piece


def _least(column: Sequence[str]) -> int:
    """How narrow a column can be: numbers are never broken, and words only where they are very long."""
    width = _width(column)
    if width <= NARROWEST or _is_of_numbers(column[1:]):
        return width
    longest = max((len(word) for cell in column[:JUDGED] for word in cell.split()), default=0)
    return min(width, max(NARROWEST, min(longest, NARROW)))


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(BETWEEN) * (len(widths) - 1)


def _piece(columns: Sequence[Sequence[str]], most: int | None) -> str:
    """These columns as a table. most: how wide it may be."""
    numbers = [_is_of_numbers(column[1:]) for column in columns]
    widths = [_width(column) for column in columns]
    if most is not None and _total(widths) > most:
        widths = _fitted(columns, widths, most)
    cells = [_broken(column, width) for column, width in zip(columns, widths, strict=True)]
    header, *rows = zip(*cells, strict=True)
    lines = []
    for row in (header, [["-" * width] for width in widths], *rows):
        for line in zip_longest(*row, fillvalue=""):
            aligned = (c.rjust(w) if n else c.ljust(w) for c, w, n in zip(line, widths, numbers, strict=True))
            lines.append(BETWEEN.join(aligned).rstrip())
    return "\n".join(lines) + "\n"


def _fitted(columns: Sequence[Sequence[str]], widths: Sequence[int], most: int) -> list[int]:
    """Widths within which the table fits, if that can be. The texts that make rows high get the room that is left."""
    fitted = [_least(column) for column in columns]
    rows = list(zip(*([len(cell) for cell in column[:JUDGED]] for column in columns), strict=True))
    for _ in range(most - _total(fitted)):
        high = [0] * len(columns)  # the lines of a column in the rows that it makes so high
        for row in rows:
            lines = [-(-length // width) for length, width in zip(row, fitted, strict=True)]
            for place in (i for i, n in enumerate(lines) if n == max(lines) > 1):
                high[place] += lines[place]
        broken = [i for i, width in enumerate(fitted) if width < widths[i]]
        if not broken:
            break
        fitted[max(broken, key=lambda i: (high[i], widths[i] - fitted[i]))] += 1
    return fitted


def _broken(column: Sequence[str], width: int) -> list[Lines]:
    """The lines of each cell. A word is broken only where it is longer than a line."""
    return [[cell] if len(cell) <= width else list(_lines(cell, width)) for cell in column]


def _lines(cell: str, width: int) -> Iterator[str]:
    for line in textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False) or [""]:
        yield from (line[start : start + width] for start in range(0, len(line) or 1, width))


def _is_of_numbers(cells: Sequence[str]) -> bool:
    return any(cells) and all(_is_number(cell) for cell in cells if cell)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
