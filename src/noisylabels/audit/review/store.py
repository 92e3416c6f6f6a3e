"""Decisions of a review on disk: a log of events in SQLite that is only ever added to.

    events   seq (in the order of saving), event (the client's own id of it: saved twice it counts once),
             example (its id), action, label (a class name, or null), reviewer, undoes (the seq of the event
             that it takes back, or null), audit (digest of the audited set), at (UTC)

What holds for an example is its last event that is not taken back. So the last writer wins, an undo brings
back what was before, and nothing that a person ever said is lost. Examples are known by their ids and classes
by their names: the file outlives an audit that is run again. Several processes may have it open.
"""

from __future__ import annotations

import contextlib
import datetime
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from noisylabels.core.checks import CorruptedFile, InputError

FILE = "review.sqlite"
ACTIONS = ("keep", "suggested", "chosen", "skip", "discard")
LABELED = ("keep", "suggested", "chosen")
"""Actions that name a class; skip leaves the example open, discard takes it out of the data."""

_APPLICATION = 0x6E6C7276  # "nlrv": tells this program's files from other SQLite files
_FORMAT = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event TEXT NOT NULL UNIQUE,
    example TEXT NOT NULL,
    action TEXT NOT NULL,
    label TEXT,
    reviewer TEXT NOT NULL,
    undoes INTEGER UNIQUE REFERENCES events (seq),
    audit TEXT NOT NULL,
    at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_example ON events (example);
"""
_STANDING = """
SELECT example, action, label, max(seq) FROM events AS e
WHERE action != 'undo' AND NOT EXISTS (SELECT 1 FROM events WHERE undoes = e.seq) {which}
GROUP BY example
"""


@dataclass(frozen=True)
class Decision:
    """What holds for an example.

    Args:
        action: one of `ACTIONS`; "" when nothing has been decided, or all of it was taken back.
        label: the class name of a keep, suggested or chosen, else None.
    """

    action: str
    label: str | None = None


OPEN = Decision("")


class Store:
    """The file of a review, opened.

    Args:
        path: the file; it is made if it is not there.
        audit: digest of the audited set, kept with each event.

    Raises:
        Damaged: it is no SQLite file, or a broken one.
        InputError: it is another program's or a newer one's, or cannot be written.
    """

    def __init__(self, path: Path, audit: str = "") -> None:
        self.path = path
        self._audit = audit
        self._lock = threading.Lock()  # the server's threads share one connection
        with self._explained():
            # autocommit: transactions begin and end where the code says so
            self._connection = sqlite3.connect(
                path, timeout=10, isolation_level=None, check_same_thread=False
            )
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def _prepare(self) -> None:
        call = self._connection.execute
        ((found,),) = call("PRAGMA quick_check(1)").fetchall()
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        ((application,),), ((version,),) = (
            call(f"PRAGMA {name}").fetchall() for name in ("application_id", "user_version")
        )
        if (application, version) != (_APPLICATION, _FORMAT):
            ((tables,),) = call("SELECT count(*) FROM sqlite_master").fetchall()
            if application == _APPLICATION and version > _FORMAT:
                raise InputError(f"{self.path} was written by a newer noisylabels; take that one")
            if tables:
                raise InputError(
                    f"{self.path} is a database of something else, expected the decisions of a review; "
                    "move it away"
                )
        # A commit is on the disk before it returns: the log is written through (FULL) each time.
        call("PRAGMA journal_mode = WAL").fetchall()
        call("PRAGMA synchronous = FULL")
        with self._transaction():
            for statement in _TABLES.split(";"):
                call(statement)
            call(f"PRAGMA application_id = {_APPLICATION}")
            call(f"PRAGMA user_version = {_FORMAT}")

    def close(self) -> None:
        """Close the file; what was saved is saved whether or not this is called."""
        with self._lock:
            self._connection.close()

    def save(
        self, event: str, example: str, action: str, label: str | None = None, reviewer: str = ""
    ) -> int:
        """Put a decision on the disk and return its number; one that is there already is left as it is.

        Args:
            event: an id of the client's own; the same one again is the same decision sent twice.
            example: the id of the example.
            action: one of `ACTIONS`.
            label: the class name, for `LABELED`.
            reviewer: who decides; undo takes back one's own.

        Raises:
            InputError: another action, a label where none belongs, or the disk refuses.
        """
        if action not in ACTIONS or (label is not None) != (action in LABELED):
            raise InputError(
                f"{action!r} with the label {label!r} is no decision; known: {', '.join(ACTIONS)}"
            )
        with self._lock, self._explained(), self._transaction():
            return self._add(event, example, action, label, reviewer, None)

    def undo(self, event: str, reviewer: str = "") -> str | None:
        """Take back the reviewer's last decision and return the example's id; None if there is none left.

        An undo that is sent twice, with the same `event`, takes one decision back.
        """
        with self._lock, self._explained(), self._transaction():
            again = self._connection.execute(
                "SELECT example FROM events WHERE event = ?", (event,)
            ).fetchone()
            if again:
                return str(again[0])
            last = self._connection.execute(
                "SELECT seq, example FROM events AS e WHERE reviewer = ? AND action != 'undo' "
                "AND NOT EXISTS (SELECT 1 FROM events WHERE undoes = e.seq) ORDER BY seq DESC LIMIT 1",
                (reviewer,),
            ).fetchone()
            if last is None:
                return None
            self._add(event, str(last[1]), "undo", None, reviewer, int(last[0]))
            return str(last[1])

    def changes(self, since: int = 0) -> tuple[int, dict[str, Decision]]:
        """Return the number of the last event, and what holds now for each example with one after `since`."""
        with self._lock, self._explained(), self._transaction("BEGIN"):
            ((last,),) = self._connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchall()
            if last <= since:
                return int(last), {}
            touched = self._connection.execute("SELECT DISTINCT example FROM events WHERE seq > ?", (since,))
            found = dict.fromkeys((str(example) for (example,) in touched), OPEN)
            which = "AND example IN (SELECT example FROM events WHERE seq > ?)" if since else ""
            standing = self._connection.execute(_STANDING.format(which=which), (since,) if since else ())
            for example, action, label, _ in standing:
                found[example] = Decision(action, label)
        return int(last), found

    def other_audits(self) -> int:
        """Return how many decisions were made on a set with another digest."""
        with self._lock, self._explained():
            ((count,),) = self._connection.execute(
                "SELECT count(*) FROM events WHERE audit != ? AND action != 'undo'", (self._audit,)
            ).fetchall()
        return int(count)

    def _add(
        self, event: str, example: str, action: str, label: str | None, reviewer: str, undoes: int | None
    ) -> int:
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        self._connection.execute(
            "INSERT INTO events (event, example, action, label, reviewer, undoes, audit, at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (event) DO NOTHING",
            (event, example, action, label, reviewer, undoes, self._audit, at),
        )
        ((seq,),) = self._connection.execute("SELECT seq FROM events WHERE event = ?", (event,)).fetchall()
        return int(seq)

    @contextlib.contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
        # at once for writing: two processes that both read first and then write would refuse each other
        self._connection.execute(begin)
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # locked, read-only, a full disk
            raise InputError(f"{self.path} cannot be used: {error}; free the file, or its disk") from None
        except sqlite3.DatabaseError as error:
            raise CorruptedFile(
                f"{self.path} is damaged ({error}); restore it from a copy, or move it away to begin anew"
            ) from None
