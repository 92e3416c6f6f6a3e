"""Studies at URLs: each cell once, whatever stops a runner, and what was computed is kept."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import noisylabels
from noisylabels.cli import main
from noisylabels.core.checks import Busy, InputError
from noisylabels.study import leases, objects, transfer
from noisylabels.study.copies import home_of, run_folder
from noisylabels.study.exports import export
from noisylabels.study.grid import from_table
from noisylabels.study.objects import Objects, open_objects
from noisylabels.study.remote import RemoteStore, open_store
from noisylabels.study.scheduling import carry_out_all
from noisylabels.study.store import Store, left, read_rows
from noisylabels.study.worker import carry_out
from study.test_running import TABLE, Quiet, untimed

CELLS = from_table(TABLE, "six").cells({"device": "cpu"})
TOML = """
[fixed]
data = "digits"
model = "mlp"
width = 0.1
epochs = 2
lr = 0.05
[axes]
loss = ["ce", "mae", "nce"]
seed = [1, 2]
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study in a folder, undisturbed."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    carry_out_all(Store(folder), CELLS, Quiet())
    return folder


@pytest.fixture(autouse=True)
def _own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a machine of its own: its cache, and what it knows of URLs."""
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(objects, "PAUSES", (0.01, 0.02, 0.05))
    open_objects.cache_clear()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RemoteStore]:
    """A study in memory, whose list of cells is written."""
    made = opened(f"memory://{tmp_path.name}/study")
    made.note("six small runs", CELLS)
    yield made
    made.close()


def opened(url: str) -> RemoteStore:
    """Return a study at a URL as another process sees it."""
    open_objects.cache_clear()
    found = open_store(url)
    assert isinstance(found, RemoteStore)
    return found


def states(store: RemoteStore) -> list[str]:
    store.refresh()
    return [store.state(cell).state for cell in CELLS]


def names(store: RemoteStore) -> set[str]:
    return set(store.objects.find())


def test_a_study_at_a_url_equals_one_in_a_folder(store, whole, tmp_path):
    view = Quiet()
    carry_out_all(store, CELLS, view)
    assert view.ends == [(cell.name, "done") for cell in CELLS]
    assert [store.state(cell) for cell in CELLS] == [opened_state(store, cell) for cell in CELLS]
    assert untimed(store.rows([])) == untimed(read_rows(whole))
    assert not any(run_folder(store.folder, cell.name).exists() for cell in CELLS)
    store.close()
    files = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}
    assert names(store) == files | {"study.json"}  # and no lease is left
    for name in names(store):  # a copy is the folder of a study
        store.objects.get(name, tmp_path / "copy" / name)
    assert untimed(read_rows(tmp_path / "copy")) == untimed(read_rows(whole))
    assert {Store(tmp_path / "copy").state(cell).state for cell in CELLS} == {"done"}


def opened_state(store: RemoteStore, cell: Any) -> Any:
    other = opened(store.place)
    other.refresh()
    return other.state(cell)


def test_processes_and_the_commands(whole, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "six.toml").write_text(TOML)
    url = (tmp_path / "bucket" / "six").as_uri()
    run = ["study", "run", "six.toml", "--device", "cpu", "--out", url]
    assert main([*run, "--jobs", "2", "--shard", "1/2"]) == 0
    assert f"3 of 3 cells done, in {url}" in capsys.readouterr().out
    assert main(["study", "show", "six.toml", "--device", "cpu", "--out", url]) == 0
    assert "6 cells, 3 to run" in capsys.readouterr().out
    assert main([*run, "--jobs", "0", "--time-budget", "0"]) == 0
    assert main(["study", "status", url]) == 0
    assert "6 cells: 3 done, 3 waiting" in capsys.readouterr().out
    assert main([*run, "--jobs", "0"]) == 0
    assert "6 of 6 cells done" in capsys.readouterr().out
    assert main(["study", "export", url]) == 0
    assert untimed(read_rows(tmp_path / "six.parquet")) == untimed(read_rows(whole))
    # the folder behind file:// is that of a study
    assert untimed(read_rows(tmp_path / "bucket" / "six")) == untimed(read_rows(whole))


def test_two_runners_share_a_study(store, whole):
    others = opened(store.place)
    others.note("six small runs", CELLS)
    views = [Quiet(), Quiet()]
    threads = [
        threading.Thread(target=carry_out_all, args=(each, cells, view))
        for each, cells, view in zip((store, others), (CELLS, CELLS[::-1]), views, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    others.close()
    done = [name for view in views for name, status in view.ends if status == "done"]
    assert sorted(done) == sorted(cell.name for cell in CELLS)
    assert untimed(store.rows([])) == untimed(read_rows(whole))


KILLED = """
import sys
from noisylabels.study import transfer
from noisylabels.study.grid import from_table
from noisylabels.study.remote import open_store
from noisylabels.study.scheduling import carry_out_all
transfer.SEND_SECONDS = 0.05
sys.path.insert(0, {tests!r})
from study.test_running import Quiet
cells = from_table({table!r}, "s").cells({{"device": "cpu"}})
store = open_store({url!r})
store.note("", cells)
carry_out_all(store, cells, Quiet())
"""
LONG = {"fixed": TABLE["fixed"] | {"epochs": 60}, "axes": {"seed": [1]}}


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one longer run in a folder, undisturbed."""
    folder = tmp_path_factory.mktemp("long") / "study"
    carry_out_all(Store(folder), from_table(LONG, "s").cells({"device": "cpu"}), Quiet())
    return folder


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize("same_machine", [True, False])
def test_a_killed_runner_is_replaced_from_what_it_has_sent(same_machine, long, tmp_path, monkeypatch):
    url = (tmp_path / "bucket" / "s").as_uri()
    cells = from_table(LONG, "s").cells({"device": "cpu"})
    source, tests = str(Path(noisylabels.__file__).parents[1]), str(Path(__file__).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(tests=tests, table=LONG, url=url)],
        env=os.environ | {"PYTHONPATH": source},
    )
    sent = tmp_path / "bucket" / "s" / cells[0].name / "checkpoint.pt"
    while not sent.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if not same_machine:
        monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "another"))
    store = opened(url)
    store.note("", cells)
    assert store.state(cells[0]).state == ("begun" if same_machine else "running")
    if not same_machine:  # held for dead after a while without a sign of life
        monkeypatch.setattr(leases, "LEASE_SECONDS", 0.0)
        time.sleep(0.02)
        store.close()
        store.note("", cells)
        assert store.state(cells[0]).state == "begun"
    before = store.state(cells[0]).epoch
    view = Quiet()
    carry_out_all(store, cells, view)
    store.close()
    assert view.ends == [(cells[0].name, "done")]
    assert before >= 1
    rows = store.rows([])
    assert untimed(rows) == untimed(read_rows(long))


