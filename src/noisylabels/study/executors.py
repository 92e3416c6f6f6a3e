"""Who carries out the cells of a study: this process, or several that share the cores."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import noisylabels
from noisylabels.core.config import to_dict
from noisylabels.study.grid import Cell
from noisylabels.study.store import Store, left
from noisylabels.study.worker import STOP_SECONDS, carry_out, disk_is_full
from noisylabels.training.interrupt import stop_on_signals

TRIES = 3
"""A cell whose worker is killed, or whose folder is damaged, so often is given up: it may need more memory
than there is."""

WAIT_SECONDS = 5.0
"""How long to wait for cells that another process is at work on before saying so and ending."""


class View(Protocol):
    """Somebody who is shown how the study goes."""

    def begun(self, cell: Cell) -> None:
        """A cell is being carried out."""

    def ended(self, cell: Cell, answer: dict[str, str]) -> None:
        """It was; `answer` has its status, message and notes, as `worker.carry_out` gives them."""

    def tick(self) -> None:
        """Time has passed: about twice a second."""


class Work:
    """The cells of one call: what is left, what is being done, what came of them.

    Args:
        store: where they are kept.
        cells: what is to be run.
        view: who is shown.
        ended_by: says whether to end, such as because the time is up.
        track: who gets the histories too.
    """

    def __init__(
        self,
        store: Store,
        cells: Sequence[Cell],
        view: View,
        ended_by: Callable[[], bool],
        track: Sequence[str] = (),
    ) -> None:
        self.store = store
        self.view = view
        self.ended_by = ended_by
        self.full = ""  # what to say of the disk
        self.track = list(track)
        self.waiting = deque(cells)
        self.elsewhere: list[Cell] = []  # another process is at work on them
        self.tries: dict[str, int] = {}  # that came to nothing
        self.ended: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def stop(self) -> bool:
        """Say whether to end: nothing can be done on a full disk, and no cell is to fail for it."""
        return bool(self.full) or self.ended_by()

    def take(self) -> Cell | None:
        """Return the next cell, or None if none is left."""
        with self._lock:
            return self.waiting.popleft() if self.waiting and not self.stop() else None

    def config(self, cell: Cell) -> dict[str, Any]:
        """Return what a worker is told."""
        return to_dict(cell.config) | {"out": str(self.store.path(cell))}

    def end(self, cell: Cell, answer: dict[str, str]) -> None:
        """Take note of what came of a cell."""
        answer, again = dict(answer), False
        try:
            if answer["status"] == "damaged":
                again = self._once_more(cell)
                aside = self.store.set_aside(cell, damaged=True) if again else None
                if aside is not None:
                    answer["message"] += f"; kept in {aside}, run again"
                elif not again:
                    answer["status"] = "refused"
            if answer["status"] == "refused":
                self.store.fail(cell, answer["message"], answer.get("trace", ""))
        except OSError as error:  # such as a folder that may only be read
            answer["status"], again = "full" if disk_is_full(error) else "refused", False
            answer["message"] += f" (no record of it can be written: {error.strerror})"
        with self._lock:
            if answer["status"] == "full":
                self.full, answer["status"] = answer["message"], "interrupted"
            # a worker that alone got a signal is not the whole study
            if again or (answer["status"] == "interrupted" and not self.stop()):
                self.waiting.append(cell)
            elif answer["status"] == "busy":
                self.elsewhere.append(cell)
            elif answer["status"] != "interrupted":
                self.ended[cell.name] = answer
            self.view.ended(cell, answer)

    def _once_more(self, cell: Cell) -> bool:
        """Count a try that came to nothing, and say whether there is to be another."""
        with self._lock:
            tries = self.tries[cell.name] = self.tries.get(cell.name, 0) + 1
            return tries < TRIES

    def lose(self, cell: Cell, code: int) -> None:
        """Take note that the worker of a cell was killed: it is tried again, from its checkpoint."""
        if self._once_more(cell):
            with self._lock:
                self.waiting.append(cell)
            return
        how = f"with exit code {code}" if code >= 0 else f"by signal {-code}, {signal.strsignal(-code)}"
        how += "; out of memory?" if -code == signal.SIGKILL else ""
        self.end(cell, {"status": "refused", "message": f"its process ended {TRIES} times {how}"})

    def settle(self) -> bool:
        """Look again at cells that were another's; return whether any has become ours."""
        with self._lock:
            free = [cell for cell in self.elsewhere if self.store.state(cell).state != "running"]
            self.elsewhere = [cell for cell in self.elsewhere if cell not in free]
            self.waiting.extend(left(self.store, free))
            return bool(self.waiting)


