"""`record`: what a run records besides its history, and what a wrong expression leads to."""

from __future__ import annotations

import pytest

from noisylabels.cli import main
from noisylabels.experiment import load_config, resolve, run
from noisylabels.experiment.reporter import Silent
from noisylabels.training.dynamics import EXAMPLES, FILE, read_dynamics, read_examples

HOW = {"model": "mlp", "width": 0.1, "epochs": 2, "batch_size": 256, "device": "cpu", "loss": "ce"}


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_a_recorded_run_has_the_id_and_the_accuracy_of_another_and_two_files_more(tmp_path):
    plain, recorded = (
        load_config("digits", noise="symmetric:0.4", out=str(tmp_path / name), record=name, **HOW)
        for name in ("none", "dynamics")
    )
    assert resolve(plain).run_id == resolve(recorded).run_id
    one, two = run(plain), run(recorded)
    assert one.final["test_loss"] == two.final["test_loss"]
    files = [{file.name for file in (tmp_path / name).iterdir()} for name in ("none", "dynamics")]
    assert files[1] - files[0] == {FILE, EXAMPLES}
    assert set(read_dynamics(two.path)["epoch"]) == {1, 2}
    assert len(read_examples(two.path)["position"]) == 1438

    notes = Notes()
    run(recorded, notes)
    assert len(notes.notes) == 1
    again = load_config(
        "digits", noise="symmetric:0.4", out=str(one.path), record="dynamics(stride=2)", **HOW
    )
    run(again, notes)
    assert (
        notes.notes[-1] == f"{one.path} was run without --record dynamics(stride=2); remove it to record it"
    )


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ("dynamic", "unknown recording 'dynamic'; did you mean 'dynamics'?"),
        ("dynamics(strid=2)", "has no parameter 'strid'; did you mean 'stride'?"),
        ("dynamics(stride=0)", "stride is 0, expected"),
        ("dynamics(stride=1.5)", "expected a whole number"),
        ("dynamics(sharpness_epochs=-1)", "sharpness_epochs is -1, expected"),
        ("dynamics(", "cannot be parsed"),
    ],
)
def test_a_wrong_recording_is_one_line_before_anything_is_written(tmp_path, capsys, record, words):
    out = tmp_path / "run"
    assert main(["train", "digits", "--record", record, "--out", str(out), "--epochs", "1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert not out.exists()


def test_the_study_command_passes_the_recording_on(tmp_path, capsys):
    (tmp_path / "s.toml").write_text(
        'title = "one"\nrecipe = "digits"\n[fixed]\nmodel = "mlp"\nwidth = 0.1\nepochs = 1\n'
        '[axes]\nloss = ["ce"]\nseed = [1]\n'
    )
    words = ["--out", str(tmp_path / "study"), "--jobs", "0", "--device", "cpu", "--record", "dynamics"]
    assert main(["study", "run", str(tmp_path / "s.toml"), *words]) == 0
    assert len(list((tmp_path / "study").glob(f"*/{FILE}"))) == 1
