"""The training loop, which knows no loss, model, data set or method by name."""

from __future__ import annotations

import copy
import functools
import math
import numbers
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from noisylabels.core.checks import CorruptedFile, InputError
from noisylabels.core.config import build, to_dict
from noisylabels.core.device import pick_device
from noisylabels.core.interrupt import Interrupted
from noisylabels.core.rng import global_state_kept, start_global_stream
from noisylabels.data.features import Examples
from noisylabels.data.loader import Batch, Batches, Timed
from noisylabels.models.normalization import normalization_of
from noisylabels.noise.labels import NoisyLabels
from noisylabels.training.callbacks import Callback, RunStart, StepResult, Stop
from noisylabels.training.capture import Captured, CudaGraphs, is_static
from noisylabels.training.checkpoint import check_same, load_checkpoint, save_checkpoint
from noisylabels.training.divided import DividedRun
from noisylabels.training.fine_tuning import Body, freeze_statistics
from noisylabels.training.history import History, best_epoch, current_names
from noisylabels.training.identity import constants_of, difference, loss_identity, loss_name, state_digests
from noisylabels.training.method import PART, Method, Setup, trainable
from noisylabels.training.metrics import Evaluation, dead_classes, evaluate, label_metrics, recall
from noisylabels.training.optim import learning_rate
from noisylabels.training.processor import corrupts_memory, slow_precision
from noisylabels.training.ranks import Ranks
from noisylabels.training.running_metrics import RunningMetrics
from noisylabels.training.settings import HOW, Settings
from noisylabels.training.sharing import rows_of
from noisylabels.training.training_data import DEFAULT_IDENTITY, TrainingData, training_data
from noisylabels.training.update import Updater

FORMER_IDENTITY = DEFAULT_IDENTITY | {"method": "standard", "weights": "equal"}
"""Identity of checkpoints from versions that did not record these entries."""


class TrainingDiverged(RuntimeError):  # noqa: N818  a state of the run rather than of the program
    """The loss or the logits stopped being finite."""

    def __init__(self, epoch: int, step: int, cause: str, history: History) -> None:
        super().__init__(f"training diverged in epoch {epoch}, step {step}: {cause}")
        self.epoch = epoch
        self.step = step
        self.cause = cause
        self.history = history


def train_method(
    method: Method,
    train: Examples,
    test: Examples | None,
    *,
    labels: NoisyLabels | None = None,
    positions: np.ndarray | None = None,
    weights: Tensor | None = None,
    folder: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    **settings: Any,
) -> History:
    """Train a method's networks in place, leave them in evaluation mode, and return the history.

    `noisylabels.fit` describes the arguments, and creates the method from a model and a loss.
    """
    use = build(Settings, settings)
    device = pick_device(use.device)
    if not isinstance(callbacks, Iterable):
        raise InputError(f"callbacks is a {type(callbacks).__name__}, expected a list; put it into brackets")
    for place, callback in enumerate(callbacks):
        if not isinstance(callback, Callback):
            raise InputError(
                f"callbacks[{place}] is {callback!r}, expected an instance of a subclass of nl.Callback"
            )
    loss_mode = getattr(method.loss, "training", None)
    with global_state_kept([device] if device.type == "cuda" else []):
        start_global_stream(use.seed, "model", "prepare")  # for what a method draws in `prepare`
        run = _Run(method, train, test, labels, positions, weights, folder, callbacks, use, device)
        start_global_stream(use.seed, "model")  # for dropout, and a method's draws in its steps
        run.resume()
        try:
            while not run.finished:
                run.train_epoch()
                run.end_epoch()
        finally:
            run.restore()
    for place, (network, kept) in enumerate(zip(method.networks, run.updater.evaluated, strict=True)):
        if run.best_weights:
            network.load_state_dict(run.best_weights[place])
        elif kept is not network:
            network.load_state_dict(kept.state_dict())
        network.eval()
    if loss_mode is not None and isinstance(method.loss, nn.Module):
        method.loss.train(loss_mode)  # as the caller left it
    return run.history


