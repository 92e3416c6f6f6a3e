"""Studies are carried out: each cell once, whatever stops them."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

import warm_process
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.core.locks import exclusive_lock, is_locked
from noisylabels.study.exports import export
from noisylabels.study.grid import from_table
from noisylabels.study.plan import in_words, read_seconds, shard
from noisylabels.study.scheduling import carry_out_all
from noisylabels.study.store import Store, left, read_rows
from noisylabels.training.history import chosen_epoch

TABLE = {
    "title": "six small runs",
    "fixed": {"data": "digits", "model": "mlp", "width": 0.1, "epochs": 2, "lr": 0.05},
    "axes": {"loss": ["ce", "mae", "nce"], "seed": [1, 2]},
}
TIMES = ("train_seconds", "data_seconds", "eval_seconds")


class Quiet:
    """A view that remembers."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.ends: list[tuple[str, str]] = []

    def begun(self, cell) -> None:
        self.began.append(cell.name)

    def ended(self, cell, answer) -> None:
        self.ends.append((cell.name, answer["status"]))

    def tick(self) -> None:
        pass


def untimed(rows: list[dict]) -> list[dict]:
    """Return what must be equal in rows of equal runs: all but times, and where they lie."""
    kept = []
    for row in sorted(rows, key=lambda row: row["run_id"]):
        row = json.loads(json.dumps(row))
        for each in [row["final"] or {}, *row["history"]]:
            for name in TIMES:
                each.pop(name, None)
        row["config"]["out"] = None
        row["environment"] = None
        kept.append(row)
    return kept


def test_a_signal_ends_a_study_in_this_process(tmp_path):
    store, cells = Store(tmp_path / "study"), from_table(TABLE, "six").cells({"device": "cpu"})

    class Interrupting(Quiet):
        def tick(self) -> None:
            if len(self.began) == 1 and list(store.folder.glob("*/history.jsonl")):
                os.kill(os.getpid(), signal.SIGINT)
                self.tick = lambda: None

    view = Interrupting()
    carry_out_all(store, cells, view)
    assert view.ends == [(cells[0].name, "interrupted")]
    assert view.began == [cells[0].name]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The study, undisturbed."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    store, cells = Store(folder), from_table(TABLE, "six").cells({"device": "cpu"})
    view = Quiet()
    carry_out_all(store, cells, view)
    assert [status for _, status in view.ends] == ["done"] * 6
    assert view.began == [cell.name for cell in cells]
    return folder


CELLS = from_table(TABLE, "six").cells({"device": "cpu"})


def test_processes_come_to_the_same_as_this_process(whole, tmp_path):
    store, view = Store(tmp_path / "study"), Quiet()
    carry_out_all(store, CELLS, view, jobs=2)
    assert sorted(view.ends) == sorted((cell.name, "done") for cell in CELLS)
    assert untimed(read_rows(tmp_path / "study")) == untimed(read_rows(whole))
    again = Quiet()
    assert left(store, CELLS) == []
    carry_out_all(store, left(store, CELLS), again, jobs=2)
    assert again.began == []


@pytest.mark.usefixtures("warm_workers")
def test_a_time_budget_ends_cleanly_and_the_same_call_goes_on(whole, tmp_path):
    store, view = Store(tmp_path / "study"), Quiet()
    work = carry_out_all(store, CELLS, view, jobs=2, seconds=0.0)
    assert len(work.waiting) == 6
    carry_out_all(store, left(store, CELLS), view, jobs=0, seconds=0.3)
    some = [store.state(cell).state for cell in CELLS]
    assert set(some) <= {"done", "begun", "waiting"}
    carry_out_all(store, left(store, CELLS), view, jobs=0)
    assert untimed(read_rows(tmp_path / "study")) == untimed(read_rows(whole))


