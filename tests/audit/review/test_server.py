"""The server, with requests as a browser, a page of another site and a program would send them."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import noisylabels
from noisylabels.audit.review.connections import connection_class
from noisylabels.audit.review.server import Guard, _listening, application
from noisylabels.audit.review.session import Session
from noisylabels.cli import main

JSON = {"Content-Type": "application/json", "X-NoisyLabels": "review"}


class Client:
    """An HTTP client of a server, which sends its token by default."""

    def __init__(self, served: Any, token: bool = True) -> None:
        self.port = served.port
        self.bearer: str | None = f"Bearer {served.token}" if token else None
        self.count = 0

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, Any, bytes]:
        """Return status, headers and content; `None` for a header leaves it out."""
        sent = {
            "Host": f"127.0.0.1:{self.port}",
            "Authorization": self.bearer,
            **(JSON if body is not None else {}),
        }
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.putrequest(method, path, skip_host=True)
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if body is not None:
            sent.setdefault("Content-Length", str(len(content)))
        for name, value in sent.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders(content or None)
        answer = connection.getresponse()
        found = answer.status, answer.headers, answer.read()
        connection.close()
        return found

    def json(self, path: str, **options: Any) -> Any:
        status, _, content = self.ask(path, **options)
        assert status == 200, content
        return json.loads(content)

    def decide(self, index: int, action: str = "keep", **more: Any) -> Any:
        self.count += 1
        event = f"event-{id(self)}-{self.count}"
        return self.json(
            "/api/decide", method="POST", body={"event": event, "index": index, "action": action, **more}
        )


@pytest.fixture(scope="module")
def folder(photos):
    return photos()


@pytest.fixture(scope="module")
def served(serve, folder):
    return serve(folder)


@pytest.fixture
def client(served):
    return Client(served)


# Access ------------------------------------------------------------------------------------------


DATA = ["/api/audit", "/api/decisions", "/api/details?at=0", "/picture/0", "/neighbors/0", "/corrected.csv"]
SHELL = ["/", "/page.css", "/words.js", "/api.js", "/page.js", "/many.js", "/keys.js", "/icon.svg"]


@pytest.mark.parametrize("path", DATA)
def test_no_data_are_served_without_the_token(served, path):
    stranger = Client(served, token=False)
    cookie = f"noisylabels-review-{served.port}={served.token}"  # browsers send cookies to every port
    for bearer in (None, "", "Bearer", "Bearer wrong", f"Basic {served.token}", served.token):
        stranger.bearer = bearer
        status, headers, content = stranger.ask(path, Cookie=cookie)
        assert (status, headers["Set-Cookie"]) == (403, None)
        assert b"token" in content
        assert b"bird" not in content
    mark = "&" if "?" in path else "?"
    assert Client(served, token=False).ask(f"{path}{mark}token={served.token}")[0] == 403
    assert Client(served).ask(path)[0] == 200


def test_the_page_without_the_token_holds_none(served):
    assert {*DATA, *SHELL} >= {f"/{route.path.split('/')[1]}" for route in _routes()} - {"/api", *LINKED}
    stranger = Client(served, token=False)
    for path in SHELL:
        status, headers, content = stranger.ask(path)
        assert (status, headers["Set-Cookie"]) == (200, None)
        assert served.token.encode() not in content
        assert b"bird" not in content
    assert stranger.ask("/?token=wrong")[0] == 403


LINKED = ("/picture", "/neighbors")


def _routes() -> Any:
    class Nothing:
        audit = ()

        def listing(self) -> dict[str, Any]:
            return {}

    return application(Nothing(), 80, "secret").routes  # type: ignore[arg-type]


def test_the_download_is_escaped_on_request(photos, serve):
    folder = photos(4, classes=("=dog", "cat"))
    shown = {}
    for flags in ((), ("--escape-formulas",)):
        client = Client(serve(folder, *flags))
        shown[flags] = client.ask("/corrected.csv")[2].decode().splitlines()
    plain, escaped = shown.values()
    assert [line for line in plain if line.startswith("=dog/")] != []
    assert escaped == [line.replace("=dog", "'=dog") for line in plain]


@pytest.mark.parametrize("path", ["/picture/0", "/neighbors/0", "/corrected.csv"])
def test_a_link_of_the_page_has_the_key_of_this_server(served, client, path):
    key, stranger = client.json("/api/audit")["version"], Client(served, token=False)
    assert len(key) >= 32
    assert stranger.ask(f"{path}?v={key}")[0] == 200
    for wrong in ("", key[:-1], key + "x", served.token):
        assert stranger.ask(f"{path}?v={wrong}")[0] == 403
    for other in ("/api/audit", "/api/decisions"):
        assert stranger.ask(f"{other}?v={key}")[0] == 403
    assert stranger.ask("/api/undo", "POST", {"event": "12345678"}, Authorization=f"Bearer {key}")[0] == 403


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "localhost.evil.example:{port}",
        "",
        None,
    ],
)
def test_a_host_that_is_not_this_server_is_refused(served, client, host):
    """DNS rebinding: a foreign name that resolves to 127.0.0.1."""
    host = host and host.format(port=served.port)
    assert client.ask("/api/audit", Host=host)[0] in (400, 403)
    assert client.ask("/?token=" + served.token, Host=host)[0] in (400, 403)
    assert client.ask("/api/audit", Host=f"localhost:{served.port}")[0] == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1", "https://127.0.0.1:{port}", ""]
)
def test_a_foreign_origin_is_refused(served, client, origin):
    body = {"event": "12345678", "index": 0, "action": "keep"}
    origin = origin.format(port=served.port)
    before = client.json("/api/decisions")
    status, headers, _ = client.ask("/api/decide", "POST", body, Origin=origin)
    assert (status, headers["Access-Control-Allow-Origin"]) == (403, None)
    assert client.ask("/api/audit", Origin=origin)[0] == 403
    assert client.json("/api/decisions") == before
    assert client.ask("/api/audit", Origin=f"http://127.0.0.1:{served.port}")[0] == 200


def test_requests_from_another_site_are_refused(served, client):
    for site in ("cross-site", "same-site"):
        assert client.ask("/picture/0", Sec_Fetch_Site=site)[0] == 403
        assert client.ask("/api/audit", Sec_Fetch_Site=site)[0] == 403
        # but a link to the address with the token is accepted, because a terminal may be a web page
        assert client.ask("/?token=" + served.token, Sec_Fetch_Site=site)[0] == 200
    assert client.ask("/picture/0", Sec_Fetch_Site="same-origin")[0] == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"X_NoisyLabels": None}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Length": str((1 << 20) + 1)}, 413),
    ],
)
def test_a_form_of_another_page_changes_nothing(client, headers, status):
    before = client.json("/api/decisions")
    body = {"event": "12345678", "index": 0, "action": "keep"}
    assert client.ask("/api/decide", "POST", body, **headers)[0] == status
    assert client.ask("/api/undo", "POST", {"event": "12345678"}, **headers)[0] == status
    assert client.json("/api/decisions") == before


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + b"x" * 65536 + b"\r\n"


def spoken(served: Any, head: str, rest: bytes) -> bytes:
    """Send raw bytes and return the answer until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as there:
        authorized = f"Authorization: Bearer {served.token}\r\nContent-Type: application/json\r\n"
        lines = f"{head} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nX-NoisyLabels: review\r\n{authorized}"
        answer = b""
        with contextlib.suppress(ConnectionError):  # it stops reading
            there.sendall(lines.encode() + rest)
            for _ in range(400):
                there.sendall(rest[-65544:] if rest is CHUNKED else b"")
        with contextlib.suppress(ConnectionError):
            while piece := there.recv(65536):
                answer += piece
    return answer


