"""The probabilities in an audit's folder: probs.parquet, out of fold, and seen.parquet, during training.

Where several judges made the former, network.parquet has those of the network alone, from which the noise
rate is estimated. All have the columns id and index and one column per class, so that pandas reads them as
they are. If a class has the name of a key column, that column gets underscores: "id_". The schema's metadata
says which columns are which, and that the files belong together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels.audit.documents import About
from noisylabels.audit.fingerprints import Fingerprints, from_json
from noisylabels.audit.posterior import RULES
from noisylabels.audit.removal import to_remove
from noisylabels.core.checks import CorruptedFile, InputError
from noisylabels.core.columnar import Column, open_parquet, read_row_groups, write_tables
from noisylabels.core.files import check_file, file_digest, remove_file
from noisylabels.core.json_text import parse_json
from noisylabels.core.large_arrays import large_array
from noisylabels.core.schema import checked
from noisylabels.noise.noise_rate import NETWORK

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK_BYTES = 1 << 26  # of probabilities per row group, which is held in memory while it is written or read
_LEAST_ROWS = 1024

PROBS, SEEN, OF_NETWORK = "probs.parquet", "seen.parquet", "network.parquet"
_KEY = b"noisylabels.probs"


@dataclass(frozen=True)
class Layout:
    """The columns of a file of probabilities that an audit wrote.

    Args:
        path: the file.
        id, index: the names of the key columns.
        classes: K names.
        seen: the file beside it with the probabilities during training, or None if there are none.
        network: the file beside it with those of the network alone, or None if there are none.
        pair: a hash of these files' probabilities.
        fingerprints: of the examples, if their ids are only positions; None for others and in older files.
        rule: how the audit scored the labels, see `posterior.judged`.
        judges_blank: whether the audit judged rows without text, see `Audit`.
    """

    path: Path
    id: str
    index: str
    classes: tuple[str, ...]
    seen: Path | None
    pair: str
    fingerprints: Fingerprints | None = None
    rule: str = NETWORK
    network: Path | None = None
    judges_blank: bool = True

    @property
    def others(self) -> tuple[Path, ...]:
        """The files that belong to this one."""
        return tuple(path for path in (self.seen, self.network) if path is not None)

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of those that are missing, or are of another audit."""
        return tuple(path.name for path in self.others if not self._is_there(path))

    def _is_there(self, path: Path) -> bool:
        other = layout_of(path) if path.is_file() else None
        return other is not None and other.pair == self.pair


def layout_of(path: Path) -> Layout | None:
    """Return the columns of a file that `write_probs` wrote; None for any other file."""
    if path.suffix.lower() != ".parquet":
        return None
    with open_parquet(path) as parquet:
        schema, count = parquet.schema_arrow, parquet.metadata.num_rows
    about = (schema.metadata or {}).get(_KEY)
    if about is None or len(schema.names) < 4:
        return None
    try:
        known = checked(parse_json(about, path), About, path)
        prints = None if (said := known.get("fingerprints")) is None else from_json(said)
    except ValueError:
        return None
    rule = known.get("rule", NETWORK)
    if rule not in RULES or not (prints is None or len(prints.values) == count):
        return None
    seen = path.with_name(SEEN) if known["seen"] else None
    key, index, *classes = schema.names
    network = path.with_name(OF_NETWORK) if known.get("network", False) else None
    blank = known.get("judges_blank", not known["seen"])
    return Layout(path, key, index, tuple(classes), seen, known["pair"], prints, rule, network, blank)


def digest_of(path: Path) -> str:
    """Return a hash of a file of probabilities and of those that belong to it."""
    layout = layout_of(path)
    if layout is None or not layout.others or layout.missing:
        return file_digest(path)
    every = "".join(map(file_digest, (path, *layout.others)))
    return hashlib.sha256(every.encode()).hexdigest()


