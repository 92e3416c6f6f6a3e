"""Noise from files: labels, human annotations and transition matrices."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.positions import own
from noisylabels.noise import human
from noisylabels.noise.checks import check_labels
from noisylabels.noise.label_files import read_labels, rows_in_order
from noisylabels.noise.matrix_files import read_transition
from noisylabels.noise.transforms import LoadedLabels, NoiseContext


def labels_from(path: str, word: str, context: NoiseContext) -> LoadedLabels:
    """Return the labels of a file, in any format of `read_labels`.

    Raises:
        InputError: as `read_labels`; or the file has true labels but no ids, and they differ from those of
            the set in order, so that its rows may belong to other examples.
    """
    file = read_labels(
        path,
        num_classes=context.num_classes,
        class_names=context.class_names,
        ids=None if context.ids is None else list(context.ids),
        others=context.others,
        positions=own(len(context.labels)) if context.positions is None else context.positions,
        id_column=context.id_column,
    )
    context.notes.extend(f"{path}: {note}" for note in file.notes)
    places = np.arange(len(context.labels)) if file.index is None else file.index
    if len(file.given) != len(places) or places.max() >= len(context.labels):
        raise InputError(
            f"{path} has {len(file.given)} labels, expected {len(context.labels)}, one per example; "
            "add the missing ones, or a column of ids"
        )
    if file.true is not None and not file.by_ids:
        agree = int((file.true == context.labels[places]).sum())
        if agree != len(places):
            raise InputError(
                f"the true labels in {path} agree with those of the set for {agree} of {len(places)} "
                "examples: the file belongs to another set or order; add a column of ids, or remove its true "
                "labels"
            )
    return LoadedLabels(file.given, file.true, file.index)


def human_labels(path: str, column: str, context: NoiseContext) -> LoadedLabels:
    """Return human annotations of CIFAR-10N or CIFAR-100N, see `read_human`.

    Raises:
        InputError: as `read_human`; the file has another number of rows than the data, whose order it has; or
            its clean labels differ from those of the set.
    """
    found = human.read_human(path, column or None)
    if context.positions is not None:
        found = found.take(rows_in_order(path, len(found.given), context.positions))
    found.check_order(context.labels, f"the labels in {path}")
    return LoadedLabels(check_labels(found.given, context.num_classes, f"the labels of {path}"))


def short_name(column: str) -> str:
    """Return the short name of a column of human annotations: "worse" for "worst" or "worse_label".

    Any other name is returned in lower case; `read_human` then reports which columns the file has.
    """
    name = column.strip().lower()
    name = human.ALIASES.get(name, name)
    return human.SHORT.get(name, name)


def set_name(word: str) -> str:
    """Return the canonical form of a data set's name or path: "photos" for "photos/"."""
    normal = os.path.normpath(os.path.expanduser(word))
    # ./digits is a folder with the name of a data set
    return os.path.join(".", normal) if word.startswith("./") and os.sep not in normal else normal


def transition_from(path: str, context: NoiseContext) -> np.ndarray:
    """Return a transition matrix from a file, see `read_transition`."""
    return read_transition(Path(path), context.num_classes, context.class_names)
