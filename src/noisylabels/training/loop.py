"""The training loop."""

from __future__ import annotations

import copy
import functools
import hashlib
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from noisylabels.core.checks import CorruptedFile, InputError
from noisylabels.core.config import build, to_dict
from noisylabels.core.rng import derive_seed
from noisylabels.data.augment import parse_augment
from noisylabels.data.features import Examples as Examples
from noisylabels.data.loader import Batches, Timed, evaluation_batch_size
from noisylabels.data.split import validation_split
from noisylabels.noise.labels import NoisyLabels
from noisylabels.training.capture import Captured, CudaGraphs, does_the_same
from noisylabels.training.checkpoint import load_checkpoint, save_checkpoint
from noisylabels.training.history import History, current_names
from noisylabels.training.interrupt import Interrupted
from noisylabels.training.metrics import Evaluation, dead_classes, evaluate, label_metrics, recall
from noisylabels.training.optim import learning_rate
from noisylabels.training.running_metrics import RunningMetrics
from noisylabels.training.settings import HOW, Settings
from noisylabels.training.step import Step

EVALUATED_AT_ONCE = 8
"""Times as many images a batch of evaluation on a GPU as on a CPU, whose caches are small: 4,000 of 32x32."""

UNLESS_SAID = {"part of the training set": "all of it", "weights": "equal"}
"""What a checkpoint says of a training on all examples alike; older ones do not say it."""


