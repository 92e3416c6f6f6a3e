"""Image sets given as a CSV or TSV table of paths and labels."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError, Unlabeled
from noisylabels.core.delimited import SUFFIXES, read_cells
from noisylabels.core.labels import read_labels
from noisylabels.core.positions import NO_ORDER, Positions
from noisylabels.core.spelling import padding_notes
from noisylabels.core.tables import Table, find_column, need_column, read_text_table, role_columns
from noisylabels.data.corrections import plain_path
from noisylabels.data.file_sources import folders_in, image_names_in
from noisylabels.data.image_lists import Listing, drop_missing, listed_twice, plan_listing
from noisylabels.data.names import path_ids, unique_names
from noisylabels.data.parquet import check_column
from noisylabels.data.reader import LABELS, Options, Plan, name_of
from noisylabels.data.split_tables import read_split_tables, split_tables, tables_in
from noisylabels.data.splits import TRAIN, split_of

LAYOUT = (
    "NAME.csv or .tsv, itself or the only one in a folder, with columns path, label and optionally split; "
    "or a folder with train.csv and test.csv"
)

NAMELESS = ("labels", "label", "data", "index", "metadata", "images", "train")  # called after its folder


def find(path: Path) -> Path | None:
    """Return the table that `path` is, or the only one in it if that has the required columns, else None.

    A folder with one table per split, such as train.csv and test.csv, is returned itself.

    If the folder holds no other folders, the table is returned even without these columns: the folder can be
    in no other format, and the error should be about its table.
    """
    if path.is_file():
        return path if path.suffix.lower() in SUFFIXES else None
    if not path.is_dir():
        return None
    tables, place = tables_in(path), path
    if len(tables) == 1:
        place = tables[0]
    elif not (named := split_tables(path)):
        return None
    else:
        tables = [named[TRAIN]]
    if not folders_in(path):
        return place
    try:
        heading: list[str] = next((cells for _, cells in read_cells(tables[0]) if any(cells)), [])
    except InputError:
        return None
    return place if role_columns(heading, "path") and role_columns(heading, "label") else None


def plan(path: Path, options: Options) -> Plan:
    """Plan to read the images that a table names.

    The first line names the columns, with the roles path, label and optionally split (train, test or val in
    each row, in any spelling of `splits.split_of`); `core.tables.ROLES` has the accepted names. Paths are
    relative to the folder, and are the ids unless `options.id_column` names another column. Labels are the
    names of the classes, as they are written, see `core.labels`. The test rows, or else the validation rows,
    are for testing; without either, a part is held out. An image that several rows name is read for each of
    them, under ids such as a.png and a.png#2, with a note.

    Args:
        path: the table, or a folder with one table per split; cells are separated by tabs in a .tsv, else by
            commas or semicolons.
        options: see `Options`.

    Returns:
        The plan; notes name the columns that were ignored because several matched, and count the images that
        are listed twice.

    Raises:
        InputError: a column or a cell is missing, a label or split is invalid (with its line), there is a
            single class, or images are missing and may not be left out.
    """
    notes: list[str] = []
    base, lists, found = path.parent, [path], None
    if path.is_dir():
        found = read_split_tables(path, options.label_column, "", "path,label")
        base, lists = path, list(found.files)
        notes += found.notes
    table = found.table if found else read_text_table(path, columns="path,label")
    heading = table.names
    image = need_column(heading, "path", path, notes)
    if options.label_column is None:
        label = need_column(heading, "label", path, notes)
    else:
        label = heading.index(check_column(options.label_column, heading, str(path)))
    split = find_column(heading, "split", path, notes)
    images, words = image_names(table, image), table.cells(label).tolist()
    ids = ids_of_images(table, images, options.id_column, path, notes)
    plain = [plain_path(name, base) for name in images]
    notes += listed_twice(plain, path_ids(images)[0], table.row, words)
    splits = found.splits if found else ["train"] * len(words) if split is None else table.cells(split)
    kinds = {divided: split_of(divided) for divided in set(splits)}
    parts: dict[str, list[tuple[str, str, int]]] = {}  # image, label, row
    for row, (name, word, divided) in enumerate(zip(images, words, splits, strict=True)):
        where = table.where(row)
        if word.lower() in ("", "nan"):
            raise InputError(f"{where}: the label is missing; remove the line or give it a label")
        part = kinds[divided]
        if part is None:
            raise InputError(f"{where}: the split is {divided!r}, expected train, test or val")
        parts.setdefault(part, []).append((name, word, row))
    if "train" not in parts:
        raise InputError(
            f"{path} names no training images; add lines" + ("" if split is None else " with split train")
        )
    test = next((part for part in ("test", "val") if part in parts), None)
    if test == "test" and "val" in parts:
        notes.append(f"ignored {len(parts['val']):,} validation images")
    used = parts["train"] + (parts[test] if test else [])
    labels, names = _classes(path, [word for _, word, _ in used], lambda i: table.where(used[i][2]))
    if table.written is not None:
        notes[:0] = padding_notes(table.written(label))
    listing = Listing(
        base=base,
        names=[name for name, _, _ in used],
        labels=labels,
        class_names=names,
        num_train=len(parts["train"]) if test else None,
        positions=NO_ORDER
        if len(lists) > 1
        else Positions(np.array([row for _, _, row in used]), len(images)),
        ids=[ids[row] for _, _, row in used],
    )
    listing = drop_missing(listing, path.name, options, notes)
    notes += _unlisted(base, dict.fromkeys(plain), table)
    planned = plan_listing(
        listing,
        options,
        name=name_of(path.parent if path.is_file() and path.stem.lower() in NAMELESS else path),
        root=path,
        reader="table",
        lists=lists,
        notes=notes,
    )
    return dataclasses.replace(planned, options={**planned.options, "labels": LABELS, **options.columns})


def image_names(table: Table, place: int) -> list[str]:
    """Return the cells of the column of paths, or raise an `InputError` if one is empty."""
    names: list[str] = table.cells(place).tolist()
    if "" in names:
        raise InputError(
            f"{table.where(names.index(''))}: the cell of {table.names[place]!r} is empty; name an image or "
            "remove the line"
        )
    return names


def ids_of_images(
    table: Table, images: Sequence[str], id_column: str | None, path: Path, notes: list[str]
) -> list[str]:
    """Return a different id per row of a table of images: its path, or its cell in a column of ids.

    Args:
        table: the table.
        images: the paths of its rows.
        id_column: the column of the ids; None for the paths.
        path: the file or folder that the user named.
        notes: receives a line on ids that occur again.
    """
    if id_column is None:
        return path_ids(images)[0]
    cells = table.cells(table.names.index(check_column(id_column, table.names, str(path), "id"))).tolist()
    if "" in cells:
        raise InputError(f"{table.where(cells.index(''))}: the id is missing; give the image one")
    ids, again = unique_names(cells)
    if again:
        notes.append(f"{len(again):,} ids occur again, first {ids[again[0]]} ({table.row(again[0])})")
    return ids


def _unlisted(base: Path, listed: Collection[str], table: Table) -> list[str]:
    """Return a note on the images beside the listed ones that no row names, not searching below."""
    count, some = 0, ""
    for folder in sorted({os.path.dirname(name) for name in listed}):
        place = base / folder
        if not place.is_dir():
            continue
        for name in image_names_in(place):
            path = os.path.join(folder, name)
            if path not in listed:
                count, some = count + 1, some or path
    if not count:
        return []
    what = "1 image" if count == 1 else f"{count:,} images"
    what += f" beside the listed ones {'is' if count == 1 else 'are'}"
    return [f"{what} not in {table.source.name}, first {some}"]


def _classes(path: Path, words: list[str], where: Callable[[int], str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the labels as class numbers, and the class names."""
    found = read_labels(np.array(words, dtype=object), where=where, what=f"the labels of {path}")
    names = found.class_names
    if len(names) == 1:
        raise Unlabeled(f"{path} has a single class, {names[0]!r}; a classifier needs 2")
    return found.codes, names
