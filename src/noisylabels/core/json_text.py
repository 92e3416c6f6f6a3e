"""Parse JSON and TOML from outside: a text that is neither is one line, never an internal error."""

from __future__ import annotations

import json
import math
import re
import tomllib
from typing import Any, NoReturn

from noisylabels.core.checks import InputError
from noisylabels.core.surrogates import has_lone

MOST_LEVELS = 100
"""Levels of nesting that are read: no document of ours has more than ten."""

_LARGEST = 2**63
_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")
_BYTES = re.compile("[\udc80-\udcff]")  # of names of files that are not UTF-8


def parse_json(
    text: str | bytes, where: object, remedy: str = "restore or remove it", *, foreign: bool = False
) -> Any:
    """Return the value of a JSON text.

    Refused are, beside invalid JSON: NaN and infinity, integers beyond 64 bits, a key twice in one object,
    lone surrogates that stand for no byte of a file's name, and more than `MOST_LEVELS` levels of nesting.

    Args:
        text: the text, as UTF-8 if it is bytes.
        where: what an error calls it, such as the path of its file.
        remedy: what to do, for the error.
        foreign: accept NaN, infinity and integers beyond 64 bits, which other programs write.

    Raises:
        InputError: the text is none of that.

    >>> parse_json('{"a": [1, 0.5]}', "x.json")
    {'a': [1, 0.5]}
    >>> parse_json('{"a": NaN}', "x.json", "remove it")
    Traceback (most recent call last):
    noisylabels.core.checks.InputError: x.json is not valid JSON (NaN is no number of JSON); remove it
    """
    try:
        words = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        strict: dict[str, Any] = {"parse_int": _whole, "parse_float": _finite, "parse_constant": _no_number}
        value = json.loads(words, object_pairs_hook=_once, **({} if foreign else strict))
        check_depth(value)
        if _ESCAPED.search(words):
            _check_texts(value)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not valid JSON ({_reason(error)}); {remedy}") from None
    return value


def parse_toml(text: str, where: object) -> dict[str, Any]:
    """Return the table of a TOML text.

    Raises:
        InputError: it is not TOML, has more than `MOST_LEVELS` levels of nesting, or an integer beyond the
            64 bits of TOML.

    >>> parse_toml("a = 99999999999999999999", "x.toml")
    Traceback (most recent call last):
    noisylabels.core.checks.InputError: x.toml is not valid TOML: 99999999999999999999 has more than 64 bits
    """
    try:
        table = tomllib.loads(text)
        check_depth(table)
        _check_integers(table)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not valid TOML: {_reason(error)}") from None
    return table


def check_depth(value: Any, most: int = MOST_LEVELS) -> None:
    """Raise a ValueError if lists and dictionaries are nested in more than `most` levels."""
    level: list[Any] = [[value]]
    for _ in range(most + 1):
        level = [
            each
            for one in level
            for each in (one.values() if isinstance(one, dict) else one)
            if isinstance(each, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"more than {most} levels of nesting")


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"more than {MOST_LEVELS} levels of nesting"
    if "integer string conversion" in str(error):
        return "an integer of thousands of digits"
    return str(error)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def _whole(text: str) -> int:
    value = int(text)
    if not -_LARGEST <= value < _LARGEST:
        raise ValueError(f"{text if len(text) <= 40 else text[:37] + '...'} has more than 64 bits")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is too large")
    return value


def _check_integers(value: Any) -> None:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            _check_integers(each)
    elif type(value) is int:
        _whole(str(value))


def _check_texts(value: Any) -> None:
    if isinstance(value, dict | list):
        for each in [*value, *value.values()] if isinstance(value, dict) else value:
            _check_texts(each)
    elif isinstance(value, str) and has_lone(_BYTES.sub("", value)):
        raise ValueError("a text with a lone surrogate, half of a character")
