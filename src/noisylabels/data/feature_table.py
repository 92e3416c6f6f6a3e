"""A table of numbers: rows of features with labels, in CSV, TSV, Parquet without images, or NumPy arrays."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.columnar import open_parquet
from noisylabels.core.delimited import SUFFIXES as TEXT
from noisylabels.core.delimited import read_cells
from noisylabels.core.tables import PREFERENCES, ROLES, check_once, passed_over, role_columns, texts
from noisylabels.data import arrays, file_sources, image_table, parquet
from noisylabels.data.encoding import Encoder
from noisylabels.data.feature_rows import Rows, id_place, ids_of, sets_of
from noisylabels.data.features import FeatureSet
from noisylabels.data.reader import Options, name_of
from noisylabels.data.sheets import Sheet, of_array, of_parquet, read_sheet

LAYOUT = (
    "NAME.csv or .tsv without a column of paths, .parquet without one of images: columns of numbers and "
    "words, and one called label, class, target or y; or an .npz or .npy files of X (N, D) and y"
)

_MOST_NAMED = 20  # columns that an error names


@dataclass(frozen=True)
class TablePlan:
    """What was found of a table of numbers; it is read directly, without the cache, which is for pixels.

    Args:
        name: what to call the set.
        root: the folder or file that the user named.
        read: gives the training and the test set.
        notes: what the user should know beside what the sets say.
    """

    name: str
    root: Path
    read: Callable[[Sequence[str]], tuple[FeatureSet, FeatureSet]]
    notes: tuple[str, ...] = ()

    def load(self) -> tuple[FeatureSet, FeatureSet]:
        """Read the sets; all notes are on the training set."""
        return self.read(self.notes)


def find(path: Path) -> Path | None:
    """Return the table of numbers that `path` is, or holds; what cannot be read is left to other formats."""
    try:
        if (place := image_table.find(path)) is not None:
            return place if _has_numbers(place) else None
        if place := parquet.find(path):
            return place if _has_columns(parquet.parquet_files(place)[0]) else None
        if (place := arrays.find(path)) is not None:
            return place if _is_flat(place) else None
    except InputError:
        pass
    return None


def _has_numbers(path: Path) -> bool:
    """Return whether a table in text is one of numbers: it has no column of paths, and names no image."""
    rows = (cells for _, cells in read_cells(path) if any(cells))
    heading, first = next(rows, []), next(rows, [])
    if not heading or role_columns(heading, "path"):
        return False
    return not any(Path(cell).suffix.lower() in file_sources.SUFFIXES for cell in (*heading, *first))


def _has_columns(file: Path) -> bool:
    with open_parquet(file) as opened:
        schema = opened.schema_arrow
    return not parquet.image_columns(schema) and not set(schema.names) & set(ROLES["image"])


def _is_flat(path: Path) -> bool:
    """Return whether the arrays that training would take are rows of numbers instead of images."""
    chosen = arrays.choose_arrays(path)
    name = chosen.parts[0].images
    if chosen.files:
        return arrays.read_array(path, chosen.files, name)[0].ndim == 2
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0
            shape, _, _ = (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return False
    return len(shape) == 2


def plan(path: Path, options: Options) -> TablePlan:
    """Plan to read a table of numbers.

    Columns of numbers are features as they are, words true and false are 1 and 0, a column of few words
    becomes a feature a word, a missing cell the median of the training part, with a feature that says so;
    dates, constants, and words that nearly all differ are left out, see `Encoder`. The column of the labels
    is that of `options.label_column`, else one with a name of the role label (`core.tables.ROLES`); labels
    are words or whole numbers. A column "id" names the rows, one of the role split divides them; without it a
    part is held out.

    Args:
        path: what `find` gave.
        options: see `Options`.

    Raises:
        InputError: an image size is asked for; later, when it is read: no labels, a label that is missing or
            measures something, a single class, a cell that is no number (with the line's number).
    """
    if options.image_size is not None:
        raise InputError(
            f"{path} is a table of numbers and has no images; leave out the image size (--image-size)"
        )
    notes: tuple[str, ...] = ()
    if options.bad_images != "fail":
        notes = ("bad_images changes nothing: this is a table of numbers",)
    if path.is_file() and path.suffix.lower() in TEXT:
        name, rows = name_of(path.parent if path.stem.lower() in image_table.NAMELESS else path), _of_text
    elif parquet.parquet_files(path):
        name, rows = name_of(path), _of_parquet
    else:
        name, rows = arrays.name_of_arrays(path), _of_arrays

    def read(told: Sequence[str]) -> tuple[FeatureSet, FeatureSet]:
        mine = list(told)
        return sets_of(rows(path, options.label_column, mine), name, options.test_fraction, mine)

    return TablePlan(name, path, read, notes)


def _of_text(path: Path, label_column: str | None, notes: list[str]) -> Rows:
    return _of_columns(read_sheet(path), label_column, notes)


def _of_parquet(path: Path, label_column: str | None, notes: list[str]) -> Rows:
    parts = parquet.choose_parts(path, notes)
    found = _of_columns(of_parquet([file for _, group in parts for file in group]), label_column, notes)
    if len(parts) == 1:
        return found
    sizes = [sum(map(parquet.num_rows, group)) for _, group in parts]
    numbered = [f"{name}:{row}" for (name, _), size in zip(parts, sizes, strict=True) for row in range(size)]
    keys = numbered if id_place(found.not_features) is None else found.keys
    rows = np.arange(sum(sizes))
    return dataclasses.replace(found, keys=keys, parts=(rows[: sizes[0]], rows[sizes[0] :]))


def _of_columns(sheet: Sheet, label_column: str | None, notes: list[str]) -> Rows:
    label, others = _label_column(sheet, label_column, notes)
    keys, named = ids_of(sheet)
    not_features = [label, *others, *named]
    parts = None
    for name in (sheet.names[k] for k in role_columns(sheet.names, "split")):
        if name not in not_features and (parts := _parts(sheet, name, notes)) is not None:
            not_features.append(name)
            break
    return Rows(sheet, sheet[label], sheet.classes.get(label, ()), keys, parts, not_features)


def _label_column(sheet: Sheet, wanted: str | None, notes: list[str]) -> tuple[str, list[str]]:
    """Return the column of the labels, and others that would have done and so are no features."""
    if wanted is not None:
        name = parquet.check_column(wanted, [*sheet.names, *sheet.unfit], str(sheet.source))
        if name in sheet.unfit:
            raise InputError(
                f"{sheet.source}: the column {name!r} of labels is of {sheet.unfit[name]}, expected words or "
                "whole numbers"
            )
        return name, []
    found = [name for name in sheet.classes if name in sheet.names]
    named = [sheet.names[k] for k in role_columns(sheet.names, "label", "features")]
    if not found or any(name.lower() in PREFERENCES["features", "label"] for name in named):
        found += [name for name in named if name not in found]
    if not found:
        more = ", ..." if len(sheet.names) > _MOST_NAMED else ""
        raise InputError(
            f"{sheet.source} has no column of labels: its columns are {', '.join(sheet.names[:_MOST_NAMED])}"
            f"{more}; name the one of the labels by --label-column (label_column=), or call it label; if "
            "it is a table of images, it has no column of paths (called path, file or image) either"
        )
    check_once(sheet.names, sheet.names.index(found[0]), sheet.source)
    if len(found) > 1:
        notes.append(passed_over("label", found))
    return found[0], found[1:]


def _parts(sheet: Sheet, name: str, notes: list[str]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the rows for training and testing by a column that divides; None if it holds something else."""
    words = [image_table.PARTS.get(cell.lower()) for cell in texts(sheet[name])]
    if None in words:
        if name.lower() != ROLES["split"][0]:
            return None
        row = words.index(None)
        raise InputError(
            f"{sheet.where(row)}: the split is {texts(sheet[name])[row]!r}, expected train, test or val"
        )
    part = np.array(words, dtype=object)
    train, val, test = (np.flatnonzero(part == word) for word in ("train", "val", "test"))
    if not len(train):
        raise InputError(f"{sheet.source} has no row for training; add rows with {name} train")
    if len(val) and len(test):
        notes.append(f"ignored {len(val):,} rows for validation")
    used = test if len(test) else val
    return (train, used) if len(used) else None


def _of_arrays(path: Path, label_column: str | None, notes: list[str]) -> Rows:
    if label_column is not None:
        raise InputError(
            f"{path} holds arrays, which have no columns with names; call the array of the labels y, and "
            "leave out --label-column"
        )
    chosen = arrays.choose_arrays(path)
    notes += chosen.notes
    names: tuple[str, ...] = ()
    if chosen.named:
        names = arrays.class_names_of(*arrays.read_array(path, chosen.files, arrays.CLASS_NAMES))
    sheets, labels, keys = [], [], []
    for part in chosen.parts:
        values, where = arrays.read_array(path, chosen.files, part.images)
        sheets.append(of_array(values, path, where))
        cells = arrays.one_each(*arrays.read_array(path, chosen.files, part.labels), "a row")
        if len(cells) != len(values):
            raise InputError(f"{path}: {part.labels} has {len(cells):,} labels for {len(values):,} rows")
        if cells.dtype.kind not in "iufbU":
            raise InputError(f"{path}: {part.labels} holds {cells.dtype}, expected whole numbers or text")
        labels.append(texts(cells))
        keys += [f"{part.name if len(chosen.parts) > 1 else 'row'}:{row}" for row in range(len(cells))]
    if len(sheets) == 1:
        return Rows(sheets[0], labels[0], names, keys, None)
    widths = [len(sheet.names) for sheet in sheets]
    if widths[0] != widths[1]:
        raise InputError(f"{path}: rows of {widths[0]} numbers for training and of {widths[1]} for testing")
    first, rows = len(sheets[0]), np.arange(len(keys))
    joined = Sheet(
        path,
        sheets[0].names,
        [np.concatenate(pair) for pair in zip(sheets[0].columns, sheets[1].columns, strict=True)],
        lambda row: sheets[0].where(row) if row < first else sheets[1].where(row - first),
    )
    return Rows(joined, np.concatenate(labels), names, keys, (rows[:first], rows[first:]))


def read_rows(path: Path, encoder: Encoder, notes: list[str]) -> tuple[list[str], np.ndarray]:
    """Return ids and features, float32 (N, D), of the rows of a table without labels, for a trained model.

    Args:
        path: .csv, .tsv, .parquet, or .npy, or .npz with an array of rows such as X.
        encoder: of the training table.
        notes: see `Encoder.encode`.

    Raises:
        InputError: what cannot be read, has no rows, or has other columns than the training table.
    """
    array = path.suffix.lower() in (".npy", ".npz")
    sheet = of_array(*arrays.rows_of(path)) if array else read_sheet(path)
    if not len(sheet):
        raise InputError(f"{path} has no rows; add lines below the heading")
    ids, named = ids_of(sheet)
    # new rows may have ids where those of training had none
    known = dataclasses.replace(encoder, ignored=(*encoder.ignored, *named))
    return ids, known.encode(sheet, notes)
