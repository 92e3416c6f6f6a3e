"""Files with the results of the folds of an audit, written and read without a second copy in memory."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import CorruptedFile
from noisylabels.core.files import atomic_replace
from noisylabels.core.large_arrays import large_array
from noisylabels.core.opening import check_regular, may_pass

_ROWS = 1 << 14  # of an array that are read at once


def fold_file(folder: Path, fold: int) -> Path:
    """Return the file of a fold, counted from 0."""
    return folder / f"fold-{fold}.safetensors"


def keep_fold(path: Path, part: Mapping[str, np.ndarray]) -> None:
    """Write the arrays of a fold, with their digest.

    Raises:
        OSError: the file cannot be written, as on a full disk.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(array) for name, array in part.items()}
    with atomic_replace(path) as temporary:
        try:
            save_file(arrays, temporary, {"digest": _digest(arrays)})
        except SafetensorError as error:  # only its text has the number of the system's error
            found = re.search(r"os error (\d+)", str(error))
            number = int(found[1]) if found else errno.EIO
            raise OSError(number, os.strerror(number)) from error


def kept_fold(
    path: Path, held: np.ndarray, trained: np.ndarray, num_classes: int
) -> dict[str, np.ndarray] | None:
    """Return the arrays of a fold; None if there is no file.

    Args:
        path: the file.
        held, trained: positions of the examples that were held out, and of those that were trained on.
        num_classes: K.

    Raises:
        CorruptedFile: the file is damaged, or of other examples.
        OSError: it cannot be read for a reason that may pass.
    """
    if not path.exists():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        check_regular(path)
        with safe_open(path, "np") as file:
            names = file.keys()  # no mapping
            part = {name: _read(file, name) for name in names}
            digest = (file.metadata() or {}).get("digest")
        h, t, K = len(held), len(trained), num_classes
        shapes = {"probs": (h, K), "seen": (t, K), "dynamics": (3, t), "seconds": (1,)}
        fits = digest in (None, _digest(part))  # folds of earlier versions have none
        fits &= all(part[name].shape == shape for name, shape in shapes.items())
        fits &= all(_finite(part[name]) for name in shapes)
        fits &= np.array_equal(part["held"], held) and np.array_equal(part["trained"], trained)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and may_pass(error):
            raise
        fits = False
    if not fits:
        raise CorruptedFile(f"{path} is damaged; remove it to train its fold again")
    return part


def _read(file: Any, name: str) -> np.ndarray:
    """Return an array of a safetensors file, a large one read some rows at a time."""
    stored = file.get_slice(name)
    shape = stored.get_shape()
    if not shape or shape[0] <= _ROWS:
        return np.asarray(file.get_tensor(name))
    first = stored[:_ROWS]
    array = large_array(shape, first.dtype)
    array[:_ROWS] = first
    for start in range(_ROWS, shape[0], _ROWS):
        end = min(start + _ROWS, shape[0])
        array[start:end] = stored[start:end]
    return array


def _finite(array: np.ndarray) -> bool:
    return all(bool(np.isfinite(array[start : start + _ROWS]).all()) for start in range(0, len(array), _ROWS))


def _digest(part: Mapping[str, np.ndarray]) -> str:
    """Return a digest of named arrays, whose order does not matter."""
    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(part):
        digest.update(f"{name} {part[name].dtype} {part[name].shape}".encode())
        digest.update(np.ascontiguousarray(part[name]).data)
    return digest.hexdigest()
