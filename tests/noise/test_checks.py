"""Validation of labels: accepted forms, and the errors for all others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from noisylabels.core.checks import InputError
from noisylabels.noise.checks import MAX_CLASSES, check_labels

UNKNOWN = f"expected an integer from 0 to {MAX_CLASSES - 1}"


@pytest.mark.parametrize(
    "labels",
    [
        [2, 0, 1],
        (2, 0, 1),
        [np.int64(2), 0, 1],
        np.array([2, 0, 1], dtype=np.uint8),
        np.array([2, 0, 1], dtype=">i4"),
        np.array([2, 9, 0, 9, 1, 9])[::2],
        np.array([2, 0, 1], dtype=object),
        torch.tensor([2, 0, 1]),
        torch.tensor([2, 0, 1], dtype=torch.uint8),
    ],
    ids=lambda labels: f"{type(labels).__name__}-{getattr(labels, 'dtype', '')}",
)
def test_what_is_accepted(labels) -> None:
    array = check_labels(labels, 3)
    assert array.dtype == np.int64
    assert array.tolist() == [2, 0, 1]


def test_labels_are_copied() -> None:
    labels = np.array([0, 1])
    check_labels(labels)[:] = 7
    tensor = torch.tensor([0, 1])
    check_labels(tensor)[:] = 7
    assert labels.tolist() == tensor.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("labels", "num_classes", "message"),
    [
        ([], None, "labels are empty, expected at least one class number"),
        (
            [[0, 1], [1, 0]],
            None,
            "labels have shape (2, 2), expected one class number per example, shape (N,)",
        ),
        (3, None, "labels have shape (), expected one class number per example, shape (N,)"),
        ({0, 1}, None, "labels have shape (), expected one class number per example, shape (N,)"),
        ([[0], [0, 1]], None, "labels are nested lists, expected one class number per example"),
        ([0, -1, -2], None, f"labels[1] is -1, {UNKNOWN}"),
        ([0, 3, 4], 3, "labels[1] is 3, expected an integer from 0 to 2"),
        ([0, 300], 256, "labels[1] is 300, expected an integer from 0 to 255"),
        (np.array([1, 255], dtype=np.uint8), 10, "labels[1] is 255, expected an integer from 0 to 9"),
        ([0, 10**12], None, f"labels[1] is 1000000000000, {UNKNOWN}"),
        ([0, 2**70], None, f"labels[1] is {2**70}, {UNKNOWN}"),
        (np.array([0, 2**64 - 1], dtype=np.uint64), None, f"labels[1] is {2**64 - 1}, {UNKNOWN}"),
        ([0.0, float("nan")], None, f"labels[1] is nan, {UNKNOWN}"),
        ([0.0, 1.0, 0.5], None, f"labels[2] is 0.5, {UNKNOWN}"),
        (
            [0.0, 1.0],
            None,
            f"labels[0] is 0.0, {UNKNOWN}; the labels are float64, convert them with .astype('int64')",
        ),
        (torch.tensor([0.0, 0.5], dtype=torch.bfloat16), None, f"labels[1] is 0.5, {UNKNOWN}"),
        ([True, False], None, f"labels[0] is True, {UNKNOWN}"),
        (["cat", "dog"], None, f"labels[0] is 'cat', {UNKNOWN}"),
        ([0, None], None, f"labels[1] is None, {UNKNOWN}"),
    ],
)
def test_what_is_not(labels, num_classes, message: str) -> None:
    with pytest.raises(InputError) as error:
        check_labels(labels, num_classes)
    assert str(error.value) == message