class _Run:
    """The state of a run between two steps, with the operations that advance it."""

    def __init__(
        self,
        method: Method,
        train: Examples,
        test: Examples | None,
        labels: NoisyLabels | None,
        positions: np.ndarray | None,
        weights: Tensor | None,
        folder: str | Path | None,
        callbacks: Sequence[Callback],
        use: Settings,
        device: torch.device,
    ) -> None:
        self.method, self.use, self.callbacks = method, use, list(callbacks)
        self.folder = Path(folder) if folder is not None else None
        self.device = device
        laid_out = replace(
            use, channels_last=use.channels_last and not corrupts_memory(method.networks, device)
        )
        layout = torch.channels_last if laid_out.channels_last else torch.contiguous_format
        method.networks.to(device=device, memory_format=layout)  # type: ignore[call-overload]
        self.ranks = Ranks.of_this_run(device)
        self.divided = DividedRun(self.ranks, method, self.callbacks)
        images = train.inputs.ndim == 4
        own_normalization = normalization_of(method.networks[0], train.inputs.shape[1]) if images else None
        self.data = data = training_data(
            train, test, labels, positions, laid_out, device, method.views, own_normalization
        )
        self.steps = len(data.batches)
        self.loss_constants, self.constants = state_digests(method.loss), constants_of(method)
        weighing = (
            "equal" if weights is None else method.use_weights(weights, data.num_examples, data.kept, device)
        )
        method.prepare(_setup(data, use, self.steps, device))
        method.to(device)  # its own buffers and parameters, and those of the loss
        method.networks.to(memory_format=layout)  # type: ignore[call-overload]  # those made in prepare too
        pretrained = own_normalization is not None or use.frozen_epochs > 0
        self.frozen_statistics = pretrained if use.batch_norm == "auto" else use.batch_norm == "frozen"
        self.divided.prepared(device, self.frozen_statistics, self.note)
        if (equal := data.batches.plain_views) > 1:
            self.note(f"the {equal} views of each example are equal: nothing is augmented")
        own = isinstance(method.loss, nn.Module) and trainable([method.loss])
        if use.loss_lr is not None and not own:
            self.note("loss_lr has no effect: the loss has no parameters of its own")
        method.check_logits(data.num_classes)
        self.updater, self.update = self._updater()
        every = [*method.networks, *method.other_networks()]
        self.body = Body(every, data.num_classes) if use.frozen_epochs else None
        self.running = RunningMetrics(data.num_examples, device)
        self.history = History()
        self.best_weights: list[dict[str, Tensor]] = []  # of each network, at the best epoch so far
        self.epochs = method.epochs = 1 if method.fitted else use.epochs
        self.epoch = self.done = 0
        self.finished = False
        self.train_seconds = self.data_seconds = 0.0
        self.saved_at = time.monotonic()
        self.made_for = to_dict(use, HOW) | data.identity | {"weights": weighing} | method.identity()
        self.made_for["loss"] = loss_name(method.loss)
        self.ranks.check_same(
            repr(self.made_for), "the processes of this run were given different data or settings"
        )
        self.probing = [each for each in self.callbacks if type(each).probe is not Callback.probe]
        begun = _run_start(method, data, use, self.steps, self.epochs, self.note)
        for callback in self.callbacks:
            callback.on_start(begun)

    def _updater(self) -> tuple[Updater, Callable[..., tuple[Tensor, Tensor]]]:
        """Return the updater, and the callable that updates: itself, or its recording on a GPU."""
        use, device = self.use, self.device
        wanted = use.capture == "on" or (use.capture == "auto" and is_static(self.method))
        # a recorded step would go on training what it trained when it was recorded
        static = self.method.capturable and not use.frozen_epochs
        static = static and not self.ranks.several  # nor does it wait for other processes
        capturable = wanted and device.type == "cuda" and static
        if use.capture == "on" and not capturable:
            cuda = device.type == "cuda"
            why = "this method cannot be captured" if cuda else f"the device is {device}, not CUDA"
            why = "frozen_epochs changes what a step trains" if cuda and use.frozen_epochs else why
            why = "several processes share a step" if cuda and self.ranks.several else why
            self.note(f"capture on has no effect: {why}")
        if slow := slow_precision(use.precision, device):
            self.note(slow)
        rows = self.data.batches.inputs.ndim == 2
        updater = Updater(self.method, use, device, capturable=capturable, rows=rows, ranks=self.ranks)
        if not capturable:
            return updater, updater
        return updater, Captured(updater, CudaGraphs(device), use.batch_size, self.note)

    def restore(self) -> None:
        """Leave networks as the caller gave them, but for their weights."""
        if self.body is not None:
            self.body.freeze(False)
        self.updater.release()
        self.divided.restore()

    def note(self, text: str) -> None:
        """Pass a note to the callbacks that handle notes, or else issue a warning; rank 0 does."""
        if not self.ranks.first:
            return
        listening = [each for each in self.callbacks if type(each).on_note is not Callback.on_note]
        for callback in listening:
            callback.on_note(text)
        if not listening:
            warnings.warn(text, stacklevel=2)

    def asked_to(self, stop: Stop) -> bool:
        """Return whether a callback asks to end the run this way."""
        answers = [callback.should_stop(self.history) for callback in self.callbacks]
        for callback, answer in zip(self.callbacks, answers, strict=True):
            if answer is not None and not isinstance(answer, Stop):
                raise InputError(
                    f"should_stop of {type(callback).__name__} returns {answer!r}, expected nl.Stop.PAUSE, "
                    "nl.Stop.FINISH or None"
                )
        return stop in answers

    def train_epoch(self) -> None:
        """Run the remaining steps of the epoch."""
        use = self.use
        began = _now(self.device)
        if self.done == 0:
            self.running.clear()
            self.method.eval()
            self.method.set_progress(self.epoch / self.epochs)  # it may compute losses
            with self.divided.passes():
                self.method.begin_epoch(self.epoch)
        self.method.train()
        if self.body is not None:
            self.body.freeze(self.epoch < use.frozen_epochs)
        if self.frozen_statistics:
            freeze_statistics(self.method, self.method.new_modules(self.epoch))
        for callback in self.callbacks:
            callback.on_epoch_start(self.epoch + 1)
        rows = None
        if self.ranks.several and self.method.rank_inputs == PART:
            rows = functools.partial(rows_of, part=(self.ranks.rank, self.ranks.size))
        source = Timed(self.data.batches.epoch(self.epoch, start=self.done, rows=rows))
        for batch in source:
            self.method.set_progress((self.epoch + self.done / self.steps) / self.epochs)
            value, logits = self.step(batch, learning_rate(use, self.epoch, self.done / self.steps))
            self.running.add(batch.positions, value, logits)
            self.done += 1
            step = StepResult(
                self.epoch + 1, self.done, self.steps, batch.positions, logits, batch.target, value
            )
            for callback in self.callbacks:
                callback.on_step(step)
            due = time.monotonic() - self.saved_at > use.checkpoint_minutes * 60
            asked = [self.asked_to(Stop.PAUSE), due]
            pause, due = self.ranks.agree(asked, now=self.done == self.steps)
            if pause or due:
                self.check_finite()  # a diverged state is never saved
                self.train_seconds += _now(self.device) - began
                self.data_seconds += source.take()
                self.save()
                if pause:
                    raise Interrupted(self.epoch + 1, self.done)
                began = _now(self.device)
        self.train_seconds += _now(self.device) - began
        self.data_seconds += source.take()
        self.check_finite()

    def step(self, batch: Batch, lr: float) -> tuple[Tensor, Tensor]:
        """Update the weights once; a step that a callback probes is not replayed from a recording."""
        place = self.epoch * self.steps + self.done
        self.updater.place = place
        probes = [probe for each in self.probing if (probe := each.probe(place)) is not None]
        if not probes or self.method.fitted:
            return self.update(batch, lr)
        self.updater.probes = probes
        try:
            return self.updater(batch, lr)
        finally:
            self.updater.probes = []

    def end_epoch(self) -> None:
        """Evaluate, add a row to the history, and write history and checkpoint if due."""
        use, data = self.use, self.data
        began = _now(self.device)
        self.method.eval()  # a loss with state learns nothing from test examples
        self.method.set_progress((self.epoch + 1) / self.epochs)
        for network in self.updater.evaluated:
            network.eval()
        self.divided.average_statistics([average.model for average in self.updater.averages])
        tested = self.evaluate("test set", data.test) if data.test is not None else None
        recalls = recall(tested.predicted, tested.labels, data.num_classes) if tested else None
        row = {
            "epoch": self.epoch + 1,
            "lr": learning_rate(use, self.epoch, 0.0),
            "train_loss": float(self.running.loss_sum) / self.steps,
            **label_metrics(self.running.predicted.cpu()[data.kept], data.given, data.true),
            "test_loss": tested.loss if tested else None,
            "test_accuracy": tested.accuracy if tested else None,
            "recall": recalls,
            "dead_classes": dead_classes(recalls or []),
        }
        if data.validation is not None:
            validated = self.evaluate("validation split", data.validation)
            row |= {"validation_loss": validated.loss, "validation_accuracy": validated.accuracy}
        seconds = {"train": self.train_seconds, "data": self.data_seconds, "eval": _now(self.device) - began}
        # more digits are noise, and a third of an exported study
        row |= {f"{name}_seconds": round(value, 4) for name, value in seconds.items()}
        _add_columns(row, self.method.columns(), self.method)
        _add_columns(row, self.method.loss_columns(), self.method)
        for callback in self.callbacks:
            names = dict(row)
            callback.on_epoch_end(row)
            _check_columns(row, names, callback)
        self.history.rows.append(row)
        if use.keep_epoch == "best" and self._best() is row:
            self.history.kept = row
            self.best_weights = [copy.deepcopy(each.state_dict()) for each in self.updater.evaluated]
        self.write_history()
        self.epoch, self.done, self.train_seconds, self.data_seconds = self.epoch + 1, 0, 0.0, 0.0
        self.finished = self.epoch == self.epochs or self.ranks.any([self.asked_to(Stop.FINISH)])[0]
        if self.finished or self.epoch % use.checkpoint_epochs == 0:
            self.save()

    def evaluate(self, what: str, part: Batches) -> Evaluation:
        """Return the evaluation of the networks on data that is not trained on."""
        updater = self.updater

        def predict(inputs: Tensor) -> Tensor:
            logits = self.method.predict(updater.evaluated, inputs)
            wanted = (len(inputs), self.data.num_classes)
            if not isinstance(logits, Tensor) or tuple(logits.shape) != wanted:
                shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
                raise InputError(
                    f"predict of {type(self.method).__name__} returns {shape}, expected logits {wanted}"
                )
            return logits

        found = evaluate(
            predict,
            part,
            self.method.evaluation_loss,
            updater.autocast,
            self.ranks,
            self.method.evaluation_sums,
        )
        if not (found.finite and math.isfinite(found.loss)):
            cause = f"on the {what}, {_cause(found.finite, self.use, self.method)}"
            raise TrainingDiverged(self.epoch + 1, self.steps, cause, self.history)
        return found

    def check_finite(self) -> None:
        """Raise `TrainingDiverged` if a loss or logit of the epoch's steps so far was not finite."""
        loss_steps, logits_steps = self.running.finite_steps.tolist()
        if min(loss_steps, logits_steps) < self.done:
            cause = _cause(logits_steps > loss_steps, self.use, self.method)
            step = min(loss_steps, logits_steps) + 1
            raise TrainingDiverged(self.epoch + 1, step, cause, self.history)

    def write_history(self) -> None:
        """Write the history if the run has a folder; rank 0 does."""
        if self.folder is not None and self.ranks.first:
            self.history.write(self.folder / "history.jsonl")

    def save(self) -> None:
        """Write a checkpoint if the run has a folder; rank 0 does, and it holds the state of all."""
        self.divided.average_statistics([average.model for average in self.updater.averages])
        self.saved_at = time.monotonic()
        if self.folder is None:
            return
        if self.ranks.first:
            self.write_checkpoint(self.folder / "checkpoint.pt")
        for callback in self.callbacks:
            callback.on_saved(self.history)

    def write_checkpoint(self, path: Path) -> None:
        """Write everything that the next step depends on."""
        state: dict[str, Any] = {"made_for": self.made_for}
        # without what training changes
        state["loss_constants"] = dict(self.loss_constants.items() & state_digests(self.method.loss).items())
        state["constants"] = dict(self.constants.items() & constants_of(self.method).items())
        state |= {"rows": self.history.rows, "epoch": self.epoch, "done": self.done}
        if self.best_weights:
            state["best_weights"] = self.best_weights
        state |= {"seconds": self.train_seconds, "data_seconds": self.data_seconds}
        state |= {"update": self.updater.state_dict(), "running_metrics": self.running.state_dict()}
        kept = {name: callback.state_dict() for name, callback in _by_name(self.callbacks)}
        state["callbacks"] = {name: each for name, each in kept.items() if each}
        save_checkpoint(path, state, self.device)

    def resume(self) -> None:
        """Continue from the checkpoint in the folder, if there is one, on every rank."""
        path = None if self.folder is None else self.folder / "checkpoint.pt"
        state = None if path is None else load_checkpoint(path, self.device)
        # before anything else is exchanged, which only those with a checkpoint do
        self.ranks.check_same(
            f"{state['epoch']}, {state['done']}" if state else "none",
            f"the processes of this run do not see the same checkpoint in {self.folder}; use a folder that "
            "all machines share",
        )
        if state:
            self._resume(state)

    def _resume(self, state: dict[str, Any]) -> None:
        self._check_identity(state)
        try:
            self.updater.load_state_dict(state["update"])
            self.running.load_state_dict(state["running_metrics"])
            for weights, network in zip(state.get("best_weights", ()), self.updater.evaluated, strict=False):
                check_same(weights, network.state_dict())
            for name, callback in _by_name(self.callbacks):
                if (kept := state.get("callbacks", {}).get(name)) is not None:
                    callback.load_state_dict(kept)
            if not (len(state["rows"]) == state["epoch"] <= self.use.epochs and state["done"] <= self.steps):
                raise ValueError("more or fewer epochs or steps than the run has")
        except torch.OutOfMemoryError:
            raise
        # other shapes, names, types or numbers of tensors
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError):
            raise CorruptedFile(
                f"the checkpoint in {self.folder} is of another model or method; "
                "use another folder, or remove checkpoint.pt to start over"
            ) from None
        self.loss_constants = state.get("loss_constants", self.loss_constants)
        self.constants = state.get("constants", self.constants)
        self.epoch, self.done, self.train_seconds = state["epoch"], state["done"], state["seconds"]
        self.data_seconds = state.get("data_seconds", 0.0)  # older checkpoints have none
        self.best_weights = state.get("best_weights", [])
        self.history.rows = [current_names(row) for row in state["rows"]]
        self.write_history()  # a killed run may have written an epoch more
        if self.best_weights:
            self.history.kept = self._best()
        if self.done == 0 and self.history.rows:
            self.finished = self.epoch == self.epochs or self.ranks.any([self.asked_to(Stop.FINISH)])[0]

    def _best(self) -> dict[str, Any] | None:
        return best_epoch(self.history.rows, self.data.num_validation)

    def _check_identity(self, state: dict[str, Any]) -> None:
        """Raise `CorruptedFile` if a checkpoint is of a run with other settings, data, loss or method."""
        # newer settings were at their defaults
        there = to_dict(Settings()) | FORMER_IDENTITY | state["made_for"]
        wanted = dict(self.made_for)
        if "loss_constants" not in state:
            # version 0.1 put a digest of all of the loss's numbers into its name
            wanted["loss"] = loss_identity(self.method.loss)
        elif any(self.loss_constants.get(name) != was for name, was in state["loss_constants"].items()):
            wanted["loss"] += " with other numbers (create the loss anew if training has changed it)"
        for name, value in wanted.items():
            was = there.get(name)
            if torch.is_tensor(was) or was != value:
                shown = " ".join(repr(was).split())
                raise CorruptedFile(
                    f"the checkpoint in {self.folder} is of a run whose {name} is {shown}, this one's is "
                    f"{value!r}; use another folder, or remove checkpoint.pt to start over"
                )
        then = state.get("constants", {})
        if (path := difference(then, self.constants)) is not None:
            what = "loss" if path.startswith("loss") else "model or method"
            raise CorruptedFile(
                f"the checkpoint in {self.folder} is of another {what}; use another folder, or remove "
                f"checkpoint.pt to start over (its {path} is {then.get(path, 'missing')}, this one's "
                f"{self.constants.get(path, 'missing')})"
            )