@pytest.mark.parametrize("head", ["POST /api/decide", "POST /api/undo", "GET /api/audit", "GET /page.js"])
@pytest.mark.parametrize("length", ["", "Content-Length: 10\r\n"])
def test_a_body_without_a_length_is_refused_and_not_read(served, client, head, length):
    before = client.json("/api/decisions")
    answer = spoken(served, head, length.encode() + CHUNKED) if length else spoken(served, head, CHUNKED)
    assert answer == b"" or answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 400"))  # or cut off while sending
    assert client.json("/api/decisions") == before


def test_a_refused_body_is_not_awaited(served):
    """25 MB in chunks after the refusal: the connection is closed instead."""
    began = time.monotonic()
    answer = spoken(served, "POST /api/decide", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /api/au",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"POST /api/undo HTTP/1.1\r\nHost: 127.0.0.1:80\r\nContent-Length: 9\r\n\r\n{",
    ],
)
def test_a_connection_that_sends_no_request_is_closed(begun):
    """A half-open connection must not hold the server: neither before a request nor within one."""
    import asyncio

    import uvicorn

    with contextlib.closing(_listening(0)) as listening:
        port = listening.getsockname()[1]

        async def app(scope: Any, receive: Any, send: Any) -> None:
            while (await receive()).get("more_body"):
                pass

        config = uvicorn.Config(app, http=connection_class(0.5, 3), loop="asyncio", lifespan="off", ws="none")
        server = uvicorn.Server(config)

        async def watch() -> tuple[list[bytes], float]:
            task = asyncio.create_task(server.serve(sockets=[listening]))
            while not server.started:
                await asyncio.sleep(0.01)
            began = time.monotonic()
            pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
            for _, writer in pairs:
                writer.write(begun)
            ended = await asyncio.wait_for(asyncio.gather(*(_rest(reader) for reader, _ in pairs)), 20)
            seconds = time.monotonic() - began
            server.should_exit = True
            for _, writer in pairs:
                writer.close()
            await task
            return ended, seconds

        with ThreadPoolExecutor(1) as pool:  # the tests of the page run a loop in this thread
            ended, seconds = pool.submit(lambda: asyncio.run(watch())).result()
        assert ended == [b""] * 5  # two of them at once, which are too many
        assert 0.4 < seconds < 15


