"""`NoisyLabelClassifier`: classifiers of tables, embeddings and small images whose labels are partly wrong."""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from noisylabels.core.checks import InputError, check_between, check_whole
from noisylabels.core.rng import derive_seed, uniforms
from noisylabels.data.features import FeatureSet, feature_set
from noisylabels.data.images import ImageSet, image_set
from noisylabels.estimator.blending import best_temperature, mixture_weights, tempered
from noisylabels.estimator.examples import Examples, different, held_out, weighted_scale
from noisylabels.estimator.members import Member, train_member
from noisylabels.estimator.network import Recipe, recipes, table_network
from noisylabels.losses.expression import loss as parse_loss
from noisylabels.losses.modules import Loss
from noisylabels.models.catalog import build_model

FEWEST = 10
"""Different examples below which none is held out."""


class NoisyLabelClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """TODO."""

    def __init__(
        self,
        loss: str | Loss = "auto",
        *,
        model: str = "auto",
        n_estimators: int = 5,
        epochs: int | str = "auto",
        batch_size: int | str = "auto",
        lr: float | str = "auto",
        weight_decay: float | str = "auto",
        dropout: float = 0.25,
        validation_fraction: float = 0.2,
        n_iter_no_change: int | None = None,
        calibrate: bool = False,
        random_state: int | np.random.RandomState | None = None,
        device: str = "cpu",
    ) -> None:
        self.loss = loss
        self.model = model
        self.n_estimators = n_estimators
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.calibrate = calibrate
        self.random_state = random_state
        self.device = device

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on rows and the labels given to them, right or wrong.

        Args:
            X: (N, D) numbers: an array, a pandas or polars table, embeddings; or uint8 images (N, C, H, W).
            y: (N,) labels: strings, numbers, anything that can be sorted.
            sample_weight: (N,), 0 or more: what each example counts; 2 is the same as giving it twice, 0 as
                leaving it out.

        Returns:
            Itself.

        Raises:
            InputError: a parameter out of range, an unknown loss or model, weights that are all zero.
            ValueError: what scikit-learn refuses: NaN, lengths that differ, labels that are measurements.
        """
        self._check()
        rows, labels = self._training_rows(X, y)
        weights = _weights(sample_weight, len(rows))
        used = weights > 0
        self.classes_, numbers = np.unique(labels[used], return_inverse=True)
        examples = different(rows[used], numbers.astype(np.int64), weights[used])
        seed = int(check_random_state(self.random_state).randint(2**31))
        if not self.image_shape_:
            self._mean, self._scale = weighted_scale(examples.rows, examples.weights)
            standard = self._standard(examples.rows).astype(np.float32)
            examples = Examples(standard, examples.labels, examples.weights)
        self.history_: list[dict[str, Any]] = []
        self.members_: dict[str, list[Member]] = {}
        self.temperature_ = 1.0
        self.blend_ = np.ones(0)
        self.loss_ = ""
        if len(self.classes_) > 1:
            self._train(examples, seed)
        return self

    def _check(self) -> None:
        check_whole(_plain(self.n_estimators), "n_estimators", 1)
        for name, low in (("epochs", 1), ("batch_size", 2)):
            if getattr(self, name) != "auto":
                check_whole(_plain(getattr(self, name)), name, low)
        if self.n_iter_no_change is not None:
            check_whole(_plain(self.n_iter_no_change), "n_iter_no_change", 1)
            if not self.validation_fraction:
                raise InputError("n_iter_no_change needs examples held out; set validation_fraction above 0")
        for name in ("lr", "weight_decay"):
            if getattr(self, name) != "auto":
                check_between(getattr(self, name), name, low=0.0, open_low=name == "lr")
        check_between(self.dropout, "dropout", low=0.0, high=1.0, open_high=True)
        check_between(self.validation_fraction, "validation_fraction", low=0.0, high=0.5)
        if not isinstance(self.loss, str | Loss):
            raise InputError(f"loss is {self.loss!r}, expected an expression such as 'nce+mae', or a Loss")

    def _training_rows(self, X: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return checked rows, or images, and labels; note what the rows are."""
        if getattr(X, "ndim", 2) == 4:
            images, labels = _images(X), np.asarray(y)
            if labels.shape != (len(images),):
                raise InputError(f"labels have the shape {labels.shape}, expected ({len(images)},)")
            self.image_shape_ = images.shape[1:]
            self.n_features_in_ = math.prod(self.image_shape_)
            return images, labels
        rows, labels = validate_data(self, X, y, dtype=np.float64)
        # scikit-learn takes objects for labels only if they are strings; sorting is all that is needed here
        if labels.dtype.kind != "O":
            check_classification_targets(labels)
        self.image_shape_ = ()
        return rows, labels

    def _standard(self, rows: np.ndarray) -> np.ndarray:
        """Return rows with columns of mean 0 and deviation 1; what is absurdly far away is brought nearer."""
        with np.errstate(over="ignore"):
            standard: np.ndarray = np.clip((rows - self._mean) / self._scale, -1e6, 1e6)
        return standard

    def _train(self, examples: Examples, seed: int) -> None:
        """Train all members of all candidates, and find how to blend them."""
        count = len(examples)
        share = self.validation_fraction if count >= FEWEST else 0.0
        order = np.argsort(uniforms(count, seed, "held out"), kind="stable")
        parts = held_out(count, self.n_estimators, share, order)
        names = [str(i) for i in range(len(self.classes_))]

        def make(some: Examples) -> FeatureSet | ImageSet:
            if self.image_shape_:
                return image_set(torch.from_numpy(some.rows), torch.from_numpy(some.labels), names)
            return feature_set(some.rows, some.labels, names)

        found = []
        for recipe in recipes(self.model, self.image_shape_):
            members = []
            held_probs = np.zeros((count, len(names)))
            times = np.zeros(count)
            loss = self._loss(recipe, len(names))
            self.loss_ = loss.expression
            for number, held in enumerate(parts):
                rest = np.ones(count, dtype=bool)
                rest[held] = False
                apart = _some(examples, held) if len(held) else None
                own = derive_seed(seed, recipe.name, number) % 2**31
                network = self._network(recipe, examples, own)
                member, history = train_member(
                    network, make, _some(examples, rest), apart, loss, self.n_iter_no_change,
                    self._settings(recipe, int(rest.sum()), own),
                )  # fmt: skip
                members.append(member)
                self.history_ += [{"model": recipe.name, "member": number} | row for row in history]
                if apart is not None:
                    held_probs[held] += member.probs(apart.rows)
                    times[held] += 1
            self.members_[recipe.name] = members
            found.append((held_probs, times))
        self.blend_ = np.full(len(found), 1 / len(found))
        seen = found[0][1] > 0  # in some member's held-out part
        if seen.any():
            shown = np.array([probs[seen] / times[seen, None] for probs, times in found])
            labels, weights = examples.labels[seen], examples.weights[seen]
            given = shown[:, np.arange(len(labels)), labels]
            self.blend_ = mixture_weights(given, weights)
            if self.calibrate:
                blended = np.tensordot(self.blend_, shown, 1)
                self.temperature_ = best_temperature(blended, labels, weights)

    def _loss(self, recipe: Recipe, num_classes: int) -> Loss:
        if isinstance(self.loss, Loss):
            return self.loss
        return parse_loss(recipe.loss if self.loss == "auto" else self.loss)

    def _network(self, recipe: Recipe, examples: Examples, seed: int) -> nn.Module:
        K = len(self.classes_)
        if recipe.widths is not None:
            return table_network(examples.rows.shape[1], K, recipe.widths, self.dropout, seed)
        channels, *size = self.image_shape_
        return build_model(
            recipe.name, channels=channels, image_size=(size[0], size[1]), num_classes=K, seed=seed
        )

    def _settings(self, recipe: Recipe, count: int, seed: int) -> dict[str, Any]:
        """Return the loop's settings for a network that trains on `count` examples."""
        size = self.batch_size
        if size == "auto":
            size = recipe.batch_size(count)
        epochs = self.epochs
        if epochs == "auto":
            epochs = recipe.epochs(count, int(size))
        return {
            "epochs": int(epochs),
            "batch_size": int(size),
            "optimizer": "adamw",
            "schedule": "onecycle",
            "lr": float(recipe.lr if self.lr == "auto" else self.lr),
            "weight_decay": float(recipe.weight_decay if self.weight_decay == "auto" else self.weight_decay),
            "seed": seed,
            "device": self.device,
        }

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities, (N, K) float64, columns in the order of `classes_`."""
        check_is_fitted(self)
        rows = self._rows(X)
        if len(self.classes_) == 1:
            return np.ones((len(rows), 1))
        probs = np.zeros((len(rows), len(self.classes_)))
        for share, members in zip(self.blend_, self.members_.values(), strict=True):
            for member in members:
                probs += share / len(members) * member.probs(rows)
        return tempered(probs, self.temperature_) if self.temperature_ != 1 else probs

    def predict(self, X: Any) -> np.ndarray:
        """Return the likeliest label of each row, (N,)."""
        probs = self.predict_proba(X)
        labels: np.ndarray = self.classes_[probs.argmax(1)]
        return labels

    def _rows(self, X: Any) -> np.ndarray:
        """Return what the networks see of rows or images to predict."""
        if self.image_shape_:
            images = _images(X)
            if images.shape[1:] != self.image_shape_:
                raise InputError(
                    f"images are {images.shape[1:]}, expected {self.image_shape_}, the shape trained on"
                )
            return images
        return self._standard(validate_data(self, X, reset=False, dtype=np.float64))


def _some(examples: Examples, which: np.ndarray) -> Examples:
    return Examples(examples.rows[which], examples.labels[which], examples.weights[which])


def _plain(value: Any) -> Any:
    """Return NumPy's integers, which a parameter search hands over, as Python's."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def _images(X: Any) -> np.ndarray:
    images = np.ascontiguousarray(X)
    if images.ndim != 4 or images.dtype != np.uint8:
        raise InputError(
            f"images are {images.dtype} of shape {images.shape}, expected uint8 (N, C, H, W); "
            "scale them to 0..255, or flatten them to rows"
        )
    return images


def _weights(given: Any, count: int) -> np.ndarray:
    """Return the weights of `count` examples, float64."""
    if given is None:
        return np.ones(count)
    weights = np.asarray(given, dtype=np.float64)
    if weights.ndim == 0:
        weights = np.full(count, float(weights))
    if weights.shape != (count,):
        raise InputError(f"sample_weight has the shape {weights.shape}, expected ({count},): one an example")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise InputError(f"a sample_weight is {weights.min():g} or not finite, expected 0 or more")
    if not weights.any():
        raise InputError("every sample_weight is zero: there is nothing to learn from")
    return weights
