"""Read labels from a file: find their column, match rows with examples, and convert to class numbers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.files import check_file, file_digest
from noisylabels.core.labels import name_of
from noisylabels.core.opening import TEXT_BYTES
from noisylabels.core.positions import Positions, own
from noisylabels.core.row_keys import row_key
from noisylabels.core.tables import ROLES, Table, check_once, find_column, passed_over, role_columns, texts
from noisylabels.core.written_names import named_by, spellings
from noisylabels.noise.checks import check_class_names, check_num_classes
from noisylabels.noise.label_formats import SUFFIXES, open_labels

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


@dataclass(frozen=True, eq=False)
class LabelFile:
    """The labels of a file, in the order of the examples.

    Args:
        given: (N,) int64 in [0, K).
        true: (N,) int64 in [0, K), or None if the file has no column of true labels.
        column: the name of the column of `given`; empty for a file that holds only labels.
        digest: the sha256 of the file, in hexadecimal.
        index: (N,) int64, the positions of the examples in the set, if `NoisyLabels.save` wrote part of a
            set; None if every example has a label.
        by_ids: whether rows were matched by ids rather than by order.
        notes: the columns that were ignored, where several could be used.
    """

    given: np.ndarray
    true: np.ndarray | None
    column: str
    digest: str
    index: np.ndarray | None = None
    by_ids: bool = False
    notes: tuple[str, ...] = ()


def read_labels(
    path: str | Path,
    *,
    num_classes: int,
    class_names: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
    others: Collection[str] = (),
    positions: Positions | None = None,
    id_column: str | None = None,
) -> LabelFile:
    """Read the label of each example from a file.

    - `.csv`, `.tsv`: a column of the role given or label (or one column of any name), and optional columns
      of the roles true and id; `core.tables.ROLES` lists their names. Without a header: one column of
      labels, or, with `ids`, two columns, the id and its label.
    - `.parquet`: the same columns; also the file of `NoisyLabels.save`, whose digest is then verified.
    - `.npz`: the same names as keys, or a single key. `.npy`: the labels.
    - `.txt`: one label per line. `.json`: a list of labels.

    A label is a class number or a class name. A column of text that can be read both ways, because classes
    are named by the numbers of other classes, is an error.

    Args:
        path: the file.
        num_classes: K.
        class_names: K names, for files with names in place of numbers.
        ids: N names of the examples in their order. A file with a column of ids may then have its rows in
            any order; one without must have a row for each example of the data, or of the part that the user
            made, in the order of the data.
        others: ids that a file may also contain, such as those of test images; their rows are ignored.
        positions: where the examples lie in the data; by default the data are these examples in this order.
        id_column: the column of the ids in the data, if the user named it; a column of this name, or an
            unknown one that holds the ids, is the column of ids too.

    Returns:
        The labels in the order of `ids`, or in that of the file if `ids` or the column is missing.

    Raises:
        InputError: the file is missing, damaged or of another kind; no column is recognized as the labels; a
            label is missing or no class; an id is missing, duplicate or unknown. The message names the row.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "labels.csv")
    ...     size = path.write_text("path,label\\nb.png,dog\\na.png,cat\\n")
    ...     read_labels(path, num_classes=2, class_names=["cat", "dog"], ids=["a.png", "b.png"]).given
    array([0, 1])
    """
    path = Path(path)
    check_num_classes(num_classes)
    names = None if class_names is None else check_class_names(class_names)
    if names is not None and len(names) != num_classes:
        raise InputError(f"num_classes is {num_classes}, expected {len(names)} for {len(names)} class names")
    check_file(path)
    if path.suffix.lower() not in SUFFIXES:
        hint = "; read human annotations in .pt files as human:FILE" if path.suffix == ".pt" else ""
        raise InputError(f"{path} is not a file of labels, expected one of {', '.join(SUFFIXES)}{hint}")
    try:
        digest = file_digest(path, most_bytes=TEXT_BYTES)
        table, index, saved = open_labels(path)
        if names is not None and _begins_with_a_label(table, names, ids, positions):
            table, index, saved = open_labels(path, headless=True)
        notes: list[str] = []
        label, true, key = _choose(table, ids is not None, notes, id_column)
        if ids is not None and table.headed and key is None and index is None and not saved:
            known = {name for names in ROLES.values() for name in names} - set(ROLES["index"])
            rest = [k for k, name in enumerate(table.names) if name.strip().lower() not in known]
            key = row_key(table, [k for k in rest if k not in (label, true)], ids, "the set", notes)
        columns = {k: _column(table, k) for k in (label, true, key) if k is not None}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    length = _length(table, columns)
    order = None  # the row of each example
    if ids is not None and key is None and index is None:
        # what `NoisyLabels.save` wrote is in the order of the training examples
        order = rows_in_order(path, length, own(len(ids)) if saved or positions is None else positions)
    given = _numbers(table, columns[label], num_classes, names)
    before = None if true is None else _numbers(table, columns[true], num_classes, names)
    if ids is not None and key is not None:
        order = _order(table, columns[key], ids, frozenset(others))
    if order is not None:
        given, before = given[order], None if before is None else before[order]
    by_ids = ids is not None and key is not None
    column = table.names[label] if table.headed else ""
    return LabelFile(given, before, column, digest, index, by_ids, tuple(notes))


def rows_in_order(source: Path | str, count: int, positions: Positions) -> np.ndarray:
    """Return the row of each example, (N,), in a file of `count` labels without ids.

    Raises:
        InputError: there are more or fewer labels than examples, or the order of the examples is unknown.
    """
    rows = positions.among(count)
    if rows is not None:
        return rows
    if positions.rows is None:
        raise InputError(
            f"{source} has {count} labels without ids, and the set has no single order (a training and a "
            "test part); add a column of ids (id)"
        )
    if positions.doubt and count in (len(positions.rows), positions.total):
        raise InputError(
            f"{source} has {count} labels without ids, and {positions.doubt}; add a column of ids (id)"
        )
    used = len(positions.rows)
    part = "" if used == positions.total else f", {used} of which are used, in the order of the file"
    hint = "; add a column of ids (id)" if part else ""
    raise InputError(
        f"{source} has {count} labels, expected {positions.total}, one per example of the set{part}{hint}"
    )


# Columns ------------------------------------------------------------------------------------------


def _begins_with_a_label(
    table: Table, names: Collection[str], ids: Sequence[str] | None, positions: Positions | None
) -> bool:
    """Return whether what looks like the heading of a text table is an example of a class such as "true".

    The heading is an example if its other cell is an id, or if the labels are one too few without it.
    """
    heading = [name.strip() for name in table.names]
    classes = {name.strip().lower() for name in names}
    if table.written is None or not table.headed or heading[-1].lower() not in classes:
        return False
    if len(heading) == 2:
        return ids is not None and heading[0] in ids
    if len(heading) > 1 or positions is None:
        return False
    count = len(table.cells(0))
    return positions.among(count) is None and positions.among(count + 1) is not None


def _choose(
    table: Table, have_ids: bool, notes: list[str], id_column: str | None
) -> tuple[int, int | None, int | None]:
    """Return the positions of the columns of labels, true labels and ids; None for a missing one."""
    if not table.headed:
        if len(table.names) == 1:
            return 0, None, None
        if len(table.names) == 2 and have_ids:  # the first column is matched with the ids
            return 1, None, 0
        raise InputError(
            f"{table.source} has {len(table.names)} columns and no header line; add one, such as id,label"
        )

    def find(role: str) -> int | None:
        return find_column(table.names, role, table.source, notes, "noise")

    true, key, label = find("true"), _id_column(table, notes, id_column), find("given")
    # a column of given labels takes precedence over a label column, which may hold the true labels
    label = find("label") if label is None else label
    if label is None:
        rest = [k for k in range(len(table.names)) if k not in (true, key)]
        if len(rest) != 1:
            listing = ", ".join(map(repr, table.names)) or "none"
            raise InputError(
                f"{table.source} has no column recognized as the labels (its columns: {listing}); "
                "name one of them label"
            )
        label = rest[0]
    return label, true, key


def _id_column(table: Table, notes: list[str], id_column: str | None) -> int | None:
    """Return the position of the ids; a column of encoded images never counts, whatever its name."""
    if id_column in table.names:
        check_once(table.names, place := table.names.index(id_column), table.source)
        return place
    ranked = []
    for place in role_columns(table.names, "id"):
        cells = table.read(place)
        if not isinstance(cells, str) and cells.ndim == 1:
            ranked.append(place)
    if not ranked:
        return None
    check_once(table.names, ranked[0], table.source)
    if len(ranked) > 1:
        notes.append(passed_over("id", [table.names[k] for k in ranked]))
    return ranked[0]


def _column(table: Table, place: int) -> np.ndarray:
    """Return the cells of a column, (N,)."""
    # with the spaces around them: two classes or ids may differ in these alone
    cells = table.cells(place) if table.written is None else np.array(table.written(place), dtype=object)
    if cells.ndim == 2 and cells.shape[1] == 1:
        cells = cells[:, 0]
    if cells.ndim != 1:
        name = repr(table.names[place]) if table.headed else "the array"
        raise InputError(
            f"{table.source}: {name} has the shape {cells.shape}, expected one label per example, (N,)"
        )
    return cells


def _length(table: Table, columns: Mapping[int, np.ndarray]) -> int:
    lengths = {table.names[k]: len(column) for k, column in columns.items()}
    if len(set(lengths.values())) > 1:
        listing = ", ".join(f"{name!r} has {n}" for name, n in lengths.items())
        raise InputError(f"{table.source} has columns of different lengths: {listing}")
    length = next(iter(lengths.values()))
    if not length:
        raise InputError(f"{table.source} holds no labels, expected one per example")
    return length


def _order(table: Table, column: np.ndarray, ids: Sequence[str], others: Collection[str]) -> np.ndarray:
    """Return the row of the file for each id of the set."""
    wanted: dict[str | None, int] = {name: i for i, name in enumerate(ids)}
    if len(wanted) != len(ids):
        raise InputError("two examples of the set have the same id, expected unique ids to match labels with")
    order = np.full(len(ids), -1, dtype=np.int64)
    cells = texts(column).tolist()
    for row, (name, meant) in enumerate(zip(cells, named_by(cells, [*ids, *others]), strict=True)):
        place = wanted.get(meant)
        if place is None and meant is not None:  # one of `others`
            continue
        if place is None:
            raise InputError(
                f"{table.row(row)} of {table.source} has the id {name!r}, which is not in the set "
                f"(expected ids such as {ids[0]!r}); remove the row or correct it"
            )
        if order[place] >= 0:
            raise InputError(
                f"{table.row(row)} of {table.source} repeats the id {name!r} of "
                f"{table.row(int(order[place]))}; keep one of them"
            )
        order[place] = row
    missing = np.flatnonzero(order < 0)
    if missing.size:
        raise InputError(
            f"{table.source} has no label for {missing.size} of {len(ids)} examples, first "
            f"{ids[int(missing[0])]!r}; add a row for each"
        )
    return order


# From cells to class numbers ----------------------------------------------------------------------


def _numbers(table: Table, column: np.ndarray, num_classes: int, names: tuple[str, ...] | None) -> np.ndarray:
    """Return a column as class numbers, (N,) int64."""
    number = {name: k for k, name in enumerate(names or ())}
    by_name = {way: number[name] for way, name in spellings(number).items()}
    if column.dtype.kind in "iu":
        bad = (column < 0) | (column >= num_classes)
        if not bad.any():
            _check_one_reading(table, column, by_name)
            return column.astype(np.int64)
    if column.dtype.kind == "f" and np.isnan(column).any():  # integers too: a missing value makes them floats
        raise InputError(
            f"{table.row(int(np.isnan(column).argmax()))} of {table.source} has no label; correct it"
        )
    cells = [_plain(cell) for cell in column.tolist()]
    truth = _truth_classes(by_name)
    as_names = [
        by_name[written]
        if isinstance(written, str) and written in by_name
        else _class_named(cell, by_name, truth)
        for written, cell in zip(column.tolist(), cells, strict=True)
    ]
    as_numbers = [_class_number(cell, num_classes) for cell in cells]
    if min(as_names) >= 0:
        if min(as_numbers) >= 0 and as_names != as_numbers:
            row = next(i for i, (a, b) in enumerate(zip(as_names, as_numbers, strict=True)) if a != b)
            raise InputError(
                f"{table.row(row)} of {table.source} has the label {cells[row]!r}, which is the name of "
                f"class {as_names[row]} and the number of another; give the classes names that are no numbers"
            )
        return np.array(as_names, dtype=np.int64)
    if min(as_numbers) < 0:
        # Report a row that cannot be read in the way in which most others can.
        mostly_names = sum(k >= 0 for k in as_names) > sum(k >= 0 for k in as_numbers)
        first = (as_names if mostly_names else as_numbers).index(-1)
        raise InputError(
            f"{table.row(first)} of {table.source} {_fault(cells[first], num_classes, names)}; correct it"
        )
    return np.array(as_numbers, dtype=np.int64)


def _check_one_reading(table: Table, column: np.ndarray, by_name: Mapping[str, int]) -> None:
    """Raise an `InputError` if integers are class numbers as well as the names of other classes."""
    values = np.unique(column).tolist()
    named = [by_name.get(str(value), -1) for value in values]
    if min(named) >= 0 and named != values:
        value, other = next((a, b) for a, b in zip(values, named, strict=True) if a != b)
        raise InputError(
            f"{table.row(int((column == value).argmax()))} of {table.source} has the label {value}, which is "
            f"the name of class {other} and the number of another; give the classes names that are no numbers"
        )


def _plain(cell: Any) -> Any:
    """Return a cell without the spaces around text, and a whole float as the integer that it is."""
    if isinstance(cell, str):
        return cell.strip()
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell


def _truth_classes(by_name: Mapping[str, int]) -> dict[str, int]:
    """Return the classes that are called true and false, whatever their case, unless two are alike."""
    found: dict[str, int] = {}
    for word in ("true", "false"):
        classes = [k for name, k in by_name.items() if name.lower() == word]
        if len(classes) == 1:
            found[word] = classes[0]
    return found


def _class_named(cell: Any, by_name: Mapping[str, int], truth: Mapping[str, int]) -> int:
    """Return the class that a cell names, text or a value such as 2019 or True, or -1."""
    if cell is None or cell != cell:  # NaN
        return -1
    name = name_of(cell)
    return by_name.get(name, truth.get(name.lower(), -1))


def _class_number(cell: Any, num_classes: int) -> int:
    """Return the class number in a cell, or -1."""
    if isinstance(cell, str):
        number = int(cell) if _INTEGER.fullmatch(cell) else -1
    else:
        number = cell if isinstance(cell, int) and not isinstance(cell, bool) else -1
    return number if 0 <= number < num_classes else -1


def _fault(cell: Any, num_classes: int, names: tuple[str, ...] | None) -> str:
    if cell is None or cell == "":
        return "has no label"
    expected = f"expected a class number from 0 to {num_classes - 1}"
    if names is not None:
        expected += " or a class name"
        near = difflib.get_close_matches(str(cell), names, n=1, cutoff=0.6)
        expected += f" (did you mean {near[0]!r}?)" if near else f" such as {names[0]!r}"
    shown = repr(cell)
    return f"has the label {shown if len(shown) < 60 else shown[:57] + '...'}, {expected}"
