"""`embed`: the features of a data set by name, path or object."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from noisylabels.core.checks import InputError, Unlabeled
from noisylabels.core.files import check_target
from noisylabels.data.catalog import load
from noisylabels.data.decode import Progress
from noisylabels.data.features import Examples, FeatureSet
from noisylabels.data.images import ImageSet
from noisylabels.data.reader import Options, was_held_out
from noisylabels.data.unlabeled import is_bare, load_unlabeled
from noisylabels.encoders.catalog import canonical_features, load_size
from noisylabels.encoders.embedding import embed_sets
from noisylabels.encoders.embedding_files import WRITTEN, write_embeddings
from noisylabels.encoders.names import AUTO
from noisylabels.encoders.suitability import NUMBERS, content_of


def _read(data: Any, options: dict[str, Any], progress: Progress | None) -> list[Examples]:
    """Return the parts of a data set; labels are not needed."""
    try:
        if not is_bare(data):
            return list(load(data, progress=progress, **options))
    except Unlabeled as error:
        if not isinstance(data, (str, os.PathLike)):
            raise
        unlabeled = f"no labels are used: {error}".partition(";")[0]
    else:
        unlabeled = ""
    known = {field.name for field in dataclasses.fields(Options)}
    chosen = Options(progress=progress, **{name: options[name] for name in options if name in known})
    parts = list(load_unlabeled(data, chosen))
    notes = (unlabeled, *parts[0].notes) if unlabeled else parts[0].notes
    return [dataclasses.replace(parts[0], notes=notes), *parts[1:]]


def embed(
    data: str | Path | Examples | object,
    *,
    features: str = AUTO,
    out: str | Path | None = None,
    device: str = "auto",
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda _: None,
    **options: Any,
) -> tuple[FeatureSet, ...]:
    """Return the features of the examples of a data set, from the cache where they are known.

    Args:
        data: as for `nl.load`, or a set that it returned. Labels are not needed: it may also be a folder of
            images without class folders or with one, a table without a column of labels, a list of texts or
            of paths of images, or an array of images.
        features: the encoder, see `noisylabels list encoders`.
        out: a file (.npz, .parquet or .npy) to write ids and features to, in the order of the source; it can
            be the `features` of an audit or a run.
        device: "auto", "cpu", "cuda".
        progress: called with (what, done, total) during long work.
        note: receives lines that the user should read.
        options: those of `nl.load`, such as image_size.

    Returns:
        The training and the test set, or one set where there is one, with `features` (N, D), `ids` and
        labels. Without labels, every example has the class "all".

    Raises:
        InputError: as for `nl.load`; an unknown encoder, or one that is not installed or does not take these
            examples; no encoder that "auto" could choose.
    """
    if out is not None:  # before the work
        check_target(Path(out).expanduser(), WRITTEN, "file of embeddings")
    features = canonical_features(features)
    if isinstance(data, ImageSet | FeatureSet):
        parts: list[Examples] = [data]
    else:
        options.setdefault("max_image_size", load_size(features))
        parts = _read(data, options, progress)
        for line in dict.fromkeys(line for part in parts for line in part.notes):
            if not was_held_out([line]):  # all examples are embedded
                note(line)
    made = embed_sets(parts, features, device=device, progress=progress, note=note)
    found = [part for part in made if isinstance(part, FeatureSet) and part.embedding is not None]
    if len(found) < len(made):
        if content_of(parts[0]) == NUMBERS:
            raise InputError(
                f"{parts[0].name} has numbers and no text, which no encoder takes; name a column of text "
                "with --text-column (text_column=), or use the numbers as they are"
            )
        raise InputError(
            f"there is no encoder for {parts[0].name}: name one with features, such as efficientnet-lite0; "
            "see `noisylabels list encoders`"
        )
    if out is not None:
        write_embeddings(Path(out).expanduser(), found)
    return tuple(found)
