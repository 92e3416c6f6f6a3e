"""Weights & Biases gets the history of a run, each epoch once; without network, in its offline mode."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record

import noisylabels
import warm_process
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.core.interrupt import Interrupted
from noisylabels.experiment import Silent, load_config, run

FAST = {"loss": "nce+mae", "model": "mlp", "width": 0.1, "epochs": 4, "noise": "symmetric:0.3"}
STEPS = 12  # an epoch


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch) -> Path:
    """A working directory of the test's own, with W&B offline and without other settings of its."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def fast(**more):
    return load_config(None, **FAST | {"out": "runs/a", "device": "cpu"} | more)


class Notes(Silent):
    """A reporter that remembers notes, and sends a signal after a step."""

    def __init__(self, signal_at: int | None = None, number: int = signal.SIGTERM) -> None:
        self.notes: list[str] = []
        self.signal_at, self.number = signal_at, number

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, epoch: int, done: int, total: int) -> None:
        if (epoch - 1) * total + done == self.signal_at:
            os.kill(os.getpid(), self.number)


# What is kept -------------------------------------------------------------------------------------


def in_history(out: Path | str = "runs/a") -> dict[int, dict[str, float]]:
    """Return epoch -> numbers from history.jsonl; of recall, class by class."""
    found = {}
    for line in (Path(out) / "history.jsonl").read_text().splitlines():
        row = json.loads(line)
        epoch = row.pop("epoch")
        row["dead_classes"] = len(row["dead_classes"])
        row |= {f"recall/{k}_{k}": value for k, value in enumerate(row.pop("recall"))}
        found[epoch] = {name: value for name, value in row.items() if value is not None}
    return found


def records(file: Path) -> Iterator[Record]:
    """Yield what an offline file holds: a LevelDB log (doc/log_format.md there) of protocol buffers."""
    content, at, whole = file.read_bytes(), 7, b""
    assert content[:4] == b":W&B"
    while at + 7 <= len(content):  # the end may be missing after a kill
        if (left := 32768 - at % 32768) < 7:  # the rest of a block, too short for a header
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", content[at : at + 7])
        whole += content[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4) and at <= len(content):  # full, last
            yield Record.FromString(whole)
            whole = b""


def offline_file(root: Path | str = "runs/a") -> Path:
    (file,) = Path(root).glob("wandb/offline-run-*/run-*.wandb")
    return file


