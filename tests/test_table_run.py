"""A table of features from file to predictions: training, noise, prediction of new rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer

import noisylabels as nl
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.data.features import FeatureSet, feature_set
from noisylabels.experiment import corrupt_set, load_config, load_sets, run
from noisylabels.experiment.prediction import load_model, predict, predict_table

COLUMNS = 30


def table(path: Path) -> Path:
    """Write the breast cancer data as a hospital would have them: gaps, a column of words, an id."""
    data, rng = load_breast_cancer(), np.random.default_rng(0)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *data.feature_names, "side", "diagnosis"])
        for i, (x, y) in enumerate(zip(data.data, data.target, strict=True)):
            cells = [f"{value:.6g}" for value in x]
            cells[3] = "" if rng.random() < 0.1 else cells[3]
            side = rng.choice(["left", "right", "?"], p=[0.5, 0.4, 0.1])
            writer.writerow([f"patient {i}", *cells, side, data.target_names[y]])
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, Path]:
    """A table, and the folder of a run on it; neither to be changed."""
    folder = tmp_path_factory.mktemp("table")
    path, out = table(folder / "cancer.csv"), folder / "run"
    words = ["train", "--data", str(path), "--label-column", "diagnosis", "--noise", "symmetric:0.2"]
    words += ["--loss", "nce+mae", "--epochs", "30", "--device", "cpu", "--out", str(out)]
    assert main(words) == 0
    return path, out


def test_a_table_is_learned_despite_noisy_labels(finished):
    _, out = finished
    final = json.loads((out / "result.json").read_text())["final"]
    assert final["test_accuracy"] > 0.87
    assert final["true_accuracy"] > 0.9 > 0.85 > final["given_accuracy"]
    shape = json.loads((out / "environment.json").read_text())["identity"]["model"]
    assert shape["name"] == "linear"
    # 30 numbers, a gap in one of them, two sides and none
    assert shape["image_size"] == [1, COLUMNS + 4]


def test_the_predictions_are_those_of_the_trained_model_on_its_own_rows(finished, tmp_path):
    path, out = finished
    _, test = load_sets(load_config(None, data=str(path), label_column="diagnosis"))
    trained = load_model(out, "cpu")
    probs = predict(trained, test.features)
    final = json.loads((out / "result.json").read_text())["final"]
    assert (probs.argmax(1) == test.labels).double().mean().item() == pytest.approx(final["test_accuracy"])
    notes: list[str] = []
    ids, whole = predict_table(trained, path, notes)
    assert (len(ids), notes) == (569, [])
    at = [ids.index(name) for name in test.ids]
    torch.testing.assert_close(whole[at], probs)


def test_new_rows_are_predicted_from_the_command_line(finished, tmp_path, capsys):
    path, out = finished
    with path.open() as file:
        rows = list(csv.DictReader(file))[:6]
    names = [name for name in reversed(rows[0]) if name != "diagnosis"]  # another order, no labels
    rows[1]["side"], rows[2]["mean radius"] = "both", ""
    new = tmp_path / "new.csv"
    with new.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    capsys.readouterr()
    assert main(["predict", str(out), str(new), "--device", "cpu", "--all-classes"]) == 0
    printed = capsys.readouterr()
    lines = list(csv.reader(printed.out.splitlines()))
    assert lines[0] == ["id", "label", "probability", "benign", "malignant"]
    assert [line[0] for line in lines[1:]] == [f"patient {i}" for i in range(6)]
    expected = predict_table(load_model(out, "cpu"), new, [])[1].numpy()
    np.testing.assert_allclose(
        [[float(cell) for cell in line[3:]] for line in lines[1:]], expected, atol=1e-6
    )
    assert "such as 'both'" in printed.err
    assert "missing cells in columns without any in training: 'mean radius' (1)" in printed.err


def test_predict_reports_wrong_input(finished, tmp_path, capsys):
    path, out = finished
    head, first, *_ = path.read_text().splitlines()
    for text, message in (
        (
            f"{head.replace('mean area', 'area')}\n{first}\n",
            "lacks the column 'mean area' of the training table",
        ),
        (f"{head},more\n{first},1\n", "has the column 'more', which the training table lacks"),
        (f"{head}\n{first.replace('17.99', 'large')}\n", "line 2: 'large' in the column 'mean radius'"),
    ):
        (tmp_path / "new.csv").write_text(text)
        assert main(["predict", str(out), str(tmp_path / "new.csv")]) == 2
        printed = capsys.readouterr().err
        assert message in printed
        assert printed.count("\n") == 1
    assert main(["predict", str(out), str(path), str(path)]) == 2
    assert "the run was trained on a table, and 2 paths were given" in capsys.readouterr().err
    assert main(["predict", str(out), str(tmp_path / "nowhere.csv")]) == 2
    assert "there is no file" in capsys.readouterr().err


def test_rows_of_another_kind_are_refused(finished):
    trained = load_model(finished[1], "cpu")
    for wrong in (torch.zeros(2, 5), torch.zeros(2, COLUMNS + 4, dtype=torch.float64)):
        with pytest.raises(
            InputError, match=r"rows are torch.float\d\d of shape .*, expected torch.float32 \(N, 34\)"
        ):
            predict(trained, wrong)


@pytest.mark.parametrize(
    "noise",
    ["asymmetric:0.3", "pairflip:0.3", "instance:0.3", "projection:0.3", "longtail:0.5 | symmetric:0.2"],
)
def test_noise_is_made_on_a_table(noise, finished):
    train, _ = nl.load(finished[0], label_column="diagnosis")
    pairs = {0: 1} if noise.startswith("asymmetric") else None
    made, labels = corrupt_set(train, noise, seed=1, pairs=pairs)
    assert isinstance(made, FeatureSet)
    assert len(made) == len(labels)
    assert made.encoder == train.encoder
    assert 0.05 < labels.rate < 0.4
    if labels.index is not None:
        assert torch.equal(made.features, train.features[torch.from_numpy(labels.index)])


def test_instance_noise_depends_on_the_features():
    """Rows that are alike flip alike, and the scale of a column changes nothing."""
    X = np.random.default_rng(0).normal(size=(400, 6))
    y = (X[:, 0] > 0).astype(np.int64)
    rates = []
    for scale in (1.0, 1000.0):
        made = feature_set(X * np.array([scale, 1, 1, 1, 1, 1]), y, ("a", "b"))
        _, labels = corrupt_set(made, "projection:0.2", seed=0)
        rates.append(labels.given)
    assert (rates[0] == rates[1]).mean() > 0.99
    wrong = rates[0] != y
    assert 0.1 < wrong.mean() < 0.3
    # near the boundary of the classes more labels are wrong
    near = np.abs(X[:, 0]) < np.median(np.abs(X[:, 0]))
    assert wrong[near].mean() > wrong[~near].mean()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model": "cnn8"},
            r"the model 'cnn8' takes images, and cancer is a table of 34 features; leave out",
        ),
        ({"augment": "flip"}, r"features of 34 columns cannot be augmented by flip; use augment none"),
        ({"noise": "openset:0.2@digits"}, r"openset:0.2@digits adds foreign images, .* a table of features"),
        ({"noise": "instance:0.2@parts"}, r"@parts needs images, and these are features"),
        ({"image_size": 8}, r"is a table of features and has no images; leave out the image size"),
        (
            {"label_column": None},
            r"no label column: .*, \.\.\.; name it with --label-column",
        ),
    ],
)
def test_what_a_table_has_not(settings, message, finished, tmp_path):
    there = {"data": str(finished[0]), "label_column": "diagnosis", "epochs": 1, "out": str(tmp_path / "run")}
    config = load_config(None, **there | settings)
    with pytest.raises(InputError, match=message):
        run(config)
    assert not (tmp_path / "run").exists()


def test_a_model_of_ones_own_gets_rows(finished, tmp_path):
    code = "def linear(image_size, num_classes):\n    return torch.nn.Linear(image_size[1], num_classes)\n"
    code = "import torch\n\n\n" + code
    (tmp_path / "mine.py").write_text(code)
    own = f"{tmp_path / 'mine.py'}:linear"
    out = tmp_path / "run"
    there = {"data": str(finished[0]), "label_column": "diagnosis", "out": str(out), "device": "cpu"}
    config = load_config(None, **there, model=own, epochs=5, lr=0.1)
    assert run(config).final["test_accuracy"] > 0.9
    assert load_model(out, "cpu", own).encoder is not None


def test_the_same_run_of_a_table_is_done_once(finished, tmp_path):
    """Its id is that of the configuration, and the column of the labels is part of it."""
    first, second = (load_config(None, data="t.csv", label_column=name) for name in (None, "b"))
    from noisylabels.experiment import run_id

    assert run_id(first) == run_id(load_config(None, data="t.csv"))
    assert run_id(first) != run_id(second)


def test_a_run_of_images_takes_no_table(finished, tmp_path):
    path, _ = finished
    run(
        load_config(
            None, data="digits", epochs=1, model="mlp", width=0.1, out=str(tmp_path / "run"), device="cpu"
        )
    )
    trained = load_model(tmp_path / "run", "cpu")
    assert trained.encoder is None
    with pytest.raises(InputError, match=r"the model was trained on images, and \S*cancer.csv is a table"):
        predict_table(trained, path, [])


def test_a_table_is_audited(finished, tmp_path):
    from noisylabels.audit.audited_data import load_examples
    from noisylabels.audit.running import audit_labels

    path, _ = finished
    found = audit_labels(
        str(path), label_column="diagnosis", noise="symmetric:0.2", folds=2, epochs=10, out=tmp_path / "audit"
    )
    assert found.summary["known"]["average_precision"] > 0.7  # 0.2 by chance
    assert set(found.ids) == {f"patient {i}" for i in range(569)}
    assert load_examples(tmp_path / "audit").digest == found.summary["digest"]


def test_corrected_labels_go_over_those_of_a_table(finished, tmp_path):
    path, _ = finished
    (tmp_path / "corrected.csv").write_text("id,label\npatient 0,benign\npatient 1,\n")
    named = {"data": str(path), "label_column": "diagnosis"}
    before, after = (
        load_sets(load_config(None, **named, **more))
        for more in ({}, {"labels": str(tmp_path / "corrected.csv")})
    )
    labels = [
        {name: part.class_names[k] for part in sets for name, k in zip(part.ids, part.labels, strict=True)}
        for sets in (before, after)
    ]
    assert labels[0].pop("patient 1") == "malignant"
    assert labels[0] | {"patient 0": "benign"} == labels[1]
