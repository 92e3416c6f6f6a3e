"""Checks of the parameters of `NoisyLabelClassifier`."""

from __future__ import annotations

from typing import Any

from noisylabels.core.checks import InputError, check_between, check_whole
from noisylabels.encoders.catalog import canonical_features
from noisylabels.encoders.embedding_files import is_embedding_file
from noisylabels.estimator.candidates import (
    FOREST,
)
from noisylabels.estimator.inputs import (
    plain,
)
from noisylabels.experiment.classifier_probs import check_classifier
from noisylabels.experiment.model_input import check_takes_features
from noisylabels.losses.modules import Loss
from noisylabels.methods.expression import STANDARD, as_spec


def check_parameters(estimator: Any) -> None:
    """Raise an `InputError` for the first parameter that is out of range or contradicts another.

    Args:
        estimator: a `NoisyLabelClassifier`.
    """
    check_whole(plain(estimator.n_estimators), "n_estimators", 1)
    for name, low in (("epochs", 1), ("batch_size", 2)):
        if getattr(estimator, name) != "auto":
            check_whole(plain(getattr(estimator, name)), name, low)
    if estimator.n_iter_no_change is not None:
        check_whole(plain(estimator.n_iter_no_change), "n_iter_no_change", 1)
    needs = {
        "n_iter_no_change": estimator.n_iter_no_change is not None,
        "calibrate": estimator.calibrate,
        "model 'auto'": estimator.model == "auto",
    }
    if not estimator.validation_fraction and any(needs.values()):
        name = next(name for name, on in needs.items() if on)
        raise InputError(f"{name} needs held-out examples; set validation_fraction above 0")
    for name in ("lr", "weight_decay"):
        if getattr(estimator, name) != "auto":
            check_between(getattr(estimator, name), name, low=0.0, open_low=name == "lr")
    features = canonical_features(estimator.features)
    if is_embedding_file(features):
        raise InputError(
            f"features is {features!r}, which holds features of certain examples; pass them as X, and "
            "leave out features"
        )
    if estimator.model != FOREST:
        check_takes_features(estimator.model, features)
    check_between(estimator.dropout, "dropout", low=0.0, high=1.0, open_high=True)
    check_between(estimator.validation_fraction, "validation_fraction", low=0.0, high=0.5)
    _check_method(estimator)
    if not isinstance(estimator.loss, str | Loss):
        raise InputError(f"loss is {estimator.loss!r}, expected an expression such as 'nce+mae', or a Loss")
    if estimator.base is not None:
        check_classifier(estimator.base)
        for name in ("model", "loss"):
            if not isinstance(given := getattr(estimator, name), str) or given != "auto":
                raise InputError(f"base is given, and {name} is {given!r}; leave out one of them")
    if isinstance(estimator.loss, Loss) and estimator.loss.reduction != "mean":
        raise InputError(f"the loss has reduction {estimator.loss.reduction!r}, expected 'mean'")


def _check_method(estimator: Any) -> None:
    """Raise an `InputError` for a method that is none, or that the other parameters leave nothing to do."""
    method = as_spec(estimator.method)
    if method.name == STANDARD:
        return
    for name, given in (("base", estimator.base is not None), ("model", estimator.model == FOREST)):
        if given:
            raise InputError(
                f"the method is {method.expression!r}, and {name} is {getattr(estimator, name)!r}, which is "
                "not trained by a method; leave out one of them"
            )
    if method.own_model is not None:
        raise InputError(
            f"the method {method.name!r} has a model of its own, {method.own_model}, which the estimator "
            "does not fit; use nl.run, nl.fit or `noisylabels train`"
        )
    loss = estimator.loss.expression if isinstance(estimator.loss, Loss) else estimator.loss
    if method.own_loss is not None and loss not in ("auto", method.own_loss):
        raise InputError(
            f"the method {method.name!r} has a loss of its own, and the loss is {loss!r}; leave out the loss"
        )
