"""The data of a training run: labels, parts of the sets, their batches, and their identity."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from noisylabels.core.checks import InputError
from noisylabels.data.augment import parse_augment
from noisylabels.data.features import Examples, FeatureSet
from noisylabels.data.loader import Batches, evaluation_batch_size, standardized
from noisylabels.data.pixel_source import Pixels
from noisylabels.data.split import validation_split
from noisylabels.models.normalization import Normalization
from noisylabels.noise.labels import NoisyLabels
from noisylabels.training.settings import Settings

EVALUATED_AT_ONCE = 8
"""Factor on the CPU's evaluation batch size, limited by small caches, for a GPU: 4,000 images of 32x32."""

DEFAULT_IDENTITY = {
    "part of the training set": "all of it",
    "normalization": "by the statistics of the training set",
}
"""Identity of checkpoints from versions that did not record these entries."""


@dataclass(frozen=True)
class TrainingData:
    """The sets of a run as batches, with the labels that its metrics compare predictions with.

    Args:
        batches: training batches, shuffled and augmented.
        test, validation: evaluation batches; None without such examples.
        kept: int64, (n,): positions of the examples that are trained on.
        given, true: int64, (n,): their labels; `true` is None if unknown.
        all_given: int64, (N,): the given labels of the whole set.
        num_examples: N.
        num_validation: number of validation examples.
        num_classes: K.
        unaugmented: returns batches of the examples trained on, unaugmented, in order.
        identity: what a checkpoint must match.
    """

    batches: Batches
    test: Batches | None
    validation: Batches | None
    kept: Tensor
    given: Tensor
    true: Tensor | None
    all_given: Tensor
    num_examples: int
    num_validation: int
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
    views: int | Sequence[str] = 1,
    normalization: Normalization | None = None,
) -> TrainingData:
    """Return the batches of a run, all normalized alike, after checking that sets and labels match.

    `normalization` is that of a model's pretrained weights; by default it is that of the whole training set.

    Raises:
        InputError: labels that do not match the sets, positions out of range, a part without examples, an
            epoch to keep without validation examples.
    """
    if use.keep_epoch == "best" and not use.validation:
        raise InputError("keep_epoch best needs validation examples; set validation, such as 0.1")
    given, true = _labels_of(train, test, labels)
    if positions is not None:
        try:
            positions = np.asarray(positions)
        except ValueError:  # lists of several lengths
            positions = np.zeros(0)
    kept, held = (torch.from_numpy(part) for part in _parts(len(train), positions, use))
    inputs, tested, (mean, std) = _inputs(train, test, use, device, normalization)
    make = partial(Batches, device=device, mean=mean, std=std, seed=use.seed, channels_last=use.channels_last)
    at_once = evaluation_batch_size(train.inputs) * (EVALUATED_AT_ONCE if device.type == "cuda" else 1)
    plain = partial(make, batch_size=at_once, augment=None, shuffle=False)
    batches = make(
        inputs,
        given,
        positions=kept,
        batch_size=use.batch_size,
        augment=parse_augment(use.augment),
        shuffle=True,
        views=views,
    )
    # `batches.inputs` is already on the device: it holds the images once
    return TrainingData(
        batches=batches,
        test=plain(tested, test.labels) if test is not None and tested is not None else None,
        validation=plain(batches.inputs, given, positions=held) if len(held) else None,
        kept=kept,
        given=given[kept],
        true=true[kept] if true is not None else None,
        all_given=given,
        num_examples=len(train),
        num_validation=len(held),
        num_classes=train.num_classes,
        unaugmented=partial(plain, batches.inputs, given, positions=kept),
        identity=_identity(train, test, labels, positions, normalization),
    )


Scale = tuple[tuple[float, ...], tuple[float, ...]] | tuple[None, None]
"""Mean and standard deviation that batches are normalized with; None for inputs that are already."""


def _inputs(
    train: Examples,
    test: Examples | None,
    use: Settings,
    device: torch.device,
    normalization: Normalization | None,
) -> tuple[Pixels, Pixels | None, Scale]:
    """Return the inputs of both sets, and how batches of them are normalized.

    Features are standardized here, once, and kept in the precision of the network; images, which are
    augmented first, and features that are too large to be kept twice are normalized batch by batch.
    """
    # of the whole training set: they depend on no label, and a saved model is independent of the split
    mean, std = normalization or train.mean_std()
    rest = test.inputs if test is not None else None
    if isinstance(train, FeatureSet):
        prepare = partial(standardized, mean=mean, std=std, device=device, dtype=use.dtype)
        kept = prepare(train.features)
        tested = prepare(test.features) if isinstance(test, FeatureSet) else None
        if kept is not None and (rest is None or tested is not None):
            return kept, tested, (None, None)
    return train.inputs, rest, (mean, std)


def _identity(
    train: Examples,
    test: Examples | None,
    labels: NoisyLabels | None,
    positions: np.ndarray | None,
    normalization: Normalization | None,
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
    if normalization is not None:
        found["normalization"] = str(normalization)
    return found


def _labels_of(
    train: Examples, test: Examples | None, labels: NoisyLabels | None
) -> tuple[Tensor, Tensor | None]:
    """Return the given labels, and the true ones if known, both (N,) int64."""
    if test is not None and test.num_classes != train.num_classes:
        raise InputError(
            f"the test set has {test.num_classes} classes, expected {train.num_classes} like the training set"
        )
    if labels is None:
        return train.labels, None
    if not isinstance(labels, NoisyLabels):
        raise InputError(
            f"labels are a {type(labels).__name__}, expected NoisyLabels from nl.corrupt; "
            "without known true labels, put the given labels into the set"
        )
    if len(labels) != len(train) or labels.num_classes != train.num_classes:
        hint = "corrupt the labels of this set"
        if labels.index is not None:
            hint = "the noise removes examples: use the set that nl.corrupt_set returns with the labels"
        raise InputError(
            f"there are {len(labels)} labels of {labels.num_classes} classes, expected {len(train)} of "
            f"{train.num_classes} classes for the training set; {hint}"
        )
    if labels.arrangement != train.arranged:
        raise InputError(
            "the labels belong to a set with removed examples or foreign images; use the set that "
            "nl.corrupt_set returns with them"
        )
    return torch.from_numpy(labels.given_codes), torch.from_numpy(labels.true_codes)


def _parts(n: int, positions: np.ndarray | None, use: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions to train on and those held out for validation."""
    if positions is None:
        return validation_split(n, use.validation, use.seed)
    if not (
        positions.ndim == 1
        and positions.dtype == np.int64
        and len(positions)
        and positions[0] >= 0
        and positions[-1] < n
        and (np.diff(positions) > 0).all()
    ):
        raise InputError(
            f"positions are invalid, expected int64 numbers from 0 to {n - 1} in ascending order, each once"
        )
    kept, held = validation_split(len(positions), use.validation, use.seed)
    return positions[kept], positions[held]
