"""Cells with equal losses: one runs, the others are marked copies of it, equal to runs of their own."""

from __future__ import annotations

import json
import shutil

import pytest

from noisylabels.cli import main
from noisylabels.losses import PAPER
from noisylabels.study.equal_runs import EqualCells, copy_run
from noisylabels.study.executors import Inline
from noisylabels.study.exports import export
from noisylabels.study.grid import from_table, load_study
from noisylabels.study.looks import loss_theme
from noisylabels.study.results import epoch_seconds, read_results
from noisylabels.study.scheduling import carry_out_all
from noisylabels.study.store import Store, read_rows
from noisylabels.study.tables import accuracies, details

FIXED = {"data": "digits", "model": "mlp", "width": 0.1, "epochs": 2, "lr": 0.05, "record": "dynamics"}
AXES = {"loss": ["ce", "nmae", "nrce"], "noise": ["symmetric:0.4"], "seed": [1, 2]}


def cells_of(**axes):
    table = {"fixed": FIXED, "axes": AXES | axes}
    return from_table(table, "s").cells({"device": "cpu"})


class View:
    """Counts what is begun, and what ended with which message."""

    def __init__(self):
        self.begun_, self.ended_ = [], {}

    def begun(self, cell):
        self.begun_.append(cell.axes["loss"])

    def ended(self, cell, answer):
        assert answer["status"] == "done", answer
        self.ended_[cell.name] = answer["message"]

    def tick(self): ...


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """The study with every cell run on its own."""
    store = Store(tmp_path_factory.mktemp("apart") / "s")
    view = View()
    carry_out_all(store, cells_of(), view, equal=EqualCells())
    assert sorted(view.begun_) == ["ce", "ce", "nmae", "nmae", "nrce", "nrce"]
    return store


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("together") / "s")
    view = View()
    carry_out_all(store, cells_of(), view)
    assert sorted(view.begun_) == ["ce", "ce", "nmae", "nmae"]  # nrce is copied
    return store, view


def measured(folder, loss):
    """Return everything that a run of a loss measured but its seconds."""
    found = {}
    for row in read_rows(folder):
        if row["config"]["loss"] == loss:
            history = [{k: v for k, v in each.items() if "seconds" not in k} for each in row["history"]]
            found[row["config"]["seed"]] = row["run_id"], row["status"], row["noise"], history
    return found


@pytest.mark.parametrize("loss", ["nmae", "nrce"])
def test_a_copy_is_what_a_run_of_its_own_is(apart, together, loss):
    store, _ = together
    assert measured(store.folder, loss) == measured(apart.folder, loss)
    assert len(measured(store.folder, loss)) == 2
    for cell in cells_of():
        there, here = apart.path(cell), store.path(cell)
        assert sorted(p.name for p in there.iterdir()) == sorted(p.name for p in here.iterdir())
        for name in ("labels.parquet", "model.safetensors"):
            assert (there / name).read_bytes() == (here / name).read_bytes(), (cell.name, name)


def test_a_copy_is_marked_wherever_it_is_read(together, tmp_path):
    store, view = together
    named = {cell.name: cell for cell in cells_of()}
    for name, cell in named.items():
        if cell.axes["loss"] != "nrce":
            assert view.ended_[name] == store.state(cell).message == ""
            continue
        (source,) = EqualCells.of(cells_of()).others(cell)
        said = f"copied from {source.run_id}: its loss is nmae, to the last bit"
        assert view.ended_[name] == store.state(cell).message == said
        environment = json.loads((store.path(cell) / "environment.json").read_text())
        assert environment["copied"] == {"run_id": source.run_id, "loss": "nmae"}
        assert json.loads((store.path(cell) / "config.json").read_text())["loss"] == "nrce"
    export(read_rows(store.folder), tmp_path / "runs.parquet")
    for source in (store.folder, tmp_path / "runs.parquet"):
        (results,) = read_results([source])
        assert results.copied == {"nrce": "nmae"}
        assert {run.loss for run in results.done if epoch_seconds(run) is None} == {"nrce"}
        for table in (*accuracies(results), *details(results)):
            assert "The runs of nrce are copied from those of nmae: it is the same function" in table.note
    assert loss_theme(results.losses).names == ["ce", "nmae", "nrce"]


def test_a_finished_run_is_copied_later_and_a_copy_is_not_the_origin(together, tmp_path):
    store = Store(tmp_path / "s")
    shutil.copytree(together[0].folder, store.folder)
    for cell in cells_of():
        if cell.axes["loss"] == "nmae":
            shutil.rmtree(store.path(cell))
    view = View()
    carry_out_all(store, cells_of(loss=["nmae"]), view, equal=EqualCells.of(cells_of()))
    assert view.begun_ == []
    for cell in cells_of(loss=["nmae"]):
        copied = json.loads((store.path(cell) / "environment.json").read_text())["copied"]
        assert copied["loss"] == "nmae"  # the run that was run, not the copy that was copied
        assert store.state(cell).state == "done"


