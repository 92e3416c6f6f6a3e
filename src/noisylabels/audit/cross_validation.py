"""Cross-validation with one model per fold: out-of-fold probabilities and training dynamics per example."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels.audit.assessment import Assessment, assess
from noisylabels.audit.fold_files import fold_file, keep_fold, kept_fold
from noisylabels.audit.logistic import fits, logistic_probs
from noisylabels.audit.training_dynamics import TrainingDynamics, features_of
from noisylabels.audit.votes import neighbor_votes, ridge_probs
from noisylabels.core.checks import InputError, check_between
from noisylabels.core.config import build, to_dict
from noisylabels.core.files import (
    check_within,
    locked_folder,
    remove_tree,
    write_json,
)
from noisylabels.core.large_arrays import large_array
from noisylabels.core.rng import derive_seed
from noisylabels.core.schema import read_checked
from noisylabels.experiment.equal_examples import first_equals
from noisylabels.experiment.folds import assign_folds
from noisylabels.experiment.model_input import check_takes_rows
from noisylabels.experiment.reporter import Announce, Reporter, Silent
from noisylabels.noise.checks import check_labels
from noisylabels.noise.noise_rate import JUDGES, NETWORK
from noisylabels.training.settings import HOW, Settings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from noisylabels.data.features import FeatureSet
    from noisylabels.data.images import ImageSet
    from noisylabels.data.loader import Batches

LOGISTIC = 2
"""Weight of the logistic regression among the judges of a frozen encoder's features; others have 1."""

FOLDS = 4
LOSS = "gce"
"""A robust loss that learns in few steps; sums of normalized and passive losses need more."""

RECIPE: dict[str, Any] = {"epochs": 20, "lr": 0.1, "batch_size": 64, "weight_decay": 1e-3}
"""Settings that differ from those of a run: an audit should take minutes, and its models are not kept."""

SMALLEST_BATCH, BATCHES = 16, 20
"""A set that makes fewer than `BATCHES` batches gets smaller ones, of at least `SMALLEST_BATCH` examples."""

CHECKPOINT_MINUTES, CHECKPOINT_BYTES = 0.25, 6e6
"""Minutes between the checkpoints of a fold, and how many of its bytes a second of training may write: at 200
MB per second, checkpoints take 3 % of the time."""

_ROWS = 1 << 14  # of probabilities that are computed at once

AUTO_WIDTH = 0.5
"""Width of small-cnn for images of 16x16 and larger if neither model nor width is set: a step takes about a
third of the time of the full width."""


@dataclass(frozen=True, eq=False)
class OutOfFold:
    """Predictions and training dynamics of a cross-validation, per example.

    Args:
        labels: (N,) int64, the given labels.
        probs: (N, K) float32, out-of-fold probabilities: those of `network`, or on the features of a frozen
            encoder the mean of `ridge`, `votes` and, with weight `LOGISTIC`, `logistic`; of a very large set,
            that of `network`, `ridge` and `votes`.
        seen: (N, K) float32, probabilities of the models trained on the example, during training, with the
            same weights.
        margin: (N,) float32, p_y - max_{k != y} p_k during training, mean over all epochs, in [-1, 1].
        loss: (N,) float32, -log p_y during training, mean over all epochs.
        agreement: (N,) float32, share of the epochs in which the prediction was the given label.
        fold: (N,) int64, the fold in which the example was held out.
        features: (N, D) float32, input of the last linear layer of the last fold's model; None if the model
            has no such layer.
        settings: settings of the training.
        seconds: training time of all folds.
        network: (N, K) float32, probabilities of the model that was not trained on the example, weighted mean
            over the epochs (`training_dynamics.POWER`).
        ridge, votes: (N, K) float32, `votes.ridge_probs` and `votes.neighbor_votes`; None unless the features
            are those of a frozen encoder.
        logistic: (N, K) float32, `logistic.logistic_probs`; None as above, or if the set is too large for it.
        rule: how the labels are scored, see `posterior.judged`.
    """

    labels: np.ndarray
    probs: np.ndarray
    seen: np.ndarray
    margin: np.ndarray
    loss: np.ndarray
    agreement: np.ndarray
    fold: np.ndarray
    features: np.ndarray | None
    settings: dict[str, Any]
    seconds: float
    network: np.ndarray
    ridge: np.ndarray | None = None
    votes: np.ndarray | None = None
    logistic: np.ndarray | None = None
    rule: str = NETWORK

    def __len__(self) -> int:
        return len(self.labels)

    @functools.cached_property
    def assessment(self) -> Assessment:
        """The noise rate and the calibrated posterior of these predictions."""
        network = self.network if self.rule == JUDGES else None
        return assess(self.labels, self.probs, self.seen, self.rule, network=network)

    @property
    def judged(self) -> np.ndarray:
        """Return the posterior of the true class, (N, K) float64."""
        return self.assessment.posterior.whole()

    @property
    def score(self) -> np.ndarray:
        """Return the label quality scores, (N,) float64: 0 likely mislabeled, 1 likely correct."""
        return self.assessment.posterior.right

    @property
    def rate(self) -> float:
        """Return the estimated noise rate, see `noise_rate`."""
        return self.assessment.rate.estimate


