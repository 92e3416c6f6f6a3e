"""Cross-validation: folds, out-of-fold predictions, training dynamics, and resuming."""

from __future__ import annotations

import errno
import math
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

from noisylabels.audit import training_dynamics
from noisylabels.audit.assessment import assess
from noisylabels.audit.cross_validation import cross_validate
from noisylabels.audit.scores import rank
from noisylabels.audit.training_dynamics import EpochMean
from noisylabels.core.checks import CorruptedFile, InputError
from noisylabels.core.interrupt import Interrupted
from noisylabels.data.features import feature_set
from noisylabels.data.images import image_set
from noisylabels.data.loader import Batches
from noisylabels.experiment.folds import assign_folds
from noisylabels.experiment.reporter import Silent
from noisylabels.noise.noise_rate import NETWORK
from warm_process import WarmPopen

K = 3
FAST = {"folds": 3, "epochs": 4, "batch_size": 16, "model": "mlp:8", "device": "cpu"}


def images(n=60, wrong=6, seed=0):
    """Return images whose brightness follows their class, the first `wrong` labeled as the next class."""
    draw = torch.Generator().manual_seed(seed)
    true = torch.arange(n) % K
    level = (true.float() + 0.5).view(-1, 1, 1, 1) * 255 / K
    pixels = (level + 20 * torch.randn(n, 1, 4, 4, generator=draw)).clamp(0, 255).to(torch.uint8)
    given = torch.where(torch.arange(n) < wrong, (true + 1) % K, true)
    return image_set(pixels, given, ["a", "b", "c"], name="tiny")


class Heard(Silent):
    """A reporter that records its calls."""

    def __init__(self):
        self.notes, self.steps, self.epochs = [], [], []

    def note(self, text):
        self.notes.append(text)

    def step(self, epoch, done, total):
        self.steps.append((epoch, done, total))

    def epoch(self, row):
        self.epochs.append(row["epoch"])


def test_folds_are_even_in_all_and_in_each_class():
    labels = np.array([0] * 17 + [1] * 8 + [2] * 2 + [3])
    fold = assign_folds(labels, 4, seed=5)
    sizes = np.bincount(fold)
    assert sizes.max() - sizes.min() <= 1
    for k in range(4):
        each = np.bincount(fold[labels == k], minlength=4)
        assert each.max() - each.min() <= 1
    assert (fold == assign_folds(labels, 4, seed=5)).all()
    assert (fold != assign_folds(labels, 4, seed=6)).any()


def test_more_folds_than_examples_are_refused():
    with pytest.raises(InputError, match="got 4 examples for 5 folds, expected 5 or more"):
        assign_folds(np.zeros(4, int), 5, seed=0)
    with pytest.raises(InputError, match="folds is 1"):
        assign_folds(np.zeros(4, int), 1, seed=0)


def test_held_out_predictions_do_not_use_the_label():
    """Pixels are noise: held-out labels cannot be predicted, training labels can be memorized."""
    draw = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (90, 1, 4, 4), generator=draw, dtype=torch.uint8)
    labels = torch.randint(0, K, (90,), generator=draw)
    noise = image_set(pixels, labels, ["a", "b", "c"])
    found = cross_validate(noise, loss="ce", lr=0.1, **(FAST | {"epochs": 40, "model": "mlp:64"}))
    assert (found.seen.argmax(1) == found.labels).mean() > 0.9
    assert (found.probs.argmax(1) == found.labels).mean() < 0.55


def test_dynamics_equal_those_of_recorded_logits(monkeypatch):
    """Recompute them from the logits of every step, recorded by a user-defined loss."""
    monkeypatch.setattr(training_dynamics, "POWER", 0)  # all epochs alike
    data = images()
    kept = []

    def loss(logits, target):
        kept.append((logits.detach().clone(), target.clone()))
        return torch.nn.functional.cross_entropy(logits, target)

    settings = FAST | {"folds": 2, "batch_size": 30, "epochs": 2}
    found = cross_validate(data, loss=loss, **settings)
    # two folds, two epochs, one batch of 30 each; every example is trained on by one model
    assert [len(target) for _, target in kept] == [30] * 4
    mean = {"margin": 0.0, "loss": 0.0, "agreement": 0.0}
    for logits, target in kept:
        p = logits.softmax(1)
        for row, y in zip(p, target, strict=True):
            mean["margin"] += float(row[y] - max(row[k] for k in range(K) if k != y)) / 120
            mean["loss"] += -math.log(row[y]) / 120
            mean["agreement"] += float(row.argmax() == y) / 120
    everything = torch.cat([logits for logits, _ in kept]).softmax(1).mean(0)
    np.testing.assert_allclose(found.seen.mean(0), everything, atol=1e-5)
    for name, value in mean.items():
        assert getattr(found, name).mean() == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("accuracies", [[0.3, 0.6, 0.5], [0.9, 0.1], [1e-6, 2e-6, 1e-6], [1.0]])
