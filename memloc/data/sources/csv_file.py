"""`csv:FILE`: a table of paths and labels."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator

from memloc.counts import counted
from memloc.data.assembly import OwnImages
from memloc.data.halves import Listed, half_of, halved, read_together
from memloc.data.pictures import Encoded, file_content
from memloc.data.regular_file import opened
from memloc.data.source import TableSource, behind
from memloc.data.table_columns import image_column
from memloc.errors import UsageError, error_line

NUMBER = re.compile(r"-?[0-9]+(\.0*)?")
DIGITS = 4300  # that Python reads as one number
SPLIT = "split"  # the column that says which rows are for testing
WANTED = "csv:FILE needs a table with a header, a column of paths and one of labels"


class CsvFile(TableSource):
    """Text in UTF-8 with a header, separated by commas, semicolons or tabs. Paths are relative to the file's folder.

    A column `split` says which rows are for training (train) and which for testing (test, or val).
    """

    PREFIX: ClassVar[str] = "csv:"
    FORM: ClassVar[str | None] = "csv:FILE"

    dataset: Annotated[str, AfterValidator(behind("csv:", "csv:FILE"))]

    @classmethod
    def reads(cls, path: Path) -> bool:
        """As `SourceConfig.reads`."""
        return path.suffix in (".csv", ".tsv")

    def read(self) -> OwnImages:
        """As `OwnSource.read`."""
        header, rows = self._table()
        where = str(self.path)
        image = image_column(where, header, self.image_column, [name for name in header if name != SPLIT])
        columns = [name for name in header if name not in (image, SPLIT)]
        at = header.index(image)
        values = {name: _values([row[header.index(name)] for row in rows]) for name in columns}
        notes, train, test = list[str](), list(range(len(rows))), list[int]()
        if SPLIT in header:
            of_row = header.index(SPLIT)
            if bad := next((row for row in rows if half_of(row[of_row].strip()) is None), None):
                raise UsageError(f"{where}: split is {bad[of_row]!r} for {bad[at]}; must be train, test or val")
            train, test, note = halved([(row[of_row].strip(), k) for k, row in enumerate(rows)], f"{where}: split")
            notes += [note] if note else []

        def listed(half: Sequence[int]) -> Listed:
            files = [self._file(rows[k][at]) for k in half]
            images = [Encoded(file, partial(file_content, self.path.parent / file)) for file in files]
            return Listed(images, files, {name: [values[name][k] for k in half] for name in columns})

        first, second, said = read_together(self, where, listed(train), listed(test) if test else None)
        return OwnImages(where, first, second, None, notes=[*notes, *said])

    def _file(self, path: str) -> str:
        """A path without the blanks around it, as header and labels are; unless there is a file with these blanks."""
        return path if path == path.strip() or os.path.exists(self.path.parent / path) else path.strip()

    def _table(self) -> tuple[list[str], list[list[str]]]:
        """(the header, the rows), each as long as the header."""
        with opened(self.path, WANTED) as file:
            content = file.read()
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise UsageError(f"{self.path}:{line}: is not UTF-8 (byte {content[error.start]:#04x}); {WANTED}") from None
        separator = max(",;\t", key=text.partition("\n")[0].count)
        try:
            reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
            table = [(reader.line_num, row) for row in reader if row]
        except csv.Error as error:
            raise UsageError(f"{self.path}: is no table: {error_line(error, with_type=False)}; {WANTED}") from None
        if len(table) < 2:
            raise UsageError(f"{self.path}: {'has a header and no rows' if table else 'is empty'}; {WANTED}")
        header = [name.strip() for name in table[0][1]]
        for number, row in table[1:]:
            if len(row) != len(header):
                have = counted(len(row), "value")
                raise UsageError(f"{self.path}:{number}: has {have}, the header {len(header)}; must be one for each column")
        if len(set(header)) < len(header):
            raise UsageError(f"{self.path}: two columns of the header have one name: {', '.join(header)}")
        return header, [row for _, row in table[1:]]


def _values(column: Sequence[str]) -> Sequence[Any]:
    """Whole numbers where all values are; numbers where some have zeros behind a point, as in 3.0; else text."""
    stripped = [value.strip() for value in column]
    if not all(len(value) <= DIGITS and NUMBER.fullmatch(value) for value in stripped):
        return stripped
    return [int(value) for value in stripped] if not any("." in value for value in stripped) else list(map(float, stripped))


SOURCE = CsvFile