def _setup(data: TrainingData, use: Settings, steps: int, device: torch.device) -> Setup:
    return Setup(
        num_examples=data.num_examples,
        num_classes=data.num_classes,
        labels=data.all_given.to(device),
        positions=data.kept.to(device),
        epochs=use.epochs,
        steps=steps,
        seed=use.seed,
        device=device,
        evaluation_batches=data.unaugmented,
    )


def _run_start(
    method: Method,
    data: TrainingData,
    use: Settings,
    steps: int,
    epochs: int,
    note: Callable[[str], None],
) -> RunStart:
    given = data.all_given
    true = None
    if data.true is not None:
        true = given.clone()
        true[data.kept] = data.true
    device = data.batches.device
    return RunStart(
        method=method,
        given=given.to(device),
        true=true.to(device) if true is not None else None,
        positions=data.kept.to(device),
        num_classes=data.num_classes,
        epochs=epochs,
        steps=steps,
        seed=use.seed,
        batches=lambda positions: data.unaugmented(positions=positions.cpu()),
        note=note,
    )


def _by_name(callbacks: Sequence[Callback]) -> Iterator[tuple[str, Callback]]:
    """Yield callbacks with the names of their states: the class, numbered from the second of a class on."""
    counts: Counter[str] = Counter()
    for callback in callbacks:
        name = type(callback).__name__
        counts[name] += 1
        yield (name if counts[name] == 1 else f"{name}-{counts[name]}"), callback


