"""Run the cells of a study as tasks of a Ray cluster, whose machines share the folder of the study."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import noisylabels
from noisylabels.core.checks import InputError, check_between, one_line
from noisylabels.core.optional import import_optional
from noisylabels.experiment.machine_use import JOBS
from noisylabels.study.executors import Answer, Lost

CONNECT_SECONDS = 10.0
"""How long to wait for the machine at an address to answer."""

LOOK_SECONDS = 2.0
"""How often the size of the cluster is looked up: machines come and go."""


class OnRay:
    """Runs cells as tasks of a Ray cluster; a cell whose machine is lost goes on elsewhere.

    Args:
        address: of a running cluster, as of `ray.init`; None for that in RAY_ADDRESS or one that runs on this
            machine, or else one of this machine's own that ends with the process.
        cpus: processors that a cell reserves, and its number of threads; below 1 for one thread.
        gpus: GPUs that a cell reserves; a fraction lets several cells share one.
        most: the largest number of cells at a time; None for as many as fit.
        track: names of trackers that also receive the histories.

    Raises:
        InputError: Ray is missing, or there is no such cluster.
    """

    def __init__(
        self,
        address: str | None = None,
        cpus: float = 1.0,
        gpus: float = 0.0,
        most: int | None = None,
        track: Sequence[str] = (),
    ) -> None:
        self._needs = {
            "CPU": check_between(cpus, "--cpus-per-cell", low=0.0, open_low=True),
            "GPU": check_between(gpus, "--gpus-per-cell", low=0.0),
        }
        _check_parts(self._needs)
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")  # else its warnings cover the progress
        self._ray = import_optional("ray", "Ray is missing; run pip install 'noisylabels[ray]'")
        self._most, self._track = most, list(track)
        self._connect(address)
        self._running: dict[Any, str] = {}
        self._machines: dict[Any, str] = {}  # of tasks that have begun
        self._given_up = False
        self._looked, self._room = -LOOK_SECONDS, 1
        self._dead: set[str] = set()
        threads = str(max(int(cpus), 1))
        variables = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        self._task = self._ray.remote(_carry_out).options(
            num_cpus=cpus, num_gpus=gpus, max_retries=0, runtime_env={"env_vars": variables | _source()}
        )

    def _connect(self, address: str | None) -> None:
        logging.getLogger("ray").setLevel(logging.ERROR)  # before it reports how it starts
        named = address or os.environ.get("RAY_ADDRESS")
        own = named in (None, "local")
        try:
            _check_listening(named)  # Ray itself tries for minutes
            self._ray.init(
                address=address,
                include_dashboard=False if own else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (OSError, RuntimeError, ValueError) as error:  # ConnectionError among them
            if "authentication token" in _causes(error).lower():
                raise InputError(
                    f"the Ray cluster at {named} asks for a token; set RAY_AUTH_MODE=token, and "
                    "RAY_AUTH_TOKEN unless the token is in ~/.ray/auth_token"
                ) from None
            raise InputError(
                f"there is no Ray cluster at {named or 'this machine'} ({one_line(error)}); start one with "
                "`ray start --head`, or leave out --address"
            ) from None

    def notes(self) -> Iterator[str]:
        """Yield what the user has to know about the cluster: it has no room for a cell, or unused GPUs."""
        there = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(_room(one, self._needs) for one in there):
            wanted = " and ".join(f"{n:g} {name}s" for name, n in self._needs.items() if n)
            yield f"no machine of the Ray cluster has {wanted}, which a cell reserves; waiting for one"
        if not self._needs["GPU"] and (unused := sum(one.get("GPU", 0.0) for one in there)):
            yield f"cells do not use the cluster's GPUs ({unused:g}); give --gpus-per-cell to use them"

    @property
    def slots(self) -> int:
        """As many cells as the cluster has room for, and at least one, which waits for a machine."""
        self._look()
        return self._room if self._most is None else min(self._room, self._most)

    def _look(self) -> None:
        """Look up the machines of the cluster, at most every few seconds."""
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            nodes = self._ray.nodes()
            there = [node["Resources"] for node in nodes if node["Alive"]]
            self._dead = {node["NodeID"] for node in nodes if not node["Alive"]}
            self._room, self._looked = max(sum(_room(one, self._needs) for one in there), 1), now

    def submit(self, name: str, config: Mapping[str, Any], stop: Callable[[], bool]) -> None:
        """Submit a cell as a task."""
        self._running[self._task.remote(dict(config), self._track, os.getcwd(), self.slots)] = name

    def answers(self, seconds: float) -> Iterator[tuple[str, Answer | Lost]]:
        """Yield the answers of the tasks that have ended, and which were lost with their machines.

        Ray marks a machine as dead that is switched off or cut off, but reports the tasks on it only when
        their connections end, which takes minutes. So each task names its machine as it begins.
        """
        if self._running:
            tasks = list(self._running)
            ended, _ = self._ray.wait(tasks, timeout=seconds)
            more, _ = self._ray.wait(tasks, num_returns=len(tasks), timeout=0) if ended else ((), ())
            for task in {*ended, *more}:
                found = self._answer(task)
                if isinstance(found, str):
                    self._machines[task] = found
                else:
                    yield self._forget(task), found
            self._look()
            for task in [task for task, machine in self._machines.items() if machine in self._dead]:
                yield self._forget(task), Lost("with its machine", machine=True)
            while self._given_up and self._running:
                yield self._forget(next(iter(self._running))), Lost("without an answer")

    def _forget(self, task: Any) -> str:
        """Forget a task and return the name of its cell."""
        self._machines.pop(task, None)
        return self._running.pop(task)

    def _answer(self, task: Any) -> Answer | Lost | str:
        """Return what a task has yielded: its machine, then its answer."""
        failures = self._ray.exceptions
        try:
            found: Answer | str = self._ray.get(next(task))
            return found
        except (failures.TaskCancelledError, StopIteration):  # the latter if it had begun
            return {"status": "interrupted", "message": "stopped"}
        except failures.NodeDiedError:
            return Lost("with its machine", machine=True)
        except failures.OutOfMemoryError:
            return Lost("because its machine was short of memory")
        except failures.WorkerCrashedError:
            return Lost("without an answer; out of memory?")
        except failures.RayError as error:  # cells answer for their own errors, so all cells would end so
            return {"status": "full", "message": f"a machine cannot run cells: {one_line(error)}"}

    def stop(self) -> None:
        """Interrupt the tasks, as Ctrl-C does."""
        for task in self._running:
            self._ray.cancel(task, force=False)

    def kill(self) -> None:
        """Kill the processes of the tasks; those of machines that do not answer are given up."""
        for task in self._running:
            self._ray.cancel(task, force=True)
        self._given_up = True

    def close(self) -> None:
        """Leave the cluster; one of this machine's own ends."""
        self._ray.shutdown()