async def _rest(reader: Any) -> bytes:
    try:
        return bytes(await reader.read())
    except ConnectionError:
        return b""


def test_other_methods_are_refused(client):
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
        assert client.ask("/api/decide", method)[0] == 405
    assert client.ask("/api/decide")[0] == 405
    assert client.ask("/api/audit", "POST", {})[0] == 405


def test_the_address_gives_the_page_its_token_and_no_cookie(served):
    status, headers, content = Client(served, token=False).ask("/?token=" + served.token)
    assert status == 200
    assert headers["Set-Cookie"] is None
    assert f'<meta name="token" content="{served.token}">'.encode() in content
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] is None
    assert b"<script>" not in content
    assert b" style=" not in content
    assert b"onclick" not in content


def test_it_listens_on_loopback_only(served):
    with open("/proc/net/tcp") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{served.port:04X}")]
    assert listening == [f"0100007F:{served.port:04X}"]
    with open("/proc/net/tcp6") as file:
        assert not [line for line in file if f":{served.port:04X} " in line.split()[1] + " "]


def test_an_answer_does_not_wait_for_an_acknowledgement():
    """With an explicit protocol asyncio sets TCP_NODELAY; otherwise a body arrives 40 ms late."""
    with _listening(0) as listening, socket.create_connection(listening.getsockname()) as there:
        here, _ = listening.accept()
        with here:
            assert here.proto == socket.IPPROTO_TCP
        assert there.getpeername()[0] == "127.0.0.1"


def test_the_launch_address_is_valid_once():
    """Other users of the machine can read it among the arguments of the browser."""
    guard = Guard(None, 80, "secret", {"once"}, "key")
    scope = {"type": "http", "path": "/", "method": "GET", "query_string": b"token=once", "headers": []}
    assert guard._is_welcome(scope)
    assert not guard._is_welcome(scope)
    assert guard._is_welcome(scope | {"query_string": b"token=secret"})
    assert not guard._is_welcome(scope | {"query_string": b"token=secret", "path": "/api/audit"})


