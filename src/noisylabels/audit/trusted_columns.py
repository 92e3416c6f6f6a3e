"""Cells of one column of the audited data, whatever their format, in the order of the audited examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.core.columnar import column_texts
from noisylabels.core.tables import Table, need_column, read_text_table, role_columns

if TYPE_CHECKING:
    from noisylabels.data.features import Examples


def column_of(
    column: str,
    asked: Mapping[str, Any],
    examples: Examples | None,
    ids: Sequence[str],
    any_name: bool = False,
) -> list[str] | None:
    """Return the cells of a column as text, one per example; None if the data have no columns.

    Args:
        column: its name, or a role if `any_name`.
        asked: the settings of the audit.
        examples: the examples.
        ids: N ids; if `examples` are a table, the first N examples.
        any_name: find the column by its role, and return None without one.

    Raises:
        InputError: there is no such column, with the nearest name.
    """
    from noisylabels.data.features import FeatureSet

    if isinstance(examples, FeatureSet):
        if examples.cells is None:
            return None
        name = _named(column, examples.cells.names, any_name, asked)
        return None if name is None else examples.cells.column(name)[: len(ids)]
    data = asked.get("data")
    if data is None:
        return None
    found = _of_list(Path(data), column, any_name, asked) or _of_parquet(Path(data), column, any_name, asked)
    if found is None:
        return None
    cells = dict(zip(*found, strict=True))
    return [cells[name] for name in ids]


def _named(column: str, names: Sequence[str], any_name: bool, asked: Mapping[str, Any]) -> str | None:
    if any_name:
        return next((names[k] for k in role_columns(names, column)), None)
    if column not in names:
        raise InputError(
            f"{asked.get('data') or 'the table'} has no column {column!r}{did_you_mean(column, names)}; or "
            "trust a part (test) or a file of ids"
        )
    return column


def _of_list(
    data: Path, column: str, any_name: bool, asked: Mapping[str, Any]
) -> tuple[list[str], list[str]] | None:
    """Return the ids and the cells of a table of image paths."""
    from noisylabels.data import image_table
    from noisylabels.data.names import path_ids, unique_names
    from noisylabels.data.split_tables import read_split_tables

    place = image_table.find(data)
    if place is None:
        return None
    if place.is_dir():  # a table per split
        table: Table = read_split_tables(place, asked.get("label_column"), "", "path,label").table
    else:
        table = read_text_table(place)
    name = _named(column, table.names, any_name, asked)
    if name is None:
        return None
    if (key := asked.get("id_column")) is None:
        return path_ids(table.cells(need_column(table.names, "path", place)))[0], list(table[name])
    return unique_names(table[key])[0], list(table[name])


def _of_parquet(
    data: Path, column: str, any_name: bool, asked: Mapping[str, Any]
) -> tuple[list[str], list[str]] | None:
    """Return the ids and the cells of Parquet files of images."""
    from noisylabels.core.columnar import open_parquet
    from noisylabels.data import parquet
    from noisylabels.data.formats import FORMATS
    from noisylabels.data.names import unique_names

    if FORMATS["parquet"].find(data) is None:
        return None
    parts = parquet.choose_parts(data, [])
    with open_parquet(parts[0][1][0]) as opened:
        columns = opened.schema_arrow.names
    name = _named(column, columns, any_name, asked)
    if name is None:
        return None
    ids: list[str] = []
    cells: list[np.ndarray] = []
    for part, files in parts:
        found = column_texts(files, name)
        cells.append(found)
        if (key := asked.get("id_column")) is None:
            ids += [f"{part}:{row}" for row in range(len(found))]
        else:
            ids += [one for file in files for one in parquet.ids_in(file, key)]
    return unique_names(ids)[0], list(np.concatenate(cells))
