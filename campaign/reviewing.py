"""A review whose server and client can both be killed while decisions are saved."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

WORDS = ("review", "audit-photos", "--no-browser")
ACTIONS = ("keep", "skip", "discard", "chosen")  # "suggested" is stored as "keep" where both name one class
ROUNDS = 12
"""How often each example is decided: the last decision counts."""

_ENDED: dict[int, int] = {}  # process -> status


def decide_all() -> int:
    """Serve the review of `audit-photos`, decide on its examples over HTTP, and return the exit code.

    Each decision is one request, and a number in the file `acknowledged` once its answer has come. After a
    restart, the decisions go on behind the last number; the file and the stored decisions must agree first.

    Raises:
        AssertionError: an acknowledged decision is not stored.
    """
    server = _serve()
    try:
        client = _Client(server)
        _decide(client)
    except (OSError, http.client.HTTPException):
        if not _ended(server, seconds=20):
            raise
        return _code_of(server)
    finally:
        _stop(server)
    from noisylabels.cli import main

    return int(main(["review", "audit-photos", "--export", "corrected.csv", "--overwrite"]))


def _serve() -> int:
    """Start the server in a process of its own that ends with this one; return its id."""
    from noisylabels.cli import main

    child = os.fork()
    if child == 0:
        code = 70
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no server outlives a killed client
            code = int(main(list(WORDS)))
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        finally:
            sys.stdout.flush()
            os._exit(code)
    return child


def _ended(server: int, seconds: float = 0.0) -> bool:
    until = time.monotonic() + seconds
    while server not in _ENDED:
        found, status = os.waitpid(server, os.WNOHANG)
        if found:
            _ENDED[server] = status
        elif time.monotonic() >= until:
            return False
        else:
            time.sleep(0.02)
    return True


def _code_of(server: int) -> int:
    """Return the exit code of an ended server; one that was killed takes this process with it."""
    status = _ENDED[server]
    if os.WIFSIGNALED(status):
        os.kill(os.getpid(), os.WTERMSIG(status))
    return os.WEXITSTATUS(status)


def _stop(server: int) -> None:
    """End the server as Ctrl-C does, and make sure that it does end."""
    if not _ended(server):
        os.kill(server, signal.SIGINT)
        if not _ended(server, seconds=20):
            os.kill(server, signal.SIGKILL)
            raise AssertionError("the server does not end when it is interrupted")


class _Client:
    """What the page does: requests with the token that the server has printed.

    Raises:
        OSError: the server ends before it prints an address.
    """

    def __init__(self, server: int) -> None:
        while not (found := re.search(r"127\.0\.0\.1:(\d+)/\?token=(\S+)", _printed())):
            if _ended(server):
                raise OSError("the server has ended")
            time.sleep(0.02)
        self._connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=20)
        self._headers = {"Authorization": f"Bearer {found[2]}", "X-Noisylabels": "review"}

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        content = None if body is None else json.dumps(body)
        headers = self._headers | ({} if body is None else {"Content-Type": "application/json"})
        self._connection.request("GET" if body is None else "POST", path, content, headers)
        answer = self._connection.getresponse()
        found = answer.read()
        assert answer.status == 200, f"{path}: {answer.status} {found[:200]!r}"
        return json.loads(found)


def _printed() -> str:
    return Path("../output").read_text(errors="replace")


def _decide(client: _Client) -> None:
    """Make all decisions that are not acknowledged yet."""
    n = len(client.ask("/api/audit")["index"])
    file = Path("acknowledged")
    lines = file.read_text().split("\n")[:-1] if file.exists() else []  # a killed write leaves no newline
    first = int(lines[-1]) + 1 if lines else 0
    # the next decision may be stored already: it was made, and its answer never came
    stored = {position: action for position, action, _ in client.ask("/api/decisions")["changes"]}
    for number in range(max(first - n, 0), first):
        expected = {_decision(number, n)["action"]}
        expected |= {_decision(first, n)["action"]} if first % n == number % n else set()
        found = stored.get(number % n)
        assert found in expected, f"decision {number}, {expected}, was acknowledged, and {found} is stored"
    for number in range(first, ROUNDS * n):
        client.ask("/api/decide", _decision(number, n))
        with file.open("a") as record:
            record.write(f"{number}\n")


def _decision(number: int, n: int) -> dict[str, Any]:
    action = ACTIONS[(number + number // n) % len(ACTIONS)]
    label = {"label": 0} if action == "chosen" else {}
    return {"event": f"decision-{number:06d}", "index": number % n, "action": action, **label}