# Data --------------------------------------------------------------------------------------------


def test_the_listing_and_the_details(client):
    listing = client.json("/api/audit")
    assert listing["classes"] == ["bird", "cat", "dog"]
    assert listing["index"] == list(range(12))
    assert listing["given"] == [i % 3 for i in range(12)]
    assert listing["suggested"] == [(i + (i < 6)) % 3 for i in range(12)]
    assert listing["flagged"] == 6
    assert (listing["wrong"], listing["right"]) == (None, None)  # an audit without these probabilities
    details = client.json("/api/details?at=3,7")
    assert details.keys() == {"3", "7"}
    three = details["3"]
    assert (three["id"], three["why"]) == ("bird/00003.png", "reason 3")
    assert [label for label, _ in three["probable"]] == [1, 0, 2]
    assert three["chances"] == [three["probable"][1][1], three["probable"][0][1]]
    assert three["neighbors"] == [[0, 3, 6, 9], [1, 4, 7, 10]]
    assert (three["values"], three["problem"]) == (None, "")


@pytest.mark.parametrize(
    "path", ["/api/details?at=12", "/api/details?at=-1", "/api/details?at=1.5", "/api/details?at=" + "9" * 99,
             "/api/details?at=" + ",".join("1" * 201), "/api/decisions?since=x"]
)  # fmt: skip
def test_an_invalid_request_gets_one_line(client, path):
    status, _, content = client.ask(path)
    assert status == 400
    assert isinstance(json.loads(content)["error"], str)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"\xff",
        {},
        {"event": "short", "index": 0, "action": "keep"},
        {"event": "x" * 65, "index": 0, "action": "keep"},
        {"event": "12345678", "index": 12, "action": "keep"},
        {"event": "12345678", "index": -1, "action": "keep"},
        {"event": "12345678", "index": True, "action": "keep"},
        {"event": "12345678", "index": "0", "action": "keep"},
        {"event": "12345678", "index": 0, "action": "delete"},
        {"event": "12345678", "index": 0, "action": "undo"},
        {"event": "12345678", "index": 0, "action": "chosen"},
        {"event": "12345678", "index": 0, "action": "chosen", "label": 3},
        {"event": "12345678", "index": 0, "action": "chosen", "label": "cat"},
        {"event": "\ud800" * 8, "index": 0, "action": "keep"},
        {"event": "12345678", "index": 0, "action": "keep", "since": -(10**30)},
        {"event": "1234567/8", "index": 0, "action": "keep"},
        {"event": "12345678", "indexes": [], "action": "keep"},
        {"event": "12345678", "indexes": [0, 12], "action": "keep"},
        {"event": "12345678", "indexes": [0, True], "action": "keep"},
        {"event": "12345678", "indexes": 3, "action": "keep"},
        {"event": "12345678", "indexes": [0, 1], "action": "chosen", "label": 3},
        {"event": "1234567/8", "indexes": [0, 1], "action": "keep"},
        b"[" * 20_000,
    ],
)
def test_an_invalid_decision_is_refused_and_not_saved(client, body):
    before = client.json("/api/decisions")
    path = "/api/decide-many" if isinstance(body, dict) and "indexes" in body else "/api/decide"
    assert client.ask(path, "POST", body)[0] == 400
    assert client.json("/api/decisions") == before


