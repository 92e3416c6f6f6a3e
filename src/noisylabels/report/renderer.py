"""The renderer of figures, Vega, in a process of its own: where memory is limited it crashes.

    {"call": NAME, "given": {...}}   ->   a letter, 8 bytes of length, and the content

The letter is T for a text, B for the bytes of a file, E for the message of an error.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from noisylabels.core.checks import InputError

_HEAD = struct.Struct(">cQ")

CALLS = ("vegalite_to_svg", "vegalite_to_png", "svg_to_png", "svg_to_pdf", "javascript_bundle", "html")
"""Functions of vl_convert that the process calls, and `html`, see `_html`."""


def render(call: str, **given: Any) -> Any:
    """Return what a function of vl_convert returns: text, or the bytes of a file.

    The process is started by the first call and kept for the next ones.

    Args:
        call: one of `CALLS`.
        given: its arguments, plain values.

    Raises:
        InputError: the process ended, for example because too little memory is allowed.
        RuntimeError: the function failed, with its message.
    """
    with _LOCK:
        return _KEPT.ask(call, given)


class _Process:
    """The process, started when it is needed."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.owner = 0

    def ask(self, call: str, given: dict[str, Any]) -> Any:
        if self.process is None or self.owner != os.getpid():  # a fork shares no pipe with its parent
            self.process, self.owner = _start(), os.getpid()
        line = json.dumps({"call": call, "given": given}, separators=(",", ":")) + "\n"
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()
            kind, length = _HEAD.unpack(self.process.stdout.read(_HEAD.size))
            content = self.process.stdout.read(length)
        except (OSError, struct.error):
            raise self._ended() from None
        except BaseException:  # Ctrl-C: the answer would be taken for that of the next call
            self.close()
            raise
        if len(content) < length:
            raise self._ended()
        if kind == b"E":
            raise RuntimeError(content.decode())
        return content.decode() if kind == b"T" else content

    def _ended(self) -> InputError:
        assert self.process is not None
        code = self.close()
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return InputError(
            f"the renderer of figures ended {how}, as it does where memory is limited; raise the limit "
            "(ulimit -v unlimited), or leave out the figures"
        )

    def close(self) -> int:
        """End the process, if this process has started it, and return its exit code."""
        process, self.process = self.process, None
        if process is None or self.owner != os.getpid():
            return 0
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # it has ended
                    continue
        return process.wait()


def _start() -> subprocess.Popen[bytes]:
    source = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [sys.executable, "-m", "noisylabels.report.renderer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # the trace of a crash
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C reaches the command, which ends this process
    )


_KEPT, _LOCK = _Process(), threading.Lock()
atexit.register(_KEPT.close)


def _html(spec: dict[str, Any]) -> str:
    """Return a page of a Vega-Lite specification, with the scripts that it needs."""
    import altair
    from altair.utils.html import spec_to_html

    return str(
        spec_to_html(
            spec,
            mode="vega-lite",
            vega_version=altair.VEGA_VERSION,
            vegalite_version=altair.VEGALITE_VERSION,
            vegaembed_version=altair.VEGAEMBED_VERSION,
            template="inline",
        )
    )


def main() -> None:
    """Answer calls from standard input until it ends."""
    import vl_convert

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the renderer prints must not interfere
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            function = _html if asked["call"] == "html" else getattr(vl_convert, asked["call"])
            made = function(**asked["given"])
            kind, content = (b"T", made.encode()) if isinstance(made, str) else (b"B", made)
        except Exception as error:
            kind, content = b"E", f"{type(error).__name__}: {error}".encode()
        answers.write(_HEAD.pack(kind, len(content)) + content)
        answers.flush()


if __name__ == "__main__":
    main()