class During(Quiet):
    """A view that calls a function while the first cell runs."""

    def __init__(self, act: Any, folder: Path) -> None:
        super().__init__()
        self.act, self.folder = act, folder

    def tick(self) -> None:
        if self.act is not None and (self.folder / "history.jsonl").exists():
            self.act()
            self.act = None


def test_a_runner_held_for_dead_sends_nothing_more(store, monkeypatch):
    monkeypatch.setattr(RemoteStore, "patience_seconds", 0.5)
    first = CELLS[0]

    def take_over() -> None:
        store.objects.delete(f"{first.name}/.lease-{store._runner().id}")
        store.objects.write(f"{first.name}/.lease-another", b"")
        store.objects.write(".runners/another", b"")

    view = During(take_over, store.path(first))
    work = carry_out_all(store, [first], view)
    assert view.ends == [(first.name, "busy")]
    assert work.elsewhere == [first]
    assert not any(name.startswith(f"{first.name}/") and ".lease" not in name for name in names(store))


def test_a_cell_submitted_again_is_lost_to_a_machine_that_was_only_cut_off(store, tmp_path, monkeypatch):
    """Ray takes the machine for dead, but it still reaches the store."""
    monkeypatch.setattr(RemoteStore, "patience_seconds", 0.5)
    first, again = CELLS[0], []

    def submit_again() -> None:
        store.heard(first, None)
        again.append(store.order(first)["at"]["runner"])
        leases.take(store.objects, first.name, again[0], tmp_path / "another")

    view = During(submit_again, store.path(first))
    carry_out_all(store, [first], view)
    assert view.ends == [(first.name, "busy")]
    assert store.objects.find(first.name).keys() == {f"{first.name}/.lease-{again[0]}"}
    other = opened(store.place)
    assert states(other)[0] == "running"
    store.close()  # ends the leases of this process
    assert states(other)[0] == "waiting"


