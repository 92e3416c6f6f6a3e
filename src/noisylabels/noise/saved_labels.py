"""The Parquet format of `NoisyLabels.save`, which `read_labels` reads too."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from typing_extensions import TypedDict

from noisylabels.core.checks import InputError
from noisylabels.core.columnar import Column, open_parquet, read_columns, write_parquet
from noisylabels.core.files import check_file
from noisylabels.core.json_text import parse_json
from noisylabels.core.schema import Count, Limits, Positive, Share, checked

KEY = b"noisylabels"
"""The key in the schema's metadata that holds the record, everything but the columns, as JSON."""

_FORMATS = (1, 2)  # the second has labels that are values of classes, which the record holds


class _Saved(TypedDict):
    format: int
    spec: str
    seed: int
    num_classes: Positive
    pairs: list[Annotated[list[Count], Limits(min_length=2, max_length=2)]]
    digest: str


class _Record(_Saved, total=False):
    rate: Share
    classes: list[str | float | bool]
    expected: list[list[float]]


_COLUMNS = {
    **dict.fromkeys(("given", "true"), Column("integers")),
    "flipped": Column("truth", optional=True),
    **dict.fromkeys(("index", "foreign", "row"), Column("integers", optional=True)),
    "id": Column("text", optional=True),
}


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

    form = _FORMATS["classes" in record]
    table = pa.table(dict(columns), metadata={KEY: json.dumps({"format": form, **record})})
    write_parquet(path, table, compression="zstd")


def read_saved(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the record and the columns of a file that `write_saved` wrote, verified by its digest.

    Raises:
        InputError: the file is missing, damaged, or of another kind or format.
    """
    again = "restore it or create it again"
    with open_parquet(check_file(path), again) as parquet:
        about = (parquet.schema_arrow.metadata or {}).get(KEY)
    if about is None:
        raise InputError(
            f"{path} is a Parquet file without noisy labels, expected one that NoisyLabels.save wrote"
        )
    # a class may be an integer beyond 64 bits
    found = checked(parse_json(about, path, again, foreign=True), dict[str, Any], path, again)
    if found.get("format") not in _FORMATS:
        raise InputError(
            f"{path} has noisy labels of format {found.get('format')!r}, expected "
            f"{' or '.join(map(str, _FORMATS))}; create it again with this version"
        )
    record: dict[str, Any] = checked(found, _Record, path, again)
    table = read_columns(path, _COLUMNS, again)
    columns = {name: table[name].to_numpy() for name in _COLUMNS if name in table.column_names}
    if digest_of(record, columns) != record["digest"]:
        raise InputError(f"{path} is damaged: its labels do not match its digest; {again}")
    return record, columns
