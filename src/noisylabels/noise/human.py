"""Human labels of CIFAR-10 and CIFAR-100, from the files of their authors or from Parquet.

The labels are published under CC BY-NC 4.0 (no commercial use) and are not part of this project: a user gets
them from the authors, github.com/UCSC-REAL/cifar-10-100n.
"""

from __future__ import annotations

import io
import pickle
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.core.files import file_digest
from noisylabels.noise.checks import check_labels

# The columns by the authors' names, and the clean labels that each is held against.
COLUMNS = {
    "aggre_label": "clean_label",
    "worse_label": "clean_label",
    "random_label1": "clean_label",
    "random_label2": "clean_label",
    "random_label3": "clean_label",
    "noisy_label": "clean_label",
    "noisy_coarse_label": "clean_coarse_label",
}
# What the paper, its code's command line and its .npy files call them.
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
_SHORT = {
    "aggre_label": "aggre",
    "worse_label": "worse",
    "random_label1": "random1",
    "random_label2": "random2",
    "random_label3": "random3",
    "noisy_label": "fine",
    "noisy_coarse_label": "coarse",
}
_INTEGERS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")


@dataclass(frozen=True, eq=False)
class HumanLabels:
    """The human labels of one file, each column (N,) int64, in the order of the file.

    Args:
        columns: the columns by the authors' names, such as "worse_label".
        true: the clean labels that belong to the chosen column; None where the file has none.
        chosen: the authors' name of the column that was asked for.
        digest: sha256 of the file, hexadecimal.
    """

    columns: Mapping[str, np.ndarray]
    true: np.ndarray | None
    chosen: str
    digest: str

    @property
    def given(self) -> np.ndarray:
        """The labels of the chosen column."""
        return self.columns[self.chosen]

    def check_order(self, labels: object, name: str = "the human labels") -> None:
        """Raise an `InputError` unless the clean labels of the file are those of the data set, in order.

        A file in another order, such as the authors' *_ordered.npy files, which follow TensorFlow
        Datasets, would otherwise look like very noisy labels.
        """
        expected = check_labels(labels)
        if len(expected) != len(self.given):
            raise InputError(
                f"{name} are {len(self.given)}, the data set has {len(expected)} training examples"
            )
        if self.true is not None and (agree := int((self.true == expected).sum())) != len(expected):
            raise InputError(
                f"the clean labels that come with {name} agree with those of the data set for {agree} of "
                f"{len(expected)} examples: the file is of another set or in another order (*_ordered.npy "
                "is in that of TensorFlow Datasets); take the file whose order is that of the data set"
            )


