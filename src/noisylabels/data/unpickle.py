"""A reader of pickles that can build arrays and plain containers and can run nothing.

A pickle is a program: it may name any function and have it called. This one answers to the few names that
a NumPy array is pickled with, and gives stand-ins written here for them. So not even NumPy's own
reconstruction, which trusts the state that it is handed, sees anything from the file.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError

_KINDS = frozenset({"b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"})


class _RefusedError(Exception):
    """The pickle asks for what this reader does not give; the message is what it asked for."""


class _Dtype:
    """Stands for numpy.dtype: a number type, nothing with fields or objects."""

    def __init__(self, kind: object, align: object = False, copy: object = False) -> None:
        name = kind.decode("latin1") if isinstance(kind, bytes) else kind
        if name not in _KINDS:
            raise _RefusedError(f"an array of the type {name!r}")
        self.kind = str(name)
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if order not in ("<", ">", "|", "="):
            raise _RefusedError(f"an array of the byte order {order!r}")
        self.order = order


class _Array:
    """Stands for numpy.ndarray while the pickle is being read."""

    value: np.ndarray | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_columns, content = state
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes):
            raise _RefusedError("an array that is not plain bytes")
        flat = np.frombuffer(content, dtype=np.dtype(dtype.order + dtype.kind))
        self.value = flat.reshape(shape, order="F" if by_columns else "C")


def _reconstruct(kind: object, shape: object, typecode: object) -> _Array:
    return _Array()


_GIVEN = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,  # as NumPy 1 and Python 2 wrote it
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,  # as NumPy 2 writes it
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _GIVEN:
            raise _RefusedError(f"{module}.{name}")
        return _GIVEN[module, name]


def read_table(content: bytes, what: str) -> dict[Any, Any]:
    """Read a pickled dict of numeric NumPy arrays, plain containers, numbers and strings.

    Args:
        content: the pickle; strings that Python 2 wrote come out as bytes.
        what: what to call it in an error.

    Returns:
        The dict. Its values are checked no further than that nothing in them can run.

    Raises:
        InputError: the pickle is damaged, is no dict, or asks for anything else, which is named and was
            not run.

    >>> read_table(pickle.dumps({"labels": [3, 1]}), "a batch")
    {'labels': [3, 1]}
    """
    try:
        table = _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except _RefusedError as error:
        raise InputError(f"{what} asks for {error}, which data have no need of; nothing was run") from None
    except Exception as error:  # a damaged program fails in any way
        line = " ".join(str(error).split())
        raise InputError(f"{what} is damaged ({type(error).__name__}: {line})") from None
    if not isinstance(table, dict):
        raise InputError(f"{what} holds a {type(table).__name__}, expected a table")
    return {key: item.value if isinstance(item, _Array) else item for key, item in table.items()}
