"""A server of S3's protocol on this machine, with a proxy before it that counts requests and makes faults.

`make .s3/ready` installs the server (moto) and the client (s3fs) beside the tests' environment.
"""

from __future__ import annotations

import http.client
import os
import random
import re
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(os.environ.get("NOISYLABELS_TEST_S3", Path(__file__).parents[1] / ".s3"))
CLIENT = ROOT / "client"
MISSING = "" if (ROOT / "ready").exists() else "there is no server of S3's protocol: run make .s3/ready"
BUCKET = "bucket"

OF_CONNECTION = ("connection", "content-length", "transfer-encoding", "date", "server")
ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>{}</Message></Error>"


class Proxy:
    """Passes requests to the server.

    Attributes:
        counts: the number of requests by method, LIST for listings; those that failed included.
        share: the share of requests that fail: an error 500, a broken connection before or after the
            request was passed, or half of it; or an answer that is late.
        refuse: status, code and message that every request gets.
        slow: seconds by which a late answer is late.
    """

    def __init__(self, server: int) -> None:
        self.server = server
        self.counts: Counter[str] = Counter()
        self.share, self.slow = 0.0, 0.3
        self.faults: Counter[str] = Counter()
        self.refuse: tuple[int, str, str] | None = None
        self._rng, self._lock = random.Random(1), threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def fault(self) -> str:
        with self._lock:
            kinds = ("error", "before", "after", "half", "slow")
            kind = self._rng.choice(kinds) if self._rng.random() < self.share else ""
            if kind:
                self.faults[kind] += 1
            return kind

    def _handler(proxy) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                method = "LIST" if "list-type=2" in self.path else self.command
                with proxy._lock:
                    proxy.counts[method] += 1
                self.close_connection = True
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if proxy.refuse is not None:
                    self.answer(proxy.refuse[0], ERROR.format(*proxy.refuse[1:]).encode(), {})
                    return
                kind = proxy.fault()
                if kind == "error":
                    self.answer(500, ERROR.format("InternalError", "try again").encode(), {})
                elif kind != "before":
                    status, headers, content = self.passed(body)
                    if kind == "slow":
                        time.sleep(proxy.slow)
                    if kind != "after":
                        self.answer(status, content, headers, half=kind == "half")

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815

            def passed(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
                connection = http.client.HTTPConnection("127.0.0.1", proxy.server)
                connection.request(self.command, self.path, body, dict(self.headers))
                found = connection.getresponse()
                content, headers = found.read(), dict(found.getheaders())
                connection.close()
                return found.status, headers, content

            def answer(
                self, status: int, content: bytes, headers: dict[str, str], *, half: bool = False
            ) -> None:
                self.send_response(status)
                length = headers.get("Content-Length", str(len(content)))
                for name, value in headers.items():
                    if name.lower() not in (
                        "connection",
                        "content-length",
                        "transfer-encoding",
                        "date",
                        "server",
                    ):
                        self.send_header(name, value)
                self.send_header("Content-Length", length)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content[: len(content) // 2] if half else content)

            def log_message(self, *_: Any) -> None:
                return

        return Handler


@contextmanager
def s3_server(log: Path) -> Iterator[Proxy]:
    """Start the server and its proxy, with an empty bucket, for the block."""
    with log.open("w") as output:
        process = subprocess.Popen(
            [ROOT / "bin" / "python", ROOT / "bin" / "moto_server", "-H", "127.0.0.1", "-p", "0"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "PYTHONUNBUFFERED": "1"},
        )
        try:
            while not (found := re.search(r"Running on http://127.0.0.1:(\d+)", log.read_text())):
                assert process.poll() is None, log.read_text()
                time.sleep(0.05)
            port = int(found[1])
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("PUT", f"/{BUCKET}")
            assert connection.getresponse().status == 200
            connection.close()
            proxy = Proxy(port)
            yield proxy
            proxy.close()
        finally:
            process.kill()
            process.wait()


def variables(endpoint: str) -> dict[str, str]:
    """Return the environment variables with which the client finds the server, and Python the client."""
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(CLIENT)]))
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "PYTHONPATH": path,
    }
