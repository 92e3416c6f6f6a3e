"""Sets without labels, for what needs none: every example has the class "all"."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.delimited import SUFFIXES as TEXT
from noisylabels.core.tables import find_column, read_text_table
from noisylabels.data import parquet
from noisylabels.data.cache import load_cached
from noisylabels.data.feature_rows import Rows, ids_of, sets_of
from noisylabels.data.features import Examples
from noisylabels.data.file_sources import PassedOver, names_below
from noisylabels.data.image_files import image_files, load_image_files
from noisylabels.data.image_table import ids_of_images, image_names
from noisylabels.data.in_memory import is_texts
from noisylabels.data.object_sets import whole_in_memory
from noisylabels.data.reader import Options, check_no_column, check_no_text, name_of
from noisylabels.data.sheets import Sheet, read_sheet

CLASSES = ("all", "(none)")
"""The classes of a set without labels: a set has two or more, and the second has no example."""


def is_bare(source: Any) -> bool:
    """Return whether an object is texts, paths of images, or an array of images, and nothing more.

    >>> is_bare(["a text", "another"]), is_bare((["a text"], ["u"])), is_bare("photos")
    (True, False, False)
    """
    if isinstance(source, (str, os.PathLike)):
        return False
    pixels = getattr(source, "ndim", 0) in (3, 4) and str(getattr(source, "dtype", "")).endswith("uint8")
    return pixels or is_texts(source) or image_files(source) is not None


def load_unlabeled(source: Any, options: Options) -> tuple[Examples, ...]:
    """Return the examples of a source without labels of two classes, in one set or two.

    Args:
        source: a folder of images at any depth; a .csv, .tsv or .parquet with texts, or with paths of images;
            Parquet files of images; or an object of `is_bare`.
        options: see `Options`; a column of labels is left out.

    Raises:
        InputError: no images or rows were found, or they cannot be read.
    """
    parts = _load(source, options)
    notes = tuple(line for line in parts[0].notes if CLASSES[1] not in line)
    return (dataclasses.replace(parts[0], notes=notes), *parts[1:])


def _load(source: Any, options: Options) -> tuple[Examples, ...]:
    if is_bare(source):
        return (whole_in_memory(source, options, labels=np.zeros(len(source), int), class_names=CLASSES),)
    path = Path(source).expanduser()
    if parquet.holds_images(path):
        check_no_text(options, str(path))
        return load_cached(parquet.plan(path, options, CLASSES), options.progress)
    if path.is_dir():
        check_no_column(options, f"the folder {path}")
        passed = PassedOver()
        names = sorted(names_below(path, passed))
        return _of_files([str(path / name) for name in names], names, options, passed.notes(), name_of(path))
    notes: list[str] = []
    if path.suffix.lower() in TEXT:
        table = read_text_table(path, columns="path")
        if (place := find_column(table.names, "path", path, notes)) is not None:
            check_no_text(options, str(path))
            names = image_names(table, place)
            ids = ids_of_images(table, names, options.id_column, path, notes)
            files = [str(path.parent / name) for name in names]
            return _of_files(files, ids, options, notes, name_of(path), table.row)
    return _of_rows(read_sheet(path, keep_blank=True), options, notes)


def _of_files(
    files: list[str],
    ids: list[str],
    options: Options,
    notes: list[str],
    name: str,
    row: Callable[[int], str] = "row {}".format,
) -> tuple[Examples, ...]:
    if len(files) < 2:
        raise InputError(f"got {len(files)} images, expected 2 or more")
    labels = np.zeros(len(files), dtype=np.int64)
    train, test = load_image_files([files], labels, CLASSES, options, ids, name, row)
    return dataclasses.replace(train, notes=(*notes, *train.notes)), test


def _of_rows(sheet: Sheet, options: Options, notes: list[str]) -> tuple[Examples, ...]:
    ids, named = ids_of(sheet, notes, options.id_column)
    labels = [] if options.label_column is None else [options.label_column]
    rows = Rows(
        sheet,
        np.zeros(len(sheet), dtype=np.int64),
        CLASSES,
        ids,
        None,
        [*named, *labels],
        shown=named,
        id_column=options.id_column,
        indexed=True,
        text_column=options.text_column,
    )
    return sets_of(rows, sheet.source.stem, options.test_fraction, notes)
