"""What a checkpoint, or an audit's folds, must share with a later call: loss, method and model."""

from __future__ import annotations

import contextlib
import dataclasses
import dis
import functools
import hashlib
import itertools
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from noisylabels.training.method import LossFunction, Method


def loss_name(loss: LossFunction) -> str:
    """Return the expression of a loss, the representation of a module, or the name of a function."""
    if isinstance(loss, nn.Module):
        return repr(loss)
    return str(getattr(loss, "__qualname__", type(loss).__qualname__))


def loss_identity(loss: LossFunction) -> str:
    """Return the name of a loss with a digest of a module's tensors, such as class weights."""
    state = loss.state_dict() if isinstance(loss, nn.Module) else {}
    return f"{loss_name(loss)} {_digest(list(state.values()))}" if state else loss_name(loss)


def state_digests(loss: LossFunction) -> dict[str, str]:
    """Return a digest of each tensor in a loss's state, by name."""
    if not isinstance(loss, nn.Module):
        return {}
    return {name: _digest([tensor]) for name, tensor in loss.state_dict().items() if torch.is_tensor(tensor)}


def _digest(tensors: Sequence[Tensor]) -> str:
    numbers = hashlib.sha256()
    for tensor in tensors:
        numbers.update(tensor.detach().cpu().contiguous().view(-1).double().numpy().tobytes())
    return numbers.hexdigest()[:8]


_LIBRARIES = ("torch", "noisylabels")
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device)
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
_MOST = 100  # entries of a container, or characters of a value; of more a digest
_MOST_READ = 100_000  # entries of a container that are read at all
_DEEPEST = 8  # objects in objects, but for modules


def constants_of(method: Method) -> dict[str, str]:
    """Return what a method, its loss and its networks were made with, see `constants`."""
    found = constants(method.loss, "loss")
    for place, network in enumerate(method.networks, start=1):
        found |= constants(network, "model" if place == 1 else f"model {place}", objects=False)
    if method.expression is None:  # otherwise it has the parameters
        for name, value in vars(method).items():
            if isinstance(value, (bool, int, float, str, tuple, dict)):
                found |= constants(value, f"method.{name}")
    return found


def constants(thing: object, name: str, *, objects: bool = True) -> dict[str, str]:
    """Return what a loss, a method or a model was made with, by path: what a name does not tell.

    Numbers, words and containers of these among the attributes, at any module inside; the arguments of a
    `functools.partial`; the code of a function of the caller's own, with the numbers, tensors and functions
    of its module that it uses from outside. Not the tensors among attributes, which training may change, the
    code of classes, and what a library's function computes.

    Args:
        thing: a module, a function or another callable object.
        name: the first part of the paths.
        objects: whether attributes that are neither modules nor functions are described by their own.

    >>> constants(nn.CrossEntropyLoss(label_smoothing=0.1), "loss")["loss.label_smoothing"]
    '0.1'
    >>> half, third = (functools.partial(max, default=share) for share in (1 / 2, 1 / 3))
    >>> constants(half, "loss") == constants(third, "loss")
    False
    """
    described = _Description(objects)
    described.add(thing, name, frozenset())
    return described.found


