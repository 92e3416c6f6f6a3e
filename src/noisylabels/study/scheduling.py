"""Schedule the cells of a study: each runs once, whatever ends it."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from noisylabels.core.checks import InputError
from noisylabels.core.interrupt import stop_on_signals
from noisylabels.core.opening import has_no_room
from noisylabels.study.equal_runs import EqualCells, copy_from_equal
from noisylabels.study.executors import Executor, Inline, Lost, Processes
from noisylabels.study.grid import Cell
from noisylabels.study.objects import Unreachable
from noisylabels.study.store import Store, left
from noisylabels.study.worker import STOP_SECONDS

TRIES = 3
"""Number of tries ended by a killed worker or a damaged folder after which a cell fails: it may need too much
memory."""

MACHINES = 20
"""Number of lost machines after which a cell fails: it may take them down."""


class View(Protocol):
    """Interface of objects that display the progress of a study."""

    def begun(self, cell: Cell) -> None:
        """Handle the start of a cell."""

    def ended(self, cell: Cell, answer: dict[str, str]) -> None:
        """Handle the end of a cell; `answer` is the result of `worker.carry_out`."""

    def tick(self) -> None:
        """Refresh the display; called several times per second."""


class Work:
    """Queue of the cells of one call, with the answers so far.

    Args:
        store: store of the cells.
        cells: cells to run.
        view: receives the progress.
        ended_by: returns whether to stop, for example because the time is up.
        equal: the cells whose runs are equal; only the first of those in `cells` is run.
    """

    def __init__(
        self,
        store: Store,
        cells: Sequence[Cell],
        view: View,
        ended_by: Callable[[], bool],
        equal: EqualCells,
    ) -> None:
        self.store = store
        self.view = view
        self.ended_by = ended_by
        self.signal: int | None = None  # the signal that stopped the work
        self.full = ""  # the message if the disk is full, or the store does not take what was computed
        self.waiting = deque[Cell]()
        self.equal = equal
        self.held: dict[str, list[Cell]] = {}  # by the cell whose run they are copied from
        self.elsewhere: list[Cell] = []  # running in another process
        self.tries = Counter[str]()  # failed tries by cell
        self.machines = Counter[str]()  # lost machines by cell
        self.ended: dict[str, dict[str, str]] = {}
        self._queue(cells)

    def _queue(self, cells: Sequence[Cell]) -> None:
        """Queue cells; copy those with a finished equal one, hold back those with a queued equal one."""
        queued = {cell.name for cell in self.waiting}
        for cell in cells:
            others = self.equal.others(cell) if self.store.copies_runs else ()
            first = next((other.name for other in others if other.name in queued), None)
            if first is not None:
                self.held.setdefault(first, []).append(cell)
            elif not self._copied(cell):
                self.waiting.append(cell)
                queued.add(cell.name)

    def _copied(self, cell: Cell) -> bool:
        """Copy the run of a finished, equal cell if there is one, and return whether it was."""
        try:
            message = copy_from_equal(self.store, cell, self.equal)
        except (OSError, InputError):  # the run itself will say what is wrong with its folder
            return False
        if message:
            self.ended[cell.name] = {"status": "done", "message": message}
            self.view.ended(cell, self.ended[cell.name])
        return bool(message)

    def _release(self, cell: Cell) -> None:
        """Copy the run of a cell that has ended to those that wait for it, or queue them."""
        self._queue(self.held.pop(cell.name, []))

    def stop(self) -> bool:
        """Return whether to stop; what cannot be stored should not count as failed."""
        return bool(self.full) or self.ended_by()

    def take(self) -> Cell | None:
        """Return the next cell, or None if none is left."""
        return self.waiting.popleft() if self.waiting and not self.stop() else None

    def config(self, cell: Cell) -> dict[str, Any]:
        """Return the configuration that is sent to a worker."""
        return self.store.order(cell)

    def end(self, cell: Cell, answer: dict[str, str]) -> None:
        """Record the answer for a cell."""
        answer, again = dict(answer), False
        self.store.heard(cell, answer)
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
        except Unreachable as error:
            answer |= {
                "status": "full",
                "message": f"{answer['message']} (the failure cannot be recorded: {error})",
            }
            again = False
        except OSError as error:  # a read-only folder, for example
            answer["status"], again = "full" if has_no_room(error) else "refused", False
            answer["message"] += f" (the failure cannot be recorded: {error.strerror})"
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
        if cell.name in self.ended:
            self._release(cell)

    def _once_more(self, cell: Cell) -> bool:
        """Count a failed try and return whether to try again."""
        self.tries[cell.name] += 1
        return self.tries[cell.name] < TRIES

    def lose(self, cell: Cell, lost: Lost) -> None:
        """Record that the process of a cell ended: queue the cell again, or fail it after a few times."""
        self.store.heard(cell, None)
        self.machines[cell.name] += lost.machine
        if self.machines[cell.name] < MACHINES if lost.machine else self._once_more(cell):
            self.waiting.append(cell)
            return
        times = self.machines[cell.name] if lost.machine else self.tries[cell.name]
        self.end(cell, {"status": "refused", "message": f"its process ended {times} times {lost.how}"})

    def settle(self) -> bool:
        """Queue the cells that another process has left unfinished; return whether any cell is queued."""
        self.store.look_again(self.elsewhere)
        free = [cell for cell in self.elsewhere if self.store.state(cell).state != "running"]
        self.elsewhere = [cell for cell in self.elsewhere if cell not in free]
        unfinished = left(self.store, free)
        self.waiting.extend(unfinished)
        for cell in free:
            if cell not in unfinished:
                self._release(cell)
        return bool(self.waiting)


def run_cells(work: Work, executor: Executor) -> None:
    """Run the cells of the queue until it is empty or the work is to stop."""
    running: dict[str, Cell] = {}
    stopped_at: float | None = None

    def stop() -> bool:  # asked after every step of a cell in this process
        work.view.tick()
        return work.stop()

    while True:
        while len(running) < executor.slots and (cell := work.take()) is not None:
            work.view.begun(cell)
            running[cell.name] = cell
            executor.submit(cell.name, work.config(cell), stop)
        if not running:
            break
        for name, answer in executor.answers(0.2):
            cell = running.pop(name)
            if not isinstance(answer, Lost):
                work.end(cell, answer)
            elif stopped_at is None:
                work.lose(cell, answer)
            else:
                work.end(cell, {"status": "interrupted", "message": "stopped"})
        work.view.tick()
        if stopped_at is None and work.stop():
            stopped_at = time.monotonic()
            executor.stop()
        if stopped_at is not None and time.monotonic() - stopped_at > STOP_SECONDS:
            executor.kill()
    work.view.tick()


def carry_out_all(
    store: Store,
    cells: Sequence[Cell],
    view: View,
    *,
    jobs: int = 0,
    threads: int = 1,
    seconds: float | None = None,
    track: Sequence[str] = (),
    executor: Executor | None = None,
    equal: EqualCells | None = None,
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
        executor: where the cells run, in place of `jobs`, `threads` and `track`.
        equal: cells whose runs are equal, of which one is run and copied; by default found among `cells`.

    Returns:
        The work with its `ended`, `elsewhere` and `waiting` cells; `signal` is the one that stopped it, or
        None, and `full` a message if nothing could be stored any more.
    """
    equal = EqualCells.of(cells) if equal is None else equal
    deadline = None if seconds is None else time.monotonic() + seconds
    if executor is None:
        executor = Processes(min(jobs, max(len(cells), 1)), threads, track) if jobs else Inline(track)
    with stop_on_signals() as signals, contextlib.closing(executor):

        def stop() -> bool:
            return signals() or (deadline is not None and time.monotonic() > deadline)

        work = Work(store, cells, view, stop, equal)
        while True:
            run_cells(work, executor)
            patience = time.monotonic() + store.patience_seconds
            while work.elsewhere and not work.stop() and time.monotonic() < patience and not work.settle():
                time.sleep(0.2)
                view.tick()
            if work.stop() or not work.waiting:
                work.signal = signals.signal
                return work
