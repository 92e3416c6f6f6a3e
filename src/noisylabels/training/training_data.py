"""What a training run reads: its labels, the parts of its sets, their batches, and their identity."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from noisylabels.core.checks import InputError
from noisylabels.data.augment import parse_augment
from noisylabels.data.features import Examples
from noisylabels.data.loader import Batches, evaluation_batch_size
from noisylabels.data.split import validation_split
from noisylabels.noise.labels import NoisyLabels
from noisylabels.training.settings import Settings

EVALUATED_AT_ONCE = 8
"""Times as many images per evaluation batch on a GPU as on a CPU, whose caches are small: 4,000 of 32x32."""

DEFAULT_IDENTITY = {"part of the training set": "all of it"}
"""What a checkpoint that does not mention these settings was made with."""


@dataclass(frozen=True)
class TrainingData:
    """The sets of a run as batches, with the labels that its measures compare predictions with.

    Args:
        batches: to train on, shuffled and augmented.
        test, validation: to evaluate on; None without such examples.
        kept: int64, (n,): positions that are trained on.
        given, true: int64, (n,): their labels; `true` is None where it is unknown.
        all_given: int64, (N,): the given labels of the whole set.
        num_examples: N.
        num_classes: K.
        unaugmented: makes batches of the examples trained on, in order.
        identity: what a checkpoint must agree on.
    """

    batches: Batches
    test: Batches | None
    validation: Batches | None
    kept: Tensor
    given: Tensor
    true: Tensor | None
    all_given: Tensor
    num_examples: int
    num_classes: int
    unaugmented: functools.partial[Batches]
    identity: dict[str, str] = field(default_factory=dict)


def training_data(
    train: Examples,
    test: Examples | None,
    labels: NoisyLabels | None,
    positions: np.ndarray | None,
    use: Settings,
    device: torch.device,
    views: int = 1,
) -> TrainingData:
    """Check sets and labels against each other, and make batches of them, all normalized alike.

    Raises:
        InputError: labels that do not fit the sets, positions out of range, a part without examples.
    """
    given, true = _labels_of(train, test, labels)
    kept, held = (torch.from_numpy(part) for part in _parts(len(train), positions, use))
    # of the whole training set: no label is in them, and a saved model knows no split
    mean, std = train.mean_std()
    make = partial(Batches, device=device, mean=mean, std=std, seed=use.seed, channels_last=use.channels_last)
    at_once = evaluation_batch_size(train.inputs) * (EVALUATED_AT_ONCE if device.type == "cuda" else 1)
    plain = partial(make, batch_size=at_once, augment=None, shuffle=False)
    batches = make(
        train.inputs,
        given,
        positions=kept,
        batch_size=use.batch_size,
        augment=parse_augment(use.augment),
        shuffle=True,
        views=views,
    )
    # inputs from where training has put them, so that a device holds them once
    return TrainingData(
        batches=batches,
        test=plain(test.inputs, test.labels) if test is not None else None,
        validation=plain(batches.inputs, given, positions=held) if len(held) else None,
        kept=kept,
        given=given[kept],
        true=true[kept] if true is not None else None,
        all_given=given,
        num_examples=len(train),
        num_classes=train.num_classes,
        unaugmented=partial(plain, batches.inputs, given, positions=kept),
        identity=_identity(train, test, labels, positions),
    )


def _identity(
    train: Examples, test: Examples | None, labels: NoisyLabels | None, positions: np.ndarray | None
) -> dict[str, str]:
    found = {
        "training set": train.digest,
        "test set": test.digest if test is not None else "none",
        "labels": labels.digest if labels is not None else "the set's own",
        **DEFAULT_IDENTITY,
    }
    if positions is not None:
        digest = hashlib.sha256(positions.astype("<i8").tobytes()).hexdigest()
        found["part of the training set"] = digest
    return found


def _labels_of(
    train: Examples, test: Examples | None, labels: NoisyLabels | None
) -> tuple[Tensor, Tensor | None]:
    """Return the labels to train on, and the true ones if they are known, both (N,) int64."""
    if test is not None and test.num_classes != train.num_classes:
        raise InputError(
            f"the test set has {test.num_classes} classes and the training set {train.num_classes}"
        )
    if labels is None:
        return train.labels, None
    if not isinstance(labels, NoisyLabels):
        raise InputError(
            f"labels are a {type(labels).__name__}, expected NoisyLabels, as nl.corrupt gives them; "
            "labels without known true labels belong in the set"
        )
    if len(labels) != len(train) or labels.num_classes != train.num_classes:
        hint = "corrupt the labels of this very set"
        if labels.index is not None:
            hint = "the noise leaves examples out: take the set that nl.corrupt_set gives with the labels"
        raise InputError(
            f"there are {len(labels)} labels of {labels.num_classes} classes for {len(train)} images "
            f"of {train.num_classes} classes; {hint}"
        )
    if labels.arrangement != train.arranged:
        raise InputError(
            "the labels are for a set from which examples are left out or into which foreign images are put; "
            "take the set that nl.corrupt_set gives with them"
        )
    return torch.from_numpy(labels.given), torch.from_numpy(labels.true)


def _parts(n: int, positions: np.ndarray | None, use: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions to train on and those held out for validation."""
    if positions is None:
        return validation_split(n, use.validation, use.seed)
    positions = np.asarray(positions)
    if not (
        positions.ndim == 1
        and positions.dtype == np.int64
        and len(positions)
        and positions[0] >= 0
        and positions[-1] < n
        and (np.diff(positions) > 0).all()
    ):
        raise InputError(f"positions are not int64 numbers from 0 to {n - 1} in rising order, each once")
    kept, held = validation_split(len(positions), use.validation, use.seed)
    return positions[kept], positions[held]
