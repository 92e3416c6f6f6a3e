"""Worker process that runs the cells it receives on standard input, one after the other.

    {"config": {...}, "track": [...]}   ->   {"status": "done", "message": "", "notes": ""}
    {"stop": true}, or the end of the input: the run writes its checkpoint and the process ends.

The input ends when the parent process ends for any reason, so no worker outlives it.
"""

from __future__ import annotations

import errno
import json
import os
import queue
import threading
import time
import traceback
from collections.abc import Sequence
from typing import Any

STOP_SECONDS = 120.0
"""Time for a worker to stop, for example to finish an evaluation or to load data. A worker that takes longer
is killed, and its cell resumes from the previous checkpoint."""


def carry_out(config: dict[str, Any], stop: Any, track: Sequence[str] = ()) -> dict[str, str]:
    """Run a configuration and return its status, a message and notes for the user, one per line.

    The status is done, failed (training diverged), interrupted, refused (it cannot be run), damaged (a file
    in its folder is corrupted; without the folder it can be run), full (no other cell can be run either: the
    disk is full, the store of the study does not take what was computed, the machine cannot run cells), busy
    (another process is running it), or found (another process finished it in the meantime).

    Args:
        config: the settings of the run; of a cell of a study at a URL also `at`, see `transfer`.
        stop: asked after every step whether to stop.
        track: names of trackers that also receive the history.
    """
    if "at" in config:
        from noisylabels.study.transfer import carry_out_at

        rest = {name: value for name, value in config.items() if name != "at"}
        return carry_out_at(config["at"], rest, stop, track, carry_out)
    from noisylabels.core.checks import Busy, CorruptedFile, InputError, one_line
    from noisylabels.core.interrupt import Interrupted
    from noisylabels.core.opening import has_no_room
    from noisylabels.experiment import Notes, RunConfig, run

    class Steps(Notes):
        taken = 0

        def step(self, epoch: int, done: int, total: int) -> None:
            self.taken += 1

    notes: list[str] = []
    steps = Steps(notes.append)

    def answer(status: str, message: str, **more: str) -> dict[str, str]:
        return {"status": status, "message": message, "notes": "\n".join(notes), **more}

    try:
        result = run(RunConfig(**config), steps, stop, track)
        if result.status == "done" and not steps.taken:
            notes.clear()  # the other process has reported them
            return answer("found", "")
        return answer(result.status, result.message)
    except Interrupted as stopped:
        return answer("interrupted", str(stopped))
    except Busy as error:
        return answer("busy", str(error))
    except CorruptedFile as error:
        return answer("damaged", str(error))
    except (Exception, SystemExit) as error:  # any failure of one cell must not stop the study
        for each in (error, error.__context__):
            if isinstance(each, OSError) and has_no_room(each):
                return answer("full", _no_room(each, config["out"]))
        if isinstance(error, InputError):
            return answer("refused", str(error))
        return answer("refused", one_line(error), trace=traceback.format_exc())


def _no_room(error: OSError, out: str) -> str:
    if error.errno == errno.EFBIG:
        return f"the files of {out} exceed the size that the system allows; raise the limit (ulimit -f)"
    return f"the disk of {out} is full; free some space"


def main() -> None:
    """Run cells from standard input until it ends."""
    from noisylabels.core.process import empty_input, keep_freed_memory

    keep_freed_memory()
    stopping = threading.Event()
    cells: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def listen() -> None:
        for line in orders:
            order = json.loads(line)
            if "stop" in order:
                break
            cells.put(order)
        stopping.set()
        cells.put(None)
        time.sleep(STOP_SECONDS)
        os._exit(1)

    # user code that prints or reads must not interfere with the protocol
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    empty_input()
    threading.Thread(target=listen, daemon=True).start()
    while (order := cells.get()) is not None and not stopping.is_set():
        answer = carry_out(order["config"], stopping.is_set, order["track"])
        try:
            print(json.dumps(answer), file=answers, flush=True)
        except BrokenPipeError:
            return


if __name__ == "__main__":
    main()
