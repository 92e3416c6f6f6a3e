"""Near-duplicates of an audited set: of its images, its texts or its rows, also in its feature space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from noisylabels.audit.duplicates import Group, equal_rows, find_duplicates
from noisylabels.audit.feature_duplicates import similar_images, similar_texts
from noisylabels.audit.nearest import find_nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from noisylabels.data.features import Examples, FeatureSet

FEWEST = 5
"""With fewer examples, distances in feature space have nothing to be compared with."""


def duplicates_in(
    examples: Examples, embedded: Examples | None = None, note: Callable[[str], None] = lambda _: None
) -> list[Group]:
    """Return the groups of near-duplicates of a set, sorted by their first member.

    Args:
        examples: images, or rows; rows with free text must have the same one, or nearly.
        embedded: the same examples as a frozen encoder sees them; None without one.
        note: receives a line if images in shards are too many to be compared.
    """
    from noisylabels.data.features import FeatureSet
    from noisylabels.data.images import ImageSet
    from noisylabels.data.pixel_source import fits_memory, in_memory

    embedded = examples if embedded is None else embedded
    features = None
    if isinstance(embedded, FeatureSet) and embedded.embedding is not None and len(embedded) >= FEWEST:
        features = embedded.features.numpy()
    pictures = examples.images
    if pictures is not None:
        found = pictures.images if isinstance(pictures, ImageSet) else pictures
        if not fits_memory(found):
            note(
                f"near-duplicates were not searched for: the {len(found):,} images in shards would take "
                f"{found.nbytes / 2**30:.1f} GiB decoded"
            )
            return []
        pixels = in_memory(found, "the search for duplicates")
        similar = None if features is None else similar_images(find_nearest(features), pixels)
        return find_duplicates(pixels, similar)
    assert isinstance(examples, FeatureSet)
    texts = examples.texts
    if texts is None and examples.cells is not None:
        texts = examples.cells.free_texts()
    if texts is None:
        return find_duplicates(examples.features)
    similar = None if features is None else _alike_texts(features, texts, examples)
    return equal_rows(texts, _written(examples), similar)


def _alike_texts(features: np.ndarray, texts: Sequence[str], examples: FeatureSet) -> np.ndarray:
    """Return the pairs of rows with similar texts whose other columns are equal, (P, 2)."""
    pairs = similar_texts(find_nearest(features), texts)
    rows = _written(examples).numpy()
    kept: np.ndarray = pairs[(rows[pairs[:, 0]] == rows[pairs[:, 1]]).all(axis=1)]
    return kept


def _written(examples: FeatureSet) -> Tensor:
    """Return the features of the columns, without those that an encoder made of texts, (N, D)."""
    return examples.features[:, :0] if examples.embedding is not None else examples.features
