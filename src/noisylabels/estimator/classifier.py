"""`NoisyLabelClassifier`: a classifier for tables, embeddings and small images with noisy labels."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import nn

from noisylabels.core.rng import derive_seed, uniforms
from noisylabels.core.row_index import check_index
from noisylabels.data.features import FeatureSet, feature_set
from noisylabels.data.images import ImageSet, image_set
from noisylabels.estimator.candidates import (
    FOREST,
    Judge,
    Trained,
    train_base,
    train_forests,
    train_linear,
    train_networks,
)
from noisylabels.estimator.ensemble import Member, train_member
from noisylabels.estimator.inputs import (
    Examples,
    checked_weights,
    different,
    held_out,
    in_values,
    some_of,
    sorted_classes,
    spelling_notes_of,
    weighted_scale,
)
from noisylabels.estimator.network import recipes, table_network
from noisylabels.estimator.parameters import check_parameters
from noisylabels.estimator.reading import ReadsRows
from noisylabels.experiment.bagging import LabeledRows
from noisylabels.experiment.method_inputs import MethodData, find_inputs, for_other_parts
from noisylabels.experiment.model_selection import calibrate, pool_shares, tempered
from noisylabels.experiment.table_candidates import Recipe
from noisylabels.losses.expression import loss as parse_loss
from noisylabels.losses.modules import Loss
from noisylabels.methods.expression import STANDARD, MethodSpec, as_spec
from noisylabels.models.catalog import build_model
from noisylabels.training.settings import Settings

_ALONE = threading.RLock()  # weights and dropout use torch's global generator, which threads share

FEWEST = 10
"""With fewer distinct examples, none are held out."""


SMALL = 0.03
"""Candidates with a smaller share of the mixture are left out of it."""


class Candidate(NamedTuple):
    """A model and a loss that were tried, with their result on held-out examples."""

    model: str
    loss: str
    cost: float  # mean negative log-likelihood of the given labels, at the best temperature
    temperature: float
    share: float = 1.0  # of the mixture of all candidates


class NoisyLabelClassifier(ReadsRows, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""A scikit-learn classifier for noisy labels.

    For a table it trains several candidates: multinomial logistic regression along a path of penalties, small
    networks with dropout and cross entropy or generalized cross entropy (q = 0.7), a random forest and
    extremely randomized trees. Its prediction is their mixture, in which each has the share under which the
    given labels of held-out examples are most likely,

    .. math:: \max_s \sum_i w_i \log \sum_c s_c \, p_{c,T_c}(y_i | x_i),

    at the temperature T_c that is best for the candidate alone. This needs no clean labels: uniform noise
    takes the same from all candidates. Without T, which corrects overconfidence, the shares are much worse,
    and so is selection by accuracy. Each candidate but the forests is the mean over networks that were each
    trained on their own part of the examples: label errors that a network memorizes differ between them and
    average out.

    Wide tables (more than 256 columns), such as the features of an encoder, have two candidates, the linear
    models, whose penalty is what matters there, and networks on the first 128 principal components.

    The same rows and labels give the same model in any order. Equal examples are trained on once, with the
    sum of their weights, so that a weight of 2 equals an example given twice.

    There is no `partial_fit`: the held-out examples, the scale of the columns, the learning rate schedule and
    the selected candidate all depend on the whole data set.

    Args:
        loss: "auto", an expression such as "nce+mae" (`noisylabels list losses`), or a `Loss`, with which the
            candidates are a linear model and a network.
        model: "auto" (see above), "linear", "mlp" (64, 64), or such as "mlp:128,32", "forest"; for images (N,
            C, H, W) a name of `noisylabels list models`, where "auto" is small-cnn below 16x16 and cnn8
            otherwise.
        base: a classifier with fit and predict_proba, such as HistGradientBoostingClassifier(), in place of
            the candidates above. One clone is fitted to each member's part of all standardized rows, and one
            to those of its rows whose given label the other clones do not contradict.
        n_estimators: networks per candidate.
        epochs: passes over the examples; "auto": enough for about 300 steps (100 for "linear", 1500 for
            images), from 8 to 150.
        batch_size: examples per step; "auto": an eighth of them, from 32 to 256.
        lr: peak learning rate of AdamW with a one-cycle schedule; "auto": depends on the candidate.
        weight_decay: decoupled weight decay; "auto": depends on the candidate. Linear models are fitted by
            L-BFGS, with the penalty that held-out labels select, unless one of these four settings is given.
        dropout: dropout rate of the hidden units.
        validation_fraction: share of the examples that each network holds out, with their given labels; 0.2
            with 5 networks makes the folds of a cross-validation. Held-out examples decide the shares of the
            candidates, the penalty, the epoch under early stopping, and the temperature.
        n_iter_no_change: epochs without an improvement after which a network stops and returns to its best
            epoch; None: all epochs. The default relies on the loss and few steps: in our trials the best
            epoch on few noisy labels was no better than the last.
        calibrate: apply the best T above to the probabilities. They then estimate the given labels in data
            like these, noise included; the order of classes stays the same. A mixture is of calibrated
            candidates in any case.
        random_state: seed of held-out parts, weights, order and dropout.
        device: "cpu", "cuda" or "auto"; for tables a GPU is not worth it.
        features: the frozen encoder of texts and images, see `noisylabels list encoders`. "auto" is "minilm"
            for texts if it is installed, else "tfidf", and "efficientnet-lite0" for photographs if it is
            installed and `model` names no network for images. "none" leaves columns of text out, and trains
            on the images themselves.
        method: the training method of linear models and networks, such as "elr(lambda_=3)", see
            `noisylabels list methods`, or what `nl.method` returns. Forests, which have none, are left out
            unless it is "standard". What a method needs, such as a transition matrix, is estimated from the
            given labels.

    Attributes:
        classes_: the classes, sorted, in the values of `y`.
        n_features_in_, feature_names_in_: number of columns, and their names if the table had any.
        model_, loss_: model and loss of the candidate with the largest share.
        candidates_: all candidates with their cost, temperature and share.
        temperature_: temperature of the mixture.
        history_: one row per epoch and network, with its model, loss and member, see `History`, and one per
            penalty of a linear model.

    Source: noisy held-out labels as a criterion: Chen et al. 2021, "Robustness of accuracy metric and its
    inspirations in learning with noisy labels" (of accuracy). Generalized cross entropy: Zhang and Sabuncu
    2018. Temperature: Guo et al. 2017. Held-out parts and the mean over networks: bagging, Breiman 1996.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = NoisyLabelClassifier(n_estimators=2, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.9)
    True
    """

    def __init__(
        self,
        loss: str | Loss = "auto",
        *,
        model: str = "auto",
        base: Any = None,
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
        features: str = "auto",
        method: str | MethodSpec = "standard",
    ) -> None:
        self.loss = loss
        self.model = model
        self.base = base
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
        self.features = features
        self.method = method

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's description of what the estimator takes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Train on rows and their given labels, which may be wrong.

        Text labels that look like one class, such as "Cat" and "cat", cause a warning.

        Args:
            X: (N, D) numbers: an array, embeddings, a sparse matrix, which is made dense; a pandas or polars
                data frame, in which words, categories, truth values and missing cells are encoded as in a
                table for `nl.load`, see `Encoder`, and free text by the encoder `features`; N texts in a
                list, an array or a series; or uint8 images (N, C, H, W), which are encoded too.
            y: (N,) labels: strings, numbers, bool, also nullable or categorical; anything that can be sorted.
            sample_weight: (N,), weight of each example, 0 or more; 2 equals an example given twice, 0 one
                left out.

        Returns:
            The fitted estimator.

        Raises:
            InputError: a parameter out of range, an unknown loss or model, weights that are all zero, one-hot
                labels, labels or weights with the index of `X` in another order, a sparse matrix too large to
                be made dense, a frame without a column to learn from.
            ValueError: input that scikit-learn refuses: NaN in an array, another length, continuous labels.
        """
        check_parameters(self)
        check_index(X, y)
        check_index(X, sample_weight, "sample_weight")
        y = in_values(y)
        rows, labels = self._training_rows(X, y, sample_weight)
        weights = checked_weights(sample_weight, len(rows))
        used = weights > 0
        self.classes_, numbers = sorted_classes(labels[used])
        for note in spelling_notes_of(self.classes_, numbers):
            warnings.warn(f"y: {note}", UserWarning, stacklevel=2)
        examples = different(rows[used], numbers.astype(np.int64), weights[used])
        seed = int(check_random_state(self.random_state).randint(2**31))
        if not self.image_shape_:
            self._mean, self._scale = weighted_scale(examples.rows, examples.weights)
            standard = self._standard(examples.rows).astype(np.float32)
            examples = Examples(standard, examples.labels, examples.weights)
        self.history_: list[dict[str, Any]] = []
        self.candidates_: list[Candidate] = []
        self._members: list[tuple[float, float, Sequence[Judge]]] = []
        self.model_, self.loss_, self.temperature_ = "constant", "none", 1.0
        if len(self.classes_) > 1:
            with _ALONE:
                self._train(examples, seed)
        return self

    def _train(self, examples: Examples, seed: int) -> None:
        """Train all candidates, and give each its share by the held-out examples."""
        count = len(examples)
        share = self.validation_fraction if count >= FEWEST else 0.0
        order = np.argsort(uniforms(count, seed, "held out"), kind="stable")
        parts = held_out(count, self.n_estimators, share, order)
        trained = self._all_trained(examples, parts, seed)
        self.history_ = [row for one in trained for row in one.history]
        # without held-out examples the first candidate is selected
        seen = np.all([one.times > 0 for one in trained], axis=0)
        labels, weights = examples.labels[seen], examples.weights[seen]
        shares = np.eye(len(trained))[0]
        found = [(1.0, -np.inf)] * len(trained)
        pooled = np.zeros((0, len(self.classes_)))
        if seen.any():
            found = [calibrate(one.held[seen], labels, weights) for one in trained]
            if len(trained) > 1:
                held = [
                    tempered(one.held[seen], temperature)
                    for one, (temperature, _) in zip(trained, found, strict=True)
                ]
                shares = pool_shares(np.array(held), labels, weights)
                shares = np.where(shares < SMALL, 0.0, shares)
                shares /= shares.sum()
                pooled = np.tensordot(shares, held, 1)
        self.candidates_ = [
            Candidate(one.model, one.loss, cost, temperature, float(share))
            for one, (temperature, cost), share in zip(trained, found, shares, strict=True)
        ]
        best = self.candidates_[int(shares.argmax())]
        self.model_, self.loss_ = best.model, best.loss
        self.temperature_ = calibrate(pooled, labels, weights)[0] if len(pooled) else best.temperature
        # alone, a candidate keeps the confidence that its loss gave it; in a mixture that would decide
        alone = len(trained) == 1
        self._members = [
            (share, 1.0 if alone else temperature, one.judges)
            for one, (temperature, _), share in zip(trained, found, shares, strict=True)
            if share
        ]

    def _all_trained(self, examples: Examples, parts: list[np.ndarray], seed: int) -> list[Trained]:
        """Return the trained candidates, in a fixed order."""
        if self.base is not None or not self.image_shape_:
            data = LabeledRows(examples.rows, examples.labels, examples.weights, len(self.classes_), parts)
        if self.base is not None:
            names = [str(label) for label in self.classes_]
            integral = bool((examples.weights == examples.weights.round()).all())
            return train_base(self.base, data, derive_seed(seed, "base") % 2**31, names, integral)
        found: list[Trained] = []
        method = as_spec(self.method)
        plain = method.name == STANDARD or self.loss != "auto"
        chosen = self.loss if plain else method.auto_loss
        self._method_inputs: dict[str, Any] = {}
        for recipe in recipes(self.model, self.image_shape_, chosen, examples.rows.shape[1]):
            if recipe.name == FOREST and method.name != STANDARD:
                continue
            own = derive_seed(seed, recipe.name, recipe.loss) % 2**31
            if recipe.name == FOREST:
                found += train_forests(data, own)
                continue
            loss = self.loss if isinstance(self.loss, Loss) else parse_loss(recipe.loss)
            if self._needs_loop(loss):
                found.append(self._in_loop(recipe, loss, examples, parts, seed))
            elif recipe.widths == () and not self._given():
                found.append(train_linear(data, recipe, loss))
            else:
                settings = self._settings(recipe, len(examples) - len(parts[0]))
                found.append(train_networks(data, recipe, loss, self.dropout, settings, own))
        return found

    def _needs_loop(self, loss: Loss) -> bool:
        """Return whether networks must be trained one by one by the library's training loop."""
        stops = self.n_iter_no_change is not None
        own = as_spec(self.method).name != STANDARD
        return bool(self.image_shape_) or stops or bool(loss.needs) or self.device != "cpu" or own

    def _in_loop(
        self, recipe: Recipe, loss: Loss, examples: Examples, parts: list[np.ndarray], seed: int
    ) -> Trained:
        """Train a candidate's networks one after the other."""
        count, K = len(examples), len(self.classes_)
        names = [str(label) for label in range(K)]

        def make(some: Examples) -> FeatureSet | ImageSet:
            if self.image_shape_:
                return image_set(torch.from_numpy(some.rows), torch.from_numpy(some.labels), names)
            return feature_set(some.rows, some.labels, names)

        members: list[Member] = []
        rows: list[dict[str, Any]] = []
        probs, times = np.zeros((count, K)), np.zeros(count)
        for number, held in enumerate(parts):
            rest = np.delete(np.arange(count), held)
            apart = some_of(examples, held) if len(held) else None
            own = derive_seed(seed, recipe.name, recipe.loss, number) % 2**31
            settings = self._settings(recipe, len(rest)) | {"seed": own, "device": self.device}
            part = some_of(examples, rest)
            member, history = train_member(
                self._network(recipe, examples, own),
                make,
                part,
                apart,
                loss,
                self.n_iter_no_change,
                settings,
                self._with_inputs(recipe, examples, make(part), settings),
            )
            members.append(member)
            about = {"model": recipe.name, "loss": recipe.loss, "member": number}
            rows += [about | row for row in history]
            if apart is not None:
                probs[held] += member.probs(apart.rows)
                times[held] += 1
        return Trained(recipe.name, recipe.loss, members, probs / np.maximum(times, 1)[:, None], times, rows)

    def _with_inputs(
        self, recipe: Recipe, examples: Examples, data: FeatureSet | ImageSet, settings: dict[str, Any]
    ) -> MethodSpec:
        """Return the method of a network with its inputs, of which estimates are made once for all."""
        full = vars(Settings()) | settings
        subject = MethodData(
            data,
            data.labels.numpy(),
            None,
            None,
            lambda seed: self._network(recipe, examples, seed),
            full,
        )
        wanted = as_spec(self.method)
        method, kept = find_inputs(wanted, subject, self._method_inputs)
        self._method_inputs |= for_other_parts(wanted, kept)
        return method

    def _network(self, recipe: Recipe, examples: Examples, seed: int) -> nn.Module:
        K = len(self.classes_)
        if recipe.widths is not None:
            return table_network(examples.rows.shape[1], K, recipe.widths, self.dropout, seed)
        channels, *size = self.image_shape_
        return build_model(
            recipe.name, channels=channels, image_size=(size[0], size[1]), num_classes=K, seed=seed
        )

    def _given(self) -> dict[str, Any]:
        """Return the settings of training that are not left to the recipe."""
        kinds = {"epochs": int, "batch_size": int, "lr": float, "weight_decay": float}
        given = {name: getattr(self, name) for name in kinds}
        return {name: kinds[name](value) for name, value in given.items() if value != "auto"}

    def _settings(self, recipe: Recipe, count: int) -> dict[str, Any]:
        """Return the training settings of a network that trains on `count` examples."""
        return recipe.settings(count, self._given())

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities, (N, K) float64, columns in the order of `classes_`.

        Columns of a data frame that was encoded in training are matched by name, in any order.

        Args:
            X: (N, D) rows, or images, texts and frames of the kind that `fit` was given.
        """
        check_is_fitted(self)
        rows = self._rows(X)
        if len(self.classes_) == 1:
            return np.ones((len(rows), 1))
        probs = np.zeros((len(rows), len(self.classes_)))
        for share, temperature, judges in self._members:
            mean = np.mean([judge.probs(rows) for judge in judges], axis=0)
            probs += share * (mean if temperature == 1 else tempered(mean, temperature))
        return tempered(probs, self.temperature_) if self.calibrate else probs

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable label of each row, (N,).

        Args:
            X: (N, D) rows, or images, texts and frames of the kind that `fit` was given.
        """
        probs = self.predict_proba(X)
        labels: np.ndarray = self.classes_[probs.argmax(1)]
        return labels
