"""Probabilities that a caller supplied: read, checked, and brought into the order of the examples."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.audit.fingerprints import Fingerprints
from noisylabels.audit.probability_files import GivenProbs, check_unnamed, read_probs, select
from noisylabels.audit.saved_probs import digest_of
from noisylabels.core.checks import InputError
from noisylabels.core.files import check_file
from noisylabels.core.positions import Positions
from noisylabels.core.probabilities import column_names, match_columns
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

    Raises:
        InputError: the probabilities cannot be read, or do not match the examples or the classes; or the
            order of unnamed columns is unknown.
    """
    is_file = isinstance(values, (str, os.PathLike))
    unnamed = Path(values).suffix.lower() == ".npy" if is_file else column_names(values) is None
    if unnamed and positions is not None:
        check_unnamed(class_names, str(values) if is_file else "the array of probs")
    if isinstance(values, (str, os.PathLike)):
        source, notes = Path(values), list[str]()
        found = read_probs(source, class_names, ids, name, notes, positions, id_column, data_index, known)
        for line in notes:
            note(f"{source}: {line}")
        if found.of_audit:  # dividing by the sums once more could change the last bit
            return found
        values = found.probs
    else:
        values = match_columns(values, class_names)
        if positions is not None:
            # each row is checked before some are selected, so that an error names the row as passed
            values = select(as_checked(values, "probs"), positions, name)
    probs, _ = check_labels_probs(labels, values)
    if probs.shape[1] != len(class_names):
        raise InputError(
            f"probs have {probs.shape[1]} columns, expected one for each of {len(class_names)} classes; if "
            "a class has no examples, pass all names as class_names"
        )
    return GivenProbs(probs)


def digest(probs: Any) -> str:
    """Return a hash of probabilities, or of a file of them, in hexadecimal."""
    if isinstance(probs, (str, os.PathLike)):
        return digest_of(check_file(Path(probs).expanduser()))
    values = numbers(probs, "probs", "(N, K)", None)
    made = hashlib.sha256()
    for start in range(0, len(values) if values.ndim else 0, _BLOCK):  # as float64, without a copy of all
        made.update(np.ascontiguousarray(values[start : start + _BLOCK], dtype=np.float64).data)
    return made.hexdigest()