def test_the_leases_of_the_submissions_of_a_cell(store, tmp_path):
    first, home = CELLS[0], tmp_path / "another"
    ids = []
    for _ in range(3):
        ids.append(store.order(first)["at"]["runner"])
        store.heard(first, {"status": "interrupted", "message": ""})
        assert store.order(first)["at"]["runner"] == ids[-1]  # it was answered: no other process is at work
        store.heard(first, None)
    assert len(set(ids)) == 3
    assert {leases.runner_of(each) for each in ids} == {store._runner().id}
    for each in ids[:2]:
        assert leases.has(leases.take(store.objects, first.name, each, home), each)
    assert store.objects.find(first.name).keys() == {f"{first.name}/.lease-{ids[1]}"}
    with pytest.raises(Busy):  # of a machine that begins late
        leases.take(store.objects, first.name, ids[0], home)
    assert store.objects.find(first.name).keys() == {f"{first.name}/.lease-{ids[1]}"}
    other = opened(store.place)
    other._runner()
    with pytest.raises(Busy):
        leases.take(other.objects, first.name, f"{other._runner().id}", home)
    other.close()
    # what this process itself does with the cell ends them too
    store.fail(first, "no such loss")
    store.refresh()
    store.retry(first)
    assert states(store)[0] == "waiting"
    assert not store.objects.find(first.name)


def test_a_history_of_another_run_than_the_result_is_not_shown(store):
    """Two machines that send the files of one cell can leave such objects."""
    carry_out_all(store, CELLS[:2], Quiet())
    history = store.objects.read(f"{CELLS[1].name}/history.jsonl") or b""
    store.objects.write(f"{CELLS[0].name}/history.jsonl", history)
    notes: list[str] = []
    assert [row["run_id"] for row in store.rows(notes)] == [CELLS[1].run_id]
    wrong = f"{store.place}/{CELLS[0].name}/history.jsonl does not end with the final row of the result"
    assert notes == [f"{store.place}: skipped 1 damaged run, first: {wrong}"]


def test_a_runner_waits_for_the_cells_of_one_that_dies(store, whole, monkeypatch):
    monkeypatch.setattr("noisylabels.study.remote.LOOK_SECONDS", 0.2)
    store.objects.write(f"{CELLS[0].name}/.lease-0another", b"")
    store.objects.write(".runners/0another", b"")
    assert states(store)[0] == "running"
    view = Quiet()
    dies = threading.Timer(4, store.objects.delete, [".runners/0another"])
    dies.start()
    carry_out_all(store, CELLS[:2], view)
    dies.join()
    assert view.ends[0] == (CELLS[0].name, "busy")
    assert view.ends[-1] == (CELLS[0].name, "done")
    assert ".lease-0another" not in str(names(store))