def test_epochs_are_weighted_by_held_out_accuracy(accuracies):
    draw = torch.Generator().manual_seed(0)
    values = torch.rand(len(accuracies), 4, 3, generator=draw)
    mean = EpochMean(torch.zeros(4, 3))
    for accuracy, value in zip(accuracies, values, strict=True):
        mean.add(accuracy, value)
    weights = (torch.tensor(accuracies, dtype=torch.float64) / max(accuracies)) ** 16
    expected = (values * weights.view(-1, 1, 1)).sum(0) / weights.sum()
    np.testing.assert_allclose(mean.mean(), expected, atol=1e-6, rtol=0)
    np.testing.assert_array_equal(mean.mean(torch.tensor([2, 0])), mean.mean()[[2, 0]])


def test_label_errors_are_found():
    data = images(n=240, wrong=24)
    found = cross_validate(data, **(FAST | {"epochs": 10}))
    wrong = np.arange(240) < 24
    for score in (found.score, rank(found.labels, found.probs), found.margin, -found.loss):
        assert wrong[np.argsort(score)[:24]].mean() > 0.9
    assert found.features.shape == (240, 8)
    assert found.rule == NETWORK
    assessed = assess(found.labels, found.probs, found.seen, NETWORK)
    np.testing.assert_array_equal(found.judged, assessed.posterior.whole())
    np.testing.assert_allclose(found.score, found.judged[np.arange(240), found.labels], atol=1e-12)
    assert found.rate == assessed.rate.estimate
    assert (1 - found.score).mean() == pytest.approx(found.rate)
    assert assessed.rate.low < 0.1 < assessed.rate.high
    for probs in (found.probs, found.seen):
        assert probs.dtype == np.float32
        np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)


def test_passed_labels_replace_those_of_the_set():
    data = images(wrong=0)
    given = data.labels.numpy().copy()
    given[:6] = (given[:6] + 1) % K
    ours = cross_validate(data, labels=given, **FAST)
    np.testing.assert_array_equal(ours.labels, given)
    np.testing.assert_array_equal(ours.probs, cross_validate(images(wrong=6), **FAST).probs)


def test_rows_of_features_are_accepted():
    draw = np.random.default_rng(0)
    true = np.arange(60) % K
    rows = np.eye(K)[true] * 4 + draw.normal(size=(60, K))
    given = np.where(np.arange(60) < 4, (true + 1) % K, true)
    found = cross_validate(
        feature_set(rows, given, ["a", "b", "c"]), folds=3, epochs=20, batch_size=16, device="cpu"
    )
    assert set(np.argsort(rank(given, found.probs))[:4]) == {0, 1, 2, 3}


def test_a_class_of_one_example_is_noted():
    data = images(wrong=0)
    given = np.where(data.labels.numpy() == 2, 0, data.labels.numpy())
    given[7] = 2
    heard = Heard()
    found = cross_validate(data, labels=given, reporter=heard, **(FAST | {"epochs": 1}))
    assert np.isfinite(found.probs).all()
    assert "'c': one example each" in heard.notes[0]


def test_progress_is_counted_through_the_folds():
    heard = Heard()
    cross_validate(images(), reporter=heard, **FAST)
    assert heard.epochs == list(range(1, 13))
    assert heard.steps[-1] == (12, 3, 3)


def same(found, whole):
    for name in ("probs", "seen", "margin", "loss", "agreement", "fold", "features"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name), err_msg=name)


