"""Human annotations of CIFAR-10 and CIFAR-100, from the files of their authors or from Parquet.

The annotations are published under CC BY-NC 4.0 (no commercial use) and are not part of this project: users
get them from the authors, github.com/UCSC-REAL/cifar-10-100n.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.core.columnar import array_header
from noisylabels.core.files import check_file, file_digest
from noisylabels.core.opening import TEXT_BYTES, check_regular, open_file
from noisylabels.core.unpickle import damaged, read_saved, read_table
from noisylabels.noise.checks import check_labels

# The columns by the authors' names, and the clean labels that belong to each.
COLUMNS = {
    "aggre_label": "clean_label",
    "worse_label": "clean_label",
    "random_label1": "clean_label",
    "random_label2": "clean_label",
    "random_label3": "clean_label",
    "noisy_label": "clean_label",
    "noisy_coarse_label": "clean_coarse_label",
}
# Names in the paper, its code's command line and its .npy files.
ALIASES = {
    "aggre": "aggre_label",
    "aggregate": "aggre_label",
    "worse": "worse_label",
    "worst": "worse_label",
    "random1": "random_label1",
    "random2": "random_label2",
    "random3": "random_label3",
    "rand1": "random_label1",
    "rand2": "random_label2",
    "rand3": "random_label3",
    "fine": "noisy_label",
    "noisy": "noisy_label",
    "noisy100": "noisy_label",
    "noise_label": "noisy_label",
    "coarse": "noisy_coarse_label",
}
SHORT = {
    "aggre_label": "aggre",
    "worse_label": "worse",
    "random_label1": "random1",
    "random_label2": "random2",
    "random_label3": "random3",
    "noisy_label": "fine",
    "noisy_coarse_label": "coarse",
}


@dataclass(frozen=True, eq=False)
class HumanLabels:
    """The human annotations of one file, each column (N,) int64, in the order of the file.

    Args:
        columns: the columns by the authors' names, such as "worse_label".
        true: the clean labels that belong to the chosen column; None if the file has none.
        chosen: the authors' name of the requested column.
        digest: the sha256 of the file, in hexadecimal.
    """

    columns: Mapping[str, np.ndarray]
    true: np.ndarray | None
    chosen: str
    digest: str

    @property
    def given(self) -> np.ndarray:
        """The labels of the chosen column."""
        return self.columns[self.chosen]

    def take(self, rows: np.ndarray) -> HumanLabels:
        """Return the annotations of some rows."""
        columns = {name: column[rows] for name, column in self.columns.items()}
        return replace(self, columns=columns, true=None if self.true is None else self.true[rows])

    def check_order(self, labels: object, name: str = "the human labels") -> None:
        """Raise an `InputError` unless the file's clean labels equal those of the data set, in order.

        A file in another order, such as the authors' *_ordered.npy files, which follow TensorFlow Datasets,
        would otherwise look like very noisy labels.
        """
        expected = check_labels(labels)
        if len(expected) != len(self.given):
            raise InputError(
                f"{name} are {len(self.given)}, and the data set has {len(expected)} training examples; "
                "use the data set that they belong to"
            )
        if self.true is not None and (agree := int((self.true == expected).sum())) != len(expected):
            raise InputError(
                f"the clean labels that come with {name} agree with those of the data set for {agree} of "
                f"{len(expected)} examples: the file belongs to another set or order (*_ordered.npy follows "
                "TensorFlow Datasets); use the file in the order of the data set"
            )


def read_human(path: str | Path, column: str | None = None) -> HumanLabels:
    """Read CIFAR-10N or CIFAR-100N labels.

    Args:
        path: `CIFAR-10_human.pt` or `CIFAR-100_human.pt` as published, which are in the order of the
            Python version of CIFAR; `CIFAR-10_human_ordered.npy` or `CIFAR-100_human_ordered.npy`, in the
            order of TensorFlow Datasets; or Parquet with columns of the same names.
        column: for CIFAR-10N aggre (also aggregate), worse (worst), random1, random2 or random3; for
            CIFAR-100N fine (noisy) or coarse; or the authors' own name. None only for a file with a single
            column: the column determines the noise rate, so none is chosen silently.

    Returns:
        All columns, and the name of the chosen one.

    Raises:
        InputError: the file is missing, damaged, asks to run code, or holds something else; no column or an
            unknown one is named, in which case the message lists the columns with their noise rates.

    Source: Wei et al. 2022, "Learning with Noisy Labels Revisited: A Study Using Real-World Human
    Annotations". Their code unpickles the files without restriction; here only arrays are read from them.
    """
    path = Path(path)
    check_file(path)
    readers = {".pt": read_saved, ".pth": read_saved, ".npy": _read_numpy, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path} is not a file of human annotations, expected one of {', '.join(readers)}")
    try:
        digest = file_digest(path, most_bytes=TEXT_BYTES)
        table = readers[path.suffix.lower()](path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    labels = {}
    for name, values in table.items():
        name = ALIASES.get(str(name), str(name))
        if name in COLUMNS or name in COLUMNS.values():
            try:
                labels[name] = check_labels(values, None, name)
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
    if len({len(values) for values in labels.values()}) > 1:
        lengths = ", ".join(f"{name} {len(values)}" for name, values in labels.items())
        raise InputError(f"{path} has columns of different lengths ({lengths}); download it again")
    columns = {name: labels[name] for name in COLUMNS if name in labels}
    if not columns:
        found = ", ".join(map(str, table)) or "(none)"
        raise InputError(f"{path} has the columns {found}, expected one of {', '.join(COLUMNS)}")
    chosen = _choose(path, column, columns, labels)
    return HumanLabels(columns, labels.get(COLUMNS[chosen]), chosen, digest)


def _choose(
    path: Path, column: str | None, columns: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]
) -> str:
    if column is None and len(columns) == 1:
        return next(iter(columns))
    if column is not None and (name := ALIASES.get(column.lower(), column.lower())) in columns:
        return name
    listing = ", ".join(_with_rate(known, values, labels) for known, values in columns.items())
    if column is None:
        raise InputError(f"{path} has {len(columns)} columns of labels, expected one; name one of: {listing}")
    shorts = [SHORT[known] for known in columns]
    near = did_you_mean(column, [*shorts, *columns])
    hint = near if near.startswith("; did") else ""
    raise InputError(f"{path} has no column {column!r}, only: {listing}{hint}")


def _with_rate(name: str, values: np.ndarray, labels: Mapping[str, np.ndarray]) -> str:
    clean = labels.get(COLUMNS[name])
    return SHORT[name] if clean is None else f"{SHORT[name]} ({100 * (values != clean).mean():.2f} % noisy)"


# The formats --------------------------------------------------------------------------------------


def _read_parquet(path: Path) -> dict[Any, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        check_regular(path)
        known = {*COLUMNS, *COLUMNS.values(), *ALIASES}
        wanted = [name for name in pq.read_schema(path).names if name in known]
        table = pq.read_table(path, columns=wanted, partitioning=None, page_checksum_verification=True)
        return {name: table[name].to_numpy() for name in table.column_names}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(str(path), error) from None


def _read_numpy(path: Path) -> dict[Any, Any]:
    """Read the authors' .npy file: a single object, a pickled table of columns."""
    with open_file(path) as file:
        shape, dtype = array_header(file, path, "download it again")
        content = file.read()
    if dtype != np.dtype(object) or shape != ():
        raise InputError(
            f"{path} holds an array of {dtype} of shape {shape}, expected a table of columns; "
            "read labels alone as labels:FILE"
        )
    # NumPy's own reader of pickled objects runs any code in the file, and torch's lacks the opcodes that
    # NumPy writes.
    return read_table(content, str(path), wrapped=True)
