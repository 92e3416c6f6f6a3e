"""Names that changed and are still taken from Python code, with a warning; docs/compatibility.md lists them.

Old names in files are read without one: a reader maps them to the current names.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass


@dataclass(frozen=True)
class Deprecated:
    """A value of an argument that changed its name.

    Args:
        argument: where it is given, such as ``estimate_transition(method=...)``.
        old, new: the former and the current name.
        since: the version that deprecated it.
        until: the version that will refuse it.
    """

    argument: str
    old: str
    new: str
    since: str
    until: str


DEPRECATED = (
    Deprecated("estimate_transition(method=...)", "neighbours", "neighbors", since="0.2.0", until="0.3.0"),
)
"""Every deprecated name."""


def current_name(argument: str, name: str) -> str:
    """Return the current name of a value, with a `DeprecationWarning` for a former one.

    The warning names the caller of the function that calls this.

    Args:
        argument: of a row of `DEPRECATED`.
        name: the value given.

    >>> current_name("estimate_transition(method=...)", "neighbors")
    'neighbors'
    """
    for row in DEPRECATED:
        if (row.argument, row.old) == (argument, name):
            text = f"{row.argument}: {row.old!r} is {row.new!r}; it will be refused from {row.until} on"
            warnings.warn(text, DeprecationWarning, stacklevel=3)
            return row.new
    return name
