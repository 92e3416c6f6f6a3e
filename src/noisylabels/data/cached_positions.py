"""The positions of a cached set's examples in their source: rows.npy, and the rest in meta.json."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from typing_extensions import TypedDict

from noisylabels.core.columnar import read_array
from noisylabels.core.files import atomic_replace
from noisylabels.core.positions import Positions
from noisylabels.core.schema import Count, Limits
from noisylabels.data.cache_sums import write_meta
from noisylabels.data.names import Names
from noisylabels.data.reader import Plan

KEY = "positions"
"""The key in an entry's meta.json, which entries of version 0.1 lack."""


class _Place(TypedDict):
    total: int | None
    whole: bool
    source: str
    doubt: str


class _Meta(TypedDict):
    class_names: list[str]
    num_train: Count
    notes: list[str]
    labels_sha256: str
    digests: Annotated[list[str], Limits(min_length=2, max_length=2)]


class Meta(_Meta, total=False):
    """Content of an entry's meta.json, beside its checksums."""

    positions: Annotated[list[_Place], Limits(min_length=2, max_length=2)]
    rows_sha256: str
    white: Annotated[list[float], Limits(min_length=2, max_length=2)]


def write_positions(folder: Path, places: Sequence[Positions], meta: dict[str, Any]) -> None:
    """Write the rows of the training and the test set to rows.npy, and add the rest to `meta`."""
    known = [part.rows for part in places if part.rows is not None]
    rows = np.concatenate(known) if known else np.empty(0, dtype=np.int64)  # none without a single order
    with atomic_replace(folder / "rows.npy") as temporary, temporary.open("wb") as file:
        np.save(file, rows)
    names = ("total", "whole", "source", "doubt")
    meta[KEY] = [{name: getattr(part, name) for name in names} for part in places]
    meta["rows_sha256"] = hashlib.sha256(rows.tobytes()).hexdigest()


def read_positions(entry: Path, meta: dict[str, Any]) -> Sequence[Positions]:
    """Return the positions of the training and of the test set.

    Raises:
        OSError, ValueError, TypeError, LookupError, EOFError: the entry is damaged.
    """
    rows, n = read_array(entry / "rows.npy"), meta["num_train"]
    if hashlib.sha256(rows.tobytes()).hexdigest() != meta["rows_sha256"]:
        raise ValueError("rows.npy is damaged")
    parts = (rows[:n], rows[n:]) if len(rows) else (None, None)
    return [Positions(part, **about) for part, about in zip(parts, meta[KEY], strict=True)]


def completed(entry: Path, plan: Plan, ids: Names, meta: dict[str, Any]) -> Sequence[Positions] | None:
    """Add the positions to an entry that lacks them, and return them; None if it must be read again.

    Only entries of image files are completed, because decoding them again may take hours.
    """
    if plan.ordered is None:
        return None
    files = plan.ordered()
    kept, names = list[int](), enumerate(files.ids)
    for wanted in ids:  # those that could be read, in the same order
        kept += [next((place for place, name in names if name == wanted), -1)]
    at, n = np.array(kept, dtype=np.int64), meta["num_train"]
    if files.positions is None or -1 in kept or int((at < files.num_train).sum()) != n:
        return None
    train, test = files.positions.parts(files.num_train)
    places = train.take(at[:n]), test.take(at[n:] - files.num_train)
    with contextlib.suppress(OSError):  # without it the next run completes the entry again
        write_positions(entry, places, meta)
        write_meta(entry, meta)
    return places
