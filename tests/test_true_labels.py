"""What a run records and shows of its accuracy on true labels, and its next command."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pytest

import noisylabels as nl
from noisylabels.cli import main
from noisylabels.cli.train import summary
from noisylabels.experiment import RunResult, load_config, read_result, resolve, run
from noisylabels.experiment.prediction import load_model, predict
from noisylabels.experiment.sets import corrupted
from noisylabels.noise.clean_accuracy import clean_accuracy

LABEL = "  test accuracy, true labels           "


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def write(name: str, n: int, wrong: float = 0.3) -> np.ndarray:
    """Write a table with three clear classes and noisy labels; return the true ones."""
    rng = np.random.default_rng(0)
    true = np.arange(n) % 3
    given = nl.corrupt(true, f"symmetric:{wrong}", num_classes=3, seed=0).given
    points = np.eye(3)[true] * 3 + rng.normal(size=(n, 3))
    with Path(name).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "a", "b", "c", "label"])
        writer.writerows([f"r{i}", *points[i], "xyz"[given[i]]] for i in range(n))
    return true


def trained(data: str, **settings: object) -> RunResult:
    return run(load_config(None, data=data, out="run", model="linear", device="cpu", **settings))


def line(result: RunResult) -> str | None:
    return next((each for each in summary(result).splitlines() if each.startswith(LABEL)), None)


def test_a_run_on_noisy_test_labels_has_the_estimate_beside_the_accuracy() -> None:
    true = write("rows.csv", 900)
    result = trained("rows.csv")
    assert result.test is not None
    assert result.final is not None
    found = result.test["true_labels"]
    low, high = found["interval"]
    _, test, *_ = corrupted(resolve(load_config(None, data="rows.csv", model="linear", device="cpu")))
    probs = predict(load_model(Path("run"), "cpu"), test.inputs).numpy()
    at = [int(name.removeprefix("r")) for name in test.ids]
    assert low < (probs.argmax(1) == true[at]).mean() < high
    shown = (result.kept or result.final)["test_accuracy"]
    assert shown < low  # the accuracy that is shown is of labels of which 30 % are wrong
    again = clean_accuracy(test.labels.numpy(), probs)  # the powers of a model's probabilities are tried
    assert found["accuracy"] == pytest.approx(again.estimate, abs=0.02)
    assert line(result) == (
        f"{LABEL}about {100 * found['accuracy']:.0f} % ({100 * low:.0f} to {100 * high:.0f}), estimated"
    )
    assert read_result(Path("run")) == result


def test_too_few_test_examples_are_recorded_and_not_shown() -> None:
    write("few.csv", 490)
    result = trained("few.csv")
    assert result.test == {
        "examples": 98,
        "held_out": True,
        "true_labels": {"why": "98 test examples of 3 classes, and the estimate needs 100"},
    }
    assert line(result) is None


def test_the_test_labels_of_a_named_set_count_as_true() -> None:
    result = trained("digits", epochs=1, noise="symmetric:0.4", loss="ce")
    assert result.test == {"examples": 359, "held_out": False}
    assert line(result) is None
    assert not summary(result).splitlines()[-1].startswith("  next: ")


def test_the_labels_of_a_test_part_of_ones_own_may_be_wrong() -> None:
    rng = np.random.default_rng(1)
    rows = {"x_train": rng.normal(size=(300, 4)), "x_test": rng.normal(size=(120, 4))}
    labels = {part.replace("x", "y"): (X[:, 0] > 0).astype(int) for part, X in rows.items()}
    np.savez("own.npz", **rows, **labels)
    result = trained("own.npz")
    assert result.test is not None
    assert not result.test["held_out"]
    assert "on 120 test examples, whose labels may be wrong" in summary(result)
    assert line(result) is not None
    low, high = result.test["true_labels"]["interval"]
    assert low <= (result.kept or result.final or {})["test_accuracy"] <= high  # they are right
    assert result.train == {"examples": 300, "inputs": "table"}


def test_the_next_command_predicts(capsys: pytest.CaptureFixture[str]) -> None:
    write("rows and more.csv", 600)
    words = ["--data", "rows and more.csv", "--model", "linear", "--device", "cpu", "--out", "a run"]
    assert main(["train", *words]) == 0
    *_, saved, last = capsys.readouterr().out.splitlines()
    assert saved == "  saved in a run"
    program, *given = shlex.split(last.removeprefix("  next: "))
    assert program == "noisylabels"
    assert main(["rows and more.csv" if each == "NEW_TABLE" else each for each in given]) == 0
    with Path("labels.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 600


def test_results_of_older_versions_are_still_shown() -> None:
    write("rows.csv", 600)
    trained("rows.csv")
    path = Path("run/result.json")
    old = json.loads(path.read_text())
    del old["train"], old["test"]["true_labels"]
    path.write_text(json.dumps(old))
    result = read_result(Path("run"))
    assert result.train is None
    assert line(result) is None
    assert summary(result).startswith(f"trained linear with loss {result.loss} on rows.csv: ")
