"""Tables of features: labeled rows in CSV, TSV, Parquet without images, or NumPy arrays."""

from __future__ import annotations

import dataclasses
import itertools
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from noisylabels.core.checks import InputError, Unlabeled
from noisylabels.core.columnar import array_header, open_parquet
from noisylabels.core.delimited import SUFFIXES as TEXT
from noisylabels.core.delimited import read_cells
from noisylabels.core.opening import open_file
from noisylabels.core.spelling import padding_notes
from noisylabels.core.tables import PREFERENCES, ROLES, check_once, passed_over, role_columns, texts
from noisylabels.data import arrays, image_table, parquet
from noisylabels.data.encoding import MOST_WORDS, Encoder
from noisylabels.data.feature_rows import Rows, id_place, ids_of, other_ids, sets_of
from noisylabels.data.features import FeatureSet
from noisylabels.data.image_formats import suffixes
from noisylabels.data.reader import Options, name_of
from noisylabels.data.sheets import Sheet, of_array, of_parquet, of_text, read_sheet
from noisylabels.data.split_tables import read_split_tables, split_tables
from noisylabels.data.splits import TRAIN, split_of
from noisylabels.data.text_columns import is_free_text

LAYOUT = (
    "NAME.csv or .tsv without a column of paths, or .parquet without one of images: columns of numbers and "
    "words, and one called label, class, target or y; a folder with train.csv and test.csv; or an .npz or "
    ".npy files of X (N, D) and y"
)

_MOST_NAMED = 20  # the most columns that an error names


@dataclass(frozen=True)
class TablePlan:
    """The plan of reading a table of features, without the cache, which is for pixels.

    Args:
        name: the name of the set.
        root: the folder or file that the user named.
        read: notes -> the training and the test set.
        notes: lines for the user in addition to those of the sets.
    """

    name: str
    root: Path
    read: Callable[[Sequence[str]], tuple[FeatureSet, FeatureSet]]
    notes: tuple[str, ...] = ()

    def load(self) -> tuple[FeatureSet, FeatureSet]:
        """Return training and test set; the training set has all notes."""
        return self.read(self.notes)


def find(path: Path) -> Path | None:
    """Return the table of features that `path` is or holds, or None, also if it cannot be read."""
    try:
        if (place := image_table.find(path)) is not None:
            return place if _has_numbers(split_tables(place)[TRAIN] if place.is_dir() else place) else None
        if place := parquet.find(path):
            return place if _has_columns(parquet.parquet_files(place)[0]) else None
        if (place := arrays.find(path)) is not None:
            return place if _is_flat(place) else None
    except InputError:
        pass
    return None


def _has_numbers(path: Path) -> bool:
    """Return whether a text table holds features: it has no column of paths and names no images."""
    rows = (cells for _, cells in read_cells(path) if any(cells))
    heading, first = next(rows, []), next(rows, [])
    if not heading or role_columns(heading, "path"):
        return False
    return not any(Path(cell).suffix.lower() in suffixes() for cell in (*heading, *first))


def _has_columns(file: Path) -> bool:
    with open_parquet(file) as opened:
        schema = opened.schema_arrow
    return not parquet.image_columns(schema) and not set(schema.names) & set(ROLES["image"])


