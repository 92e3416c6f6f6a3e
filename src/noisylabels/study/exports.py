"""Exported files: the runs of a study as one Parquet file, without labels and weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from typing_extensions import TypedDict

from noisylabels.core.checks import InputError
from noisylabels.core.columnar import Column, check_columns, open_parquet, write_parquet
from noisylabels.core.files import check_file
from noisylabels.core.json_text import parse_json
from noisylabels.core.schema import checked
from noisylabels.experiment.documents import Config, Environment, Noise
from noisylabels.training.history import RENAMED, Row, current_names

_KEY = b"noisylabels study"
_FORMAT = 1


class _Nothing(TypedDict, closed=True):
    """An empty object."""


class _ExportedRow(TypedDict):
    run_id: str
    status: Literal["done", "failed"]
    message: str
    config: str
    final: str
    noise: str
    class_names: str
    environment: str


_CELLS: dict[str, Any] = {
    "config": Config,
    "final": Row | None,
    "noise": Noise | _Nothing,
    "class_names": list[str],
    "environment": Environment | _Nothing,
}
"""The columns of an exported file that hold JSON; noise and environment are empty if a run did not start."""


@dataclass
class Damage:
    """The damaged runs of a source, which are skipped."""

    faults: list[str] = field(default_factory=list)

    def line(self, start: str = "") -> str:
        """Return their number and the first of them, after `start`; "" if there are none."""
        count = len(self.faults)
        return f"{start}{count} damaged run{'s' * (count > 1)}, first: {self.faults[0]}" if count else ""


def export(rows: Iterable[dict[str, Any]], path: Path) -> int:
    """Write rows to one Parquet file atomically, and return their number.

    Columns: run_id, status, message; config, final, noise, class_names and environment as JSON; history as a
    list of structs with one field per column of the history, null in runs and epochs without that column.

    Args:
        rows: as `read_rows` returns them.
        path: of the file, ending in .parquet.

    Raises:
        InputError: no rows.
    """
    import pyarrow as pa

    rows = sorted(rows, key=lambda row: row["run_id"])
    if not rows:
        raise InputError("there is no finished run to export")
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in ("run_id", "status", "message")}
    for name in ("config", "final", "noise", "class_names", "environment"):
        texts = [json.dumps(_portable(name, row[name]), sort_keys=True) for row in rows]
        columns[name] = pa.array(texts).dictionary_encode()
    columns["history"] = [row["history"] for row in rows]
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps({"format": _FORMAT})})
    write_parquet(path, table, compression="zstd", compression_level=12)
    return len(rows)


def _portable(name: str, value: Any) -> Any:
    """Return a value without paths of the machine that ran it."""
    if name == "config":
        return value | {"out": None, "data_root": None}
    return value


def read_batches(path: Path) -> Iterator[tuple[list[dict[str, Any]], Any]]:
    """Read an exported file in batches of rows without histories, and their histories as an Arrow array.

    A row whose cells cannot be read has a line on that under "fault", which is "" for the others.

    Raises:
        InputError: the file does not exist or was not written by `export`.
    """
    again = "export it again"
    with open_parquet(check_file(path), again) as file:
        head = (file.schema_arrow.metadata or {}).get(_KEY)
        if head is None:
            raise InputError(f"{path} is a Parquet file, but not one of `noisylabels study export`")
        found = checked(parse_json(head, path, again), dict[str, Any], path, again).get("format")
        if found != _FORMAT:
            raise InputError(f"{path} has the format {found!r}, expected {_FORMAT}; {again}")
        texts = dict.fromkeys(("run_id", "status", "message", *_CELLS), Column("text", nullable=True))
        check_columns(file.schema_arrow, texts | {"history": Column("lists of rows")}, path, again)
        _check_history(file.schema_arrow.field("history").type, path, again)
        for batch in file.iter_batches(batch_size=128):
            batch.validate(full=True)
            rows: list[dict[str, Any]] = batch.select([*texts]).to_pylist()
            yield [_readable(row) for row in rows], _with_current_names(batch.column("history"))


def _check_history(kind: Any, path: Path, remedy: str) -> None:
    import pyarrow as pa

    if not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
        return  # no run of the file has a history
    columns = {each.name: Column("numbers", nullable=True, optional=True) for each in kind.value_type}
    columns |= {name: Column("numbers") for name in ("test_accuracy", "train_seconds", "eval_seconds")}
    columns |= {"epoch": Column("integers"), "recall": Column("lists of numbers", True, True)}
    columns["dead_classes"] = Column("lists of integers", True, True)
    check_columns(pa.schema([*kind.value_type]), columns, f"{path}, history", remedy)


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of an exported file with its JSON parsed and checked."""
    what = f"the run {row['run_id']}"
    try:
        checked(row, _ExportedRow, what, "export it again")
        for name, kind in _CELLS.items():
            row[name] = checked(parse_json(row[name], f"{what}: {name}"), kind, f"{what}: {name}")
        row["final"] = current_names(row["final"]) if row["final"] else None
    except InputError as error:
        return row | {"fault": str(error)}
    return row | {"fault": ""}


def _with_current_names(histories: Any) -> Any:
    """Return an Arrow list array of histories with current column names."""
    import pyarrow as pa

    rows = histories.values
    old = [part.name for part in rows.type] if pa.types.is_struct(rows.type) else []
    if not RENAMED.keys() & set(old):
        return histories
    names = [RENAMED.get(name, name) for name in old]
    return pa.ListArray.from_arrays(histories.offsets, pa.StructArray.from_arrays(rows.flatten(), names))


def read_export(path: Path, damage: Damage) -> Iterator[dict[str, Any]]:
    """Yield the rows of an exported file; damaged ones are added to `damage`."""
    for rows, histories in read_batches(path):
        for row, history in zip(rows, histories, strict=True):
            if fault := row.pop("fault"):
                damage.faults.append(fault)
                continue
            try:
                found = checked(history.as_py() or [], list[Row], f"the run {row['run_id']}: history")
            except InputError as error:
                damage.faults.append(str(error))
                continue
            yield row | {"history": found}
