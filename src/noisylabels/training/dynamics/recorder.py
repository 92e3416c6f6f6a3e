"""`Dynamics`: a callback that records how a run learns, for clean and for noisy labels."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import TypedDict

from noisylabels.core.checks import check_between
from noisylabels.core.rng import derive_seed
from noisylabels.core.schema import Count, checked
from noisylabels.training.callbacks import Callback, Probe, RunStart, StepResult
from noisylabels.training.dynamics.gradients import GradientProbe
from noisylabels.training.dynamics.predictions import Predictions
from noisylabels.training.dynamics.recording import write_recording
from noisylabels.training.dynamics.sharpness import ITERATIONS, SLICE, largest_eigenvalue, loss_slice
from noisylabels.training.dynamics.sums import Entry, Sums

STRIDE = 100
"""Steps between two measured ones. A measured step takes about three times as long as others."""

SAMPLE = 256
"""Examples on which sharpness is measured, the same throughout a run."""

SHARPNESS_SHARE = 0.03
"""Share of the training time that sharpness may take by default."""

COLUMNS = {
    "gradient_at_logits": ("logit_gradient", "all"),
    "gradient_at_weights": ("weight_gradient", "all"),
    "noisy_logit_share": ("logit_share", "noisy"),
    "noisy_weight_share": ("weight_share", "noisy"),
    "noisy_cosine": ("cosine", "noisy"),
    "relative_step": ("relative_step", "all"),
    "sharpness": ("sharpness", "given"),
    "sharpness_true": ("sharpness", "true"),
}
"""Columns that the callback adds to the history -> measure and part, see `recording.MEASURES`.

