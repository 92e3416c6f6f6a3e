"""A study goes on from an exported file: what is done in it is not done again, and nothing of it is lost."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noisylabels.cli import main
from noisylabels.cli.parser import VERBS, flags
from noisylabels.core.checks import InputError
from noisylabels.core.locks import exclusive_lock
from noisylabels.experiment import read_result
from noisylabels.experiment.prediction import load_model
from noisylabels.study import restoring
from noisylabels.study.exports import export
from noisylabels.study.grid import from_table
from noisylabels.study.restoring import find
from noisylabels.study.results import read_results
from noisylabels.study.scheduling import carry_out_all
from noisylabels.study.store import CellState, Store, read_rows
from noisylabels.study.worker import carry_out

TEXT = """
title = "four small runs"
[fixed]
data = "digits"
model = "mlp"
width = 0.1
epochs = 2
noise = "symmetric:0.4"
[axes]
loss = ["ce", "mae"]
validation = [0.0, 0.2]
"""
FIXED = {"data": "digits", "model": "mlp", "width": 0.1, "epochs": 2, "noise": "symmetric:0.4"}
TABLE = {"fixed": FIXED, "axes": {"loss": ["ce", "mae"], "validation": [0.0, 0.2]}}
CELLS = from_table(TABLE, "four").cells({"device": "cpu"})
CELL = CELLS[0]


class Quiet:
    """A view that sees nothing."""

    def begun(self, cell) -> None:
        pass

    def ended(self, cell, answer) -> None:
        pass

    def tick(self) -> None:
        pass


def portable(rows: list[dict]) -> list[str]:
    """Return rows as text, in which 1, 1.0 and None differ, without where they were made."""
    texts = []
    for row in sorted(rows, key=lambda row: row["run_id"]):
        config = row["config"] | {"out": None, "data_root": None}
        texts.append(json.dumps(row | {"config": config}, sort_keys=True))
    return texts


def measured(folder: Path) -> list[tuple]:
    """Return of each row what must not depend on where it was made."""
    rows = sorted(read_rows(folder), key=lambda row: row["run_id"])
    return [(r["run_id"], r["status"], [e["test_loss"] for e in r["history"]]) for r in rows]


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The study, done."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    carry_out_all(Store(folder), CELLS, Quiet())
    return folder


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> Path:
    """The first cell, stopped in its second epoch."""
    out = tmp_path_factory.mktemp("begun") / CELL.name
    steps = iter([False] * 16 + [True] * 99)
    assert carry_out(vars(CELL.config) | {"out": str(out)}, lambda: next(steps))["status"] == "interrupted"
    assert (out / "checkpoint.pt").exists()
    return out


@pytest.fixture
def rows(whole) -> dict[str, dict]:
    """The rows of the study by their ids, to be changed."""
    return {row["run_id"]: row for row in read_rows(whole)}


@pytest.fixture
def study(tmp_path) -> list[str]:
    """The words after the action."""
    (tmp_path / "four.toml").write_text(TEXT)
    return [str(tmp_path / "four.toml"), "--out", str(tmp_path / "study"), "--device", "cpu", "--jobs", "0"]


def test_a_study_is_completed_from_a_file_and_exported_as_one(whole, rows, study, tmp_path, capsys):
    file, again = tmp_path / "part.parquet", tmp_path / "again.parquet"
    export([rows[cell.run_id] for cell in CELLS[:3]], file)
    assert main(["study", "run", *study, "--from", str(file)]) == 0
    said = capsys.readouterr()
    assert f"3 cells from {file}\n" in said.err
    assert "4 of 4 cells done" in said.out
    assert said.err.count("test accuracy") == 1  # one was run
    store = Store(tmp_path / "study")
    for cell in CELLS[:3]:
        there = sorted(p.name for p in store.path(cell).iterdir())
        assert there == ["config.json", "environment.json", "history.jsonl", "result.json"]
        assert store.state(cell) == Store(whole).state(cell)
    # what came from the file is as it was where it was made, without the columns that are others'
    ids = {cell.run_id for cell in CELLS[:3]}
    back = [row for row in read_rows(store.folder) if row["run_id"] in ids]
    assert portable(back) == portable([rows[i] for i in ids])
    assert measured(store.folder) == measured(whole)
    assert main(["study", "export", str(store.folder), "--file", str(again)]) == 0
    first = {row["run_id"]: row for row in read_rows(file)}
    second = {row["run_id"]: row for row in read_rows(again)}
    assert second.keys() == rows.keys()
    assert portable([second[i] for i in first]) == portable(list(first.values()))
    # once more: nothing is written, and nothing is run
    before = files_in(store.folder)
    assert main(["study", "run", *study, "--from", str(file)]) == 0
    assert f"0 cells from {file}; 3 others are kept as they are in this folder" in capsys.readouterr().err
    assert files_in(store.folder) == before


def test_what_a_history_holds_comes_back_as_it_was(rows, study, tmp_path):
    """Numbers at the ends of float64, whole numbers, lists, and what is not there."""
    last = rows[CELL.run_id]["history"][-1]
    first = last | {"test_loss": 5e-324, "lr": 1e-300, "memorized": None, "dead_classes": [3, 2**53 + 1]}
    first |= {
        "epoch": 1,
        "train_loss": 0.1 + 0.2,
        "recall": [1 / 3, 1.0, -0.0],
        "recovered": 1.7976931348623157e308,
    }
    del first["data_seconds"]  # as older versions
    gone = [first, last | {"given_accuracy": None, "dead_classes": []}]
    row = rows[CELL.run_id] | {"history": gone, "final": gone[-1]}
    export([row, rows[CELLS[1].run_id]], tmp_path / "a.parquet")
    store = Store(tmp_path / "study")
    found = find([tmp_path / "a.parquet"], CELLS, "four")
    assert found.restore(store, CELLS)[0] == {CELL.run_id, CELLS[1].run_id}
    back = {each["run_id"]: each for each in read_rows(store.folder)}[CELL.run_id]
    # a column that is in another epoch of the run is null in this one
    gone[0]["data_seconds"] = None
    assert portable([back]) == portable([row])
    export(read_rows(store.folder), tmp_path / "b.parquet")
    assert portable(read_rows(tmp_path / "b.parquet")) == portable(read_rows(tmp_path / "a.parquet"))


def test_a_restored_cell_is_a_run_like_others(whole, rows, study, tmp_path, capsys):
    export(rows.values(), tmp_path / "all.parquet")
    folder = tmp_path / "study"
    assert main(["study", "run", *study, "--from", str(tmp_path / "all.parquet")]) == 0
    assert main(["study", "status", str(folder)]) == 0
    assert "4 cells: 4 done" in capsys.readouterr().out
    out = folder / CELL.name
    words = [
        "--data",
        "digits",
        "--model",
        "mlp",
        "--width",
        "0.1",
        "--epochs",
        "2",
        "--noise",
        "symmetric:0.4",
    ]
    assert main(["train", *words, "--loss", "ce", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "is done already" in said.err
    accuracy = rows[CELL.run_id]["final"]["test_accuracy"]
    assert f"test accuracy                        {100 * accuracy:.2f} %" in said.out
    mine, theirs = read_results([folder]), read_results([whole])
    assert len(mine) == len(theirs) == 2
    for one, other in zip(mine, theirs, strict=True):
        pairs = [sorted(each.done, key=lambda run: run.run_id) for each in (one, other)]
        for run, same in zip(*pairs, strict=True):
            assert run.run_id == same.run_id
            assert {name: list(curve) for name, curve in run.curves.items()} == {
                name: list(curve) for name, curve in same.curves.items()
            }
    with pytest.raises(InputError, match="is done but has no weights"):
        load_model(out)


@pytest.mark.usefixtures("warm_workers")
def test_show_counts_the_cells_of_a_file_and_writes_nothing(rows, study, tmp_path, capsys):
    refused = rows[CELLS[1].run_id] | {"status": "failed", "message": "no memory", "environment": {}}
    refused |= {"final": None, "history": [], "noise": {}, "class_names": []}
    export([rows[CELL.run_id], rows[CELLS[2].run_id], refused], tmp_path / "some.parquet")
    before = files_in(tmp_path)
    assert main(["study", "show", *study, "--from", str(tmp_path / "some.parquet")]) == 0
    said = capsys.readouterr().out
    assert "4 cells, 1 to run" in said
    assert said.count(" done ") == 2
    assert "no memory" in said
    assert files_in(tmp_path) == before
    assert not (tmp_path / "study").exists()


def test_what_was_begun_makes_room_with_all_its_leftovers(begun, whole, rows, study, tmp_path):
    out = tmp_path / "study" / CELL.name
    shutil.copytree(begun, out)
    (out / ".history.jsonl.abc.tmp").write_text("{")
    export([rows[CELL.run_id]], tmp_path / "one.parquet")
    assert Store(tmp_path / "study").state(CELL).state == "begun"
    assert main(["study", "run", *study, "--from", str(tmp_path / "one.parquet")]) == 0
    there = sorted(p.name for p in out.iterdir())
    assert there == ["config.json", "environment.json", "history.jsonl", "result.json"]
    assert measured(tmp_path / "study") == measured(whole)


def test_folders_that_are_done_or_in_use_stay_and_a_damaged_one_is_kept(begun, rows, study, tmp_path, capsys):
    folder, file = tmp_path / "study", tmp_path / "all.parquet"
    store = Store(folder)
    for cell in CELLS[:2]:
        shutil.copytree(begun, store.path(cell))
    (store.path(CELLS[1]) / "config.json").write_text("{")
    export(rows.values(), file)
    found = find([file], CELLS, "four")
    with exclusive_lock(store.path(CELL) / ".lock"):
        before = files_in(store.path(CELL)), files_in(store.path(CELLS[1]))
        assert found.restore(store, CELLS[:2]) == (
            set(),
            [f"0 cells from {file}; 2 others are kept as they are in this folder"],
        )
        assert (files_in(store.path(CELL)), files_in(store.path(CELLS[1]))) == before
    # by the command the damaged folder goes aside, and its cell is taken from the file
    assert main(["study", "run", *study, "--from", str(file)]) == 0
    said = capsys.readouterr().err
    assert f"moved to {folder / 'damaged' / CELLS[1].name}.1, restored from {file}" in said
    assert f"4 cells from {file}\n" in said
    assert "test accuracy" not in said
    assert (folder / "damaged" / f"{CELLS[1].name}.1" / "checkpoint.pt").exists()
    assert not list(folder.rglob(".lock"))


@pytest.mark.parametrize("meanwhile", ["done", "at work"])
def test_what_another_runner_does_meanwhile_stays(begun, whole, rows, tmp_path, monkeypatch, meanwhile):
    """After a cell was looked at, and before its folder is ours."""
    store = Store(tmp_path / "study")
    shutil.copytree(whole / CELL.name if meanwhile == "done" else begun, store.path(CELL))
    before = files_in(store.folder)
    export(rows.values(), tmp_path / "all.parquet")
    found = find([tmp_path / "all.parquet"], CELLS, "four")
    monkeypatch.setattr(Store, "state", lambda self, cell: CellState("waiting"))
    with exclusive_lock(store.path(CELL) / ".lock") if meanwhile == "at work" else nullcontext():
        assert found.restore(store, CELLS[:1])[0] == set()
    assert files_in(store.folder) == before


@pytest.mark.parametrize("there", ["nothing", "begun"])
def test_a_kill_half_way_leaves_no_half_cell(begun, whole, rows, study, tmp_path, monkeypatch, there):
    """Whichever write it was before; the study goes on with the file and without it."""
    export([rows[CELL.run_id]], tmp_path / "one.parquet")
    store = Store(tmp_path / "study")
    found = find([tmp_path / "one.parquet"], CELLS, "four")
    write = restoring.write_json
    for writes, more in ((0, []), (1, []), (2, []), (2, ["--from", str(tmp_path / "one.parquet")])):
        shutil.rmtree(store.folder, ignore_errors=True)
        if there == "begun":
            shutil.copytree(begun, store.path(CELL))
        room = iter([write] * writes)

        def killed(path, value, room=room):
            if (real := next(room, None)) is None:
                raise KeyboardInterrupt
            real(path, value)

        monkeypatch.setattr(restoring, "write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            found.restore(store, CELLS)
        monkeypatch.setattr(restoring, "write_json", write)
        assert store.state(CELL).state in ("waiting", "begun")
        assert main(["study", "run", *study, "--only", "loss=ce", "validation=0.0", *more]) == 0
        assert measured(store.folder) == [row for row in measured(whole) if row[0] == CELL.run_id]


def test_failures_come_back_only_where_nothing_is(begun, rows, study, tmp_path, capsys):
    """One that diverged, and one that could not be run; --retry does without them."""
    diverged = rows[CELL.run_id] | {
        "status": "failed",
        "message": "the loss is NaN",
        "history": [],
        "final": None,
    }
    refused = rows[CELLS[1].run_id] | {"status": "failed", "message": "no memory", "environment": {}}
    refused |= {"final": None, "history": [], "noise": {}, "class_names": []}
    file, store = tmp_path / "failed.parquet", Store(tmp_path / "study")
    export([diverged, refused, *(rows[cell.run_id] for cell in CELLS[2:])], file)
    command = ["study", "run", *study, "--from", str(file)]
    assert main(command) == 1
    said = capsys.readouterr()
    assert f"4 cells from {file}, 2 of them failed" in said.err
    assert "2 of 4 cells done, 2 failed" in said.out
    assert [store.state(cell).message for cell in CELLS[:2]] == ["the loss is NaN", "no memory"]
    export(read_rows(store.folder), tmp_path / "again.parquet")
    assert portable(read_rows(tmp_path / "again.parquet")) == portable(read_rows(file))
    # they were done elsewhere
    export([rows[cell.run_id] for cell in CELLS[:2]], tmp_path / "done.parquet")
    assert main([*command, str(tmp_path / "done.parquet")]) == 0
    said = capsys.readouterr().err
    assert f"2 cells from {tmp_path / 'done.parquet'}" in said
    assert "test accuracy" not in said
    assert not list(store.folder.rglob("failure.json"))
    # nor does a failure replace what was begun
    shutil.rmtree(store.folder)
    shutil.copytree(begun, store.path(CELL))
    assert find([file], CELLS, "four").restore(store, CELLS[:1])[0] == set()
    assert main([*command, "--retry"]) == 0
    said = capsys.readouterr()
    assert f"2 cells from {file}\n" in said.err
    assert "4 of 4 cells done" in said.out


def _other_settings(row: dict) -> dict:
    return row | {"config": row["config"] | {"lr": 0.125}}


def _newer_setting(row: dict) -> dict:
    return row | {"config": row["config"] | {"brightness": 1}}


def _other_end(row: dict) -> dict:
    return row | {"final": row["final"] | {"test_accuracy": 0.99}}


def _no_end(row: dict) -> dict:
    return row | {"history": [], "final": None}


def _nothing_known(row: dict) -> dict:
    return row | {"environment": {}}


def _no_number(row: dict) -> dict:
    history = [*row["history"][:-1], row["final"] | {"test_loss": float("inf")}]
    return row | {"history": history, "final": history[-1]}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_other_settings, "its settings give the id "),
        (_newer_setting, "unknown setting 'brightness'"),
        (_other_end, "its history does not end with the final row of its result"),
        (_no_end, "it is finished without an epoch"),
        (_nothing_known, "its result has no environment or no noise"),
        (_no_number, "the run {id}: final is not valid JSON (Infinity is no number of JSON)"),
        (lambda row: row | {"status": "won"}, "the run {id}: status is 'won', expected 'done' or 'failed'"),
        (lambda row: row | {"noise": []}, "the run {id}: noise is [], expected a valid dictionary"),
        (lambda row: row | {"config": []}, "the run {id}: config is [], expected a valid dictionary"),
    ],
)
@pytest.mark.usefixtures("warm_workers")
def test_a_row_that_cannot_be_its_cell_is_passed_over_and_the_cell_is_run(
    rows, study, tmp_path, capsys, change, why
):
    file = tmp_path / "changed.parquet"
    changed = [change(rows[CELL.run_id]), *(rows[cell.run_id] for cell in CELLS[1:])]
    if isinstance(changed[0]["config"], list):  # `export` takes no such row
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("noisylabels.study.exports._portable", lambda name, value: value)
            export(changed, file)
    else:
        export(changed, file)
    assert main(["study", "show", *study, "--from", str(file)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "4 cells, 1 to run" in shown
    assert main(["study", "run", *study, "--from", str(file)]) == 0
    said = capsys.readouterr()
    assert f"{file}: skipped the run {CELL.run_id}: {why.format(id=CELL.run_id)}" in said.err
    assert f"3 cells from {file}\n" in said.err
    assert "4 of 4 cells done" in said.out


def test_a_run_of_code_that_has_changed_is_passed_over(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = (
        "import torch\n\n\ndef make(image_size, channels, num_classes):\n"
        "    n = channels * image_size[0] * image_size[1]\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(n, num_classes))\n"
    )
    Path("own.py").write_text(code)
    Path("s.toml").write_text('[fixed]\ndata = "digits"\nepochs = 1\n[axes]\nmodel = ["own.py:make"]\n')
    command = ["study", "run", "s.toml", "--jobs", "0", "--device", "cpu"]
    assert main(command) == 0
    assert main(["study", "export", "s", "--file", "s.parquet"]) == 0
    (out,) = Path("runs/s").glob("own*")
    result = read_result(out)
    shutil.rmtree("runs")
    capsys.readouterr()
    for changed, told in (("", "1 cells from s.parquet"), ("# faster\n", "own.py has changed since")):
        Path("own.py").write_text(changed + code)
        assert main([*command, "--from", "s.parquet"]) == 0
        said = capsys.readouterr()
        assert told in said.err
        assert "1 of 1 cells done" in said.out
        assert read_result(out).loss == result.loss != "auto"  # the loss that was chosen
        shutil.rmtree("runs")


def test_several_files_and_parts_of_a_study(rows, study, tmp_path, capsys):
    first, second = tmp_path / "1.parquet", tmp_path / "2.parquet"
    export([rows[cell.run_id] for cell in CELLS[:2]], first)
    export([rows[cell.run_id] for cell in CELLS[1:]], second)
    part = ["study", "run", *study, "--from", str(first), str(second)]
    # a part of which the first file has nothing: it is of the study all the same
    assert main([*part, "--only", "loss=mae"]) == 0
    said = capsys.readouterr()
    assert f"0 cells from {first}\n2 cells from {second}\n" in said.err
    assert "2 of 2 cells done" in said.out
    assert main([*part, "--shard", "1/2"]) == 0
    assert "2 of 2 cells done" in capsys.readouterr().out
    assert main(part) == 0
    said = capsys.readouterr()
    assert "4 of 4 cells done" in said.out
    assert "test accuracy" not in said.err


def test_a_file_that_is_of_no_use_is_one_line(rows, study, tmp_path, capsys):
    good, other, renamed, plain, none = (tmp_path / f"{name}.parquet" for name in "abcde")
    export(rows.values(), good)
    elsewhere = from_table(TABLE | {"fixed": FIXED | {"epochs": 3}}, "other").cells()
    settings = {new.name: vars(new.config) for new in elsewhere}
    pairs = zip(elsewhere, rows.values(), strict=True)
    export([row | {"run_id": new.run_id, "config": settings[new.name]} for new, row in pairs], other)
    export([row | {"run_id": row["run_id"][::-1]} for row in rows.values()], renamed)
    pq.write_table(pa.table({"x": [1]}), plain)
    pq.write_table(pq.read_table(good).slice(0, 0), none)
    (tmp_path / "text.parquet").write_text("x")
    for words, message in (
        ([tmp_path / "no.parquet"], "there is no file"),
        ([tmp_path], "is a folder, expected a file"),
        ([tmp_path / "text.parquet"], "cannot be read as Parquet"),
        ([plain], "is a Parquet file, but not one of `noisylabels study export`"),
        ([none], "shares no cell with the study four: it contains no run"),
        ([other], f"{other} shares no cell with the study four: in its nearest run, "),
        ([other], "epochs is 3, expected 2; repeat the --data and --set of that run"),
        ([good, other], f"{other} shares no cell with the study four"),
        ([renamed], "under another id; it was edited, or is of another version"),
        ([good, "--set", "lr=0.5"], "lr is 0.01, expected 0.5"),
        ([good, "--data", "cifar10"], "data is 'digits', expected 'cifar10'"),
    ):
        for action in ("run", "show"):
            assert main(["study", action, *study, "--from", *map(str, words)]) == 2
            error = capsys.readouterr().err
            assert error.count("\n") == 1
            assert message in error
    assert not (tmp_path / "study").exists()
    for action in ("status", "export"):
        assert main(["study", action, *study[:1], "--from", str(good)]) == 2
        assert f"--from belongs to run and show, not to {action}" in capsys.readouterr().err
    assert "--from" in flags(VERBS["study"])
    assert main(["study", "run", "digits", "--form", "x"]) == 2
    assert "did you mean '--from'" in capsys.readouterr().err
