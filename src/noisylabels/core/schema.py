"""Check what was read from a file against a schema, with pydantic.

A schema is a type annotation: a `TypedDict` that stands beside the code that writes the document. pydantic is
imported by the first check. A machine that has torch but not pydantic trains all the same: what runs there
reads documents that it has written itself, of which only the kind and the keys are then checked.
"""

from __future__ import annotations

import functools
import reprlib
from pathlib import Path
from typing import Annotated, Any

from noisylabels.core.checks import InputError
from noisylabels.core.files import read_json

REMEDY = "restore or remove it"


class Limits:
    """Limits of a type, for `Annotated`: ge, le, gt, lt of a number; min_length, max_length of a list.

    They are those of pydantic, in a form that needs no import of it.
    """

    def __init__(self, **limits: float) -> None:
        self._limits = limits

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return handler(source) | self._limits


class Instance:
    """The instances of a class that pydantic does not know, for `Annotated`."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return {"type": "is-instance", "cls": self._kind}


Count = Annotated[int, Limits(ge=0)]
Positive = Annotated[int, Limits(ge=1)]
Share = Annotated[float, Limits(ge=0, le=1)]
Interval = Annotated[list[float], Limits(min_length=2, max_length=2)]
Size = Annotated[list[Positive], Limits(min_length=2, max_length=2)]
"""Height and width of images."""


def checked(
    value: Any,
    kind: Any,
    where: object,
    remedy: str = REMEDY,
    error: type[InputError] = InputError,
) -> Any:
    """Return `value` if it has the types of a schema, else raise an error that names the first fault.

    Nothing is converted: 1 is a number, but true and "1" are none, and a number is finite.

    Args:
        value: what a parser returned.
        kind: the schema, a type annotation.
        where: what an error calls the document, such as the path of its file.
        remedy: what to do, for the error.
        error: the type of the error.

    Raises:
        InputError: it is not of this type.

    >>> checked({"a": [1, 2]}, dict[str, list[int]], "x.json")
    {'a': [1, 2]}
    >>> checked({"a": [1, "b"]}, dict[str, list[int]], "x.json")
    Traceback (most recent call last):
    noisylabels.core.checks.InputError: x.json: a[1] is 'b', expected a valid integer; restore or remove it
    """
    try:
        from pydantic import ValidationError
    except ImportError:
        fault = _fault_without(value, kind)
    else:
        try:
            _adapter(kind).validate_python([value])
            return value
        except ValidationError as found:
            fault = _fault(value, found.errors(include_url=False, include_context=False))
    if fault:
        raise error(f"{where}{fault}; {remedy}")
    return value


def read_checked(
    path: Path,
    kind: Any,
    remedy: str = REMEDY,
    error: type[InputError] = InputError,
    *,
    foreign: bool = False,
) -> Any:
    """Return the value in a JSON file, with the types of a schema; see `checked` and `parse_json`.

    Raises:
        InputError: of the type `error`; the file is missing, damaged or has other types.
    """
    try:
        return checked(read_json(path, remedy, foreign=foreign), kind, path, remedy)
    except InputError as found:
        raise error(str(found)) from None


@functools.cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    # a list, because pydantic takes no settings for a TypedDict of its own
    return TypeAdapter(list[kind], config={"strict": True, "allow_inf_nan": False})


def _fault(value: Any, errors: list[Any]) -> str:
    """Return what is wrong at the first faulty place, as the rest of a sentence about the document."""
    first = errors[0]
    place, at = "", value
    for step in first["loc"][1:]:
        if isinstance(at, dict) and step in at:
            place += f".{step}" if place else f" {step}"
        elif isinstance(at, list) and isinstance(step, int):
            place += f"[{step}]" if place else f" entry {step}"
        else:
            continue  # it names an alternative of a union, or a missing key
        at = at[step]
    place = place and f":{place}"
    if first["type"] == "missing":
        return f"{place} lacks {first['loc'][-1]!r}"
    expected = "Input should be "
    same = [str(each["msg"]) for each in errors if each["input"] is first["input"]]
    wanted = dict.fromkeys(text.removeprefix(expected) for text in same if text.startswith(expected))
    words = " or ".join(wanted) or f"something else ({first['msg'].lower()})"
    return f"{place} is {reprlib.repr(first['input'])}, expected {words}"


def _fault_without(value: Any, kind: Any) -> str:
    """Return the fault as `_fault` does, found without pydantic: the wrong kind, or a missing key."""
    required = getattr(kind, "__required_keys__", None)
    if required is None:
        return ""
    if not isinstance(value, dict):
        return f" is {reprlib.repr(value)}, expected a valid dictionary"
    return next((f" lacks {name!r}" for name in sorted(required - value.keys())), "")
