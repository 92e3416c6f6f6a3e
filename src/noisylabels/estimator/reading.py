"""How `NoisyLabelClassifier` reads rows, texts and images, in training and to predict."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.utils import assert_all_finite
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from noisylabels.core.checks import InputError
from noisylabels.data.encoding import Encoder, weighted_median
from noisylabels.data.image_files import image_files, read_image_files
from noisylabels.data.in_memory import array_of, column_names, is_table, is_texts, texts_in
from noisylabels.data.pixel_range import White
from noisylabels.encoders.catalog import canonical_features, load_size
from noisylabels.encoders.names import AUTO, NONE
from noisylabels.estimator.embedded import Embedded, refuse_numbers
from noisylabels.estimator.frames import (
    checked_labels,
    encoded,
    filled,
    fit_encoder,
    is_one_hot,
    sheet_to_encode,
    text_names,
)
from noisylabels.estimator.inputs import (
    checked_weights,
    image_array,
)

_OF_ROWS = ("auto", "linear", "mlp", "forest")
"""Models of rows of features, for which images are encoded first; others take the images themselves."""


class ReadsRows:
    """The part of an estimator that turns what the user passes into rows of numbers, or images.

    It sets the attributes of training that reading the rows to predict needs: `image_shape_`,
    `n_features_in_`, `feature_names_in_`, the encoding of columns, and the encoder of texts and images.
    """

    model: str
    features: str
    device: str
    base: Any
    image_shape_: tuple[int, ...]
    _mean: np.ndarray
    _scale: np.ndarray
    _white: White | None = None  # `ImageSet.white` of the training images

    def _training_rows(self, X: Any, y: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return checked rows, or images, and labels, and set `image_shape_` and the encoding of columns."""
        if is_one_hot(y):
            raise InputError(
                f"y is one-hot, of the shape {y.shape}, expected one label per row; pass y.argmax(axis=1)"
            )
        self._encoder: Encoder | None = None
        self._medians: np.ndarray | None = None
        self._embedded: Embedded | None = None
        self._white = None
        if (files := image_files(X)) is not None:
            X, self._white = read_image_files(files, most=load_size(canonical_features(self.features)))
        if is_texts(X):
            texts = texts_in(X)
            used = np.flatnonzero(checked_weights(sample_weight, len(texts)))
            self._embedded = Embedded.of_texts([texts[i] for i in used], self.features, self.device)
            if self._embedded is None:
                raise InputError("X are texts, and features is 'none', expected an encoder such as 'tfidf'")
            X = self._embedded(texts)
        elif getattr(X, "ndim", 2) == 4 and self._takes_rows():
            images = image_array(X)
            self._embedded = Embedded.of_images(images, self.features, self.device)
            X = images if self._embedded is None else self._embedded(images)
        if getattr(X, "ndim", 2) == 4:
            if self.base is not None:
                raise InputError("base takes rows of numbers, not images; flatten them, or leave out base")
            rows, labels = image_array(X), np.asarray(y)
            if labels.shape != (len(rows),):
                raise InputError(f"labels have shape {labels.shape}, expected ({len(rows)},)")
            assert_all_finite(labels, input_name="y")
            self.image_shape_ = rows.shape[1:]
            self.n_features_in_ = math.prod(self.image_shape_)
        elif (sheet := sheet_to_encode(X)) is not None:
            labels = checked_labels(sheet, y)
            weights = checked_weights(sample_weight, len(sheet))
            used = np.flatnonzero(weights)
            self._encoder, rows = fit_encoder(sheet, used, weights[used])
            if (of_rows := self._encoder.texts_of(sheet)) is not None:
                self._embedded = Embedded.of_texts([of_rows[i] for i in used], self.features, self.device)
                rows = rows if self._embedded is None else np.hstack([rows, self._embedded(of_rows)])
            else:
                refuse_numbers(self.features)
            if not rows.shape[1]:
                raise InputError("X has only texts, and features is 'none', expected an encoder of texts")
            self.image_shape_ = ()
            self.n_features_in_ = len(column_names(X))
            if names := text_names(X):
                self.feature_names_in_ = np.array(names, dtype=object)
            elif hasattr(self, "feature_names_in_"):
                del self.feature_names_in_
        else:
            if self._embedded is None:
                refuse_numbers(self.features)
            rows, labels = validate_data(self, X, y, dtype=np.float64, order="C", accept_sparse="csr")
            rows = array_of(rows)
            self.image_shape_ = ()
            if is_table(X):
                weights = checked_weights(sample_weight, len(rows))
                used = np.flatnonzero(weights)
                self._medians = np.array([weighted_median(each[used], weights[used]) for each in rows.T])
        # scikit-learn accepts objects as labels only if they are strings; here they need only be sortable
        if labels.dtype.kind != "O":
            check_classification_targets(labels)
        return rows, labels

    def _takes_rows(self) -> bool:
        """Return whether the model takes rows of features, for which images are encoded."""
        asked = canonical_features(self.features) not in (AUTO, NONE)
        return asked or self.model in _OF_ROWS or self.model.startswith("mlp:")

    def _standard(self, rows: np.ndarray) -> np.ndarray:
        """Return rows with columns of mean 0 and standard deviation 1; extreme values are clipped."""
        with np.errstate(over="ignore"):
            standard: np.ndarray = np.clip((rows - self._mean) / self._scale, -1e6, 1e6)
        return standard

    def _as_trained(self, X: Any, embedded: Embedded) -> Any:
        """Return texts or images for the encoder, checked against those of training."""
        if not embedded.shape:
            if is_texts(X):
                return texts_in(X)
            raise InputError(f"X is a {type(X).__name__}, expected texts as in training")
        images = image_array(X)
        if images.shape[1:] == embedded.shape:
            return images
        raise InputError(f"images have shape {images.shape[1:]}, expected {embedded.shape} as in training")

    def _rows(self, X: Any) -> np.ndarray:
        """Return the networks' input for rows or images to predict."""
        shape = self.image_shape_ or (() if self._embedded is None else self._embedded.shape)
        if shape and (files := image_files(X)) is not None:
            X, _ = read_image_files(files, shape, trained=self._white)
        if self.image_shape_:
            images = image_array(X)
            if images.shape[1:] != self.image_shape_:
                raise InputError(
                    f"images have shape {images.shape[1:]}, expected {self.image_shape_} as in training"
                )
            return images
        if self._encoder is not None:
            return self._standard(encoded(self._encoder, X, self._embedded))
        if self._embedded is not None:
            X = self._embedded(self._as_trained(X, self._embedded))
        may_lack = self._medians is not None and is_table(X)
        rows = validate_data(
            self,
            X,
            reset=False,
            dtype=np.float64,
            order="C",
            accept_sparse="csr",
            ensure_all_finite="allow-nan" if may_lack else True,
        )
        return self._standard(
            array_of(rows) if self._medians is None else filled(array_of(rows), self._medians)
        )
