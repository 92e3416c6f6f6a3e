"""The recipe for tables: `train` and the estimator agree, given settings win, and what a run records."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

import noisylabels as nl
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.data.formats import is_table
from noisylabels.estimator import NoisyLabelClassifier
from noisylabels.experiment import RunConfig, corrupted, load_config, resolve, run, run_id
from noisylabels.experiment.prediction import load_model, predict
from noisylabels.experiment.table_candidates import WIDE, candidates
from noisylabels.experiment.table_settings import DECIDED, decided
from noisylabels.training.history import best_epoch


@pytest.fixture(scope="module")
def customers(tmp_path_factory) -> Path:
    """A table of 1,500 customers, most easily told apart by a straight line."""
    X, y = make_classification(
        1500, n_features=8, n_informative=5, n_clusters_per_class=1, class_sep=1.2, random_state=4
    )
    path = tmp_path_factory.mktemp("recipe") / "customers.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{k}" for k in range(8)), "region", "label"])
        regions = np.array(["north", "south", "west"])[np.digitize(X[:, 0], [-0.5, 0.5])]
        writer.writerows(
            [*row, region, f"c{label}"] for row, region, label in zip(X, regions, y, strict=True)
        )
    return path


def test_train_and_the_estimator_agree(customers, tmp_path):
    """On the same rows with the same noisy labels, both reach what LogisticRegression does."""
    config = load_config(
        None, data=str(customers), noise="symmetric:0.3", seed=1, device="cpu", out=str(tmp_path / "run")
    )
    result = run(config)
    train, test, labels, _ = corrupted(resolve(config))
    rows, clean = train.features.numpy(), test.labels.numpy()
    found = NoisyLabelClassifier(n_estimators=3, random_state=1).fit(rows, labels.given)
    scaler = StandardScaler().fit(rows)
    linear = LogisticRegression().fit(scaler.transform(rows), labels.given)
    ours = result.kept["test_accuracy"]
    estimator = (found.predict(test.features.numpy()) == clean).mean()
    logistic = (linear.predict(scaler.transform(test.features.numpy())) == clean).mean()
    assert abs(ours - estimator) <= 0.02
    assert min(ours, estimator) >= logistic - 0.02
    # the file has the weights of the epoch that was kept
    probs = predict(load_model(tmp_path / "run", "cpu"), test.features)
    assert (probs.argmax(1).numpy() == clean).mean() == pytest.approx(ours)
    assert result.kept["epoch"] == best_epoch(result.history.rows, round(0.1 * len(train)))["epoch"]
    chosen = json.loads((tmp_path / "run" / "environment.json").read_text())["chosen"]
    assert (chosen["model"], chosen["loss"]) == (result.model, result.loss)
    assert chosen["settings"].keys() == set(DECIDED)
    assert len(result.history) == chosen["settings"]["epochs"]
    assert result.test is not None
    assert (result.test["examples"], result.test["held_out"]) == (len(test), True)


@pytest.mark.parametrize(
    ("settings", "columns", "wanted"),
    [
        (
            {},
            10,
            [
                "linear with ce",
                "linear with gce(q=0.7)",
                "mlp@dropout with gce(q=0.7)",
                "mlp@dropout with ce",
            ],
        ),
        ({"loss": "mae"}, 10, ["linear with mae", "mlp@dropout with mae"]),
        ({"model": "mlp"}, 10, ["mlp with gce(q=0.7)"]),
        ({}, 1000, ["linear with ce", "linear with gce(q=0.7)"]),
        ({"table_recipe": decided(["lr"])}, 1000, ["linear with ce", "mlp@dropout with gce(q=0.7)"]),
    ],
)
def test_the_candidates_of_a_table(settings, columns, wanted):
    config = RunConfig(**{"table_recipe": decided(), **settings})
    assert [str(each) for each in candidates(config, columns)] == wanted


def test_given_settings_win(customers, tmp_path, capsys):
    """Also at the value that is the default elsewhere."""
    words = ["train", "--data", str(customers), "--lr", "0.01", "--epochs=3", "--model", "linear"]
    assert main([*words, "--validation", "0", "--device", "cpu", "--out", str(tmp_path / "run")]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["table_recipe"] == "batch_size,optimizer,weight_decay,schedule,keep_epoch"
    settings = json.loads((tmp_path / "run" / "environment.json").read_text())["chosen"]["settings"]
    assert (settings["lr"], settings["epochs"], settings["validation"]) == (0.01, 3, 0)
    assert (settings["optimizer"], settings["keep_epoch"]) == ("adamw", "last")
    shown = capsys.readouterr().out
    assert "on 300 held-out examples, whose labels may be as noisy as the others" in shown
    assert shown.startswith("trained linear with loss ce on 1,200 examples of ")
    assert shown.splitlines()[0].endswith(": 3 epochs")


def test_only_a_table_has_the_recipe(customers, tmp_path):
    assert load_config(None, data="digits").table_recipe == ""
    assert load_config(None, data=str(tmp_path), features="none").table_recipe == ""
    assert load_config(None, data=str(tmp_path)).table_recipe == decided()  # for the features of images
    assert load_config(None, data=str(tmp_path / "none.csv")).table_recipe == ""
    assert load_config(None, data="customers.csv", data_root=str(customers.parent)).table_recipe == decided()
    assert not is_table(tmp_path)
    here = load_config(None, data=str(customers))
    assert here.table_recipe == ",".join(DECIDED)
    off = load_config(None, data=str(customers), table_recipe="none")
    assert run_id(off) == run_id(RunConfig(data=str(customers)))
    assert run_id(off) != run_id(here)
    assert decided(["optimizer"]) == "epochs,batch_size,validation,keep_epoch"
    with pytest.raises(InputError, match="table_recipe"):
        resolve(RunConfig(data="digits", table_recipe="momentum"))
    with pytest.raises(InputError, match="digits is a set of images; leave it out"):
        run(RunConfig(data="digits", table_recipe="lr", out=str(tmp_path / "run"), device="cpu"))
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_stopped_run_of_a_table_goes_on_as_if_it_had_not_stopped(customers, tmp_path):
    from noisylabels.core.interrupt import Interrupted

    settings = {"data": str(customers), "noise": "symmetric:0.4", "model": "linear", "device": "cpu"}
    whole = run(load_config(None, **settings, out=str(tmp_path / "whole")))
    halves = load_config(None, **settings, out=str(tmp_path / "halves"))
    calls = iter(range(10**6))
    with pytest.raises(Interrupted):
        run(halves, stop=lambda: next(calls) > 60)
    resumed = run(halves)
    assert resumed.kept["epoch"] == whole.kept["epoch"]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "halves")]
    assert weights[0] == weights[1]


def test_the_epoch_to_keep_needs_a_validation_split():
    with pytest.raises(InputError, match="needs validation examples"):
        resolve(RunConfig(keep_epoch="best"))
    free = resolve(RunConfig(keep_epoch="best", table_recipe="validation")).config
    assert free.table_recipe == "validation"
    train, _ = nl.load("digits")
    model = nl.build_model("linear", channels=1, image_size=(8, 8), num_classes=10)
    with pytest.raises(InputError, match="needs validation examples"):
        nl.fit(model, train, None, nl.loss("ce"), keep_epoch="best", epochs=1)
    assert best_epoch([{"epoch": 1}], 10) is None


def test_diverging_training_is_a_failed_run(customers, tmp_path):
    config = load_config(
        None, data=str(customers), lr=1e38, epochs=2, out=str(tmp_path / "run"), device="cpu"
    )
    assert run(config).status == "failed"


@pytest.mark.parametrize(("count", "columns", "held"), [(40, 4, 4), (8, 4, 1), (4, 4, 1), (60, 300, 6)])
def test_the_best_epoch_is_kept_where_the_recipe_would_hold_out_no_rows(count, columns, held, tmp_path):
    """Tables with too few rows to hold out a tenth by default, and a wide one, whose penalty is chosen."""
    draw = np.random.default_rng(0)
    labels = np.arange(count) % 2
    rows = draw.normal(size=(count, columns)) + 2 * labels[:, None]
    np.savez(tmp_path / "t.npz", x_train=rows, y_train=labels, x_test=rows[:2], y_test=labels[:2])
    how = {"data": str(tmp_path / "t.npz"), "model": "linear", "device": "cpu", "epochs": 80}
    result = run(load_config(None, **how, keep_epoch="best", out=str(tmp_path / "best")))
    assert result.status == "done"
    settings = json.loads((tmp_path / "best" / "environment.json").read_text())["chosen"]["settings"]
    assert (settings["keep_epoch"], round(settings["validation"] * count)) == ("best", held)
    assert (settings["optimizer"] == "sgd") == (columns > WIDE)
    assert result.kept["epoch"] == best_epoch(result.history.rows, held)["epoch"]
    plain = run(load_config(None, **how, out=str(tmp_path / "last")))
    assert plain.kept is None
