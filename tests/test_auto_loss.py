"""The automatic choice of a loss: the rule, the noise estimate behind it, and runs that use it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import noisylabels as nl
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.core.interrupt import Interrupted
from noisylabels.data.features import feature_set
from noisylabels.data.images import image_set, subset
from noisylabels.experiment import Notes, RunConfig, canonical, choose, choose_loss, load_config, run, run_id
from noisylabels.experiment.auto_loss import CLEAN, EACH, MANY, MANY_CLASSES, MOST, number_of_steps
from noisylabels.experiment.auto_loss import FAST as LEARNS_FAST
from noisylabels.experiment.snapshot import read_snapshot
from noisylabels.paper.published import published

FAST = {
    "model": "mlp",
    "width": 0.1,
    "epochs": 2,
    "batch_size": 128,
    "noise": "symmetric:0.4",
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def blobs(classes: int, each: int, spread: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    true = np.arange(classes).repeat(each)
    return (rng.normal(size=(classes, 16))[true] + spread * rng.normal(size=(len(true), 16))), true


# --- the rule ------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 299, 300, 9_999, 10_000, 10**6])
@pytest.mark.parametrize("rate", [None, 0.0, 0.2, 0.6, 1.0])
@pytest.mark.parametrize("num_classes", [2, 10, MANY_CLASSES - 1, MANY_CLASSES, 1000])
def test_the_rule(num_classes: int, rate: float | None, steps: int) -> None:
    loss, why = choose_loss(num_classes, rate, 5000, steps)
    few = "4*gce" if steps < (10_000 if rate is None else 300) else "nce+agce@cifar10"
    assert loss == (few if num_classes < MANY_CLASSES else "ce" if rate == 0 else MANY)
    assert f"{num_classes} classes, 5,000 examples, {steps:,} steps" in why
    canonical(RunConfig(loss=loss))  # a run takes it


@pytest.mark.parametrize(
    ("settings", "short"),
    [
        ({"epochs": 99}, True),  # of three steps
        ({"epochs": 100}, False),
        ({"epochs": 99, "batch_size": 64}, False),
        ({"epochs": 100, "validation": 0.5}, True),
    ],
)
def test_the_settings_of_a_run_make_it_short(settings: dict[str, float], short: bool) -> None:
    train, _ = nl.load("digits")
    some = subset(train, range(300))
    steps = number_of_steps(RunConfig(**settings), len(some))  # type: ignore[arg-type]
    assert choose(some, steps).loss == ("4*gce" if short else "nce+agce@cifar10")


def test_the_rule_for_long_runs_is_that_of_the_published_numbers() -> None:
    def mean(dataset: str, method: str, rate: float) -> float:
        noise = "symmetric" if rate else "clean"
        (row,) = published(
            source="Wang 2024, Table 2", dataset=dataset, method=method, noise_type=noise, rate=rate
        )
        return row.mean

    for rate in (0.0, 0.2, 0.4, 0.6, 0.8):
        assert mean("CIFAR-10", "NCE+AGCE", rate) > mean("CIFAR-10", "CE", rate)
    lost = mean("CIFAR-100", "CE", 0) - mean("CIFAR-100", "NCE+AGCE", 0)
    gained = mean("CIFAR-100", "NCE+AGCE", 0.2) - mean("CIFAR-100", "CE", 0.2)
    assert 0.2 * lost / (lost + gained) == pytest.approx(CLEAN, abs=0.002)


# --- the noise it goes by ------------------------------------------------------------------------


def test_the_noise_of_a_table_decides() -> None:
    points, true = blobs(40, 40)
    rows = feature_set(points * 1000 + 5, true, [str(k) for k in range(40)])  # scaled columns change nothing
    assert choose(rows, 1000).loss == "ce"
    noisy = choose(rows, 1000, nl.corrupt(true, "symmetric:0.3", num_classes=40, seed=0).given)
    assert noisy.loss == MANY
    assert noisy.estimate is not None
    assert noisy.estimate.rate == pytest.approx(0.3, abs=0.04)
    assert str(noisy).startswith(f"loss {MANY}: 40 classes, ")
    assert "%" not in str(noisy)  # the coverage of an interval by neighbors was not measured


def test_photographs_by_their_pixels_are_not_trusted() -> None:
    """Pixels that say little of the class: whatever is estimated, the loss is the robust one."""
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 256, (300, 3, 8, 8)).repeat(4, axis=0)  # a scene is of one class more often
    pixels = (scenes + rng.integers(-9, 10, scenes.shape)).clip(0, 255).astype(np.uint8)
    classes = rng.integers(0, 40, 300).repeat(4)
    labels = np.where(rng.random(1200) < 0.8, classes, rng.integers(0, 40, 1200))
    found = choose(image_set(torch.from_numpy(pixels), labels, [str(k) for k in range(40)]), 1000)
    assert found.loss == MANY
    assert "cannot be estimated from pixels alone" in found.why
    assert found.estimate is not None
    assert not found.estimate.trusted


def test_too_few_examples_are_said_to_be_too_few() -> None:
    train, _ = nl.load("digits")
    found = choose(subset(train, range(EACH * 10 - 1)), 1000)
    assert (found.loss, found.estimate) == (LEARNS_FAST, None)
    assert "too few examples to estimate the noise rate" in found.why
    assert choose(subset(train, range(EACH * 10)), 1000).estimate is not None


def test_too_many_classes_are_not_said_to_be_too_few_examples() -> None:
    K = MOST // EACH + 1
    labels = np.arange(EACH * K) % K
    found = choose(feature_set(labels[:, None], labels, [str(k) for k in range(K)]), 1000)
    assert (found.loss, found.estimate) == (MANY, None)
    assert found.why.startswith("too many classes to estimate the noise rate")


# --- runs that take it ---------------------------------------------------------------------------


def test_a_run_without_a_loss_chooses_one_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "train",
        "digits",
        "--noise",
        "symmetric:0.4",
        "--epochs",
        "1",
        "--model",
        "mlp",
        "--device",
        "cpu",
        "--out",
        "run",
    ]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert f"trained mlp with loss {LEARNS_FAST} on 1,438 examples of digits, " in shown.out
    assert f"note: loss {LEARNS_FAST}: 10 classes, 1,438 examples" in shown.err
    environment = json.loads(Path("run/environment.json").read_text())
    assert environment["chosen"]["loss"] == LEARNS_FAST
    assert environment["chosen"]["neighbors"]["rate"] == pytest.approx(0.4, abs=0.04)
    assert json.loads(Path("run/config.json").read_text())["loss"] == "auto"
    assert json.loads(Path("run/result.json").read_text())["loss"] == LEARNS_FAST
    assert (
        read_snapshot(Path("run"), "0123456789", "done").settings["loss"] == LEARNS_FAST
    )  # what trackers are told
    assert main(words) == 0
    assert capsys.readouterr().out == shown.out


def test_it_is_the_run_of_the_loss_by_name() -> None:
    chosen, named = (run(load_config(None, **FAST, loss=loss, out=loss)) for loss in ("auto", LEARNS_FAST))
    assert chosen.run_id != named.run_id
    assert chosen.loss == LEARNS_FAST
    assert nl.loss(LEARNS_FAST).expression == named.loss == named.config["loss"]
    assert chosen.final is not None
    assert named.final is not None
    for name in ("train_loss", "test_accuracy", "recall"):
        assert chosen.final[name] == named.final[name]


def test_a_resumed_run_keeps_its_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    config = load_config(None, **FAST, out="run")
    with pytest.raises(Interrupted):
        run(config, stop=lambda: steps.append(1) or len(steps) == 15)  # type: ignore[func-returns-value]

    def no(*_: object) -> None:
        raise AssertionError("it has chosen")

    monkeypatch.setattr("noisylabels.experiment.running.choose", no)
    notes: list[str] = []
    assert run(config, Notes(notes.append)).loss == LEARNS_FAST
    assert any(note.startswith(f"loss {LEARNS_FAST}: 10 classes") for note in notes)


def test_ids_of_runs_with_a_loss_are_what_they_were() -> None:
    assert run_id(RunConfig(loss="nce+mae")) == "61a98e8a755e"
    assert canonical(RunConfig(loss=" Auto ")).loss == "auto"
    with pytest.raises(InputError, match="autom"):
        canonical(RunConfig(loss="autom"))