def test_an_interruption_keeps_folds_epochs_and_steps(tmp_path):
    whole = cross_validate(images(), **FAST)
    heard, folder = Heard(), tmp_path / "folds"
    with pytest.raises(Interrupted, match=r"^stopped in fold 2 of 3, epoch 3 of 4, after 1 steps of it$"):
        cross_validate(images(), folder=folder, reporter=heard, stop=lambda: len(heard.epochs) == 6, **FAST)
    there = ["crossval.json", "fold-0.safetensors", "fold-1"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(there)
    heard = Heard()
    found = cross_validate(images(), folder=folder, reporter=heard, **FAST)
    assert heard.notes == [
        "fold 1 of 3 is already trained",
        "fold 2 of 3 resumes after 2 epochs and 1 steps of the next",
    ]
    assert heard.epochs == list(range(7, 13))
    assert heard.steps[0] == (7, 2, 3)
    assert not [path for path in folder.iterdir() if path.is_dir()]
    same(found, whole)


LONG = FAST | {"epochs": 60, "batch_size": 32, "lr": 0.2}


def test_a_stop_at_any_step_changes_nothing(tmp_path, monkeypatch):
    """Also in folds that stop early, whose decision is part of the checkpoint."""
    monkeypatch.setattr(training_dynamics, "PATIENT_STEPS", 4)
    whole = cross_validate(images(), **LONG)
    heard, stops = Heard(), 0
    while True:
        taken = len(heard.steps)
        try:  # 7 steps at a time
            found = cross_validate(
                images(),
                folder=tmp_path,
                reporter=heard,
                stop=lambda taken=taken: len(heard.steps) - taken >= 7,
                **LONG,
            )
            break
        except Interrupted:
            stops += 1
    assert stops > 3
    assert max(heard.epochs) < 3 * LONG["epochs"]  # the last fold stopped early
    same(found, whole)


def test_a_fold_killed_between_its_last_epoch_and_its_file(tmp_path, monkeypatch):
    whole = cross_validate(images(), **FAST)

    def fail(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("noisylabels.audit.cross_validation.keep_fold", fail)
        with pytest.raises(OSError, match="no space left"):
            cross_validate(images(), folder=tmp_path, **FAST)
    heard = Heard()
    found = cross_validate(images(), folder=tmp_path, reporter=heard, **FAST)
    assert heard.notes == ["fold 1 of 3 resumes after 4 epochs"]
    assert heard.epochs == list(range(5, 13))
    same(found, whole)


def test_a_fold_that_cannot_be_read_now_is_not_called_damaged(tmp_path, monkeypatch):
    whole = cross_validate(images(), folder=tmp_path, **FAST)

    def fail(path):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    with monkeypatch.context() as patch:
        patch.setattr("noisylabels.audit.fold_files.check_regular", fail)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            cross_validate(images(), folder=tmp_path, **FAST)
    same(cross_validate(images(), folder=tmp_path, **FAST), whole)


@pytest.mark.parametrize("epochs", [0, 1])
def test_dynamics_of_an_earlier_version_without_an_epoch_resume(epochs):
    data = images()
    how = {"batch_size": 16, "device": "cpu", "augment": None, "shuffle": False, "seed": 0}
    mean, std = data.mean_std()
    batches = Batches(data.images, data.labels, mean=mean, std=std, **how)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))

    def dynamics():
        return training_dynamics.TrainingDynamics(model, batches, (60, 3), "float32", "fold 1", 0, Silent())

    first, again = dynamics(), dynamics()
    for _ in range(epochs):
        first.on_epoch_end({"epoch": 1})
    state = first.state_dict()
    again.load_state_dict(state if epochs else state | {"probs": None})
    torch.testing.assert_close(again.probs.sum, first.probs.sum, rtol=0, atol=0)
    assert (again.probs.best, again.epochs) == (first.probs.best, epochs)


def test_a_signal_after_the_last_step_of_a_fold_stops_too(tmp_path, monkeypatch):
    whole = cross_validate(images(), **FAST)

    def predicted(*arguments):
        signal.raise_signal(signal.SIGTERM)
        return training_dynamics.features_of(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("noisylabels.audit.cross_validation.features_of", predicted)
        with pytest.raises(Interrupted, match=r"^stopped after fold 3 of 3$") as stopped:
            cross_validate(images(), folder=tmp_path, **FAST)
    assert stopped.value.signal == signal.SIGTERM
    heard = Heard()
    same(cross_validate(images(), folder=tmp_path, reporter=heard, **FAST), whole)
    assert heard.steps == []


def test_a_damaged_checkpoint_is_named(tmp_path):
    heard = Heard()
    with pytest.raises(Interrupted):
        cross_validate(images(), folder=tmp_path, reporter=heard, stop=lambda: bool(heard.epochs), **FAST)
    path = tmp_path / "fold-0" / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CorruptedFile, match=r"fold-0/checkpoint.pt is damaged .*; remove it to start over"):
        cross_validate(images(), folder=tmp_path, **FAST)


