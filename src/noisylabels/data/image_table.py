"""A table of paths and labels: CSV or TSV with a heading."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from noisylabels.core.cells import SUFFIXES, read_cells
from noisylabels.core.checks import InputError
from noisylabels.data.file_sources import folders_in
from noisylabels.data.image_lists import Listing, drop_missing, plan_listing
from noisylabels.data.parquet import check_column
from noisylabels.data.reader import Options, Plan, name_of, number_classes

PATH_COLUMNS = (
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
LABEL_COLUMNS = ("label", "class", "target", "class_name")
SPLIT_COLUMNS = ("split", "part", "subset")
LAYOUT = "NAME.csv or .tsv, itself or alone in its folder, with the columns path, label and, if wanted, split"

PARTS = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "val", "valid": "val", "validation": "val",
}  # fmt: skip
NUMBER = re.compile(
    r"([+-]?\d{1,18})(\.0*)?", re.ASCII
)  # "3.0" is how a column of numbers with a gap in it is written
NAMELESS = ("labels", "label", "data", "index", "metadata", "images", "train")  # the folder says more


def find(path: Path) -> Path | None:
    """Return the table that `path` is, or that is the only one in it and has the columns of one.

    One without them is given too where there are no folders beside it: the folder can be nothing else, and
    what is wrong with its table is the thing to say.
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
        _, heading = next(_rows(tables[0]))
    except InputError:
        return None
    return tables[0] if _column(heading, PATH_COLUMNS) and _column(heading, LABEL_COLUMNS) else None


def plan(path: Path, options: Options) -> Plan:
    """Plan to read the images that a table names.

    The first line names the columns: one of `PATH_COLUMNS`, one of `LABEL_COLUMNS` and, if wanted, one of
    `SPLIT_COLUMNS` with train, test or val in each row. Paths are relative to the table's folder. If all
    labels are whole numbers they are class numbers, which count from 0; else they are the names of classes,
    which are sorted. Without rows for testing (or, failing that, for validation) a part is held out.

    Args:
        path: the table; fields are separated by tabs in a .tsv, else by commas or semicolons.
        options: see `Options`.

    Returns:
        The plan; a note says which columns were passed over where several would do.

    Raises:
        InputError: a column or a cell is missing, a label or split cannot be used (with the line's number),
            there is a single class, or images are missing and not to be left out.
    """
    notes: list[str] = []
    rows = _rows(path)
    _, heading = next(rows)
    image = _needed(path, heading, PATH_COLUMNS, "paths", notes)
    if options.label_column is None:
        label = _needed(path, heading, LABEL_COLUMNS, "labels", notes)
    else:
        label = heading.index(check_column(options.label_column, heading, str(path)))
    split = _column(heading, SPLIT_COLUMNS)
    parts: dict[str, list[tuple[str, str, int]]] = {}  # image, label, line
    for line, cells in rows:
        where = f"{path}, line {line}"
        if len(cells) != len(heading):
            raise InputError(f"{where}: {len(cells)} cells, but the heading has {len(heading)}")
        if not cells[image]:
            raise InputError(
                f"{where}: the cell of {heading[image]!r} is empty; name an image or remove the line"
            )
        if cells[label].lower() in ("", "nan"):
            raise InputError(f"{where}: the label is missing; remove the line or give it a label")
        part = PARTS.get(cells[split[0]].lower()) if split else "train"
        if part is None:
            raise InputError(f"{where}: the split is {cells[split[0]]!r}, expected train, test or val")
        parts.setdefault(part, []).append((cells[image], cells[label], line))
    if "train" not in parts:
        raise InputError(
            f"{path} names no image for training; add lines" + (" with split train" if split else "")
        )
    test = next((part for part in ("test", "val") if part in parts), None)
    if test == "test" and "val" in parts:
        notes.append(f"ignored {len(parts['val']):,} images for validation")
    used = parts["train"] + (parts[test] if test else [])
    labels, names = _classes(path, [word for _, word, _ in used], [line for _, _, line in used])
    listing = Listing(
        base=path.parent,
        names=[name for name, _, _ in used],
        labels=labels,
        class_names=names,
        num_train=len(parts["train"]) if test else None,
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
    if options.label_column is None:
        return planned
    return dataclasses.replace(planned, options={**planned.options, "label_column": options.label_column})


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Give line number and cells of each row that is not empty, the heading first."""
    found = False
    for number, cells in read_cells(path):
        if any(cells):
            found = True
            yield number, cells
    if not found:
        raise InputError(f"{path} is empty; expected a heading such as path,label and a line an image")


def _column(heading: list[str], known: tuple[str, ...]) -> list[int]:
    """Return where the columns of a kind are, those with the first names first."""
    lower = [name.lower() for name in heading]
    return [lower.index(name) for name in known if name in lower]


def _needed(path: Path, heading: list[str], known: tuple[str, ...], what: str, notes: list[str]) -> int:
    found = _column(heading, known)
    if not found:
        raise InputError(
            f"{path} has no column of {what}: its first line is {', '.join(heading)}; "
            f"call one {', '.join(known[:3])}"
        )
    if len(found) > 1:
        ignored = ", ".join(repr(heading[k]) for k in found[1:])
        notes.append(f"{what} are those of the column {heading[found[0]]!r}, {ignored} ignored")
    return found[0]


def _classes(path: Path, words: list[str], lines: list[int]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return class numbers and names of the classes."""
    numbers = [NUMBER.fullmatch(word) for word in words]
    if all(numbers):
        values = np.array([int(found[1]) for found in numbers if found], dtype=np.int64)
        labels, names = number_classes(values, (), lambda row: f"{path}, line {lines[row]}")
    else:
        names = tuple(sorted(set(words)))
        number = {name: k for k, name in enumerate(names)}
        labels = np.array([number[word] for word in words], dtype=np.int64)
    if len(names) == 1:
        raise InputError(f"{path} has a single class, {names[0]!r}; a classifier needs 2")
    return labels, names
