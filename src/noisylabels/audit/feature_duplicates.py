"""Near-duplicates found in feature space: crops of a photograph, mirrored or recolored; texts with few edits.

An encoder maps a crop or a mirrored copy of a photograph close to it, so the candidates are pairs that are
far closer than the neighborhood of either. Each is then checked in its pixels or words, because very similar
photographs of different things are as close.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch

from noisylabels.audit.alignment import best_correlations
from noisylabels.audit.nearest import Nearest

CLOSE = 0.6
"""Largest distance of a candidate pair, as a share of the distance to the last neighbor that is known."""
CORRELATED = 0.96
"""Smallest correlation of the pixels after the best crop; see `alignment.best_correlations`."""
SHARED = 0.8
"""Smallest share of runs of `_RUN` words that two texts have in common, of those of either."""

_CANDIDATES, _RUN = 5, 3


def similar_images(near: Nearest, images: torch.Tensor) -> np.ndarray:
    """Return the pairs of photographs of which one shows a part of the other, (P, 2) ascending positions.

    Args:
        near: nearest neighbors in feature space.
        images: uint8 (N, C, H, W), what was encoded.
    """
    pairs = candidate_pairs(near)
    aligned: np.ndarray = pairs[best_correlations(images, pairs) >= CORRELATED]
    return aligned


def similar_texts(near: Nearest, texts: Sequence[str]) -> np.ndarray:
    """Return the pairs of texts that share most of their runs of words, (P, 2) ascending positions.

    Args:
        near: nearest neighbors in feature space.
        texts: N texts, what was encoded.

    >>> near = Nearest(np.array([[1, 2], [0, 2], [0, 1]]), np.array([[0.0, 1], [0, 1], [1, 1]], np.float32))
    >>> similar_texts(near, ["The cat sat on a mat.", "the cat sat on a mat", "A dog."]).tolist()
    [[0, 1]]
    """
    pairs = candidate_pairs(near)
    runs = {i: _runs(texts[i]) for i in np.unique(pairs).tolist()}
    kept = [_share(runs[i], runs[j]) >= SHARED for i, j in pairs.tolist()]
    shared: np.ndarray = pairs[np.array(kept, dtype=bool)]
    return shared


def candidate_pairs(near: Nearest) -> np.ndarray:
    """Return the pairs that are much closer than the last known neighbor of one of both, (P, 2).

    With fewer than three neighbors there is nothing to compare with, and no pair is one.

    >>> near = Nearest(np.array([[1, 2, 3]] * 1), np.array([[0.1, 0.8, 0.9]], np.float32))
    >>> candidate_pairs(near).tolist()
    [[0, 1]]
    """
    found = min(_CANDIDATES, near.positions.shape[1] - 1)
    if found < 1:
        return np.zeros((0, 2), np.int64)
    row, column = np.nonzero(near.distances[:, :found] <= CLOSE * near.distances[:, -1:])
    ends = np.stack([row, near.positions[row, column]], axis=1)
    return np.unique(np.sort(ends, axis=1), axis=0)


def _runs(text: str) -> frozenset[tuple[str, ...]]:
    """Return the runs of words of a text, without case and punctuation."""
    words = re.findall(r"\w+", text.casefold())
    size = min(_RUN, len(words))
    return (
        frozenset(tuple(words[i : i + size]) for i in range(len(words) - size + 1)) if size else frozenset()
    )


def _share(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    return len(one & other) / max(1, len(one | other))