def cross_validate(
    data: ImageSet | FeatureSet,
    *,
    labels: object = None,
    folds: int = FOLDS,
    loss: str | Callable[[Tensor, Tensor], Tensor] = LOSS,
    model: str = "auto",
    width: float | None = None,
    folder: str | Path | None = None,
    reporter: Reporter | None = None,
    stop: Callable[[], bool] = lambda: False,
    **settings: Any,
) -> OutOfFold:
    """Train one model per fold on the other folds, and predict the held-out fold with it.

    Args:
        data: images or features with their given labels; all folds share the pixels.
        labels: (N,) integers that replace the given labels.
        folds: number of folds, stratified by class, drawn from the stream "folds" of the seed. Equal examples
            are in one fold, see `first_equals`.
        loss: a robust loss: an expression, or any function of logits and target.
        model: name in the catalog; "auto" is small-cnn for images and mlp for features.
        width: factor of the model's layer widths; by default 1, and `AUTO_WIDTH` for the small-cnn of "auto"
            on images of 16x16 and larger.
        folder: where finished folds and the checkpoints of the current one are stored, so that the same call
            resumes where it stopped and returns the same values. On SIGINT, SIGTERM or `stop` a checkpoint
            is written at once, else at most every `CHECKPOINT_MINUTES`.
        reporter: receives notes and progress; epochs count over all folds, and each fold begins at a
            multiple of `epochs`.
        stop: called after every step; `Interrupted` is raised once it returns true.
        settings: any field of `Settings`; these override `RECIPE`. A fold stops before `epochs` when its
            held-out accuracy no longer improves (`training_dynamics.PATIENCE`).

    On the features of a frozen encoder a ridge classifier, the votes of the nearest neighbors and a logistic
    regression judge the labels too, see `votes` and `logistic`.

    Returns:
        Probabilities and training dynamics.

    Raises:
        InputError: an unknown name or setting, fewer examples than folds, or a folder of another audit.
        Busy: another process uses the folder.
        Interrupted: SIGINT or SIGTERM arrived, or `stop` returned true; with a folder, all is kept.
        TrainingDiverged: a loss or a logit was not finite.

    >>> import noisylabels as nl
    >>> train, _ = nl.load("digits")
    >>> found = cross_validate(train, folds=2, epochs=1, model="mlp", device="cpu")
    >>> found.probs.shape, bool((abs(found.probs.sum(1) - 1) < 1e-5).all())
    ((1438, 10), True)
    """
    job = _Job(data, labels, folds, loss, model, width, reporter or Silent(), settings)
    if folder is None:
        return job.run(None, stop)
    folder = Path(folder)
    with locked_folder(folder, "the folder"):
        return job.run(folder, stop)


