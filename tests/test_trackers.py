"""TensorBoard and MLflow get the history of a run, each epoch once, whatever happened to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS

import noisylabels
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.core.interrupt import Interrupted
from noisylabels.experiment import Silent, load_config, run, run_id
from noisylabels.experiment.snapshot import numbers

FAST = {
    "loss": "nce+mae",
    "model": "mlp",
    "width": 0.1,
    "epochs": 4,
    "lr": 0.05,
    "noise": "symmetric:0.3",
    "device": "cpu",
}
STEPS = 12  # an epoch
BOTH = ("tensorboard", "mlflow")


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch) -> Path:
    """A working directory of the test's own, without settings of MLflow's."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def fast(out: Path | str = "runs/a", **more):
    return load_config(None, **FAST | {"out": str(out)} | more)


class Told(Silent):
    """A reporter that remembers notes, and does something when an epoch ends or a step is done."""

    def __init__(self, epochs=None, signal_at: int | None = None, steps=None) -> None:
        self.notes: list[str] = []
        self.epochs = epochs or {}
        self.steps = steps or {}
        self.left = signal_at

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, epoch: int, done: int, total: int) -> None:
        if self.left is not None and (epoch - 1) * total + done == self.left:
            os.kill(os.getpid(), signal.SIGTERM)
        self.steps.get((epoch - 1) * total + done, lambda: None)()

    def epoch(self, row: dict) -> None:
        self.epochs.get(row["epoch"], lambda: None)()


# What is kept -------------------------------------------------------------------------------------


