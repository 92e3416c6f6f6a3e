"""Read an image data set with the features that `noisylabels embed` wrote for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

import noisylabels as nl
from noisylabels.data.images import ImageSet


def embedded_sets(data: str, file: Path) -> tuple[Sequence[ImageSet], list[np.ndarray]]:
    """Return the training and the test set, and the features of each, (N, D), in its order."""
    sets = nl.load(data)
    with np.load(file) as stored:
        ids, features = stored["ids"], stored["features"]
    row_of = {name: row for row, name in enumerate(ids.tolist())}
    return sets, [features[[row_of[name] for name in part.ids]] for part in sets]