def test_shards_are_the_whole_when_copied_together(whole, tmp_path):
    parts = [shard(CELLS, f"{k}/2") for k in (1, 2)]
    assert sorted(c.name for part in parts for c in part) == sorted(c.name for c in CELLS)
    for number, part in enumerate(parts):
        carry_out_all(Store(tmp_path / str(number)), part, Quiet())
    for number in (0, 1):
        shutil.copytree(tmp_path / str(number), tmp_path / "merged", dirs_exist_ok=True)
    assert untimed(read_rows(tmp_path / "merged")) == untimed(read_rows(whole))
    for wrong in ("0/2", "3/2", "2", "a/b"):
        with pytest.raises(InputError, match="expected a text such as 2/5"):
            shard(CELLS, wrong)


@pytest.mark.usefixtures("warm_workers")
def test_a_failure_is_a_row_with_its_cause_and_can_be_retried(tmp_path):
    (tmp_path / "own.py").write_text("def make():\n    raise RuntimeError('no such thing')\n")
    table = TABLE | {
        "fixed": TABLE["fixed"] | {"width": 1.0},
        "axes": {"model": [f"{tmp_path / 'own.py'}:make", "mlp"], "seed": [1]},
    }
    store, cells = Store(tmp_path / "study"), from_table(table, "s").cells({"device": "cpu"})
    for jobs in (0, 1):
        shutil.rmtree(tmp_path / "study", ignore_errors=True)
        view = Quiet()
        carry_out_all(store, cells, view, jobs=jobs)
        assert sorted(status for _, status in view.ends) == ["done", "refused"]
        state = store.state(cells[0])
        assert state.state == "failed"
        assert "no such thing" in state.message
    rows = {row["run_id"]: row for row in read_rows(tmp_path / "study")}
    assert rows[cells[0].run_id]["status"] == "failed"
    assert "no such thing" in rows[cells[0].run_id]["message"]
    assert left(store, cells) == []
    (tmp_path / "own.py").write_text(
        "import torch\n\n\ndef make(image_size, channels, num_classes):\n"
        "    n = channels * image_size[0] * image_size[1]\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(n, num_classes))\n"
    )
    store.retry(cells[0])
    carry_out_all(store, left(store, cells), Quiet())
    assert store.state(cells[0]).state == "done"


def test_a_damaged_folder_is_set_aside_and_run_again(whole, tmp_path, capsys):
    folder = tmp_path / "study"
    shutil.copytree(whole, folder)
    store = Store(folder)
    (store.path(CELLS[0]) / "result.json").write_text("{")
    (store.path(CELLS[1]) / "config.json").write_text("[]")
    (store.path(CELLS[2]) / "history.jsonl").write_text("nonsense\n")
    shutil.rmtree(store.path(CELLS[3]))
    shutil.copytree(store.path(CELLS[4]), store.path(CELLS[3]))  # another run under its name
    states = [store.state(cell).state for cell in CELLS]
    assert states == ["damaged"] * 4 + ["done"] * 2
    for cell in CELLS[:4]:
        aside = store.set_aside(cell)
        assert aside.is_dir()
    carry_out_all(store, left(store, CELLS), Quiet())
    assert untimed(read_rows(folder)) == untimed(read_rows(whole))


def test_an_unfinished_folder_that_is_damaged_or_of_another_run(whole, tmp_path):
    folder = tmp_path / "study"
    shutil.copytree(whole, folder)
    store = Store(folder)
    for cell in CELLS:
        (store.path(cell) / "result.json").unlink()
    assert {store.state(cell).state for cell in CELLS} == {"begun"}
    (store.path(CELLS[0]) / "environment.json").write_text("{")
    config = json.loads((store.path(CELLS[1]) / "config.json").read_text())
    (store.path(CELLS[1]) / "config.json").write_text(json.dumps(config | {"lr": 0.125}))
    assert [store.state(cell).state for cell in CELLS[:3]] == ["damaged", "damaged", "begun"]
    with exclusive_lock(store.path(CELLS[0]) / ".lock"):  # somebody is at work there: it is not to be moved
        assert store.state(CELLS[0]).state == "running"


