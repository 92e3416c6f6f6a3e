"""Leases of cells in a store without locks: several runners share a study, and none waits for a dead one.

A runner writes ``.runners/ID`` again and again while it lives. It takes a cell by writing ``CELL/.lease-ID``
and listing the cell: it has the cell if there is no other live lease. Of two that were written at the same
time, each sees the other; the one with the lower id waits until the other has withdrawn. So no two live
runners ever have one cell, if listings show what was written before, as those of S3, Google and Azure do.

A runner that submits a cell again, because the machine that ran it was lost, gives this submission a lease of
its own, ``CELL/.lease-ID.NUMBER``, which ends the one before: the machine may only be cut off.

Times are those at which the store saw the writes, so that the clocks of the machines do not matter.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from noisylabels.core.checks import Busy, InputError
from noisylabels.core.files import make_folder
from noisylabels.core.locks import exclusive_lock, is_locked
from noisylabels.study.objects import Entry, Objects

LEASE_SECONDS = 180.0
"""How long a runner keeps its cells without a sign of life."""

BEAT_SECONDS = 30.0
"""Time between signs of life."""

TRIES = 8
TRY_SECONDS = 0.25
"""How often, and after what time, a runner looks again at a cell that another wants at the same time."""

SAME_SECONDS = 2.0
"""Leases written within this time may be of the same time; an earlier one is that of the cell's runner."""

_LEASE = ".lease-"

RUNNERS = ".runners/"
"""Before the id in the name of a runner's sign of life."""


class Runner:
    """This process as one of those that share a study.

    Args:
        objects: the store.
        home: the folder of the study on this machine.
    """

    def __init__(self, objects: Objects, home: Path) -> None:
        self.id = secrets.token_hex(6)
        self._objects, self._home = objects, home
        self._ended = threading.Event()
        self._held = contextlib.ExitStack()

    def start(self) -> None:
        """Write the first sign of life, and go on in a thread."""
        make_folder(self._home)
        # on this machine a lock shows at once whether a runner lives
        self._held.enter_context(exclusive_lock(_lock(self._home, self.id)))
        try:
            self._beat()
        except BaseException:
            self._held.close()
            raise
        threading.Thread(target=self._beats, daemon=True).start()

    def _beat(self) -> None:
        about = {"host": platform.node(), "pid": os.getpid()}
        self._objects.write(RUNNERS + self.id, json.dumps(about).encode())

    def _beats(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with contextlib.suppress(InputError, OSError):  # the next one may arrive
                self._beat()

    def close(self) -> None:
        """End the signs of life: the leases of this runner are void."""
        self._ended.set()
        with contextlib.suppress(InputError, OSError):
            self._objects.delete(RUNNERS + self.id, patient=False)
        self._held.close()


def _lock(home: Path, runner: str) -> Path:
    return home / f".runner-{runner}.lock"


def beats_of(listed: Mapping[str, Entry]) -> dict[str, float]:
    """Return runner -> its last sign of life, from a listing."""
    start = len(RUNNERS)
    return {name[start:]: entry.modified for name, entry in listed.items() if name.startswith(RUNNERS)}


def leases_of(names: Collection[str]) -> set[str]:
    """Return the runners with a lease of a cell, from the names of its objects without the cell's.

    >>> leases_of(["config.json", ".lease-a1"])
    {'a1'}
    """
    return {name.removeprefix(_LEASE) for name in names if name.startswith(_LEASE)}


def numbered(runner: str, number: int) -> str:
    """Return the id of the lease of a runner's submission of a cell, the first being number 0.

    >>> numbered("a1", 0), numbered("a1", 2)
    ('a1', 'a1.2')
    """
    return f"{runner}.{number}" if number else runner


def runner_of(lease: str) -> str:
    """Return the runner of a lease.

    >>> runner_of("a1.2")
    'a1'
    """
    return lease.partition(".")[0]


def _number(lease: str) -> int:
    return int(lease.partition(".")[2] or 0)


def live(runners: Collection[str], beats: Mapping[str, float], now: float, home: Path) -> set[str]:
    """Return those runners, or leases of runners, that live.

    Args:
        runners: ids.
        beats: runner -> its last sign of life.
        now: the time by the clock of the store.
        home: the folder of the study on this machine, which knows of runners here that were killed.
    """
    lives = {each for each in runners if now - beats.get(runner_of(each), float("-inf")) <= LEASE_SECONDS}
    locks = {each: _lock(home, runner_of(each)) for each in lives}
    return {each for each, lock in locks.items() if not lock.exists() or is_locked(lock)}


def take(objects: Objects, cell: str, runner: str, home: Path) -> dict[str, Entry]:
    """Take the lease of a cell; return the objects of the cell, by their names in it.

    Args:
        objects: the store.
        cell: name of the cell.
        runner: id of the lease, see `numbered`; its runner gives signs of life.
        home: the folder of the study on this machine.

    Raises:
        Busy: another runner has the cell, or the same one has submitted it again.
    """
    objects.write(f"{cell}/{_LEASE}{runner}", b"{}")
    for _ in range(TRIES):
        there = look(objects, cell)
        if not has(there, runner):  # another runner held this one for dead
            objects.write(f"{cell}/{_LEASE}{runner}", b"{}")
            continue
        others = leases_of(there) - {runner}
        before = {each for each in others if runner_of(each) == runner_of(runner)}
        if any(_number(each) > _number(runner) for each in before):
            break
        for each in before:
            objects.delete(f"{cell}/{_LEASE}{each}")
        others -= before
        if others:
            beats = beats_of(objects.find(RUNNERS.rstrip("/")))
            now = beats.get(runner_of(runner), max(beats.values(), default=time.time()))
            rivals = live(others, beats, now, home)
            for dead in others - rivals:
                objects.delete(f"{cell}/{_LEASE}{dead}")
            if rivals:
                own = there[_LEASE + runner].modified
                earlier = any(own - there[_LEASE + rival].modified > SAME_SECONDS for rival in rivals)
                if earlier or min(rivals) < runner:
                    break
                time.sleep(TRY_SECONDS)
                continue
        return there
    give_back(objects, cell, runner)
    raise Busy(f"another runner is working on {objects.url}/{cell}; wait for it")


def look(objects: Objects, cell: str) -> dict[str, Entry]:
    """Return the objects of a cell, by their names in it."""
    return {name.removeprefix(f"{cell}/"): entry for name, entry in objects.find(cell).items()}


def has(there: Collection[str], runner: str) -> bool:
    """Return whether a runner still has a cell, from its names: a runner held for dead loses it."""
    return _LEASE + runner in there


def give_back(objects: Objects, cell: str, runner: str) -> None:
    """Give up the lease of a cell; without a connection it ends with the signs of life."""
    with contextlib.suppress(InputError):
        objects.delete(f"{cell}/{_LEASE}{runner}", patient=False)


@contextlib.contextmanager
def leased(objects: Objects, cell: str, runner: str, home: Path) -> Iterator[dict[str, Entry]]:
    """Have a cell for the block, see `take`."""
    there = take(objects, cell, runner, home)
    try:
        yield there
    finally:
        give_back(objects, cell, runner)
