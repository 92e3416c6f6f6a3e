"""Tables: files as named columns, and the column names that identify each role.

Every reader uses one table of names, `ROLES`: data sets, label files, corrections, probabilities, exports.
Case does not matter. If several columns match a role, the one whose name comes first in `ROLES` is used and a
note names the others; two columns with the same name are an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableSequence, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from noisylabels.core.checks import InputError, Unlabeled
from noisylabels.core.columnar import array_names, parquet_columns, read_array
from noisylabels.core.delimited import SUFFIXES, read_cells

TABLES = (*SUFFIXES, ".parquet")
"""The suffixes of files with named columns."""

_MOST_NAMED = 20  # columns that an error names

_PATHS = (
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image",
    "img",
    "image_path",
)

ROLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "label": ("label", "class", "target", "class_name", "labels", "y", "targets", "fine_label"),
        "given": ("given", "given_label", "noisy", "noisy_label", "noisy_labels"),
        "true": ("true", "true_label", "clean", "clean_label"),
        "id": ("id", *_PATHS, "ids", "image_id", "name"),  # an image's path is its id
        "index": ("index",),
        "path": _PATHS,
        "image": ("image", "img"),  # encoded images inside the table
        "split": ("split", "part", "subset"),
    }
)
"""Role -> the column names that identify it, the preferred ones first.

