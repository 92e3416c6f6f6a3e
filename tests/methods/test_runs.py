"""Methods in runs, studies and the estimator: identity, inputs, rows."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import noisylabels as nl
from noisylabels.core.checks import InputError
from noisylabels.core.files import file_digest
from noisylabels.experiment import RunConfig, load_config, resolve, run, run_id
from noisylabels.experiment.resolve import code_digests
from noisylabels.study.exports import export
from noisylabels.study.grid import from_table
from noisylabels.study.results import read_results
from noisylabels.study.store import Store, read_rows
from noisylabels.study.tables import accuracies

FAST = {"model": "small-cnn", "width": 0.25, "epochs": 2, "device": "cpu", "noise": "symmetric:0.4"}

OWN = '''
from noisylabels import Method


class Cooled(Method):
    """Descends the loss of divided logits."""

    def __init__(self, model, loss, temperature: float = 2.0):
        super().__init__([model], loss)
        self.temperature = temperature

    def step(self, batch):
        logits = self.logits(batch.inputs)
        return self.loss(logits / self.temperature, batch.target), logits
'''


def test_a_method_is_part_of_the_identity_of_a_run():
    plain = RunConfig(loss="ce")
    assert run_id(plain) == run_id(RunConfig(loss="ce", method="Standard"))
    ids = {run_id(RunConfig(loss="ce", method=text)) for text in ("standard", "elr", "elr(beta=0.9)", "sop")}
    assert len(ids) == 4
    same = {run_id(RunConfig(loss="ce", method=text)) for text in ("elr(lambda=3.0)", "ELR", "elr@cifar10")}
    assert len(same) == 1
    resolved = resolve(RunConfig(loss="ce", method="elr@cifar100"))
    assert resolved.config.method == "elr(lambda_=7,beta=0.9)"
    assert "elr_lambda__7_beta_0.9_" in str(resolved.out)


def test_the_loss_of_a_method_is_cross_entropy_unless_one_is_named():
    assert resolve(RunConfig(method="elr")).config.loss == "ce"
    assert resolve(RunConfig(method="elr", loss="gce")).config.loss == nl.loss("gce").expression
    assert resolve(RunConfig()).loss is None
    assert resolve(RunConfig(method="sop")).config.loss == "ce"
    with pytest.raises(InputError, match="the method sop has a loss of its own, and the loss is 'gce'"):
        resolve(RunConfig(method="sop", loss="gce"))


def test_a_run_estimates_what_its_method_needs_and_keeps_it(tmp_path):
    notes = []

    class Reporter(nl.experiment.Silent):
        def note(self, text):
            notes.append(text)

    result = run(load_config(None, **FAST, method="forward", out=str(tmp_path / "run")), Reporter())
    assert result.status == "done"
    kept = json.loads((tmp_path / "run" / "method.json").read_text())
    T = np.array(kept["transition"])
    assert np.abs(T - (0.6 * np.eye(10) + 0.4 / 9 * (1 - np.eye(10)))).mean() < 0.06
    assert any("noise rate" in note and "nearest neighbors" in note for note in notes)


def test_networks_estimate_where_neighbors_cannot_be_asked(tmp_path):
    settings = FAST | {"epochs": 8, "lr": 0.1}
    for source in ("confident_joint", "dual_t"):
        out = tmp_path / source
        config = load_config(None, **settings, method=f"coteaching(forget_rate={source})", out=str(out))
        assert run(config).status == "done"
        rate = json.loads((out / "method.json").read_text())["forget_rate"]
        assert 0.25 < rate < 0.9


def test_the_estimate_by_networks_has_its_own_rate(sets, model):
    from noisylabels.experiment.method_inputs import MethodData
    from noisylabels.training.settings import Settings

    train, _ = sets(n=90)
    settings = vars(Settings()) | {"epochs": 12, "lr": 0.1, "device": "cpu", "batch_size": 16}
    data = MethodData(train, train.labels.numpy(), None, None, lambda seed: model(seed=seed), settings)
    found = data.find("auto")  # of 3 classes with 30 examples each: enough to ask neighbors
    assert found.transition.shape == (3, 3)
    by_networks = data._by_networks()
    np.testing.assert_allclose(by_networks.transition.sum(1), 1)
    wrong = float(np.mean(train.labels.numpy() != np.arange(90) % 3))
    assert abs(by_networks.rate - wrong) < 0.2
    again = MethodData(train, train.labels.numpy(), None, None, lambda seed: model(seed=seed), settings)
    assert np.array_equal(again.probs, data.probs)


def test_an_estimate_that_was_interrupted_resumes(sets, model, tmp_path):
    from noisylabels.core.interrupt import Interrupted
    from noisylabels.experiment.method_inputs import MethodData
    from noisylabels.training.settings import Settings

    train, _ = sets(n=90)
    settings = vars(Settings()) | {"epochs": 5, "device": "cpu", "batch_size": 16}

    def made(stop, folder) -> MethodData:
        given = train.labels.numpy()
        return MethodData(
            train, given, None, None, lambda seed: model(seed=seed), settings, stop, folder=folder
        )

    whole = made(lambda: False, None).probs
    stops = 0
    while True:
        steps = iter(range(100))
        try:
            found = made(lambda: next(steps) >= 6, tmp_path).probs  # noqa: B023  called in this round
            break
        except Interrupted:
            stops += 1
    assert stops >= 4  # 2 networks of 15 steps, at most 7 per call
    assert np.array_equal(found, whole)


def test_an_oracle_needs_true_labels(tmp_path):
    good = load_config(None, **FAST, method="coteaching(forget_rate=oracle)", out=str(tmp_path / "one"))
    assert run(good).status == "done"
    rate = json.loads((tmp_path / "one" / "method.json").read_text())["forget_rate"]
    assert rate == pytest.approx(0.402, abs=0.001)
    clean = FAST | {"noise": "none", "method": "forward(transition=oracle)"}
    with pytest.raises(InputError, match="the true labels of these data are unknown"):
        run(load_config(None, **clean, out=str(tmp_path / "two")))
    assert not (tmp_path / "two" / "config.json").exists()


def test_a_matrix_in_a_file(tmp_path):
    path = tmp_path / "T.npy"
    np.save(path, 0.9 * np.eye(10) + 0.01)
    config = load_config(None, **FAST, method=f"forward(transition='{path}')", out=str(tmp_path / "run"))
    assert resolve(config).files["method files"] == {str(path): file_digest(path)}
    assert run(config).status == "done"
    np.save(path, np.eye(10))
    (tmp_path / "run" / "result.json").unlink()
    with pytest.raises(InputError, match="has changed since the run"):
        run(config)
    with pytest.raises(InputError, match="there is no file"):
        run(load_config(None, **FAST, method="forward(transition='gone.npy')", out=str(tmp_path / "x")))


def test_a_method_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(OWN)
    config = load_config(None, **FAST, method="./mine.py:Cooled(temperature=4)", out="run")
    resolved = resolve(config)
    assert resolved.config.method == "mine.py:Cooled(temperature=4)"
    assert resolve(resolved.config).run_id == resolved.run_id
    assert resolved.code_files == code_digests(resolved.config) == {"mine.py": file_digest(Path("mine.py"))}
    assert run(config).status == "done"
    with pytest.raises(InputError, match="has no parameter 'temprature'; did you mean 'temperature'"):
        resolve(RunConfig(method="mine.py:Cooled(temprature=3)"))
    with pytest.raises(InputError, match="has no function 'Cold'"):
        resolve(RunConfig(method="mine.py:Cold"))


def test_methods_are_an_axis_of_a_study_and_rows_of_its_report(tmp_path):
    table = {
        "recipe": "digits",
        "fixed": {"epochs": 1, "model": "small-cnn", "width": 0.25},
        "axes": {
            "method": ["standard", "elr(lambda=2)", "coteaching(forget_rate=0.4)"],
            "loss": ["ce", "nce+mae"],
            "noise": ["symmetric:0.4"],
            "seed": [1],
        },
    }
    cells = from_table(table, "methods").cells({"device": "cpu"})
    assert len({cell.run_id for cell in cells}) == 6
    store = Store(tmp_path / "study")
    for cell in cells:
        run(load_config(None, **vars(cell.config) | {"out": str(store.path(cell))}))
    export(read_rows(store.folder), tmp_path / "study.parquet")
    for source in (store.folder, tmp_path / "study.parquet"):
        (results,) = read_results([source])
        assert results.losses == [
            "ce",
            "nce+mae",
            "ce by coteaching(forget_rate=0.4)",
            "nce+mae by coteaching(forget_rate=0.4)",
            "ce by elr(lambda_=2)",
            "nce+mae by elr(lambda_=2)",
        ]
        (shown,) = accuracies(results)
        assert shown.columns[0] == "loss by method"
        assert [row[0] for row in shown.rows] == results.losses


def test_the_command_line(tmp_path, capsys):
    from noisylabels.cli import main

    assert main(["list", "methods"]) == 0
    shown = capsys.readouterr().out
    for name in ("standard", "elr", "sop", "forward", "backward", "coteaching", "ogc", "FILE.py:CLASS"):
        assert name in shown
    words = ["train", "digits", "--model", "small-cnn", "--width", "0.25", "--epochs", "1", "--device", "cpu"]
    assert main([*words, "--method", "elr(lambda=2)", "--out", str(tmp_path / "run")]) == 0
    assert "with loss ce by elr(lambda_=2) on" in capsys.readouterr().out
    assert main([*words, "--method", "elr(lamda=2)", "--out", str(tmp_path / "other")]) == 2
    assert capsys.readouterr().err == (
        "noisylabels: the method 'elr' has no parameter 'lamda'; did you mean 'lambda_'?\n"
    )


def test_every_method_has_a_page():
    from noisylabels.core.parameters import defaults_of
    from noisylabels.methods.catalog import METHODS

    folder = Path(__file__).parents[2] / "docs" / "methods"
    assert {path.stem for path in folder.glob("*.md")} == {"README", "own", *METHODS}
    for name, row in METHODS.items():
        text = (folder / f"{name}.md").read_text(encoding="utf-8")
        for parameter, default in defaults_of(row).items():
            value = f"`{default}`" if isinstance(default, str | bool) else f"{default:g}"
            assert f"| `{parameter}` | {value} |" in text, (name, parameter)
        for key, preset in row.presets.items():
            assert f"`{name}@{key}`" in text
            inside = preset.expression.partition("(")[2].removesuffix(")")
            assert f"`{inside.replace(',', ', ')}`" in text, (name, key)


def test_rows_of_a_study_without_methods_are_named_as_before():
    from noisylabels.study.results import Run

    config = {"loss": "ce", "noise": "none", "seed": 1}
    assert Run("id", "done", "", config).loss == "ce"
    assert Run("id", "done", "", config | {"method": "elr"}).loss == "ce by elr"


@pytest.mark.parametrize(
    "method", ["elr", "coteaching", "forward", "sop", "ogc", "agreement", "mixup", "relabel"]
)
def test_the_estimator_trains_by_a_method(method):
    from sklearn.datasets import load_iris

    X, y = load_iris(return_X_y=True)
    given = nl.corrupt(y, "symmetric:0.2", num_classes=3, seed=0).given
    weights = np.where(np.arange(150) % 2, 1.0, 2.0)
    model = nl.NoisyLabelClassifier(method=method, n_estimators=1, model="mlp", random_state=0)
    model.fit(X, given, sample_weight=weights)
    assert model.score(X, y) > 0.85
    assert model.loss_ == "ce"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method": "erl"}, "unknown method 'erl'; did you mean 'elr'?"),
        ({"method": "elr", "model": "forest"}, "model is 'forest', which is not trained by a method"),
        ({"method": "sop", "loss": "gce"}, "the method 'sop' has a loss of its own"),
        ({"method": 3}, "the method is 3, expected an expression"),
        (
            {"method": "coteaching(forget_rate=oracle)", "model": "linear"},
            "there is no oracle; use auto (an oracle is for runs that add noise to labels)",
        ),
    ],
)
def test_the_estimator_refuses_what_cannot_be(settings, words):
    with pytest.raises(InputError, match=re.escape(words)):
        nl.NoisyLabelClassifier(**settings).fit(np.eye(12), np.arange(12) % 2)


@pytest.mark.parametrize(
    "loss",
    [
        nl.loss("gce"),
        nl.loss("ce", weight=torch.tensor([1.0, 2.0])),
        torch.nn.CrossEntropyLoss(label_smoothing=0.1),
        torch.nn.MultiMarginLoss(),
        lambda logits, target: logits.sum(),
    ],
    ids=["gce", "class weights", "label smoothing", "module", "function"],
)
def test_sop_refuses_every_loss_but_plain_cross_entropy(loss):
    with pytest.raises(InputError, match="the method 'sop' has a loss of its own"):
        nl.method("sop")(torch.nn.Linear(2, 2), loss)


@pytest.mark.parametrize(
    "loss", [nl.loss("ce"), torch.nn.CrossEntropyLoss(), torch.nn.functional.cross_entropy]
)
def test_sop_takes_plain_cross_entropy_of_any_kind(loss):
    assert nl.method("sop")(torch.nn.Linear(2, 2), loss).loss is loss


@pytest.mark.parametrize("rate", [None, float("nan"), 1.0, -0.1, np.array([0.2, 0.3]), "auto"])
def test_coteaching_refuses_what_is_no_rate(rate):
    with pytest.raises(InputError, match=r"forget_rate.*expected a number in \[0, 1\)|needs a noise rate"):
        nl.method("coteaching", forget_rate=rate)(torch.nn.Linear(2, 2), nl.loss("ce"))


def test_coteaching_takes_a_rate_of_numpy():
    rate = np.float32(0.25)
    assert nl.method("coteaching", forget_rate=rate)(torch.nn.Linear(2, 2), nl.loss("ce")).forget_rate == 0.25


def test_coteaching_refuses_a_second_network_that_is_none_of_its_own():
    model = torch.nn.Linear(2, 2)
    for second, words in [("mlp", "second is 'mlp', expected a network"), (model, "shares parameters")]:
        with pytest.raises(InputError, match=words):
            nl.method("coteaching(forget_rate=0.2)", second=second)(model, nl.loss("ce"))