@pytest.mark.slow
def test_two_runners_do_not_run_the_same_cell(whole, tmp_path):
    store = Store(tmp_path / "study")
    out = store.path(CELLS[0])
    out.mkdir(parents=True)
    with exclusive_lock(out / ".lock"):
        assert is_locked(out / ".lock")
        assert store.state(CELLS[0]).state == "running"
        view = Quiet()
        work = carry_out_all(store, CELLS[:2], view)
        assert work.elsewhere == [CELLS[0]]
    assert not is_locked(out / ".lock")
    assert [status for _, status in view.ends].count("done") == 1
    study = tmp_path / "six.toml"
    study.write_text(
        '[fixed]\ndata = "digits"\nmodel = "mlp"\nwidth = 0.1\nepochs = 2\nlr = 0.05\n'
        '[axes]\nloss = ["ce", "mae", "nce"]\nseed = [1, 2]\n'
    )
    command = ["-m", "noisylabels", "study", "run", str(study), "--out", str(tmp_path / "both")]
    both = [
        warm_process.WarmPopen(
            [*command, "--jobs", "0", "--device", "cpu"], stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    lines = [line for process in both for line in process.communicate(timeout=300)[1].splitlines()]
    assert [process.returncode for process in both] == [0, 0]
    done = [line.split()[1].rstrip(":") for line in lines if "test accuracy" in line]
    assert sorted(done) == sorted(cell.name for cell in CELLS)  # each by one of them
    assert untimed(read_rows(tmp_path / "both")) == untimed(read_rows(whole))


def test_export_and_back(whole, tmp_path):
    rows = read_rows(whole)
    file = tmp_path / "study.parquet"
    assert export(rows, file) == 6
    assert file.stat().st_size < 30_000
    back = read_rows(file)
    assert [row["run_id"] for row in back] == sorted(row["run_id"] for row in rows)
    for row, other in zip(back, sorted(rows, key=lambda row: row["run_id"]), strict=True):
        assert row["history"] == other["history"]
        assert row["final"] == other["final"]
        assert row["config"] == other["config"] | {"out": None, "data_root": None}
        assert row["class_names"] == other["class_names"]
    (tmp_path / "x.parquet").write_bytes(b"x")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_rows(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="holds no finished run"):
        read_rows(tmp_path)
    with pytest.raises(InputError, match="there is no file"):
        read_rows(tmp_path / "no.parquet")


def test_runs_with_and_without_a_validation_split_share_a_file(tmp_path):
    """A column that only some runs have is null for the others, and chooses nothing there."""
    table = TABLE | {"axes": {"validation": [0.0, 0.2]}}
    cells = from_table(table, "two").cells({"device": "cpu"})
    carry_out_all(Store(tmp_path / "study"), cells, Quiet())
    export(read_rows(tmp_path / "study"), tmp_path / "study.parquet")
    rows = {row["run_id"]: row for row in read_rows(tmp_path / "study.parquet")}
    plain, held = (rows[cell.run_id]["history"] for cell in cells)
    assert [row["validation_accuracy"] for row in plain] == [None, None]
    assert chosen_epoch(plain) is None
    assert chosen_epoch(held) in held


def test_durations_are_read_and_written():
    assert (read_seconds("9m"), read_seconds("1h30m"), read_seconds("45")) == (540, 5400, 45)
    assert in_words(5400) == "1 h 30 min"
    for wrong in ("", "soon", "9 m x", "-3"):
        with pytest.raises(InputError, match="the duration is"):
            read_seconds(wrong)


@pytest.mark.usefixtures("warm_workers")
def test_a_cell_that_cannot_be_probed_is_no_fault_of_the_program(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text("def make():\n    raise SystemExit(3)\n")
    Path("s.toml").write_text('[fixed]\ndata = "digits"\n[axes]\nmodel = ["own.py:make"]\n')
    assert main(["study", "show", "s.toml"]) == 2
    said = capsys.readouterr()
    assert "1 cells, 1 to run" in said.out
    assert said.err.count("\n") == 1
    assert "cannot estimate the time, because own.py_make-" in said.err


@pytest.mark.usefixtures("warm_workers")
def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--set", "epochs=1", "model=mlp", "width=0.1", "--only", "loss=ce,mae", "seed=1", "noise=none"]
    assert main(["study", "show", "digits", *flags, "--jobs", "2"]) == 0
    out = capsys.readouterr().out
    assert "2 cells, 2 to run, in runs/digits" in out
    assert "about " in out
    assert main(["study", "run", "digits", *flags, "--jobs", "0", "--time-budget", "0s"]) == 0
    assert "2 left; run the same command again to resume" in capsys.readouterr().err
    assert main(["study", "run", "digits", *flags, "--jobs", "0"]) == 0
    assert "2 of 2 cells done, in runs/digits" in capsys.readouterr().out
    assert main(["study", "status", "digits"]) == 0
    assert "2 cells: 2 done" in capsys.readouterr().out
    assert main(["study", "export", "runs/digits", "--file", "d.parquet"]) == 0
    assert "wrote 2 runs to d.parquet" in capsys.readouterr().out
    for words, message in (
        (["study", "run", "digit"], "did you mean 'digits'"),
        (["study", "status", "nowhere"], "is not the folder of a study"),
        (["study", "export", "nowhere"], "nowhere"),
        (["study", "run", "digits", "--only", "loss=xx"], "no loss of the study digits is 'xx'; known: "),
        (["study", "run", "digits", "--set", "loss=ce"], "loss is an axis"),
        (["study", "run", "digits", "--time-budget", "soon"], "expected a text such as 90s"),
        (["study", "run", "digits", "--shard", "7/2"], "expected a text such as 2/5"),
        (["study", "run", "human"], "needs a label file"),
        (["study", "run", "digits", "--threads", "0"], "--threads is 0, expected an integer of 1 or more"),
        (["study", "run", "digits", "--jobs", "-1"], "--jobs is -1"),
        (["study", "walk", "digits"], "walk"),
    ):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error


KILLS = 4


@pytest.mark.slow
def test_a_study_killed_again_and_again_ends_as_if_nothing_had_happened(whole, tmp_path):
    """The runner, its workers, or both, by SIGKILL; at the end each cell once and rows as undisturbed."""
    study, out = tmp_path / "six.toml", tmp_path / "study"
    study.write_text(
        '[fixed]\ndata = "digits"\nmodel = "mlp"\nwidth = 0.1\nepochs = 2\nlr = 0.05\n'
        '[axes]\nloss = ["ce", "mae", "nce"]\nseed = [1, 2]\n'
    )
    command = ["-m", "noisylabels", "study", "run", str(study), "--out", str(out)]
    command += ["--jobs", "2", "--device", "cpu"]
    chance = random.Random(3)
    struck = {"runner": 0, "worker": 0}
    for number in range(KILLS):
        process = warm_process.WarmPopen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.5, 3.5))
        children = _children(process.pid)
        if number % 2 and children:
            os.kill(chance.choice(children), signal.SIGKILL)
            struck["worker"] += 1
            time.sleep(chance.uniform(0.0, 1.0))
        process.kill()
        struck["runner"] += 1
        process.wait()
    final = warm_process.run(command, timeout=300)
    assert final.returncode == 0, final.stderr
    assert "6 of 6 cells done" in final.stdout
    print(f"\n{struck}: six cells, rows as undisturbed")
    assert sorted(p.name for p in out.iterdir() if p.is_dir()) == sorted(cell.name for cell in CELLS)
    assert untimed(read_rows(out)) == untimed(read_rows(whole))
    assert not list(out.rglob("*.tmp"))


def _children(pid: int) -> list[int]:
    shown = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True)
    return [int(word) for word in shown.stdout.split()]
