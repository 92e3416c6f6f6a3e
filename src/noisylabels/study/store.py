"""Store a study: one folder per cell.

The folder of a cell is an ordinary run (`experiment`), and the folders are the whole state of a study:
copying those of several machines together merges them. A cell that could not be run has a `failure.json` with
the reason.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from noisylabels.core.checks import Busy, InputError
from noisylabels.core.config import to_dict
from noisylabels.core.files import (
    check_within,
    folder_and_lock,
    folder_for,
    make_folder,
    remove_file,
    write_json,
)
from noisylabels.core.locks import exclusive_lock, is_locked
from noisylabels.core.opening import may_pass
from noisylabels.core.schema import read_checked
from noisylabels.experiment import Notes, catch_up, read_result
from noisylabels.experiment.data_state import DataState, state_of_run
from noisylabels.experiment.documents import Failure
from noisylabels.experiment.folder import (
    check_ends,
    check_files,
    check_folder,
    empty_folder,
    read_config,
    read_environment,
)
from noisylabels.experiment.resolve import code_digests
from noisylabels.study.cell_list import entries, failure, listed_cell, read_list
from noisylabels.study.exports import Damage, read_export
from noisylabels.study.grid import Cell
from noisylabels.training.history import History

STATES = ("done", "failed", "running", "begun", "waiting", "damaged", "unreadable")
"""States of a cell: finished; failed or diverged; being run by a process; interrupted, to be resumed from its
checkpoint; not started; its folder is corrupted; its files cannot be read for a reason that may pass."""

NOT_RUN = ("done", "failed", "unreadable")
"""States of cells that a runner leaves as they are."""


@dataclass(frozen=True)
class CellState:
    """Progress of a cell."""

    state: str  # one of STATES
    epoch: int = 0  # number of finished epochs
    accuracy: float | None = None  # test accuracy at the last finished epoch
    seconds: float = 0.0  # training and evaluation
    message: str = ""
    data: DataState | None = None  # of a finished run, where it is known


def progress(rows: Sequence[Mapping[str, Any]]) -> tuple[int, float | None, float]:
    """Return the last epoch of a history, its test accuracy, and the total seconds of all epochs."""
    seconds = sum(row["train_seconds"] + row["eval_seconds"] for row in rows)
    return (rows[-1]["epoch"], rows[-1]["test_accuracy"], seconds) if rows else (0, None, 0.0)


@dataclass(frozen=True)
class Store:
    """The folder of a study; `remote.RemoteStore` is a study at a URL."""

    folder: Path

    patience_seconds: ClassVar[float] = 5.0
    """How long a runner that has nothing else to do waits for cells that another one is running."""

    copies_runs: ClassVar[bool] = True
    """Whether a run can be copied from the folder of another one, see `equal_runs`."""

    @property
    def place(self) -> str:
        """Where the study is, for messages."""
        return str(self.folder)

    @property
    def export_file(self) -> Path:
        """The file of an export, unless another is named."""
        return self.folder.with_name(self.folder.name + ".parquet")

    def refresh(self) -> None:
        """Look at all cells again; the files of a folder are looked at whenever they are asked for."""

    def look_again(self, cells: Sequence[Cell]) -> None:
        """Look at some cells again, if that takes a request."""

    def close(self) -> None:
        """End the work on the study."""

    def check_track(self, track: Sequence[str]) -> None:
        """Raise an `InputError` if trackers cannot follow the runs of this study."""

    def check_kept(self) -> None:
        """Raise an `InputError` if nothing that is stored would outlive this process."""

    def order(self, cell: Cell) -> dict[str, Any]:
        """Return the configuration that a worker is sent."""
        return to_dict(cell.config) | {"out": str(self.path(cell))}

    def heard(self, cell: Cell, answer: Mapping[str, str] | None) -> None:
        """Note what a worker answered about a cell; None if its process ended."""

    def rows(self, notes: list[str]) -> list[dict[str, Any]]:
        """Return the rows of the study, as `read_rows`."""
        return read_rows(self.folder, notes)

    def note(self, title: str, cells: Sequence[Cell]) -> Path | str | None:
        """Write the list of cells, so that the state of the study can be read from its folder.

        Cells already in the list are kept.

        Returns:
            Where an earlier, unreadable list was moved to, or None.
        """
        path, aside = self.folder / "study.json", None
        mine = entries(cells)
        with contextlib.suppress(InputError):
            if mine.keys() <= self._listed()["cells"].keys():
                return None
        make_folder(self.folder)
        with exclusive_lock(self.folder / ".lock", seconds=30):  # another runner may add cells
            there: dict[str, Any] = {}
            if path.exists():
                try:
                    there = self._listed()["cells"]
                except InputError:
                    aside = self._move_aside(path)
            write_json(path, {"title": title, "cells": there | mine})
        return aside

    def noted(self) -> tuple[str, list[Cell]]:
        """Return the title and the cells written by `note`, and the cells copied into the folder."""
        if not (self.folder / "study.json").exists():
            raise InputError(
                f"{self.folder} is not the folder of a study; expected one written by `study run`"
            )
        found = self._listed()
        there = {config.parent.name: config for config in sorted(self.folder.glob("*/config.json"))}
        cells = []
        for name, each in found["cells"].items():
            there.pop(name, None)
            cells.append(listed_cell(name, each["axes"], each["config"]))
        for name, config in there.items():
            with contextlib.suppress(InputError):
                cells.append(listed_cell(name, {}, read_config(config.parent)))
        return found["title"], cells

    def _listed(self) -> dict[str, Any]:
        path, again = self.folder / "study.json", "`study run` writes a new one"
        try:
            return read_list(path, again)
        except InputError as error:
            reason = str(error).removesuffix(f"; {again}")
            raise InputError(f"{path} is not a list of cells ({reason}); {again}") from None

    def path(self, cell: Cell) -> Path:
        """Return the folder of a cell."""
        return self.folder / cell.name

    def state(self, cell: Cell) -> CellState:
        """Return the state of a cell, from its files alone."""
        found = self._seen(cell)
        # a folder in use may look unfinished or damaged and must not be moved
        if found.state in ("begun", "waiting", "damaged") and is_locked(self.path(cell) / ".lock"):
            return replace(found, state="running", message="")
        return found

    def _seen(self, cell: Cell) -> CellState:
        """Return the state of a folder that no process is using."""
        out = self.path(cell)
        try:
            if out.is_symlink() and not (out / "result.json").exists():
                return CellState("damaged", message=f"{out} is a link, expected a folder of its own")
            if not (out / "result.json").exists() and (out / "failure.json").exists():
                return CellState("failed", message=read_checked(out / "failure.json", Failure)["message"])
            if not out.exists():
                return CellState("waiting")
            result = check_folder(out, cell.config)
            if not (out / "config.json").exists():
                return CellState("waiting")
            history = History.read(out / "history.jsonl") if (out / "history.jsonl").exists() else History()
            epoch, accuracy, seconds = progress(history.rows)
            about: dict[str, Any] = {}
            if result is not None or (out / "environment.json").exists():
                about = read_environment(out)
            check_ends(out, "labels.parquet", "checkpoint.pt" if result is None else "model.safetensors")
            if result is None:
                return CellState("begun", epoch, accuracy, seconds)
            if result.run_id != cell.run_id:
                return CellState("damaged", message=f"{out} holds the run {result.run_id}")
            if result.final != (history.rows[-1] if history.rows else None):
                return CellState(
                    "damaged",
                    message=f"{out / 'history.jsonl'} does not end with the final row of the result",
                )
            state = "done" if result.status == "done" else "failed"
            data = state_of_run(about, to_dict(cell.config)) if state == "done" else None
            return CellState(state, epoch, accuracy, seconds, result.message, data)
        except OSError as error:
            return CellState(unread(error), message=f"{out} cannot be read: {error.strerror}")
        except InputError as error:
            return CellState(unread(error), message=str(error))

    def set_aside(self, cell: Cell, *, damaged: bool = False) -> Path | str | None:
        """Move a damaged folder to damaged/ and return its new path; nothing is deleted.

        Args:
            cell: the cell of the folder.
            damaged: treat the folder as damaged although `state` may not detect it.

        Returns:
            None if the folder is not damaged (any more) or another process is using it.
        """
        out = self.path(cell)
        with self._alone(cell) as ours:
            if not ours or not self._damaged(cell, damaged):
                return None
            return self._move_aside(out)

    def _damaged(self, cell: Cell, reported: bool) -> bool:
        """Return whether a folder is damaged, or reported to be: now that no other process can repair it."""
        state = self._seen(cell).state
        if state == "unreadable":
            return False
        return state == "damaged" or (reported and not (self.path(cell) / "result.json").exists())

    @contextlib.contextmanager
    def _alone(self, cell: Cell, *, make: bool = False) -> Iterator[bool]:
        """Lock a cell, and with `make` create its folder; yield whether no other process is using it."""
        if self.path(cell).is_symlink():  # nothing is written to where it leads
            yield True
            return
        with contextlib.ExitStack() as stack:
            ours, lock = True, self.path(cell) / ".lock"
            try:
                stack.enter_context(folder_and_lock(lock, self.folder) if make else exclusive_lock(lock))
            except (Busy, FileNotFoundError):  # without a folder there is nothing to change, or not any more
                ours = False
            except OSError:  # a file in its place, or a read-only folder, which no process can be using
                pass
            yield ours

    def _move_aside(self, path: Path) -> Path:
        number = 1
        while (aside := self.folder / "damaged" / f"{path.name}.{number}").exists():
            number += 1
        make_folder(aside.parent, self.folder)
        path.rename(aside)
        if aside.is_dir() and not aside.is_symlink():
            remove_file(aside / ".lock", self.folder)  # which this process still holds
        return aside

    def check_code(self, cells: Iterable[Cell]) -> None:
        """Raise an `InputError` if user code has changed since a cell was run with it.

        Failed cells are exempt: the change may be the fix.
        """
        for cell in cells:
            out, code = self.path(cell), code_digests(cell.config)
            if code and (out / "environment.json").exists() and not (out / "failure.json").exists():
                check_files(out, code)

    def fail(self, cell: Cell, message: str, trace: str = "") -> None:
        """Record why a cell could not be run."""
        write_json(self.path(cell) / "failure.json", failure(cell, message, trace), self.folder)

    def retry(self, cell: Cell) -> None:
        """Reset a failed cell so that it starts over, for example after a fix of user code."""
        with self._alone(cell) as ours:
            if not ours or self._seen(cell).state != "failed":
                return
            try:
                check_within(self.path(cell), self.folder)
                empty_folder(self.path(cell))
                remove_file(self.path(cell) / "failure.json", self.folder)
            except (OSError, InputError):  # a folder where a file was, or a link
                self._move_aside(self.path(cell))

    @contextlib.contextmanager
    def taking(self, cell: Cell, states: Collection[str]) -> Iterator[bool]:
        """Lock a cell; yield whether the lock was acquired and the cell is in one of these states."""
        if self.state(cell).state not in states:  # before a folder is made
            yield False
            return
        with folder_for(self.path(cell), self.folder), self._alone(cell, make=True) as ours:
            yield ours and self._seen(cell).state in states

    def catch_up(self, cells: Sequence[Cell], track: Sequence[str], note: Callable[[str], None]) -> None:
        """Log finished cells to trackers, since no worker runs them again.

        Args:
            cells: the cells; unfinished ones are skipped.
            track: names of trackers, tensorboard, mlflow, wandb.
            note: called with a message on where the logs are.
        """
        for cell in cells:
            if self.path(cell).is_symlink():  # somebody else's run, such as that of a merged study
                continue
            if (self.path(cell) / "result.json").exists() and self.state(cell).state in ("done", "failed"):
                with contextlib.suppress(Busy):  # another process is doing it
                    catch_up(read_result(self.path(cell)), track, Notes(note))


# Rows ---------------------------------------------------------------------------------------------


def read_rows(source: str | Path, notes: list[str] | None = None) -> list[dict[str, Any]]:
    """Return one row per finished run of an exported file, or of a folder and its subfolders.

    A row has run_id, config, status, message, final, noise, class_names, environment and history (a list of
    rows), each as in the run's folder. For a cell that could not be run, only run_id, config, status and
    message are filled. Folders without a result are skipped.

    Args:
        source: the file or folder.
        notes: receives a line about damaged runs, which are skipped.

    Raises:
        InputError: the source does not exist, holds no finished run, or is a file of another kind.
    """
    path = Path(source).expanduser()
    damage = Damage()
    rows = list(iter_rows(path, damage) if path.is_dir() else read_export(path, damage))
    if not rows:
        raise InputError(
            f"{path} holds no finished run{damage.line(', but ')}; name a folder of runs, or an exported file"
        )
    if notes is not None and damage.faults:
        notes.append(f"{path}: skipped {damage.line()}")
    return rows


def iter_rows(folder: Path, damage: Damage) -> Iterator[dict[str, Any]]:
    """Yield the rows of `read_rows` from a folder, one at a time; damaged ones are added to `damage`."""
    for _, row in iter_runs(folder, damage):
        yield row


def iter_runs(folder: Path, damage: Damage) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the folder and the row of each run below a folder, like `iter_rows`, the failed ones last."""
    done, failed = set[str](), dict[str, tuple[Path, dict[str, Any]]]()
    for name in ("result.json", "failure.json"):  # a result takes precedence over a failure elsewhere
        for path in sorted(folder.rglob(name)):
            if "damaged" in path.relative_to(folder).parts:
                continue
            try:
                row = row_of(path.parent)
            except InputError as error:  # `study run` sets the folder aside and runs the cell again
                damage.faults.append(str(error))
                continue
            if row["status"] != "done":  # perhaps another copy of the run is finished
                failed.setdefault(row["run_id"], (path.parent, row))
            elif row["run_id"] not in done:
                done.add(row["run_id"])
                yield path.parent, row
    yield from (found for run_id, found in failed.items() if run_id not in done)


def row_of(out: Path) -> dict[str, Any]:
    """Return the row of a finished run, or of one that could not be run."""
    if not (out / "result.json").exists():
        failure = read_checked(out / "failure.json", Failure)
        known = {name: failure[name] for name in ("run_id", "message", "config")}
        empty: dict[str, Any] = {"final": None, "noise": {}, "class_names": [], "environment": {}}
        return known | {"status": "failed", "history": []} | empty
    result = read_result(out)
    names = ("run_id", "status", "message", "final", "noise", "config")
    return {name: getattr(result, name) for name in names} | {
        "class_names": list(result.class_names),
        "environment": read_environment(out),
        "history": result.history.rows,
    }


def unread(error: Exception) -> str:
    """Return the state of a cell whose files could not be read."""
    return "unreadable" if may_pass(error) else "damaged"


def left(store: Store, cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells that are neither finished nor failed, without those that cannot be read."""
    return [cell for cell in cells if store.state(cell).state not in NOT_RUN]
