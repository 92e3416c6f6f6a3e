"""A logistic regression whose penalty is chosen by the likelihood of held-out noisy labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from noisylabels.experiment.bagging import LabeledRows, bagged_probs
from noisylabels.experiment.folds import assign_folds
from noisylabels.experiment.linear_path import linear_path
from noisylabels.experiment.model_selection import calibrate, tempered
from noisylabels.losses.expression import loss

SMALLEST = 2
"""Fewest examples per fold."""


class PenalizedLogistic(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""A logistic regression for columns of any scale and number, on labels that may be wrong.

    The columns are standardized. For each fold, it minimizes

    .. math:: \sum_i w_i \log(1 / p(y_i | x_i)) / \sum_i w_i + \lambda/2 \, \|W\|^2

    on the other folds along a path of penalties λ, and keeps the λ under which the given labels of held-out
    rows are most likely (`linear_path`). It predicts the mean of the folds' models, at the temperature that
    fits the held-out labels best. A fixed penalty that is too small for the columns memorizes wrong labels.

    Args:
        folds: number of folds; fewer where there are fewer than 2 examples per fold.
        random_state: seed of the folds; None for 0.

    Attributes:
        classes_: the classes.
        penalty_: λ.
        temperature_: the temperature.

    >>> rows = np.random.default_rng(0).normal(size=(60, 3))
    >>> made = PenalizedLogistic().fit(rows, np.where(rows[:, 0] > 0, "up", "down"))
    >>> made.predict([[2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]]).tolist()
    ['up', 'down']
    """

    def __init__(self, folds: int = 5, random_state: int | None = None) -> None:
        self.folds = folds
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> PenalizedLogistic:
        """Fit to rows (N, D) and labels (N,); see the class."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        weights = np.asarray(_check_sample_weight(sample_weight, X, ensure_non_negative=True))
        X, y, weights = X[weights > 0], np.asarray(y)[weights > 0], weights[weights > 0]
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("y has one class, expected 2 or more")
        total = weights.sum()
        self._mean = weights @ X / total
        spread = np.sqrt(weights @ np.square(X - self._mean) / total)
        self._scale = np.where(spread > 0, spread, 1.0)
        folds = max(2, min(self.folds, len(X) // SMALLEST))
        fold = assign_folds(labels, folds, self.random_state or 0)
        self._fold = fold
        held = [np.flatnonzero(fold == k) for k in range(folds)]
        data = LabeledRows(self._standard(X), labels, weights, len(self.classes_), held)
        path = linear_path(data, loss("ce"))
        self._network, self.penalty_ = path.network, path.penalty
        self.temperature_ = calibrate(path.probs, labels, weights)[0]
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return class probabilities, (N, K), of rows (N, D)."""
        check_is_fitted(self)
        rows = self._standard(validate_data(self, X, dtype=np.float64, reset=False))
        return tempered(bagged_probs(self._network, rows).mean(0), self.temperature_)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row, (N,)."""
        probs = self.predict_proba(X)
        found: np.ndarray = self.classes_[probs.argmax(1)]
        return found

    def _standard(self, X: np.ndarray) -> np.ndarray:
        standard: np.ndarray = ((X - self._mean) / self._scale).astype(np.float32)
        return standard
