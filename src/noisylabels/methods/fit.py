"""`fit`: train a model on noisy labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from noisylabels.core.checks import InputError
from noisylabels.data.features import Examples
from noisylabels.methods.catalog import MakeMethod
from noisylabels.methods.expression import as_method
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
        method: an expression, such as "elr(lambda_=3)" (see `noisylabels.method`), what `noisylabels.method`
            returns, or a function from model and loss to a `Method`, such as its class.
        labels: the given and true labels of `train`; None uses the set's own labels as given, with unknown
            true labels.
        positions: (n,) int64, ascending: the part of `train` to train on, whose pixels are not copied; None
            for all of it. Images are normalized by the statistics of the whole set.
        weights: (N,), 0 or more: a weight per training example; the standard method minimizes the mean of
            weight times loss. The loss must have a `reduction`, like `noisylabels.loss` and
            torch's modules. Metrics are unweighted.
        folder: the folder of history.jsonl and checkpoint.pt. The same call resumes from the checkpoint; a
            call with other settings, data, loss, method or model raises. Of code of your own, functions that
            are passed and the numbers in objects are compared, not the code of classes.
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

    >>> import noisylabels as nl
    >>> train, test = nl.load("digits")
    >>> model = nl.build_model("mlp", channels=1, image_size=(8, 8), num_classes=10)
    >>> history = nl.fit(model, train, test, nl.loss("nce+mae"), epochs=2, lr=0.05)
    >>> [row["epoch"] for row in history.rows]
    [1, 2]
    """
    _check_kinds(model, train, test, loss, folder)
    if (reduction := getattr(loss, "reduction", "mean")) != "mean":
        raise InputError(f"the loss has reduction {reduction!r}, expected 'mean', a scalar loss per step")
    chosen = as_method(method)(model, loss)
    if not isinstance(chosen, Method):
        raise InputError(f"the method returns a {type(chosen).__name__}, expected an nl.Method")
    return train_method(
        chosen,
        train,
        test,
        labels=labels,
        positions=positions,
        weights=weights,
        folder=folder,
        callbacks=callbacks,
        **settings,
    )


def _check_kinds(model: Any, train: Any, test: Any, loss: Any, folder: Any) -> None:
    """Raise an `InputError` for the first argument of another kind than `fit` takes."""
    if not isinstance(model, nn.Module):
        what = f"the class {model.__name__}" if isinstance(model, type) else repr(model)
        raise InputError(
            f"the model is {what}, expected an nn.Module, such as nl.build_model('mlp', channels=1, "
            "image_size=(8, 8), num_classes=10)"
        )
    if any(map(is_lazy, (*model.parameters(), *model.buffers()))):
        raise InputError(
            "the model has lazy layers without a shape; call it once on a few inputs before nl.fit"
        )
    for name, given in (("train", train), ("test", test)):
        if not isinstance(given, Examples) and (name == "train" or given is not None):
            raise InputError(
                f"{name} is a {type(given).__name__}, expected one of the sets of `train, test = "
                "nl.load(data)`, which also takes arrays, tensors and PyTorch data sets"
            )
    if not callable(loss):
        raise InputError(f"the loss is {loss!r}, expected a function or a module, such as nl.loss('nce+mae')")
    if isinstance(loss, type):
        raise InputError(f"the loss is the class {loss.__name__}, expected an object: {loss.__name__}()")
    if folder is not None and not isinstance(folder, (str, os.PathLike)):
        raise InputError(f"folder is {folder!r}, expected the path of a folder")
    if folder is not None and Path(folder).is_file():
        raise InputError(f"{folder} is a file, expected a folder for the run; choose another")
