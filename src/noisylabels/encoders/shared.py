"""Features of whole sets of images as memory-mapped files, which the processes of a study share.

`cache_root()/embeddings/sets/<digest>.npy` holds them as float32, in the order of the set; the digest is that
of the embedded set, which changes with the images, the labels and the encoder. A process that maps the file
neither hashes images nor copies features, so that many processes need the memory of one. A damaged file is
not used: `<digest>.json` holds its checksums, which are compared whenever it is mapped. Only `share` writes
such files, because the store, in half precision, is enough for a single run.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from noisylabels.core.columnar import read_array
from noisylabels.core.files import atomic_replace, cache_root, make_folder, read_json, remove_file, write_json
from noisylabels.core.sums import piece_sums
from noisylabels.data.features import Examples, FeatureSet, embedded_digest
from noisylabels.data.images import ImageSet
from noisylabels.encoders.encoder import FrozenEncoder

_KEPT_SECONDS = 7 * 86_400  # files that no run has used for so long are removed


def share(part: Examples) -> None:
    """Write the features of embedded images for other processes; nothing for another set or a full disk."""
    if not isinstance(part, FeatureSet) or part.images is None or part.embedding is None:
        return
    path = _path(embedded_digest(part.images.digest, part.embedding))
    if _mapped(path, (len(part), part.features.shape[1])) is not None:
        return
    with contextlib.suppress(OSError):
        for other in make_folder(path.parent).glob("*.npy"):
            if time.time() - other.stat().st_mtime > _KEPT_SECONDS:
                remove_file(other)
                remove_file(other.with_suffix(".json"))
        with atomic_replace(path) as temporary, temporary.open("wb") as file:
            np.save(file, part.features.numpy())
        write_json(path.with_suffix(".json"), {"sums": piece_sums(path)})


def shared(part: Examples, encoder: FrozenEncoder) -> Tensor | None:
    """Return a set's features as `share` has written them, float32 (N, D), memory-mapped; None without one.

    Args:
        part: the set, before it is embedded.
        encoder: the encoder.
    """
    if not isinstance(part, ImageSet):
        return None
    return _mapped(_path(embedded_digest(part.digest, encoder.identity)), (len(part), encoder.dimension))


def _path(digest: str) -> Path:
    return cache_root() / "embeddings" / "sets" / f"{digest}.npy"


def _mapped(path: Path, shape: tuple[int, int]) -> Tensor | None:
    try:
        # "c": pages are shared until a process writes to them, and a write stays in that process
        if read_json(path.with_suffix(".json"))["sums"] != piece_sums(path):
            return None
        found = read_array(path, writable=True)
        os.utime(path)  # in use
    except (OSError, ValueError, EOFError, LookupError, TypeError):
        return None
    if found.dtype != np.float32 or found.shape != shape:
        return None
    return torch.from_numpy(found)
