"""Probabilities that a caller supplied: read, checked, and brought into the order of the examples."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.audit.fingerprints import Fingerprints
from noisylabels.audit.probability_files import GivenProbs, check_unnamed, read_probs, select
from noisylabels.audit.saved_probs import digest_of
from noisylabels.core.checks import InputError
from noisylabels.core.files import check_file
from noisylabels.core.labels import check_names
from noisylabels.core.positions import Positions
from noisylabels.core.probabilities import column_names, columns_of, match_columns
from noisylabels.core.row_index import index_of, is_default, match_rows
from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.checks import as_checked, check_labels_probs, numbers

_BLOCK = 1024  # rows


def given_probs(
    values: Any,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    ids: Sequence[str],
    positions: Positions | None,
    name: str,
    note: Callable[[str], None],
    id_column: str | None = None,
    data_index: Callable[[], Sequence[str] | None] = lambda: None,
    known: Callable[[], Fingerprints | None] | None = None,
    columns: Sequence[object] | None = None,
    in_order: bool = False,
) -> GivenProbs:
    """Return the probabilities that a caller supplied, one row per example in the order of the examples.

    Args:
        values: (N, K), an array or a frame, or a file of them, see `read_probs`.
        labels: (N,) int64 in [0, K).
        class_names: K names.
        ids: N names.
        positions: where the examples lie in their source; None for labels without data.
        name: name of the data in errors.
        note: receives lines on columns and rows that are not used.
        id_column, data_index, known: see `read_probs`.
        columns: the class names in the order of the columns without names; by default that of `class_names`.
        in_order: whether there is one row per example, in the order of the examples.

    Raises:
        InputError: the probabilities cannot be read, or do not match the examples or the classes; or the
            order of unnamed columns is unknown.
    """
    order = None if columns is None else columns_of(class_names, columns, name)
    named = class_names if columns is None else check_names(columns)
    is_file = isinstance(values, (str, os.PathLike))
    unnamed = Path(values).suffix.lower() == ".npy" if is_file else column_names(values) is None
    if unnamed and columns is None and positions is not None:
        check_unnamed(class_names, str(values) if is_file else "the array of probs")
    if isinstance(values, (str, os.PathLike)):
        source, notes = Path(values), list[str]()
        found = read_probs(source, named, ids, name, notes, positions, id_column, data_index, known)
        for line in notes:
            note(f"{source}: {line}")
        if found.of_audit:  # dividing by the sums once more could change the last bit
            return found if order is None else _all_reordered(found, order)
        values = found.probs
    else:
        frame, values = values, match_columns(values, named)
        rows = None
        if not in_order and positions is not None:
            at, total = positions.rows, positions.total
            rows = match_rows(frame, count=len(ids), ids=ids, rows=at, total=total, in_memory=False)
        if rows is not None:
            values = values[rows]
        elif not in_order and positions is not None:
            # each row is checked before some are selected, so that an error names the row as passed
            values = select(as_checked(values, "probs"), positions, name)
    if order is not None:
        values = _reordered(as_checked(values, "probs"), order)
    probs, _ = check_labels_probs(labels, values)
    if probs.shape[1] != len(class_names):
        raise InputError(
            f"probs have {probs.shape[1]} columns, expected one for each of {len(class_names)} classes; if "
            "a class has no examples, pass all names as class_names"
        )
    return GivenProbs(probs)


def _all_reordered(found: GivenProbs, order: list[int]) -> GivenProbs:
    """Return the probabilities of an audit with their columns in another order."""
    seen, network = (None if values is None else values[:, order] for values in (found.seen, found.network))
    return replace(found, probs=_reordered(found.probs, order), seen=seen, network=network)


def _reordered(probs: CheckedProbs, order: list[int]) -> CheckedProbs:
    if order == list(range(probs.shape[1])):
        return probs
    if len(order) != probs.shape[1]:
        raise InputError(
            f"probs have {probs.shape[1]} columns, expected one for each of {len(order)} class_names"
        )
    return CheckedProbs(probs.values[:, order], "probs")


def digest(probs: Any) -> str:
    """Return a hash of probabilities, or of a file of them, in hexadecimal."""
    if isinstance(probs, (str, os.PathLike)):
        return digest_of(check_file(Path(probs).expanduser()))
    values = numbers(probs, "probs", "(N, K)", None)
    made = hashlib.sha256()
    if (names := column_names(probs)) is not None and names != [str(k) for k in range(len(names))]:
        made.update(repr(names).encode())
    if (index := index_of(probs)) is not None and not is_default(index):
        made.update(repr(index.tolist()).encode())
    for start in range(0, len(values) if values.ndim else 0, _BLOCK):  # as float64, without a copy of all
        made.update(np.ascontiguousarray(values[start : start + _BLOCK], dtype=np.float64).data)
    return made.hexdigest()
