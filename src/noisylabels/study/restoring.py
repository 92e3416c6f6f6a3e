"""Restore cells from exported files: match their rows to cells of a study and write the run folders."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from noisylabels.core.checks import InputError
from noisylabels.core.config import build, to_dict
from noisylabels.core.files import remove_file, write_json
from noisylabels.core.schema import checked
from noisylabels.experiment import RunConfig
from noisylabels.experiment.config import NOT_IDENTITY, canonical_id
from noisylabels.experiment.folder import changed_file, empty_folder, remove_leftovers
from noisylabels.experiment.resolve import code_digests
from noisylabels.study.exports import read_batches
from noisylabels.study.grid import Cell
from noisylabels.study.store import CellState, Store, progress
from noisylabels.training.history import History, Row

MOST_PAIRS = 100_000
"""Limit on the pairs of runs and cells compared to find the setting in which a foreign file differs."""


@dataclass(frozen=True)
class Origin:
    """The exported file in which a cell is finished or failed."""

    file: Path
    status: str
    message: str


@dataclass(frozen=True)
class Found:
    """The runs of exported files that are cells of a study.

    Args:
        origins: run id of a cell -> its file; of several files, the first in which it is finished.
        notes: problems of runs that cannot be restored, one line per file.
    """

    origins: Mapping[str, Origin] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def done(self, cell: Cell) -> Origin | None:
        """Return the origin of a cell if it is finished there, or None."""
        origin = self.origins.get(cell.run_id)
        return origin if origin is not None and origin.status == "done" else None

    def shown(self, cell: Cell, state: CellState) -> CellState:
        """Return the state that a cell would have after restoring, without writing anything."""
        if (origin := self.done(cell)) is not None and state.state not in ("done", "running"):
            return replace(state, state="done", message=f"in {origin.file}")
        if (origin := self.origins.get(cell.run_id)) is not None and state.state == "waiting":
            return replace(state, state="failed", message=origin.message)
        return state

    def restore(
        self, store: Store, cells: Sequence[Cell], *, failed: bool = True
    ) -> tuple[set[str], list[str]]:
        """Write the folders of unfinished cells to a store; return their ids, and one line per file.

        Args:
            store: the store to write to.
            cells: the cells to restore; finished cells of the store are kept, see `put`.
            failed: also restore failed cells.
        """
        wanted: dict[Path, dict[str, Cell]] = {origin.file: {} for origin in self.origins.values()}
        for cell in cells:
            origin = self.origins.get(cell.run_id)
            if origin is not None and (failed or origin.status == "done"):
                wanted[origin.file][cell.run_id] = cell
        restored, said = set(), []
        for file, there in wanted.items():
            open_cells = {i: cell for i, cell in there.items() if store.state(cell).state != "done"}
            counts: Counter[str] = Counter()
            for row, why in _rows(file, open_cells) if open_cells else ():
                # of a run that is in a file twice, restore the one that `find` selected
                same = not why and row["status"] == self.origins[row["run_id"]].status
                if same and put(store, open_cells[row["run_id"]], row):
                    restored.add(row["run_id"])
                    counts[row["status"]] += 1
            line = f"{counts.total()} cells from {file}"
            line += f", {counts['failed']} of them failed" if counts["failed"] else ""
            kept = len(there) - counts.total()
            said.append(line + (f"; {kept} others are kept as they are in this folder" if kept else ""))
        return restored, said


def find(files: Sequence[Path], cells: Sequence[Cell], study: str) -> Found:
    """Find the runs of exported files that are cells of a study.

    A run matches the cell of its id if its settings give that id. Otherwise it is skipped with a note and its
    cell is run, which costs time but puts no wrong number in a table; other rows are not affected.

    Args:
        files: files written by `exports.export`.
        cells: all cells of the study.
        study: name of the study, for errors.

    Raises:
        InputError: a file is missing, is not an export, or has no run of these cells.
    """
    by_id = {cell.run_id: cell for cell in cells}
    origins: dict[str, Origin] = {}
    notes = []
    for file in files:
        shares, wrong = False, []
        for row, why in _rows(file, by_id):
            shares = True
            if why:
                wrong.append(f"{row['run_id']}: {why}")
            elif origins.get(row["run_id"], Origin(file, "failed", "")).status != "done":
                origins[row["run_id"]] = Origin(file, row["status"], row["message"])
        if not shares:
            raise InputError(_foreign(file, cells, study))
        if wrong:
            others = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            notes.append(f"{file}: skipped the run {wrong[0]}{others}")
    return Found(origins, notes)


def _rows(file: Path, cells: Mapping[str, Cell]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the rows of a file with the id of a cell, each with a description of its fault or ""."""
    for rows, histories in read_batches(file):
        for row, history in zip(rows, histories, strict=True):
            if row["run_id"] not in cells:
                continue
            try:
                if not (why := row.pop("fault")):
                    row["history"] = _without_gaps(history.as_py() or [], row["final"] or {})
                    why = _fault(row, cells[row["run_id"]])
            except InputError as error:
                why = str(error)
            yield row, why


