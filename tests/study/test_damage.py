"""What disks, copies, people and their code do to a study while it is carried out."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from noisylabels.cli import main
from noisylabels.cli.progress import Progress
from noisylabels.core.checks import InputError
from noisylabels.core.files import locked_folder
from noisylabels.core.locks import exclusive_lock, is_locked
from noisylabels.experiment.folder import FILES
from noisylabels.study import scheduling
from noisylabels.study.grid import from_table
from noisylabels.study.scheduling import carry_out_all
from noisylabels.study.store import Store, left, read_rows
from noisylabels.study.worker import carry_out
from warm_process import WarmPopen

TEXT = """
title = "two small runs"
[fixed]
data = "digits"
model = "mlp"
width = 0.1
epochs = 2
[axes]
loss = ["ce", "mae"]
"""
FIXED = {"data": "digits", "model": "mlp", "width": 0.1, "epochs": 2}
CELLS = from_table({"fixed": FIXED, "axes": {"loss": ["ce", "mae"]}}, "two").cells({"device": "cpu"})
CELL = CELLS[0]


class Quiet:
    """A view that remembers."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, str]] = []

    def begun(self, cell) -> None:
        pass

    def ended(self, cell, answer) -> None:
        self.ends.append((answer["status"], answer["message"]))

    def tick(self) -> None:
        pass


def measured(folder: Path) -> list[tuple]:
    """Return of each row what must not depend on how it came about."""
    rows = sorted(read_rows(folder), key=lambda row: row["run_id"])
    return [(r["run_id"], r["status"], [e["test_loss"] for e in r["history"]]) for r in rows]