def _is_flat(path: Path) -> bool:
    """Return whether the training arrays are rows of numbers rather than images."""
    chosen = arrays.choose_arrays(path)
    name = chosen.parts[0].images
    if chosen.files:
        return arrays.read_array(path, chosen.files, name)[0].ndim == 2
    try:
        with (
            open_file(path) as packed,
            zipfile.ZipFile(packed) as archive,
            archive.open(f"{name}.npy") as file,
        ):
            shape, _ = array_header(file, path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False
    return len(shape) == 2


def plan(path: Path, options: Options) -> TablePlan:
    """Plan to read a table of features.

    Columns of numbers are features unchanged, the words true and false are 1 and 0, and a column of few
    different words is one-hot encoded. A missing number becomes the median of the training part and is marked
    in an additional feature. Dates, constants and words that nearly all differ are left out, see `Encoder`.
    Free text is `FeatureSet.texts`: the column `options.text_column`, or else those with the length of
    sentences.
    The labels are in `options.label_column`, or else in a column with a name of the role label
    (`core.tables.ROLES`); they are words or integers. The ids are in `options.id_column`, or else in a
    column "id". A column of the role split divides the rows; without it a part is held out.

    Args:
        path: the path that `find` returned.
        options: see `Options`.

    Raises:
        InputError: an image size is set; later, on reading: the labels are missing, a label is missing or a
            measurement, there is a single class, or a cell is not a number (with its line).
    """
    if options.image_size is not None:
        raise InputError(
            f"{path} is a table of features and has no images; leave out the image size (--image-size)"
        )
    notes: tuple[str, ...] = ()
    if options.bad_images != "fail":
        notes = ("bad_images has no effect on a table of features",)
    if path.is_dir() and split_tables(path):
        name, rows = name_of(path), _of_split_tables
    elif path.is_file() and path.suffix.lower() in TEXT:
        name, rows = name_of(path.parent if path.stem.lower() in image_table.NAMELESS else path), _of_text
    elif parquet.parquet_files(path):
        name, rows = name_of(path), _of_parquet
    else:
        name, rows = arrays.name_of_arrays(path), _of_arrays

    def read(first: Sequence[str]) -> tuple[FeatureSet, FeatureSet]:
        all_notes = list(first)
        return sets_of(
            rows(path, options, all_notes),
            name,
            options.test_fraction,
            all_notes,
            lambda: rows(path, options, []).sheet,
            options.need_features,
        )

    return TablePlan(name, path, read, notes)


def _of_text(path: Path, options: Options, notes: list[str]) -> Rows:
    return labeled_rows(read_sheet(path), options, notes)


def _of_split_tables(path: Path, options: Options, notes: list[str]) -> Rows:
    found = read_split_tables(path, options.label_column, "features", "age,height,label")
    notes += found.notes
    rows = labeled_rows(of_text(found.table), options, notes)
    # the rows of two files have no single order
    return _in_parts(dataclasses.replace(rows, separate=len(found.parts) > 1), found.parts, found.sizes)


def _of_parquet(path: Path, options: Options, notes: list[str]) -> Rows:
    parts = parquet.choose_parts(path, notes)
    files = [file for _, group in parts for file in group]
    notes += parquet.notes_on_columns(files)
    found = labeled_rows(of_parquet(files), options, notes)
    found = dataclasses.replace(found, positions=parquet.positions_in(path, files))
    sizes = [sum(map(parquet.num_rows, group)) for _, group in parts]
    return _in_parts(found, [name for name, _ in parts], sizes)


def _in_parts(found: Rows, names: Sequence[str], sizes: Sequence[int]) -> Rows:
    """Return rows whose training and test part have these names and numbers of rows."""
    if len(names) == 1:
        return found
    numbered = [f"{name}:{row}" for name, size in zip(names, sizes, strict=True) for row in range(size)]
    named = found.id_column is not None or id_place(found.not_features) is not None
    keys = found.keys if named else numbered
    rows = np.arange(sum(sizes))
    return dataclasses.replace(found, keys=keys, parts=(rows[: sizes[0]], rows[sizes[0] :]))


def labeled_rows(sheet: Sheet, options: Options, notes: list[str]) -> Rows:
    """Return the rows of a sheet whose labels are in a column; see `plan` for the columns with a role."""
    id_column = options.id_column
    label, others = _label_column(sheet, options.label_column, notes)
    if sheet.written is not None:
        notes[:0] = padding_notes(sheet.written(label))
    keys, named = ids_of(sheet, notes, id_column, sheet.as_read(label))
    shown, not_features = [label, *named], [label, *others, *named]
    not_features += other_ids(sheet, named, notes, not_features)
    parts = None
    for name in (sheet.names[k] for k in role_columns(sheet.names, "split")):
        if name not in not_features and (parts := _parts(sheet, name, notes)) is not None:
            not_features.append(name)
            break
    return Rows(
        sheet,
        sheet.as_read(label),
        sheet.classes.get(label, ()),
        keys,
        parts,
        not_features,
        shown=shown,
        id_column=id_column,
        indexed=label in sheet.classes,
        text_column=options.text_column,
    )


def _label_column(sheet: Sheet, wanted: str | None, notes: list[str]) -> tuple[str, list[str]]:
    """Return the column of the labels, and other candidates, which are not features either."""
    lists = (name.removesuffix("[0]") for name in sheet.names if name.endswith("[0]"))  # see `of_table`
    held = dict(sheet.unfit) | {name: "lists of numbers" for name in lists if name not in sheet.names}
    if wanted is not None:
        name = parquet.check_column(wanted, [*sheet.names, *held], str(sheet.source))
        if name in held:
            raise _no_labels(sheet, name, held[name])
        return name, []
    found = [name for name in sheet.classes if name in sheet.names]
    named = [sheet.names[k] for k in role_columns(sheet.names, "label", "features")]
    if not found or any(name.lower() in PREFERENCES["features", "label"] for name in named):
        found += [name for name in named if name not in found]
    if not found and (unfit := role_columns(list(held), "label", "features")):
        name = list(held)[unfit[0]]
        raise _no_labels(sheet, name, held[name])
    if not found:
        more = ", ..." if len(sheet.names) > _MOST_NAMED else ""
        raise Unlabeled(
            f"{sheet.source} has no label column: its columns are {', '.join(sheet.names[:_MOST_NAMED])}"
            f"{more}; name it with --label-column (label_column=), or rename it to label; a table of images "
            "also needs a column of paths (path, file or image)"
        )
    check_once(sheet.names, sheet.names.index(found[0]), sheet.source)
    if len(found) > 1:
        notes.append(passed_over("label", found))
    return found[0], found[1:]


def _no_labels(sheet: Sheet, name: str, held: str) -> InputError:
    return InputError(f"{sheet.source}: the label column {name!r} holds {held}, expected words or integers")


def _parts(sheet: Sheet, name: str, notes: list[str]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the training and test rows according to a split column; None if it holds something else."""
    cells = texts(sheet[name])
    kinds = {cell: split_of(cell) for cell in set(cells)}
    words = [kinds[cell] for cell in cells]
    if None in words:
        if name.lower() != ROLES["split"][0]:
            if any(words):
                other = cells[words.index(None)]
                notes.append(
                    f"the column {name!r} is read as a feature, not as parts: "
                    f"it holds {other!r} beside train, test or val"
                )
            return None
        row = words.index(None)
        raise InputError(f"{sheet.where(row)}: the split is {cells[row]!r}, expected train, test or val")
    part = np.array(words, dtype=object)
    train, val, test = (np.flatnonzero(part == word) for word in ("train", "val", "test"))
    if not len(train):
        raise InputError(f"{sheet.source} has no training rows; add rows with {name} train")
    if len(val) and len(test):
        notes.append(f"ignored {len(val):,} validation rows")
    used = test if len(test) else val
    return (train, used) if len(used) else None


def _of_arrays(path: Path, options: Options, notes: list[str]) -> Rows:
    if options.label_column is not None:
        raise InputError(
            f"{path} holds arrays, which have no named columns; name the array of the labels y, and leave "
            "out --label-column"
        )
    for option in ("id_column", "text_column"):
        if getattr(options, option) is not None:
            flag = "--" + option.replace("_", "-")
            raise InputError(f"{path} holds arrays, which have no named columns; leave out {flag}")
    chosen = arrays.choose_arrays(path)
    notes += chosen.notes
    names: tuple[str, ...] = ()
    if chosen.class_names:
        names = arrays.class_names_of(*arrays.read_array(path, chosen.files, chosen.class_names))
    sheets, labels = [], []
    for part in chosen.parts:
        values, where = arrays.read_array(path, chosen.files, part.images)
        sheets.append(of_array(values, path, where))
        cells = arrays.one_each(*arrays.read_array(path, chosen.files, part.labels), "per row")
        if len(cells) != len(values):
            raise InputError(f"{path}: {part.labels} has {len(cells):,} labels for {len(values):,} rows")
        labels.append(cells)
    keys = arrays.ids_of(chosen, path, [len(cells) for cells in labels], "row", notes)
    if len(sheets) == 1:
        return Rows(sheets[0], labels[0], names, keys, None)
    widths = [len(sheet.names) for sheet in sheets]
    if widths[0] != widths[1]:
        raise InputError(
            f"{path}: training rows have {widths[0]} numbers and test rows {widths[1]}, expected the same"
        )
    first, rows = len(sheets[0]), np.arange(len(keys))
    joined = Sheet(
        path,
        sheets[0].names,
        [np.concatenate(pair) for pair in zip(sheets[0].columns, sheets[1].columns, strict=True)],
        lambda row: sheets[0].where(row) if row < first else sheets[1].where(row - first),
    )
    both = arrays.joined_labels(labels, path)
    return Rows(joined, both, names, keys, (rows[:first], rows[first:]), separate=True)


SAMPLE = 1000
"""Rows that `has_texts` reads."""


def has_texts(path: Path) -> bool:
    """Return whether the table of features that `path` is or holds has free text, by its first rows."""
    place = find(path)
    try:
        if place is not None and place.is_dir() and split_tables(place):
            place = split_tables(place)[TRAIN]
        if place is not None and place.suffix.lower() in TEXT:
            rows = itertools.islice((cells for _, cells in read_cells(place) if any(cells)), SAMPLE + 1)
            columns = [list(column) for column in zip(*list(rows)[1:], strict=False)]
        elif place is not None and (files := parquet.parquet_files(place)):
            with open_parquet(files[0]) as opened:
                batch = next(opened.iter_batches(SAMPLE), None)
            columns = [] if batch is None else [column.to_pylist() for column in batch.columns]
        else:
            return False
    except (InputError, OSError):
        return False
    return any(map(_many_texts, columns))


def _many_texts(values: list[Any]) -> bool:
    """Return whether a column's values are texts, most of which differ."""
    words = [value for value in values if isinstance(value, str) and value.strip()]
    different = len(set(words))
    many = different > MOST_WORDS or 2 * different > len(words)
    return many and is_free_text(np.array(words, dtype=object))


class NewRows(NamedTuple):
    """The rows of an unlabeled table: N ids, features, float32 (N, D), and N texts if the table has any."""

    ids: list[str]
    features: np.ndarray
    texts: list[str] | None


def read_rows(path: Path, encoder: Encoder, notes: list[str], id_column: str | None = None) -> NewRows:
    """Return the rows of an unlabeled table, encoded for a trained model.

    Args:
        path: .csv, .tsv, .parquet, .npy, or .npz with an array of rows such as X.
        encoder: the encoder of the training table.
        notes: see `Encoder.encode`.
        id_column: the column of ids; by default that of the training table if the user named it, else "id".

    Raises:
        InputError: the table cannot be read, has no rows, or has other columns than the training table.
    """
    array = path.suffix.lower() in (".npy", ".npz")
    sheet = of_array(*arrays.rows_of(path)) if array else read_sheet(path, keep_blank=True)
    if not len(sheet):
        raise InputError(f"{path} has no rows; add lines below the heading")
    known_ids = encoder.id_column if encoder.id_column in sheet.names else None
    ids, named = ids_of(sheet, notes, id_column or known_ids)
    # new rows may have ids although the training rows had none
    known = dataclasses.replace(encoder, ignored=(*encoder.ignored, *named))
    return NewRows(ids, known.encode(sheet, notes), known.texts_of(sheet))
