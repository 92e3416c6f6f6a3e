"""Decisions on disk: whatever happens, a decision reported as saved is stored, once."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import noisylabels
from noisylabels.audit.review.store import OPEN, Decision, Store
from noisylabels.core.checks import CorruptedFile, InputError


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "review.sqlite"


def standing(path: Path) -> dict[str, Decision]:
    store = Store(path)
    found = store.changes()[1]
    store.close()
    return {example: decision for example, decision in found.items() if decision != OPEN}


def test_the_last_decision_on_an_example_holds(path):
    store = Store(path)
    store.save("e1", "a", "keep", "cat")
    store.save("e2", "b", "suggested", "dog")
    store.save("e3", "a", "chosen", "eel")
    store.save("e4", "c", "skip")
    store.save("e5", "d", "discard")
    wanted = {
        "a": Decision("chosen", "eel"),
        "b": Decision("suggested", "dog"),
        "c": Decision("skip"),
        "d": Decision("discard"),
    }
    assert store.changes() == (5, wanted)
    assert store.changes(3) == (5, {name: wanted[name] for name in "cd"})
    assert store.changes(5) == (5, {})
    store.close()
    assert standing(path) == wanted


def test_an_event_sent_twice_counts_once(path):
    store = Store(path)
    first = store.save("same", "a", "keep", "cat")
    store.save("other", "a", "chosen", "dog")
    assert store.save("same", "a", "keep", "cat") == first
    assert store.changes()[1] == {"a": Decision("chosen", "dog")}  # the resent one does not win again
    assert store.undo("u1") == ["a"]
    assert store.undo("u1") == ["a"]  # the same undo again
    assert store.changes()[1] == {"a": Decision("keep", "cat")}
    store.close()


def test_undo_restores_earlier_decisions_one_by_one(path):
    store = Store(path)
    for number, (example, label) in enumerate([("a", "cat"), ("b", "dog"), ("a", "eel")]):
        store.save(f"e{number}", example, "chosen", label)
    store.close()
    store = Store(path)  # also after a restart
    seen = []
    for number in range(3):
        (example,) = store.undo(f"u{number}")
        seen.append((example, store.changes()[1][example]))
    assert seen == [("a", Decision("chosen", "cat")), ("b", OPEN), ("a", OPEN)]
    assert store.undo("u4") == []
    store.save("e9", "b", "keep", "bat")
    assert store.undo("u5") == ["b"]
    store.close()


def test_one_undo_takes_back_decisions_on_many_examples(path):
    store = Store(path)
    store.save("first", "b", "keep", "cat")
    many = [("a", "keep", "cat"), ("b", "suggested", "dog"), ("c", "discard", None)]
    store.save_many("batch", many, "")
    store.save_many("batch", many, "")  # sent again
    assert store.changes() == (
        4,
        {
            "a": Decision("keep", "cat", many=True),
            "b": Decision("suggested", "dog", many=True),
            "c": Decision("discard", many=True),
        },
    )
    store.save("after", "c", "keep", "eel")
    assert store.undo("u1") == ["c"]
    assert store.undo("u2") == ["a", "b", "c"]
    assert store.undo("u2") == ["a", "b", "c"]  # sent again
    assert store.changes()[1] == {"a": OPEN, "b": Decision("keep", "cat"), "c": OPEN}
    assert store.undo("u3") == ["b"]
    store.close()


def test_of_many_decisions_all_or_none_are_saved(path):
    store = Store(path)
    with pytest.raises(InputError, match="expected keep"):
        store.save_many("batch", [("a", "keep", "cat"), ("b", "keep", None)])
    with pytest.raises(InputError, match="without a slash"):  # it would pass for a part of another event
        store.save("batch/0", "a", "keep", "cat")
    with pytest.raises(InputError, match="without a slash"):
        store.save_many("batch/0", [("a", "keep", "cat")])
    assert store.changes() == (0, {})
    store.close()


def test_undo_reverts_decisions_of_the_same_reviewer_only(path):
    store = Store(path)
    store.save("e1", "a", "keep", "cat", reviewer="ann")
    store.save("e2", "a", "chosen", "dog", reviewer="bob")
    store.save("e3", "b", "skip", reviewer="bob")
    assert store.undo("u1", "ann") == ["a"]
    assert store.changes()[1] == {"a": Decision("chosen", "dog"), "b": Decision("skip")}
    assert store.undo("u2", "ann") == []
    store.close()


@pytest.mark.parametrize(
    ("action", "label"), [("keep", None), ("skip", "cat"), ("discard", "cat"), ("undo", None), ("drop", None)]
)
def test_invalid_decisions_are_refused(path, action, label):
    store = Store(path)
    with pytest.raises(InputError, match="the action is"):
        store.save("e1", "a", action, label)
    assert store.changes() == (0, {})
    store.close()


def test_strange_names_come_back_as_they_were(path):
    names = ["a'; DROP TABLE events; --", 'q"uo\tte', "ü/日本/..", "", "x" * 5000]
    store = Store(path)
    for number, name in enumerate(names):
        store.save(f"e{number}", name, "chosen", name)
    store.close()
    assert standing(path) == {name: Decision("chosen", name) for name in names}


def test_many_writers_lose_and_double_nothing(path):
    """Two connections with four threads each, and every event is sent twice."""
    stores = [Store(path), Store(path)]

    def work(number: int) -> None:
        for k in range(25):
            for _ in range(2):
                stores[number % 2].save(f"{number}-{k}", f"{number}/{k}", "chosen", "cat")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.close()
    assert len(standing(path)) == 200
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (200,)
    connection.close()


KILLED = """
import sys, pathlib
from noisylabels.audit.review.store import Store
store = Store(pathlib.Path(sys.argv[1]))
for k in range(100000):
    store.save(f"e{k}", f"x{k}", "chosen", "cat")
    print(k, flush=True)