def read_human(path: str | Path, column: str | None = None) -> HumanLabels:
    """Read CIFAR-10N or CIFAR-100N labels.

    Args:
        path: `CIFAR-10_human.pt` or `CIFAR-100_human.pt` as published, which are in the order of the
            Python version of CIFAR; `CIFAR-10_human_ordered.npy` or `CIFAR-100_human_ordered.npy`, in the
            order of TensorFlow Datasets; or Parquet with columns of the same names.
        column: for CIFAR-10N aggre (also aggregate), worse (worst), random1, random2 or random3; for
            CIFAR-100N fine (noisy) or coarse; or the authors' own name. None only where there is a single
            column: which labels are meant decides the noise rate, so none is chosen silently.

    Returns:
        All columns, and which one was chosen.

    Raises:
        InputError: there is no such file, it is damaged, asks to run something, or holds other things;
            no or an unknown column is named, and then the columns are listed with their noise rates.

    Source: Wei et al. 2022, "Learning with Noisy Labels Revisited: A Study Using Real-World Human
    Annotations". Their code unpickles the files freely; here only arrays can come out of them.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    readers = {".pt": _read_torch, ".pth": _read_torch, ".npy": _read_numpy, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path} is not a file of human labels: known are {', '.join(readers)}")
    try:
        digest = file_digest(path)
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
        raise InputError(f"{path} has columns of different lengths ({lengths}); get it anew")
    columns = {name: labels[name] for name in COLUMNS if name in labels}
    if not columns:
        found = ", ".join(map(str, table)) or "nothing"
        raise InputError(
            f"{path} has none of the columns of human labels ({', '.join(COLUMNS)}), but {found}"
        )
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
        raise InputError(f"{path} has {len(columns)} columns of labels; name one of: {listing}")
    shorts = [_SHORT[known] for known in columns]
    near = did_you_mean(column, [*shorts, *columns])
    hint = near if near.startswith("; did") else ""
    raise InputError(f"{path} has no column {column!r}{hint}; it has: {listing}")


def _with_rate(name: str, values: np.ndarray, labels: Mapping[str, np.ndarray]) -> str:
    clean = labels.get(COLUMNS[name])
    return _SHORT[name] if clean is None else f"{_SHORT[name]} ({100 * (values != clean).mean():.2f} % wrong)"


# The formats --------------------------------------------------------------------------------------


def _refusal(path: Path, name: str) -> InputError:
    return InputError(f"{path} asks for {name}, which labels have no need of; nothing was run")


def _damage(path: Path, error: Exception) -> InputError:
    reason = " ".join(str(error).split())
    reason = reason if len(reason) < 120 else reason[:117] + "..."
    return InputError(f"{path} is damaged ({type(error).__name__}: {reason}); get it anew")


def _table(path: Path, value: object) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a {type(value).__name__}, expected a table of columns")
    return value


def _read_parquet(path: Path) -> dict[Any, Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        known = {*COLUMNS, *COLUMNS.values(), *ALIASES}
        wanted = [name for name in pq.read_schema(path).names if name in known]
        table = pq.read_table(path, columns=wanted, partitioning=None)
        return {name: table[name].to_numpy() for name in table.column_names}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damage(path, error) from None


def _read_torch(path: Path) -> dict[Any, Any]:
    """Read what torch.save wrote, in either of its formats, by torch's own reader that runs nothing.

    It admits tensors; to it are added the three names that an array of integers is pickled with. NumPy 1
    and NumPy 2 spell the module of the first differently.
    """
    import torch

    reconstruct = np.empty(0).__reduce__()[0]
    arrays: list[Any] = [np.ndarray, np.dtype, *(type(np.dtype(kind)) for kind in _INTEGERS)]
    arrays += [(reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(arrays):
            warnings.simplefilter("ignore")  # of pickle protocols; the reader refuses what it cannot read
            value = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged program fails in any way
        if asked := re.search(r"GLOBAL (\S+)", str(error)):
            raise _refusal(path, asked[1]) from None
        raise _damage(path, error) from None
    return _table(path, value)


def _read_numpy(path: Path) -> dict[Any, Any]:
    """Read the authors' .npy: a single object, a pickled table of columns."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = read_header(file)
            content = file.read()
    except (ValueError, KeyError, EOFError) as error:
        raise _damage(path, error) from None
    if dtype != np.dtype(object) or shape != ():
        raise InputError(
            f"{path} holds an array of {dtype} of shape {shape}, and human labels are a table of columns; "
            "labels alone are read as a file of labels"
        )
    try:
        value = _Unpickler(io.BytesIO(content)).load()
    except _RefusedError as error:
        raise _refusal(path, str(error)) from None
    except Exception as error:  # a damaged program fails in any way
        raise _damage(path, error) from None
    held = value.value if isinstance(value, _Array) else None
    table = _table(path, held[0] if isinstance(held, list) else held)
    return {name: item.value if isinstance(item, _Array) else item for name, item in table.items()}


# NumPy's own reader of pickled objects runs whatever the file says, and torch's reader lacks the opcodes in
# which NumPy writes. So this one answers to the few names that integers are pickled with, by stand-ins
# written here: nothing of NumPy sees the state from the file before it is plain bytes of a known type.


class _RefusedError(Exception):
    """The pickle asks for what this reader does not give; the message is what it asked for."""


class _Dtype:
    """Stands for numpy.dtype: integers of either byte order, or "O", a list of objects."""

    def __init__(self, kind: str, align: object = False, copy: object = False) -> None:
        if kind not in (*_INTEGERS, "O8", "O4"):
            raise _RefusedError(f"an array of the type {kind!r}")
        self.kind, self.order = kind, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise _RefusedError(f"an array of the byte order {state[1]!r}")
        self.order = state[1]

    def read(self, content: object) -> np.ndarray:
        if not isinstance(content, bytes) or self.kind.startswith("O"):
            raise _RefusedError("an array that is not plain bytes")
        return np.frombuffer(content, dtype=np.dtype(self.order + self.kind))


class _Array:
    """Stands for numpy.ndarray while the pickle is read."""

    value: np.ndarray | list[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, _, content = state
        if not isinstance(dtype, _Dtype):
            raise _RefusedError("an array without a type")
        if dtype.kind.startswith("O"):
            if shape != () or not isinstance(content, list) or len(content) != 1:
                raise _RefusedError("an array of objects")
            self.value = content
        else:
            self.value = dtype.read(content).reshape(shape)


def _reconstruct(kind: object, shape: object, typecode: object) -> _Array:
    return _Array()


def _scalar(dtype: _Dtype, content: bytes) -> int:
    return int(dtype.read(content)[0])


def _encode(text: str, encoding: str) -> bytes:
    """Stand for _codecs.encode, by which protocol 2 writes bytes."""
    return str.encode(text, "latin1")


_GIVEN = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _GIVEN:
            raise _RefusedError(f"{module}.{name}")
        return _GIVEN[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise _RefusedError("an object outside the file")
