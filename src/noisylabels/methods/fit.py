"""`fit`: train a model on noisy labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from noisylabels.core.checks import InputError
from noisylabels.data.features import Examples
from noisylabels.methods.catalog import METHODS, MakeMethod
from noisylabels.methods.standard import Standard
from noisylabels.noise.labels import NoisyLabels
from noisylabels.training.callbacks import Callback
from noisylabels.training.history import History
from noisylabels.training.loop import train_method
from noisylabels.training.method import LossFunction, Method


def fit(
    model: nn.Module,
    train: Examples,
    test: Examples | None,
    loss: LossFunction,
    *,
    method: str | MakeMethod = "standard",
    labels: NoisyLabels | None = None,
    positions: np.ndarray | None = None,
    weights: Tensor | None = None,
    folder: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    **settings: Any,
) -> History:
    """Train `model` in place, leave it in evaluation mode, and return its history, one row per epoch.

    Args:
        model: from images (B, C, H, W), normalized, to logits (B, K); from rows (B, D) of features.
        train, test: images, or features (`FeatureSet`). The test set is evaluated every epoch and selects
            nothing; None for no test set.
        loss: from logits (B, K) float32 and target (B,) int64 to a scalar mean: one of
            `noisylabels.loss`, ``nn.CrossEntropyLoss()``, or any function. Parameters of a loss that is a
            module are trained, at ``loss_lr`` and without weight decay; its buffers are in the checkpoint.
        method: a name of `methods.catalog.METHODS`, or a function from model and loss to a `Method`.
        labels: the given and true labels of `train`; None uses the set's own labels as given, with unknown
            true labels.
        positions: (n,) int64, ascending: the part of `train` to train on, whose pixels are not copied; None
            for all of it. Images are normalized by the statistics of the whole set.
        weights: (N,), 0 or more: a weight per training example for the standard method, which then minimizes
            the mean of weight times loss. The loss must have a `reduction`, like `noisylabels.loss` and
            torch's modules. Metrics are unweighted.
        folder: the folder of history.jsonl and checkpoint.pt. The same call resumes from the checkpoint; a
            call with other settings, data, loss or method raises.
        callbacks: objects that follow the run, add columns to its history, and may end it.
        settings: any field of `Settings`: ``epochs=30, lr=0.1, precision="bfloat16"``. Images are not
            augmented unless `augment` is set, such as ``augment="crop:4+flip"``. ``validation=0.1`` holds out
            a tenth of the training set and evaluates it every epoch on its given labels, to choose an epoch
            afterwards (`History.chosen`); the model is that of the last epoch unless ``keep_epoch="best"``
            (`History.kept`).

    Raises:
        InputError: an unknown setting, a value out of range, labels that do not match the images, a
            validation split without examples, a checkpoint that is damaged or of another run, a model that
            does not accept the images or does not return K logits for each.
        TrainingDiverged: the loss or the logits were not finite.
        Interrupted: a callback paused the run; the checkpoint is written.
    """
    if not callable(loss):
        raise InputError(f"the loss is {loss!r}, expected a function or a module, such as nl.loss('nce+mae')")
    if (reduction := getattr(loss, "reduction", "mean")) != "mean":
        raise InputError(f"the loss has reduction {reduction!r}, expected 'mean', a scalar loss per step")
    make = METHODS[method] if isinstance(method, str) else method
    if weights is not None and make is not Standard:
        raise InputError(
            "weights are given, and only the standard method uses them; leave out weights or method"
        )
    if isinstance(make, Method) or not callable(make):
        raise InputError(
            f"the method is {make!r}, expected a name or a callable from model and loss to a method, such "
            "as a class derived from nl.Method"
        )
    chosen = Standard(model, loss, weights) if make is Standard else make(model, loss)
    if not isinstance(chosen, Method):
        raise InputError(f"the method returns a {type(chosen).__name__}, expected an nl.Method")
    return train_method(
        chosen,
        train,
        test,
        labels=labels,
        positions=positions,
        folder=folder,
        callbacks=callbacks,
        **settings,
    )
