"""Corrected labels: a file of ids and labels that replace the labels of a set."""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.core.files import check_file
from noisylabels.core.labels import INTEGER
from noisylabels.core.tables import TABLES, Table, check_once, need_column, read_table, texts
from noisylabels.core.written_names import named_by
from noisylabels.data.features import Examples, subset_of, with_labels

LEFT_OUT = -1
"""The class number of an example to leave out, whose label is empty in the file."""

_COMPARED = 100_000  # the most ids with which an unknown one is compared to suggest the nearest


@dataclass(frozen=True)
class Corrections:
    """The corrected labels of a file, by id.

    Args:
        labels: id -> class number, or `LEFT_OUT`.
        rows: id -> row of the table, from 0.
        table: the file.
        notes: lines on columns that were ignored because several matched.
    """

    labels: Mapping[str, int]
    rows: Mapping[str, int]
    table: Table
    notes: tuple[str, ...] = ()

    def where(self, name: str) -> str:
        """Return the file and the line of an id: "fixed.csv, line 3"."""
        return self.table.where(self.rows[name])

    def row(self, name: str) -> str:
        """Return the line of an id: "line 3"."""
        return self.table.row(self.rows[name])


def read_corrections(
    path: str | Path, class_names: Sequence[str], id_column: str | None = None
) -> Corrections:
    """Read a file of corrected labels.

    Args:
        path: `.csv`, `.tsv` (the first line names the columns) or `.parquet`, with a column of the role id
            and one of the role label, see `core.tables.ROLES`. A label is the name of a class; "3.0" or
            "03" also stand for a class "3", and "TRUE" for "True", as spreadsheets write them, unless
            several classes could be meant. An example with an empty label is left out.
        class_names: the K names.
        id_column: the column of the ids in the data, if the user named it; if the file has a column of this
            name, it holds the ids.

    Returns:
        The labels.

    Raises:
        InputError: the file or a column does not exist, there are no rows, a class is unknown, or an id has
            two labels; the message names the line.
    """
    path = Path(path).expanduser()
    check_file(path)
    if path.suffix.lower() not in TABLES:
        raise InputError(
            f"{path} is not a file of labels: expected .csv, .tsv or .parquet with columns such as id,label"
        )
    table, notes = read_table(path), list[str]()
    if id_column in table.names:
        key = table.names.index(id_column)
        check_once(table.names, key, path)
    else:
        key = need_column(table.names, "id", path, notes)
    column = need_column(table.names, "label", path, notes)
    number = class_finder(class_names)
    labels: dict[str, int] = {}
    rows: dict[str, int] = {}
    found = Corrections(labels, rows, table, tuple(notes))
    names = table.cells(key)
    words = texts(table.cells(column)) if table.written is None else table.written(column)
    for row, (name, word) in enumerate(zip(texts(names), words, strict=True)):
        if name == "" or (name == "nan" and names.dtype.kind == "f"):
            raise InputError(f"{table.where(row)}: the id is empty; name an example or remove the line")
        label = number(word)
        if label is None:
            raise InputError(
                f"{table.where(row)}: unknown class {word.strip()!r}{did_you_mean(word.strip(), class_names)}"
            )
        if labels.get(name, label) != label:
            raise InputError(
                f"{table.where(row)}: {name!r} has another label in {found.row(name)}; keep one of them"
            )
        labels[name] = label
        rows.setdefault(name, row)
    if not labels:
        raise InputError(f"{path} has no rows; expected one line per example below the heading")
    return found


def settled(found: Corrections, ids: Iterable[str], folder: str | Path | None = None) -> dict[str, int]:
    """Return the labels by the ids of a set; the file may write paths in other ways.

    Args:
        found: the labels by the names in the file.
        ids: all ids of the data, training and test part.
        folder: the folder of the data; a path may be absolute below it, or begin with "./".

    Raises:
        InputError: the data does not have an id, or an example has two labels.
    """
    known = set(ids)
    names = list(found.labels)
    paths = named_by([plain_path(name, folder) for name in names], known)
    labels: dict[str, int] = {}
    named: dict[str, str] = {}
    unknown: list[str] = []
    for name, exact, path in zip(names, named_by(names, known), paths, strict=True):
        own, label = path if exact is None else exact, found.labels[name]
        if own is None:
            unknown.append(name)
        elif labels.get(own, label) != label:
            raise InputError(
                f"{found.where(name)}: {name!r} has another label in {found.row(named[own])}, as "
                f"{named[own]!r}; keep one of them"
            )
        else:
            labels[own] = label
            named.setdefault(own, name)
    if unknown:
        first = unknown[0]
        raise InputError(
            f"{found.where(first)}: there is no example {first!r} in the data"
            + (f" (nor {len(unknown) - 1:,} others of the file)" if len(unknown) > 1 else "")
            + _nearest(first, known)
        )
    return labels