def damage(path: Path, way: str) -> None:
    if way == "folder":
        path.unlink()
        path.mkdir()
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "garbage": b"\xff\0x\n" * 9}[way])


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with the study done, and one in which the first cell was stopped in its second epoch."""
    folder = tmp_path_factory.mktemp("made")
    carry_out_all(Store(folder / "done"), CELLS, Quiet())
    shutil.copytree(folder / "done", folder / "begun")
    out = folder / "begun" / CELL.name
    shutil.rmtree(out)
    steps = iter([False] * 16 + [True] * 99)
    config = vars(CELL.config) | {"out": str(out)}
    assert carry_out(config, lambda: next(steps))["status"] == "interrupted"
    assert (out / "checkpoint.pt").exists()
    assert (out / "history.jsonl").read_text().count("\n") == 1
    return folder


@pytest.fixture
def study(tmp_path) -> list[str]:
    """The command that carries the study out, in the folder `study`."""
    (tmp_path / "two.toml").write_text(TEXT)
    command = ["study", "run", str(tmp_path / "two.toml"), "--out", str(tmp_path / "study")]
    return [*command, "--jobs", "0", "--device", "cpu"]


@pytest.mark.parametrize("way", ["cut", "empty", "garbage", "folder"])
@pytest.mark.parametrize("kind", ["done", "begun"])
def test_a_damaged_file_is_named_and_the_study_ends_complete(made, study, tmp_path, capsys, kind, way):
    folder, seen = tmp_path / "study", 0
    for name in FILES:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made / kind, folder)
        file = folder / CELL.name / name
        if not file.exists() or (kind, name, way) == ("begun", "history.jsonl", "empty"):
            continue  # which is what a kill in the first epoch leaves
        seen += 1
        damage(file, way)
        assert Store(folder).state(CELL).state == "damaged"
        assert main(study) == 0
        said = capsys.readouterr()
        assert "2 of 2 cells done" in said.out
        assert f"moved to {folder / 'damaged' / CELL.name}.1, to be run again" in said.err
        assert measured(folder) == measured(made / "done")
    assert seen == {"done": 6, "begun": 5}[kind] - ((kind, way) == ("begun", "empty"))


def refusing(folder: Path, name: str, code: int):
    """Return `os.open`, which fails for the files of a name in a folder."""
    opened = os.open

    def refuse(path, *args, **more):
        if Path(os.fspath(path)) == folder / name:
            raise OSError(code, os.strerror(code), str(path))
        return opened(path, *args, **more)

    return refuse


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.EACCES])
@pytest.mark.parametrize("kind", ["done", "begun"])
def test_a_file_that_cannot_be_read_for_now_moves_nothing(
    made, study, tmp_path, capsys, monkeypatch, kind, code
):
    store, seen = Store(tmp_path / "study"), 0
    shutil.copytree(made / kind, store.folder)
    before = {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}
    for name in FILES:
        if not (store.path(CELL) / name).exists():
            continue
        seen += 1
        with monkeypatch.context() as patched:
            patched.setattr(os, "open", refusing(store.path(CELL), name, code))
            assert store.state(CELL).state == "unreadable"
            assert store.set_aside(CELL) is None
            assert store.set_aside(CELL, damaged=True) is None
            assert left(store, CELLS) == []
            assert main(study) == 2
            assert main(["study", "status", str(store.folder)]) == 0
        said = capsys.readouterr()
        assert "1 of 2 cells done" in said.out
        assert f"{CELL.name} is left as it is: " in said.err
        assert f"1 cell is left as before: {store.path(CELL)}" in said.err.splitlines()[-1]
        assert os.strerror(code) in said.err
        assert "2 cells: 1 done, 1 unreadable" in said.out
        after = {path: path.read_bytes() for path in store.folder.rglob("*") if path.is_file()}
        assert {path: content for path, content in after.items() if path.name != "study.json"} == {
            path: content for path, content in before.items() if path.name != "study.json"
        }
    assert seen == {"done": 6, "begun": 5}[kind]
    assert main(study) == 0
    assert "2 of 2 cells done" in capsys.readouterr().out
    assert measured(store.folder) == measured(made / "done")
    assert not (store.folder / "damaged").exists()


def test_a_folder_that_cannot_be_looked_at_moves_nothing(made, tmp_path, monkeypatch):
    store = Store(tmp_path / "study")
    shutil.copytree(made / "done", store.folder)
    stat = Path.stat

    def refused(path: Path, **more):
        if path.parent == store.path(CELL):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **more)

    monkeypatch.setattr(Path, "stat", refused)
    assert store.state(CELL).state == "unreadable"
    assert store.set_aside(CELL) is None
    monkeypatch.undo()
    assert store.state(CELL).state == "done"


def test_what_is_missing_or_of_another_kind(made, study, tmp_path, capsys):
    folder = tmp_path / "study"
    for kind in ("done", "begun"):
        for what in (
            "no config",
            "no identity",
            "a file for the folder",
            "another history",
            "a locked folder",
        ):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(made / kind, folder)
            out = folder / CELL.name
            if what == "no config":
                (out / "config.json").unlink()
            elif what == "no identity":
                (out / "environment.json").write_text("{}")
            elif what == "a file for the folder":
                shutil.rmtree(out)
                out.write_text("x")
            elif what == "other rows":
                (out / "history.jsonl").write_text("{}\n")
            else:
                (out / "failure.json").mkdir()
                (out / "result.json").unlink(missing_ok=True)
            assert main(study) == 0
            said = capsys.readouterr()
            assert "2 of 2 cells done" in said.out
            assert "run again" in said.err
            assert measured(folder) == measured(made / "done")
    # weights that were removed to save space are no damage
    (folder / CELL.name / "model.safetensors").unlink()
    assert Store(folder).state(CELL).state == "done"


def test_a_checkpoint_with_a_bit_turned_is_found_and_the_cell_starts_over(made, study, tmp_path, capsys):
    """Its ends are as they should be, so that only the run itself sees it."""
    folder = tmp_path / "study"
    for jobs in ("0", "1"):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(made / "begun", folder)
        file = folder / CELL.name / "checkpoint.pt"
        whole = bytearray(file.read_bytes())
        whole[len(whole) // 2] ^= 1
        file.write_bytes(whole)
        assert Store(folder).state(CELL).state == "begun"
        assert main([*study, "--jobs", jobs]) == 0
        said = capsys.readouterr().err
        assert f"{CELL.name} is damaged" in said
        assert f"moved to {folder / 'damaged' / CELL.name}.1, to be run again" in said
        assert measured(folder) == measured(made / "done")


def test_labels_that_cannot_be_read_are_written_again_by_the_run_that_goes_on(made, study, tmp_path):
    from noisylabels.noise.labels import NoisyLabels

    folder = tmp_path / "study"
    shutil.copytree(made / "begun", folder)
    file = folder / CELL.name / "labels.parquet"
    whole = bytearray(file.read_bytes())
    whole[8:40] = bytes(32)  # the ends are as they should be
    file.write_bytes(whole)
    with pytest.raises(InputError):
        NoisyLabels.load(file)
    assert main(study) == 0
    assert NoisyLabels.load(file).digest == NoisyLabels.load(made / "done" / CELL.name / file.name).digest


def test_a_damaged_folder_is_not_moved_from_under_whoever_is_at_work_there(made, tmp_path):
    store = Store(tmp_path / "study")
    shutil.copytree(made / "begun", store.folder)
    (store.path(CELL) / "config.json").write_text("{")
    with exclusive_lock(store.path(CELL) / ".lock"):
        assert store.state(CELL).state == "running"
        assert store.set_aside(CELL) is None
    assert store.set_aside(CELLS[1]) is None  # nor one that is whole
    assert store.set_aside(CELL) == store.folder / "damaged" / f"{CELL.name}.1"
    assert store.set_aside(CELL) is None  # another runner was faster
    assert not list(store.folder.rglob(".lock"))


def test_a_cell_whose_folder_another_runner_removes_is_run_and_has_not_failed(tmp_path, monkeypatch):
    """That runner wrote nothing into the folder, and removes it while this one waits for its lock."""
    store, other = Store(tmp_path / "study"), contextlib.ExitStack()
    monkeypatch.setattr(time, "sleep", lambda seconds: other.close())
    other.enter_context(locked_folder(store.path(CELL), "the folder"))
    view = Quiet()
    carry_out_all(store, [CELL], view)
    assert [status for status, _ in view.ends] == ["done"]
    assert not (store.path(CELL) / "failure.json").exists()
    # and so is one that is restored from a file
    other.enter_context(locked_folder(store.path(CELLS[1]), "the folder"))
    with monkeypatch.context() as patched:
        patched.setattr("noisylabels.study.store.is_locked", lambda path: False)  # it had not begun by then
        with store.taking(CELLS[1], ("waiting",)) as ours:
            assert ours
            assert is_locked(store.path(CELLS[1]) / ".lock")


def test_a_folder_that_is_gone_is_nobody_s_to_set_aside(made, tmp_path, monkeypatch):
    """Another runner was faster, and may make the folder again at any moment."""
    store = Store(tmp_path / "study")
    store.folder.mkdir()
    monkeypatch.setattr(Store, "_damaged", lambda store, cell: True)  # as that runner begins
    assert store.set_aside(CELL) is None
    monkeypatch.undo()
    shutil.copytree(made / "begun", store.folder, dirs_exist_ok=True)
    damage(store.path(CELL) / "config.json", "cut")
    aside = store.set_aside(CELL)
    assert aside == store.folder / "damaged" / f"{CELL.name}.1"
    assert not (aside / ".lock").exists()


@pytest.mark.parametrize("way", ["cut", "empty", "garbage", "folder", "object"])
def test_a_damaged_list_of_cells_is_made_anew(made, study, tmp_path, capsys, way):
    folder = tmp_path / "study"
    shutil.copytree(made / "done", folder)
    assert main(study) == 0
    if way == "object":
        (folder / "study.json").write_text('{"cells": {"a": 1}}')
    else:
        damage(folder / "study.json", way)
    capsys.readouterr()
    assert main(["study", "status", str(folder)]) == 2
    assert "`study run` writes a new one" in capsys.readouterr().err
    assert main(study) == 0
    assert f"moved to {folder / 'damaged' / 'study.json'}.1" in capsys.readouterr().err
    assert main(["study", "status", str(folder)]) == 0
    assert "2 cells: 2 done" in capsys.readouterr().out


def test_folders_that_are_copied_together_show_all_their_cells_and_what_was_done_anywhere(made, tmp_path):
    first, second = Store(tmp_path / "1"), Store(tmp_path / "2")
    for store, cell in ((first, CELLS[0]), (second, CELLS[1])):
        store.note("a part", [cell])
        shutil.copytree(made / "done" / cell.name, store.path(cell))
    second.fail(CELLS[0], "no memory there")
    shutil.copytree(first.folder, second.folder, dirs_exist_ok=True)
    assert sorted(cell.name for cell in second.noted()[1]) == sorted(cell.name for cell in CELLS)
    assert {second.state(cell).state for cell in CELLS} == {"done"}
    assert {row["status"] for row in read_rows(second.folder)} == {"done"}
    # and in a folder beside, as a file manager names a copy
    shutil.copytree(first.folder / CELLS[0].name, tmp_path / "3" / "z")
    Store(tmp_path / "3").fail(CELLS[0], "no memory there")
    assert [row["status"] for row in read_rows(tmp_path / "3")] == ["done"]


def test_a_failed_cell_can_be_retried_with_code_that_was_mended(tmp_path, capsys, monkeypatch):
    """The study itself is not held up by it, and a retry starts over even if its folder is damaged."""
    monkeypatch.chdir(tmp_path)
    good = (
        "import torch\n\n\ndef make(image_size, channels, num_classes):\n"
        "    n = channels * image_size[0] * image_size[1]\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), Own(), torch.nn.Linear(n, num_classes))\n\n\n"
        "class Own(torch.nn.Module):\n    calls = 0\n\n    def forward(self, x):\n        return x\n"
    )
    bad = good.replace(
        "        return x", "        self.calls += 1\n        return x if self.calls < 9 else 1 / 0"
    )
    Path("own.py").write_text(bad)
    Path("s.toml").write_text('[fixed]\ndata = "digits"\nepochs = 1\n[axes]\nmodel = ["own.py:make"]\n')
    command = ["study", "run", "s.toml", "--jobs", "0", "--device", "cpu"]
    assert main(command) == 1
    assert "division by zero" in capsys.readouterr().out
    (out,) = Path("runs/s").glob("own*")
    assert (out / "environment.json").exists()  # it had begun
    Path("own.py").write_text(good)
    assert main(command) == 1
    assert "1 failed" in capsys.readouterr().out
    (out / "config.json").write_text("{")
    assert main([*command, "--retry"]) == 0
    assert "1 of 1 cells done" in capsys.readouterr().out


ENDS = """
import os
import sys

