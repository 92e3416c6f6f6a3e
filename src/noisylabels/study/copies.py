"""What this machine has of a study at a URL: copies of small objects, and the folders of its runs.

A copy has the size and the time of the object, as it was listed, and is made again when they differ.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisylabels.core.checks import InputError
from noisylabels.core.files import cache_root, remove_file
from noisylabels.core.schema import read_checked
from noisylabels.experiment.documents import Failure, Result
from noisylabels.study.grid import Cell
from noisylabels.study.objects import Entry, Objects
from noisylabels.study.store import CellState, progress, row_of, unread
from noisylabels.training.history import History


def home_of(url: str) -> Path:
    """Return the folder of this machine for a study at a URL: its runs, and copies of small objects."""
    return cache_root() / "studies" / hashlib.sha256(url.rstrip("/").encode()).hexdigest()[:16]


def run_folder(home: Path, cell: str) -> Path:
    """Return the folder of this machine in which a cell runs."""
    return home / "runs" / cell


@dataclass(frozen=True)
class Copies:
    """Copies of small objects on this machine.

    Args:
        objects: the store.
        folder: of the copies, see `home_of`.
    """

    objects: Objects
    folder: Path

    def path(self, name: str) -> Path:
        """Return where the copy of an object is."""
        return self.folder / name

    def fetch(self, there: Mapping[str, Mapping[str, Entry]], wanted: Mapping[str, Collection[str]]) -> None:
        """Copy objects of cells, as far as no copy of them is there; remove copies of those that are gone.

        Args:
            there: cell -> its objects, as they were listed.
            wanted: cell -> names of objects.
        """

        def copy(name: str) -> None:
            entry = listed[name]
            if self.objects.get(name, self.path(name), entry.size):
                os.utime(self.path(name), (entry.modified, entry.modified))
            else:
                remove_file(self.path(name))

        for cell, names in wanted.items():
            for name in names:
                if name not in there.get(cell, {}):
                    remove_file(self.folder / cell / name)
        listed = {
            f"{cell}/{name}": there[cell][name]
            for cell, names in wanted.items()
            for name in names
            if name in there.get(cell, {}) and not _is_copy(self.folder / cell / name, there[cell][name])
        }
        self.objects.each(copy, listed)

    def state(self, cell: Cell, files: Collection[str]) -> CellState:
        """Return the state of a cell from the names of its objects, and the copies of those of `telling`."""
        try:
            if "result.json" in files:
                return self._ended(cell)
            if "failure.json" in files:
                return CellState("failed", message=self._read(cell, "failure.json", Failure)["message"])
            if "config.json" not in files:
                return CellState("waiting")
            history = self.path(f"{cell.name}/history.jsonl")
            return CellState(
                "begun", *progress(History.read(history).rows if "history.jsonl" in files else [])
            )
        except InputError as error:
            return CellState(unread(error), message=str(error))

    def _ended(self, cell: Cell) -> CellState:
        result = self._read(cell, "result.json", Result)
        if result["run_id"] != cell.run_id:
            where = f"{self.objects.url}/{cell.name}"
            return CellState("damaged", message=f"{where} holds the run {result['run_id']}")
        final = result["final"] or {}
        seconds = result.get("train_seconds", 0.0) + result.get("eval_seconds", 0.0)
        state = "done" if result["status"] == "done" else "failed"
        return CellState(state, final.get("epoch", 0), final.get("test_accuracy"), seconds, result["message"])

    def _read(self, cell: Cell, name: str, schema: Any) -> Any:
        try:
            return read_checked(self.path(f"{cell.name}/{name}"), schema)
        except InputError as error:
            raise InputError(self.named(error)) from None

    def row(self, cell: str) -> dict[str, Any]:
        """Return the row of a cell from the copies of `of_row`."""
        try:
            row = row_of(self.path(cell))
        except InputError as error:
            raise InputError(self.named(error)) from None
        if row["final"] != (row["history"][-1] if row["history"] else None):
            where = f"{self.objects.url}/{cell}"
            raise InputError(f"{where}/history.jsonl does not end with the final row of the result")
        return row

    def named(self, error: InputError) -> str:
        """Return a message about a copy with the URL of the object in place of the file."""
        return str(error).replace(f"{self.folder}{os.sep}", f"{self.objects.url}/")


def telling(files: Collection[str]) -> tuple[str, ...]:
    """Return the names of the small objects from which the state of a cell is read."""
    if "result.json" in files:
        return ("result.json",)
    return ("failure.json",) if "failure.json" in files else ("history.jsonl",)


def of_row(files: Collection[str]) -> tuple[str, ...]:
    """Return the names of the small objects from which the row of a cell is read."""
    if "result.json" in files:
        return ("config.json", "environment.json", "history.jsonl", "result.json")
    return ("failure.json", "result.json")  # the copy of an earlier result would be read in its place


def _is_copy(path: Path, entry: Entry) -> bool:
    """Return whether a copy is that of the object listed, by its size and time."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return found.st_size == entry.size and abs(found.st_mtime - entry.modified) < 1e-3