"""


def test_saved_decisions_survive_a_kill(path):
    source = str(Path(noisylabels.__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": source},
    )
    assert process.stdout
    said = -1
    for line in process.stdout:
        said = int(line)
        if said == 40:
            process.send_signal(signal.SIGKILL)
            break
    said = max([said, *(int(line) for line in process.stdout if line.endswith("\n"))])
    process.wait(20)
    process.stdout.close()
    kept = standing(path)
    assert {f"x{k}" for k in range(said + 1)} <= kept.keys()
    assert len(kept) <= said + 2  # one may be saved and not yet said to be


@pytest.mark.parametrize(
    "content",
    [b"no database at all, but long enough to be read as one" * 40, b"SQLite format 3\0" + b"\xff" * 5000],
)
def test_a_damaged_file_is_reported(path, content):
    path.write_bytes(content)
    with pytest.raises(CorruptedFile, match=r"review\.sqlite is damaged .*; restore it") as told:
        Store(path)
    assert "\n" not in str(told.value)
    assert path.read_bytes() == content  # nothing is made of it


def test_a_damaged_page_in_the_middle_is_detected(path):
    store = Store(path)
    for k in range(500):
        store.save(f"e{k}", f"x{k}", "chosen", "cat" * 30)
    store.close()
    content = bytearray(path.read_bytes())
    content[4096 * 3 : 4096 * 6] = b"\x5a" * (4096 * 3)
    path.write_bytes(content)
    with pytest.raises(CorruptedFile, match="damaged"):
        Store(path)


def test_another_programs_database_is_left_alone(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    with pytest.raises(InputError, match="the database of another program"):
        Store(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]
    connection.close()


def test_a_newer_file_is_not_written_to(path):
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(InputError, match="newer"):
        Store(path)


def test_an_unwritable_folder_is_reported(tmp_path):
    with pytest.raises(InputError, match="cannot be used"):
        Store(tmp_path / "missing" / "review.sqlite")


def test_decisions_of_another_state_of_the_data_are_counted(path):
    store = Store(path, audit="one")
    store.save("e1", "a", "keep", "cat")
    assert store.other_audits() == 0
    store.close()
    store = Store(path, audit="two")
    assert store.other_audits() == 1
    assert store.changes()[1] == {"a": Decision("keep", "cat")}  # known by its id
    store.close()
