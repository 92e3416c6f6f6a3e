"""Store the decisions of a review on disk: an append-only log of events in SQLite.

    events   seq (in the order of saving), event (an id chosen by the client: saved twice it counts once),
             example (its id), action, label (a class name, or null), reviewer, undoes (the seq of the event
             that it undoes, or null), audit (digest of the audited set), at (UTC)

The current decision on an example is its last event that is not undone. So the last writer wins, an undo
restores the previous decision, and no decision is ever lost. Decisions made at once on several examples are
events EVENT/0, EVENT/1, ... of one transaction, and one undo takes all of them back. Examples are identified
by id and classes by name, so that the file stays valid when the audit is run again; where ids are rows, which
other examples may have later, only the decisions on the same set count. Several processes may have it open.
"""

from __future__ import annotations

import contextlib
import datetime
import sqlite3
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import TypedDict

from noisylabels.core.checks import CorruptedFile, InputError
from noisylabels.core.opening import check_database, open_in_place, read_bytes
from noisylabels.core.schema import checked

ACTIONS = ("keep", "suggested", "chosen", "skip", "discard")
LABELED = ("keep", "suggested", "chosen")
"""Actions that name a class; skip leaves the example open, discard removes it from the data."""

_APPLICATION = 0x6E6C7276  # "nlrv": distinguishes these files from other SQLite files
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
_HOLDS = "action != 'undo' AND counts(audit) AND NOT EXISTS (SELECT 1 FROM events WHERE undoes = e.seq)"
_STANDING = f"""
SELECT example, action, label, event, max(seq) FROM events AS e
WHERE {_HOLDS} {{which}}
GROUP BY example
"""
_SAME = "(event = ? OR (event > ? AND event < ?))"


class _Standing(TypedDict):
    example: str
    action: str
    label: str | None
    event: str


@dataclass(frozen=True)
class Decision:
    """The current decision on an example.

    Args:
        action: one of `ACTIONS`; "" if nothing has been decided, or every decision was undone.
        label: the class name for keep, suggested and chosen, else None.
        many: whether it was made at once on several examples, not on this one alone.
    """

    action: str
    label: str | None = None
    many: bool = False


OPEN = Decision("")