def batch_size(n: int) -> int:
    """Return the default batch size for n examples.

    >>> batch_size(50), batch_size(800), batch_size(5000)
    (16, 40, 64)
    """
    return int(min(RECIPE["batch_size"], max(SMALLEST_BATCH, n // BATCHES)))


def checkpoint_minutes(size: float) -> float:
    """Return the minutes between two checkpoints of `size` bytes.

    >>> checkpoint_minutes(20e6), checkpoint_minutes(7.2e9)
    (0.25, 20.0)
    """
    return max(CHECKPOINT_MINUTES, size / CHECKPOINT_BYTES / 60)


class _Combined:
    """The results of the folds, added one at a time: each holds as much as the sum of all."""

    def __init__(self, folds: int, n: int, K: int) -> None:
        self._folds = folds
        self.probs, self.seen = (large_array((n, K), np.float32) for _ in range(2))
        self.probs[:], self.seen[:] = 0, 0
        self.dynamics, self.seconds = np.zeros((3, n), np.float32), 0.0
        self.features: np.ndarray | None = None

    def add(self, part: dict[str, np.ndarray]) -> None:
        """Add the result of a fold; the features of the last one stay."""
        self.probs[part["held"]] = part["probs"]
        trained, share = part["trained"], self._folds - 1
        for start in range(0, len(trained), _ROWS):
            rows = slice(start, start + _ROWS)
            self.seen[trained[rows]] += part["seen"][rows] / share
        self.dynamics[:, trained] += part["dynamics"] / share
        self.seconds += float(part["seconds"].sum())
        self.features = part.get("features")


class _Job:
    """A cross-validation whose arguments have been checked."""

    def __init__(
        self,
        data: ImageSet | FeatureSet,
        labels: object,
        folds: int,
        loss: str | Callable[[Tensor, Tensor], Tensor],
        model: str,
        width: float | None,
        reporter: Reporter,
        settings: dict[str, Any],
    ) -> None:
        import torch

        from noisylabels.core.device import pick_device
        from noisylabels.data.catalog import default_augment
        from noisylabels.data.images import ImageSet
        from noisylabels.losses.expression import loss as read_loss
        from noisylabels.models.catalog import canonical_model, check_model
        from noisylabels.training.identity import loss_identity

        self.reporter = reporter
        shape = tuple(data.inputs.shape[1:])
        image = isinstance(data, ImageSet)  # (C, H, W), not (D,)
        self.embedded = not isinstance(data, ImageSet) and data.embedding is not None
        if averaged := [name for name in ("ema", "validation") if settings.get(name)]:
            raise InputError(
                f"{averaged[0]} is {settings[averaged[0]]!r}, expected none; an audit averages the "
                "predictions of each fold over its epochs, so leave it out"
            )
        if settings.get("augment", "auto") == "auto":
            found = default_augment(data.name, data) if isinstance(data, ImageSet) else "none"
            settings = settings | {"augment": found}
        names = ("checkpoint_epochs", "checkpoint_minutes")
        self.checkpoints = {name: settings[name] for name in names if name in settings}
        self.use = build(Settings, RECIPE | {"batch_size": batch_size(len(data))}, settings)
        check_model(model)
        self.device = pick_device(self.use.device)
        self.criterion = read_loss(loss) if isinstance(loss, str) else loss
        given = data.labels.numpy() if labels is None else check_labels(labels, data.num_classes)
        if len(given) != len(data):
            raise InputError(f"got {len(given)} labels for {len(data)} examples; pass one label per example")
        self.copies = first_equals(data, folds)
        self.fold = assign_folds(given, folds, self.use.seed, self.copies)
        self.folds = folds
        digest = hashlib.sha256(data.digest.encode() + given.astype("<i8").tobytes()).hexdigest()
        self.mean_std = data.mean_std()
        self.data = dataclasses.replace(data, labels=torch.from_numpy(given), digest=digest)
        if self.device.type == "cuda":  # one copy on the device for all folds
            on_device: dict[str, Any] = {"images" if image else "features": self.batches(None).inputs}
            self.data = dataclasses.replace(self.data, **on_device)
        if model == "auto":
            width = AUTO_WIDTH if width is None and image and min(shape[1:]) >= 16 else width
            model = "small-cnn" if image else "mlp"
        if not image:
            check_takes_rows(model, data.name, shape[0])
        self.shape: dict[str, Any] = {
            "name": canonical_model(model),
            "channels": shape[0] if image else 1,
            "image_size": shape[1:] if image else (1, shape[0]),
            "num_classes": data.num_classes,
            "width": 1.0 if width is None else check_between(width, "width", low=0.0, open_low=True),
        }
        how = to_dict(self.use, HOW)
        named = getattr(self.criterion, "expression", None) or loss_identity(self.criterion)
        self.settings = how | {"folds": folds, "loss": named, "model": model}
        self.settings |= {"width": self.shape["width"]}
        counts = np.bincount(given, minlength=data.num_classes)
        if few := [data.class_names[k] for k in np.flatnonzero(counts == 1)]:
            reporter.note(
                f"{', '.join(map(repr, few))}: one example each, too few to estimate its label quality"
            )

    def batches(self, positions: Tensor | None, model: nn.Module | None = None) -> Batches:
        """Return batches of a part of the data for evaluation, neither shuffled nor augmented.

        They are normalized as a model with pretrained weights expects, or else by the statistics of the data.
        """
        from noisylabels.data.loader import Batches, evaluation_batch_size
        from noisylabels.models.normalization import normalization_of

        own = None
        if model is not None and self.data.inputs.ndim == 4:
            own = normalization_of(model, self.data.inputs.shape[1])
        mean, std = own or self.mean_std
        return Batches(
            self.data.inputs,
            self.data.labels,
            batch_size=evaluation_batch_size(self.data.inputs),
            device=self.device,
            mean=mean,
            std=std,
            augment=None,
            shuffle=False,
            seed=self.use.seed,
            positions=positions,
            channels_last=self.use.channels_last,
        )

    def run(self, folder: Path | None, stop: Callable[[], bool]) -> OutOfFold:
        """Train the folds that are not finished, and return all of them combined."""
        from noisylabels.core.interrupt import Interrupted, stop_on_signals

        if folder is not None:
            self._claim(folder)
        name, classes = self.shape["name"], self.data.num_classes
        self.announce = Announce(
            self.reporter,
            f"training {name} on {len(self.data):,} examples in {classes} classes: "
            f"{self.folds} folds of at most {self.use.epochs} epochs on {self.device}",
        )
        combined = _Combined(self.folds, len(self.data), self.data.num_classes)
        with stop_on_signals() as signals:
            for fold in range(self.folds):
                part = None if folder is None else self._kept(folder, fold)
                checkpoints = None if folder is None else folder / f"fold-{fold}"
                if part is None:
                    try:
                        if folder is not None and checkpoints is not None:
                            check_within(checkpoints, folder)
                        part = self._train(fold, lambda: signals() or stop(), checkpoints)
                        if folder is not None:
                            keep_fold(fold_file(folder, fold), part)
                        if signals():  # after the last step
                            raise Interrupted(self.use.epochs, 0, f"after fold {fold + 1} of {self.folds}")
                    except Interrupted as stopped:
                        stopped.signal = signals.signal or stopped.signal
                        raise
                if checkpoints is not None:
                    remove_tree(checkpoints)
                combined.add(part)
                part = None  # before the next one is made
        found = self._found(combined)
        return self._with_votes(found) if self.embedded else found

    def _train(self, fold: int, stop: Callable[[], bool], checkpoints: Path | None) -> dict[str, np.ndarray]:
        """Train on all folds but one; return the predictions for that one, and the dynamics of the others.

        A folder of `checkpoints` holds those of this fold alone; training resumes from what it contains.
        """
        import torch

        from noisylabels.core.interrupt import Interrupted
        from noisylabels.methods.fit import fit
        from noisylabels.models.catalog import build_model
        from noisylabels.training.callbacks import PauseWhen
        from noisylabels.training.ranks import alone

        held = np.flatnonzero(self.fold == fold)
        trained = np.flatnonzero(self.fold != fold)
        # each fold draws weights, order and augmentation from its own streams
        seed = derive_seed(self.use.seed, "fold", fold)
        model = build_model(**self.shape, seed=seed)
        counts, before = (len(self.data), self.data.num_classes), fold * self.use.epochs
        place = f"fold {fold + 1} of {self.folds}"
        batches = self.batches(torch.from_numpy(held), model)
        dynamics = TrainingDynamics(model, batches, counts, self.use.precision, place, before, self.reporter)
        weights = sum(parameter.numel() for parameter in model.parameters())
        size = 8 * weights + 4 * counts[1] * (2 * counts[0] + len(held))  # with momentum
        how = {"checkpoint_epochs": self.use.epochs, "checkpoint_minutes": checkpoint_minutes(size)}
        how |= self.checkpoints
        try:
            with alone():
                fit(
                    model,
                    self.data,
                    None,
                    copy.deepcopy(self.criterion),  # a loss may have state, which folds must not share
                    positions=trained,
                    folder=checkpoints,
                    callbacks=[self.announce, dynamics, PauseWhen(stop)],
                    **(to_dict(self.use) | {"seed": seed} | how),
                )
        except Interrupted as stopped:
            where = (
                f"in {place}, epoch {stopped.epoch} of {self.use.epochs}, after {stopped.step} steps of it"
            )
            raise Interrupted(stopped.epoch, stopped.step, where) from None
        part = dynamics.result(torch.from_numpy(trained))
        if fold == self.folds - 1 and (features := features_of(model, self.batches(None, model))) is not None:
            part["features"] = features
        return part | {"held": held, "trained": trained, "seconds": np.array([dynamics.seconds])}

    def _found(self, combined: _Combined) -> OutOfFold:
        margin, loss, agreement = combined.dynamics
        return OutOfFold(
            labels=self.data.labels.numpy(),
            probs=combined.probs,
            seen=combined.seen,
            margin=margin,
            loss=loss,
            agreement=agreement,
            fold=self.fold,
            features=combined.features,
            settings=self.settings,
            seconds=combined.seconds,
            network=combined.probs,
        )

    def _with_votes(self, found: OutOfFold) -> OutOfFold:
        """Return the predictions with those of the judges that need no training loop."""
        began, K = time.perf_counter(), self.data.num_classes
        from noisylabels.data.pixel_source import in_memory

        features = in_memory(self.data.inputs, "the judges of features").cpu().numpy()
        ridge, votes = (
            judge(features, found.labels, K, copies=self.copies, dtype=np.float32)
            for judge in (ridge_probs, neighbor_votes)
        )
        logistic = None
        if fits(len(features), K):
            logistic = logistic_probs(features, found.labels, K, self.use.seed, self.copies).astype(
                np.float32
            )
        first, weight = (found.network, 1) if logistic is None else (logistic, LOGISTIC)
        probs = large_array(first.shape, np.float32)
        for start in range(0, len(probs), _ROWS):
            rows = slice(start, start + _ROWS)
            probs[rows] = (weight * first[rows] + ridge[rows] + votes[rows]) / (weight + 2)
        return dataclasses.replace(
            found,
            probs=probs,
            ridge=ridge,
            votes=votes,
            logistic=logistic,
            rule=JUDGES,
            seconds=found.seconds + time.perf_counter() - began,
        )

    def _claim(self, folder: Path) -> None:
        """Record which cross-validation the folder belongs to, or check that it is this one."""
        from noisylabels.training.identity import loss_identity

        identity = {"format": 1, "data": self.data.digest, **self.settings}
        identity["loss"] = loss_identity(self.criterion)
        if self.copies is not None:
            identity["copies"] = "in one fold"
        path = folder / "crossval.json"
        if not path.exists():
            write_json(path, identity)
            return
        there = read_checked(path, dict[str, Any])
        if self.copies is not None and "copies" not in there:
            # an audit of an earlier version, which goes on with its own folds
            self.fold = assign_folds(self.data.labels.numpy(), self.folds, self.use.seed)
            del identity["copies"]
            self.reporter.note(
                "an earlier version began this audit and separated equal examples: a model may have learned "
                "a label from a copy; remove the folder to start over"
            )
        for name, value in identity.items():
            if there.get(name) != value:
                raise InputError(
                    f"the folds in {folder} belong to an audit whose {name} is {there.get(name)!r}, this "
                    f"one's is {value!r}; use another folder, or remove it to start over"
                )

    def _kept(self, folder: Path, fold: int) -> dict[str, np.ndarray] | None:
        """Return the stored results of a fold; None if it has not been trained."""
        held, trained = np.flatnonzero(self.fold == fold), np.flatnonzero(self.fold != fold)
        part = kept_fold(fold_file(folder, fold), held, trained, self.data.num_classes)
        if part is not None:
            self.reporter.note(f"fold {fold + 1} of {self.folds} is already trained")
        return part
