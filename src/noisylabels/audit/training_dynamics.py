"""Training dynamics of a fold: how its model predicts each example, epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels.experiment.reporter import Reporter
from noisylabels.training.callbacks import Callback, StepResult, Stop
from noisylabels.training.history import History

if TYPE_CHECKING:
    from torch import Tensor, nn

    from noisylabels.data.loader import Batches

POWER = 16
"""Of the accuracy on the labels held out, right or wrong, the weight of an epoch: an epoch that predicts them
a tenth worse than the best has a fifth of its weight. Early epochs have learned too little, late ones too
much, and when is which depends on data, noise and loss; this needs no clean label."""

PATIENCE, PATIENT_STEPS = 4, 80
"""Epochs, and steps, without a better accuracy on the labels held out after which a fold ends."""


class EpochMean:
    """The mean of a tensor over epochs, Σ_e a_e^POWER x_e / Σ_e a_e^POWER, added up as they come.

    Args:
        zero: where to add up.

    >>> import torch
    >>> mean = EpochMean(torch.zeros(1))
    >>> mean.add(0.5, torch.tensor([1.0]))
    >>> mean.add(0.5, torch.tensor([0.0]))
    >>> mean.mean()
    tensor([0.5000])
    """

    def __init__(self, zero: Tensor) -> None:
        self.sum, self.weights, self.best = zero, 0.0, 0.0

    def add(self, accuracy: float, value: Tensor) -> None:
        """Add an epoch of such an accuracy, above 0."""
        if accuracy > self.best:  # the best so far has the weight 1, so that nothing over- or underflows
            shrink = (self.best / accuracy) ** POWER if self.weights else 0.0
            self.sum *= shrink
            self.weights *= shrink
            self.best = accuracy
        weight = (accuracy / self.best) ** POWER
        self.sum += weight * value
        self.weights += weight

    def mean(self) -> Tensor:
        """Return it."""
        return self.sum / self.weights


class TrainingDynamics(Callback):
    """Records how a fold's model predicts each example while it is trained, and reports progress.

    Args:
        model: in training.
        held: the batches of the examples held out, on the device.
        counts: the numbers of examples and of classes.
        precision: of the training.
        before: the epochs of the folds before.
        reporter: told of steps and epochs.
    """

    def __init__(
        self,
        model: nn.Module,
        held: Batches,
        counts: tuple[int, int],
        precision: str,
        before: int,
        reporter: Reporter,
    ) -> None:
        import torch

        self.model, self.held, self.before, self.reporter = model, held, before, reporter
        self.half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision)
        (n, K), device = counts, held.device
        self.dynamics = torch.zeros(3, n, device=device)
        self.now = torch.zeros(n, K, device=device)  # predictions of the present epoch
        self.seen = EpochMean(torch.zeros(n, K, device=device))
        self.probs: EpochMean | None = None
        self.epochs = self.since_best = 0
        self.steps = 1  # of an epoch

    def on_note(self, text: str) -> None:
        """Pass a note on."""
        self.reporter.note(text)

    def on_step(self, step: StepResult) -> None:
        """Add up the dynamics of a step's examples, and report progress over all folds."""
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
        self.steps = step.total
        self.reporter.step(self.before + step.epoch, step.done, step.total)

    def on_epoch_end(self, row: dict[str, Any]) -> None:
        """Predict the held-out fold, and add the epoch to the means with its weight."""
        import torch

        from noisylabels.training.loop import TrainingDiverged

        half, device = self.half, self.held.device.type
        self.model.eval()
        with torch.no_grad(), torch.autocast(device, dtype=half, enabled=half is not None):
            each = [(self.model(batch.inputs).float().softmax(1), batch.target) for batch in self.held]
        p, given = (torch.cat(part) for part in zip(*each, strict=True))
        if not bool(p.isfinite().all()):  # of the last step's weights, which no later step would notice
            cause = "on the fold held out, the logits were not finite; lower lr or set clip"
            raise TrainingDiverged(row["epoch"], self.steps, cause, History([row]))
        accuracy = (float((p.argmax(1) == given).sum()) + 1) / (len(p) + 1)  # never 0
        self.epochs = row["epoch"]
        self.since_best = 0 if accuracy > self.seen.best else self.since_best + 1
        if self.probs is None:
            self.probs = EpochMean(torch.zeros_like(p))
        self.probs.add(accuracy, p)
        self.seen.add(accuracy, self.now)
        self.reporter.epoch(row | {"epoch": self.before + row["epoch"]})

    def should_stop(self, history: History) -> Stop | None:
        """Stop early once the held-out accuracy has not improved for some epochs."""
        return Stop.FINISH if self.since_best >= max(PATIENCE, PATIENT_STEPS / self.steps) else None

    def result(self, trained: Tensor) -> dict[str, np.ndarray]:
        """Return the means: `probs` of those held out, `seen` and `dynamics` of those trained on."""
        assert self.probs is not None  # there was an epoch
        return {
            "probs": self.probs.mean().cpu().numpy(),
            "seen": self.seen.mean().cpu()[trained].numpy(),
            "dynamics": (self.dynamics.cpu()[:, trained] / self.epochs).numpy(),
        }


def features_of(model: nn.Module, batches: Batches) -> np.ndarray | None:
    """Return what goes into the model's last linear layer, (N, D); None where there is none."""
    import torch
    from torch import nn

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    if not layers:
        return None
    caught: list[torch.Tensor] = []
    hook = layers[-1].register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0].float().cpu()))
    try:
        with torch.no_grad():
            for batch in batches:
                model(batch.inputs)
    finally:
        hook.remove()
    features = torch.cat(caught)
    return features.numpy() if features.ndim == 2 and len(features) == len(batches.inputs) else None
