"""Near-duplicates of an audited set: of its images, its texts or its rows, also in its feature space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from noisylabels.audit.duplicates import Group, equal_rows, find_duplicates
from noisylabels.audit.feature_duplicates import similar_images, similar_texts
from noisylabels.audit.nearest import find_nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from noisylabels.data.features import Examples

FEWEST = 5
"""With fewer examples, distances in feature space have nothing to be compared with."""


def duplicates_in(examples: Examples, embedded: Examples | None = None) -> list[Group]:
    """Return the groups of near-duplicates of a set, sorted by their first member.

    Args:
        examples: images, or rows; rows with free text must have the same one, or nearly.
        embedded: the same examples as a frozen encoder sees them; None without one.
    """
    from noisylabels.data.features import FeatureSet

    embedded = examples if embedded is None else embedded
    features = embedded.inputs.numpy() if getattr(embedded, "embedding", None) is not None else None
    if features is not None and len(features) < FEWEST:
        features = None
    pictures = examples.images
    if pictures is not None:
        pixels = pictures if isinstance(pictures, torch.Tensor) else pictures.images
        similar = None if features is None else similar_images(find_nearest(features), pixels)
        return find_duplicates(pixels, similar)
    assert isinstance(examples, FeatureSet)
    texts = examples.texts
    if texts is None and examples.cells is not None:
        texts = examples.cells.free_texts()
    if texts is None:
        return find_duplicates(examples.inputs)
    similar = None if features is None else _alike_texts(features, texts, examples)
    return equal_rows(texts, _written(examples), similar)


def _alike_texts(features: np.ndarray, texts: Sequence[str], examples: Examples) -> np.ndarray:
    """Return the pairs of rows with similar texts whose other columns are equal, (P, 2)."""
    pairs = similar_texts(find_nearest(features), texts)
    rows = _written(examples).numpy()
    kept: np.ndarray = pairs[(rows[pairs[:, 0]] == rows[pairs[:, 1]]).all(axis=1)]
    return kept


def _written(examples: Examples) -> torch.Tensor:
    """Return the features of the columns, without those that an encoder made of texts, (N, D)."""
    embedded = getattr(examples, "embedding", None) is not None
    return examples.inputs[:, :0] if embedded else examples.inputs