def test_every_client_receives_decisions(photos, serve):
    served = serve(photos())
    one, other = Client(served), Client(served)
    start = other.json("/api/decisions")
    assert start["changes"] == []
    assert one.decide(0)["changes"] == [[0, "keep", 0]]
    assert one.decide(4, "suggested", since=1)["changes"] == [[4, "suggested", 2]]
    assert one.decide(8, "chosen", label=0, since=2)["changes"] == [[8, "chosen", 0]]
    seen = other.json(f"/api/decisions?since={start['seq']}")
    assert seen["changes"] == [[0, "keep", 0], [4, "suggested", 2], [8, "chosen", 0]]
    assert seen["progress"]["decided"] == 3
    assert (seen["progress"]["flagged"], seen["progress"]["found"]) == (2, 1)
    share, low, high = seen["progress"]["precision"]
    assert share == 0.5
    assert (low, high) == pytest.approx((0.0945, 0.9055), abs=1e-4)  # Wilson of 1 in 2
    undone = other.json("/api/undo", method="POST", body={"event": "undo-123", "since": seen["seq"]})
    assert (undone["undone"], undone["changes"]) == ([8], [[8, "", -1]])
    again = other.json("/api/undo", method="POST", body={"event": "undo-123", "since": undone["seq"]})
    assert (again["undone"], again["changes"]) == ([8], [])  # the same event
    assert one.json("/api/decisions")["changes"] == [[0, "keep", 0], [4, "suggested", 2]]


def test_many_at_once_lose_and_double_nothing(photos, serve):
    served = serve(photos(60))

    def work(first: int) -> None:
        client = Client(served)
        for index in range(first, 60, 6):
            client.decide(index, "suggested" if index % 2 else "keep")

    threads = [threading.Thread(target=work, args=(first,)) for first in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = Client(served).json("/api/decisions")
    assert [row[0] for row in found["changes"]] == list(range(60))
    assert found["seq"] == 60


def test_one_decision_on_many_examples_and_its_undo(photos):
    session = Session(photos(30, flagged=20))
    session.decide("event-one", 3, "keep")
    found = session.decide_many("event-two", [3, 4, 25], "suggested")
    assert found["changes"] == [[3, "suggested", 1], [4, "suggested", 2], [25, "keep", 1]]  # 25: not flagged
    assert found["progress"] == session.changes()["progress"]
    assert found["progress"]["decided"] == 3
    assert found["progress"]["flagged"] == 2
    assert found["progress"]["precision"] is None  # nobody looked at them one by one
    undone = session.undo("event-three", since=found["seq"])
    assert (undone["undone"], undone["nothing"]) == ([3, 4, 25], False)
    assert undone["changes"] == [[3, "keep", 0], [4, "", -1], [25, "", -1]]
    assert undone["progress"]["precision"][0] == 0
    many = list(range(30)) * 300  # a body beyond that of one decision
    assert len(session.decide_many("event-four", many, "chosen", 2)["changes"]) == 30
    session.store.close()


def test_a_request_may_name_a_hundred_thousand_examples(client):
    body = {"event": "12345678", "indexes": [99_999] * 100_000, "action": "keep"}
    status, _, content = client.ask("/api/decide-many", "POST", body)
    assert (status, json.loads(content)) == (400, {"error": "the example is 99999, expected 0 to 11"})


# Images -------------------------------------------------------------------------------------------


def test_images_are_encoded_anew_and_cached_by_the_browser(client):
    status, headers, content = client.ask("/picture/3?size=large")
    assert (status, headers["Content-Type"]) == (200, "image/png")
    assert Image.open(io.BytesIO(content)).size == (24, 24)
    version = client.json("/api/audit")["version"]
    assert "immutable" in client.ask(f"/picture/3?size=tile&v={version}")[1]["Cache-Control"]
    assert client.ask("/picture/3?v=older")[1]["Cache-Control"] == "no-store"
    for path in ("/picture/12", "/picture/-1", "/picture/x", "/picture/3?size=huge", "/picture/", "/picture"):
        assert client.ask(path)[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "/picture/../../../etc/passwd",
        "/picture/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/../../etc/passwd",
        "//etc/passwd",
        "/page.html",
        "/store.py",
        "/picture/0/../../store.py",
        "/review.sqlite",
        "/picture/0%00.png",
    ],
)
def test_no_path_leads_to_a_file(client, path):
    status, _, content = client.ask(path)
    assert status == 404
    assert b"root:" not in content


