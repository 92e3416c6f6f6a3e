"""The Parquet format of `NoisyLabels.save`, which `read_labels` reads too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.files import atomic_replace, check_file
from noisylabels.core.opening import open_file

KEY = b"noisylabels"
"""The key in the schema's metadata that holds the record, everything but the columns, as JSON."""

_FORMATS = (1, 2)  # the second has labels that are values of classes, which the record holds


def digest_of(record: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> str:
    """Return the sha256 of noisy labels and their record, in hexadecimal.

    Args:
        record: spec, seed, num_classes, pairs, and classes if the labels are not class numbers.
        columns: given and true, (N,) integers, and index and foreign if they are set.
    """
    about: list[Any] = [record[name] for name in ("spec", "seed", "num_classes", "pairs")]
    about += [record["classes"]] if "classes" in record else []
    about += [len(columns["given"]), *(name for name in ("index", "foreign") if name in columns)]
    sha = hashlib.sha256(json.dumps(about).encode())
    for name in ("given", "true", "index", "foreign"):
        sha.update(columns[name].astype("<i8").tobytes() if name in columns else b"")
    return sha.hexdigest()


def write_saved(path: Path, record: Mapping[str, Any], columns: Mapping[str, np.ndarray]) -> None:
    """Write a record and its columns to a Parquet file, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    form = _FORMATS["classes" in record]
    table = pa.table(dict(columns), metadata={KEY: json.dumps({"format": form, **record})})
    # a file, not its path: Arrow accepts only paths in UTF-8
    with atomic_replace(path) as temporary, temporary.open("wb") as file:
        pq.write_table(table, file, compression="zstd")


def read_saved(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the record and the columns of a file that `write_saved` wrote, verified by its digest.

    Raises:
        InputError: the file is missing, damaged, or of another kind or format.
    """
    record, columns = _read(path)
    if record.get("format") not in _FORMATS:
        raise InputError(
            f"{path} has noisy labels of format {record.get('format')!r}, expected "
            f"{' or '.join(map(str, _FORMATS))}; create it again with this version"
        )
    try:
        intact = digest_of(record, columns) == record["digest"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); restore it or create it again") from None
    if not intact:
        raise InputError(
            f"{path} is damaged: its labels do not match its digest; restore it or create it again"
        )
    return record, columns


def _read(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_file(path)
    try:
        with open_file(path) as opened, pq.ParquetFile(opened) as file:
            record = json.loads((file.schema_arrow.metadata or {}).get(KEY, b"null"))
            table = file.read()
    # besides its own exceptions Arrow raises OSError and, for UTF-8 and JSON, ValueError
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path} is not a readable Parquet file ({reason}); restore it or create it again"
        ) from None
    if not isinstance(record, dict):
        raise InputError(
            f"{path} is a Parquet file without noisy labels, expected one that NoisyLabels.save wrote"
        )
    return record, {name: table[name].to_numpy() for name in table.column_names}
