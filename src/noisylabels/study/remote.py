"""Store a study at a URL, such as s3://bucket/digits, in place of a folder that its machines share.

The objects below the URL have the names and contents of a study's folder, so that a copy of them is one. A
listing shows which cells are finished; of the others, and for their numbers, small objects are copied to this
machine, each once.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from noisylabels.core.checks import Busy, InputError
from noisylabels.core.files import make_folder, remove_tree
from noisylabels.core.urls import is_url
from noisylabels.experiment.folder import FILES, check_files, read_config
from noisylabels.experiment.resolve import code_digests
from noisylabels.study.cell_list import entries, failure, listed_cell, read_list
from noisylabels.study.copies import Copies, home_of, of_row, run_folder, telling
from noisylabels.study.exports import Damage
from noisylabels.study.grid import Cell
from noisylabels.study.leases import (
    LEASE_SECONDS,
    RUNNERS,
    Runner,
    beats_of,
    leased,
    leases_of,
    live,
    look,
    numbered,
    runner_of,
)
from noisylabels.study.objects import Entry, Objects, open_objects
from noisylabels.study.store import CellState, Store, progress
from noisylabels.study.transfer import Copy
from noisylabels.training.history import History

LOOK_SECONDS = 10.0
"""Shortest time between two looks at cells that run elsewhere."""

MOST_LOOKS = 100
"""Number of cells up to which each is listed, rather than the whole study."""

LIST_SECONDS = 30.0
"""How long to wait for another runner that is writing the list of cells."""

LIST = "study.json"


def open_store(place: str | Path) -> Store:
    """Return the study in a folder or at a URL."""
    return RemoteStore.at(str(place)) if is_url(place) else Store(Path(place).expanduser())


@dataclass
class _Known:
    """What this process knows of the store."""

    there: dict[str, dict[str, Entry]] = field(default_factory=dict)  # cell -> its objects
    beats: dict[str, float] = field(default_factory=dict)
    ended: dict[str, CellState] = field(default_factory=dict)  # cells, as their workers answered
    ours: set[str] = field(default_factory=set)  # cells that this process has submitted
    lost: Counter[str] = field(default_factory=Counter)  # submissions of cells whose processes ended
    elsewhere: set[str] = field(default_factory=set)  # cells that another runner has
    looked: float = 0.0  # at cells that run elsewhere
    seen: dict[str, tuple[float, CellState]] = field(default_factory=dict)  # submitted cells: when, and what
    runner: Runner | None = None


@dataclass(frozen=True)
class RemoteStore(Store):
    """A study at a URL; `folder` is that of this machine, see `transfer.home_of`."""

    objects: Objects
    known: _Known = field(default_factory=_Known)

    patience_seconds: ClassVar[float] = LEASE_SECONDS + 2 * LOOK_SECONDS
    copies_runs: ClassVar[bool] = False  # the objects of a run are on no machine as a whole

    @classmethod
    def at(cls, url: str) -> RemoteStore:
        """Return the study at a URL; nothing is requested yet."""
        objects = open_objects(url)
        return cls(home_of(objects.url), objects)

    @property
    def place(self) -> str:
        """The URL."""
        return self.objects.url

    @property
    def export_file(self) -> Path:
        """A file of the current folder with the name of the study."""
        return Path(self.objects.url.rpartition("/")[2] + ".parquet")

    @property
    def copies(self) -> Copies:
        """The copies of small objects on this machine."""
        return Copies(self.objects, self.folder / "copies")

    def path(self, cell: Cell) -> Path:
        """Return the folder of this machine in which a cell runs."""
        return run_folder(self.folder, cell.name)

    def _runner(self) -> Runner:
        if self.known.runner is None:
            runner = Runner(self.objects, self.folder)
            runner.start()
            self.known.runner = runner
        return self.known.runner

    def _lease(self, name: str) -> str:
        """Return the id of this process's lease of a cell."""
        return numbered(self._runner().id, self.known.lost[name])

    def close(self) -> None:
        """End the signs of life of this process, if it gave any."""
        if self.known.runner is not None:
            self.known.runner.close()
            self.known.runner = None

    def check_track(self, track: Sequence[str]) -> None:
        """Raise an `InputError` if there are trackers: they write beside the runs."""
        if track:
            raise InputError(
                f"--track {track[0]} writes beside the runs, which lie at {self.place}; leave it out, or "
                "copy the study into a folder and repeat the command there"
            )

    def check_kept(self) -> None:
        """Raise an `InputError` if the store is in the memory of each process alone."""
        if self.place.startswith("memory:"):
            raise InputError(
                f"{self.place} is in the memory of each process, so no run would be kept; give --out a folder"
                " or a URL such as s3://BUCKET/PATH"
            )

    # What is there ------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """List the objects, and copy the small ones that states are read from, unless they are there."""
        listed = self.objects.find()
        there: dict[str, dict[str, Entry]] = defaultdict(dict)
        for name, entry in listed.items():
            cell, slash, file = name.partition("/")
            if slash and "/" not in file:
                there[cell][file] = entry
        self.known.there, self.known.beats = dict(there), beats_of(listed)
        self.known.ended.clear()
        self.known.elsewhere.clear()
        self.copies.fetch(self.known.there, {cell: telling(files) for cell, files in self._cells().items()})

    def _cells(self) -> dict[str, dict[str, Entry]]:
        return {
            cell: files
            for cell, files in self.known.there.items()
            if not cell.startswith(".") and cell != "damaged"
        }

    def look_again(self, cells: Sequence[Cell]) -> None:
        """List some cells again, unless that was done a moment ago."""
        known = self.known
        if not cells or time.monotonic() - known.looked < LOOK_SECONDS:
            return
        if len(cells) > MOST_LOOKS:
            self.refresh()
        else:
            known.beats = beats_of(self.objects.find(RUNNERS.rstrip("/")))
            self.objects.each(lambda cell: self._relist(cell.name), cells)
            known.elsewhere -= {cell.name for cell in cells}
        known.looked = time.monotonic()

    def state(self, cell: Cell) -> CellState:
        """Return the state of a cell as of the last `refresh`, or as its worker has answered since."""
        if (found := self.known.ended.get(cell.name)) is not None:
            return found
        if cell.name in self.known.ours:
            return self._submitted(cell)
        found = self._as_listed(cell)
        if found.state in ("begun", "waiting") and (cell.name in self.known.elsewhere or self._held(cell)):
            return CellState("running", found.epoch, found.accuracy, found.seconds)
        return found

    def _held(self, cell: Cell) -> bool:
        """Return whether another runner has a cell, by the last listing."""
        own = self.known.runner.id if self.known.runner is not None else None
        leases = leases_of(self.known.there.get(cell.name, {}))
        others = {lease for lease in leases if runner_of(lease) != own}
        now = self.known.beats.get(own or "", time.time())
        return bool(live(others, self.known.beats, now, self.folder))

    def _as_listed(self, cell: Cell) -> CellState:
        return self.copies.state(cell, self.known.there.get(cell.name, {}))

    def _submitted(self, cell: Cell) -> CellState:
        """Return how far a cell is that this process has submitted: here, or on another machine."""
        history = self.path(cell) / "history.jsonl"
        when, last = self.known.seen.get(cell.name, (0.0, CellState("running")))
        if not history.exists():
            if time.monotonic() - when < LIST_SECONDS:
                return last
            history = self.copies.path(f"{cell.name}/history.jsonl")
            with contextlib.suppress(InputError):
                self.objects.get(f"{cell.name}/history.jsonl", history)
        with contextlib.suppress(InputError):
            last = CellState("running", *progress(History.read(history).rows))
        self.known.seen[cell.name] = time.monotonic(), last
        return last

    # The list of cells --------------------------------------------------------------------------------

    def note(self, title: str, cells: Sequence[Cell]) -> str | None:
        """Write the list of cells, with those that are in it already, and look at the cells."""
        mine, aside = entries(cells), None
        self._runner()
        with contextlib.suppress(InputError):
            if mine.keys() <= self._list()["cells"].keys():
                self.refresh()
                self._forget_the_dead()
                return None
        with self._leased(".list", LIST_SECONDS):
            there: dict[str, Any] = {}
            if self.objects.get(LIST, self.copies.path(LIST)):
                try:
                    there = read_list(self.copies.path(LIST), "")["cells"]
                except InputError:
                    aside = self._free_name(LIST)
                    self.objects.move(LIST, aside)
            what = {"title": title, "cells": there | mine}
            self.objects.write(LIST, (json.dumps(what, indent=2, allow_nan=False) + "\n").encode())
        self.refresh()
        self._forget_the_dead()
        return None if aside is None else f"{self.place}/{aside}"

    def noted(self) -> tuple[str, list[Cell]]:
        """Look at the cells; return the title and the cells in the list, and those that were added."""
        found = self._list()
        self.refresh()
        cells = [listed_cell(name, each["axes"], each["config"]) for name, each in found["cells"].items()]
        added = [
            name
            for name, files in self._cells().items()
            if name not in found["cells"] and "config.json" in files
        ]
        self.copies.fetch(self.known.there, dict.fromkeys(added, ("config.json",)))
        for name in added:
            with contextlib.suppress(InputError):
                cells.append(listed_cell(name, {}, read_config(self.copies.path(name))))
        return found["title"], cells

    def _forget_the_dead(self) -> None:
        """Delete signs of life of runners that were killed, and folders here of runs that have ended."""
        for folder in (self.folder / "runs").glob("*"):
            if "result.json" in self.known.there.get(folder.name, {}):
                remove_tree(folder, self.folder)
        beats = self.known.beats
        now = beats.get(self._runner().id, time.time())
        for runner in beats.keys() - live(beats, beats, now, self.folder):
            self.objects.delete(f"{RUNNERS}{runner}")

    def _list(self) -> dict[str, Any]:
        path, again = self.copies.path(LIST), "`study run` writes a new one"
        if not self.objects.get(LIST, path):
            raise InputError(f"{self.place} holds no study; expected the URL of one written by `study run`")
        try:
            return read_list(path, again)
        except InputError as error:
            reason = str(error).removesuffix(f"; {again}").replace(str(path), LIST)
            raise InputError(f"{self.place}/{LIST} is not a list of cells ({reason}); {again}") from None

    # Changes ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _leased(self, name: str, seconds: float = 0.0) -> Iterator[dict[str, Entry]]:
        until = time.monotonic() + seconds
        with contextlib.ExitStack() as stack:
            while True:
                try:
                    there = stack.enter_context(leased(self.objects, name, self._lease(name), self.folder))
                    break
                except Busy:
                    if time.monotonic() > until:
                        raise
                    time.sleep(0.5)
            yield there

    def _relist(self, name: str) -> None:
        self.known.there[name] = look(self.objects, name)
        self.known.ended.pop(name, None)
        self.copies.fetch(self.known.there, {name: telling(self.known.there[name])})

    def order(self, cell: Cell) -> dict[str, Any]:
        """Return the configuration that a worker is sent, with what it needs to know of this store."""
        self.known.ours.add(cell.name)
        at = {"url": self.objects.url, "cell": cell.name, "runner": self._lease(cell.name)}
        return super().order(cell) | {"at": at}

    def heard(self, cell: Cell, answer: Mapping[str, str] | None) -> None:
        """Note what a worker answered about a cell; None if its process ended."""
        self.known.ours.discard(cell.name)
        self.known.seen.pop(cell.name, None)
        self.known.lost[cell.name] += answer is None
        status = None if answer is None else answer["status"]
        if answer is not None and status in ("done", "failed") and "progress" in answer:
            self.known.ended[cell.name] = CellState(
                str(status), **json.loads(answer["progress"]), message=answer["message"]
            )
        elif status == "found":
            self._relist(cell.name)
        elif status == "busy":
            self.known.elsewhere.add(cell.name)
            self.known.looked = time.monotonic()

    def fail(self, cell: Cell, message: str, trace: str = "") -> None:
        """Record why a cell could not be run."""
        what = json.dumps(failure(cell, message, trace), indent=2) + "\n"
        self.objects.write(f"{cell.name}/failure.json", what.encode())
        self.known.ended[cell.name] = CellState("failed", message=message)

    def retry(self, cell: Cell) -> None:
        """Delete what a failed cell has, so that it starts over."""
        with contextlib.suppress(Busy), self._leased(cell.name):
            self._relist(cell.name)
            if self._as_listed(cell).state == "failed":
                self._empty(cell)

    def _empty(self, cell: Cell) -> None:
        """Delete the objects of a cell, the result and the failure last, and its folder on this machine."""
        for name in ("failure.json", *FILES)[::-1]:
            if name in self.known.there.get(cell.name, {}):
                self.objects.delete(f"{cell.name}/{name}")
        remove_tree(self.path(cell), self.folder)
        self._relist(cell.name)

    def set_aside(self, cell: Cell, *, damaged: bool = False) -> str | None:
        """Move the objects of a damaged cell to damaged/ and return their URL; nothing is deleted."""
        with contextlib.suppress(Busy), self._leased(cell.name):
            self._relist(cell.name)
            files = [name for name in self.known.there[cell.name] if not name.startswith(".")]
            state = self._as_listed(cell).state
            wanted = damaged and "result.json" not in files and state != "unreadable"
            if not files or not (wanted or state == "damaged"):
                return None
            aside = self._free_name(cell.name)
            for name in files:
                self.objects.move(f"{cell.name}/{name}", f"{aside}/{name}")
            self._relist(cell.name)
            return f"{self.place}/{aside}"
        return None

    def _free_name(self, name: str) -> str:
        taken = {each.split("/")[1] for each in self.objects.find("damaged")}
        number = 1
        while f"{name}.{number}" in taken:
            number += 1
        return f"damaged/{name}.{number}"

    @contextlib.contextmanager
    def taking(self, cell: Cell, states: Collection[str]) -> Iterator[bool]:
        """Have a cell for the block; yield whether it is ours and in one of these states.

        What the block writes into the cell's folder of this machine replaces the objects of the cell.
        """
        if self.state(cell).state not in states:
            yield False
            return
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._leased(cell.name))
            except Busy:
                yield False
                return
            self._relist(cell.name)
            if self._as_listed(cell).state not in states:
                yield False
                return
            remove_tree(self.path(cell), self.folder)
            make_folder(self.path(cell))
            yield True
            new = {path.name for path in self.path(cell).iterdir() if path.suffix}
            for name in (*FILES, "failure.json"):
                if name in self.known.there[cell.name] and (name not in new or name == "result.json"):
                    self.objects.delete(f"{cell.name}/{name}")
            if "failure.json" in new:
                self.objects.put(self.path(cell) / "failure.json", f"{cell.name}/failure.json")
            Copy(self.objects, cell.name, self.path(cell), self._lease(cell.name)).send(FILES)
            remove_tree(self.path(cell), self.folder)
            self._relist(cell.name)

    def check_code(self, cells: Iterable[Cell]) -> None:
        """Raise an `InputError` if user code has changed since a cell was run with it."""
        code = {cell.name: digests for cell in cells if (digests := code_digests(cell.config))}
        begun = {}
        for name in code:
            files = self.known.there.get(name, {})
            if "environment.json" in files and "failure.json" not in files:
                begun[name] = ("environment.json",)
        self.copies.fetch(self.known.there, begun)
        for name in begun:
            check_files(self.copies.path(name), code[name])

    def rows(self, notes: list[str]) -> list[dict[str, Any]]:
        """Look at the cells; return the rows of those that are finished, as `store.read_rows`."""
        self.refresh()
        ended = {
            cell: files
            for cell, files in self._cells().items()
            if "result.json" in files or "failure.json" in files
        }
        self.copies.fetch(self.known.there, {cell: of_row(files) for cell, files in ended.items()})
        damage = Damage()
        rows: dict[str, dict[str, Any]] = {}
        for cell in sorted(ended, key=lambda cell: "result.json" not in ended[cell]):
            try:
                row = self.copies.row(cell)
            except InputError as error:
                damage.faults.append(str(error))
                continue
            if rows.setdefault(row["run_id"], row)["status"] != "done" and row["status"] == "done":
                rows[row["run_id"]] = row
        if not rows:
            raise InputError(f"{self.place} holds no finished run{damage.line(', but ')}")
        if damage.faults:
            notes.append(f"{self.place}: skipped {damage.line()}")
        return list(rows.values())
