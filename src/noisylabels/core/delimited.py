"""Reading and writing CSV and TSV as rows of cells, without interpreting them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from noisylabels.core.checks import InputError
from noisylabels.core.files import read_text

SUFFIXES = (".csv", ".tsv")

MOST_CHARACTERS = 2**31 - 1
"""Characters in a cell: all that csv can read. Its default of 131,072 refuses texts."""


def csv_reader(lines: Iterable[str], delimiter: str) -> Any:
    """Return a strict reader of CSV whose cells may be of any length.

    The limit belongs to the whole process, and is only ever raised.
    """
    csv.field_size_limit(MOST_CHARACTERS)
    return csv.reader(lines, delimiter=delimiter, strict=True)


def read_cells(path: Path, *, strip: bool = True) -> Iterator[tuple[int, list[str]]]:
    r"""Yield the line number, from 1, and the cells of each row of a UTF-8 table.

    Spaces around a cell are stripped, unless `strip` is false. An empty line gives a row without cells:
    between rows it means nothing, but in a table of one column it is a missing cell, so the caller decides. A
    row that spans several lines has the number of its last line. The file is read when the first row is
    requested; rows are then parsed one at a time.

    Args:
        path: the file. Cells are separated by tabs in a .tsv; otherwise by the first of comma, semicolon and
            tab that occurs in the first line that is not empty.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or has an unterminated quote.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = Path(folder, "t.csv").write_text("id;label\n1; cat\n\n2;eel\n")
    ...     list(read_cells(Path(folder, "t.csv")))
    [(1, ['id', 'label']), (2, ['1', 'cat']), (3, []), (4, ['2', 'eel'])]
    """
    text = read_text(path)
    delimiter = delimiter_of(path, io.StringIO(text))
    reader = csv_reader(io.StringIO(text, newline=""), delimiter)
    try:
        for row in reader:
            blank = len(row) == 1 and row[0].isspace()  # a quoted empty string is a cell
            yield reader.line_num, [] if blank else [cell.strip() for cell in row] if strip else row
    except csv.Error as error:
        raise InputError(f"line {reader.line_num} of {path} is not valid CSV ({error}); correct it") from None


def delimiter_of(path: Path, lines: Iterable[str]) -> str:
    """Return the delimiter that `read_cells` uses for a table with these lines."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    first = next((line for line in lines if line.strip()), "")
    return next((mark for mark in ",;\t" if mark in first), ",")


_FORMULA = re.compile(r"\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r]")
"""How a cell begins that a spreadsheet takes for a formula; full-width signs count too."""

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")


def without_formula(cell: str) -> str:
    """Return a cell that no spreadsheet runs as a formula: with an apostrophe before it if one would.

    Numbers such as -1 are no formulas.

    >>> without_formula("=HYPERLINK(A1)"), without_formula("-1.5"), without_formula("cat")
    ("'=HYPERLINK(A1)", '-1.5', 'cat')
    """
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


class CellWriter:
    r"""Writer of rows as CSV that reads back unchanged.

    Args:
        text: the file to write to.
        delimiter: the character between cells.
        ending: the line ending.
        escape_formulas: write cells as `without_formula` does; these do not read back unchanged.

    >>> CellWriter(text := io.StringIO()).row(["a", "b\r"])
    >>> text.getvalue()
    '"a","b\r"\n'
    """

    def __init__(
        self, text: TextIO, delimiter: str = ",", ending: str = "\n", escape_formulas: bool = False
    ) -> None:
        self._escape_formulas = escape_formulas
        self._plain, self._quoted = (
            csv.writer(text, delimiter=delimiter, lineterminator=ending, quoting=how)
            for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
        )

    def row(self, cells: Sequence[object]) -> None:
        """Write a row."""
        if self._escape_formulas:
            cells = [without_formula(cell) if isinstance(cell, str) else cell for cell in cells]
        # a carriage return ends a line on reading, but csv does not quote it before Python 3.13
        unquoted = any("\r" in cell for cell in cells if isinstance(cell, str))
        (self._quoted if unquoted else self._plain).writerow(cells)