def _without_gaps(rows: Sequence[Mapping[str, Any]], final: Collection[str]) -> list[dict[str, Any]]:
    """Return a history without the columns of other runs in the file, which are null in this one."""
    return [
        {name: value for name, value in row.items() if value is not None or name in final} for row in rows
    ]


def _fault(row: Mapping[str, Any], cell: Cell) -> str:
    """Return why a row cannot be restored as the folder of a cell, or ""."""
    checked(row["history"], list[Row], "its history", "it was edited")
    own = canonical_id(build(RunConfig, row["config"]))
    if own != row["run_id"]:
        return f"its settings give the id {own}; it was edited, or is of another version"
    if row["environment"] or row["status"] == "done":
        if row["final"] != (row["history"][-1] if row["history"] else None):
            return "its history does not end with the final row of its result"
        if not (row["environment"] and row["noise"]):
            return "its result has no environment or no noise"
        if (file := changed_file(row["environment"]["identity"], code_digests(cell.config))) is not None:
            return f"{file} has changed since"
        if progress(row["history"])[0] == 0 and row["status"] == "done":
            return "it is finished without an epoch"
    return ""


def _foreign(file: Path, cells: Sequence[Cell], study: str) -> str:
    """Return an error message with the first setting in which the nearest run of a file differs."""
    defaults = to_dict(RunConfig(), NOT_IDENTITY)
    mine = [(cell, set(_words(to_dict(cell.config, NOT_IDENTITY)))) for cell in cells]
    nearest, least = None, len(defaults) + 1
    for row in _first(file, max(1, MOST_PAIRS // len(cells))):
        theirs = _words(defaults | {name: value for name, value in row["config"].items() if name in defaults})
        for cell, words in mine:
            if (unlike := len(words.difference(theirs))) < least:
                nearest, least = (row, cell), unlike
    start = f"{file} shares no cell with the study {study}"
    if nearest is None:
        return f"{start}: it contains no run"
    row, cell = nearest
    theirs, ours = defaults | row["config"], to_dict(cell.config, NOT_IDENTITY)
    for name, wanted in ours.items():
        if theirs[name] != wanted:
            return (
                f"{start}: in its nearest run, {row['run_id']}, {name} is {theirs[name]!r}, expected "
                f"{wanted!r}; repeat the --data and --set of that run, or omit --from"
            )
    return (
        f"{start}: its run {row['run_id']} has the settings of {cell.name} under another id; it was edited, "
        "or is of another version; omit --from"
    )


def _first(file: Path, count: int) -> Iterator[dict[str, Any]]:
    """Yield the first `count` rows of a file, without their histories."""
    every = (row for rows, _ in read_batches(file) for row in rows if not row["fault"])
    return itertools.islice(every, count)


def _words(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return settings as hashable pairs, whatever types a file holds."""
    return [(name, repr(value)) for name, value in settings.items()]


# Writing ------------------------------------------------------------------------------------------


def put(store: Store, cell: Cell, row: Mapping[str, Any]) -> bool:
    """Write the folder of a cell from its row of an exported file; return whether it was written.

    Exported files hold no labels or weights. Finished cells are kept, and so are folders that are damaged
    or in use. A finished run replaces an interrupted or failed one; a failed run replaces nothing.
    """
    out = store.path(cell)
    takes = ("waiting", "begun", "failed") if row["status"] == "done" else ("waiting",)
    with store.taking(cell, takes) as ours:
        if not ours:
            return False
        if not row["environment"]:  # the run could not start
            names = ("run_id", "message", "config")
            write_json(out / "failure.json", {name: row[name] for name in names} | {"trace": ""})
            return True
        # If killed here, the cell must start over: never mix files of two runs, and write the result last.
        empty_folder(out)
        here = {"out": str(out), "data_root": cell.config.data_root}
        write_json(out / "config.json", row["config"] | here)
        History(row["history"]).write(out / "history.jsonl")
        write_json(out / "environment.json", row["environment"])
        write_json(out / "result.json", _result(row))
        remove_file(out / "failure.json")
        remove_leftovers(out)
    return True


def _result(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a run's result.json, as far as it follows from its row."""
    chosen = row["environment"].get("chosen") or row["config"]  # the loss selected by "auto"
    names = ("status", "message", "final", "noise", "run_id", "class_names")
    return {name: row[name] for name in names} | {
        "loss": chosen["loss"],
        "epochs": len(row["history"]),
        "train_seconds": sum(each["train_seconds"] for each in row["history"]),
        "eval_seconds": sum(each["eval_seconds"] for each in row["history"]),
    }
