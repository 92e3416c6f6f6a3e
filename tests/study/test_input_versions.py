"""Input files that are edited between runs: no run on the one version counts as a run on the other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from noisylabels.cli import main
from noisylabels.experiment import Notes, RunConfig, run
from noisylabels.experiment.data_state import state_of_run
from noisylabels.study.exports import export
from noisylabels.study.results import read_results
from noisylabels.study.store import read_rows

LOSS = "from torch.nn.functional import cross_entropy\n\ndef own(logits, labels):\n    return {} * "
LOSS += "cross_entropy(logits, labels, reduction='none')\n"


def write_table(path: Path, rows: int = 120) -> None:
    """Write rows of two numbers of three classes, and their parts."""
    rng = np.random.default_rng(0)
    lines = ["x,y,label,split"]
    for i in range(rows):
        x, y = rng.normal(i % 3, 0.3, 2)
        lines.append(f"{x:.4f},{y:.4f},{'abc'[i % 3]},{'test' if i % 4 == 3 else 'train'}")
    path.write_text("\n".join(lines) + "\n")


def change_a_row(part: str) -> None:
    lines = Path("g.csv").read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.endswith(part))
    lines[place] = f"9,9,b,{part}"
    Path("g.csv").write_text("\n".join(lines) + "\n")


def small(out: str, **settings: object) -> RunConfig:
    settings = {"loss": "ce", "model": "mlp", "width": 0.1, "epochs": 1, "data": "g.csv"} | settings
    return RunConfig(out=out, **settings)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_table(Path("g.csv"))


EDITS = {
    "a training row": ({}, lambda: None, lambda: change_a_row("train"), "data"),
    "a test row": ({}, lambda: None, lambda: change_a_row("test"), "data"),
    "a transition matrix": (
        {"noise": "matrix:t.csv"},
        lambda: Path("t.csv").write_text("0.8,0.2,0\n0,0.8,0.2\n0.2,0,0.8\n"),
        lambda: Path("t.csv").write_text("0.6,0.4,0\n0,0.6,0.4\n0.4,0,0.6\n"),
        "t.csv",
    ),
    "code": (
        {"loss": "own.py:own"},
        lambda: Path("own.py").write_text(LOSS.format(1)),
        lambda: Path("own.py").write_text(LOSS.format(2)),
        "own.py",
    ),
}


@pytest.mark.parametrize("form", ["folders", "exports"])
@pytest.mark.parametrize("what", EDITS)
def test_runs_of_the_same_settings_on_edited_inputs_are_apart(what: str, form: str) -> None:
    settings, before, edit, name = EDITS[what]
    before()
    run(small("A/one", **settings))
    shutil.copytree("A", "C")  # a copy of a run, beside which it counts once
    edit()
    run(small("B/one", **settings))
    run(small("B/two", **settings, seed=1))
    sources = ["A", "B", "C"]
    if form == "exports":
        for source in sources:
            export(read_rows(source), Path(f"{source}.parquet"))
        sources = [f"{source}.parquet" for source in sources]
    notes: list[str] = []
    found = read_results(sources, notes)
    assert [(each.apart, each.seeds) for each in found] == [
        ({f"{name} version": 1}, [0]),
        ({f"{name} version": 2}, [0, 1]),
    ]
    assert found[0].runs[0].run_id == found[1].runs[0].run_id
    (note,) = notes
    file = "g.csv" if name == "data" else name
    assert note.startswith(
        f"{file} is not the same in all runs, which are kept apart: {name} version 1 in 1, "
    )
    assert f"; {name} version 2 in 2, such as " in note
    assert found[1].title.endswith(f"{name} version 2")


def test_a_version_of_one_data_set_is_none_of_another() -> None:
    shutil.copy("g.csv", "h.csv")
    run(small("A/one"))
    change_a_row("train")
    run(small("A/two", seed=1))
    run(small("A/other", data="h.csv"))
    run(small("A/noisy", seed=1, noise="longtail:0.5 | symmetric:0.2"))  # which makes another training set
    found = sorted(read_results(["A"]), key=lambda each: str(each.apart))
    assert [(each.apart, len(each.runs)) for each in found] == [
        ({"data": "g.csv", "data version": 1}, 2),  # in the order of the folders
        ({"data": "g.csv", "data version": 2}, 1),
        ({"data": "h.csv"}, 1),
    ]


def test_an_older_run_counts_where_its_data_are_known() -> None:
    for out, noise in (("A/one", "symmetric:0.2"), ("A/cut", "longtail:0.5")):
        run(small(out, noise=noise))
        path = Path(out, "environment.json")
        about = json.loads(path.read_text())
        state = state_of_run(about, {"noise": noise})
        assert state is not None
        assert about["data_read"] == state._asdict()
        del about["data_read"]
        path.write_text(json.dumps(about))
        assert state_of_run(about, {"noise": noise}) == (state if out == "A/one" else None)
    change_a_row("test")
    run(small("A/two", noise="symmetric:0.2", seed=1))
    # what is unknown of one run is no reason to keep it apart from all others
    assert [len(each.runs) for each in read_results(["A"])] == [2, 1]


def test_a_finished_run_says_that_its_data_have_changed() -> None:
    def noted() -> list[str]:
        notes: list[str] = []
        assert run(small("A"), Notes(notes.append)).status == "done"
        return notes

    run(small("A"))
    again = ["A is done already; remove it to run again"]
    assert noted() == again
    change_a_row("test")
    assert noted() == [*again, "g.csv has changed since the run in A, which used the earlier data"]
    Path("g.csv").unlink()
    assert noted() == again


def test_a_study_says_that_its_data_have_changed(capsys: pytest.CaptureFixture[str]) -> None:
    Path("s.toml").write_text(
        '[fixed]\ndata = "g.csv"\nmodel = "mlp"\nwidth = 0.1\nepochs = 1\n'
        '[axes]\nloss = ["ce", "mae"]\nseed = [1, 2]\n'
    )

    def said(*only: str) -> str:
        assert main(["study", "run", "s.toml", "--jobs", "0", "--out", "S", *only]) == 0
        return capsys.readouterr().err

    said("--only", "seed=1")
    assert "changed" not in said("--only", "seed=1")
    change_a_row("test")
    changed = "note: g.csv has changed since 2 of the cells were run, such as "
    assert changed in said("--only", "seed=1")  # nothing is run
    assert changed in said()
    assert changed in said()
    for folder in Path("S").glob("*seed1*"):
        shutil.rmtree(folder)
    assert "changed" not in said()