def test_of_many_that_want_a_cell_one_has_it_at_a_time(tmp_path):
    store = Objects("memory://x", open_objects(f"memory://{tmp_path.name}/wanted")._files)
    inside, most, turns = [], [], []
    runners = [leases.Runner(store, tmp_path / str(number)) for number in range(6)]
    for runner in runners:
        runner.start()

    def want(runner: leases.Runner, home: Path) -> None:
        rng, until, turn = random.Random(runner.id), time.monotonic() + 60, 0
        while not turn and time.monotonic() < until:
            try:
                with leases.leased(store, "cell", runner.id, home):
                    inside.append(runner.id)
                    most.append(len(inside))
                    time.sleep(0.02)
                    inside.remove(runner.id)
                turn += 1
            except Busy:
                time.sleep(rng.uniform(0.01, 0.5))
        turns.append(turn)

    threads = [
        threading.Thread(target=want, args=(runner, tmp_path / str(number)))
        for number, runner in enumerate(runners)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for runner in runners:
        runner.close()
    assert turns == [1] * 6
    assert max(most) == 1
    assert store.find() == {}


@pytest.mark.parametrize("rival", [True, False])
def test_a_lease_that_another_runner_deletes_at_once_is_written_again(store, tmp_path, monkeypatch, rival):
    """That runner had held this one for dead, and may want the cell too."""
    runner = leases.Runner(store.objects, tmp_path / "home")
    runner.start()
    look, deleted = leases.look, []

    def delayed(*args: Any) -> Any:
        if not deleted:
            deleted.append(True)
            store.objects.delete(f"cell/.lease-{runner.id}")
            if rival:
                store.objects.write("cell/.lease-~", b"")
                store.objects.write(".runners/~", b"")
        return look(*args)

    monkeypatch.setattr(leases, "look", delayed)
    monkeypatch.setattr(leases, "TRY_SECONDS", 0.0)
    if rival:
        with pytest.raises(Busy):
            leases.take(store.objects, "cell", runner.id, tmp_path / "home")
        assert set(store.objects.find("cell")) == {"cell/.lease-~"}
    else:
        there = leases.take(store.objects, "cell", runner.id, tmp_path / "home")
        assert set(there) == {f".lease-{runner.id}"}
        assert set(store.objects.find("cell")) == {f"cell/.lease-{runner.id}"}
    runner.close()


def test_the_first_result_is_kept(store, whole):
    first = CELLS[0]
    result = (whole / first.name / "result.json").read_bytes()
    view = During(lambda: store.objects.write(f"{first.name}/result.json", result), store.path(first))
    carry_out_all(store, [first], view)
    assert view.ends == [(first.name, "found")]
    assert store.objects.read(f"{first.name}/result.json") == result
    assert store.state(first).state == "done"


class Faulty:
    """A store in memory that fails on a seed: before a request, or after it, or with half of an object."""

    def __init__(self, files: Any, share: float) -> None:
        self._files, self._share, self._rng = files, share, random.Random(1)
        self._lock = threading.Lock()
        self.faults = 0

    def __getattr__(self, name: str) -> Any:
        work = getattr(self._files, name)

        def call(*args: Any, **more: Any) -> Any:
            with self._lock:
                kind = self._rng.choice(["before", "after", "half"])
                fails = self._rng.random() < self._share
            self.faults += fails
            if fails and kind == "before":
                raise OSError("503 Slow Down")
            found = work(*args, **more)
            if fails and kind == "half" and name == "get":
                args[1].write_bytes(args[1].read_bytes()[: args[1].stat().st_size // 2])
                return found
            if fails:
                raise ConnectionError("the connection was reset")
            return found

        return call


class Growing:
    """A store in which a run writes a longer history each time before that is read."""

    def __init__(self, files: Any, write: Any) -> None:
        self._files, self._write = files, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._files, name)

    def get(self, name: str, path: Path) -> None:
        if name.endswith("history.jsonl"):
            self._write(name)
        self._files.get(name, path)


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_history_that_grows_after_the_listing_is_read_as_it_is(kind, whole, tmp_path, monkeypatch):
    store = opened(f"memory://{tmp_path.name}/s" if kind == "memory" else (tmp_path / "bucket").as_uri())
    first = CELLS[0]
    lines = (whole / first.name / "history.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 2
    store.objects.write(f"{first.name}/config.json", (whole / first.name / "config.json").read_bytes())
    store.objects.write(f"{first.name}/history.jsonl", lines[0])
    files = store.objects._files
    other = Objects("", files)
    growing = Growing(files, lambda name: other.write(name, b"".join(lines)))
    monkeypatch.setattr(store.objects, "_files", growing)
    before = store.objects.requests.copy()
    store.refresh()
    assert (store.state(first).state, store.state(first).epoch) == ("begun", 2)
    # the listing, the history, and the size that it has now
    assert store.objects.requests - before == {"list": 2, "get": 1}
    store.look_again([first])
    assert store.state(first).epoch == 2


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_a_write_whose_answer_was_lost_is_not_taken_for_another_runner(kind, tmp_path, monkeypatch):
    url = f"memory://{tmp_path.name}/s" if kind == "memory" else (tmp_path / "bucket").as_uri()
    store = opened(url).objects
    (tmp_path / "result").write_bytes(b"first")
    put, lost = store._files.put, [True]

    def losing(path: Path, name: str, *, new: bool) -> None:
        put(path, name, new=new)
        if lost.pop():
            raise ConnectionError("the connection was reset")

    monkeypatch.setattr(store._files, "put", losing)
    store.put(tmp_path / "result", "cell/result.json", new=True)
    assert store.read("cell/result.json") == b"first"
    (tmp_path / "result").write_bytes(b"second, longer")
    lost.append(False)
    with pytest.raises(FileExistsError):
        store.put(tmp_path / "result", "cell/result.json", new=True)


def test_faults_lose_nothing(store, whole, monkeypatch):
    monkeypatch.setattr(objects, "PAUSES", (0.0,) * 12)
    faulty = Faulty(store.objects._files, 0.3)
    monkeypatch.setattr(store.objects, "_files", faulty)
    view = Quiet()
    carry_out_all(store, CELLS, view)
    assert sorted(view.ends) == sorted((cell.name, "done") for cell in CELLS)
    assert untimed(store.rows([])) == untimed(read_rows(whole))
    assert faulty.faults > 10


def test_what_could_not_be_sent_is_kept_and_sent_by_the_next_run(store, whole, monkeypatch):
    first, files = CELLS[0], store.objects._files
    broken = Faulty(files, 1.0)

    def part() -> None:
        monkeypatch.setattr(store.objects, "_files", broken)

    work = carry_out_all(store, CELLS, During(part, store.path(first)))
    assert work.full.startswith("cannot list memory://")
    assert f"{store.path(first)} keeps what was computed, and the same command on this machine" in work.full
    assert work.ended == {}
    kept = (store.path(first) / "history.jsonl").read_bytes()
    monkeypatch.setattr(store.objects, "_files", files)
    assert states(store) == ["waiting"] * 6
    view = Quiet()
    carry_out_all(store, CELLS, view)
    assert view.ends == [(cell.name, "done") for cell in CELLS]
    assert store.objects.read(f"{first.name}/history.jsonl") == kept  # its times too: it was not run again
    assert untimed(store.rows([])) == untimed(read_rows(whole))


def test_a_failure_is_recorded_and_retried(store, tmp_path):
    (tmp_path / "own.py").write_text("def make():\n    raise RuntimeError('no such thing')\n")
    fixed = TABLE["fixed"] | {"width": 1.0}
    table = {"fixed": fixed, "axes": {"model": [f"{tmp_path / 'own.py'}:make"], "seed": [1]}}
    (cell,) = from_table(table, "s").cells({"device": "cpu"})
    store.note("", [cell])
    carry_out_all(store, [cell], Quiet())
    store.refresh()
    assert store.state(cell).state == "failed"
    assert "no such thing" in store.state(cell).message
    assert [row["status"] for row in store.rows([])] == ["failed"]
    store.retry(cell)
    assert store.state(cell).state == "waiting"
    (tmp_path / "own.py").write_text(
        "import torch\n\n\ndef make(image_size, channels, num_classes):\n"
        "    n = channels * image_size[0] * image_size[1]\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(n, num_classes))\n"
    )
    carry_out_all(store, [cell], Quiet())
    assert store.state(cell).state == "done"
    (tmp_path / "own.py").write_text("def make():\n    pass\n")
    store.refresh()
    with pytest.raises(InputError, match=r"own\.py has changed since the run"):
        store.check_code([cell])


def test_damaged_objects_are_moved_and_the_cell_runs_again(store, whole):
    carry_out_all(store, CELLS[:2], Quiet())
    store.objects.write(f"{CELLS[0].name}/result.json", b"{")
    other = store.objects.read(f"{CELLS[1].name}/result.json")
    store.objects.write(f"{CELLS[2].name}/result.json", other)
    assert states(store)[:3] == ["damaged", "done", "damaged"]
    assert "holds the run" in store.state(CELLS[2]).message
    assert store.state(CELLS[0]).message.startswith(f"{store.place}/{CELLS[0].name}/result.json")
    notes: list[str] = []
    assert len(store.rows(notes)) == 1
    assert f"{store.place}/{CELLS[0].name}/result.json" in notes[0]
    assert store.set_aside(CELLS[0]) == f"{store.place}/damaged/{CELLS[0].name}.1"
    assert store.set_aside(CELLS[1]) is None
    assert store.set_aside(CELLS[2]) == f"{store.place}/damaged/{CELLS[2].name}.1"
    carry_out_all(store, left(store, CELLS), Quiet())
    assert untimed(store.rows([])) == untimed(read_rows(whole))


def test_a_damaged_checkpoint_costs_its_run(store, whole):
    history = store.path(CELLS[0]) / "history.jsonl"
    answer = carry_out(store.order(CELLS[0]), history.exists)
    assert answer["status"] == "interrupted"
    store.heard(CELLS[0], answer)
    assert states(store)[0] == "begun"
    assert store.state(CELLS[0]).epoch == 1
    store.objects.write(f"{CELLS[0].name}/checkpoint.pt", b"nonsense")
    view = Quiet()
    carry_out_all(store, CELLS, view)
    assert [status for _, status in view.ends].count("damaged") == 1
    assert f"damaged/{CELLS[0].name}.1/checkpoint.pt" in names(store)
    assert untimed(store.rows([])) == untimed(read_rows(whole))


def test_a_finished_copy_of_a_run_counts_before_a_diverged_one(store, whole):
    """In a study at a URL with objects of two cells of one id, as after a copy beside the first."""
    for file in (whole / CELLS[0].name).iterdir():
        for name in ("0-diverged", CELLS[0].name, "z-diverged"):
            content = file.read_bytes()
            if "diverged" in name and file.name == "result.json":
                content = json.dumps(
                    json.loads(content) | {"status": "failed", "message": "diverged"}
                ).encode()
            store.objects.write(f"{name}/{file.name}", content)
    assert [row["status"] for row in store.rows([])] == ["done"]


def test_a_copy_that_cannot_be_read_for_now_moves_no_object(store, monkeypatch):
    carry_out_all(store, CELLS[:1], Quiet())
    store.refresh()
    copy, opened_by_system = store.copies.path(f"{CELLS[0].name}/result.json"), os.open

    def refuse(path: Any, *args: Any, **more: Any) -> int:
        if Path(os.fspath(path)) == copy:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE), str(path))
        return opened_by_system(path, *args, **more)

    monkeypatch.setattr(os, "open", refuse)
    assert store.state(CELLS[0]).state == "unreadable"
    assert store.set_aside(CELLS[0]) is None
    monkeypatch.undo()
    assert states(store)[0] == "done"


def test_no_copy_of_what_was_deleted_is_shown(store, whole):
    """A cell diverged and was shown; then its history was lost; then it was run again, and could not be."""
    first = CELLS[0]
    for file in (whole / first.name).iterdir():
        content = file.read_bytes()
        if file.name == "result.json":
            result = json.loads(content) | {"status": "failed", "message": "diverged"}
            content = json.dumps(result).encode()
        store.objects.write(f"{first.name}/{file.name}", content)
    assert [(row["message"], len(row["history"])) for row in store.rows([])] == [("diverged", 2)]
    store.objects.delete(f"{first.name}/history.jsonl")
    with pytest.raises(InputError, match=r"1 damaged run, first: there is no file .*/history\.jsonl"):
        store.rows([])
    store.retry(first)
    store.fail(first, "no such loss")
    assert [(row["message"], row["history"]) for row in store.rows([])] == [("no such loss", [])]
    assert store.state(first).message == "no such loss"


def test_an_object_that_is_deleted_after_the_listing_leaves_no_copy(store, monkeypatch):
    first = CELLS[0]
    store.fail(first, "no such loss")
    assert states(store)[0] == "failed"
    store.objects.write(f"{first.name}/failure.json", b"{}")
    find = store.objects.find

    def listed(under: str = "") -> Any:
        found = find(under)
        store.objects.delete(f"{first.name}/failure.json")
        return found

    monkeypatch.setattr(store.objects, "find", listed)
    store.refresh()
    assert "no such loss" not in store.state(first).message
    monkeypatch.undo()
    assert states(store)[0] == "waiting"


def test_a_list_that_cannot_be_read_is_moved_and_written_again(store):
    store.objects.write("study.json", b"[]")
    with pytest.raises(InputError, match=r"study/study\.json is not a list of cells"):
        store.noted()
    assert store.note("six small runs", CELLS) == f"{store.place}/damaged/study.json.1"
    assert [cell.name for cell in store.noted()[1]] == [cell.name for cell in CELLS]


def test_cells_restored_from_a_file(store, whole, tmp_path):
    from noisylabels.study.restoring import find

    export(read_rows(whole), tmp_path / "six.parquet")
    found = find([tmp_path / "six.parquet"], CELLS, "six")
    carry_out_all(store, CELLS[:1], Quiet())
    restored, lines = found.restore(store, CELLS)
    assert len(restored) == 5
    assert "5 cells" in lines[0]
    assert states(store) == ["done"] * 6
    assert untimed(store.rows([])) == untimed(read_rows(whole))
    assert not any(".lease" in name for name in names(store))


def test_two_runners_that_add_cells_keep_those_of_each_other(tmp_path):
    url = f"memory://{tmp_path.name}/both"
    both = [opened(url), opened(url)]
    threads = [
        threading.Thread(target=each.note, args=("t", cells))
        for each, cells in zip(both, (CELLS[:3], CELLS[3:]), strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {cell.name for cell in both[0].noted()[1]} == {cell.name for cell in CELLS}
    for each in both:
        each.close()
    assert names(both[0]) == {"study.json"}


@pytest.mark.parametrize("count", [324, pytest.param(1200, marks=pytest.mark.cluster)])
def test_status_asks_for_each_small_object_once(count, store, whole):
    carry_out_all(store, CELLS[:1], Quiet())
    table = {"fixed": TABLE["fixed"], "axes": {"seed": list(range(count))}}
    cells = from_table(table, "s").cells({"device": "cpu"})
    store.note("", cells)
    content = json.loads(store.objects.read(f"{CELLS[0].name}/result.json") or b"")
    for cell in cells:
        for name in ("config.json", "environment.json", "history.jsonl", "labels.parquet"):
            store.objects.write(f"{cell.name}/{name}", b"")
        store.objects.write(
            f"{cell.name}/result.json", json.dumps(content | {"run_id": cell.run_id}).encode()
        )
    shutil.rmtree(store.folder / "copies")
    for first in (True, False):
        status = opened(store.place)
        before = status.objects.requests.copy()
        _, listed = status.noted()
        assert sum(status.state(cell).state == "done" for cell in listed) == count + 1
        # the list of cells, a listing (a request per 1,000 objects in S3), and once each result
        assert status.objects.requests - before == {"get": 1 + (count + 1) * first, "list": 1}


def test_requests_of_a_cell(store):
    carry_out_all(store, CELLS[:1], Quiet())
    before = store.objects.requests.copy()
    carry_out_all(store, CELLS[1:3], Quiet())
    # the lease and six files; the cell when it is taken and when it is sent; the lease
    assert store.objects.requests - before == {"put": 2 * 7, "list": 2 * 2, "delete": 2}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "zz://a/b"], "zz://a/b names no store (Protocol not known: zz); expected s3://"),
        (["--out", "file://host/a"], "file://host/a names no folder; expected file:///PATH"),
        (["--out", "s3://"], "s3: names no place; expected a URL such as s3://BUCKET/PATH"),
        (["--out", "memory://t/s", "--track", "tensorboard"], "--track tensorboard writes beside the runs"),
        (
            ["--out", "memory://t/s"],
            "memory://t/s is in the memory of each process, so no run would be kept; ",
        ),
    ],
)
def test_urls_and_settings_that_do_not_fit(words, message, tmp_path, capsys):
    (tmp_path / "s.toml").write_text(TOML)
    assert main(["study", "run", str(tmp_path / "s.toml"), *words]) == 2
    assert message in capsys.readouterr().err


