"""Read class probabilities from a file that another program wrote: .npy, .csv, .tsv or .parquet.

A row belongs to an example by its id, by its row in the data, or by its place in the order of the data. The
order is that of the file or of the sorted paths; where the data have no such order, ids are needed.
"""

from __future__ import annotations

from collections.abc import Callable, MutableSequence, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisylabels.audit import saved_probs
from noisylabels.audit.fingerprints import Fingerprints
from noisylabels.core.checks import InputError, check_choice
from noisylabels.core.columnar import read_array
from noisylabels.core.files import check_file
from noisylabels.core.labels import INTEGER
from noisylabels.core.positions import Positions, own
from noisylabels.core.row_keys import UNNAMED, row_key
from noisylabels.core.tables import ROLES, TABLES, Table, check_rows, find_column, read_table, texts
from noisylabels.core.written_names import named_by, plain_name
from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.noise_rate import NETWORK

SUFFIXES = (".npy", *TABLES)

_NAMED = 6  # columns or ids that a message names


@dataclass(frozen=True, eq=False)
class GivenProbs:
    """The probabilities in a file, in the order of the examples.

    Args:
        probs: (N, K), out of fold, checked.
        seen: (N, K), of models during training, if an audit that trained wrote the file; else None.
        of_audit: whether an audit wrote the file, so that the same values give the same audit.
        rule: how that audit scored the labels, see `posterior.judged`.
        network: (N, K), of its network alone, if `probs` are of several judges; else None.
        judges_blank: whether rows without text are judged, see `Audit`.
    """

    probs: CheckedProbs
    seen: np.ndarray | None = None
    of_audit: bool = False
    rule: str = NETWORK
    network: np.ndarray | None = None
    judges_blank: bool = True


def read_probs(
    path: Path | str,
    class_names: Sequence[str],
    ids: Sequence[str],
    name: str = "the data",
    notes: MutableSequence[str] | None = None,
    positions: Positions | None = None,
    id_column: str | None = None,
    data_index: Callable[[], Sequence[str] | None] = lambda: None,
    known: Callable[[], Fingerprints | None] | None = None,
) -> GivenProbs:
    """Return the probabilities in a file, one row per example in the order of the examples.

    Args:
        path: .npy, an array (N, K), K in the order of `class_names`; or a table (.csv, .tsv, .parquet) with
            one column per class, named as the classes are, in any order, or by numbers 0 to K - 1. The column
            `id_column`, or one with the role id or index (see `core.tables.ROLES`), or one that holds the
            ids under another name, matches rows in any order: id the ids, index the rows of the data.
            Without one, the rows are those of all examples of the data, or of the part that the user made,
            in the order of the data. Also the probs.parquet of an audit, with the files beside it.
            Other columns are ignored.
        class_names: K names.
        ids: N names.
        name: name of the set in errors.
        notes: receives lines on columns and rows that are not used.
        positions: where the examples lie in their source; by default in this order.
        id_column: the column of the ids in the data, if the user named it.
        data_index: returns the cells of a column "index" that the data have, one per example, or None.
        known: returns the fingerprints of the examples, with which those in a file of an audit must agree.

    Returns:
        The probabilities, each row checked; a .npy file is mapped into memory, not read.

    Raises:
        InputError: no such file, another format, a class or an example without probabilities, an id that
            occurs twice, rows whose order is unknown, a column that may hold other ids, or a row that does
            not hold probabilities (with its line).
    """
    path = check_file(Path(path).expanduser())
    check_choice(path.suffix.lower(), SUFFIXES, f"file type of {path.name!r}:")
    positions = own(len(ids)) if positions is None else positions
    notes = [] if notes is None else notes
    if path.suffix.lower() == ".npy":
        probs = _of_array(path, len(class_names), len(ids), name)
        at = _by_order(path, len(probs), positions, len(ids), name)
        return GivenProbs(CheckedProbs(_taken(probs, at), lambda i: f"{path}, row {at[i]}"))
    table = check_rows(read_table(path))
    layout = saved_probs.layout_of(path)
    if layout is not None:
        return _of_audit(layout, table, class_names, ids, name, notes, positions, known)
    probs = _of_classes(table, class_names)
    key, at = _rows_of(table, len(probs), class_names, ids, name, notes, positions, id_column, data_index)
    _note_ignored(table, class_names, key, notes)
    words = None if key is None else texts(table[key])

    def where(i: int) -> str:
        named = "" if words is None else f" ({key} {words[at[i]]!r})"
        return f"{table.where(int(at[i]))}{named}"

    return GivenProbs(CheckedProbs(probs[at], where))