def _room(resources: Mapping[str, float], needs: Mapping[str, float]) -> int:
    """Return how many cells a machine has room for; no cell is divided among machines, or among GPUs.

    >>> _room({"CPU": 16.0, "GPU": 2.0}, {"CPU": 1.0, "GPU": 0.4})
    4
    """
    room = []
    for name, need in needs.items():
        there = resources.get(name, 0.0) + 1e-9
        if name == "GPU" and 0 < need < 1:
            room.append(int(there) * int((1 + 1e-9) / need))
        elif need:
            room.append(int(there / need))
    return min(room)


def _check_parts(needs: Mapping[str, float]) -> None:
    """Raise an `InputError` for amounts that Ray does not divide."""
    for name, need in needs.items():
        flag = f"--{name.lower()}s-per-cell"
        if round(need, 4) != need:
            raise InputError(f"{flag} is {need}, expected at most four decimals")
        if name == "GPU" and need > 1 and need % 1:
            raise InputError(f"{flag} is {need}, expected a part of one GPU or a whole number of GPUs")


def _causes(error: BaseException | None) -> str:
    """Return the messages of an error and its causes."""
    return "" if error is None else f"{error}\n{_causes(error.__cause__ or error.__context__)}"


def _check_listening(address: str | None) -> None:
    """Raise an `OSError` if nothing listens at HOST:PORT, or ray://HOST:PORT."""
    host, _, port = (address or "").rpartition("/")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def _source() -> dict[str, str]:
    """Return the path of this package, for machines where it is not installed but lies in the same place."""
    source = str(Path(noisylabels.__file__).parents[1])
    paths = [source, os.environ.get("PYTHONPATH"), "${PYTHONPATH}"]  # the last is that of the machine
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def _carry_out(
    config: dict[str, Any], track: Sequence[str], folder: str, jobs: int
) -> Iterator[str | Answer]:
    """Yield the machine, then the answer of a cell; an interrupt lets it write its checkpoint.

    Args:
        config: of the cell.
        track: names of trackers.
        folder: the working folder of the command, to which relative paths refer.
        jobs: number of cells at a time in the cluster.
    """
    from noisylabels.core.interrupt import stop_on_signals
    from noisylabels.core.process import keep_freed_memory
    from noisylabels.study.worker import carry_out

    ray = import_optional("ray", "Ray is missing")
    yield ray.get_runtime_context().get_node_id()
    try:
        os.chdir(folder)
    except OSError as error:
        message = f"{folder} on {socket.gethostname()}: {error.strerror}; start the command in a folder "
        yield {"status": "full", "message": message + "that all machines share"}
        return
    os.environ[JOBS] = str(jobs)
    keep_freed_memory()
    with stop_on_signals() as stop:
        answer = carry_out(config, stop, track)
    yield answer