None begins with ``weight_``, as those of weights that vary do."""


class _Kept(TypedDict):
    epoch: Count
    epochs: list[str]
    sums: str
    turn: Count
    predictions: dict[str, Any]


class Dynamics(Callback):
    """Record gradients, relative steps, predictions and sharpness, for clean and for noisy labels.

    Training is unchanged, bit for bit. Numbers of one value per epoch become columns of the history
    (`COLUMNS`), None in epochs without a measurement; `write` writes everything to files. The first network
    of a method is measured. True labels are known where noise was added; without them, nothing is split.

    Args:
        stride: number of steps between measured steps, 1 or more.
        sharpness_epochs: number of epochs between measurements of sharpness; 0 for as many as take about 3 %
            of the training, which is none in a short run.

    >>> import noisylabels as nl
    >>> train, test = nl.load("digits")
    >>> labels = nl.corrupt(train.labels, "symmetric:0.4", seed=0)
    >>> dynamics = Dynamics(stride=4)
    >>> model = nl.build_model("mlp", channels=1, image_size=(8, 8), num_classes=10)
    >>> history = nl.fit(model, train, test, nl.loss("ce"), labels=labels, callbacks=[dynamics], epochs=1)
    >>> 0 < history.final["noisy_logit_share"] < 1
    True
    """

    def __init__(self, stride: int = STRIDE, sharpness_epochs: int = 0) -> None:
        self.stride = int(check_between(stride, "stride", low=1))
        self.wanted_epochs = int(check_between(sharpness_epochs, "sharpness_epochs", low=0))
        self.sums = Sums()
        self._epochs: list[str] = []  # the entries of each finished epoch, as JSON

    def on_start(self, start: RunStart) -> None:
        """Prepare to measure the first network, and draw the sample for sharpness."""
        self.start = start
        method = start.method
        noisy = None if start.true is None else start.given != start.true
        self.gradients = GradientProbe(method.networks[0], noisy, self.sums)
        self.predictions = Predictions(start.given, start.true, start.positions)
        self.epoch = 0
        count = min(SAMPLE, len(start.positions))
        generator = torch.Generator().manual_seed(derive_seed(start.seed, "dynamics", "sample"))
        chosen = torch.randperm(len(start.positions), generator=generator)[:count].sort().values
        self.sample = start.positions.cpu()[chosen]
        self.sharpness_epochs = self._sharpness_epochs(count)
        self._told = self._told_start = False

    def _sharpness_epochs(self, count: int) -> int:
        """Return the number of epochs between measurements of sharpness; 0 for none."""
        if self.wanted_epochs or self.start.method.fitted:
            return self.wanted_epochs
        # a product with the Hessian takes about as long as two steps on the same number of examples
        steps = self.start.steps
        passes = 2 * (2 * ITERATIONS + SLICE / 3) * count / max(1, len(self.start.positions) / steps)
        every = math.ceil(passes / (SHARPNESS_SHARE * steps))
        return every if every <= self.start.epochs else 0

    def on_epoch_start(self, epoch: int) -> None:
        """Report a recording that begins within a run, which was started without it."""
        if epoch > 1 and not self._epochs and not self._told_start:
            self._told_start = True
            self.start.note(f"the dynamics are recorded from epoch {epoch} on: the run began without")

    def probe(self, step: int) -> Probe | None:
        """Return the probe for every step whose number is a multiple of the stride."""
        return None if step % self.stride or self.gradients.unmeasurable else self.gradients

    def on_step(self, step: StepResult) -> None:
        """Keep the predictions of a step."""
        self.epoch = step.epoch
        if step.logits.shape[1] == self.start.num_classes:
            self.predictions.add(step.epoch, step.positions, step.logits)
        if self.gradients.unmeasurable and not self._told:
            self._told = True
            self.start.note(
                "gradients are not recorded: the loss of this method does not depend on its logits"
            )

    def on_epoch_end(self, row: dict[str, Any]) -> None:
        """Add the columns of the epoch to the history, and keep its entries."""
        epoch = row["epoch"]
        self.predictions.flush(epoch)
        self.predictions.summarize(self.sums)
        for k in row.get("dead_classes") or ():
            self.sums.add("dead", "all", str(k), 1.0)
        if self.sharpness_epochs and epoch % self.sharpness_epochs == 0:
            self._measure_sharpness()
        for column, (measure, part) in COLUMNS.items():
            row[column] = self.sums.mean(measure, part)
        self._epochs.append(json.dumps(list(self.sums.entries(epoch))))
        self.sums.clear()

    def _measure_sharpness(self) -> None:
        """Measure the largest eigenvalue and a slice on the sample, with given and with true labels."""
        method = self.start.method
        network = method.networks[0]
        batches = list(self.start.batches(self.sample))
        inputs = torch.cat([batch.inputs for batch in batches])
        at = torch.cat([batch.positions for batch in batches])
        labels = {"given": self.start.given[at]}
        if self.start.true is not None:
            known = self.start.true[at] >= 0
            labels["true"] = torch.where(known, self.start.true[at], self.start.given[at])
        parameters = [each for each in network.parameters() if each.requires_grad]

        def value(target: Tensor) -> Tensor:
            return method.evaluation_loss(method.predict(list(method.networks), inputs).float(), target)

        for part, target in labels.items():
            try:
                with torch.enable_grad():
                    found = largest_eigenvalue(lambda: value(target), parameters, self._generator("vector"))  # noqa: B023
            except RuntimeError as error:
                self.sharpness_epochs = 0
                self.start.note(f"sharpness is not recorded: {str(error).splitlines()[0][:200]}")
                return
            self.sums.add("sharpness", part, "", found)

        @torch.no_grad()
        def both() -> list[float]:
            return [float(value(target)) for target in labels.values()]

        for place, values in loss_slice(both, parameters, self._generator("direction")):
            for part, each in zip(labels, values, strict=True):
                self.sums.add("slice", part, f"{place:g}", each)

    def _generator(self, what: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.start.seed, "dynamics", what))

    def entries(self) -> list[Entry]:
        """Return what was recorded in all finished epochs."""
        return [Entry(*entry) for epoch in self._epochs for entry in json.loads(epoch)]

    def write(self, folder: str | Path) -> None:
        """Write dynamics.parquet and dynamics-examples.parquet to a folder, see `recording`."""
        write_recording(Path(folder), self.entries(), self.predictions.examples())

    def state_dict(self) -> dict[str, Any]:
        """Return everything recorded so far, for a checkpoint."""
        self.predictions.flush(self.epoch)
        return {
            "epoch": self.epoch,
            "epochs": self._epochs,
            **self.sums.state_dict(),
            "turn": self.gradients.turn,
            "predictions": self.predictions.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        checked(state, _Kept, "the dynamics of the checkpoint")
        self.epoch, self._epochs = state["epoch"], list(state["epochs"])
        self.sums.load_state_dict(state)
        self.gradients.turn = state["turn"]
        self.predictions.load_state_dict(state["predictions"])