def test_a_url_without_a_study(capsys):
    assert main(["study", "status", "memory://nothing/here"]) == 2
    assert "memory://nothing/here holds no study; expected the URL of one" in capsys.readouterr().err
    assert main(["study", "export", "memory://nothing/here"]) == 2
    assert "memory://nothing/here holds no finished run" in capsys.readouterr().err


def test_without_a_package_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(InputError, match=r"^gs://b/s needs a package .*pip install gcsfs for gs://"):
        open_store("gs://b/s")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(InputError, match=r"^fsspec is missing; run pip install 'noisylabels\[remote\]'$"):
        open_store("s3://b/s")


def test_a_study_in_a_folder_imports_no_fsspec():
    code = "import sys, noisylabels.study.objects; assert 'fsspec' not in sys.modules"
    source = str(Path(noisylabels.__file__).parents[1])
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": source})


def test_the_folder_on_this_machine_follows_the_cache(tmp_path):
    assert home_of("s3://a/b").parent == tmp_path / "cache" / "studies"
    assert home_of("s3://a/b") == home_of("s3://a/b/") != home_of("s3://a/c")
    assert isinstance(open_objects("memory://a/b"), Objects)
    assert transfer.SEND_SECONDS <= leases.BEAT_SECONDS < leases.LEASE_SECONDS / 2