def _add_columns(row: dict[str, Any], columns: dict[str, float | None], source: object) -> None:
    """Add a method's columns to a row of the history."""
    before = dict(row)
    row |= columns
    _check_columns(row, before, source)


def _check_columns(row: dict[str, Any], before: dict[str, Any], source: object) -> None:
    """Raise an `InputError` unless `source` has only added columns that hold finite numbers or None."""
    who = type(source).__name__
    for name, value in before.items():
        if name not in row or (row[name] is not value and row[name] != value):
            raise InputError(
                f"{who} changes the column {name!r} of the history; use another name for its own column"
            )
    for name, value in row.items():
        if name in before:
            continue
        number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if value is not None and not (number and math.isfinite(value)):
            raise InputError(
                f"{who} adds {value!r} as the history's column {name!r}, expected a finite number or None"
            )
        if value is not None and type(value) not in (int, float):
            row[name] = float(value)  # from NumPy


def _now(device: torch.device) -> float:
    """Return the time in seconds after waiting for the device (so: call it once per epoch)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _cause(finite_logits: bool, use: Settings, method: Method) -> str:
    if finite_logits:
        cause = "the loss was not finite although the logits were; "
        return cause + (method.if_diverged or "check the loss and its parameters")
    cause = f"the logits were not finite: the weights diverged at lr {use.lr:g}; lower lr or set clip"
    if use.precision == "float16":
        cause += ", or use precision bfloat16 (float16 overflows at 65504)"
    return f"{cause}; {method.if_diverged}" if method.if_diverged else cause