def inline(work: Work) -> bool:
    """Carry out the cells in this process, one after the other; return whether one was stopped.

    The run that is stopped by a signal sees it, and nobody else.
    """
    while (cell := work.take()) is not None:
        work.view.begun(cell)
        answer = carry_out(work.config(cell), work.stop, work.track)
        work.end(cell, answer)
        work.view.tick()
        if answer["status"] in ("interrupted", "full"):
            return True
    return False


def processes(work: Work, jobs: int, threads: int) -> None:
    """Carry out the cells in `jobs` processes of `threads` threads each."""
    hands = [_Worker(work, threads) for _ in range(jobs)]
    for hand in hands:
        hand.start()
    told: float | None = None
    while any(hand.is_alive() for hand in hands):
        work.view.tick()
        if told is None and work.stop():
            told = time.monotonic()
            for hand in hands:
                hand.tell_to_stop()
        if told is not None and time.monotonic() - told > STOP_SECONDS:
            for hand in hands:
                hand.kill()
        time.sleep(0.2)
    work.view.tick()


class _Worker(threading.Thread):
    """A thread that hands cells to a process and starts another when that is killed."""

    def __init__(self, work: Work, threads: int) -> None:
        super().__init__(daemon=True)
        self.work = work
        self.threads = threads
        self.process: subprocess.Popen[str] | None = None
        self.stopping = False

    def run(self) -> None:
        while (cell := self.work.take()) is not None:
            if self.process is None:
                self.process = self._worker()
            self.work.view.begun(cell)
            answer = self._ask(self.process, self.work.config(cell))
            if answer is not None:
                self.work.end(cell, answer)
            elif self.stopping:
                self.work.end(cell, {"status": "interrupted", "message": "stopped"})
            else:
                self.work.lose(cell, self.process.wait())
                self._let_go()
        self._let_go()

    def _let_go(self) -> None:
        """End the process: it goes when its input ends."""
        if self.process is not None:
            for pipe in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):
                    assert pipe is not None
                    pipe.close()
            self.process.wait()
            self.process = None

    def tell_to_stop(self) -> None:
        """Let the present run write its checkpoint."""
        self.stopping = True
        if (process := self.process) is not None and process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # it may have gone already
                process.stdin.write('{"stop": true}\n')
                process.stdin.flush()

    def kill(self) -> None:
        """End a process that does not stop."""
        if (process := self.process) is not None:
            process.kill()

    def _ask(self, process: subprocess.Popen[str], config: dict[str, Any]) -> dict[str, str] | None:
        """Return the worker's answer, or None if it died."""
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps({"config": config, "track": self.work.track}) + "\n")
            process.stdin.flush()
        except (OSError, ValueError):
            return None
        if self.stopping:  # since the cell was taken, and perhaps before there was a process to tell
            self.tell_to_stop()
        try:
            answer: dict[str, str] = json.loads(process.stdout.readline())
        except ValueError:  # nothing, or half a line
            return None
        return answer

    def _worker(self) -> subprocess.Popen[str]:
        source = str(Path(noisylabels.__file__).parents[1])
        path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
        limits = {name: str(self.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
        return subprocess.Popen(
            [sys.executable, "-m", "noisylabels.study.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | limits | {"PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is ours to pass on
        )


def carry_out_all(
    store: Store,
    cells: Sequence[Cell],
    view: View,
    *,
    jobs: int = 0,
    threads: int = 1,
    seconds: float | None = None,
    track: Sequence[str] = (),
) -> Work:
    """Carry out cells until all are done, the time is up, or SIGINT or SIGTERM comes.

    Args:
        store: where they are kept.
        cells: what is to be run.
        view: who is shown.
        jobs: processes; 0 for this one.
        threads: of each process.
        seconds: after which running cells write their checkpoints and no other begins.
        track: trackers that get the histories too: tensorboard, mlflow, wandb.

    Returns:
        What came of them: `ended`, `elsewhere` and `waiting`; `full` if the disk was, which ended it.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    with stop_on_signals() as signals:

        def stop() -> bool:
            return signals() or (deadline is not None and time.monotonic() > deadline)

        work = Work(store, cells, view, stop, track)
        while True:
            if jobs == 0:
                if inline(work):
                    return work
            else:
                processes(work, min(jobs, max(len(work.waiting), 1)), threads)
            patience = time.monotonic() + WAIT_SECONDS
            while work.elsewhere and not work.stop() and time.monotonic() < patience and not work.settle():
                time.sleep(0.2)
                view.tick()
            if work.stop() or not work.waiting:
                return work