label: the class. given: the given label, which may be noisy. true: the true label. id: the id of an example.
index: its row in the data, from 0. path: the path of an image file. image: an encoded image. split:
train, val or test. A column of probabilities has the name of its class.
"""

PREFERENCES: Mapping[tuple[str, str], tuple[str, ...]] = MappingProxyType(
    {
        ("parquet", "label"): ("label", "labels", "fine_label", "target", "class"),
        ("arrays", "label"): ("labels", "y", "targets", "label"),
        ("noise", "label"): ("label", "class", "target", "labels", "y", "targets"),
        ("features", "label"): ("label", "class", "target", "class_name", "labels", "y"),
    }
)
"""(format, role) -> the names that this format prefers, in the order in which its files were always read. The
role's other names count only if none of these occurs; beside one of these, a table of features has them as
features.
"""


def role_names(role: str, form: str = "") -> tuple[str, ...]:
    """Return all names of a role in the order in which a format prefers them.

    >>> role_names("label", "arrays")[:5]
    ('labels', 'y', 'targets', 'label', 'class')
    """
    return tuple(dict.fromkeys((*PREFERENCES.get((form, role), ()), *ROLES[role])))


def role_columns(names: Sequence[str], role: str, form: str = "") -> list[int]:
    """Return the positions of the columns whose names identify a role, the preferred one first.

    >>> role_columns(["x", "Target", "class"], "label")
    [2, 1]
    """
    lower = [name.strip().lower() for name in names]
    preferred = PREFERENCES.get((form, role), ())
    found = [lower.index(name) for name in preferred if name in lower]
    return found or [lower.index(name) for name in ROLES[role] if name in lower]


def find_column(
    names: Sequence[str],
    role: str,
    source: Path | str,
    notes: MutableSequence[str] | None = None,
    form: str = "",
) -> int | None:
    """Return the position of the column whose name identifies a role, or None.

    Args:
        names: the column names.
        role: one of `ROLES`.
        source: what an error calls the table.
        notes: receives a line if several columns match.
        form: the format whose `PREFERENCES` apply, if it has any.

    Raises:
        InputError: two columns have the preferred name.

    >>> find_column(["image_id", "Labels"], "label", "t.csv")
    1
    """
    found = role_columns(names, role, form)
    if not found:
        return None
    check_once(names, found[0], source)
    if len(found) > 1 and notes is not None:
        notes.append(passed_over(role, [names[k] for k in found]))
    return found[0]


def need_column(
    names: Sequence[str], role: str, source: Path | str, notes: MutableSequence[str] | None = None
) -> int:
    """Return the position that `find_column` finds, or raise an `InputError` with the accepted names."""
    found = find_column(names, role, source, notes)
    if found is None:
        raise (Unlabeled if role == "label" else InputError)(
            f"{source} has no {role} column: its columns are {', '.join(names[:_MOST_NAMED])}"
            f"{', ...' if len(names) > _MOST_NAMED else ''}; "
            f"name one of them {', '.join(ROLES[role][:-1])} or {ROLES[role][-1]}"
        )
    return found


def passed_over(role: str, ranked: Sequence[str]) -> str:
    """Return the note that the first of several columns of a role is used."""
    return f"{role} column {ranked[0]!r} used, {', '.join(map(repr, ranked[1:]))} ignored"


def check_once(names: Sequence[str], place: int, source: Path | str) -> None:
    """Raise an `InputError` if another column has the same name, ignoring case."""
    wanted = names[place].strip().lower()
    twice = [name for name in names if name.strip().lower() == wanted]
    if len(twice) > 1:
        shown = repr(twice[0]) if twice[0] == twice[1] else f"{twice[0]!r} and {twice[1]!r}"
        raise InputError(f"{source} has two columns called {shown}; rename one")


@dataclass(frozen=True, eq=False)
class Table:
    """A file as named columns, each read on demand.

    Args:
        source: the file, for errors.
        names: the column names; a name that occurs twice is an error only when it is requested.
        read: position -> cells, (N,), or (N, ...) for arrays: text as written, integers, bool, or float with
            NaN for missing numbers. A word such as "dates" if the column holds neither numbers nor text.
        place: row -> the file, and what the row is called in it: "line 3".
        headed: whether the file names its columns.
        written: position -> the cells of a text table with the spaces around them; None for other files.
    """

    source: Path
    names: Sequence[str]
    read: Callable[[int], np.ndarray | str]
    place: Callable[[int], tuple[Path, str]]
    headed: bool = True
    written: Callable[[int], list[str]] | None = None

    def __getitem__(self, name: str) -> np.ndarray:
        """Return the cells of a column by its name.

        Raises:
            InputError: no or several columns have this name, or it holds neither numbers nor text.
        """
        places = [k for k, other in enumerate(self.names) if other == name]
        if len(places) != 1:
            found = "two columns" if places else "no column"
            raise InputError(
                f"{self.source} has {found} called {name!r}" + ("; rename one" if places else "")
            )
        return self.cells(places[0])

    def cells(self, place: int) -> np.ndarray:
        """Return the cells of a column by its position.

        Raises:
            InputError: it holds neither numbers nor text.
        """
        cells = self.read(place)
        if isinstance(cells, str):
            raise InputError(
                f"{self.source}: the column {self.names[place]!r} holds {cells}, expected numbers or text"
            )
        return cells

    def row(self, number: int) -> str:
        """Return what a row, counted from 0, is called within its file."""
        return self.place(number)[1]

    def where(self, number: int) -> str:
        """Return the file and the place of a row, counted from 0."""
        return "{}, {}".format(*self.place(number))


def check_rows(table: Table) -> Table:
    """Return a table, or raise an `InputError` if it has no rows."""
    cells = table.read(0) if table.names else ""
    if not isinstance(cells, str) and not len(cells):
        raise InputError(f"{table.source} has no rows; add lines below the heading")
    return table


def read_table(path: Path) -> Table:
    """Read a file of named columns by its suffix: .csv, .tsv, .parquet, .npy or .npz.

    Columns of CSV and TSV are text as written, without the spaces around it. An .npy file is one column
    without a name.

    Raises:
        InputError: the suffix is another, the file cannot be read, or a row's length differs from the
            heading's.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     size = Path(folder, "t.csv").write_text("id,Labels\\n1,07\\n")
    ...     table = read_table(Path(folder, "t.csv"))
    ...     table[table.names[find_column(table.names, "label", table.source)]]
    array(['07'], dtype=object)
    """
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return read_text_table(path)
    if suffix == ".parquet":
        return read_parquet_table([path])
    if suffix == ".npy":
        return Table(path, [""], lambda _: read_array(path), lambda row: (path, f"row {row}"), headed=False)
    if suffix == ".npz":
        names = array_names(path)
        return Table(path, names, lambda k: read_array(path, names[k]), lambda row: (path, f"row {row}"))
    raise InputError(f"{path} is not a readable table; expected .csv, .tsv, .parquet, .npy or .npz")


def read_text_table(
    path: Path,
    *,
    is_heading: Callable[[Sequence[Sequence[str]]], bool] | None = None,
    keep_blank: bool = False,
    columns: str = "id,label",
) -> Table:
    """Read a CSV or TSV table.

    Args:
        path: the file.
        is_heading: decides from the first two rows whether the first names the columns; None: it does.
            Unnamed columns are called "1", "2", ...
        keep_blank: keep rows whose cells are all empty instead of skipping them; empty lines at the end are
            always dropped.
        columns: an example of a heading, for errors.

    Raises:
        InputError: the file cannot be read or is empty, or a row's length differs from the first row's.
    """
    lines: list[int] = []
    rows: list[list[str]] = []
    for line, cells in read_cells(path, strip=False):
        # an empty line separates rows, but in a table of one column it is a missing cell
        lone = bool(rows) and len(rows[0]) == 1
        if any(map(str.strip, cells)) or (keep_blank and (len(cells) > 1 or lone)):
            lines.append(line)
            rows.append(cells)
    while rows and not rows[-1]:  # editors leave empty lines at the end
        rows.pop(), lines.pop()
    if not rows:
        raise InputError(f"{path} is empty; expected a heading such as {columns} and one line per row")
    rows = [row or [""] for row in rows]
    width = len(rows[0])
    first = [cell.strip() for cell in rows[0]]
    headed = is_heading is None or is_heading([first, *([c.strip() for c in row] for row in rows[1:2])])
    for line, row in zip(lines, rows, strict=True):
        if len(row) != width:
            what = "heading" if headed else "first line"
            raise InputError(f"{path}, line {line}: {len(row)} cells, but the {what} has {width}")
    names = first if headed else [str(k + 1) for k in range(width)]
    body, lines = (rows[1:], lines[1:]) if headed else (rows, lines)

    def written(place: int) -> list[str]:
        return [row[place] for row in body]

    def read(place: int) -> np.ndarray:
        return np.array([row[place].strip() for row in body], dtype=object)

    return Table(path, names, read, lambda row: (path, f"line {lines[row]}"), headed, written)


def read_parquet_table(files: Sequence[Path], *, at_once: bool = False) -> Table:
    """Read Parquet files with the same columns as one table, see `parquet_columns`."""
    names, sizes, read = parquet_columns(files, at_once=at_once)
    ends = np.cumsum(sizes)

    def place(row: int) -> tuple[Path, str]:
        part = int(np.searchsorted(ends, row, side="right"))
        return files[part], f"row {row - int(ends[part]) + sizes[part]}"

    return Table(files[0], names, lambda k: read(names[k]), place)


# Cells --------------------------------------------------------------------------------------------------

MISSING = frozenset(("", "na", "n/a", "nan", "null", "none", "?", "<na>", "#n/a"))
"""The contents of a missing cell, in lower case."""


def is_missing(column: np.ndarray) -> np.ndarray:
    """Return which cells of a column are missing, bool (N,).

    >>> is_missing(np.array(["3", "", " NaN", "cat"], dtype=object))
    array([False,  True,  True, False])
    """
    if column.dtype.kind == "f":
        return np.asarray(np.isnan(column))
    if column.dtype.kind != "O":
        return np.zeros(len(column), dtype=bool)
    # these words are short, so for most cells the length alone decides
    longest = max(map(len, MISSING))
    found = (len(cell) <= longest and cell.lower() in MISSING for cell in map(str.strip, column))
    return np.fromiter(found, dtype=bool, count=len(column))


def is_number(word: str) -> bool:
    """Return whether Python reads a word as a number, NaN and infinity included."""
    try:
        float(word)
    except ValueError:
        return False
    return True


def texts(cells: np.ndarray) -> np.ndarray:
    """Return cells as they would be written in a text file."""
    if cells.dtype.kind == "O":
        return cells
    if cells.dtype.kind == "b":
        return np.where(cells, "true", "false").astype(object)
    if cells.dtype.kind == "U":
        return cells.astype(object)
    if cells.dtype.kind in "iu":  # all digits: ids may be long
        return np.array([str(value) for value in cells.tolist()], dtype=object)
    return np.array([_text(value) for value in cells.tolist()], dtype=object)


def _text(value: float) -> str:
    """Return a number as text; a whole one with all its digits, because ids may be long."""
    return str(int(value)) if abs(value) < 1e22 and value.is_integer() else f"{value:.15g}"
