"""Flat, typed, frozen configurations; errors name an unknown key or a value of the wrong type."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from noisylabels.core.checks import InputError, did_you_mean
from noisylabels.core.files import read_text
from noisylabels.core.json_text import parse_toml
from noisylabels.core.opening import SETTINGS_BYTES

Config = TypeVar("Config")


@functools.cache  # a study builds thousands of configurations
def field_types(cls: Any) -> dict[str, tuple[type, ...]]:
    """Return the types that each field of a dataclass accepts: ``str | None`` is (str, NoneType)."""
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    return {
        name: typing.get_args(hints[name]) if isinstance(hints[name], types.UnionType) else (hints[name],)
        for name in names
    }


def build(cls: type[Config], *layers: Mapping[str, Any], origin: str = "setting") -> Config:
    """Return an instance of the dataclass `cls`: its defaults, overridden by each layer in turn.

    Args:
        cls: a frozen dataclass whose fields are bool, int, float or str, or one of them or None.
        layers: key to value; a later layer wins.
        origin: what an error calls a key: "setting", or the name of a file.

    Raises:
        InputError: an unknown key (with the nearest known one) or a value of the wrong type.
    """
    known = field_types(cls)  # type: ignore[arg-type]  # a class is hashable
    values: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            if name not in known:
                raise InputError(f"unknown {origin} {name!r}{did_you_mean(name, known)}")
            values[name] = _typed(name, value, known[name], origin)
    return cls(**values)


def _typed(name: str, value: Any, wanted: tuple[type, ...], origin: str) -> Any:
    if type(value) in wanted:
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"the {origin} {name!r} is {value}, expected a finite number")
        return value
    if float in wanted and type(value) is int:  # lr = 1 in a recipe
        return float(value)
    names = " or ".join("nothing" if kind is types.NoneType else kind.__name__ for kind in wanted)
    raise InputError(f"the {origin} {name!r} is {value!r} ({type(value).__name__}), expected {names}")


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file; a missing or damaged one is an `InputError`, see `parse_toml`."""
    return parse_toml(read_text(path, SETTINGS_BYTES).replace("\r\n", "\n"), path)


def to_dict(config: Any, leave_out: Collection[str] = ()) -> dict[str, Any]:
    """Return the fields of a dataclass as a dictionary, in their order."""
    return {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in leave_out
    }


def fingerprint(config: Any, leave_out: Collection[str] = ()) -> str:
    """Return 12 hexadecimal digits that are the same for equal configurations in any order."""
    text = json.dumps(to_dict(config, leave_out), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