class Watcher(Protocol):
    """Somebody who is told how the run goes."""

    def step(self, epoch: int, done: int, total: int) -> None:
        """`done` of `total` steps of `epoch` (from 1) are done."""

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch has ended; `row` is its line of the history."""


class TrainingDiverged(RuntimeError):  # noqa: N818  a state of the run rather than of the program
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
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"the device {name!r} is not usable here; try --device cpu or auto") from None
    return device


def fit(
    model: nn.Module,
    train: Examples,
    test: Examples | None,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    labels: NoisyLabels | None = None,
    positions: np.ndarray | None = None,
    folder: str | Path | None = None,
    watcher: Watcher | None = None,
    stop: Callable[[], bool] = lambda: False,
    enough: Callable[[History], bool] = lambda history: False,
    observe: Callable[[int, Tensor, Tensor, Tensor], object] | None = None,
    weights: Tensor | None = None,
    **settings: Any,
) -> History:
    """Train `model` in place, leave it in evaluation mode, and return its history, one row an epoch.

    Args:
        model: from images (B, C, H, W), normalized, to logits (B, K); from rows (B, D) of features.
        train, test: the images, or features (`FeatureSet`). The test set is measured every epoch and selects
            nothing; None for none.
        loss: from logits (B, K) float32 and target (B,) int64 to a scalar mean: one of
            `noisylabels.loss`, ``nn.CrossEntropyLoss()``, or any function.
        labels: the labels to train on and the true ones; without it the labels of `train`, whose
            truth is then unknown.
        positions: (n,) int64 in rising order: the part of `train` to train on, whose pixels are not copied;
            None for all of it. Images are normalized by the whole set.
        folder: where to keep checkpoint.pt, which the same call goes on from (or, with other settings
            or data, refuses), and history.jsonl.
        watcher: told of every step and epoch.
        stop: asked after every step; when it says yes the checkpoint is written, should there be a
            folder, and `Interrupted` raised.
        enough: asked after every epoch, with the history so far; when it says yes training ends there, as
            early stopping does. It should depend on the history alone, which a resumed run has too.
        observe: called after every step with the epoch (from 1), the examples' positions (B,), the logits
            (B, K) and the labels (B,), all on the device and valid during the call only: the dynamics of each
            example come at no cost but this.
        weights: (N,), 0 or more, of each training example's loss: a step descends the mean of weight times
            loss. The loss must have a reduction, as `noisylabels.loss` and torch's modules. Measures are
            unweighted.
        settings: any field of `Settings`: ``epochs=30, lr=0.1, precision="bfloat16"``. Images are not
            augmented unless ``augment="crop:4+flip"`` or the like says so. ``validation=0.1`` holds a tenth
            of the training set out, measures it every epoch on its given labels, and so lets an epoch be
            chosen afterwards (`History.chosen`); the model is the last epoch's all the same.

    Raises:
        InputError: an unknown setting, a value out of range, labels that do not fit the images, a
            validation split of no example, a checkpoint that is damaged or of another run, a model that
            does not take the images or gives anything but K logits for each.
        Diverged: the loss or the logits were not finite.
        Interrupted: `stop` said so.
    """
    use = build(Settings, settings)
    if not callable(loss):
        raise InputError(f"the loss is {loss!r}, expected a function or a module, such as nl.loss('nce+mae')")
    if (reduction := getattr(loss, "reduction", "mean")) != "mean":
        raise InputError(
            f"the loss has reduction {reduction!r}, expected 'mean': a step and a history need it"
        )
    folder = Path(folder) if folder is not None else None
    device = pick_device(use.device)
    given, true = _labels_of(train, test, labels)
    layout = torch.channels_last if use.channels_last else torch.contiguous_format
    model.to(device=device, memory_format=layout)  # type: ignore[call-overload]
    if isinstance(loss, nn.Module):
        loss.to(device)  # it may hold class weights
    kept, held = (torch.from_numpy(part) for part in _parts(len(train), positions, use))
    batches, test_batches, held_batches = _batches(train, given, kept, held, test, use, device)
    steps = len(batches)
    weights = _checked_weights(weights, train, loss, device)
    tell = getattr(watcher, "note", warnings.warn)
    step, update = _step(model, loss, use, device, train.num_classes, tell, weights is not None)
    running = RunningMetrics(len(train), device)
    history = History()
    epoch = done = 0
    train_seconds = data_seconds = 0.0
    made_for = _made_for(use, train, test, labels, positions, loss, weights)
    given, true = given[kept], true[kept] if true is not None else None

    def save() -> None:
        if folder is not None:
            state: dict[str, Any] = {"made_for": made_for, "rows": history.rows}
            state |= {"epoch": epoch, "done": done, "seconds": train_seconds, "data_seconds": data_seconds}
            state |= {"step": step.state_dict(), "tally": running.state_dict()}
            save_checkpoint(folder / "checkpoint.pt", state, device)

    def measure(what: str, part: Batches) -> Evaluation:
        found = evaluate(step.evaluated, part, loss, step.autocast)
        if not (found.finite and math.isfinite(found.loss)):
            raise TrainingDiverged(epoch + 1, steps, f"on the {what}, {_cause(found.finite, use)}", history)
        return found

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive_seed(use.seed, "model"))  # dropout, should the model have it
        if folder is not None and (state := load_checkpoint(folder / "checkpoint.pt", device)):
            _restore(step, running, state, made_for, folder)
            epoch, done, train_seconds = state["epoch"], state["done"], state["seconds"]
            data_seconds = state.get("data_seconds", 0.0)  # older checkpoints have none
            history.rows = [current_names(row) for row in state["rows"]]
            history.write(folder / "history.jsonl")  # a killed run may have been an epoch further
        saved_at = time.monotonic()
        while epoch < use.epochs and not (history.rows and done == 0 and enough(history)):
            if done == 0:
                running.clear()
            model.train()
            began = _now(device)
            source = Timed(batches.epoch(epoch, start=done))
            for images, target, index in source:
                if weights is not None:
                    step.weights = weights.index_select(0, index)
                value, logits = update(images, target, learning_rate(use, epoch, done / steps))
                running.add(index, value, logits)
                if observe is not None:
                    observe(epoch + 1, index, logits, target)
                done += 1
                if watcher is not None:
                    watcher.step(epoch + 1, done, steps)
                stopping = stop()
                if stopping or time.monotonic() - saved_at > use.checkpoint_minutes * 60:
                    _check_finite(running, epoch, done, use, history)  # and never save what has diverged
                    train_seconds += _now(device) - began
                    data_seconds += source.take()
                    save()
                    if stopping:
                        raise Interrupted(epoch + 1, done)
                    saved_at, began = time.monotonic(), _now(device)
            train_seconds += _now(device) - began
            data_seconds += source.take()
            _check_finite(running, epoch, done, use, history)

            began = _now(device)
            tested = measure("test set", test_batches) if test_batches is not None else None
            recalls = recall(tested.predicted, tested.labels, train.num_classes) if tested else None
            row = {
                "epoch": epoch + 1,
                "lr": learning_rate(use, epoch, 0.0),
                "train_loss": float(running.loss_sum) / steps,
                **label_metrics(running.predicted.cpu()[kept], given, true),
                "test_loss": tested.loss if tested else None,
                "test_accuracy": tested.accuracy if tested else None,
                "recall": recalls,
                "dead_classes": dead_classes(recalls or []),
            }
            if held_batches is not None:
                validated = measure("validation split", held_batches)
                row |= {"validation_loss": validated.loss, "validation_accuracy": validated.accuracy}
            row |= {"train_seconds": train_seconds, "data_seconds": data_seconds}
            row |= {"eval_seconds": _now(device) - began}
            history.rows.append(row)
            if folder is not None:
                history.write(folder / "history.jsonl")
            epoch, done, train_seconds, data_seconds = epoch + 1, 0, 0.0, 0.0
            if epoch % use.checkpoint_epochs == 0 or epoch == use.epochs or enough(history):
                save()
                saved_at = time.monotonic()
            if watcher is not None:
                watcher.epoch(row)
    if step.ema is not None:
        model.load_state_dict(step.ema.model.state_dict())
    model.eval()
    return history


def _labels_of(
    train: Examples, test: Examples | None, labels: NoisyLabels | None
) -> tuple[Tensor, Tensor | None]:
    """Return the labels to train on, and the true ones if they are known, both (N,) int64."""
    if test is not None and test.num_classes != train.num_classes:
        raise InputError(
            f"the test set has {test.num_classes} classes and the training set {train.num_classes}"
        )
    if labels is None:
        return train.labels, None
    if not isinstance(labels, NoisyLabels):
        raise InputError(
            f"labels are a {type(labels).__name__}, expected NoisyLabels, as nl.corrupt gives them; "
            "labels whose truth is unknown belong into the set"
        )
    if len(labels) != len(train) or labels.num_classes != train.num_classes:
        hint = "corrupt the labels of this very set"
        if labels.index is not None:
            hint = "the noise leaves examples out: take the set that nl.corrupt_set gives with the labels"
        raise InputError(
            f"there are {len(labels)} labels of {labels.num_classes} classes for {len(train)} images "
            f"of {train.num_classes} classes; {hint}"
        )
    if labels.arrangement != train.arranged:
        raise InputError(
            "the labels are for a set from which examples are left out or into which foreign images are put; "
            "take the set that nl.corrupt_set gives with them"
        )
    return torch.from_numpy(labels.given), torch.from_numpy(labels.true)


def _parts(n: int, positions: np.ndarray | None, use: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions to train on and those held out for validation."""
    if positions is None:
        return validation_split(n, use.validation, use.seed)
    positions = np.asarray(positions)
    if not (
        positions.ndim == 1
        and positions.dtype == np.int64
        and len(positions)
        and positions[0] >= 0
        and positions[-1] < n
        and (np.diff(positions) > 0).all()
    ):
        raise InputError(f"positions are not int64 numbers from 0 to {n - 1} in rising order, each once")
    kept, held = validation_split(len(positions), use.validation, use.seed)
    return positions[kept], positions[held]


