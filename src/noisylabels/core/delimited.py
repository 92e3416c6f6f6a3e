"""CSV and TSV as rows of cells; what the cells mean is the caller's to say."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from noisylabels.core.checks import InputError
from noisylabels.core.files import read_text

SUFFIXES = (".csv", ".tsv")


def read_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    r"""Give the line number, from 1, and the cells of each row of a table in UTF-8.

    Cells are stripped of spaces around them. An empty line is a row without cells: between rows it means
    nothing, but in a table of one column it is a cell that is missing, so it is the caller's to judge. A row
    that spreads over several lines has the number of the last. The file is read when the first row is asked
    for, and rows are made one at a time.

    Args:
        path: cells are separated by tabs in a .tsv; else by commas or, where the first line that is not
            empty has none, by semicolons or else by tabs.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or has a quote that does not end.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = Path(folder, "t.csv").write_text("id;label\n1; cat\n\n2;eel\n")
    ...     list(read_cells(Path(folder, "t.csv")))
    [(1, ['id', 'label']), (2, ['1', 'cat']), (3, []), (4, ['2', 'eel'])]
    """
    text = read_text(path)
    delimiter = delimiter_of(path, io.StringIO(text))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            blank = len(row) == 1 and row[0].isspace()  # "" in quotes is a cell, though an empty one
            yield reader.line_num, [] if blank else [cell.strip() for cell in row]
    except csv.Error as error:
        raise InputError(f"line {reader.line_num} of {path} is not valid CSV ({error}); correct it") from None


def delimiter_of(path: Path, lines: Iterable[str]) -> str:
    """Return the delimiter of a table with these lines, as `read_cells` takes it."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    first = next((line for line in lines if line.strip()), "")
    return next((mark for mark in ",;\t" if mark in first), ",")


class CellWriter:
    r"""Writes rows of cells as CSV, so that they are read again as they were.

    Args:
        text: where to.
        delimiter: between cells.
        ending: of lines.

    >>> CellWriter(text := io.StringIO()).row(["a", "b\r"])
    >>> text.getvalue()
    '"a","b\r"\n'
    """

    def __init__(self, text: TextIO, delimiter: str = ",", ending: str = "\n") -> None:
        self._plain, self._quoted = (
            csv.writer(text, delimiter=delimiter, lineterminator=ending, quoting=how)
            for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
        )

    def row(self, cells: Sequence[object]) -> None:
        """Write a row."""
        # before Python 3.13 a carriage return, which ends a line when read, does not count as one to quote
        unquoted = any("\r" in cell for cell in cells if isinstance(cell, str))
        (self._quoted if unquoted else self._plain).writerow(cells)
