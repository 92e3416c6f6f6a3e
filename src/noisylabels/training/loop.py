"""The training loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from noisylabels.core.checks import InputError
from noisylabels.core.config import build
from noisylabels.core.rng import derive_seed
from noisylabels.data.augment import parse_augment
from noisylabels.data.images import ImageSet
from noisylabels.data.loader import Batches
from noisylabels.noise.labels import NoisyLabels
from noisylabels.training.checkpoint import load_checkpoint, save_checkpoint
from noisylabels.training.history import History
from noisylabels.training.interrupt import Interrupted
from noisylabels.training.metrics import dead_classes, label_metrics, predict, recall
from noisylabels.training.optim import learning_rate
from noisylabels.training.settings import Settings
from noisylabels.training.step import Step


class Watcher(Protocol):
    """Somebody who is told how the run goes."""

    def step(self, epoch: int, done: int, total: int) -> None:
        """`done` of `total` steps of `epoch` (from 1) are done."""

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch has ended; `row` is its line of the history."""


class Diverged(RuntimeError):  # noqa: N818  a state of the run rather than of the program
    """The loss or the logits stopped being finite."""

    def __init__(self, epoch: int, step: int, cause: str, history: History) -> None:
        super().__init__(f"training diverged in epoch {epoch}, step {step}: {cause}")
        self.epoch = epoch
        self.step = step
        self.cause = cause
        self.history = history


