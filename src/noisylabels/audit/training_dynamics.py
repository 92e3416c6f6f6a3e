"""Record the training dynamics of a fold: what its model predicts for each example in each epoch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from typing_extensions import TypedDict

from noisylabels.core.large_arrays import large_array
from noisylabels.core.schema import Count, checked
from noisylabels.experiment.reporter import Reporter
from noisylabels.training.callbacks import Callback, StepResult, Stop
from noisylabels.training.history import History

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from noisylabels.data.loader import Batches

POWER = 16
"""Exponent of the held-out accuracy in the weight of an epoch: an accuracy a tenth below the best has a fifth
of its weight. Early epochs have learned too little, late ones have memorized label errors, and where the
change lies depends on data, noise and loss. The accuracy is on noisy labels; no clean label is needed."""

PATIENCE, PATIENT_STEPS = 4, 80
"""Epochs, and steps, without an improvement of the held-out accuracy after which a fold stops."""

_ROWS = 1 << 14  # of probabilities that are read at once


class _Mean(TypedDict):
    sum: Any
    weights: float
    best: float


class _Kept(TypedDict):
    dynamics: Any
    now: Any
    seen: _Mean
    probs: _Mean | None
    epochs: Count
    since_best: Count
    done: Count
    steps: Count
    seconds: float


class EpochMean:
    """Running weighted mean of a tensor over epochs, Σ_e a_e^POWER x_e / Σ_e a_e^POWER.

    Args:
        zero: tensor of zeros that holds the sum.

    >>> import torch
    >>> mean = EpochMean(torch.zeros(1))
    >>> mean.add(0.5, torch.tensor([1.0]))
    >>> mean.add(0.5, torch.tensor([0.0]))
    >>> mean.mean()
    array([0.5], dtype=float32)
    """

    def __init__(self, zero: Tensor) -> None:
        self.sum, self.weights, self.best = zero, 0.0, 0.0

    def add(self, accuracy: float, value: Tensor) -> None:
        """Add the value of an epoch with the given accuracy, which must be above 0."""
        if accuracy > self.best:  # the best epoch so far has weight 1, so that nothing over- or underflows
            shrink = (self.best / accuracy) ** POWER if self.weights else 0.0
            self.sum *= shrink
            self.weights *= shrink
            self.best = accuracy
        weight = (accuracy / self.best) ** POWER
        self.sum.add_(value, alpha=weight)
        self.weights += weight

    def mean(self, rows: Tensor | None = None) -> np.ndarray:
        """Return the weighted mean, of some rows alone if positions (M,) are given."""
        count = len(self.sum) if rows is None else len(rows)
        made = large_array((count, *self.sum.shape[1:]), np.float32)
        for start in range(0, count, _ROWS):
            some = slice(start, start + _ROWS)
            part = self.sum[some] if rows is None else self.sum[rows[some].to(self.sum.device)]
            made[some] = (part / self.weights).cpu().numpy()
        return made

    def state_dict(self) -> dict[str, Any]:
        """Return the sum and its weights, for a checkpoint."""
        return {"sum": self.sum, "weights": self.weights, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.sum.copy_(state["sum"])
        self.weights, self.best = state["weights"], state["best"]


class TrainingDynamics(Callback):
    """Record what a fold's model predicts for each example during training, and report progress.

    Args:
        model: the model in training.
        held: batches of the held-out examples, on the device.
        counts: number of examples and number of classes.
        precision: precision of the training.
        place: the fold in words, such as "fold 2 of 4".
        before: number of epochs in the previous folds.
        reporter: receives steps and epochs.

    The checkpoints of the fold contain all of it, so that a fold that was stopped continues bit for bit.
    """

    def __init__(
        self,
        model: nn.Module,
        held: Batches,
        counts: tuple[int, int],
        precision: str,
        place: str,
        before: int,
        reporter: Reporter,
    ) -> None:
        import torch

        self.began, self.earlier_seconds = time.perf_counter(), 0.0
        self.model, self.held, self.reporter = model, held, reporter
        self.place, self.before = place, before
        self.half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)
        (n, K), device = counts, held.device
        self.dynamics = torch.zeros(3, n, device=device)
        self.now = _zeros((n, K), device)  # predictions of the current epoch
        self.seen = EpochMean(_zeros((n, K), device))
        self.held_now = _zeros((held.num_examples, K), device)
        self.probs = EpochMean(_zeros((held.num_examples, K), device))
        self.epochs = self.since_best = 0
        self.done = 0  # steps of the current epoch
        self.steps = 1  # per epoch

    def on_note(self, text: str) -> None:
        """Pass a note to the reporter."""
        self.reporter.note(text)

    def on_step(self, step: StepResult) -> None:
        """Add the dynamics of a step's examples, and report progress over all folds."""
        import torch

        logits, target, positions = step.logits, step.target, step.positions
        log_p = logits.float().log_softmax(1)
        p = log_p.exp()
        own = p.gather(1, target[:, None])[:, 0]
        others = p.scatter(1, target[:, None], -1.0).amax(1)
        loss = -log_p.gather(1, target[:, None])[:, 0]
        right = logits.argmax(1) == target
        self.dynamics[:, positions] += torch.stack([own - others, loss, right.float()])
        self.now[positions] = p
        self.done, self.steps = step.done, step.total
        self.reporter.step(self.before + step.epoch, step.done, step.total)

    def on_epoch_end(self, row: dict[str, Any]) -> None:
        """Predict the held-out fold, and add the epoch to the means with its weight."""
        import torch

        from noisylabels.training.loop import TrainingDiverged

        half, device = self.half, self.held.device
        finite = torch.ones((), dtype=torch.bool, device=device)
        right, done = torch.zeros((), dtype=torch.int64, device=device), 0
        self.model.eval()
        with torch.no_grad(), torch.autocast(device.type, dtype=half, enabled=half is not None):
            for batch in self.held:
                p = self.model(batch.inputs).float().softmax(1)
                finite &= p.isfinite().all()
                right += (p.argmax(1) == batch.target).sum()
                self.held_now[done : done + len(p)] = p
                done += len(p)
        if not bool(finite):  # no later step would detect that the last one diverged
            cause = "the logits of the held-out fold were not finite; lower lr or set clip"
            raise TrainingDiverged(row["epoch"], self.steps, cause, History([row]))
        accuracy = (int(right) + 1) / (done + 1)  # never 0
        self.epochs, self.done = row["epoch"], 0
        self.since_best = 0 if accuracy > self.seen.best else self.since_best + 1
        self.probs.add(accuracy, self.held_now)
        self.seen.add(accuracy, self.now)
        self.reporter.epoch(row | {"epoch": self.before + row["epoch"]})

    def should_stop(self, history: History) -> Stop | None:
        """Return `Stop.FINISH` once the held-out accuracy has not improved for some epochs."""
        return Stop.FINISH if self.since_best >= max(PATIENCE, PATIENT_STEPS / self.steps) else None

    @property
    def seconds(self) -> float:
        """Return the time spent on the fold, before an interruption too."""
        return self.earlier_seconds + time.perf_counter() - self.began

    def state_dict(self) -> dict[str, Any]:
        """Return the sums so far, for a checkpoint."""
        return {
            "dynamics": self.dynamics,
            "now": self.now,
            "seen": self.seen.state_dict(),
            "probs": self.probs.state_dict(),
            "epochs": self.epochs,
            "done": self.done,
            "since_best": self.since_best,
            "steps": self.steps,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        from noisylabels.training.checkpoint import check_same

        checked(state, _Kept, "the training dynamics of the checkpoint")
        means = {"seen": self.seen, "probs": self.probs}
        if state["probs"] is None:  # of an earlier version, before the first epoch ended
            means.pop("probs")
        mine = {
            "dynamics": self.dynamics,
            "now": self.now,
            **{name: each.sum for name, each in means.items()},
        }
        theirs = {name: state[name] for name in ("dynamics", "now")}
        check_same(theirs | {name: state[name]["sum"] for name in means}, mine)
        self.dynamics.copy_(state["dynamics"])
        self.now.copy_(state["now"])
        for name, each in means.items():
            each.load_state_dict(state[name])
        self.epochs, self.since_best, self.steps = state["epochs"], state["since_best"], state["steps"]
        self.done = state["done"]
        self.earlier_seconds, self.began = state["seconds"], time.perf_counter()
        within = f" and {self.done} steps of the next" if self.done else ""
        self.reporter.note(f"{self.place} resumes after {self.epochs} epochs{within}")

    def result(self, trained: Tensor) -> dict[str, np.ndarray]:
        """Return the means: `probs` of held-out examples, `seen` and `dynamics` of trained ones."""
        return {
            "probs": self.probs.mean(),
            "seen": self.seen.mean(trained),
            "dynamics": (self.dynamics.cpu()[:, trained] / self.epochs).numpy(),
        }


def _zeros(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Return zeros on a device, on a CPU in a `large_array`."""
    import torch

    if device.type != "cpu":
        return torch.zeros(shape, device=device)
    made = large_array(shape, np.float32)
    if not isinstance(made, np.memmap):  # a new file holds zeros
        made[:] = 0
    return torch.from_numpy(made)


def features_of(model: nn.Module, batches: Batches) -> np.ndarray | None:
    """Return the input of the model's last linear layer, (N, D); None if the model has none."""
    import torch
    from torch import nn

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        return None
    caught: list[torch.Tensor] = []
    hook = layers[-1].register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0].float().cpu()))
    features, done = None, 0
    try:
        with torch.no_grad():
            for batch in batches:
                model(batch.inputs)
                if not caught:  # a layer that is not used
                    return None
                part = torch.cat(caught).numpy()
                caught.clear()
                if part.ndim != 2 or len(part) != len(batch.target):
                    return None
                if features is None:
                    features = large_array((batches.num_examples, part.shape[1]), np.float32)
                features[done : done + len(part)] = part
                done += len(part)
    finally:
        hook.remove()
    return features