def left_out(found: Corrections, folder: str | Path | None = None) -> list[str]:
    """Return the ids of the examples without a label, which no set has any more; `folder` as in `settled`."""
    names = [name for name, label in found.labels.items() if label == LEFT_OUT]
    return [
        plain_path(name, folder) if os.path.isabs(name) or name.startswith("./") else name for name in names
    ]


def corrected(examples: Examples, labels: Mapping[str, int]) -> Examples:
    """Return a set with corrected labels and without the examples to leave out.

    Args:
        examples: an `ImageSet` or a `FeatureSet`.
        labels: id -> class number, or `LEFT_OUT`; other examples stay unchanged, and ids that the set does
            not have are ignored.

    Returns:
        The set, in the same order; itself if nothing changes.

    Raises:
        InputError: a label is out of range, or no example would be left.

    >>> import torch
    >>> from noisylabels.data.images import image_set
    >>> pair = image_set(torch.zeros(2, 3, 4, 4, dtype=torch.uint8), [0, 1], ("cat", "dog"))
    >>> corrected(pair, {"1": 0}).labels.tolist(), list(corrected(pair, {"0": LEFT_OUT}).ids)
    ([0, 0], ['1'])
    """
    old = examples.labels.numpy()
    new = np.fromiter(
        (labels.get(name, label) for name, label in zip(examples.ids, old.tolist(), strict=True)),
        dtype=np.int64,
        count=len(examples),
    )
    kept = np.flatnonzero(new != LEFT_OUT)
    if not len(kept):
        raise InputError(f"the corrected labels leave out all {len(examples):,} examples of {examples.name}")
    if len(kept) == len(new) and (new == old).all():
        return examples
    # images may be memory-mapped: they are not copied unless some are left out
    rest = examples if len(kept) == len(new) else subset_of(examples, kept)
    return dataclasses.replace(with_labels(rest, new[kept]), arranged=examples.arranged)


def class_finder(class_names: Sequence[str]) -> Callable[[str], int | None]:
    """Return a function from a cell to the number of the class that it names, or None.

    >>> find = class_finder(["01", "2", "2.0", "True", "cat "])
    >>> [find(cell) for cell in ("01", "1", "2", "02", "TRUE", "cat", "")]
    [0, 0, 1, None, 3, 4, -1]
    """
    exact = {name: k for k, name in enumerate(class_names)}
    ways = Counter(map(_loosely, class_names))
    loose = {key: k for k, name in enumerate(class_names) if ways[key := _loosely(name)] == 1}

    def find(cell: str) -> int | None:
        if cell in exact:
            return exact[cell]
        if (bare := cell.strip()) in exact:
            return exact[bare]
        return LEFT_OUT if bare.lower() in ("", "nan") else loose.get(_loosely(cell))

    return find


def _loosely(word: str) -> str | int:
    """Return what a spreadsheet may have rewritten: a number without its form, a truth value without case."""
    bare = word.strip()
    if INTEGER.fullmatch(bare):
        return int(bare.partition(".")[0])
    return bare.lower() if bare.lower() in ("true", "false") else bare


def plain_path(name: str, folder: str | Path | None) -> str:
    """Return a path in the form of the ids: relative to the folder of the data, with slashes."""
    plain = os.path.normpath(name)
    if folder is not None and os.path.isabs(plain):
        base = os.path.abspath(folder)
        for below in (base, os.path.realpath(base)):
            if plain.startswith(below.rstrip(os.sep) + os.sep):
                plain = os.path.relpath(plain, below)
                break
    return plain.replace(os.sep, "/")


def _nearest(name: str, known: set[str]) -> str:
    """Return a hint with the nearest id, or with an example of an id."""
    tail = name.rsplit("/", 1)[-1]
    same = sorted(other for other in known if other.rsplit("/", 1)[-1] == tail)
    near = same[:1] or (difflib.get_close_matches(name, known, n=1) if len(known) <= _COMPARED else [])
    return f"; did you mean {near[0]!r}?" if near else f"; its ids look like {min(known)!r}"