def select(probs: CheckedProbs, positions: Positions, name: str) -> CheckedProbs:
    """Return the rows of probabilities that belong to the examples, in their order.

    Raises:
        InputError: there is another number of rows, or their order is unknown.
    """
    n = len(probs) if positions.rows is None else len(positions.rows)
    values = _taken(probs.values, _by_order("the array of probs", len(probs), positions, n, name))
    return probs if values is probs.values else CheckedProbs(values, "probs")


def check_unnamed(class_names: Sequence[str], what: str) -> None:
    """Raise an `InputError` if unnamed columns could be in two orders: of integers by value, or as text.

    The classes of a folder are its folders sorted as text: 1, 10, 2. Labels that are numbers sort by value.
    """
    if not all(map(INTEGER.fullmatch, class_names)) or list(class_names) != sorted(class_names):
        return
    if (by_value := sorted(class_names, key=float)) != list(class_names):
        raise InputError(
            f"{what} has unnamed columns, and the classes sort as text ({_some(class_names)}) or by value "
            f"({_some(by_value)}); name the columns as the classes are, in a data frame or a CSV file"
        )


def _taken(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return rows of an array; itself if they are all rows in order, because it may be memory-mapped."""
    if len(at) == len(values) and (at == np.arange(len(at))).all():
        return values
    return np.asarray(values[at])


def _of_array(path: Path, K: int, n: int, name: str) -> np.ndarray:
    probs = read_array(path, mapped=True)
    if probs.dtype.kind not in "fiub":
        raise InputError(
            f"{path} holds {probs.dtype}, expected numbers; write it with numpy.save(path, probs)"
        )
    if probs.ndim != 2 or probs.shape[1] != K:
        raise InputError(
            f"{path} holds an array of shape {probs.shape}, expected ({n}, {K}): one row per example of "
            f"{name}, one column per class"
        )
    return probs


def _of_audit(
    layout: saved_probs.Layout,
    table: Table,
    class_names: Sequence[str],
    ids: Sequence[str],
    name: str,
    notes: MutableSequence[str],
    positions: Positions,
    known: Callable[[], Fingerprints | None] | None,
) -> GivenProbs:
    """Return the probabilities in a file of an audit; its ids may occur twice, as those of the data may."""
    plain = [plain_name(word) for word in class_names]
    if strange := sorted(set(plain) ^ set(layout.classes)):
        raise InputError(
            f"{layout.path} has the classes {_some(layout.classes)}, and {name} has {_some(plain)}; "
            f"{strange[0]!r} is not in both, so audit the same data"
        )
    order = [layout.classes.index(word) for word in plain]
    keys = texts(table[layout.id])
    key = layout.id if len(set(keys)) == len(keys) else layout.index
    at = _by_key(table, key, _wanted(key == layout.id, ids, positions), ids, name, notes)
    before = layout.fingerprints
    if before is not None and known is not None and (now := known()) is not None:
        _check_same(layout, before, now, at, ids, name, notes)
    values = saved_probs.values_of(layout.path)[at][:, order]
    probs = CheckedProbs(values, lambda i: f"{table.where(int(at[i]))} ({key} {keys[at[i]]!r})")
    if missing := layout.missing:
        notes.append(
            f"{missing[0]}, which belongs to it, is missing: the audit uses the out-of-fold "
            "probabilities alone, so its scores differ"
        )
        return GivenProbs(probs, of_audit=True, rule=layout.rule, judges_blank=layout.judges_blank)
    seen, network = (
        None if path is None else saved_probs.values_of(path)[at][:, order]
        for path in (layout.seen, layout.network)
    )
    return GivenProbs(probs, seen, True, layout.rule, network, layout.judges_blank)


def _check_same(
    layout: saved_probs.Layout,
    before: Fingerprints,
    now: Fingerprints,
    at: np.ndarray,
    ids: Sequence[str],
    name: str,
    notes: MutableSequence[str],
) -> None:
    """Raise an `InputError` if the examples were others when the audit wrote the file."""
    if before.shape != now.shape:
        notes.append(
            f"rows are matched by position, and {name} had examples of the shape {before.shape} when it was "
            f"audited, now {now.shape}; make sure that it is in the same order"
        )
    elif (i := before.differing(now, at)) is not None:
        raise InputError(
            f"{layout.path} matches rows by position, and {ids[i]!r} of {name} was another example when "
            "it was audited; audit the same data in the same order, or audit them again with a column id"
        )


def _of_classes(table: Table, class_names: Sequence[str]) -> np.ndarray:
    numbers = [str(k) for k in range(len(class_names))]
    names = set(table.names)
    # columns 0, 1 are not the classes "1", "2" in their order: one of them may be the class "1"
    ways = (class_names,) if all(map(INTEGER.fullmatch, class_names)) else (class_names, numbers)
    wanted = next((words for words in ways if set(words) <= names), None)
    if wanted is None:
        missing = next(name for name in class_names if name not in names)
        raise InputError(
            f"{table.source} has no column {missing!r}: its columns are {_some(table.names)}; expected one "
            f"column per class, {len(class_names)} in all"
        )
    return np.stack([_numbers(table, name) for name in wanted], axis=1)


def _numbers(table: Table, name: str) -> np.ndarray:
    """Return a column of probabilities, float64 (N,)."""
    cells = table[name]
    if cells.dtype.kind != "O":
        return cells.astype(np.float64)
    made = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            made[row] = float(cell)
        except ValueError:
            raise InputError(
                f"{table.where(row)}: the probability of {name!r} is {cell!r}, expected a number"
            ) from None
    return made


# The row of each example ----------------------------------------------------------------------------------


def _rows_of(
    table: Table,
    count: int,
    class_names: Sequence[str],
    ids: Sequence[str],
    name: str,
    notes: MutableSequence[str],
    positions: Positions,
    id_column: str | None,
    data_index: Callable[[], Sequence[str] | None],
) -> tuple[str | None, np.ndarray]:
    """Return the column that identifies rows, or None, and the row of each example."""
    numbers = () if set(class_names) <= set(table.names) else map(str, range(len(class_names)))
    classes = {*class_names, *numbers}
    others = [column for column in table.names if column not in classes]
    if id_column in others:
        return id_column, _by_key(table, id_column, ids, ids, name, notes)
    for role in ("id", "index"):
        if (place := find_column(others, role, table.source, notes)) is not None:
            key = others[place]
            if role == "index":
                _check_index(table, key, positions, name, data_index)
            return key, _by_key(table, key, _wanted(role == "id", ids, positions), ids, name, notes)
    known = {name for names in ROLES.values() for name in names}
    unknown = [
        k
        for k, column in enumerate(table.names)
        if column not in classes and column.strip().lower() not in known
    ]
    if (found := row_key(table, unknown, ids, name, notes)) is not None:
        key = table.names[found]
        return key, _by_key(table, key, ids, ids, name, notes)
    return None, _by_order(table.source, count, positions, len(ids), name)


def _check_index(
    table: Table,
    key: str,
    positions: Positions,
    name: str,
    data_index: Callable[[], Sequence[str] | None],
) -> None:
    """Raise an `InputError` unless the cells of a column "index" are rows of the data."""
    words, rows = texts(table[key]).tolist(), positions.rows
    in_data = data_index()
    numbered = in_data is None or (rows is not None and list(in_data) == [str(row) for row in rows.tolist()])
    # 0, 1, 2, ... may be the ids in a column of the data whose cells all differ, in another order
    in_order = words == [str(row) for row in range(len(words))]
    if not numbered and not (in_order and in_data is not None and len(set(in_data)) < len(in_data)):
        raise InputError(
            f"{table.source} and {name} both have a column {key!r}, and that of the data does not number "
            "their rows; name a column of ids id, or remove this one if the rows are in the order of the data"
        )
    if positions.total is None:
        return
    for row, word in enumerate(words):
        if not (word.isdecimal() and int(word) < positions.total):
            raise InputError(
                f"{table.where(row)}: the {key} is {word!r}, expected a row of {name}, 0 to "
                f"{positions.total - 1}; remove the column, or name a column of ids id"
            )


def _wanted(by_id: bool, ids: Sequence[str], positions: Positions) -> Sequence[str]:
    """Return the cell of the key column of each example."""
    if by_id:
        return ids
    rows = np.arange(len(ids)) if positions.rows is None else positions.rows
    return [str(row) for row in rows.tolist()]


def _by_key(
    table: Table,
    key: str,
    wanted: Sequence[str],
    ids: Sequence[str],
    name: str,
    notes: MutableSequence[str],
) -> np.ndarray:
    """Return the row whose cell in the column `key` is the wanted one of each example."""
    place = dict[str, int]()
    cells = texts(table[key]).tolist()
    for row, (cell, meant) in enumerate(zip(cells, named_by(cells, wanted), strict=True)):
        word = cell if meant is None else meant
        if (before := place.setdefault(word, row)) != row:
            raise InputError(
                f"{table.where(row)}: {table.row(before)} has the {key} {word!r} too; remove one of them"
            )
    rows = np.array([place.get(word, -1) for word in wanted], dtype=np.int64)
    missing = np.flatnonzero(rows < 0)
    if len(missing):
        more = f" (nor for {len(missing) - 1:,} others)" if len(missing) > 1 else ""
        raise InputError(
            f"{table.source} has no row for {ids[missing[0]]!r} of {name}{more}: its column {key!r} holds "
            f"{_some(list(place))}"
        )
    if unused := len(place) - len(np.unique(rows)):
        notes.append(f"{unused:,} of {len(place):,} rows are not used: their {key} is not among the audited")
    return rows


def _by_order(source: Path | str, count: int, positions: Positions, n: int, name: str) -> np.ndarray:
    """Return the row of each example where rows have no ids.

    Raises:
        InputError: there are more or fewer rows than examples, or the order of the examples is unknown.
    """
    at = positions.among(count)
    if at is not None:
        return at
    start = f"{source} has {count:,} rows without ids"
    if positions.rows is None:
        raise InputError(
            f"{start}, and the {n:,} examples of {name} have no single order (a training and a test part); "
            "add a column of ids (id), or audit one part (--part train)"
        )
    if positions.doubt and count in (n, positions.total):
        raise InputError(f"{start}, and {positions.doubt}; add a column of ids (id)")
    audited = "" if n == positions.total else f" ({n:,} of them are audited)"
    raise InputError(
        f"{source} has {count:,} rows, expected {positions.total:,}, one per example of {name}{audited} in "
        "the order of the file or of the sorted paths; add rows, or a column of ids (id)"
    )


def _note_ignored(
    table: Table, class_names: Sequence[str], key: str | None, notes: MutableSequence[str]
) -> None:
    """Add a note on columns that are neither probabilities nor known to hold something else."""
    known = {name for names in ROLES.values() for name in names} | {*UNNAMED, "probability"}
    used = {*class_names, key} | {str(k) for k in range(len(class_names))}
    if ignored := [name for name in table.names if name not in used and name.strip().lower() not in known]:
        notes.append(f"ignored columns, which no class is called by: {_some(ignored)}")


def _some(words: Sequence[str]) -> str:
    """Return the first few words, and the number of the others."""
    more = f" and {len(words) - _NAMED} more" if len(words) > _NAMED else ""
    return ", ".join(map(str, words[:_NAMED])) + more
