"""A process that carries out cells one after the other, as it is told on its standard input.

    {"config": {...}, "track": [...]}   ->   {"status": "done", "message": "", "notes": ""}
    {"stop": true}, or the end of the input: the run writes its checkpoint and the process ends.

The input ends when whoever started the process has gone, however it went, so that no worker stays behind.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Any


def carry_out(config: dict[str, Any], stop: Any, track: Sequence[str] = ()) -> dict[str, str]:
    """Run a configuration and say how it ended, and, line by line, what the user should know of it.

    done, failed (it diverged), interrupted, refused (it could not be run), busy (another process is at work
    on it), or found (there is a result, which another process made meanwhile).
    """
    from noisylabels.core.checks import Busy, InputError
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
    except InputError as error:
        return answer("refused", str(error))
    except Exception as error:  # whatever it is, the study goes on
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        return answer("refused", message, trace=traceback.format_exc())


def main() -> None:
    """Serve the standard input."""
    stopping = threading.Event()
    cells: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            order = json.loads(line)
            if "stop" in order:
                break
            cells.put(order)
        stopping.set()
        cells.put(None)

    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a model that prints must not speak for us
    threading.Thread(target=listen, daemon=True).start()
    while (order := cells.get()) is not None and not stopping.is_set():
        answer = carry_out(order["config"], stopping.is_set, order["track"])
        try:
            print(json.dumps(answer), file=answers, flush=True)
        except BrokenPipeError:
            return


if __name__ == "__main__":
    main()