def _checked_weights(
    weights: Tensor | None, train: Examples, loss: Callable[[Tensor, Tensor], Tensor], device: torch.device
) -> Tensor | None:
    """Return the weights of the examples, (N,) float32 on the device."""
    if weights is None:
        return None
    if not hasattr(loss, "reduction"):
        raise InputError(
            "weights need the loss of each example, and this one has no reduction to set to 'none'; "
            "take one of nl.loss or a module such as nn.CrossEntropyLoss()"
        )
    weights = torch.as_tensor(weights, dtype=torch.float32)
    if weights.shape != (len(train),) or not bool(((weights >= 0) & weights.isfinite()).all()):
        raise InputError(
            f"weights of shape {tuple(weights.shape)} for {len(train)} examples, "
            "expected a finite number of 0 or more for each"
        )
    return weights.to(device)


def _step(
    model: nn.Module,
    loss: Callable[[Tensor, Tensor], Tensor],
    use: Settings,
    device: torch.device,
    num_classes: int,
    tell: Callable[[str], object],
    weighted: bool,
) -> tuple[Step, Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]]:
    """Return the step, and what is called to take it: itself, or its recording on a GPU."""
    wanted = use.capture == "on" or (use.capture == "auto" and does_the_same(model, loss))
    capturable = wanted and device.type == "cuda" and not weighted
    if use.capture == "on" and not capturable:
        why = "examples with weights are never captured" if weighted else f"this is {device}, no CUDA device"
        tell(f"capture on changes nothing: {why}")
    if weighted:
        loss = copy.copy(loss)
        loss.reduction = "none"  # type: ignore[attr-defined]
    step = Step(model, loss, use, device, num_classes, capturable=capturable)
    return step, Captured(step, CudaGraphs(device), use.batch_size, tell) if capturable else step