SCRIPT = """
import sys
sys.path[:0] = {paths!r}
from test_cross_validation import FAST, images
from noisylabels.audit.cross_validation import cross_validate

cross_validate(images(), folder={folder!r}, **(FAST | {{"epochs": 40, "checkpoint_minutes": 1e-4}}))
"""


def test_a_process_killed_between_checkpoints_resumes_bit_for_bit(tmp_path):
    settings = FAST | {"epochs": 40}
    script = SCRIPT.format(paths=[str(path) for path in Path(__file__).parents[:2]], folder=str(tmp_path))
    process = WarmPopen(["-c", script])
    checkpoint, end = tmp_path / "fold-0" / "checkpoint.pt", time.monotonic() + 60
    while not checkpoint.exists() and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(0.05)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    heard = Heard()
    found = cross_validate(images(), folder=tmp_path, reporter=heard, **settings)
    assert any(" of 3 resumes after " in note for note in heard.notes)
    assert {path.name for path in tmp_path.iterdir()} == {
        "crossval.json",
        "fold-0.safetensors",
        "fold-1.safetensors",
        "fold-2.safetensors",
    }
    same(found, cross_validate(images(), **settings))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 5}, "whose epochs is 4, this one's is 5"),
        ({"loss": "ce"}, "whose loss is "),
        ({"labels": np.arange(60) % K}, "whose data is "),
    ],
)
def test_folds_of_another_audit_are_refused(tmp_path, change, words):
    cross_validate(images(), folder=tmp_path, **FAST)
    with pytest.raises(InputError, match=words):
        cross_validate(images(), folder=tmp_path, **(FAST | change))


@pytest.mark.parametrize("how", ["cut", "other", "a bit", "a number"])
def test_a_damaged_fold_is_named(tmp_path, how):
    cross_validate(images(), folder=tmp_path, **FAST)
    path = tmp_path / "fold-1.safetensors"
    if how == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif how == "a bit":  # among the probabilities, which remain numbers
        content = bytearray(path.read_bytes())
        content[-10] ^= 1
        path.write_bytes(content)
    elif how == "a number":
        save_file(load_file(path) | {"seconds": np.array(1.0)}, path)
    else:
        save_file({name: array[..., :3] for name, array in load_file(path).items()}, path)
    with pytest.raises(
        CorruptedFile, match=r"fold-1.safetensors is damaged; remove it to train its fold again"
    ):
        cross_validate(images(), folder=tmp_path, **FAST)


def test_a_model_whose_last_layer_is_not_used_has_no_features():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.other = nn.Linear(16, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.used(x.flatten(1))

    data = images()
    how = {"batch_size": 16, "device": "cpu", "augment": None, "shuffle": False, "seed": 0}
    mean, std = data.mean_std()
    batches = Batches(data.images, data.labels, mean=mean, std=std, **how)
    model = Unused()
    assert training_dynamics.features_of(model, batches) is None
    del model.other
    found = training_dynamics.features_of(model, batches)
    np.testing.assert_array_equal(found, torch.cat([each.inputs.flatten(1) for each in batches]).numpy())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": [0, 1]}, "got 2 labels for 60 examples"),
        ({"ema": 0.9}, "ema is 0.9, expected none"),
        ({"loss": "nec"}, "nec"),
        ({"model": "cnn88"}, "did you mean 'cnn8'"),
        ({"epoch": 3}, "epoch"),
        ({"folds": 61}, "got 60 examples for 61 folds"),
    ],
)
def test_invalid_arguments_are_refused_before_anything_is_written(tmp_path, change, words):
    with pytest.raises(InputError, match=words):
        cross_validate(images(), folder=tmp_path / "folds", **(FAST | change))
    assert not (tmp_path / "folds").exists()


def test_folds_of_a_user_defined_loss_are_resumed(tmp_path):
    """The loss is identified by its name, not by its address in memory, which differs between processes."""

    def made():
        def bounded(logits, target):
            return (1 - logits.softmax(1).gather(1, target[:, None])).mean()

        return bounded

    first = cross_validate(images(), folder=tmp_path, **FAST, loss=made())
    heard = Heard()
    again = cross_validate(images(), folder=tmp_path, reporter=heard, **FAST, loss=made())
    assert heard.epochs == []
    np.testing.assert_array_equal(again.probs, first.probs)
    # the same name with other parameters
    cross_validate(images(), folder=tmp_path / "plain", **FAST, loss=torch.nn.CrossEntropyLoss())
    weighted = torch.nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0]))
    with pytest.raises(InputError, match="whose loss is "):
        cross_validate(images(), folder=tmp_path / "plain", **FAST, loss=weighted)
