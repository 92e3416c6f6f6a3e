"""Stopping and resuming at every step with every kind of state, and damaged checkpoints."""

from __future__ import annotations

import errno
import os
import random
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from noisylabels.core.checks import InputError
from noisylabels.core.interrupt import Interrupted
from noisylabels.methods.fit import fit
from noisylabels.training.callbacks import Callback, PauseWhen
from noisylabels.training.history import History

RUN = {"epochs": 3, "batch_size": 16, "lr": 0.05, "device": "cpu", "seed": 2}  # 3 steps an epoch
STATES = {
    "sgd": {},
    "adamw": {"optimizer": "adamw"},
    "average": {"ema": 0.8},
    "dropout": {"dropout": 0.5},
    "augment": {"augment": "crop:1+flip"},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16", "scale": 20.0},
    "contiguous": {"channels_last": False},
    "rare checkpoints": {"checkpoint_epochs": 2},
    "validation": {"validation": 0.1},  # 36 of 40 examples remain: 3 steps an epoch still
    "all": {
        "optimizer": "adamw",
        "ema": 0.8,
        "dropout": 0.5,
        "augment": "crop:1+flip",
        "precision": "float16",
        "scale": 20.0,
        "clip": 1.0,
        "l1": 1e-4,
        "schedule": "step",
        "warmup_epochs": 1.5,
        "validation": 0.1,
    },
}


def without_times(history: History) -> list[dict]:
    return [{k: v for k, v in row.items() if not k.endswith("_seconds")} for row in history.rows]


@pytest.fixture
def train_one(sets, model):
    """Return how to train a model that starts from `weights`, with a folder and a stop."""
    train, test = sets(channels=3)

    def train_one(
        weights: int = 0, dropout: float = 0.0, scale: float = 1.0, **more
    ) -> tuple[nn.Module, History]:
        trained = model(channels=3, dropout=dropout, seed=weights)

        def loss(logits, target):
            return scale * nn.functional.cross_entropy(logits, target)

        criterion = nn.CrossEntropyLoss() if scale == 1 else loss
        return trained, fit(trained, train, test, criterion, **RUN | more)

    return train_one


@pytest.mark.parametrize("name", STATES)
def test_a_run_stopped_after_every_step_is_the_undisturbed_one(train_one, tmp_path, name):
    state = STATES[name]
    expected, history = train_one(**state, folder=tmp_path / "undisturbed")
    if "scale" in state:  # the scaler has something to remember: steps were skipped
        saved = torch.load(tmp_path / "undisturbed" / "checkpoint.pt", weights_only=True)
        assert saved["update"]["scaler"]["scale"] < 65536
    out = tmp_path / "stopped"
    stops = []
    while True:
        try:
            # other weights and another random state at each start: only the checkpoint counts
            torch.manual_seed(len(stops))
            model, again = train_one(
                weights=len(stops), **state, folder=out, callbacks=[PauseWhen(lambda: True)]
            )
            break
        except Interrupted as stopped:
            stops.append((stopped.epoch, stopped.step))
    assert stops == [(epoch, step) for epoch in (1, 2, 3) for step in (1, 2, 3)]
    for key, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key
    assert without_times(again) == without_times(history)
    assert without_times(History.read(out / "history.jsonl")) == without_times(history)


def test_a_step_counts_its_time_once(train_one, tmp_path, monkeypatch):
    """Seconds go on where they were, and those of a checkpoint are nobody's."""
    clock = {"now": 0.0}
    monkeypatch.setattr("noisylabels.training.loop._now", lambda device: clock["now"])

    def save(*_args):
        clock["now"] += 1000

    def stop() -> bool:
        clock["now"] += 1
        return False

    monkeypatch.setattr("noisylabels.training.loop.save_checkpoint", save)
    _, history = train_one(folder=tmp_path, callbacks=[PauseWhen(stop)], checkpoint_minutes=0.0)
    assert history.column("train_seconds") == [3.0, 3.0, 3.0]
    assert history.column("eval_seconds") == [0.0, 0.0, 0.0]


