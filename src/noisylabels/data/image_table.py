"""Image sets given as a CSV or TSV table of paths and labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.delimited import SUFFIXES, read_cells
from noisylabels.core.labels import read_labels
from noisylabels.core.positions import Positions
from noisylabels.core.spelling import padding_notes
from noisylabels.core.tables import find_column, need_column, read_text_table, role_columns
from noisylabels.data.file_sources import folders_in
from noisylabels.data.image_lists import Listing, drop_missing, plan_listing
from noisylabels.data.parquet import check_column
from noisylabels.data.reader import LABELS, Options, Plan, name_of

LAYOUT = "NAME.csv or .tsv, itself or the only one in a folder, with columns path, label and optionally split"

PARTS = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "val", "valid": "val", "validation": "val",
}  # fmt: skip
NAMELESS = ("labels", "label", "data", "index", "metadata", "images", "train")  # called after its folder


def find(path: Path) -> Path | None:
    """Return the table that `path` is, or the only one in it if that has the required columns, else None.

    If the folder holds no other folders, the table is returned even without these columns: the folder can be
    in no other format, and the error should be about its table.
    """
    if path.is_file():
        return path if path.suffix.lower() in SUFFIXES else None
    if not path.is_dir():
        return None
    tables = [file for file in sorted(path.iterdir()) if file.suffix.lower() in SUFFIXES and file.is_file()]
    if len(tables) != 1:
        return None
    if not folders_in(path):
        return tables[0]
    try:
        heading: list[str] = next((cells for _, cells in read_cells(tables[0]) if any(cells)), [])
    except InputError:
        return None
    return tables[0] if role_columns(heading, "path") and role_columns(heading, "label") else None


def plan(path: Path, options: Options) -> Plan:
    """Plan to read the images that a table names.

    The first line names the columns, with the roles path, label and optionally split (train, test or val in
    each row); `core.tables.ROLES` has the accepted names. Paths are relative to the folder. Labels are
    the names of the classes, as they are written, see `core.labels`. The test rows, or else the validation
    rows, are for testing; without either, a part is held out.

    Args:
        path: the table; cells are separated by tabs in a .tsv, else by commas or semicolons.
        options: see `Options`.

    Returns:
        The plan; a note names the columns that were ignored because several matched.

    Raises:
        InputError: a column or a cell is missing, a label or split is invalid (with its line), there is a
            single class, or images are missing and may not be left out.
    """
    notes: list[str] = []
    table = read_text_table(path, columns="path,label")
    heading = table.names
    image = need_column(heading, "path", path, notes)
    if options.label_column is None:
        label = need_column(heading, "label", path, notes)
    else:
        label = heading.index(check_column(options.label_column, heading, str(path)))
    split = find_column(heading, "split", path, notes)
    images, words = (table.cells(k) for k in (image, label))
    splits = ["train"] * len(words) if split is None else table.cells(split)
    parts: dict[str, list[tuple[str, str, int]]] = {}  # image, label, row
    for row, (name, word, divided) in enumerate(zip(images, words, splits, strict=True)):
        where = table.where(row)
        if not name:
            raise InputError(
                f"{where}: the cell of {heading[image]!r} is empty; name an image or remove the line"
            )
        if word.lower() in ("", "nan"):
            raise InputError(f"{where}: the label is missing; remove the line or give it a label")
        part = PARTS.get(divided.lower())
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
        base=path.parent,
        names=[name for name, _, _ in used],
        labels=labels,
        class_names=names,
        num_train=len(parts["train"]) if test else None,
        positions=Positions(np.array([row for _, _, row in used]), len(images)),
    )
    planned = plan_listing(
        drop_missing(listing, path.name, options, notes),
        options,
        name=name_of(path.parent if path.stem.lower() in NAMELESS else path),
        root=path,
        reader="table",
        lists=[path],
        notes=notes,
    )
    column = {} if options.label_column is None else {"label_column": options.label_column}
    return dataclasses.replace(planned, options={**planned.options, "labels": LABELS, **column})


def _classes(path: Path, words: list[str], where: Callable[[int], str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the labels as class numbers, and the class names."""
    found = read_labels(np.array(words, dtype=object), where=where, what=f"the labels of {path}")
    names = found.class_names
    if len(names) == 1:
        raise InputError(f"{path} has a single class, {names[0]!r}; a classifier needs 2")
    return found.codes, names