def write_probs(
    folder: Path,
    ids: Sequence[str],
    index: np.ndarray,
    class_names: Sequence[str],
    probs: np.ndarray,
    seen: np.ndarray | None,
    fingerprints: Fingerprints | None = None,
    rule: str = NETWORK,
    network: np.ndarray | None = None,
    judges_blank: bool | None = None,
) -> None:
    """Write probs.parquet and, where there are such probabilities, seen.parquet and network.parquet.

    Args:
        folder: the folder of the audit.
        ids: N names.
        index: int64, (N,), see `Audit.index`.
        class_names: K names.
        probs: (N, K); float64 is kept only if float32 would change a value. A block of rows is copied at a
            time, so that a mapped file of several GB needs no memory of its size.
        seen: (N, K), or None.
        fingerprints: of the examples, if their ids are only positions.
        rule: how the audit scored the labels, see `posterior.judged`.
        network: (N, K), or None, see `Assessment`.
        judges_blank: see `Audit`; by default, without `seen`.
    """
    found = hashlib.sha256()
    for values in (probs, seen) if network is None else (probs, seen, network):
        if values is None:
            found.update(b"-")
            continue
        for rows in _blocks(values):
            found.update(np.ascontiguousarray(values[rows]).data)
    about: dict[str, Any] = {"seen": seen is not None, "pair": found.hexdigest()[:32]}
    if rule != NETWORK:  # so that older files and those of other audits are alike
        about["rule"] = rule
    if network is not None:
        about["network"] = True
    if judges_blank not in (None, seen is None):  # files that do not say so are read in this way
        about["judges_blank"] = judges_blank
    if fingerprints is not None:
        about["fingerprints"] = fingerprints.as_json()
    for name, values in ((SEEN, seen), (OF_NETWORK, network), (PROBS, probs)):
        if values is None:
            remove_file(folder / name)
        else:
            write_tables(folder / name, _tables(ids, index, class_names, values, about))


def read_probs(folder: Path, num_classes: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Return the probabilities that `write_probs` wrote: out of fold, during training, and of the network.

    Raises:
        CorruptedFile: a file is missing, damaged or of another audit.
    """
    try:
        layout = layout_of(check_file(folder / PROBS))
        missing = () if layout is None else layout.missing
        if layout is not None and not missing and len(layout.classes) == num_classes:
            seen, network = (
                None if path is None else values_of(path) for path in (layout.seen, layout.network)
            )
            return values_of(layout.path), seen, network
        which = missing[0] if missing else PROBS
        reason = f"{folder / which} is missing or of another audit"
    except InputError as error:
        reason = str(error).partition(";")[0]
    raise CorruptedFile(f"{reason}; {to_remove(folder)} and audit again")


def rule_in(folder: Path) -> str:
    """Return how the audit of a folder scored the labels, see `posterior.judged`."""
    layout = layout_of(folder / PROBS)
    return NETWORK if layout is None else layout.rule


def judges_blank_in(folder: Path) -> bool | None:
    """Return whether the audit of a folder judged rows without text, see `Audit`."""
    layout = layout_of(folder / PROBS)
    return None if layout is None else layout.judges_blank


def fingerprints_in(folder: Path) -> Fingerprints | None:
    """Return the fingerprints that `write_probs` wrote into a folder, if there are any."""
    layout = layout_of(folder / PROBS)
    return None if layout is None else layout.fingerprints


def values_of(path: Path, keys: int = 2) -> np.ndarray:
    """Return the probabilities in a file that `write_probs` wrote, (N, K), beside so many columns of keys.

    Large ones are mapped from a file, see `large_array`.
    """
    with open_parquet(path) as parquet:
        names = parquet.schema_arrow.names[keys:]
        count = parquet.metadata.num_rows
    made, done = np.empty((0, len(names))), 0
    for table in read_row_groups(path, dict.fromkeys(names, Column("numbers")), "restore it, or audit again"):
        columns = [column.to_numpy() for column in table.columns[keys:]]
        if not done:
            made = large_array((count, len(columns)), np.result_type(*columns))
        made[done : done + len(table)] = np.stack(columns, axis=1)
        done += len(table)
    return made


def _blocks(values: np.ndarray) -> Iterator[slice]:
    """Yield the rows of each row group."""
    step = max(_LEAST_ROWS, _BLOCK_BYTES // (values.shape[1] * values.itemsize))
    for start in range(0, len(values), step):
        yield slice(start, start + step)


def _is_single(values: np.ndarray) -> bool:
    """Return whether float32 holds the values as they are."""
    return values.dtype == np.float32 or np.array_equal(np.asarray(values, dtype=np.float32), values)


def _tables(
    ids: Sequence[str],
    index: np.ndarray,
    class_names: Sequence[str],
    values: np.ndarray,
    about: dict[str, Any],
) -> Iterator[pa.Table]:
    """Yield the rows of a file as a table per row group."""
    import pyarrow as pa

    single = all(_is_single(values[rows]) for rows in _blocks(values))
    keys = [_free(name, class_names) for name in ("id", "index")]
    for rows in _blocks(values):
        columns = np.ascontiguousarray(np.asarray(values[rows], np.float32 if single else values.dtype).T)
        yield pa.Table.from_arrays(
            [pa.array(ids[rows], pa.string()), pa.array(index[rows], pa.int64()), *map(pa.array, columns)],
            names=[*keys, *class_names],
        ).replace_schema_metadata({_KEY: json.dumps(about)})


def _free(name: str, taken: Sequence[str]) -> str:
    """Return a name of a key column that no class has."""
    while name in taken:
        name += "_"
    return name
