"""Where a study is kept: a folder with a folder a cell, and one compact file of it all.

A cell's folder is an ordinary run (`experiment`), so that the study is what its folders are: copying the
folders of several machines together merges them. Beside a run there may be `failure.json`, which says why
the cell could not be run.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisylabels.core.checks import Busy, InputError
from noisylabels.core.config import build, to_dict
from noisylabels.core.files import check_file, held, replacing, write_json
from noisylabels.experiment import Notes, RunConfig, catch_up, read_result
from noisylabels.experiment.config import canonical_id, code_digests
from noisylabels.experiment.folder import check_files, read_object
from noisylabels.study.grid import OWN, Cell
from noisylabels.training.history import History

STATES = ("done", "failed", "running", "begun", "waiting", "damaged")
"""Of a cell: it has a result; it failed or diverged; a process is at work on it; it was interrupted and goes
on from its checkpoint; nothing is there; its folder cannot be read."""

_KEY = b"noisylabels study"
_FORMAT = 1


@dataclass(frozen=True)
class CellState:
    """How far a cell is."""

    state: str  # one of STATES
    epoch: int = 0  # epochs that have ended
    accuracy: float | None = None  # test accuracy of the last of them
    seconds: float = 0.0  # of training and evaluation
    message: str = ""


@dataclass(frozen=True)
class Store:
    """The folder of a study."""

    folder: Path

    def note(self, title: str, cells: Sequence[Cell]) -> None:
        """Keep the list of cells, so that the folder tells how far it is; those that it has already stay."""
        path = self.folder / "study.json"
        there = read_object(path)["cells"] if path.exists() else {}
        mine = {cell.name: {"axes": dict(cell.axes), "config": to_dict(cell.config, OWN)} for cell in cells}
        if not path.exists() or not mine.keys() <= there.keys():
            write_json(path, {"title": title, "cells": there | mine})

    def noted(self) -> tuple[str, list[Cell]]:
        """Return the title and the cells that `note` kept."""
        path = self.folder / "study.json"
        if not path.exists():
            raise InputError(f"{self.folder} is no folder of a study; expected one that `study run` made")
        try:
            found = read_object(path)
            cells = [
                Cell(name, each["axes"], build(RunConfig, each["config"]), name.rpartition("-")[2])
                for name, each in found["cells"].items()
            ]
        except (KeyError, TypeError, AttributeError):
            raise InputError(
                f"{path} is no list of cells; remove it, and `study run` makes it anew"
            ) from None
        return str(found.get("title", "")), cells

    def path(self, cell: Cell) -> Path:
        """Return the folder of a cell."""
        return self.folder / cell.name

    def state(self, cell: Cell) -> CellState:
        """Return how far a cell is, from its files alone."""
        out = self.path(cell)
        if (out / "failure.json").exists():
            with contextlib.suppress(InputError):
                return CellState("failed", message=str(read_object(out / "failure.json").get("message", "")))
        if not (out / "config.json").exists():
            return CellState("running" if held(out / ".lock") else "waiting")
        try:
            config = read_object(out / "config.json")
            history = History.read(out / "history.jsonl") if (out / "history.jsonl").exists() else History()
            rows = [(int(r["epoch"]), float(r["test_accuracy"])) for r in history.rows]
            seconds = sum(float(r["train_seconds"]) + float(r["eval_seconds"]) for r in history.rows)
            epoch, accuracy = rows[-1] if rows else (0, None)
            if (out / "result.json").exists():
                result = read_result(out)
                state = "done" if result.status == "done" else "failed"
                if result.run_id != cell.run_id:
                    return CellState("damaged", message=f"{out} holds the run {result.run_id}")
                return CellState(state, epoch, accuracy, seconds, result.message)
            if (out / "environment.json").exists():
                read_object(out / "environment.json")
            if (there := canonical_id(build(RunConfig, config))) != cell.run_id:
                return CellState("damaged", message=f"{out} holds the run {there}")
        except (InputError, KeyError, TypeError, ValueError) as error:
            # whoever is at work in a folder knows better what is in it, and it must not be moved away
            return CellState("running" if held(out / ".lock") else "damaged", message=str(error))
        return CellState("running" if held(out / ".lock") else "begun", epoch, accuracy, seconds)

    def set_aside(self, cell: Cell) -> Path:
        """Move a folder that cannot be read out of the way, and return where it is; nothing is deleted."""
        out = self.path(cell)
        number = 1
        while (aside := self.folder / "damaged" / f"{out.name}.{number}").exists():
            number += 1
        aside.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(out, aside)
        return aside

    def check_code(self, cells: Iterable[Cell]) -> None:
        """Raise an `InputError` if code of the user's own has changed since a cell was made of it."""
        for cell in cells:
            code = code_digests(cell.config)
            if code and (self.path(cell) / "environment.json").exists():
                check_files(self.path(cell), code)

    def fail(self, cell: Cell, message: str, trace: str = "") -> None:
        """Record why a cell could not be run."""
        self.path(cell).mkdir(parents=True, exist_ok=True)
        what = {"run_id": cell.run_id, "message": message, "trace": trace, "config": to_dict(cell.config)}
        write_json(self.path(cell) / "failure.json", what)

    def retry(self, cell: Cell) -> None:
        """Forget that a cell failed; a run that diverged starts over."""
        for name in ("failure.json", "result.json", "checkpoint.pt", "history.jsonl"):
            (self.path(cell) / name).unlink(missing_ok=True)

    def catch_up(self, cells: Sequence[Cell], track: Sequence[str], note: Callable[[str], None]) -> None:
        """Bring trackers to the cells that have ended, which no worker will see.

        Args:
            cells: those that have not ended are passed over.
            track: tensorboard, mlflow.
            note: told where they are.
        """
        for cell in cells:
            if (self.path(cell) / "result.json").exists() and self.state(cell).state in ("done", "failed"):
                with contextlib.suppress(Busy):  # it is being done there
                    catch_up(read_result(self.path(cell)), track, Notes(note))


