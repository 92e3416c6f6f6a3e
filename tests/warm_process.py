"""Run commands in real processes that are forked from one that has imported PyTorch.

A test of kills, signals or standard streams needs a process of its own, but not another import of PyTorch, of
1.6 seconds. Each test process starts one process that imports it and then forks on demand; the fork gets the
words, environment, folder and streams that a new interpreter would get. Tests of what is imported, of options
of the interpreter, or of variables that libraries read when they are imported start a new interpreter.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

IMPORTED = (
    *("torch", "torch._dynamo", "numpy", "pyarrow.parquet", "safetensors.torch", "PIL.Image"),
    *("scipy.optimize", "sklearn.datasets", "pydantic.type_adapter", "rich.live", "tyro"),
)
"""What most commands import."""


class WarmPopen:
    """A process of the words behind `python`: ``-m NAME``, ``-c CODE`` or a file, and arguments.

    It has the public attributes and methods of `subprocess.Popen`, and takes its streams, `text`, `cwd`,
    `env` and `start_new_session`. It is no subclass, because the inside of `Popen` differs between versions.
    """

    def __init__(
        self,
        words: Sequence[str | os.PathLike[str]],
        *,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        text: bool = False,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        start_new_session: bool = False,
    ) -> None:
        self.args = [os.fspath(word) for word in words]
        self.returncode: int | None = None
        self._reading = threading.Lock()
        self._status, status = os.pipe()
        weakref.finalize(self, os.close, self._status)
        request = {
            "words": self.args,
            "cwd": os.fspath(cwd or os.getcwd()),
            "env": dict(os.environ if env is None else env),
            "new_session": start_new_session,
        }
        with contextlib.ExitStack() as sent:  # the numbers of files that only the fork needs
            sent.callback(os.close, status)
            numbers: list[int] = []
            pipes: list[IO[Any] | None] = []
            for place, given in enumerate((stdin, stdout, stderr)):
                number, pipe = _stream(place, given, text, sent, numbers)
                numbers.append(number)
                pipes.append(pipe)
            self.stdin, self.stdout, self.stderr = pipes
            with _one_at_a_time:
                connection = _server()
                socket.send_fds(connection, [json.dumps(request).encode()], [*numbers, status])
                self.pid = int(connection.recv(32))

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, negative for a signal; raise `subprocess.TimeoutExpired` after the time."""
        if self.returncode is None and not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        with self._reading:
            if self.returncode is None:
                self.returncode = os.waitstatus_to_exitcode(int(os.read(self._status, 32)))
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def communicate(self, input: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Write the input, read both outputs to their ends, and wait for the end of the process."""
        until = None if timeout is None else time.monotonic() + timeout
        outputs = [_Output(pipe) for pipe in (self.stdout, self.stderr)]
        if self.stdin is not None and input is not None:
            with contextlib.suppress(BrokenPipeError):
                self.stdin.write(input)
        self._close(self.stdin)
        for output in outputs:
            output.join(None if until is None else max(0.0, until - time.monotonic()))
            if output.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        self.wait(None if until is None else max(0.0, until - time.monotonic()))
        self._close(self.stdout, self.stderr)
        return outputs[0].read, outputs[1].read

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def _close(self, *pipes: IO[Any] | None) -> None:
        for pipe in filter(None, pipes):
            with contextlib.suppress(BrokenPipeError):  # of what is still to be written
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close(self.stdin, self.stdout, self.stderr)
        self.wait()


class _Output(threading.Thread):
    """A thread that reads an output to its end, so that neither of two fills its pipe and blocks."""

    def __init__(self, pipe: IO[Any] | None) -> None:
        super().__init__(daemon=True)
        self.pipe = pipe
        self.read: Any = None
        self.start()

    def run(self) -> None:
        if self.pipe is not None:
            self.read = self.pipe.read()


def _stream(
    place: int, given: Any, text: bool, sent: contextlib.ExitStack, numbers: list[int]
) -> tuple[int, IO[Any] | None]:
    """Return the number of the file that is the stream 0, 1 or 2 of the fork, and our end if it is a pipe."""
    if given is None:
        return place, None
    if given == subprocess.STDOUT:
        return numbers[1], None
    if given == subprocess.DEVNULL:
        number = os.open(os.devnull, os.O_RDWR)
        sent.callback(os.close, number)
        return number, None
    if given != subprocess.PIPE:
        return given if isinstance(given, int) else given.fileno(), None
    reading, writing = os.pipe()
    theirs, ours, mode = (reading, writing, "w") if place == 0 else (writing, reading, "r")
    sent.callback(os.close, theirs)
    return theirs, open(ours, mode if text else mode + "b")


def run(words: Sequence[str | os.PathLike[str]], **how: Any) -> subprocess.CompletedProcess[str]:
    """Run to the end like `subprocess.run`, and return the exit code and what was printed, as text."""
    timeout = how.pop("timeout", None)
    with WarmPopen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how) as process:
        try:
            out, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(list(words), process.returncode, out, errors)


_connections: list[socket.socket] = []
_one_at_a_time = threading.Lock()


def _server() -> socket.socket:
    """Return the connection to the process that forks; start it at the first call."""
    if not _connections:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
        )
        theirs.close()
        _connections.append(ours)

        def end() -> None:
            ours.close()  # which the process takes for the end
            process.wait()

        atexit.register(end)
    return _connections[0]


# The process that forks ---------------------------------------------------------------------------


def serve(connection: socket.socket) -> dict[str, Any] | None:
    """Answer each request with the number of a fork, and report its end; return the request in the fork."""
    ends: dict[int, int] = {}
    woken, waking = os.pipe()
    os.set_blocking(waking, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking, warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([connection, woken], [], [])
        if woken in ready:
            os.read(woken, 4096)
            for pid in list(ends):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    _report(ends.pop(pid), status)
        if connection in ready:
            message, numbers, _, _ = socket.recv_fds(connection, 1 << 20, 4)
            if not message:
                return None
            *streams, status_file = numbers
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                for number in (connection.detach(), woken, waking, status_file, *ends.values()):
                    os.close(number)
                for place, number in enumerate(streams):
                    os.dup2(number, place)
                    os.close(number)
                request: dict[str, Any] = json.loads(message)
                return request
            ends[pid] = status_file
            for number in streams:
                os.close(number)
            connection.send(str(pid).encode())


def _report(file: int, status: int) -> None:
    try:
        os.write(file, str(status).encode())
    except BrokenPipeError:  # nobody waits for it
        pass
    finally:
        os.close(file)


def become(request: dict[str, Any]) -> None:
    """Run a program in this process as a new interpreter would."""
    if request["new_session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
    sys.stderr = open(2, "w", errors="backslashreplace", buffering=1)  # noqa: SIM115
    option, *words = request["words"]
    first = {"-m": os.getcwd(), "-c": ""}.get(option, os.path.dirname(option))
    paths = filter(None, request["env"].get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:] = [first, *paths, *_INSTALLED]
    if option == "-m":
        sys.argv = words
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    elif option == "-c":
        sys.argv = [option, *words[1:]]
        exec(compile(words[0], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = [option, *words]
        runpy.run_path(option, run_name="__main__")


_INSTALLED: list[str] = []
"""Entries of `sys.path` that a new interpreter has without PYTHONPATH."""

_interrupted: list[bool] = []


def _end_as_interrupted() -> None:
    """End by SIGINT, which Python forgets if an exit handler compiles code, as that of torch._dynamo does."""
    if _interrupted:
        sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    atexit.register(_end_as_interrupted)  # first, so that it runs last
    not_installed = {str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    _INSTALLED[:] = [path for path in sys.path if path not in not_installed]
    for name in IMPORTED:
        __import__(name)
    if (asked := serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        try:
            become(asked)
        except KeyboardInterrupt:
            _interrupted.append(True)
            raise