def test_checkpoints_come_by_the_epoch_and_by_the_clock(train_one, tmp_path, monkeypatch):
    saved: list[tuple[int, int]] = []

    def save(_path, state, _device):
        saved.append((state["epoch"], state["done"]))

    monkeypatch.setattr("noisylabels.training.loop.save_checkpoint", save)
    train_one(folder=tmp_path, epochs=5, checkpoint_epochs=2)
    assert saved == [(2, 0), (4, 0), (5, 0)]
    saved.clear()
    train_one(folder=tmp_path, epochs=2, checkpoint_minutes=0.0)
    assert saved == [(0, 1), (0, 2), (0, 3), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]
    saved.clear()
    train_one(epochs=2, checkpoint_minutes=0.0)  # without a folder there is none
    assert saved == []


def test_killed_after_a_row_and_before_its_checkpoint(train_one, tmp_path):
    """The row is written again, the same; it does not stand there twice."""

    class Killed(Exception):  # noqa: N818
        pass

    class Killer(Callback):
        def on_step(self, step):
            if (step.epoch, step.done) == (4, 1):
                raise Killed

    how = {"epochs": 5, "checkpoint_epochs": 2, "folder": tmp_path / "a"}
    with pytest.raises(Killed):
        train_one(**how, callbacks=[Killer()])
    assert len(History.read(tmp_path / "a" / "history.jsonl")) == 3
    assert torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)["epoch"] == 2
    seen = []

    class Reader(Callback):
        def on_step(self, step):
            seen.append(len(History.read(tmp_path / "a" / "history.jsonl")))

    model, history = train_one(**how, callbacks=[Reader()])
    assert seen == [2] * 3 + [3] * 3 + [4] * 3  # the file never knows more than the run
    expected, undisturbed = train_one(epochs=5)
    assert without_times(history) == without_times(undisturbed)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


@pytest.mark.parametrize("ema", [0.0, 0.8])
def test_killed_between_the_last_checkpoint_and_the_result(train_one, tmp_path, ema):
    first, history = train_one(folder=tmp_path, ema=ema)
    again, same_history = train_one(weights=9, folder=tmp_path, ema=ema)
    assert same_history.rows == history.rows
    assert not again.training
    for key, value in first.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key


def test_how_it_is_carried_out_may_change_on_the_way(train_one, tmp_path):
    expected, _ = train_one()
    with pytest.raises(Interrupted):
        train_one(folder=tmp_path, callbacks=[PauseWhen(lambda: True)])
    model, _ = train_one(folder=tmp_path, checkpoint_epochs=3, checkpoint_minutes=1.0, device="auto")
    if not torch.cuda.is_available():
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


@pytest.fixture
def saved(train_one, tmp_path) -> Path:
    with pytest.raises(Interrupted):
        train_one(folder=tmp_path, callbacks=[PauseWhen(lambda: True)])
    return tmp_path / "checkpoint.pt"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"epochs": 4}, "of a run whose epochs is 3, this one's is 4"),
        ({"lr": 0.1}, "of a run whose lr is 0.05, this one's is 0.1"),
        ({"ema": 0.5}, "of a run whose ema is 0.0, this one's is 0.5"),
        ({"validation": 0.1}, "of a run whose validation is 0.0, this one's is 0.1"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(saved, train_one, other, message):
    with pytest.raises(InputError, match=message):
        train_one(folder=saved.parent, **other)


def test_a_setting_that_a_checkpoint_did_not_know_was_at_its_default(saved, train_one):
    state = torch.load(saved, weights_only=True)
    del state["made_for"]["validation"]
    torch.save(state, saved)
    with pytest.raises(InputError, match=r"of a run whose validation is 0.0, this one's is 0.1"):
        train_one(folder=saved.parent, validation=0.1)
    model, _ = train_one(folder=saved.parent)
    expected, _ = train_one()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))


def test_a_checkpoint_of_other_data_or_labels_is_refused(saved, sets, model):
    from noisylabels.noise.corruption import corrupt

    train, test = sets(channels=3)
    other_train, other_test = sets(channels=3, seed=1)
    labels = corrupt(train.labels, "symmetric:0.4", num_classes=3)
    for a, b, more, what in (
        (other_train, test, {}, "training set"),
        (train, other_test, {}, "test set"),
        (train, test, {"labels": labels}, "labels"),
    ):
        with pytest.raises(InputError, match=f"of a run whose {what} is"):
            fit(model(channels=3), a, b, nn.CrossEntropyLoss(), folder=saved.parent, **RUN, **more)


