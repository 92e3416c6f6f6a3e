"""Stored features: one folder per encoder, in which an example is found by a hash of its content.

A folder holds segments, files of hashes and features in half precision. A segment is written under another
name and renamed, so a killed run loses only the segment that it was working on, and several processes may
write at once. A hash is that of an example's pixels or text alone: a changed image is embedded again, a
changed label, order or split is not. The folder's name is a hash of the encoder's identity: its weights,
preprocessing and precision.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisylabels.core.files import atomic_replace, cache_root, make_folder, remove_file, write_json
from noisylabels.core.opening import check_regular, may_pass
from noisylabels.data.pixel_source import Pixels
from noisylabels.encoders.encoder import FrozenEncoder, key_of

HASH_BYTES = 16
MOST_SEGMENTS = 16
"""With more segments than this, a finished run merges them into one."""

_BLOCK = 512  # images hashed at once by a thread


def content_hashes(examples: Pixels | Sequence[str]) -> np.ndarray:
    """Return a hash of the content of each example, uint8 (N, 16).

    Args:
        examples: images, uint8 (N, C, H, W), or a source of them, which decodes all; or N texts.
    """
    made = np.empty((len(examples), HASH_BYTES), np.uint8)
    if isinstance(examples, Sequence):
        for i, text in enumerate(examples):
            made[i] = _hash(text.encode("utf-8", "surrogatepass"))
        return made
    head = str(tuple(examples.shape[1:])).encode()

    def fill(start: int) -> None:
        rows = torch.arange(start, min(start + _BLOCK, len(examples)))
        block = np.ascontiguousarray(examples.index_select(0, rows).numpy())
        for i, image in enumerate(block):
            made[start + i] = _hash(image.data, head)

    with ThreadPoolExecutor(2) as pool:  # hashing releases the lock of the interpreter
        list(pool.map(fill, range(0, len(examples), _BLOCK)))
    return made


def _hash(content: bytes | memoryview, head: bytes = b"") -> np.ndarray:
    digest = hashlib.blake2b(content, digest_size=HASH_BYTES, salt=hashlib.md5(head).digest())
    return np.frombuffer(digest.digest(), np.uint8)


def stored_form(features: Tensor) -> Tensor:
    """Return features in half precision, or as they are where a value is too large for it."""
    half = features.to(torch.float16)
    return half if bool(half.isfinite().all()) else features.float()


def stored_in(identity: Mapping[str, Any]) -> Path:
    """Return the folder of the stored features of an encoder, by its identity."""
    return cache_root() / "embeddings" / key_of(identity)


class Store:
    """The stored features of an encoder.

    Args:
        encoder: the encoder.
        root: the folder of all encoders; by default `embeddings` in the cache.
    """

    def __init__(self, encoder: FrozenEncoder, root: Path | None = None) -> None:
        self.encoder = encoder
        self.folder = stored_in(encoder.identity) if root is None else root / encoder.key
        self.damaged: list[Path] = []

    def find(self, hashes: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Return the features of examples, float32 (N, D), and which are known, bool (N,); others are 0.

        Args:
            hashes: (N, 16) uint8.
        """
        features = torch.zeros(len(hashes), self.encoder.dimension)
        known = np.zeros(len(hashes), bool)
        keys = _as_keys(hashes)
        for stored, rows in self._segments():
            order = np.argsort(stored)
            place = np.searchsorted(stored[order], keys).clip(max=len(stored) - 1)
            at = order[place]
            hit = stored[at] == keys
            features[torch.from_numpy(hit)] = rows[torch.from_numpy(at[hit])].float()
            known |= hit
        return features, known

    def add(self, hashes: np.ndarray, features: Tensor) -> None:
        """Store features, float (n, D), under their hashes; an OSError if they cannot be stored."""
        from safetensors.torch import save

        keys, rows = torch.from_numpy(np.ascontiguousarray(hashes)), stored_form(features).contiguous()
        if not self.folder.exists():
            make_folder(self.folder)
            write_json(self.folder / "encoder.json", self.encoder.identity)
        with atomic_replace(self.folder / f"{secrets.token_hex(8)}.safetensors") as temporary:
            temporary.write_bytes(save({"hashes": keys, "features": rows}, {"digest": _digest(keys, rows)}))

    def tidy(self) -> None:
        """Merge the segments if there are many."""
        paths = sorted(self.folder.glob("*.safetensors"))
        if len(paths) <= MOST_SEGMENTS:
            return
        parts = [part for path in paths if (part := self._read(path)) is not None]
        if not parts:  # another process has merged them
            return
        with contextlib.suppress(OSError):
            self.add(np.concatenate([hashes for hashes, _ in parts]), torch.cat([rows for _, rows in parts]))
            for path in paths:
                remove_file(path)

    def _segments(self) -> Iterator[tuple[np.ndarray, Tensor]]:
        for path in sorted(self.folder.glob("*.safetensors")):
            if (part := self._read(path)) is not None:
                yield _as_keys(part[0]), part[1]

    def _read(self, path: Path) -> tuple[np.ndarray, Tensor] | None:
        """Return hashes and features of a segment; a damaged one is removed and listed in `damaged`."""
        from safetensors import SafetensorError, safe_open

        try:
            check_regular(path)
            with safe_open(path, "pt") as file:
                keys, rows = file.get_tensor("hashes"), file.get_tensor("features")
                digest = (file.metadata() or {}).get("digest")
            fits = keys.dtype == torch.uint8 and tuple(keys.shape) == (len(rows), HASH_BYTES)
            fits &= rows.dtype in (torch.float16, torch.float32) and rows.shape[1:] == (
                self.encoder.dimension,
            )
            if fits and digest == _digest(keys, rows):
                return keys.numpy(), rows
        except FileNotFoundError:  # another process has merged it just now
            return None
        except (SafetensorError, OSError, ValueError) as error:
            if isinstance(error, OSError) and may_pass(error):
                raise  # its features took long to compute
        self.damaged.append(path)
        with contextlib.suppress(OSError):  # its examples are embedded and stored again
            remove_file(path)
        return None


def _as_keys(hashes: np.ndarray) -> np.ndarray:
    """Return the hashes as values that can be sorted, (N,)."""
    keys: np.ndarray = np.ascontiguousarray(hashes).view(f"S{HASH_BYTES}").reshape(-1)
    return keys


def _digest(keys: Tensor, rows: Tensor) -> str:
    digest = hashlib.blake2b(keys.numpy().data, digest_size=HASH_BYTES)
    digest.update(rows.numpy().data)
    return digest.hexdigest()
