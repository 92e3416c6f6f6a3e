"""A process that carries out cells one after the other, as it is told on its standard input.

    {"config": {...}, "track": [...]}   ->   {"status": "done", "message": "", "notes": ""}
    {"stop": true}, or the end of the input: the run writes its checkpoint and the process ends.

The input ends when whoever started the process has gone, however it went, so that no worker stays behind.
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
"""How long a worker that was told to stop may take: an evaluation, the loading of data. One that hangs goes
without a checkpoint; its cell goes on from the one before."""


def carry_out(config: dict[str, Any], stop: Any, track: Sequence[str] = ()) -> dict[str, str]:
    """Run a configuration and say how it ended, and, line by line, what the user should know of it.

    done, failed (it diverged), interrupted, refused (it could not be run), damaged (a file in its folder is,
    and without the folder it can be run), full (the disk is), busy (another process is at work on it), or
    found (there is a result, which another process made meanwhile).
    """
    from noisylabels.core.checks import Busy, CorruptedFile, InputError, one_line
    from noisylabels.experiment import Notes, RunConfig, run
    from noisylabels.training.interrupt import Interrupted

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
            notes.clear()  # whoever made it has told them
            return answer("found", "")
        return answer(result.status, result.message)
    except Interrupted as stopped:
        return answer("interrupted", str(stopped))
    except Busy as error:
        return answer("busy", str(error))
    except CorruptedFile as error:
        return answer("damaged", str(error))
    except (Exception, SystemExit) as error:  # whatever it is, the study goes on
        if disk_is_full(error) or disk_is_full(error.__context__):
            return answer("full", f"the disk of {config['out']} is full")
        if isinstance(error, InputError):
            return answer("refused", str(error))
        return answer("refused", one_line(error), trace=traceback.format_exc())


def disk_is_full(error: BaseException | None) -> bool:
    """Return whether an error says that there is no room on the disk."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def main() -> None:
    """Serve the standard input."""
    from noisylabels.core.process import keep_freed_memory

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

    # a model that prints must not speak for us, nor one that reads hear what we are told
    orders, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=listen, daemon=True).start()
    while (order := cells.get()) is not None and not stopping.is_set():
        answer = carry_out(order["config"], stopping.is_set, order["track"])
        try:
            print(json.dumps(answer), file=answers, flush=True)
        except BrokenPipeError:
            return


if __name__ == "__main__":
    main()
