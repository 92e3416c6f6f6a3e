"""Where the cells of a study run: in this process, or in worker processes of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import noisylabels
from noisylabels.experiment.machine_use import JOBS
from noisylabels.study.worker import carry_out

Answer = dict[str, str]
"""The result of `worker.carry_out`."""


class Lost(NamedTuple):
    """What is received in place of an answer if the process of a cell ended.

    Args:
        how: the end of the sentence "its process ended".
        machine: its machine was lost, so that the cell is hardly to blame.
    """

    how: str
    machine: bool = False


class Executor(Protocol):
    """Runs cells, several at a time; only the thread that made it calls it.

    A cell resumes from its checkpoint, so that it can be submitted again after any end.
    """

    @property
    def slots(self) -> int:
        """The number of cells to have submitted at a time."""

    def submit(self, name: str, config: Mapping[str, Any], stop: Callable[[], bool]) -> None:
        """Run a cell.

        Args:
            name: returned with the answer.
            config: the configuration; `out` is the folder of the run.
            stop: asked after every step whether to stop by an executor that runs it in this process.
        """

    def answers(self, seconds: float) -> Iterator[tuple[str, Answer | Lost]]:
        """Yield the names of cells that have ended, and their answers; wait for the first at most so long."""

    def stop(self) -> None:
        """Ask all cells to write their checkpoints and stop; they answer as interrupted."""

    def kill(self) -> None:
        """End cells that do not stop."""

    def close(self) -> None:
        """End the processes, once no cell is running."""


class Inline:
    """Runs one cell at a time in this process.

    Args:
        track: names of trackers that also receive the histories.
    """

    slots = 1

    def __init__(self, track: Sequence[str] = ()) -> None:
        self._track = track
        self._answer: tuple[str, Answer] | None = None

    def submit(self, name: str, config: Mapping[str, Any], stop: Callable[[], bool]) -> None:
        """Run a cell to its end."""
        self._answer = name, carry_out(dict(config), stop, self._track)

    def answers(self, seconds: float) -> Iterator[tuple[str, Answer | Lost]]:
        """Yield the answer of the last cell."""
        if self._answer is not None:
            yield self._answer
        self._answer = None

    def stop(self) -> None:
        """Do nothing: the cell asks."""

    def kill(self) -> None:
        """Do nothing: no cell runs while this is called."""

    def close(self) -> None:
        """Do nothing."""


class Processes:
    """Runs cells in worker processes, each of which runs one cell after the other.

    Args:
        jobs: the number of processes.
        threads: the number of threads per process.
        track: names of trackers that also receive the histories.
    """

    def __init__(self, jobs: int, threads: int = 1, track: Sequence[str] = ()) -> None:
        self.slots = jobs
        self._environment = worker_environment(threads, jobs)
        self._track = list(track)
        self._idle: list[subprocess.Popen[str]] = []
        self._busy: dict[str, subprocess.Popen[str]] = {}
        self._arrived: queue.SimpleQueue[tuple[str, Answer | Lost]] = queue.SimpleQueue()

    def submit(self, name: str, config: Mapping[str, Any], stop: Callable[[], bool]) -> None:
        """Send a cell to a process."""
        process = self._idle.pop() if self._idle else self._start()
        self._busy[name] = process
        _write(process, {"config": config, "track": self._track})
        threading.Thread(target=self._listen, args=(name, process), daemon=True).start()

    def _listen(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        try:
            self._arrived.put((name, json.loads(process.stdout.readline())))
        except ValueError:  # no answer, or a partial line
            self._arrived.put((name, Lost(_how(process.wait()))))

    def answers(self, seconds: float) -> Iterator[tuple[str, Answer | Lost]]:
        """Yield what has arrived."""
        with contextlib.suppress(queue.Empty):
            found = self._arrived.get(timeout=seconds)
            while True:
                process = self._busy.pop(found[0])
                if isinstance(found[1], Lost):
                    _close(process)
                else:
                    self._idle.append(process)
                yield found
                found = self._arrived.get_nowait()

    def stop(self) -> None:
        """Ask the processes that run a cell to stop; they end then."""
        for process in self._busy.values():
            _write(process, {"stop": True})

    def kill(self) -> None:
        """Kill the processes that run a cell."""
        for process in self._busy.values():
            process.kill()

    def close(self) -> None:
        """Let the idle processes end."""
        while self._idle:
            _close(self._idle.pop())

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "noisylabels.study.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
            start_new_session=True,  # Ctrl-C reaches this process, which passes it on
        )


def worker_environment(threads: int, jobs: int = 1) -> dict[str, str]:
    """Return the environment of a worker process with so many threads, one of `jobs` at a time."""
    source = str(Path(noisylabels.__file__).parents[1])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    return os.environ | limits | {"PYTHONPATH": path, JOBS: str(jobs)}


def _write(process: subprocess.Popen[str], order: Mapping[str, Any]) -> None:
    """Send an order; a process that has ended is noticed by its answer."""
    assert process.stdin is not None
    with contextlib.suppress(OSError, ValueError):
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()


def _close(process: subprocess.Popen[str]) -> None:
    """End a process, which exits when its input is closed."""
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            assert pipe is not None
            pipe.close()
    process.wait()


def _how(code: int) -> str:
    if code >= 0:
        return f"with exit code {code}"
    return f"by signal {-code}, {signal.strsignal(-code)}" + (
        "; out of memory?" if -code == signal.SIGKILL else ""
    )
