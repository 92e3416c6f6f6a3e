"""A process that carries out cells one after the other, as it is told on its standard input.

    {"config": {...}}      ->   {"status": "done", "message": ""}
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
from typing import Any


def carry_out(config: dict[str, Any], stop: Any) -> dict[str, str]:
    """Run a configuration and say how it ended.

    done, failed (it diverged), interrupted, refused (it could not be run), busy (another process is at work
    on it), or found (there is a result, which another process made meanwhile).
    """
    from noisylabels.core.checks import Busy, InputError
    from noisylabels.experiment import RunConfig, Silent, run
    from noisylabels.training.interrupt import Interrupted

    class Steps(Silent):
        taken = 0

        def step(self, epoch: int, done: int, total: int) -> None:
            self.taken += 1

    steps = Steps()
    try:
        result = run(RunConfig(**config), steps, stop)
        found = result.status == "done" and not steps.taken
        return {"status": "found" if found else result.status, "message": result.message}
    except Interrupted as stopped:
        return {"status": "interrupted", "message": str(stopped)}
    except Busy as error:
        return {"status": "busy", "message": str(error)}
    except InputError as error:
        return {"status": "refused", "message": str(error)}
    except Exception as error:  # whatever it is, the study goes on
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        return {"status": "refused", "message": message, "trace": traceback.format_exc()}


def main() -> None:
    """Serve the standard input."""
    stopping = threading.Event()
    cells: queue.Queue[dict[str, Any] | None] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            order = json.loads(line)
            if "stop" in order:
                break
            cells.put(order["config"])
        stopping.set()
        cells.put(None)

    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a model that prints must not speak for us
    threading.Thread(target=listen, daemon=True).start()
    while (config := cells.get()) is not None and not stopping.is_set():
        answer = carry_out(config, stopping.is_set)
        try:
            print(json.dumps(answer), file=answers, flush=True)
        except BrokenPipeError:
            return


if __name__ == "__main__":
    main()
