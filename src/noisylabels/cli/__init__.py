"""The command line: one file per verb, without logic of its own.

Exit codes: 0 done; 1 the run failed (training diverged), or one of its processes was lost; 2 invalid input,
named in one line; 70 an internal error; 130 or 143 stopped by a signal (the same command resumes).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

OUT_OF_MEMORY = re.compile(
    "out of memory|not enough memory|allocate memory|unable to allocate|bad_alloc|failed to map segment"
    "|could not create a primitive|can.t start new thread",
    re.IGNORECASE,
)
"""What torch, NumPy, Arrow and the system's loader say when there is no memory left."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    from noisylabels.cli.output import complain
    from noisylabels.cli.parser import parse
    from noisylabels.core.checks import InputError
    from noisylabels.core.interrupt import Interrupted, RankLost
    from noisylabels.core.process import discard_output, open_standard_streams, world

    open_standard_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    try:
        command = parse(words)
        if (size := world().size) > 1 and not getattr(command, "several_processes", False):
            raise InputError(
                f"{words[0]} runs in one process, and {size} were started; leave out torchrun, between whose "
                "processes only train divides its work"
            )
        code = command.run()
        sys.stdout.flush()  # here, where a full disk can be reported
        return code
    except InputError as error:
        if debug:
            raise
        complain(str(error))
        return 2
    except BrokenPipeError:  # the reader of the output, such as head, has closed it
        discard_output()
        return 0
    except OSError as error:  # a full disk, a folder without permission
        if debug:
            raise
        where = f"{error.filename}: " if error.filename else ""
        complain(f"{where}{error.strerror or error}")
        discard_output()
        return 2
    except Interrupted as stopped:
        complain(f"{stopped}; run the same command again to resume")
        return 128 + stopped.signal
    except RankLost as lost:
        if debug:
            raise
        complain(f"{lost}; run the same command again to resume")
        return 1
    except KeyboardInterrupt:
        complain("stopped")
        return 130
    except Exception as error:
        if debug:
            raise
        kind = type(error).__name__
        if isinstance(error, MemoryError) or OUT_OF_MEMORY.search(str(error)):
            complain("out of memory; reduce --image-size, --width or --batch-size")
            return 2
        complain(
            f"internal error, not caused by your input: {kind}: {error}; "
            "please report it with the output of --debug"
        )
        return 70
