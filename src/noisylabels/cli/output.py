"""Print plain lines: results, notes, errors. They may hold names from files, so they are made printable."""

from __future__ import annotations

import sys
import time

from noisylabels.core.checks import InputError
from noisylabels.core.printable import one_printed_line, printable
from noisylabels.core.process import world

_FIRST_SECONDS = 3.0


def say(text: str) -> None:
    """Print a result, one line or several."""
    line = printable(text)
    known = sys.stdout.encoding or "utf-8"  # of a stream that is no file, such as that of a test
    print(line.encode(known, "backslashreplace").decode(known), flush=True)


def note(text: str) -> None:
    """Print a note on standard error."""
    print(f"note: {one_printed_line(text)}", file=sys.stderr)


def complain(text: str) -> None:
    """Print an error, or why a command stops, as one line on standard error, in one of several processes."""
    if _is_heard():
        print(f"noisylabels: {one_printed_line(text)}", file=sys.stderr)


def _is_heard() -> bool:
    """Return whether this process, one of those that torchrun started, reports an error to the user."""
    try:
        here = world()
    except InputError:
        return True
    if here.size == 1:
        return True
    if "torch" in sys.modules:
        from noisylabels.training.ranks import reports

        if (first := reports()) is not None:
            return first
    # torchrun ends all once one has ended: a process that goes on after the wait failed alone
    if here.rank > 0:
        time.sleep(_FIRST_SECONDS)
    return True


def count_up(what: str, done: int, total: int) -> None:
    """Print a count over the line before, if standard error is a terminal."""
    if sys.stderr.isatty():
        print(f"\r{printable(what)} {done}/{total}", end="\n" * (done == total), file=sys.stderr, flush=True)


def write_data(text: str) -> None:
    """Write data, such as CSV: as they are to a file or a program, made printable to a terminal."""
    sys.stdout.write(printable(text, breaks="\r\n\t") if sys.stdout.isatty() else text)