class Answering(Inline):
    """Answers in place of running a cell; `before` is called first."""

    def __init__(self, status, before=lambda name: None):
        super().__init__()
        self.status, self.before, self.submitted = status, before, []

    def submit(self, name, config, stop):
        self.submitted.append(config["loss"])
        self.before(name)
        self._answer = name, {"status": self.status, "message": "a reason"}


def test_a_failed_run_is_not_copied(tmp_path):
    """The equal cell is run, and fails by itself."""
    store, cells, executor = (
        Store(tmp_path / "s"),
        cells_of(loss=["nmae", "nrce"], seed=[1]),
        Answering("refused"),
    )
    seen = []
    view = View()
    view.ended = lambda cell, answer: seen.append((cell.axes["loss"], answer["status"]))
    carry_out_all(store, cells, view, executor=executor)
    assert executor.submitted == ["nmae", "nrce"]
    assert seen == [("nmae", "refused"), ("nrce", "refused")]
    assert [store.state(cell).state for cell in cells] == ["failed", "failed"]


def test_a_run_that_another_process_finishes_is_copied(together, tmp_path):
    store, cells = Store(tmp_path / "s"), cells_of(loss=["nmae", "nrce"], seed=[1])
    finish = lambda name: shutil.copytree(together[0].folder / name, store.folder / name)  # noqa: E731
    executor = Answering("busy", finish)
    seen = []
    view = View()
    view.ended = lambda cell, answer: seen.append((cell.axes["loss"], answer["status"]))
    carry_out_all(store, cells, view, executor=executor)
    assert executor.submitted == ["nmae"]
    assert seen == [("nmae", "busy"), ("nrce", "done")]
    assert store.state(cells[1]).message.startswith("copied from ")


def test_a_copy_that_cannot_be_read_is_run(together, tmp_path):
    store, cells, executor = (
        Store(tmp_path / "s"),
        cells_of(loss=["nmae", "nrce"], seed=[1]),
        Answering("refused"),
    )
    shutil.copytree(together[0].path(cells[0]), store.path(cells[0]))
    (store.path(cells[0]) / "environment.json").unlink()
    view = View()
    view.ended = lambda cell, answer: None
    carry_out_all(store, cells[1:], view, executor=executor, equal=EqualCells.of(cells))
    assert executor.submitted == ["nrce"]


def test_other_settings_and_code_of_ones_own_are_not_equal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def f(l): return 1 - l.exp()\n")
    cells = cells_of(loss=["nmae", "nrce", "rce", "2*mae", "mae", "mine.py:f", "2*mine.py:f"], seed=[1])
    groups = EqualCells.of(cells)
    assert {cell.axes["loss"]: [o.axes["loss"] for o in groups.others(cell)] for cell in cells} == {
        "nmae": ["nrce"],
        "nrce": ["nmae"],
        "rce": ["2*mae"],
        "2*mae": ["rce"],
        "mae": [],
        "mine.py:f": [],
        "2*mine.py:f": [],
    }
    assert not EqualCells.of(cells_of(loss=["nmae"])).groups  # two seeds


def test_the_papers_study_runs_eleven_twelfths(tmp_path):
    cells = load_study("paper").cells({"data": "digits"})
    run = EqualCells.of(cells).first(cells, Store(tmp_path))
    assert len(cells) == 324
    assert len(run) == 324 * 11 // 12
    assert {cell.axes["loss"] for cell in run} == set(PAPER) - {"nrce"}


def test_a_cell_in_use_is_left_alone(together, tmp_path):
    store = Store(tmp_path / "s")
    shutil.copytree(together[0].folder, store.folder)
    first, copy = (next(c for c in cells_of() if c.axes["loss"] == name) for name in ("nmae", "nrce"))
    assert not copy_run(store, first, copy)  # finished
    shutil.rmtree(store.path(copy))
    assert copy_run(store, first, copy)


def test_the_command_says_what_it_copies(tmp_path, capsys):
    text = 'title = "t"\n[fixed]\ndata = "digits"\nmodel = "mlp"\nwidth = 0.1\nepochs = 1\n'
    (tmp_path / "s.toml").write_text(text + '[axes]\nloss = ["nmae", "nrce"]\n')
    words = [str(tmp_path / "s.toml"), "--out", str(tmp_path / "runs"), "--device", "cpu", "--jobs", "0"]
    assert main(["study", "show", *words]) == 0
    assert "2 cells, 1 to run, 1 to copy, in" in capsys.readouterr().out
    assert main(["study", "run", *words]) == 0
    said = capsys.readouterr()
    assert "2 cells, 1 to run, 1 to copy in" in said.err
    assert "2 of 2 cells done" in said.out
    assert ", copied from " in said.err
    assert main(["study", "show", *words]) == 0
    assert "copied from" in capsys.readouterr().out