def pick_device(name: str) -> torch.device:
    """Return the device called `name`; "auto" is a GPU if there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"the device {name!r} is not usable here; try --device cpu or auto") from None
    return device


def fit(
    model: nn.Module,
    train: ImageSet,
    test: ImageSet,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    labels: NoisyLabels | None = None,
    folder: Path | None = None,
    watcher: Watcher | None = None,
    stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> History:
    """Train `model` in place and return its history, one row an epoch.

    Args:
        model: from images (B, C, H, W), normalized, to logits (B, K).
        train, test: the images. The test set is measured every epoch and selects nothing.
        loss: from logits (B, K) float32 and target (B,) int64 to a scalar mean: one of
            `noisylabels.loss`, ``nn.CrossEntropyLoss()``, or any function.
        labels: the labels to train on and the true ones; without it the labels of `train`, whose
            truth is then unknown.
        folder: where to keep checkpoint.pt, which the same call goes on from, and history.jsonl.
        watcher: told of every step and epoch.
        stop: asked after every step; when it says yes the checkpoint is written and
            `Interrupted` raised.
        settings: any field of `Settings`: ``epochs=30, lr=0.1, precision="bfloat16"``.

    Raises:
        InputError: an unknown setting, a value out of range, labels that do not fit the images.
        Diverged: the loss or the logits were not finite.
        Interrupted: `stop` said so.
    """
    use = build(Settings, settings)
    device = pick_device(use.device)
    given, true = _labels_of(train, labels)
    layout = torch.channels_last if use.channels_last else torch.contiguous_format
    model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    mean, std = train.pixel_mean_std()
    how = {"device": device, "mean": mean, "std": std, "channels_last": use.channels_last, "seed": use.seed}
    batches = Batches(
        train.images,
        given,
        batch_size=use.batch_size,
        augment=parse_augment(use.augment),
        shuffle=True,
        **how,  # type: ignore[arg-type]
    )
    test_batches = Batches(
        test.images,
        test.labels,
        batch_size=max(use.batch_size, 500),
        augment=None,
        shuffle=False,
        **how,  # type: ignore[arg-type]
    )
    step = Step(model, loss, use, device)
    steps = len(batches)
    history = History()
    # What an epoch gathers stays on the device and is read once, at its end.
    predicted = torch.full((len(train),), -1, device=device)
    loss_sum = torch.zeros((), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    first_bad = torch.full((2,), -1, device=device)  # first step with a loss, with logits, not finite
    epoch = done = 0
    train_seconds = 0.0

    def save() -> None:
        if folder is not None:
            state = {"step": step.state_dict(), "epoch": epoch, "done": done, "seconds": train_seconds}
            state |= {"predicted": predicted, "loss_sum": loss_sum, "first_bad": first_bad}
            save_checkpoint(folder / "checkpoint.pt", state | {"rows": history.rows})

    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.manual_seed(derive_seed(use.seed, "model"))  # dropout, should the model have it
        if folder is not None and (state := load_checkpoint(folder / "checkpoint.pt", device)):
            step.load_state_dict(state["step"])
            epoch, done, train_seconds = state["epoch"], state["done"], state["seconds"]
            predicted.copy_(state["predicted"])
            loss_sum.copy_(state["loss_sum"])
            first_bad.copy_(state["first_bad"])
            history.rows = state["rows"]
        saved_at = time.monotonic()
        while epoch < use.epochs:
            if done == 0:
                loss_sum.zero_()
            model.train()
            began = _now(device)
            for images, target, index in batches.epoch(epoch, start=done):
                value, logits = step(images, target, learning_rate(use, epoch, done / steps))
                predicted[index] = logits.argmax(1)
                loss_sum += value
                bad = torch.stack([~value.isfinite(), ~logits.isfinite().all()])
                first_bad = torch.where(bad & (first_bad < 0), done, first_bad)
                done += 1
                if watcher is not None:
                    watcher.step(epoch + 1, done, steps)
                stopping = stop()
                if stopping or time.monotonic() - saved_at > use.checkpoint_minutes * 60:
                    train_seconds, began = train_seconds + _now(device) - began, _now(device)
                    save()
                    saved_at = time.monotonic()
                    if stopping:
                        raise Interrupted(epoch + 1, done)
            train_seconds += _now(device) - began
            if bool((first_bad >= 0).any()):
                raise _diverged(epoch, first_bad.tolist(), use, history)
            began = _now(device)
            tested, test_labels, test_loss = predict(
                step.evaluated, test_batches.epoch(epoch), loss, step.autocast
            )
            if test_loss - test_loss != 0:  # infinite or not a number: the last update broke the weights
                raise _diverged(epoch, [steps - 1, steps - 1], use, history)
            recalls = recall(tested, test_labels, train.num_classes)
            row = {
                "epoch": epoch + 1,
                "lr": learning_rate(use, epoch, 0.0),
                "train_loss": float(loss_sum) / steps,
                **label_metrics(predicted.cpu(), given, true),
                "test_loss": test_loss,
                "test_accuracy": float((tested == test_labels).double().mean()),
                "recall": recalls,
                "dead_classes": dead_classes(recalls),
                "train_seconds": train_seconds,
                "eval_seconds": _now(device) - began,
            }
            history.rows.append(row)
            if folder is not None:
                history.write(folder / "history.jsonl")
            epoch, done, train_seconds = epoch + 1, 0, 0.0
            if epoch % use.checkpoint_epochs == 0 or epoch == use.epochs:
                save()
                saved_at = time.monotonic()
            if watcher is not None:
                watcher.epoch(row)
    if step.ema is not None:
        model.load_state_dict(step.ema.module.state_dict())
    return history


def _labels_of(train: ImageSet, labels: NoisyLabels | None) -> tuple[Tensor, Tensor | None]:
    """Return the labels to train on, and the true ones if they are known, both (N,) int64."""
    if labels is None:
        return train.labels, None
    if len(labels.given) != len(train) or labels.num_classes != train.num_classes:
        raise InputError(
            f"there are {len(labels.given)} labels of {labels.num_classes} classes for {len(train)} images "
            f"of {train.num_classes} classes; corrupt the labels of this very set"
        )
    return torch.from_numpy(labels.given), torch.from_numpy(labels.true)


def _now(device: torch.device) -> float:
    """Return the time in seconds once the device has done what it was given (so: once an epoch)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _diverged(epoch: int, first_bad: list[int], use: Settings, history: History) -> Diverged:
    bad_loss, bad_logits = first_bad
    at = min(value for value in first_bad if value >= 0)
    if bad_logits >= 0 and (bad_loss < 0 or bad_logits <= bad_loss):
        cause = (
            f"the logits were not finite: the weights have blown up at lr {use.lr:g}; lower lr or set clip"
        )
        if use.precision == "float16":
            cause += ", or take precision bfloat16 (float16 overflows at 65504)"
    else:
        cause = "the loss was not finite although the logits were: look at the loss and its parameters"
    return Diverged(epoch + 1, at + 1, cause, history)