def test_an_image_outside_the_data_is_refused_unless_asked_for(audit, tmp_path):
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8), "red").save(secret)
    root = tmp_path / "photos"
    (root / "cat").mkdir(parents=True)
    (root / "cat" / "link.png").symlink_to(secret)
    (root / "cat" / "inside.png").symlink_to(root / "cat" / "plain.png")
    (root / "cat" / "plain.png").write_bytes(secret.read_bytes())
    (root / "cat" / "folder").symlink_to(tmp_path)
    os.mkfifo(root / "cat" / "pipe.png")
    names = [
        "link.png",
        "inside.png",
        "plain.png",
        "folder/secret.png",
        "../../secret.png",
        "pipe.png",
        "gone.png",
    ]
    ids = [f"cat/{name}" for name in names] + [str(secret)]
    folder = audit(ids, [0] * 8, ("cat", "dog"), root).save(tmp_path / "audit")
    session = Session(folder)
    shown = {}
    for place, name in enumerate(ids):
        try:
            session.pictures.get(place, "large")
            shown[name] = ""
        except ValueError as error:
            shown[name] = str(error)
    assert [name for name, why in shown.items() if not why] == ["cat/inside.png", "cat/plain.png"]
    for name in ("cat/link.png", "cat/folder/secret.png", "cat/../../secret.png", str(secret)):
        assert "outside the data's folder" in shown[name]
        assert str(tmp_path) not in shown[name]
    for name in ("cat/pipe.png", "cat/gone.png"):
        assert "no longer exists" in shown[name]
    session.store.close()
    session = Session(folder, outside=True)
    assert session.pictures.get(0, "large")[1] == "image/png"
    session.store.close()


