"""Parameters of a class that have a number, a truth value or a word as default: their defaults and limits."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError, check_between, did_you_mean

Value = bool | int | float | str


def defaults_of(make: Callable[..., Any]) -> dict[str, Value]:
    """Return the parameters of a class or function with their defaults, in the order of the signature.

    The first two arguments, such as model and loss, are none.

    >>> defaults_of(lambda model, loss, *, beta=0.7, second=None: None)
    {'beta': 0.7}
    """
    try:
        arguments = list(inspect.signature(make).parameters.values())[2:]
    except (TypeError, ValueError):
        return {}
    return {
        each.name: each.default for each in arguments if isinstance(each.default, (bool, int, float, str))
    }


def check_parameter(value: Any, default: Value, what: str, domain: Mapping[str, Any]) -> Value:
    """Return a value in the type of its default, after checking it.

    Args:
        value: a number, a truth value or a word.
        default: of the parameter; a number may stand in place of a word where the domain has limits.
        what: the parameter, for messages.
        domain: keyword arguments of `check_between`, "choices" of words, and "whole" where a number in place
            of a word must be a whole one.

    Raises:
        InputError: another type, or a value outside the domain.

    >>> check_parameter(3, 0.7, "beta", {"low": 0})
    3.0
    """
    limits = dict(domain)
    choices, whole = limits.pop("choices", None), limits.pop("whole", isinstance(default, int))
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(default, bool) or isinstance(value, (bool, str)):
        if type(value) is not type(default):
            if limits and not isinstance(default, (bool, str)):
                check_between(value, what, **limits)  # raises, and names the limits
            kinds = {bool: "True or False", str: "a word", int: "a whole number", float: "a number"}
            raise InputError(f"{what} is {value!r}, expected {kinds[type(default)]}")
        if choices is not None and value not in choices:
            raise InputError(f"{what} is {value!r}{did_you_mean(str(value), choices)}")
        return value
    if isinstance(default, str) and not limits:
        raise InputError(f"{what} is {value!r}, expected a word")
    check_between(value, what, **limits)
    if whole:
        if value != int(value):
            raise InputError(f"{what} is {value!r}, expected a whole number")
        return int(value)
    return float(value)