def _batches(
    train: Examples,
    given: Tensor,
    kept: Tensor,
    held: Tensor,
    test: Examples | None,
    use: Settings,
    device: torch.device,
) -> tuple[Batches, Batches | None, Batches | None]:
    """Return the batches to train on, to test with and to validate with, all normalized alike."""
    # of the whole training set: no label is in them, and a kept model knows no split
    mean, std = train.mean_std()
    make = functools.partial(
        Batches, device=device, mean=mean, std=std, seed=use.seed, channels_last=use.channels_last
    )
    augment = parse_augment(use.augment)
    at_once = evaluation_batch_size(train.inputs) * (EVALUATED_AT_ONCE if device.type == "cuda" else 1)
    plain = functools.partial(make, batch_size=at_once, augment=None, shuffle=False)
    batches = make(
        train.inputs, given, positions=kept, batch_size=use.batch_size, augment=augment, shuffle=True
    )
    test_batches = plain(test.inputs, test.labels) if test is not None else None
    # the images from where training has put them, so that a device holds them once
    held_batches = plain(batches.inputs, given, positions=held) if len(held) else None
    return batches, test_batches, held_batches


def _made_for(
    use: Settings,
    train: Examples,
    test: Examples | None,
    labels: NoisyLabels | None,
    positions: np.ndarray | None,
    loss: Callable[[Tensor, Tensor], Tensor],
    weights: Tensor | None,
) -> dict[str, str | int | float | bool]:
    """Return what a checkpoint must agree on with the call that goes on from it."""
    tested = test.digest if test is not None else "none"
    data = {"training set": train.digest, "test set": tested, "loss": loss_identity(loss)}
    data |= UNLESS_SAID
    if positions is not None:
        data["part of the training set"] = hashlib.sha256(positions.astype("<i8").tobytes()).hexdigest()
    if weights is not None:
        data["weights"] = hashlib.sha256(weights.cpu().numpy().tobytes()).hexdigest()
    return to_dict(use, HOW) | data | {"labels": labels.digest if labels is not None else "the set's own"}


def loss_identity(loss: Callable[[Tensor, Tensor], Tensor]) -> str:
    """Return what tells a loss from another: its words, and of a module its numbers (class weights)."""
    if not isinstance(loss, nn.Module):
        return str(getattr(loss, "__qualname__", type(loss).__qualname__))
    numbers = hashlib.sha256()
    for tensor in loss.state_dict().values():
        numbers.update(tensor.detach().cpu().contiguous().view(-1).double().numpy().tobytes())
    return f"{loss!r} {numbers.hexdigest()[:8]}" if loss.state_dict() else repr(loss)


def _restore(
    step: Step, running: RunningMetrics, state: dict[str, Any], made_for: dict[str, Any], folder: Path
) -> None:
    """Bring step and tally to where the checkpoint is."""
    there = to_dict(Settings()) | UNLESS_SAID | state["made_for"]  # newer settings were at their defaults
    for name, value in made_for.items():
        if (was := there.get(name)) != value:
            raise CorruptedFile(
                f"the checkpoint in {folder} is of a run whose {name} is {was!r}, this one's is {value!r}; "
                "take another folder, or remove checkpoint.pt to start over"
            )
    try:
        step.load_state_dict(state["step"])
        running.load_state_dict(state["tally"])
    except (RuntimeError, ValueError, KeyError):  # other shapes, other names, other numbers of them
        raise CorruptedFile(
            f"the checkpoint in {folder} is of another model; "
            "take another folder, or remove checkpoint.pt to start over"
        ) from None


def _now(device: torch.device) -> float:
    """Return the time in seconds once the device has done what it was given (so: once an epoch)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _check_finite(running: RunningMetrics, epoch: int, done: int, use: Settings, history: History) -> None:
    """Raise `TrainingDiverged` if a loss or a logit of the epoch's steps so far was not finite."""
    loss_steps, logits_steps = running.finite_steps.tolist()
    if min(loss_steps, logits_steps) < done:
        cause = _cause(logits_steps > loss_steps, use)
        raise TrainingDiverged(epoch + 1, min(loss_steps, logits_steps) + 1, cause, history)


def _cause(finite_logits: bool, use: Settings) -> str:
    if finite_logits:
        return "the loss was not finite although the logits were: look at the loss and its parameters"
    cause = f"the logits were not finite: the weights have blown up at lr {use.lr:g}; lower lr or set clip"
    if use.precision == "float16":
        cause += ", or take precision bfloat16 (float16 overflows at 65504)"
    return cause