class Store:
    """The open file of a review.

    Args:
        path: the file; created if it does not exist.
        audit: digest of the audited set, stored with each event.
        alone: only decisions made on this set count; the others are kept.
        reading: nothing will be saved; a file that cannot be written, as in a read-only folder, is then read
            from a temporary copy, since SQLite writes even to read.

    Raises:
        CorruptedFile: it is not an SQLite file, or a damaged one.
        InputError: another program or a newer version wrote it, it cannot be written, or it is a link.
    """

    def __init__(self, path: Path, audit: str = "", *, alone: bool = False, reading: bool = False) -> None:
        self.path = path
        self._audit = audit
        self._alone = alone
        self._lock = threading.Lock()  # the server's threads share one connection
        self._open = contextlib.ExitStack()
        with self._explained():
            try:
                check_database(path)
                try:
                    self._connect(path)
                except sqlite3.OperationalError:
                    if not reading:
                        raise
                    self._connect(self._copied(path))
            except BaseException:
                self._open.close()
                raise

    def _connect(self, path: Path) -> None:
        # autocommit: transactions begin and end explicitly
        self._connection = sqlite3.connect(path, timeout=10, isolation_level=None, check_same_thread=False)
        self._open.callback(self._connection.close)
        self._connection.create_function("counts", 1, lambda audit: not self._alone or audit == self._audit)
        self._prepare()

    def _copied(self, path: Path) -> Path:
        """Return a temporary copy of the file with the decisions that SQLite keeps beside it."""
        copy = Path(self._open.enter_context(tempfile.TemporaryDirectory())) / path.name
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                content = read_bytes(f"{path}{suffix}")
                with open_in_place(f"{copy}{suffix}", "wb") as file:
                    file.write(content)
        return copy

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
                raise InputError(
                    f"{self.path} was written by a newer version of noisylabels; use that version"
                )
            if tables:
                raise InputError(
                    f"{self.path} is the database of another program, expected the decisions of a review; "
                    "move it elsewhere"
                )
        # FULL syncs the log at each commit, so that a decision is on disk when the commit returns
        call("PRAGMA journal_mode = WAL").fetchall()
        call("PRAGMA synchronous = FULL")
        with self._transaction():
            for statement in _TABLES.split(";"):
                call(statement)
            call(f"PRAGMA application_id = {_APPLICATION}")
            call(f"PRAGMA user_version = {_FORMAT}")

    def close(self) -> None:
        """Close the file; saved decisions are on disk whether or not this is called."""
        with self._lock:
            self._open.close()

    def save(
        self, event: str, example: str, action: str, label: str | None = None, reviewer: str = ""
    ) -> int:
        """Write a decision to disk and return its number; a decision already saved is left unchanged.

        Args:
            event: an id chosen by the client; the same id is the same decision sent again.
            example: id of the example.
            action: one of `ACTIONS`.
            label: class name, for the actions in `LABELED`.
            reviewer: who decides; undo reverts decisions of the same reviewer only.

        Raises:
            InputError: an unknown action, a label missing or unexpected, or the file cannot be written.
        """
        with self._lock, self._explained(), self._transaction():
            return self._add(_single(event), *_checked(example, action, label), reviewer, None)

    def save_many(
        self, event: str, decisions: Sequence[tuple[str, str, str | None]], reviewer: str = ""
    ) -> None:
        """Write decisions on several examples to disk, all or none; one undo takes all of them back.

        Args:
            event: as in `save`, one id for all of them.
            decisions: example, action and label of each, as in `save`.
            reviewer: who decides.

        Raises:
            InputError: as `save`.
        """
        rows = [_checked(*decision) for decision in decisions]
        with self._lock, self._explained(), self._transaction():
            for k, row in enumerate(rows):
                self._add(f"{_single(event)}/{k}", *row, reviewer, None)

    def undo(self, event: str, reviewer: str = "") -> list[str]:
        """Undo the reviewer's last decision and return the examples' ids; none if there is nothing to undo.

        An undo sent twice with the same `event` undoes one decision.
        """
        with self._lock, self._explained(), self._transaction():
            call = self._connection.execute
            again = call(f"SELECT example FROM events WHERE {_SAME} ORDER BY seq", _same(event)).fetchall()
            if again:
                return [str(example) for (example,) in again]
            last = call(
                f"SELECT event FROM events AS e WHERE reviewer = ? AND {_HOLDS} ORDER BY seq DESC LIMIT 1",
                (reviewer,),
            ).fetchone()
            if last is None:
                return []
            undone = call(
                f"SELECT seq, example FROM events AS e WHERE {_SAME} AND {_HOLDS} ORDER BY seq",
                _same(str(last[0]).partition("/")[0]),
            ).fetchall()
            for k, (seq, example) in enumerate(undone):
                name = _single(event) if len(undone) == 1 else f"{_single(event)}/{k}"
                self._add(name, str(example), "undo", None, reviewer, int(seq))
            return [str(example) for _, example in undone]

    def changes(self, since: int = 0) -> tuple[int, dict[str, Decision]]:
        """Return the last event's number, and the current decisions of examples changed after `since`."""
        with self._lock, self._explained(), self._transaction("BEGIN"):
            ((last,),) = self._connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchall()
            if last <= since:
                return int(last), {}
            touched = self._connection.execute("SELECT DISTINCT example FROM events WHERE seq > ?", (since,))
            found = dict.fromkeys((str(example) for (example,) in touched), OPEN)
            which = "AND example IN (SELECT example FROM events WHERE seq > ?)" if since else ""
            standing = self._connection.execute(_STANDING.format(which=which), (since,) if since else ())
            # the event is that of the highest seq; SQLite keeps values of any type in any column
            rows = [dict(zip(("example", "action", "label", "event"), row, strict=False)) for row in standing]
        again = "restore it from a copy, or move it away to start over"
        for row in checked(rows, list[_Standing], self.path, again, CorruptedFile):
            try:
                _checked(row["example"], row["action"], row["label"])
            except InputError as error:
                raise CorruptedFile(f"{self.path}: {error}; {again}") from None
            found[row["example"]] = Decision(row["action"], row["label"], "/" in row["event"])
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
        # IMMEDIATE: two processes that first read and then write would block each other
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
        except OSError as error:
            raise InputError(f"{self.path} cannot be used: {error.strerror}") from None
        except sqlite3.OperationalError as error:  # locked, read-only, a full disk
            raise InputError(
                f"{self.path} cannot be used: {error}; check that it is writable and the disk is not full"
            ) from None
        except sqlite3.DatabaseError as error:
            raise CorruptedFile(
                f"{self.path} is damaged ({error}); restore it from a copy, or move it away to start over"
            ) from None


def _same(event: str) -> tuple[str, str, str]:
    """Return the values of `_SAME`, which finds an event and the parts EVENT/0, EVENT/1, ... of one."""
    return event, f"{event}/", f"{event}0"  # "0" is the character after "/"


def _single(event: str) -> str:
    if "/" in event:
        raise InputError(f"the event id is {event!r}, expected one without a slash")
    return event


def _checked(example: str, action: str, label: str | None) -> tuple[str, str, str | None]:
    if action not in ACTIONS or (label is not None) != (action in LABELED):
        raise InputError(
            f"the action is {action!r} with label {label!r}, expected {', '.join(ACTIONS)}, and a label for "
            f"{', '.join(LABELED)} only"
        )
    return example, action, label