def test_the_neighbors_are_one_image(audit, tmp_path):
    colors = ["red", "lime", "blue", "white", "black", "yellow"]
    (tmp_path / "photos").mkdir()
    for place, color in enumerate(colors):
        Image.new("RGB", (40, 20 + 10 * place), color).save(tmp_path / "photos" / f"{place}.png")
    ids = [f"{place}.png" for place in range(6)]
    made = audit(ids, [0, 1] * 3, ("cat", "dog"), tmp_path / "photos")
    made.neighbors[0] = ([2, 4], [1, 5, 3])
    (tmp_path / "photos" / "5.png").unlink()
    session = Session(made.save(tmp_path / "audit"))
    sheet = Image.open(io.BytesIO(session.pictures.neighbors(0)[0])).convert("RGB")
    cell = sheet.width // 6
    assert sheet.size == (6 * cell, 2 * cell)
    gray = (128, 128, 128)
    wanted = [[(0, 0, 255), (0, 0, 0), *[gray] * 4], [(0, 255, 0), gray, (255, 255, 255), *[gray] * 3]]
    for row in range(2):
        for column in range(6):
            found = sheet.getpixel((column * cell + cell // 2, row * cell + cell // 2))
            assert found == pytest.approx(wanted[row][column], abs=8), (row, column)
    session.store.close()


def test_photographs_are_upright_small_and_without_their_metadata(audit, tmp_path):
    photo = Image.new("RGB", (1600, 900), "white")
    photo.paste("red", (0, 0, 800, 900))  # the left half
    exif = photo.getexif()
    exif[0x0112] = 6  # turn a quarter clockwise
    exif[0x010E] = "a secret place"
    (tmp_path / "photos").mkdir()
    photo.save(tmp_path / "photos" / "a.jpg", exif=exif)
    Image.new("RGBA", (300, 200), (0, 0, 0, 0)).save(tmp_path / "photos" / "b.png")
    Image.fromarray(np.full((9, 9), 65535, np.uint16)).save(tmp_path / "photos" / "c.png")
    (tmp_path / "photos" / "d.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (tmp_path / "photos" / "e.svg").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    ids = ["a.jpg", "b.png", "c.png", "d.png", "e.svg"]
    session = Session(
        audit(ids, [0, 1, 0, 1, 0], ("cat", "dog"), tmp_path / "photos").save(tmp_path / "audit")
    )
    content, kind = session.pictures.get(0, "large")
    assert b"secret" not in content
    made = Image.open(io.BytesIO(content))
    assert (kind, made.size) == ("image/jpeg", (288, 512))
    top, bottom = made.getpixel((144, 60)), made.getpixel((144, 450))
    assert top[0] > 200
    assert top[1] < 60
    assert min(bottom) > 200
    assert Image.open(io.BytesIO(session.pictures.get(0, "tile")[0])).size == (90, 160)
    assert (
        min(Image.open(io.BytesIO(session.pictures.get(1, "large")[0])).getpixel((5, 5))) > 250
    )  # white behind
    assert Image.open(io.BytesIO(session.pictures.get(2, "large")[0])).getpixel((4, 4)) == 255
    for place in (3, 4):
        with pytest.raises(ValueError, match="cannot be read"):
            session.pictures.get(place, "large")
    session.store.close()


def test_pixels_of_the_audited_set_where_there_are_no_files(audit, tmp_path):
    """The digits of scikit-learn: 8x8 gray."""
    from noisylabels.data.catalog import load
    from noisylabels.data.features import joined

    digits = joined(*load("digits"))
    folder = audit(
        digits.ids, digits.labels.tolist(), digits.class_names, "digits", paths=False, digest=digits.digest
    ).save(tmp_path / "audit")
    session = Session(folder)
    assert session.details([5])[5]["problem"] == ""
    content, kind = session.pictures.get(5, "large")
    assert kind == "image/png"
    assert (np.asarray(Image.open(io.BytesIO(content))) == digits.images[5, 0].numpy()).all()
    session.store.close()


def test_the_reason_for_a_missing_image_is_reported(audit, tmp_path):
    folder = audit(["a", "b"], [0, 1], ("cat", "dog"), None, paths=False).save(tmp_path / "audit")
    session = Session(folder)
    assert "were arrays" in session.details([0])[0]["problem"]
    with pytest.raises(ValueError, match="were arrays"):
        session.pictures.get(0, "large")
    session.store.close()


def test_rows_of_features_are_shown_beside_the_means_of_both_classes(audit, tmp_path, monkeypatch):
    from noisylabels.data.features import feature_set

    rows = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    rows[:, 7] += 5 * (np.arange(20) % 2)  # the column that tells the classes apart
    rows[:, 8] = 1  # one that never changes
    given = [i % 2 for i in range(20)]
    table = feature_set(rows, given, ("cat", "dog"))
    monkeypatch.setattr("noisylabels.audit.audited_data.load_examples", lambda folder: table)
    folder = audit([str(i) for i in range(20)], given, ("cat", "dog"), "rows", paths=False)
    session = Session(folder.save(tmp_path / "audit"))
    shown = session.details([2])[2]["values"]
    assert len(shown) == 24
    found = {name: numbers for name, *numbers in shown}
    assert found["x7"] == pytest.approx([rows[2, 7], rows[::2, 7].mean(), rows[1::2, 7].mean()], rel=1e-5)
    with pytest.raises(ValueError, match="row of values"):
        session.pictures.get(2, "large")
    session.store.close()


# A new audit, the command -------------------------------------------------------------------------


def test_decisions_hold_by_id_when_the_audit_is_run_again(audit, tmp_path):
    folder = tmp_path / "audit"
    audit(["a", "b", "c", "d"], [0, 1, 0, 1], ("cat", "dog"), None, paths=False, digest="1" * 64).save(folder)
    session = Session(folder)
    for place, action in enumerate(["suggested", "keep", "discard"]):
        session.decide(f"event-{place}", place, action)
    session.store.close()
    # in another order, one example gone, another class first
    audit(["e", "c", "b", "a"], [1, 1, 2, 1], ("ant", "cat", "dog"), None, paths=False, digest="2" * 64).save(
        folder
    )
    session = Session(folder)
    assert session.changes()["changes"] == [[1, "discard", -1], [2, "keep", 2], [3, "suggested", 2]]
    (note,) = session.notes()
    assert note.startswith("3 decisions were made on an earlier state")
    session.store.close()
    audit(["a", "e"], [0, 1], ("ant", "cat"), None, paths=False, digest="2" * 64).save(folder)
    session = Session(folder)
    assert session.changes()["changes"] == []  # a is a dog, a class that is no more
    assert session.notes()[1].startswith(
        "3 decisions concern examples or classes that this audit does not have"
    )
    session.store.close()


def test_a_repeated_id_is_decided_once(audit, tmp_path):
    session = Session(
        audit(["a", "a", "b"], [0, 1, 0], ("cat", "dog"), None, paths=False).save(tmp_path / "audit")
    )
    assert session.decide("event-01", 0, "chosen", 1)["changes"] == [[0, "chosen", 1], [1, "chosen", 1]]
    session.store.close()


def test_two_servers_on_one_folder_see_each_other(photos, serve):
    folder = photos()
    one, other = (Client(serve(folder)) for _ in range(2))
    one.decide(0)
    other.decide(1)
    assert one.json("/api/decisions")["changes"] == other.json("/api/decisions")["changes"]
    assert len(one.json("/api/decisions")["changes"]) == 2


def test_errors_of_the_command_are_one_line(photos, tmp_path, capsys):
    folder = photos()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cases = {
            ("review", str(tmp_path / "none")): "noisylabels audit DATA",
            ("review", str(folder), "--port", str(port)): f"port {port} cannot be used",
            ("review", str(folder), "--port", "70000"): "expected 0 to 65535",
            ("review", str(folder), "--prt", "1"): "--port",
        }
        for words, part in cases.items():
            assert main([*words]) == 2
            said = capsys.readouterr().err
            assert part in said
            assert said.count("\n") == 1
    (folder / "review.sqlite").write_bytes(b"no database" * 1000)
    assert main(["review", str(folder)]) == 2
    assert "review.sqlite is damaged" in capsys.readouterr().err


def status_of(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_it_opens_the_browser_and_ends_by_ctrl_c(photos, tmp_path):
    """The browser gets an address that is valid once; the summary prints the next command."""
    seen = tmp_path / "address"
    (tmp_path / "browser").write_text(f'#!/bin/sh\necho "$1" > {seen}.part\nmv {seen}.part {seen}\n')
    (tmp_path / "browser").chmod(0o755)
    source = str(Path(noisylabels.__file__).parents[1])
    folder = photos()
    process = subprocess.Popen(
        [sys.executable, "-m", "noisylabels", "review", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": source, "DISPLAY": ":9", "BROWSER": str(tmp_path / "browser")},
    )
    assert process.stdout
    assert process.stdout.readline() == "photos: 6 of 12 labels flagged, 0 decided, 0 of them changed\n"
    printed = process.stdout.readline().split()[-1]
    deadline = time.monotonic() + 20
    while not seen.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    opened = seen.read_text().strip()
    assert opened != printed
    assert opened.partition("?")[0] == printed.partition("?")[0]
    assert [status_of(address) for address in (opened, opened, printed, printed)] == [200, 403, 200, 200]
    process.send_signal(signal.SIGINT)
    said, complaints = process.communicate(timeout=20)
    assert process.returncode == 0
    assert complaints == ""
    assert f"to export the labels: noisylabels review {folder} --export corrected.csv" in said


def test_a_missing_package_is_reported(photos, monkeypatch, capsys):
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    assert main(["review", str(photos())]) == 2
    assert capsys.readouterr().err == (
        "noisylabels: the review needs more packages; run pip install 'noisylabels[review]'\n"
    )


def test_a_review_does_not_import_torch(photos):
    """The page opens at once."""
    code = (
        "import sys, pathlib\nfrom noisylabels.audit.review.session import Session\n"
        "from noisylabels.audit.review.server import application\n"
        "session = Session(pathlib.Path(sys.argv[1]))\napplication(session, 1, 'x')\n"
        "session.details([0]), session.pictures.get(0, 'large')\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(photos())], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_application_serves_the_page_only_whole(photos):
    session = Session(photos())
    assert {route.path for route in application(session, 1, "x").routes} >= {"/", "/page.js", "/api/decide"}
    session.store.close()
