"""A folder with one CSV or TSV table per split, such as train.csv and test.csv, as one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.delimited import SUFFIXES
from noisylabels.core.tables import Table, read_text_table, role_columns
from noisylabels.data.splits import TEST, TRAIN, VAL, by_split


@dataclass(frozen=True)
class SplitTable:
    """The joined table of a folder.

    Args:
        table: the rows of the training table, then those of the test table, with the former's columns.
        files: the tables that are used.
        sizes: the number of rows of each.
        parts: what the ids call each: "train" and "test", or "val".
        notes: lines on tables and columns that are ignored.
    """

    table: Table
    files: tuple[Path, ...]
    sizes: tuple[int, ...]
    parts: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def splits(self) -> list[str]:
        """The part of each row."""
        return [part for part, size in zip(self.parts, self.sizes, strict=True) for _ in range(size)]


def tables_in(folder: Path) -> list[Path]:
    """Return the CSV and TSV files directly in a folder, sorted, without hidden ones."""
    return [
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in SUFFIXES and file.is_file() and not file.name.startswith(".")
    ]


def split_tables(folder: Path) -> dict[str, Path]:
    """Return split -> its table if a folder holds one for training and others; otherwise nothing."""
    tables = {file.stem: file for file in tables_in(folder)}
    if len(tables) < 2:
        return {}
    named = {split: tables[stem] for split, stem in by_split(tables, folder).items()}
    return named if TRAIN in named else {}


def read_split_tables(folder: Path, label_column: str | None, form: str, columns: str) -> SplitTable:
    """Read the tables of a folder as one.

    Args:
        folder: a folder for which `split_tables` returns tables.
        label_column: the column of the labels, or None to find it by its name.
        form: the format whose `core.tables.PREFERENCES` apply.
        columns: an example of a heading, for errors.

    Raises:
        InputError: a table cannot be read, or the test table lacks a column of the training table.
    """
    named = split_tables(folder)
    train = read_text_table(named[TRAIN], columns=columns)
    notes: list[str] = []
    test, part = None, ""
    for split in (TEST, VAL):
        if split not in named:
            continue
        other = read_text_table(named[split], columns=columns)
        if not _label(other.names, label_column, form) and _label(train.names, label_column, form):
            notes.append(
                f"ignored {named[split].name} ({_counted(other)}): it has no labels; noisylabels predict "
                "reads such rows"
            )
        elif test is None:
            test, part = other, split
        else:
            notes.append(f"ignored {named[split].name} ({_counted(other)}) beside {test.source.name}")
    if strange := [file.name for file in tables_in(folder) if file not in named.values()]:
        notes.append(f"ignored {', '.join(strange)} beside {named[TRAIN].name}")
    if test is None:
        return SplitTable(train, (named[TRAIN],), (_rows(train),), (TRAIN,), tuple(notes))
    joined, more = _joined(train, test)
    return SplitTable(
        joined,
        (named[TRAIN], named[part]),
        (_rows(train), _rows(test)),
        (TRAIN, part),
        (*notes, *more),
    )


def _joined(train: Table, test: Table) -> tuple[Table, list[str]]:
    if missing := [name for name in train.names if name not in test.names]:
        raise InputError(
            f"{test.source} lacks the column {missing[0]!r} that {train.source.name} has; add it, or name "
            "the table to use"
        )
    unused = [name for name in test.names if name not in train.names]
    notes = [f"ignored the columns {', '.join(unused)}, which only {test.source.name} has"] if unused else []
    places = [list(test.names).index(name) for name in train.names]
    first = _rows(train)

    def read(place: int) -> np.ndarray:
        return np.concatenate([train.cells(place), test.cells(places[place])])

    def place_of(row: int) -> tuple[Path, str]:
        return train.place(row) if row < first else test.place(row - first)

    return Table(train.source.parent, train.names, read, place_of), notes


def _counted(table: Table) -> str:
    count = _rows(table)
    return f"{count:,} row{'' if count == 1 else 's'}"


def _rows(table: Table) -> int:
    return len(table.cells(0))


def _label(names: Sequence[str], label_column: str | None, form: str) -> bool:
    heading = list(names)
    return label_column in heading if label_column else bool(role_columns(heading, "label", form))
