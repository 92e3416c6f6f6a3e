"""Compute the features of a set with a frozen encoder, from its store where they are known."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from noisylabels.core.checks import InputError
from noisylabels.core.interrupt import stop_on_signals
from noisylabels.core.surrogates import whole_text
from noisylabels.data.decode import Progress
from noisylabels.data.features import Examples, FeatureSet, embedded
from noisylabels.data.images import ImageSet
from noisylabels.data.pixel_source import Pixels
from noisylabels.encoders.catalog import chosen_for, find_encoder, parse_features, row_of, side_of
from noisylabels.encoders.embedding_files import embedding_identity, is_embedding_file, read_embeddings
from noisylabels.encoders.encoder import IMAGES, FrozenEncoder
from noisylabels.encoders.names import AUTO, NONE
from noisylabels.encoders.shared import shared
from noisylabels.encoders.store import Store, content_hashes, stored_form
from noisylabels.encoders.suitability import check_content, content_of

SEGMENT_SECONDS = 10.0
"""Features are stored after so long, so that a killed run loses no more; a stopped one loses none."""


def embed_sets(
    parts: Sequence[Examples],
    features: str = AUTO,
    *,
    device: str = "auto",
    precision: str = "auto",
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> list[Examples]:
    """Return sets, such as training and test set, as features of a frozen encoder.

    Args:
        parts: the sets; an encoder that must be fitted is fitted to the first.
        features: the name of an encoder, see `find_encoder`; "auto" chooses it, and "none" returns the sets.
            A file of embeddings (.npy, .npz, .parquet, .csv, .tsv) is matched to the examples by ids or by
            their order, see `read_embeddings`.
        device, precision: of the encoder, see `find_encoder`.
        progress: called with ("embedding ...", done, total).
        note: receives lines that the user should read.

    Returns:
        `FeatureSet`s with their `images` or `texts` and the encoder's identity, `embedding`; or the sets as
        they are. The features of a table's other columns come before those of its texts.

    Raises:
        InputError: an unknown encoder, or one that is not installed or does not take these examples.
    """
    if is_embedding_file(features):
        path = Path(features).expanduser()
        rows = read_embeddings(path, parts, note)
        identity = embedding_identity(path, rows[0].shape[1])
        return [embedded(part, made, identity) for part, made in zip(parts, rows, strict=True)]
    encoder = encoder_for(parts[0], features, device=device, precision=precision, note=note)
    if encoder is None:
        return list(parts)
    return [embed_set(part, encoder, progress, note) for part in parts]


def encoder_for(
    train: Examples,
    features: str = AUTO,
    *,
    device: str = "auto",
    precision: str = "auto",
    note: Callable[[str], None] = lambda _: None,
) -> FrozenEncoder | None:
    """Return the encoder of a choice of features, fitted to a training set if it must be; None for "none".

    Args:
        train: the training set.
        features, device, precision, note: see `embed_sets`.

    Raises:
        InputError: as `embed_sets`.
    """
    name = features
    if features == AUTO:
        name, line = chosen_for(train)
        if line:
            note(line)
    if name == NONE:
        return None
    content = content_of(train)
    check_content(name, row_of(parse_features(name).name).of, content, train.name)  # before it is built
    encoder = find_encoder(name, image_side=side_of(train), device=device, precision=precision)
    check_content(name, encoder.of, content, train.name)
    if encoder.of == IMAGES:
        note(f"images are encoded with {encoder.identity['name']}, which stays frozen")
    found = _content(train, encoder)
    return encoder.fitted(found) if isinstance(found, Sequence) else encoder


def embed_set(
    part: Examples,
    encoder: FrozenEncoder,
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> FeatureSet:
    """Return a set as features of an encoder that is fitted if it must be; see `embed_sets`."""
    features = shared(part, encoder)
    if features is None:
        features = encode(_content(part, encoder), encoder, progress, note)
    if isinstance(part, FeatureSet):
        features = torch.cat([part.features, features], dim=1)
    return embedded(part, features, encoder.identity, fitted=encoder.state())


def _content(part: Examples, encoder: FrozenEncoder) -> Pixels | Sequence[str]:
    """Return what the encoder takes of a set: images or texts."""
    check_content(encoder.name, encoder.of, content_of(part), part.name)
    if isinstance(part, ImageSet):
        return part.images
    assert part.texts is not None
    return [whole_text(text) for text in part.texts]


def encode(
    content: Pixels | Sequence[str],
    encoder: FrozenEncoder,
    progress: Progress | None = None,
    note: Callable[[str], None] = lambda _: None,
) -> Tensor:
    """Return the features of images or texts, float32 (N, D), from the store or computed and stored.

    Equal examples are computed once. Values are rounded to half precision, as the store keeps them.

    Args:
        content: images, uint8 (N, C, H, W), or a source of them; or N texts.
        encoder: the encoder.
        progress: called with ("embedding ...", done, total).
        note: receives lines that the user should read.

    Raises:
        InputError: features that are not finite.
        Interrupted: SIGINT or SIGTERM arrived; the features so far are stored, and the same call goes on.
    """
    hashes = content_hashes(content)
    store = Store(encoder)
    features, known = store.find(hashes)
    if store.damaged:
        note(
            f"{len(store.damaged)} stored files of features are damaged and not used, such as "
            f"{store.damaged[0]}; their examples are embedded again"
        )
    todo = np.flatnonzero(~known)
    if not len(todo):
        return features
    _, first, same = np.unique(hashes[todo], axis=0, return_index=True, return_inverse=True)
    same = same.reshape(-1)
    order = _order(content, todo[first])
    places, rank = todo[first][order], np.argsort(order)
    made = _computed(content, places, hashes, encoder, store, progress, note)
    features[torch.from_numpy(todo)] = made[torch.from_numpy(rank[same])]
    store.tidy()
    return features


def _order(content: Pixels | Sequence[str], places: np.ndarray) -> np.ndarray:
    """Return the order in which to encode the examples at `places`, (n,).

    Images in the order of the memory-mapped file; texts by length, since those of one batch are padded to the
    longest, the longest first, so that the time left is not underestimated.
    """
    if not isinstance(content, Sequence):
        return np.argsort(places)
    return np.argsort([-len(content[i]) for i in places.tolist()], kind="stable")


def _computed(
    content: Pixels | Sequence[str],
    places: np.ndarray,
    hashes: np.ndarray,
    encoder: FrozenEncoder,
    store: Store,
    progress: Progress | None,
    note: Callable[[str], None],
) -> Tensor:
    """Return the features of the examples at `places`, storing them every few seconds and before a stop."""
    of = "images" if encoder.of == IMAGES else "texts"
    what, count = f"embedding {of} with {encoder.name}", len(places)
    made: list[Tensor] = []
    unstored = _Unstored(store, note)
    with stop_on_signals() as stopped:
        try:
            for start in range(0, count, encoder.batch_size):
                if stopped():
                    raise stopped.interrupted(f"after {start:,} of {count:,} {of} were embedded")
                if progress is not None:
                    progress(what, start, count)
                at = places[start : start + encoder.batch_size]
                rows = encoder.encode(_batch(content, at))
                if not bool(rows.isfinite().all()):
                    raise InputError(f"the encoder {encoder.name!r} returned values that are not finite")
                made.append(stored_form(rows).float())
                unstored.add(hashes[at], made[-1])
        finally:  # also before a signal or an error ends the work
            unstored.store_now()
    if progress is not None:
        progress(what, count, count)
    return torch.cat(made)


def _batch(content: Pixels | Sequence[str], at: np.ndarray) -> Tensor | list[str]:
    if not isinstance(content, Sequence):
        return content.index_select(0, torch.from_numpy(at))
    return [content[i] for i in at.tolist()]


class _Unstored:
    """Features that are not stored yet; those of `SEGMENT_SECONDS` are stored at once.

    Args:
        store: where they are stored.
        note: receives a line if they cannot be stored; then no more are kept.
    """

    def __init__(self, store: Store, note: Callable[[str], None]) -> None:
        self.place, self.note = store, note
        self.parts: list[tuple[np.ndarray, Tensor]] = []
        self.last, self.keep = time.monotonic(), True

    def add(self, hashes: np.ndarray, features: Tensor) -> None:
        """Keep the features of a batch, and store all that wait if the time has come."""
        if self.keep:
            self.parts.append((hashes, features))
        if time.monotonic() - self.last > SEGMENT_SECONDS:
            self.store_now()

    def store_now(self) -> None:
        """Store all features that wait."""
        if self.parts:
            hashes, features = zip(*self.parts, strict=True)
            try:
                self.place.add(np.concatenate(hashes), torch.cat(features))
            except OSError as error:
                self.keep = False
                self.note(f"the features could not be stored ({error}), so the next run embeds again")
        self.parts, self.last = [], time.monotonic()
