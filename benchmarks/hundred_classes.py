"""Write features with 100 classes, ten parts of each class of CIFAR-10, for weights-hundred.toml.

    noisylabels embed FOLDER/cifar10-jpeg --features efficientnet-lite0@160 --out lite0-160.npz
    python benchmarks/hundred_classes.py lite0-160.npz --data FOLDER/cifar10-jpeg --out hundred.npz

This project has no images with 100 classes, so k-means divides the standardized training features of each
class into ten parts, and a test image belongs to the part of its class with the nearest center. The parts are
real groups of images, such as white cars, but easier to tell apart by the same features than classes that
people named; accuracies compare losses with one another, not with those on CIFAR-100.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from embedded_sets import embedded_sets
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler

PARTS = 10
"""Parts per class."""


@dataclass
class Options:
    """Choose what is read and written."""

    features: tyro.conf.Positional[Path]
    """features of CIFAR-10 with the ids of the images, written by `noisylabels embed`"""
    data: str
    """CIFAR-10, whose labels are read"""
    out: Path = Path("hundred.npz")
    """the file to write"""


def parted(
    rows: np.ndarray, labels: np.ndarray, test_rows: np.ndarray, test_labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels with each class divided into `PARTS` parts: ``PARTS * class + part``."""
    scaler = StandardScaler().fit(rows)
    found, test_found = np.zeros_like(labels), np.zeros_like(test_labels)
    for label in range(int(labels.max()) + 1):
        chosen, tested = labels == label, test_labels == label
        means = KMeans(PARTS, n_init=1, random_state=0).fit(scaler.transform(rows[chosen]))
        found[chosen] = PARTS * label + means.labels_
        test_found[tested] = PARTS * label + means.predict(scaler.transform(test_rows[tested]))
    return found, test_found


def main(options: Options) -> None:
    """Write the file."""
    sets, features = embedded_sets(options.data, options.features)
    rows, test_rows = (part.astype(np.float32) for part in features)
    labels, test_labels = parted(rows, sets[0].labels.numpy(), test_rows, sets[1].labels.numpy())
    np.savez(options.out, x_train=rows, y_train=labels, x_test=test_rows, y_test=test_labels)
    counts = np.bincount(labels, minlength=labels.max() + 1)
    print(f"wrote {counts.size} classes of {counts.min():,} to {counts.max():,} training examples")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
