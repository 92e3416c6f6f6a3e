"""From a table of labeled rows, in memory or from a file, to two feature sets."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError, Unlabeled
from noisylabels.core.labels import name_of as label_name
from noisylabels.core.labels import read_labels
from noisylabels.core.positions import Positions, own, separate
from noisylabels.core.spelling import spelling_notes
from noisylabels.core.tables import ROLES, is_missing, passed_over, texts
from noisylabels.data.cells import Cells
from noisylabels.data.encoding import Encoder
from noisylabels.data.features import FeatureSet, feature_set
from noisylabels.data.names import unique_names
from noisylabels.data.parquet import check_column
from noisylabels.data.reader import class_notes, held_out_note
from noisylabels.data.sheets import Sheet
from noisylabels.data.split import hold_out


@dataclass(frozen=True)
class Rows:
    """A table before its encoding, with training and test rows in any order.

    Args:
        sheet: the columns, (N,) each.
        labels: one cell per row, (N,).
        class_names: K names, if they come with the labels.
        keys: ids of the rows.
        parts: positions of the training and of the test rows; None if a part is to be held out.
        not_features: columns that are not features, such as the labels.
        positions: where the rows lie in their source; None for the order of the sheet.
        separate: whether the training and the test part have a source each, from which they are in order.
        shown: those of them that hold the labels and the ids, which are shown with every example.
        id_column: the column of ids, if the user named it.
        indexed: whether the labels are known to index the class names.
        text_column: the column of text, if it is known, see `Encoder.fit`.
    """

    sheet: Sheet
    labels: np.ndarray
    class_names: tuple[str, ...]
    keys: Sequence[str]
    parts: tuple[np.ndarray, np.ndarray] | None
    not_features: Sequence[str] = ()
    positions: Positions | None = None
    separate: bool = False
    shown: Sequence[str] = ()
    id_column: str | None = None
    indexed: bool = False
    text_column: str | None = None


def sets_of(
    rows: Rows,
    name: str,
    fraction: float,
    notes: list[str],
    again: Callable[[], Sheet] | None = None,
    need_features: bool = True,
) -> tuple[FeatureSet, FeatureSet]:
    """Return the training and the test set of a table, encoded according to its training rows.

    Args:
        rows: the table.
        name: the name of the sets.
        fraction: the share of each class to hold out if the table has no test rows.
        notes: receives the lines that a user should read, which the training set gets.
        again: reads the table again, when a row is to be shown; None keeps it in memory.
        need_features: see `Encoder.fit`.
    """
    sheet = rows.sheet
    if not len(sheet):
        raise InputError(f"{sheet.source} has no rows; add lines below the heading")
    used = np.arange(len(sheet)) if rows.parts is None else np.concatenate(rows.parts)
    labels = np.full(len(sheet), -1)
    labels[used], class_names = classes_of(
        rows.labels[used],
        rows.class_names,
        lambda row: sheet.where(int(used[row])),
        sheet.source,
        rows.indexed,
    )
    train, test = rows.parts or hold_out(labels, rows.keys, fraction, "rows")
    if rows.parts is None:
        notes.append(held_out_note(len(test), fraction, "rows"))
    encoder = Encoder.fit(
        sheet, train, rows.not_features, notes, need_features, rows.id_column, rows.text_column
    )
    features, of_rows = encoder.encode(sheet), encoder.texts_of(sheet)
    both = np.concatenate([labels[train], labels[test]])
    notes[:0] = spelling_notes(both, class_names)
    notes += class_notes(both, len(train), class_names, "row")
    # a table of texts alone stays in memory: its cells are all that the sets have
    read = functools.cache(again) if again is not None and features.shape[1] else lambda: sheet
    encoded = tuple(column.name for column in encoder.columns)
    cells = Cells(read, np.arange(len(sheet)), len(sheet), tuple(rows.shown), encoded, encoder.texts)
    first, second = (
        feature_set(
            features[part],
            labels[part],
            class_names,
            [rows.keys[i] for i in part],
            name,
            encoder=encoder,
            cells=cells.take(part),
            positions=places,
            texts=None if of_rows is None else [of_rows[i] for i in part.tolist()],
        )
        for part, places in zip((train, test), _positions(rows, train, test), strict=True)
    )
    return dataclasses.replace(first, notes=tuple(dict.fromkeys(notes))), second


def _positions(rows: Rows, train: np.ndarray, test: np.ndarray) -> tuple[Positions, Positions]:
    """Return where the training and the test rows lie in their source."""
    if rows.separate:
        return separate(len(train)), separate(len(test), train=False)
    both = (rows.positions or own(len(rows.sheet))).take(np.concatenate([train, test]))
    return dataclasses.replace(both, whole=rows.parts is not None).parts(len(train))


def classes_of(
    cells: np.ndarray,
    class_names: tuple[str, ...],
    where: Callable[[int], str],
    source: Path | str,
    indexed: bool = False,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return class numbers, int64 (N,), and the names of the classes, see `core.labels.read_labels`.

    Args:
        cells: labels, (N,): text, numbers or truth values.
        class_names: K names, or none.
        where: position -> what an error calls the row.
        source: what an error calls the table.
        indexed: as for `read_labels`.

    Raises:
        InputError: as `read_labels`; or the labels have a single class, or nearly as many classes as rows.

    >>> classes_of(np.array([-1, 1, -1]), (), str, "t")
    (array([0, 1, 0]), ('-1', '1'))
    """
    what = f"the labels of {source}"
    found = read_labels(cells, class_names or None, where=where, what=what, indexed=indexed)
    names = found.class_names
    if len(names) == 1:
        raise Unlabeled(f"{source} has a single class, {names[0]!r}; a classifier needs 2")
    if len(names) > max(2, len(cells) // 2):
        raise InputError(
            f"{source}: {len(cells):,} rows have {len(names):,} different labels; name the column of the "
            "labels with --label-column (label_column=)"
        )
    return found.codes, names


def id_place(names: Sequence[str]) -> int | None:
    """Return the position of the id column of a table of features, or None.

    Only the role's first name counts: features may have any name, so "name" or "image_id" is a feature.
    """
    return next((k for k, name in enumerate(names) if name.lower() == ROLES["id"][0]), None)


def ids_of(
    sheet: Sheet,
    notes: list[str] | None = None,
    wanted: str | None = None,
    labels: np.ndarray | None = None,
) -> tuple[list[str], list[str]]:
    """Return the ids of a table's rows and the column that holds them; without one, "row:0", ... and none.

    The second row with an id "a" gets the id "a#2", and `notes` receives a line on such rows.

    Args:
        sheet: the table.
        notes: see above.
        wanted: the name of the column; by default that of `id_place`.
        labels: (N,), the labels, if the note shall count the repeated ids that have another label.

    Raises:
        InputError: there is no such column, or an id is missing.
    """
    if wanted is not None:
        name = check_column(wanted, [*sheet.names, *sheet.unfit], str(sheet.source), "id")
        if name in sheet.unfit:
            raise InputError(
                f"{sheet.source}: the id column {name!r} holds {sheet.unfit[name]}, expected text or integers"
            )
    elif (place := id_place(sheet.names)) is None:
        return [f"row:{row}" for row in range(len(sheet))], []
    else:
        name = sheet.names[place]
    missing = is_missing(sheet[name])
    if missing.any():
        raise InputError(
            f"{sheet.where(int(missing.argmax()))}: the id is missing; give the row one, or rename the "
            f"column {name!r}"
        )
    words = list(texts(sheet[name]))
    ids, again = unique_names(words)
    if again and notes is not None:
        count = f"{len(again):,} {'row has' if len(again) == 1 else 'rows have'}"
        notes.append(
            f"{count} an id that an earlier row has, first {ids[again[0]]} ({sheet.where(again[0])}); "
            f"all are read{_other_labels(words, again, labels)}"
        )
    return ids, [name]


def other_ids(
    sheet: Sheet, named: Sequence[str], notes: list[str], known: Sequence[str] | None = None
) -> list[str]:
    """Return the column "id" beside the column of ids that the user named; it is no feature either.

    Args:
        sheet: the table.
        named: the column of ids, or none.
        notes: receives a line on the column.
        known: the columns that are known to be no features; by default `named`.
    """
    place = id_place(sheet.names)
    if place is None or sheet.names[place] in (named if known is None else known):
        return []
    notes.append(passed_over("id", [*named, sheet.names[place]]))
    return [sheet.names[place]]


def _other_labels(words: Sequence[str], again: Sequence[int], labels: np.ndarray | None) -> str:
    """Return how many of the rows `again` have another label than the first row of their id."""
    if labels is None:
        return ""
    first: dict[str, int] = {}
    for row, word in enumerate(words):
        first.setdefault(word, row)
    count = sum(label_name(labels[row]) != label_name(labels[first[words[row]]]) for row in again)
    return f", {count:,} with another label than the first row of the id" if count else ""