def read(file: Path) -> SimpleNamespace:
    """Return the run of an offline file: its epochs, configuration, last summary and exit code."""
    found = SimpleNamespace(epochs={}, times=[], summary={}, exit=None, preempting=False)
    for record in records(file):
        if record.HasField("run"):
            found.id, found.name = record.run.run_id, record.run.display_name
            found.project = record.run.project
            found.config = {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif record.HasField("history"):
            row = {"".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
            row = {name: json.loads(value) for name, value in row.items()}
            found.times.append(row["_timestamp"])
            assert row["_step"] not in found.epochs
            found.epochs[row["_step"]] = {
                name: value for name, value in row.items() if not name.startswith("_")
            }
        elif record.HasField("summary"):
            for item in record.summary.update:
                found.summary[".".join(item.nested_key) or item.key] = json.loads(item.value_json)
        found.exit = record.exit.exit_code if record.HasField("exit") else found.exit
        found.preempting |= record.HasField("preempting")
    return found


def check(exit_code: int, epochs: int, out: Path | str = "runs/a") -> SimpleNamespace:
    """The one offline run has what the folder has, once."""
    found = read(offline_file(out))
    assert list(found.epochs) == list(range(1, epochs + 1))
    assert found.epochs == in_history(out)
    assert found.exit == exit_code
    return found


def test_w_and_b_gets_every_number_of_every_epoch():
    reporter = Notes()
    result = run(fast(), reporter, track=["wandb"])
    found = check(0, 4)
    assert reporter.notes == ["tracked: wandb sync runs/*/wandb/offline-run-*"]
    assert (found.id, found.name, found.project) == (result.run_id, "a", "noisylabels")
    assert {name: found.config[name] for name in ("loss", "noise", "epochs")} == {
        "loss": "nce+mae",
        "noise": "symmetric:0.3",
        "epochs": 4,
    }
    assert found.summary["status"] == "done"
    assert found.summary["result"]["final"]["test_accuracy"] == result.final["test_accuracy"]
    assert found.summary["memorized"] == result.final["memorized"]
    began, seconds = Path("runs/a/config.json").stat().st_mtime, 0.0
    for time, row in zip(found.times, result.history.rows, strict=True):
        seconds += row["train_seconds"] + row["eval_seconds"]
        assert time == pytest.approx(began + seconds, abs=0.001)
    assert "track" not in json.loads(Path("runs/a/config.json").read_text())


def test_an_interrupted_run_is_preempted_and_then_complete():
    with pytest.raises(Interrupted):
        run(fast(), Notes(2 * STEPS + 5), track=["wandb"])
    assert check(1, 2).preempting
    first = offline_file()
    run(fast(), track=["wandb"])
    assert not check(0, 4).preempting
    assert not first.exists()


def test_a_killed_run_ends_with_every_epoch_once(work):
    words = ["--model=mlp", "--width=0.1", "--epochs=4", "--checkpoint-epochs=2", "--out=runs/a"]
    program = (
        "import os, signal, noisylabels.cli.terminal as terminal\n"
        f"terminal.TerminalReporter.step = lambda self, epoch, done, total: (epoch - 1) * total + done "
        f"== {3 * STEPS + 1} and os.kill(os.getpid(), signal.SIGKILL)\n"
        "from noisylabels.cli import main\n"
        f"main(['train', *{words}, '--track', 'wandb'])\n"
    )
    killed = warm_process.run(["-c", program], env=environment(work))
    assert killed.returncode == -signal.SIGKILL
    assert len(in_history()) == 3  # and the third will be trained again, with another duration
    assert list(read(offline_file()).epochs) in ([], [1], [1, 2])  # W&B writes in the background
    assert main(["train", *words, "--device=cpu", "--track", "wandb"]) == 0
    check(0, 4)


def environment(work: Path) -> dict[str, str]:
    """Return the variables of a process that finds nothing of this machine's."""
    source = str(Path(noisylabels.__file__).parents[1])
    given = {"HOME": str(work), "PYTHONPATH": source, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    return {"PATH": os.environ["PATH"]} | given


def test_nothing_is_warned_of_and_w_and_b_keeps_quiet(work):
    program = (
        "from noisylabels.cli import main\n"
        "main(['train', '--model=mlp', '--loss=ce', '--width=0.1', '--epochs=1', '--track', 'wandb'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment(work),
        capture_output=True,
        text=True,
        check=True,
    )
    started, *tracked = done.stderr.splitlines()
    assert started.startswith("training mlp on 1,438 examples")
    assert tracked == ["note: tracked: wandb sync runs/*/wandb/offline-run-*"]
    assert "wandb" not in done.stdout


def test_a_finished_run_is_logged_once():
    run(fast())
    assert not Path("runs/a/wandb").exists()
    kept = []
    for _ in range(2):
        run(fast(), track=["wandb"])
        check(0, 4)
        kept.append((offline_file(), offline_file().read_bytes()))
    assert kept[0] == kept[1]


def test_a_run_that_started_over_replaces_the_first():
    run(fast(), track=["wandb"])
    first = offline_file()
    for name in ("result.json", "history.jsonl"):
        Path("runs/a", name).unlink()
    run(fast(), track=["wandb"])
    check(0, 4)
    assert not first.exists()


def test_a_run_that_failed_is_shown_as_such():
    result = run(fast(lr=1e30, loss="ce"), track=["wandb"])
    found = check(1, 0)
    assert (found.summary["status"], found.summary["result"]["message"]) == ("failed", result.message)


def test_the_cells_of_a_study_are_logged_by_their_processes(work, capsys):
    (work / "s.toml").write_text(
        '[fixed]\ndata = "digits"\nmodel = "mlp"\nwidth = 0.1\nepochs = 2\n[axes]\nloss = ["ce", "mae"]\n'
    )
    assert main(["study", "run", "s.toml", "--device", "cpu", "--jobs", "2", "--track", "wandb"]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note:")]
    assert notes == ["note: tracked: wandb sync runs/s/*/wandb/offline-run-*"]
    cells = [path for path in Path("runs/s").iterdir() if path.is_dir()]
    assert len(cells) == 2
    assert {check(0, 2, cell).project for cell in cells} == {"s"}


def test_variables_of_w_and_b_are_respected(monkeypatch, work):
    monkeypatch.setenv("WANDB_DIR", str(work / "elsewhere"))
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    reporter = Notes()
    run(fast(epochs=1), reporter, track=["wandb"])
    found = read(offline_file(work / "elsewhere"))
    assert (found.project, found.epochs) == ("mine", in_history())
    assert not Path("runs/a/wandb").exists()
    assert reporter.notes == [f"tracked: wandb sync {work}/elsewhere/wandb/offline-run-*"]
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.delenv("WANDB_DIR")
    run(fast(epochs=1, out="runs/b"), track=["wandb"])
    assert not Path("runs/b/wandb").exists()


def test_a_run_of_the_user_s_own_stays_open(work):
    own = wandb.init(dir=str(work), settings=wandb.Settings(silent=True, console="off"))
    try:
        run(fast(epochs=1), track=["wandb"])
        check(0, 1)
        assert wandb.run is own
        own.log({"a": 1})
    finally:
        own.finish()


# What can be wrong --------------------------------------------------------------------------------


def test_without_a_login_nothing_is_started_and_nobody_is_prompted(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    with pytest.raises(InputError, match=r"wandb is not logged in; .* WANDB_API_KEY, or WANDB_MODE=offline"):
        run(fast(), track=["wandb"])
    assert list(Path().iterdir()) == []


def test_a_folder_that_cannot_be_written_does_not_end_the_run():
    class InTheWay(Notes):
        def step(self, epoch: int, done: int, total: int) -> None:
            Path("runs/a/wandb").touch()

    reporter = InTheWay()
    assert run(fast(), reporter, track=["wandb"]).status == "done"
    (note,) = reporter.notes
    assert note.startswith("wandb cannot follow (")
    assert note.endswith("the same command, later, lets it catch up")
    Path("runs/a/wandb").unlink()
    run(fast(), track=["wandb"])
    check(0, 4)


# A server -----------------------------------------------------------------------------------------


class Server:
    """Stands for wandb.init and a server: keeps steps per run id, and takes none back."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.runs: dict[str, dict[int, dict[str, float]]] = {}
        self.finished: list[tuple[str, int]] = []
        self.broken = False

    def init(self, id: str, mode: str, resume: str, **_) -> SimpleNamespace:
        assert (mode, resume) == ("online", "allow")
        steps = self.runs.setdefault(id, {})
        folder = Path("runs/a/wandb").resolve() / f"run-{len(self.finished)}-{id}"
        folder.mkdir(parents=True, exist_ok=True)

        def log(values: dict[str, float], step: int, commit: bool) -> None:
            if self.broken:
                raise ConnectionError("the server is gone")
            assert step > max(steps, default=0)  # W&B drops others, with a warning
            steps[step] = {name: value for name, value in values.items() if name != "_timestamp"}

        return SimpleNamespace(
            starting_step=max(steps) + 1 if steps else 0,
            summary=dict(steps[max(steps)]) if steps else {},
            offline=False,
            settings=SimpleNamespace(sync_dir=str(folder)),
            log=log,
            mark_preempting=lambda: None,
            finish=lambda exit_code: self.finished.append((id, exit_code)),
        )


@pytest.fixture
def server(monkeypatch, work) -> Server:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    server = Server(work)
    monkeypatch.setattr("wandb.init", server.init)
    return server


def test_a_resumed_run_goes_on_where_the_server_is(server):
    with pytest.raises(Interrupted):
        run(fast(), Notes(2 * STEPS + 5), track=["wandb"])
    run_id = next(iter(server.runs))
    assert list(server.runs[run_id]) == [1, 2]
    del server.runs[run_id][2]  # it was not uploaded
    result = run(fast(), track=["wandb"])
    assert server.runs == {result.run_id: in_history()}
    assert server.finished == [(run_id, 1), (run_id, 0)]
    run(fast(), track=["wandb"])
    assert len(server.finished) == 2  # all is there: the server is not asked


def test_a_run_that_started_over_is_another_on_the_server(server):
    result = run(fast(), track=["wandb"])
    first = in_history()
    for name in ("result.json", "history.jsonl"):
        Path("runs/a", name).unlink()
    run(fast(), track=["wandb"])
    assert server.runs == {result.run_id: first, f"{result.run_id}-2": in_history()}


def test_a_server_that_fails_is_retried_at_the_end(server):
    class Repaired(Notes):
        def step(self, epoch: int, done: int, total: int) -> None:
            server.broken = epoch < 4

    reporter = Repaired()
    result = run(fast(), reporter, track=["wandb"])
    failed, tracked = reporter.notes
    assert failed.startswith("wandb cannot follow (ConnectionError: the server is gone); the same command")
    assert tracked == "tracked: W&B, project 'noisylabels'"
    assert server.runs == {result.run_id: in_history()}
