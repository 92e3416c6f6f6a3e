"""A safe reader of pickles that builds arrays and plain containers and runs no code.

A pickle is a program: it may name any function and have it called. This reader accepts only the few names
that arrays of numbers are pickled with, and replaces them by the stand-ins below. So even NumPy's own
reconstruction, which trusts the state that it receives, sees nothing from the file but plain bytes of a known
type.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.opening import check_regular

_NUMBERS = frozenset({"b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"})
_OBJECTS = frozenset({"O4", "O8"})


def read_table(content: bytes, what: str, *, wrapped: bool = False) -> dict[Any, Any]:
    """Read a pickled dict of numeric NumPy arrays, plain containers, numbers and strings.

    Args:
        content: the pickle; strings that Python 2 wrote are returned as bytes.
        what: what an error calls it.
        wrapped: the dict is the single object of a 0-dimensional array, as in the .npy file that
            `numpy.save` writes for a dict; lists of NumPy scalars are then accepted too.

    Returns:
        The dict. Its values cannot run code; nothing else about them is checked.

    Raises:
        InputError: the pickle is damaged, is not a dict, or asks for anything else, which the message names
            and which was not run.

    >>> read_table(pickle.dumps({"labels": [3, 1]}), "a batch")
    {'labels': [3, 1]}
    """
    try:
        _check_memo(content)
        value = _Unpickler(content, _WRAPPED if wrapped else _PLAIN).load()
        if wrapped:
            value = value.only() if isinstance(value, _Array) else value
        return _table(value, what)
    except InputError:
        raise
    except _RefusedError as error:
        raise _refused(what, str(error)) from None
    except Exception as error:  # a damaged pickle can raise anything
        raise damaged(what, error) from None


def read_saved(path: Path) -> dict[Any, Any]:
    """Read a dict of tensors and NumPy arrays that `torch.save` wrote, in either of its formats.

    Torch's own reader accepts tensors and runs no code; this adds the stand-ins for arrays.

    Raises:
        InputError: as for `read_table`.
    """
    import torch

    names: list[Any] = [(given, ".".join(name)) for name, given in _SAVED.items()]
    try:
        check_regular(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(names):
            warnings.simplefilter("ignore")  # about pickle protocols; the reader refuses what it cannot read
            return _table(torch.load(path, map_location="cpu", weights_only=True), str(path))
    except InputError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        if asked := re.search(r"GLOBAL (\S+)", str(error)):
            raise _refused(str(path), asked[1]) from None
        if isinstance(error, _RefusedError):
            raise _refused(str(path), str(error)) from None
        raise damaged(str(path), error) from None


def _check_memo(content: bytes) -> None:
    """Raise a `ValueError` if a pickle numbers its objects higher than it has bytes.

    Python's reader makes room for as many objects as the highest number: gigabytes for a few bytes of a file.
    """
    for opcode, number, _ in pickletools.genops(content):
        if opcode.name in _STORES and int(number or 0) > len(content):
            raise ValueError(f"it numbers an object {number:,} in {len(content):,} bytes")


_STORES = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})


def _table(value: object, what: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{what} holds a {type(value).__name__}, expected a table")
    return {key: item.numbers() if isinstance(item, _Array) else item for key, item in value.items()}


def _refused(what: str, asked: str) -> InputError:
    return InputError(f"{what} asks for {asked}, which data does not need; nothing was run")


def damaged(what: str, error: Exception) -> InputError:
    """Return the error about a file whose reader failed with `error`."""
    reason = " ".join(str(error).split())
    reason = reason if len(reason) < 120 else reason[:117] + "..."
    return InputError(f"{what} is damaged ({type(error).__name__}: {reason}); download it again")


class _RefusedError(Exception):
    """The pickle asks for something that this reader refuses; the message names it."""


class _Dtype:
    """Stand-in for numpy.dtype: a number type without fields or objects."""

    __slots__ = ("kind", "order")
    kinds = _NUMBERS

    def __init__(self, kind: object, align: object = False, copy: object = False) -> None:
        name = kind.decode("latin1") if isinstance(kind, bytes) else kind
        if type(name) is not str or name not in self.kinds:
            raise _RefusedError(f"an array of the type {name!r}")
        self.kind = name
        self.order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1].decode("latin1") if isinstance(state[1], bytes) else state[1]
        if type(order) is not str or order not in ("<", ">", "|", "="):
            raise _RefusedError(f"an array of the byte order {order!r}")
        self.order = order

    def read(self, content: object) -> np.ndarray:
        if type(content) is not bytes or self.kind in _OBJECTS:
            raise _RefusedError("an array that is not plain bytes")
        return np.frombuffer(content, dtype=np.dtype(self.order + self.kind))


class _AnyDtype(_Dtype):
    """Stand-in for numpy.dtype that accepts objects too."""

    __slots__ = ()
    kinds = _NUMBERS | _OBJECTS


class _Array:
    """Stand-in for an array while the pickle is being read."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: np.ndarray | list[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_columns, content = state
        if type(shape) is not tuple or not all(type(side) is int and side >= 0 for side in shape):
            raise _RefusedError("an array without a shape")
        if not isinstance(dtype, _Dtype):
            raise _RefusedError("an array without a type")
        if dtype.kind in _OBJECTS:
            if shape != () or type(content) is not list or len(content) != 1:
                raise _RefusedError("an array of objects")
            self.value = content
            return
        flat = dtype.read(content)
        if flat.size != math.prod(shape):
            raise ValueError(f"{flat.size} numbers for an array of the shape {shape}")
        self.value = flat.reshape(shape, order="F" if by_columns else "C")

    def numbers(self) -> np.ndarray:
        """Return the array, or refuse one of objects."""
        if not isinstance(self.value, np.ndarray):
            raise _RefusedError("an array of objects")
        return self.value

    def only(self) -> Any:
        """Return the single object of an array of objects, or the array."""
        return self.value[0] if isinstance(self.value, list) else self.value


class _Call:
    """A function that a pickle may call, and not modify.

    A pickle can also modify the objects that it names, such as the defaults of a plain function, and the
    change would outlast the reading. This object has nothing to modify.
    """

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise _RefusedError("a change of its reader")


def _reconstruct(kind: object, shape: object, typecode: object) -> _Array:
    return _Array()


def _scalar(dtype: object, content: object) -> Any:
    if not isinstance(dtype, _Dtype):
        raise _RefusedError("a number without a type")
    return dtype.read(content).item()


def _encode(text: object, encoding: object) -> bytes:
    """Return what _codecs.encode, which protocol 2 writes for bytes, would return."""
    if type(text) is not str or encoding not in ("latin1", b"latin1"):
        raise _RefusedError("text in place of bytes")
    return text.encode("latin1")


# NumPy 2 calls the module of the functions _core, NumPy 1 and Python 2 core.
_CORES = ("numpy.core.multiarray", "numpy._core.multiarray")
_PLAIN: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Call(_Array),
    ("numpy", "dtype"): _Call(_Dtype),
    **{(core, "_reconstruct"): _Call(_reconstruct) for core in _CORES},
}
_WRAPPED = {
    **_PLAIN,
    ("numpy", "dtype"): _Call(_AnyDtype),
    ("_codecs", "encode"): _Call(_encode),
    **{(core, "scalar"): _Call(_scalar) for core in _CORES},
}
# Classes, because torch's reader lets a pickle set the state only of instances of classes that it was given.
_SAVED: dict[tuple[str, str], Any] = {**_PLAIN, ("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Dtype}


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, given: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._given = given

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._given:
            raise _RefusedError(f"{module}.{name}")
        return self._given[module, name]
