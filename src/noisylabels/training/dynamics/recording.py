"""The files of a recording: dynamics.parquet and dynamics-examples.parquet in the folder of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from noisylabels.core.columnar import Column, read_columns, write_parquet
from noisylabels.training.dynamics.sums import Entry

FILE = "dynamics.parquet"
"""File of a run's folder with the measurements of each recorded epoch."""

EXAMPLES = "dynamics-examples.parquet"
"""File of a run's folder with what was recorded of each training example."""

COLUMNS = {
    "epoch": Column("integers"),
    "measure": Column("text"),
    "part": Column("text"),
    "key": Column("text"),
    "value": Column("numbers"),
}
"""Columns of dynamics.parquet: one row per number, a mean over the measured steps of an epoch."""

MEASURES = {
    "logit_gradient": "norm of the gradient of the batch's loss at the logits",
    "logit_share": "share of noisy labels in the sum of the norms of each example's gradient at the logits",
    "weight_gradient": "norm of the gradient at the weights, of all, clean or noisy labels",
    "weight_share": "norm of the noisy labels' part, divided by the sum of the norms of both parts",
    "cosine": "cosine of the angle between the gradients of the noisy and of the clean labels at the weights",
    "relative_step": "norm of the update of all weights, with momentum and weight decay, divided by theirs",
    "layer_step": "the same per parameter, the key",
    "layer_gradient": "norm of the gradient per parameter, the key",
    "bin_examples": "examples of a batch per bin of the probability of the given label; key: its lower end",
    "bin_logit_gradient": "mean norm of the gradient of an example's loss at its logits, per such bin",
    "bin_weight_gradient": "norm of the part of the weights' gradient that comes from one such bin",
    "bin_cosine": "cosine of that part and the gradient of the clean labels",
    "pull": "how the update moves the logit of a class, the key, by examples given this label and by others",
    "dead": "1 for a class, the key, that is dead on the test set",
    "entropy": "mean entropy of the predictions, in nats",
    "margin": "mean of p of the given label minus the largest p of another",
    "margin_share": "share of the examples per bin of the margin; key: its lower end",
    "learned_share": "share of the examples that were predicted as given in some epoch so far",
    "forgetting_events": "mean number of times that an example was forgotten: predicted as given, then not",
    "sharpness": "largest eigenvalue of the Hessian of the sample's loss, with given and with true labels",
    "slice": "loss on the sample along a random direction; key: the place from -1 to 1",
}
"""Measure -> what its values are."""

EXAMPLE_COLUMNS = {
    "position": Column("integers"),
    "noisy": Column("truth", optional=True),
    "learned": Column("integers"),
    "kept": Column("integers"),
    "forgotten": Column("integers"),
    "margin": Column("numbers"),
    "true_learned": Column("integers", optional=True),
    "true_forgotten": Column("integers", optional=True),
}
"""Columns of dynamics-examples.parquet, one row per training example: its position in the training set;
whether its given label is wrong; the first epoch in which it was predicted as given, the epoch since which it
has been so to the end (0: never), the number of times it was forgotten; the margin in the last epoch; the
first epoch in which it was predicted as its true class, and how often that was forgotten."""

AGAIN = "record it again, or remove it"


def write_recording(folder: Path, entries: Sequence[Entry], examples: Mapping[str, np.ndarray]) -> None:
    """Write both files, each atomically."""
    import pyarrow as pa

    columns = zip(*entries, strict=True) if entries else [[]] * len(COLUMNS)
    kinds = (pa.int32(), pa.string(), pa.string(), pa.string(), pa.float64())
    arrays = [pa.array(list(column), kind) for column, kind in zip(columns, kinds, strict=True)]
    write_parquet(folder / FILE, pa.table(dict(zip(COLUMNS, arrays, strict=True))), compression="zstd")
    write_parquet(folder / EXAMPLES, pa.table(dict(examples)), compression="zstd")


def read_dynamics(folder: Path) -> dict[str, np.ndarray]:
    """Return the columns of a folder's dynamics.parquet, one array each.

    Raises:
        InputError: the file is missing, damaged or of another kind.
    """
    return _read(folder / FILE, COLUMNS)


def read_examples(folder: Path) -> dict[str, np.ndarray]:
    """Return the columns of a folder's dynamics-examples.parquet, one array each.

    Raises:
        InputError: the file is missing, damaged or of another kind.
    """
    return _read(folder / EXAMPLES, EXAMPLE_COLUMNS)


def _read(path: Path, columns: Mapping[str, Column]) -> dict[str, np.ndarray]:
    table = read_columns(path, columns, AGAIN)
    return {
        name: table[name].to_numpy(zero_copy_only=False) for name in columns if name in table.column_names
    }