@pytest.mark.parametrize(
    "other",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(48, 3)),
        nn.Sequential(nn.Conv2d(3, 7, 3), nn.BatchNorm2d(7), nn.ReLU(), nn.Flatten(), nn.Linear(28, 3)),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(saved, sets, other):
    with pytest.raises(
        InputError, match=r"is of another model or method; use another folder, or remove"
    ) as error:
        fit(other, *sets(channels=3), nn.CrossEntropyLoss(), folder=saved.parent, **RUN)
    assert "\n" not in str(error.value)


def refused(path: Path, train_one, message: str = "is damaged or not a noisylabels checkpoint") -> None:
    with pytest.raises(InputError, match=f"{re.escape(str(path))} {message}") as error:
        train_one(folder=path.parent)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.EACCES])
def test_a_checkpoint_that_cannot_be_read_now_is_not_called_damaged(saved, train_one, monkeypatch, code):
    def fails(path):
        raise OSError(code, os.strerror(code), str(path))

    with monkeypatch.context() as context:
        context.setattr("noisylabels.training.checkpoint.open_file", fails)
        with pytest.raises(OSError, match=os.strerror(code)):
            train_one(folder=saved.parent)
    train_one(folder=saved.parent)  # and the run goes on later


def test_too_little_memory_is_not_called_damage(saved, train_one, monkeypatch):
    def fails(self, state):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("noisylabels.training.update.Updater.load_state_dict", fails)
    with pytest.raises(torch.OutOfMemoryError):
        train_one(folder=saved.parent)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99, -1])
def test_a_truncated_checkpoint_is_one_clear_line(saved, train_one, keep):
    content = saved.read_bytes()
    saved.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    refused(saved, train_one)


@pytest.mark.parametrize("content", [b"garbage" * 100, b"PK\x03\x04" + bytes(500), b"{}", b"\x80\x02."])
def test_a_file_of_another_kind_is_one_clear_line(saved, train_one, content):
    saved.write_bytes(content)
    refused(saved, train_one)


@pytest.mark.parametrize(
    "value", [[1, 2], {}, {"format": 2}, torch.zeros(3), None, {"format": 2, "random": 1}]
)
def test_a_foreign_torch_file_is_one_clear_line(saved, train_one, value):
    torch.save(value, saved)
    refused(saved, train_one)


def test_a_checkpoint_of_another_format_is_one_clear_line(saved, train_one):
    torch.save({"format": 1, "random": {}}, saved)
    refused(saved, train_one, "has format 1, expected 3; remove it to start over")


def test_a_checkpoint_cannot_run_code(saved, train_one, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    torch.save({"format": 2, "random": Evil()}, saved)
    refused(saved, train_one)
    assert not (tmp_path / "owned").exists()


def test_damaged_bytes_never_end_in_another_exception(saved, train_one):
    """Flipped bytes are refused, or harmless: tensors carry no checksum."""
    content = saved.read_bytes()
    chance = random.Random(0)
    for _ in range(15):
        damaged = bytearray(content)
        for _ in range(20):
            damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        saved.write_bytes(bytes(damaged))
        with pytest.raises((InputError, Interrupted)):
            train_one(folder=saved.parent, callbacks=[PauseWhen(lambda: True)])


def test_a_folder_of_another_loss_is_refused(sets, model, tmp_path):
    """By name, by parameters, and by class weights; the same loss goes on."""
    from noisylabels.losses import loss

    def go(criterion):
        return fit(model(), *sets(), criterion, epochs=2, folder=tmp_path)

    first = go(loss("ce", weight=torch.tensor([1.0, 2.0, 3.0])))
    assert go(loss("ce", weight=torch.tensor([1.0, 2.0, 3.0]))).rows == first.rows
    for other in (loss("mae"), loss("ce"), loss("ce", weight=torch.ones(3)), nn.functional.cross_entropy):
        with pytest.raises(InputError, match="of a run whose loss is"):
            go(other)
