"""Weights that a run sets before training: by short trainings, and by the noise rate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.core.interrupt import Interrupted
from noisylabels.core.schema import checked
from noisylabels.data.features import FeatureSet, feature_set
from noisylabels.experiment import Notes, RunConfig, load_config, run
from noisylabels.experiment.auto_weight import CANDIDATES, choose_weight, plan_rounds
from noisylabels.experiment.documents import Chosen
from noisylabels.experiment.method_inputs import MethodData
from noisylabels.losses import Loss, loss
from noisylabels.training.history import History

ACCURACY = "nce+auto(rule=accuracy)*mae"
FAST: dict[str, Any] = {
    "model": "mlp",
    "width": 0.1,
    "epochs": 2,
    "noise": "symmetric:0.6@exact",
    "device": "cpu",
    "out": "run",
}


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("epochs", [1, 2, 7, 8, 23, 24, 60, 120])
@pytest.mark.parametrize("budget", [0.5, 1.0, 3.0])
def test_the_rounds_keep_to_the_budget(epochs: int, budget: float) -> None:
    weights, rounds = plan_rounds(epochs, budget)
    assert len(weights) == 2 ** len(rounds)
    costs = [epochs * len(weights) / 2**each for each, epochs in enumerate(rounds)]
    assert len(set(costs)) == 1  # the better half for twice as long
    assert sum(costs) <= max(2, budget * epochs)
    assert set(weights) <= set(CANDIDATES)


def made_data(epochs: int, **settings: Any) -> MethodData:
    train: FeatureSet = feature_set(torch.zeros(20, 2), torch.arange(20) % 2, ["a", "b"])
    settings = {"epochs": epochs, "seed": 5, "device": "cpu"} | settings
    return MethodData(train, train.labels.numpy(), None, None, lambda seed: torch.nn.Linear(2, 2), settings)


def test_the_better_half_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an accuracy that is highest at the weight 3, and none at 30, which diverges."""
    from noisylabels.training.loop import TrainingDiverged

    calls: list[tuple[float, int, float]] = []

    def fake(model: object, train: object, test: object, criterion: Loss, **settings: Any) -> History:
        (weight,) = (term.weight for term in criterion.terms if term.name == "mae")
        calls.append((weight, settings["epochs"], settings["validation"]))
        if weight == 30:
            raise TrainingDiverged(1, 1, "as it should", History())
        return History([{"validation_accuracy": 1 / (1 + abs(weight - 3))}])

    monkeypatch.setattr("noisylabels.methods.fit.fit", fake)
    found = choose_weight(loss(ACCURACY), made_data(48))
    assert (found.loss, found.weight) == ("nce+3*mae", 3.0)
    assert [(weight, epochs) for weight, epochs, _ in calls] == [
        *((weight, 2) for weight in CANDIDATES),
        *((weight, 4) for weight in (3, 1, 0.3, 0.1)),
        *((weight, 8) for weight in (3, 1)),
    ]
    assert {validation for *_, validation in calls} == {0.1}
    assert found.why == (
        "of 8 weights, 3 is the most accurate on held-out given labels after 8 epochs (3: 100.0 %, "
        "1: 33.3 %); 48 epochs in all"
    )
    assert [each["epochs"] for each in found.to_dict()["rounds"]] == [2, 4, 8]
    assert found.rounds[0]["accuracy"]["30"] is None
    checked(json.loads(json.dumps(found.to_dict())), Chosen, "the choice")


def test_weights_whose_trainings_diverge_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from noisylabels.training.loop import TrainingDiverged

    def fake(model: object, train: object, test: object, criterion: Loss, **settings: Any) -> History:
        if criterion.expression != "nce+0.1*mae":
            raise TrainingDiverged(1, 1, "as it should", History())
        return History([{"validation_accuracy": 0.0}])  # better than to diverge

    monkeypatch.setattr("noisylabels.methods.fit.fit", fake)
    found = choose_weight(loss(ACCURACY), made_data(1))
    assert found.weight == 0.1
    assert "(0.1: 0.0 %, 1: diverged)" in found.why


