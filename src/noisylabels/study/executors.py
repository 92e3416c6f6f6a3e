"""Run the cells of a study, in this process or in several worker processes."""

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
from noisylabels.core.interrupt import stop_on_signals
from noisylabels.experiment.machine_use import JOBS
from noisylabels.study.grid import Cell
from noisylabels.study.store import Store, left
from noisylabels.study.worker import STOP_SECONDS, carry_out, disk_is_full

TRIES = 3
"""Number of tries ended by a killed worker or a damaged folder after which a cell fails: it may need too much
memory."""

WAIT_SECONDS = 5.0
"""How long to wait for cells that another process is running before ending."""


class View(Protocol):
    """Interface of objects that display the progress of a study."""

    def begun(self, cell: Cell) -> None:
        """Handle the start of a cell."""

    def ended(self, cell: Cell, answer: dict[str, str]) -> None:
        """Handle the end of a cell; `answer` is the result of `worker.carry_out`."""

    def tick(self) -> None:
        """Refresh the display; called several times per second."""


class Work:
    """Queue of the cells of one call, shared by its workers, with the answers so far.

    Args:
        store: store of the cells.
        cells: cells to run.
        view: receives the progress.
        ended_by: returns whether to stop, for example because the time is up.
        track: names of trackers that also receive the histories.
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
        self.full = ""  # the message if the disk is full
        self.track = list(track)
        self.waiting = deque(cells)
        self.elsewhere: list[Cell] = []  # running in another process
        self.tries: dict[str, int] = {}  # failed tries by cell
        self.ended: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    def stop(self) -> bool:
        """Return whether to stop; on a full disk no cell can run and none should count as failed."""
        return bool(self.full) or self.ended_by()

    def take(self) -> Cell | None:
        """Return the next cell, or None if none is left."""
        with self._lock:
            return self.waiting.popleft() if self.waiting and not self.stop() else None

    def config(self, cell: Cell) -> dict[str, Any]:
        """Return the configuration that is sent to a worker."""
        return to_dict(cell.config) | {"out": str(self.store.path(cell))}

    def end(self, cell: Cell, answer: dict[str, str]) -> None:
        """Record the answer for a cell."""
        answer, again = dict(answer), False
        try:
            if answer["status"] == "damaged":
                again = self._once_more(cell)
                aside = self.store.set_aside(cell, damaged=True) if again else None
                if aside is not None:
                    answer["message"] += f"; moved to {aside}, to be run again"
                elif not again:
                    answer["status"] = "refused"
            if answer["status"] == "refused":
                self.store.fail(cell, answer["message"], answer.get("trace", ""))
        except OSError as error:  # a read-only folder, for example
            answer["status"], again = "full" if disk_is_full(error) else "refused", False
            answer["message"] += f" (the failure cannot be recorded: {error.strerror})"
        with self._lock:
            if answer["status"] == "full":
                self.full, answer["status"] = answer["message"], "interrupted"
            # a signal to one worker does not stop the study
            if again or (answer["status"] == "interrupted" and not self.stop()):
                self.waiting.append(cell)
            elif answer["status"] == "busy":
                self.elsewhere.append(cell)
            elif answer["status"] != "interrupted":
                self.ended[cell.name] = answer
            self.view.ended(cell, answer)

    def _once_more(self, cell: Cell) -> bool:
        """Count a failed try and return whether to try again."""
        with self._lock:
            tries = self.tries[cell.name] = self.tries.get(cell.name, 0) + 1
            return tries < TRIES

    def lose(self, cell: Cell, code: int) -> None:
        """Record that the worker of a cell was killed: queue the cell again, or fail it after `TRIES`."""
        if self._once_more(cell):
            with self._lock:
                self.waiting.append(cell)
            return
        how = f"with exit code {code}" if code >= 0 else f"by signal {-code}, {signal.strsignal(-code)}"
        how += "; out of memory?" if -code == signal.SIGKILL else ""
        self.end(cell, {"status": "refused", "message": f"its process ended {TRIES} times {how}"})

    def settle(self) -> bool:
        """Queue the cells that another process has left unfinished; return whether any cell is queued."""
        with self._lock:
            free = [cell for cell in self.elsewhere if self.store.state(cell).state != "running"]
            self.elsewhere = [cell for cell in self.elsewhere if cell not in free]
            self.waiting.extend(left(self.store, free))
            return bool(self.waiting)


def worker_environment(threads: int, jobs: int = 1) -> dict[str, str]:
    """Return the environment of a worker process with so many threads, one of `jobs` at a time."""
    source = str(Path(noisylabels.__file__).parents[1])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return os.environ | limits | {"PYTHONPATH": path, JOBS: str(jobs)}


def inline(work: Work) -> bool:
    """Run the cells sequentially in this process; return whether one was interrupted."""

    def stop() -> bool:  # asked after every step
        work.view.tick()
        return work.stop()

    while (cell := work.take()) is not None:
        work.view.begun(cell)
        answer = carry_out(work.config(cell), stop, work.track)
        work.end(cell, answer)
        work.view.tick()
        if answer["status"] in ("interrupted", "full"):
            return True
    return False


def processes(work: Work, jobs: int, threads: int) -> None:
    """Run the cells in `jobs` worker processes of `threads` threads each."""
    workers = [_Worker(work, threads, jobs) for _ in range(jobs)]
    for worker in workers:
        worker.start()
    stopped_at: float | None = None
    while any(worker.is_alive() for worker in workers):
        work.view.tick()
        if stopped_at is None and work.stop():
            stopped_at = time.monotonic()
            for worker in workers:
                worker.ask_to_stop()
        if stopped_at is not None and time.monotonic() - stopped_at > STOP_SECONDS:
            for worker in workers:
                worker.kill()
        time.sleep(0.2)
    work.view.tick()


class _Worker(threading.Thread):
    """A thread that sends cells to a worker process and replaces the process if it is killed."""

    def __init__(self, work: Work, threads: int, jobs: int) -> None:
        super().__init__(daemon=True)
        self.work = work
        self.threads = threads
        self.jobs = jobs
        self.process: subprocess.Popen[str] | None = None
        self.stopping = False

    def run(self) -> None:
        while (cell := self.work.take()) is not None:
            if self.process is None:
                self.process = self._start_process()
            self.work.view.begun(cell)
            answer = self._ask(self.process, self.work.config(cell))
            if answer is not None:
                self.work.end(cell, answer)
            elif self.stopping:
                self.work.end(cell, {"status": "interrupted", "message": "stopped"})
            else:
                self.work.lose(cell, self.process.wait())
                self._close()
        self._close()

    def _close(self) -> None:
        """End the process, which exits when its input is closed."""
        if self.process is not None:
            for pipe in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):
                    assert pipe is not None
                    pipe.close()
            self.process.wait()
            self.process = None

    def ask_to_stop(self) -> None:
        """Ask the worker process to write the checkpoint of its run and stop."""
        self.stopping = True
        if (process := self.process) is not None and process.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # the process may have ended
                process.stdin.write('{"stop": true}\n')
                process.stdin.flush()

    def kill(self) -> None:
        """Kill a process that does not stop."""
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
        if self.stopping:  # possibly set before the process started
            self.ask_to_stop()
        try:
            answer: dict[str, str] = json.loads(process.stdout.readline())
        except ValueError:  # no answer, or a partial line
            return None
        return answer

    def _start_process(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "noisylabels.study.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=worker_environment(self.threads, self.jobs),
            start_new_session=True,  # Ctrl-C reaches this process, which passes it on
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
    """Run cells until all are done, the time is up, or SIGINT or SIGTERM is received.

    Args:
        store: store of the cells.
        cells: cells to run.
        view: receives the progress.
        jobs: number of worker processes; 0 runs the cells in this process.
        threads: number of threads per process.
        seconds: time after which running cells write their checkpoints and no other starts.
        track: names of trackers that also receive the histories, tensorboard, mlflow, wandb.

    Returns:
        The work with its `ended`, `elsewhere` and `waiting` cells; `full` is a message if the disk was full.
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
