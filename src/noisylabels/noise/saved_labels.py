"""The Parquet file that `NoisyLabels.save` writes; `read_labels` takes it too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.files import atomic_replace, check_file

KEY = b"noisylabels"
"""The key in the schema's metadata under which the record, what is not a column, stands as JSON."""

_FORMAT = 1


def digest_of(record: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> str:
    """Return the sha256 of noisy labels and of how they came to be, in hexadecimal.

    Args:
        record: spec, seed, num_classes, pairs.
        columns: given and true, (N,) integers, and index and foreign where there are such.
    """
    about: list[Any] = [record[name] for name in ("spec", "seed", "num_classes", "pairs")]
    about += [len(columns["given"]), *(name for name in ("index", "foreign") if name in columns)]
    sha = hashlib.sha256(json.dumps(about).encode())
    for name in ("given", "true", "index", "foreign"):
        sha.update(columns[name].astype("<i8").tobytes() if name in columns else b"")
    return sha.hexdigest()


def write_saved(path: Path, record: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> None:
    """Write a record and its columns to a Parquet file, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(dict(columns), metadata={KEY: json.dumps({"format": _FORMAT, **record})})
    # a file, not its path: Arrow takes no names but those in UTF-8
    with atomic_replace(path) as temporary, temporary.open("wb") as file:
        pq.write_table(table, file, compression="zstd")


def read_saved(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the record and the columns of a file that `write_saved` wrote, checked by its digest.

    Raises:
        InputError: there is no such file, it is damaged, or it is of another kind or format.
    """
    record, columns = _read(path)
    if record.get("format") != _FORMAT:
        raise InputError(
            f"{path} has noisy labels of format {record.get('format')!r}, this version reads {_FORMAT}"
        )
    try:
        intact = digest_of(record, columns) == record["digest"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); restore it or make it anew") from None
    if not intact:
        raise InputError(f"{path} is damaged: its labels do not fit its digest; restore it or make it anew")
    return record, columns


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_file(path)
    try:
        with path.open("rb") as opened, pq.ParquetFile(opened) as file:
            record = json.loads((file.schema_arrow.metadata or {}).get(KEY, b"null"))
            table = file.read()
    # Arrow raises OSError and, for UTF-8 and JSON, ValueError on top of its own exceptions
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path} is not a readable Parquet file ({reason}); restore it or make it anew"
        ) from None
    if not isinstance(record, dict):
        raise InputError(f"{path} is a Parquet file, but not of noisy labels: NoisyLabels.save writes those")
    return record, {name: table[name].to_numpy() for name in table.column_names}
