"""The command line: verbs, one file each; no logic.

Exit codes: 0 done, 1 the run failed (the loss diverged), 2 something in the input is wrong (one
line says what), 130 or 143 stopped by a signal (the same command goes on).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command and return its exit code."""
    from noisylabels.cli.parser import parse
    from noisylabels.core.checks import InputError

    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        command = parse(words)
        return command.run()
    except InputError as error:
        if debug:
            raise
        print(f"noisylabels: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output, such as head, has gone
        sys.stderr.close()
        return 0
    except OSError as error:  # a full disk, a forbidden folder
        if debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"noisylabels: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("noisylabels: stopped", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            raise
        kind = type(error).__name__
        if re.search("out of memory|not enough memory|allocate memory", str(error), re.IGNORECASE):
            print(
                "noisylabels: not enough memory; take a smaller --image-size, --width or --batch-size",
                file=sys.stderr,
            )
            return 2
        print(
            f"noisylabels: this is a fault of the program, not of your input: {kind}: {error}; "
            "please report it with what --debug shows",
            file=sys.stderr,
        )
        return 70
