"""Runs with corrected labels from a file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.experiment import Notes, RunConfig, load_config, load_sets, run, run_id

FAST = {"model": "small-cnn", "width": 0.25, "epochs": 2, "batch_size": 8, "loss": "ce", "device": "cpu"}


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    for name, color in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for i in range(20):
            pixels = np.clip(rng.normal(color, 20, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")


def config(**more: object) -> RunConfig:
    return load_config(None, **FAST | {"data": "photos"} | more)


def write(rows: list[tuple[str, str]], name: str = "corrected.csv") -> Path:
    with Path(name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "label"), *rows])
    return Path(name)


def test_labels_of_both_parts_are_corrected_and_the_split_stays() -> None:
    train, test = load_sets(config())
    first, second, last = train.ids[0], train.ids[1], test.ids[0]
    other = {name: train.class_names[1 - k] for part in (train, test) for name, k in labels_of(part)}
    absolute = Path("photos", second).resolve()
    kept = (train.ids[5], train.class_names[int(train.labels[5])])
    write([(first, other[first]), (str(absolute), ""), (last, other[last]), kept])
    notes: list[str] = []
    new_train, new_test = load_sets(config(labels="corrected.csv"), Notes(notes.append))
    assert notes[-1] == ("corrected.csv: 2 labels changed, 1 unchanged, 1 left out, 36 not in it, and kept")
    assert list(new_train.ids) == [name for name in train.ids if name != second]
    assert list(new_test.ids) == list(test.ids)
    assert new_train.class_names[int(new_train.labels[0])] == other[first]
    assert new_test.class_names[int(new_test.labels[0])] == other[last]
    assert new_train.labels.tolist()[1:] == train.labels.tolist()[2:]
    assert new_test.labels.tolist()[1:] == test.labels.tolist()[1:]


def labels_of(part: object) -> list[tuple[str, int]]:
    return list(zip(part.ids, part.labels.tolist(), strict=True))  # type: ignore[attr-defined]


def test_a_run_learns_the_corrected_labels(capsys: pytest.CaptureFixture[str]) -> None:
    """All labels are swapped, and so are the model's predictions."""
    train, test = load_sets(config())
    swapped = {"red": "blue", "blue": "red"}
    write([(n, swapped[train.class_names[k]]) for part in (train, test) for n, k in labels_of(part)])
    words = (
        "train --data photos --labels corrected.csv --out run --epochs 6 --batch-size 8 --loss ce --lr 0.05"
    )
    assert main([*words.split(), "--model", "small-cnn", "--width", "0.25", "--augment", "none"]) == 0
    assert "test accuracy                        100.00 %" in capsys.readouterr().out
    assert main(["predict", "run", "photos/red", "--out", "said.csv"]) == 0
    with Path("said.csv").open() as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"blue"}


def test_the_file_is_part_of_what_a_run_is() -> None:
    train, _ = load_sets(config())
    write([(train.ids[0], "red")])
    with_labels = config(labels="./corrected.csv", out="run")
    assert run_id(with_labels) == run_id(config(labels="corrected.csv")) != run_id(config())
    run(with_labels)
    identity = json.loads(Path("run/environment.json").read_text())["identity"]
    assert list(identity["label files"]) == ["corrected.csv"]
    run(with_labels)
    write([(train.ids[0], "blue")])
    with pytest.raises(InputError, match=r"corrected.csv has changed since the run in run began; restore it"):
        run(with_labels)


def test_the_ids_of_runs_without_a_file_stay() -> None:
    assert run_id(RunConfig(loss="nce+mae")) == "61a98e8a755e"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("red/99.png", "red")], "corrected.csv, line 2: there is no example 'red/99.png' in the data"),
        ([("red/1.png", "rde")], "corrected.csv, line 2: unknown class 'rde'; did you mean 'red'?"),
        ([("red/1.png", "red"), ("red/1.png", "blue")], "corrected.csv, line 3: 'red/1.png' has another"),
        ([], "corrected.csv has no rows"),
    ],
)
def test_a_wrong_file_is_one_line(
    rows: list[tuple[str, str]], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(rows)
    assert (
        main(["train", "--data", "photos", "--labels", "corrected.csv", "--out", "run", "--epochs", "1"]) == 2
    )
    shown = capsys.readouterr().err
    assert message in shown.splitlines()[-1]  # before it, that a part is held out for testing
    assert shown.count("noisylabels: ") == 1
    assert not Path("run", "config.json").exists()


def test_a_missing_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", "photos", "--labels", "none.csv", "--out", "run"]) == 2
    assert "there is no file none.csv" in capsys.readouterr().err
    assert main(["train", "--data", "photos", "--labels", " "]) == 2
    assert "the file of labels is an empty text" in capsys.readouterr().err
