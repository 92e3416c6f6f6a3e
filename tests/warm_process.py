"""Run commands in real processes that are forked from one that has imported PyTorch.

A test of kills, signals or standard streams needs a process of its own, but not another import of PyTorch, of
1.6 seconds. Each test process starts one process that imports it and then forks on demand; the fork gets the
words, environment, folder and streams that a new interpreter would get. Tests of what is imported, of options
of the interpreter, or of variables that libraries read when they are imported start a new interpreter.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

IMPORTED = ("torch", "numpy", "pyarrow.parquet", "safetensors.torch", "PIL.Image")
"""What most commands import."""


class WarmPopen(subprocess.Popen):  # type: ignore[type-arg]
    """A `subprocess.Popen` of the words behind `python`: ``-m NAME``, ``-c CODE`` or a file, and arguments.

    Takes the streams, `text`, `cwd`, `env` and `start_new_session` of `subprocess.Popen`.
    """

    def _execute_child(  # type: ignore[override]
        self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, startupinfo, creationflags, shell,
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite,
        restore_signals, gid, gids, uid, umask, start_new_session, *rest,
    ) -> None:  # fmt: skip
        """Ask for a fork in place of the `fork` and `exec` of `subprocess.Popen`."""
        self._status, status = os.pipe()
        streams = [own if given == -1 else given for own, given in enumerate((p2cread, c2pwrite, errwrite))]
        request = {
            "words": [os.fspath(word) for word in args],
            "cwd": os.fspath(cwd or os.getcwd()),
            "env": dict(os.environ if env is None else env),
            "new_session": start_new_session,
        }
        try:
            with _one_at_a_time:
                connection = _server()
                socket.send_fds(connection, [json.dumps(request).encode()], [*streams, status])
                self.pid = int(connection.recv(32))
            self._child_created = True
        finally:
            os.close(status)
            self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        """Read the exit status, which is that of `os.waitpid`."""
        if wait_flags == os.WNOHANG and not select.select([self._status], [], [], 0)[0]:
            return 0, 0
        read = os.read(self._status, 32)
        os.close(self._status)
        return self.pid, int(read)

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid == self.pid:
                self._handle_exitstatus(status)
        code: int | None = self.returncode
        return code


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

if __name__ == "__main__":
    not_installed = {str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    _INSTALLED[:] = [path for path in sys.path if path not in not_installed]
    for name in IMPORTED:
        __import__(name)
    if (asked := serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        become(asked)