def in_history(out: Path | str) -> dict[str, list[tuple[int, float]]]:
    """Return number -> (epoch, value) from history.jsonl."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in (Path(out) / "history.jsonl").read_text().splitlines():
        row = json.loads(line)
        epoch = row.pop("epoch")
        row["dead_classes"] = len(row["dead_classes"])
        row |= {f"recall of {k}": value for k, value in enumerate(row.pop("recall"))}
        for name, value in row.items():
            if value is not None:
                found.setdefault(name, []).append((epoch, value))
    return found


def plain(name: str) -> str:
    """Return the name of a number in `in_history` from that in a tracker: recall/03_cat is recall of 3."""
    return f"recall of {int(name[7:].split('_')[0])}" if name.startswith("recall/") else name


def in_tensorboard(out: Path | str) -> dict[str, list[tuple[int, float]]]:
    """Return the same from the one event file."""
    assert len(list((Path(out) / "tensorboard").iterdir())) == 1
    events = events_of(out)
    return {
        plain(name): [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]
    }


def events_of(out: Path | str) -> EventAccumulator:
    events = EventAccumulator(str(Path(out) / "tensorboard"), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    return events


def session(out: Path | str, tag: str):
    """Return what the table of hyperparameters is made of, or None."""
    content = events_of(out).PluginTagToContent("hparams").get(tag)
    if content is None:
        return None
    return (
        metadata.parse_session_end_info_plugin_data
        if tag == metadata.SESSION_END_INFO_TAG
        else metadata.parse_session_start_info_plugin_data
    )(content)


def mlflow_runs(name: str = "noisylabels", db: Path | str = "mlflow.db", view=ViewType.ALL) -> list:
    client = mlflow_client(db)
    return list(client.search_runs([client.get_experiment_by_name(name).experiment_id], run_view_type=view))


def mlflow_client(db: Path | str = "mlflow.db") -> MlflowClient:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLAlchemy's, of MLflow
        return MlflowClient(f"sqlite:///{Path(db).resolve()}")


def in_mlflow(run, db: Path | str = "mlflow.db") -> dict[str, list[tuple[int, float]]]:
    client = mlflow_client(db)
    return {
        plain(name): [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


def single(values: dict[str, list[tuple[int, float]]]) -> dict[str, list[tuple[int, float]]]:
    """Return numbers in the single precision that TensorBoard keeps."""
    return {name: [(step, float(np.float32(v))) for step, v in points] for name, points in values.items()}


def check_both(out: Path | str, status: str, epochs: int) -> None:
    """Both have what the folder has, once."""
    there = in_history(out) if epochs else {}
    assert all([epoch for epoch, _ in points] == list(range(1, epochs + 1)) for points in there.values())
    assert in_tensorboard(out) == single(there)
    (only,) = mlflow_runs()
    assert only.info.status == status
    assert in_mlflow(only) == there


def test_both_get_every_number_of_every_epoch():
    reporter = Told()
    config = fast()
    result = run(config, reporter, track=BOTH)
    check_both("runs/a", "FINISHED", 4)
    assert {"train_loss", "memorized", "lr", "train_seconds", "dead_classes", "recall of 9"} <= in_history(
        "runs/a"
    ).keys()
    uri = f"sqlite:///{Path('mlflow.db').resolve()}"
    assert reporter.notes == [
        "tracked: tensorboard --logdir runs",
        f"tracked: MLflow, experiment 'noisylabels' of {uri}",
    ]

    (only,) = mlflow_runs()
    assert only.info.run_name == "a"
    assert only.data.tags["noisylabels.run_id"] == result.run_id == run_id(config)
    assert {name: only.data.params[name] for name in ("loss", "noise", "lr", "epochs", "seed")} == {
        "loss": "nce+mae",
        "noise": "symmetric:0.3",
        "lr": "0.05",
        "epochs": "4",
        "seed": "0",
    }
    told = json.loads(only.data.tags["noisylabels.result"])
    assert (told["status"], told["final"]["test_accuracy"]) == ("done", result.final["test_accuracy"])

    start = session("runs/a", metadata.SESSION_START_INFO_TAG)
    assert (start.hparams["loss"].string_value, start.hparams["lr"].number_value) == ("nce+mae", 0.05)
    assert session("runs/a", metadata.SESSION_END_INFO_TAG).status == STATUS_SUCCESS
    (text,) = events_of("runs/a").Tensors("result")
    assert json.loads(text.tensor_proto.string_val[0].decode().strip("`").removeprefix("json")) == told

    assert "track" not in json.loads(Path("runs/a/config.json").read_text())


def test_an_interrupted_run_goes_on_in_both():
    with pytest.raises(Interrupted):
        run(fast(), Told(signal_at=2 * STEPS + 5), track=BOTH)
    check_both("runs/a", "KILLED", 2)
    assert session("runs/a", metadata.SESSION_END_INFO_TAG) is None
    run(fast(), track=BOTH)
    check_both("runs/a", "FINISHED", 4)


def test_a_run_that_is_followed_from_its_middle_on_is_followed_whole():
    with pytest.raises(Interrupted):
        run(fast(), Told(signal_at=2 * STEPS + 5))
    with pytest.raises(Interrupted):
        run(fast(), Told(signal_at=2 * STEPS + 7), track=BOTH)  # no epoch ends in this call
    check_both("runs/a", "KILLED", 2)
    run(fast(), track=BOTH)
    check_both("runs/a", "FINISHED", 4)


class Killed(BaseException):
    """As if by SIGKILL: nobody catches it."""


def kill() -> None:
    raise Killed


def test_an_epoch_that_no_checkpoint_covers_is_not_told_twice():
    config = fast(checkpoint_epochs=2)
    with pytest.raises(Killed):
        run(config, Told(steps={3 * STEPS + 1: kill}), track=BOTH)
    assert len(in_history("runs/a")["lr"]) == 3  # and the third will be trained again, with another duration
    assert [len(found["lr"]) for found in (in_tensorboard("runs/a"), in_mlflow(*mlflow_runs()))] == [2, 2]
    assert mlflow_runs()[0].info.status == "RUNNING"
    run(config, track=BOTH)
    check_both("runs/a", "FINISHED", 4)


@pytest.mark.parametrize("cut", [1, 700, 10**6])
def test_an_event_file_that_was_cut_off_is_completed(cut):
    run(fast(epochs=2), track=["tensorboard"])
    (file,) = Path("runs/a/tensorboard").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[: max(len(whole) - cut, 0)])
    run(fast(epochs=2), track=["tensorboard"])
    (file,) = Path("runs/a/tensorboard").iterdir()
    assert file.read_bytes() == whole


def test_a_finished_run_is_followed_once():
    run(fast())
    assert not Path("runs/a/tensorboard").exists()
    assert not Path("mlflow.db").exists()
    kept = []
    for _ in range(2):
        run(fast(), track=BOTH)
        check_both("runs/a", "FINISHED", 4)
        (file,) = Path("runs/a/tensorboard").iterdir()
        kept.append((file, file.read_bytes(), file.stat().st_mtime_ns, mlflow_runs()[0].info.run_id))
    assert kept[0] == kept[1]


def test_a_run_that_was_half_tracked_under_old_names_ends_under_those_of_today(monkeypatch):
    old = {"memorized": "memorised", "recovered": "corrected"}
    with monkeypatch.context() as patch:
        patch.setattr(
            "noisylabels.experiment.snapshot.numbers",
            lambda row, names: {old.get(name, name): value for name, value in numbers(row, names).items()},
        )
        with pytest.raises(Interrupted):
            run(fast(), Told(signal_at=2 * STEPS + 5), track=BOTH)
    assert {"memorised", "corrected"} < in_tensorboard("runs/a").keys()
    run(fast(), track=BOTH)
    assert in_tensorboard("runs/a") == single(in_history("runs/a"))
    (only,) = mlflow_runs()
    there = in_mlflow(only)
    assert [len(there.pop(name)) for name in old.values()] == [2, 2]  # MLflow cannot take them back
    assert there == in_history("runs/a")
    assert only.info.status == "FINISHED"


def test_a_run_that_started_over_takes_the_place_of_the_first():
    run(fast(), track=BOTH)
    (file,) = Path("runs/a/tensorboard").iterdir()
    (first,) = mlflow_runs()
    for name in ("result.json", "history.jsonl"):
        Path("runs/a", name).unlink()
    run(fast(), track=BOTH)
    assert in_tensorboard("runs/a") == single(in_history("runs/a"))
    assert not file.exists()
    (active,) = mlflow_runs(view=ViewType.ACTIVE_ONLY)
    (deleted,) = mlflow_runs(view=ViewType.DELETED_ONLY)
    assert in_mlflow(active) == in_history("runs/a")
    assert deleted.info.run_id == first.info.run_id


def test_a_run_that_failed_is_shown_as_such():
    result = run(fast(lr=1e30, loss="ce"), track=BOTH)
    assert result.status == "failed"
    check_both("runs/a", "FAILED", 0)
    assert session("runs/a", metadata.SESSION_END_INFO_TAG).status == STATUS_FAILURE
    assert result.message in mlflow_runs()[0].data.tags["noisylabels.result"]


def test_class_names_of_any_letters_are_taken(work):
    draw = np.random.default_rng(0)
    names = ["a, b", "a: b", "a; b", "größe (m²)"]
    for name in names:
        (work / "photos" / name).mkdir(parents=True)
        for i in range(5):
            image = draw.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(image).save(work / "photos" / name / f"{i}.png")
    run(fast(data="photos", batch_size=4, epochs=1, noise="none"), track=BOTH)
    check_both("runs/a", "FINISHED", 1)
    assert {"recall/0_a__b", "recall/2_a__b"} < mlflow_runs()[0].data.metrics.keys()


def test_of_many_classes_recall_is_left_out():
    for classes, tracked in ((100, 100), (101, 0)):
        row = {"epoch": 1, "recall": [0.5] * classes, "dead_classes": [3, 4], "memorized": None}
        found = numbers(row, [str(k) for k in range(classes)])
        assert (found.pop("dead_classes"), len(found)) == (2, tracked)


# Studies ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("warm_workers")
def test_the_cells_of_a_study_are_followed_by_their_processes(work, capsys):
    (work / "s.toml").write_text(
        '[fixed]\ndata = "digits"\nmodel = "mlp"\nwidth = 0.1\nepochs = 2\nlr = 0.05\n'
        '[axes]\nloss = ["ce", "mae"]\nseed = [1, 2]\n'
    )
    words = ["study", "run", "s.toml", "--device", "cpu"]
    assert main([*words, "--jobs", "0", "--only", "loss=ce", "seed=1"]) == 0  # before anybody follows
    capsys.readouterr()
    assert main([*words, "--jobs", "2", "--track", *BOTH]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note:")]
    assert len(told) == 2  # and not two a cell
    cells = [path for path in Path("runs/s").iterdir() if path.is_dir()]
    for _ in range(2):
        runs = {r.info.run_name: r for r in mlflow_runs("s", "runs/s/mlflow.db")}
        assert sorted(runs) == sorted(cell.name for cell in cells)
        assert len(runs) == len(mlflow_runs("s", "runs/s/mlflow.db")) == 4
        for cell in cells:
            assert in_tensorboard(cell) == single(in_history(cell))
            assert in_mlflow(runs[cell.name], "runs/s/mlflow.db") == in_history(cell)
            assert runs[cell.name].info.status == "FINISHED"
        assert main([*words, "--jobs", "0", "--track", "mlflow"]) == 0  # again, with nothing to do
    assert not Path("mlflow.db").exists()
    assert {path.name for path in Path("runs/s").iterdir()} - {c.name for c in cells} == {
        "study.json",
        "mlflow.db",
    }


# What can be wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "tracker"),
    [
        ("tensorboard.summary.writer.record_writer", "tensorboard"),
        ("mlflow", "mlflow"),
        ("sqlalchemy", "mlflow"),
        ("alembic", "mlflow"),
        ("wandb", "wandb"),
    ],
)
def test_a_missing_package_is_named_before_anything_is_written(monkeypatch, capsys, module, tracker):
    monkeypatch.setitem(sys.modules, module, None)
    for words in (["train", "digits"], ["study", "run", "digits", "--jobs", "0"]):
        assert main([*words, "--track", tracker]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert f"the tracker {tracker} is not installed" in error
        assert "pip install 'noisylabels[track]'" in error
    assert list(Path().iterdir()) == []


def test_an_unknown_tracker_is_one_clear_line():
    with pytest.raises(InputError, match="unknown tracker 'tensorbord'; did you mean 'tensorboard'"):
        run(fast(), track=["tensorbord"])
    with pytest.raises(InputError, match="unknown tracker 'comet'; known: tensorboard, mlflow, wandb"):
        run(fast(), track="comet")
    assert list(Path().iterdir()) == []


def test_a_tracker_that_fails_is_one_note_and_catches_up_at_the_end():
    away, folder = Path("away"), Path("runs/a/tensorboard")
    reporter = Told({2: lambda: folder.rename(away), 4: lambda: away.rename(folder)})
    assert run(fast(), reporter, track=BOTH).status == "done"
    (note,) = [note for note in reporter.notes if "cannot" in note]
    assert note.startswith("tensorboard cannot follow (FileNotFoundError: ")
    assert note.endswith("the same command, later, lets it catch up")
    check_both("runs/a", "FINISHED", 4)


def test_a_server_that_is_not_there_does_not_end_the_run(monkeypatch, capsys):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    reporter = Told()
    assert run(fast(), reporter, track=BOTH).status == "done"
    assert in_tensorboard("runs/a") == single(in_history("runs/a"))
    assert len(reporter.notes) == 2
    assert reporter.notes[1].startswith("mlflow cannot follow (MlflowException: ")
    assert "secret" not in reporter.notes[1]
    assert not Path("mlflow.db").exists()
    assert capsys.readouterr().err == ""
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    run(fast(), track=["mlflow"])
    check_both("runs/a", "FINISHED", 4)


def test_the_store_and_the_experiment_are_those_that_mlflow_s_variables_name(work, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{work / 'other.db'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    run(fast(epochs=1), track=["mlflow"])
    (only,) = mlflow_runs("mine", "other.db")
    assert in_mlflow(only, "other.db") == in_history("runs/a")
    assert not Path("mlflow.db").exists()


def test_nothing_is_warned_of_and_mlflow_keeps_to_itself(work):
    shutil.rmtree(work / "runs", ignore_errors=True)
    program = (
        "from noisylabels.cli import main\n"
        "main(['train', '--model=mlp', '--loss=ce', '--width=0.1', '--epochs=1', '--track', 'mlflow', "
        "'tensorboard'])\n"
        "from mlflow.telemetry.utils import is_telemetry_disabled\n"
        "print('telemetry disabled:', is_telemetry_disabled())\n"
    )
    source = str(Path(noisylabels.__file__).parents[1])
    env = {"PATH": os.environ["PATH"], "HOME": str(work), "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], env=env, capture_output=True, text=True, check=True
    )
    started, *tracked = done.stderr.splitlines()
    assert started.startswith("training mlp on 1,438 examples")
    assert [line[:14] for line in tracked] == ["note: tracked:"] * 2
    assert done.stdout.endswith("telemetry disabled: True\n")
