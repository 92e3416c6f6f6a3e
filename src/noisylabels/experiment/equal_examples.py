"""Equal examples of a set, by a digest of each: copies, which a cross-validation must not separate."""

from __future__ import annotations

import hashlib

import numpy as np

from noisylabels.core.checks import check_whole
from noisylabels.core.surrogates import whole_text
from noisylabels.data.features import Examples, FeatureSet
from noisylabels.data.images import ImageSet
from noisylabels.encoders.store import HASH_BYTES, content_hashes

COMMON = 0.2
"""If a larger share of a table's rows have equals, these are normal for the table and no copies."""

_ROWS = 1 << 12  # rows of features that are read at once


def first_equals(data: Examples, folds: int) -> np.ndarray | None:
    """Return the position of the first example that equals each one, int64 (N,); None without copies.

    Compared are the pixels of images, and what a model is given of other examples: their features, or their
    features and text where no encoder has made features of the text. Each example is held as a digest of 16
    bytes. More equal examples than a fold has are no copies but a common value, such as an empty text.

    Args:
        data: the set.
        folds: the number of folds.

    Raises:
        InputError: folds is no whole number from 2 on.

    >>> from noisylabels.data.features import feature_set
    >>> rows = [[0.5], *([float(k)] for k in range(1, 11)), [0.5]]
    >>> first_equals(feature_set(rows, [0, 1] * 6, ("cat", "dog")), 4).tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0]
    """
    check_whole(folds, "folds", 2)
    n = len(data)
    keys = _hashes(data)
    if keys is None or n < 2:
        return None
    words = np.ascontiguousarray(keys).view([("a", "<u8"), ("b", "<u8")]).reshape(-1)
    _, first, same, counts = np.unique(words, return_index=True, return_inverse=True, return_counts=True)
    same = same.reshape(-1)
    copied = ((counts > 1) & (counts <= n // folds))[same]
    share = float((counts > 1)[same].mean())
    table = isinstance(data, FeatureSet) and data.embedding is None and data.texts is None
    if not copied.any() or (table and share > COMMON):
        return None
    return np.where(copied, first[same], np.arange(n))


def _hashes(data: Examples) -> np.ndarray | None:
    """Return a digest per example, uint8 (N, 16); None where there is nothing to compare."""
    if isinstance(data, ImageSet):
        return content_hashes(data.images)
    texts = None
    if data.texts is not None and data.embedding is None:
        texts = content_hashes([whole_text(text) for text in data.texts])
    if not data.inputs.shape[1]:
        return texts
    made = np.empty((len(data), HASH_BYTES), np.uint8)
    for start in range(0, len(data), _ROWS):
        rows = data.inputs[start : start + _ROWS].cpu().numpy() + np.float32(0)  # -0.0 equals 0.0
        for i, row in enumerate(np.ascontiguousarray(rows), start):
            digest = hashlib.blake2b(row.data, digest_size=HASH_BYTES)
            if texts is not None:
                digest.update(texts[i].tobytes())
            made[i] = np.frombuffer(digest.digest(), np.uint8)
    return made