# Rows ---------------------------------------------------------------------------------------------


def read_rows(source: str | Path) -> list[dict[str, Any]]:
    """Return a row a finished run: from an exported file, or from a folder of runs and its subfolders.

    A row has: run_id, config, status, message, final, noise, class_names, environment, history (rows),
    each as in the run's folder. Of a cell that could not be run it has run_id, config, status and message,
    and the rest is empty. Folders without a result are passed over.

    Raises:
        InputError: there is nothing of that name, no finished run, or a file of another kind.
    """
    path = Path(source).expanduser()
    rows = list(iter_rows(path) if path.is_dir() else _read_export(path))
    if not rows:
        raise InputError(f"{path} holds no finished run; name a folder of runs, or an exported file")
    return rows


def iter_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of `read_rows` from a folder, one at a time."""
    seen = set()
    for path in sorted([*folder.rglob("result.json"), *folder.rglob("failure.json")]):
        if "damaged" in path.relative_to(folder).parts:
            continue
        try:
            row = row_of(path.parent)
        except InputError:
            continue  # a half-written folder is no row; `study run` names it and runs it again
        if row["run_id"] not in seen:
            seen.add(row["run_id"])
            yield row


def row_of(out: Path) -> dict[str, Any]:
    """Return the row of a finished run, or of one that could not be run."""
    try:
        if (out / "failure.json").exists():
            failure = read_object(out / "failure.json")
            known = {name: failure[name] for name in ("run_id", "message", "config")}
            empty: dict[str, Any] = {
                "final": None,
                "noise": {},
                "class_names": [],
                "environment": {},
                "history": [],
            }
            return known | {"status": "failed"} | empty
        result = read_object(out / "result.json")
        history = History.read(out / "history.jsonl").rows if (out / "history.jsonl").exists() else []
        names = ("run_id", "status", "message", "final", "noise", "class_names")
        return {name: result[name] for name in names} | {
            "config": read_object(out / "config.json"),
            "environment": read_object(out / "environment.json"),
            "history": history,
        }
    except KeyError as error:
        raise InputError(f"the result in {out} lacks {error}; remove the folder or restore it") from None


def export(rows: Iterable[dict[str, Any]], path: Path) -> int:
    """Write rows into one Parquet file, whole or not at all, and return how many.

    Columns: run_id, status, message; config, final, noise, class_names and environment as JSON; history as a
    list of structs with a field a column of the history.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = sorted(rows, key=lambda row: row["run_id"])
    if not rows:
        raise InputError("there is no finished run to export")
    columns: dict[str, Any] = {name: [row[name] for row in rows] for name in ("run_id", "status", "message")}
    for name in ("config", "final", "noise", "class_names", "environment"):
        texts = [json.dumps(_portable(name, row[name]), sort_keys=True) for row in rows]
        columns[name] = pa.array(texts).dictionary_encode()
    columns["history"] = [row["history"] for row in rows]
    table = pa.table(columns).replace_schema_metadata({_KEY: json.dumps({"format": _FORMAT})})
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", compression_level=12)
    return len(rows)


def _portable(name: str, value: Any) -> Any:
    """Return what is worth keeping: not where on a machine a run was carried out."""
    if name == "config":
        return value | {"out": None, "data_root": None}
    return value


def read_batches(path: Path) -> Iterator[tuple[list[dict[str, Any]], Any]]:
    """Yield an exported file in parts: rows without their histories, and those as an Arrow list array.

    Raises:
        InputError: there is no such file, or it is none that `export` wrote.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_file(path)
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            head = json.loads((file.schema_arrow.metadata or {}).get(_KEY, b"null"))
            if not isinstance(head, dict):
                raise InputError(f"{path} is a Parquet file, but none of `noisylabels study export`")
            if head.get("format") != _FORMAT:
                raise InputError(
                    f"{path} has the format {head.get('format')!r}, this version reads {_FORMAT}"
                )
            for batch in file.iter_batches(batch_size=128):
                rows: list[dict[str, Any]] = batch.drop_columns(["history"]).to_pylist()
                for row in rows:
                    for name in ("config", "final", "noise", "class_names", "environment"):
                        row[name] = json.loads(row[name])
                yield rows, batch.column("history")
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} is not a readable Parquet file ({reason}); export it anew") from None


def _read_export(path: Path) -> Iterator[dict[str, Any]]:
    for rows, histories in read_batches(path):
        for row, history in zip(rows, histories, strict=True):
            yield row | {"history": history.as_py()}


def left(store: Store, cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells that have neither been done nor failed."""
    return [cell for cell in cells if store.state(cell).state not in ("done", "failed")]