def test_of_equally_accurate_weights_the_nearest_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    history = History([{"validation_accuracy": 0.5}])
    monkeypatch.setattr("noisylabels.methods.fit.fit", lambda *_, **__: history)
    assert choose_weight(loss(ACCURACY), made_data(24, validation=0.2)).weight == 1.0


def test_a_rule_of_the_batches_sets_nothing_before_training() -> None:
    with pytest.raises(InputError, match="no weight that is set before training"):
        choose_weight(loss("nce+auto*mae"), made_data(10))


def test_a_run_by_accuracy_records_what_it_chose_and_resumes_with_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(None, **FAST, loss=ACCURACY)
    steps: list[int] = []

    def stop_in_training() -> bool:  # not while weights are compared
        if not Path("run/config.json").exists():
            return False
        steps.append(1)
        return len(steps) == 15

    with pytest.raises(Interrupted):
        run(config, stop=stop_in_training)
    chosen = json.loads(Path("run/environment.json").read_text())["chosen"]
    assert chosen["loss"] == loss(f"nce+{chosen['weight']}*mae").expression
    assert [each["epochs"] for each in chosen["rounds"]] == [1]

    def no(*_: object) -> None:
        raise AssertionError("it has chosen again")

    monkeypatch.setattr("noisylabels.experiment.auto_weight.choose_weight", no)
    notes: list[str] = []
    result = run(config, Notes(notes.append))
    assert any(note.startswith(f"loss {chosen['loss']}: of 2 weights") for note in notes)
    assert result.loss == chosen["loss"]
    assert result.config["loss"] == ACCURACY
    named = run(load_config(None, **FAST | {"out": "named"}, loss=chosen["loss"]))
    assert result.final is not None
    assert named.final is not None
    for name in ("train_loss", "test_accuracy", "recall"):  # it is the run of that loss
        assert result.final[name] == named.final[name]
    assert main(["train", *flags(ACCURACY)]) == 0
    assert f"with loss {chosen['loss']} on" in capsys.readouterr().out


def flags(text: str) -> list[str]:
    words = ["--loss", text]
    for name, value in FAST.items():
        words += [f"--{name.replace('_', '-')}", str(value)]
    return words


def test_a_run_by_the_noise_rate() -> None:
    """The rate is exact: c = (2w + 2K)/(2w) has to be at most 0.4 * 9/0.6 = 6, so that w is 2 or more."""
    result = run(load_config(None, **FAST, loss="mse+auto(rule=noise,rate=0.6)*mae"))
    assert result.loss == "2*mae+mse"
    chosen = json.loads(Path("run/environment.json").read_text())["chosen"]
    assert chosen["weight"] == 2.0
    assert chosen["why"] == (
        "at 60.0 % noise and 10 classes 2 is the nearest weight to 1 at which the true label is the optimum"
    )


def test_a_stop_while_weights_are_compared() -> None:
    steps: list[int] = []
    config: RunConfig = load_config(None, **FAST, loss=ACCURACY)
    with pytest.raises(Interrupted):
        run(config, stop=lambda: steps.append(1) or len(steps) == 5)  # type: ignore[func-returns-value]
    assert not Path("run/environment.json").exists()  # nothing was chosen: the same call begins anew


def test_the_summary_has_the_weight_of_a_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", *flags("nce+auto*mae"), "--record", "dynamics"]) == 0  # which adds columns
    shown = capsys.readouterr().out
    (line,) = (line for line in shown.splitlines() if "weight of" in line)
    assert "weight of mae" in line
    last = json.loads(Path("run/history.jsonl").read_text().splitlines()[-1])
    assert line.split()[-4:] == [f"{last['weight_mae']:.3g}", "at", "the", "end"]
