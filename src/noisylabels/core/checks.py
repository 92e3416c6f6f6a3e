"""Input checks and the exception that they raise, `InputError`."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable


class InputError(ValueError):
    """An invalid input; the message is one line that says what to do.

    The command line prints the message without a traceback and exits with code 2. An exception
    of any other type is a bug in this library and is reported as one.
    """


class Unlabeled(InputError):  # noqa: N818  it is an error only where labels are needed
    """The data have no labels, or those of a single class."""


class CorruptedFile(InputError):  # noqa: N818  a state of the folder rather than of the input
    """A file that this program wrote is damaged; once it is removed, the work can be repeated."""


class Busy(InputError):  # noqa: N818  a state of the folder rather than of the input
    """Another process is using the folder that this process needs."""


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest option, or the whole list when none is near.

    >>> did_you_mean("nec", ["nce", "mae"])
    "; did you mean 'nce'?"
    >>> did_you_mean("zzz", ["nce", "mae"])
    '; known: nce, mae'
    """
    known = list(options)
    near = [option for option in known if sorted(option) == sorted(name.lower())]  # same letters, other order
    near = near or difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return "; known: " + ", ".join(known) if known else ""


def one_line(error: BaseException) -> str:
    """Return the type and the message of an error as one line, cut at 300 characters."""
    words = " ".join(str(error).split())
    kind = type(error).__name__
    return f"{kind}: {words if len(words) <= 300 else words[:297] + '...'}" if words else kind


def check_choice(value: str, options: Iterable[str], what: str) -> str:
    """Return `value` if it is one of `options`, else raise an `InputError` that suggests the nearest."""
    known = list(options)
    if value not in known:
        raise InputError(f"unknown {what} {value!r}{did_you_mean(str(value), known)}")
    return value


def check_whole(value: int, what: str, low: int) -> int:
    """Return `value` if it is an integer of `low` or more, else raise an `InputError`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise InputError(f"{what} is {value!r}, expected an integer of {low} or more")
    return value


def check_between(
    value: float,
    what: str,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    open_low: bool = False,
    open_high: bool = False,
) -> float:
    """Return `value` if it is a finite number between `low` and `high`, else raise an `InputError`.

    The ends belong to the range unless `open_low` or `open_high` excludes them.
    """
    ok = (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and -math.inf < value < math.inf  # as torch.compile can trace it
        and (value > low if open_low else value >= low)
        and (value < high if open_high else value <= high)
    )
    if not ok:
        left = "(" if open_low or low == -math.inf else "["
        right = ")" if open_high or high == math.inf else "]"
        raise InputError(f"{what} is {value!r}, expected a number in {left}{low:g}, {high:g}{right}")
    return value
