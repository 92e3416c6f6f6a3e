"""A reader of pickles that can build arrays and plain containers and can run nothing.

A pickle is a program: it may name any function and have it called. This one answers to the few names that
arrays of numbers are pickled with, and gives stand-ins written here for them. So not even NumPy's own
reconstruction, which trusts the state that it is handed, sees anything from the file before it is plain
bytes of a known type.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError

_NUMBERS = frozenset({"b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"})
_OBJECTS = frozenset({"O4", "O8"})


def read_table(content: bytes, what: str, *, wrapped: bool = False) -> dict[Any, Any]:
    """Read a pickled dict of numeric NumPy arrays, plain containers, numbers and strings.

    Args:
        content: the pickle; strings that Python 2 wrote come out as bytes.
        what: what to call it in an error.
        wrapped: the dict is the one object of an array without dimensions, as in the .npy file that
            `numpy.save` makes of a dict; lists of NumPy's own numbers are then admitted too.

    Returns:
        The dict. Its values are checked no further than that nothing in them can run.

    Raises:
        InputError: the pickle is damaged, is no dict, or asks for anything else, which is named and was
            not run.

    >>> read_table(pickle.dumps({"labels": [3, 1]}), "a batch")
    {'labels': [3, 1]}
    """
    try:
        value = _Unpickler(content, _WRAPPED if wrapped else _PLAIN).load()
        if wrapped:
            value = value.only() if isinstance(value, _Array) else value
        return _table(value, what)
    except InputError:
        raise
    except _RefusedError as error:
        raise _refused(what, str(error)) from None
    except Exception as error:  # a damaged program fails in any way
        raise damaged(what, error) from None


def read_saved(path: Path) -> dict[Any, Any]:
    """Read a dict of tensors and NumPy arrays that `torch.save` wrote, in either of its formats.

    Torch's own reader admits tensors and runs nothing; to it are added the stand-ins for the names of arrays.

    Raises:
        InputError: as for `read_table`.
    """
    import torch

    names: list[Any] = [(given, ".".join(name)) for name, given in _SAVED.items()]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(names):
            warnings.simplefilter("ignore")  # of pickle protocols; the reader refuses what it cannot read
            return _table(torch.load(path, map_location="cpu", weights_only=True), str(path))
    except InputError:
        raise
    except Exception as error:  # a damaged program fails in any way
        if asked := re.search(r"GLOBAL (\S+)", str(error)):
            raise _refused(str(path), asked[1]) from None
        if isinstance(error, _RefusedError):
            raise _refused(str(path), str(error)) from None
        raise damaged(str(path), error) from None


def _table(value: object, what: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{what} holds a {type(value).__name__}, expected a table")
    return {key: item.numbers() if isinstance(item, _Array) else item for key, item in value.items()}


def _refused(what: str, asked: str) -> InputError:
    return InputError(f"{what} asks for {asked}, which data have no need of; nothing was run")


def damaged(what: str, error: Exception) -> InputError:
    """Return the error about a file whose reader failed with `error`."""
    reason = " ".join(str(error).split())
    reason = reason if len(reason) < 120 else reason[:117] + "..."
    return InputError(f"{what} is damaged ({type(error).__name__}: {reason}); get it anew")


class _RefusedError(Exception):
    """The pickle asks for what this reader does not give; the message is what it asked for."""


class _Dtype:
    """Stands for numpy.dtype: a number type, nothing with fields or objects."""

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
    """Stands for numpy.dtype where there may be objects too."""

    __slots__ = ()
    kinds = _NUMBERS | _OBJECTS


class _Array:
    """Stands for an array while the pickle is being read."""

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
        """Return the array, which is to be one of numbers."""
        if not isinstance(self.value, np.ndarray):
            raise _RefusedError("an array of objects")
        return self.value

    def only(self) -> Any:
        """Return the one object of an array of objects; else the array."""
        return self.value[0] if isinstance(self.value, list) else self.value


class _Call:
    """A function that a pickle may call.

    A pickle can also write to what it is given by name: to the defaults of a plain function, for example,
    which would outlive the file. There is nothing here to write to.
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
    """Stand for _codecs.encode, by which protocol 2 writes bytes."""
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
# By classes, for torch's reader lets a pickle fill what is of a class that it was given, and nothing else.
_SAVED: dict[tuple[str, str], Any] = {**_PLAIN, ("numpy", "ndarray"): _Array, ("numpy", "dtype"): _Dtype}


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, given: Mapping[tuple[str, str], Any]) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._given = given

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._given:
            raise _RefusedError(f"{module}.{name}")
        return self._given[module, name]