import torch


def base(image_size, channels, num_classes, *more):
    n = channels * image_size[0] * image_size[1]
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(n, num_classes), *more)


def says(image_size, channels, num_classes):
    print("{}", flush=True)
    os.write(1, b"raw")
    return base(image_size, channels, num_classes)


def asks(image_size, channels, num_classes):
    assert sys.stdin.read() == ""
    return base(image_size, channels, num_classes)


class Exits(torch.nn.Module):
    def forward(self, x):
        return sys.exit(3) if self.training else x


class Falls(torch.nn.Module):
    def forward(self, x):
        return os._exit(5) if self.training else x


def exits(image_size, channels, num_classes):
    return base(image_size, channels, num_classes, Exits())


def falls(image_size, channels, num_classes):
    return base(image_size, channels, num_classes, Falls())
"""


@pytest.mark.slow
@pytest.mark.usefixtures("warm_workers")
def test_code_that_ends_its_process_is_a_failed_cell(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text(ENDS)
    monkeypatch.chdir(tmp_path)
    names = ["says", "asks", "exits", "falls"]
    table = {"fixed": {"data": "digits", "epochs": 1}, "axes": {"model": [f"own.py:{n}" for n in names]}}
    cells = from_table(table, "s").cells({"device": "cpu"})
    store = Store(tmp_path / "study")
    carry_out_all(store, cells, Quiet(), jobs=1)
    says, asks, exits, falls = (store.state(cell) for cell in cells)
    assert (says.state, asks.state) == ("done", "done")
    assert (exits.state, exits.message) == ("failed", "SystemExit: 3")
    assert (falls.state, falls.message) == ("failed", "its process ended 3 times with exit code 5")
    # in this process
    store = Store(tmp_path / "inline")
    carry_out_all(store, [cells[2], cells[0]], Quiet())
    assert [store.state(cells[n]).state for n in (2, 0)] == ["failed", "done"]


@pytest.mark.usefixtures("warm_workers")
def test_a_worker_that_hangs_is_killed_when_the_study_is_to_stop(tmp_path, monkeypatch):
    (tmp_path / "own.py").write_text("import time\n\n\ndef make():\n    time.sleep(1000)\n")
    table = {"fixed": {"data": "digits"}, "axes": {"model": [f"{tmp_path / 'own.py'}:make"]}}
    cells = from_table(table, "s").cells({"device": "cpu"})
    monkeypatch.setattr(scheduling, "STOP_SECONDS", 1.0)
    began = time.monotonic()
    carry_out_all(Store(tmp_path / "study"), cells, Quiet(), jobs=1, seconds=2.0)
    assert time.monotonic() - began < 60
    assert left(Store(tmp_path / "study"), cells) == cells  # it has not failed: the same call goes on


def test_a_signal_ends_a_study_in_one_process_and_not_just_its_cell(study, tmp_path):
    command = ["-m", "noisylabels", *study, "--set", "epochs=100000"]
    process = WarmPopen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while process.poll() is None and not list((tmp_path / "study").glob("*/history.jsonl")):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "2 left; run the same command again to resume" in said
    assert len(list((tmp_path / "study").glob("*/checkpoint.pt"))) == 1
    assert len(list((tmp_path / "study").glob("*/config.json"))) == 1


@pytest.mark.parametrize("budget", [[], ["--time-budget", "1h"]], ids=["no budget", "budget"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_exit_code_names_the_signal(study, tmp_path, monkeypatch, capsys, budget, number, code):
    tick, sent = Progress.tick, []

    def striking(view: Progress) -> None:
        if not sent and list((tmp_path / "study").glob("*/history.jsonl")):
            sent.append(number)
            os.kill(os.getpid(), number)
        tick(view)

    monkeypatch.setattr(Progress, "tick", striking)
    assert main([*study, "--set", "epochs=100000", *budget]) == code
    assert "2 left; run the same command again to resume" in capsys.readouterr().err


def test_the_time_budget_counts_from_the_start_of_the_command(study, tmp_path, monkeypatch, capsys):
    """A slow store, or many cells to look at, take their time from it."""
    note = Store.note

    def slow(*args):
        time.sleep(1.0)
        return note(*args)

    monkeypatch.setattr(Store, "note", slow)
    assert main([*study, "--time-budget", "1s"]) == 0
    said = capsys.readouterr()
    assert "0 of 2 cells done" in said.out
    assert "2 left; run the same command again to resume" in said.err
    assert not list((tmp_path / "study").glob("*/config.json"))


def test_a_signal_while_others_run_the_last_cell_is_in_the_exit_code(study, tmp_path, monkeypatch, capsys):
    store, tick = Store(tmp_path / "study"), Progress.tick
    for cell in CELLS:
        store.path(cell).mkdir(parents=True)

    def striking(view: Progress) -> None:
        if not view.running:  # both are waited for
            os.kill(os.getpid(), signal.SIGTERM)
            monkeypatch.setattr(Progress, "tick", tick)

    monkeypatch.setattr(Progress, "tick", striking)
    with exclusive_lock(store.path(CELLS[0]) / ".lock"), exclusive_lock(store.path(CELLS[1]) / ".lock"):
        assert main(study) == 143
    assert "2 running in another process" in capsys.readouterr().out


def test_cells_left_without_a_signal_are_no_signal(tmp_path, monkeypatch, capsys):
    """A cell waits for the run of an equal one, which another process has."""
    monkeypatch.setattr(Store, "patience_seconds", 0.3)
    text = TEXT.replace('["ce", "mae"]', '["nmae", "nrce"]')
    (tmp_path / "two.toml").write_text(text)
    store = Store(tmp_path / "study")
    cells = from_table({"fixed": FIXED, "axes": {"loss": ["nmae", "nrce"]}}, "two").cells({"device": "cpu"})
    store.path(cells[0]).mkdir(parents=True)
    command = ["study", "run", str(tmp_path / "two.toml"), "--out", str(store.folder), "--jobs", "0"]
    with exclusive_lock(store.path(cells[0]) / ".lock"):
        assert main([*command, "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert "1 running in another process" in said.out
    assert "1 left; run the same command again to resume" in said.err


def test_a_worker_that_alone_gets_a_signal_is_not_the_end_of_its_cell(tmp_path):
    table = {"fixed": FIXED | {"epochs": 60}, "axes": {"loss": ["ce"]}}
    cells = from_table(table, "s").cells({"device": "cpu"})
    store = Store(tmp_path / "study")

    class Striking(Quiet):
        struck = False

        def tick(self) -> None:
            if not self.struck and (store.path(cells[0]) / "history.jsonl").exists():
                found = subprocess.run(
                    ["pgrep", "-P", str(os.getpid()), "-f", "study.worker"], capture_output=True
                )
                for word in found.stdout.split():
                    self.struck = True
                    os.kill(int(word), signal.SIGTERM)

    view = Striking()
    carry_out_all(store, cells, view, jobs=1)
    assert [status for status, _ in view.ends] == ["interrupted", "done"]


def test_a_failure_that_cannot_be_recorded_is_no_end_of_the_study(tmp_path):
    store = Store(tmp_path / "study")
    store.folder.mkdir()
    store.path(CELL).write_text("a file where the folder should be")
    view = Quiet()
    carry_out_all(store, CELLS, view)
    assert [status for status, _ in view.ends] == ["refused", "done"]
    assert "the failure cannot be recorded: File exists" in view.ends[0][1]


def test_a_study_with_such_a_failure_says_so_by_its_exit_code(study, tmp_path, capsys, monkeypatch):
    def fail(store, cell, message, trace=""):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Store, "fail", fail)
    (tmp_path / "own.py").write_text("def make():\n    raise RuntimeError('no')\n")
    model = f"model={tmp_path / 'own.py'}:make"
    assert main([*study, "--set", model, "width=1.0"]) == 1
    said = capsys.readouterr().err
    assert "the failure cannot be recorded: Permission denied" in said
    assert "2 left" in said


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "is full; free some space\n"),
        (errno.EDQUOT, "is full; free some space\n"),
        (errno.EFBIG, "exceed the size that the system allows; raise the limit (ulimit -f)\n"),
    ],
)
def test_a_disk_without_room_ends_the_study_and_fails_no_cell(
    study, tmp_path, capsys, monkeypatch, code, remedy
):
    def full(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    fsync = os.fsync
    # study.json, config.json, labels.parquet, environment.json, history.jsonl, ...
    for writes in range(2, 9) if code == errno.ENOSPC else (2, 6):
        shutil.rmtree(tmp_path / "study", ignore_errors=True)
        room = iter([fsync] * writes)
        monkeypatch.setattr(os, "fsync", lambda fd, room=room: next(room, full)(fd))
        assert main(study) == 2
        said = capsys.readouterr().err
        assert "2 left" in said
        assert said.endswith(remedy)
        monkeypatch.setattr(os, "fsync", fsync)
        assert main(study) == 0
        assert "2 of 2 cells done" in capsys.readouterr().out


def test_a_checkpoint_for_which_there_is_no_room_is_an_error_of_the_system(tmp_path):
    """Not one of torch's code."""
    import torch

    from noisylabels.training.checkpoint import save_checkpoint

    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")

    class Full(type(tmp_path)):
        def replace(self, target):
            raise AssertionError("what was not written is not kept")

        def open(self, mode="r", **given):
            return open("/dev/full", mode, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("noisylabels.training.checkpoint.atomic_replace", lambda path: nullcontext(Full(path)))
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(tmp_path / "c.pt", {"w": torch.zeros(10**6)}, torch.device("cpu"))


@pytest.mark.skipif(sys.platform != "linux", reason="names of other bytes than UTF-8")
def test_folders_whose_names_are_not_utf_8(tmp_path, capfd):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    (folder / "two.toml").write_text(TEXT)
    out = folder / "out"
    command = ["study", "run", str(folder / "two.toml"), "--out", str(out), "--device", "cpu"]
    assert main([*command, "--jobs", "1", "--only", "loss=ce"]) == 0
    assert main(["study", "status", str(out)]) == 0
    assert main(["study", "export", str(out)]) == 0
    (row,) = read_rows(folder / "out.parquet")
    assert row["status"] == "done"