def difference(then: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """Return the first path whose `constants` differ, or None.

    Of the paths of one side alone, modules, entries of containers and arguments count. An attribute may be
    new in another version of a library, and versions of before recorded nothing.
    """
    both = (name for name, was in then.items() if now.get(name, was) != was)
    alone = (name for name in [*then, *now] if (name in then) != (name in now)) if then else ()
    return next(both, None) or next((name for name in alone if name.endswith((".class", "]"))), None)


class _Description:
    """The paths and values of `constants`."""

    def __init__(self, objects: bool) -> None:
        self.objects = objects
        self.found: dict[str, str] = {}

    def add(
        self, thing: Any, name: str, above: frozenset[int], plain: bool = True, arrays: bool = False
    ) -> None:
        """Add what is below `name`. `above` are the objects on the way.

        Args:
            plain: whether numbers and words are added.
            arrays: whether tensors and arrays are added, as of a function.
        """
        if isinstance(thing, _PLAIN):
            if plain:
                self.found[name] = _short(repr(thing))
            return
        if id(thing) in above or isinstance(thing, (type, types.ModuleType)):
            return
        if isinstance(thing, (Tensor, np.ndarray)):
            if arrays or isinstance(thing, np.ndarray):
                with contextlib.suppress(TypeError, RuntimeError, ValueError):  # sparse, or of objects
                    self.found[name] = _content(thing)
            return
        above |= {id(thing)}
        if isinstance(thing, nn.Module):  # networks are deep
            for key, module in thing.named_children():
                self.add(module, f"{name}.{key}", above, plain)
        elif len(above) > _DEEPEST:
            return
        parts: dict[str, Any] = {}
        if isinstance(thing, (list, tuple, dict)):
            pairs = thing.items() if isinstance(thing, dict) else enumerate(thing)
            parts = {f"[{key!r}]": part for key, part in pairs}
            if len(parts) > _MOST_READ:
                parts, self.found[name] = {}, f"{len(parts)} entries"
            if len(parts) > _MOST:
                described = _Description(self.objects)
                for key, part in parts.items():
                    described.add(part, key, above, plain, arrays)
                parts, self.found[name] = {}, _short(repr(described.found))
        elif isinstance(thing, types.MethodType):
            parts = {"": thing.__func__, ".self": thing.__self__}
        elif isinstance(thing, types.FunctionType):
            if _library(thing):
                parts = {".name": thing.__qualname__}
            else:
                parts = {f".{key}": part for key, part in _function(thing).items()}
                plain = arrays = True
        elif isinstance(thing, functools.partial):
            parts = {f".{word}": getattr(thing, word) for word in ("func", "args", "keywords")}
            arrays = True
        elif isinstance(thing, types.BuiltinFunctionType):
            parts = {".name": thing.__qualname__}
        elif hasattr(thing, "__dict__") and (
            self.objects or isinstance(thing, nn.Module) or dataclasses.is_dataclass(thing)
        ):
            library, arrays = _library(type(thing)), False
            plain = plain and library != "noisylabels"  # whose expressions have their numbers
            parts = {
                f".{key}": part
                for key, part in vars(thing).items()
                if key not in _OF_EVERY_MODULE and not (library and key[0] == "_")
            }
            parts[".class"] = type(thing).__qualname__
        for key, part in parts.items():
            self.add(part, name + key, above, plain, arrays)


def _function(thing: types.FunctionType) -> dict[str, Any]:
    """Return what a function computes, and the numbers and words that it uses from outside."""
    code, outside = thing.__code__, thing.__globals__
    cells = zip(code.co_freevars, thing.__closure__ or (), strict=True)
    return {
        # it differs between versions of Python
        f"code of {sys.implementation.cache_tag}": hashlib.sha256(
            _code(code, thing.__doc__).encode()
        ).hexdigest()[:16],
        "closure": {key: cell.cell_contents for key, cell in cells if cell != types.CellType()},
        "globals": {key: outside[key] for key in _globals(code) if _counts(outside.get(key, ...), thing)},
        "defaults": [thing.__defaults__, thing.__kwdefaults__],
    }


def _counts(value: Any, user: types.FunctionType) -> bool:
    """Return whether a global value determines what a function that uses it computes."""
    if isinstance(value, types.FunctionType):
        return value.__module__ == user.__module__
    return isinstance(value, (*_PLAIN, list, tuple, dict, Tensor, np.ndarray))


def _content(values: Tensor | np.ndarray) -> str:
    """Return type, shape and a digest of an array's numbers."""
    if isinstance(values, Tensor):
        plain = values.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()
    elif values.dtype.hasobject:
        raise TypeError("an array of objects has no content to digest")
    else:
        plain = values
    return f"{values.dtype} {tuple(values.shape)} {hashlib.sha256(plain.tobytes()).hexdigest()[:16]}"


def _library(thing: Any) -> str:
    """Return the library that a class or function is from; "" for one of the caller's."""
    found = (thing.__module__ or "").partition(".")[0]
    return found if found in _LIBRARIES else ""


def _globals(code: types.CodeType) -> list[str]:
    """Return the names of the global values that a function and the functions in it use."""
    inner = (_globals(each) for each in code.co_consts if isinstance(each, types.CodeType))
    own = (each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_GLOBAL")
    return list(dict.fromkeys(itertools.chain(own, *inner)))


def _code(code: types.CodeType, doc: str | None = None) -> str:
    """Return what the code of a function does, with that of the functions in it, without places and text."""
    inner = []
    said = doc is not None and code.co_consts[:1] == (doc,)
    for each in (None, *code.co_consts[1:]) if said else code.co_consts:
        if isinstance(each, types.CodeType):
            inner.append(_code(each))
        else:  # the order of a set depends on the process
            inner.append(repr(sorted(map(repr, each)) if isinstance(each, frozenset) else each))
    return repr((code.co_code, code.co_names, code.co_varnames, inner))


def _short(text: str) -> str:
    return text if len(text) <= _MOST else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
