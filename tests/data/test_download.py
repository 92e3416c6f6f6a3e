"""Downloads, against a server on this machine that stalls, truncates and lies."""

import errno
import hashlib
import http.server
import io
import multiprocessing
import re
import socket
import threading
import time
import urllib.request

import numpy as np
import pytest

from noisylabels.core.checks import InputError
from noisylabels.core.locks import exclusive_lock
from noisylabels.data import download
from noisylabels.data.download import fetch

CONTENT = np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()
DIGEST = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
FAST = {"timeout": 0.3, "attempts": 3, "pause": 0.0}


class Server(http.server.ThreadingHTTPServer):
    """Server of `content` at every path; the n-th act answers the n-th request, the last act all others."""

    daemon_threads = True
    request_queue_size = 16

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.acts = [whole]
        self.asked = []  # the headers of each request
        self.stop_stalling = threading.Event()

    def url(self, name="file.bin"):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        number = len(self.server.asked)
        self.server.asked.append(dict(self.headers))
        self.close_connection = True
        self.server.acts[min(number, len(self.server.acts) - 1)](self, self.server.content)

    def begin(self, code, length, **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()

    def start(self):
        return int(re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))[1])

    def log_message(self, *_):
        pass


def whole(handler, content, **headers):
    """Ignore ranges: send everything with status 200."""
    handler.begin(200, len(content), **headers)
    handler.wfile.write(content)


def ranges(handler, content, stop=None, **headers):
    """Answer ranges; send up to `stop`, then break the connection."""
    start = handler.start()
    if "Range" not in handler.headers:
        handler.begin(200, len(content), **headers)
    elif start >= len(content):
        handler.begin(416, 0, Content_Range=f"bytes */{len(content)}")
        return
    else:
        extent = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.begin(206, len(content) - start, Content_Range=extent, **headers)
    handler.wfile.write(content[start:stop])


def breaking(stop, **headers):
    return lambda handler, content: ranges(handler, content, stop, **headers)


def code(number, **headers):
    return lambda handler, content: handler.begin(number, 0, **headers)


def stall(handler, content):
    """Send a part and then stall."""
    handler.begin(200, len(content))
    handler.wfile.write(content[:1_000_000])
    handler.wfile.flush()
    handler.server.stop_stalling.wait(10)


def silence(handler, content):
    handler.server.stop_stalling.wait(10)


def chunked_and_cut(handler, content):
    """Send without a length and without an end."""
    handler.begin(200, None, Transfer_Encoding="chunked")
    handler.wfile.write(b"%x\r\n" % 1000 + content[:1000] + b"\r\n%x\r\n" % 1000 + content[1000:1500])


def unknown_length(handler, content):
    handler.begin(200, None)
    handler.wfile.write(content)


def says(content, **headers):
    return lambda handler, _: whole(handler, content, **headers)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, args=(0.01,))
        thread.start()
        yield made
        made.stop_stalling.set()
        made.shutdown()
        thread.join()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sets" / "file.bin"


@pytest.fixture
def closed():
    """Return the address of a port without a listener."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{one.getsockname()[1]}/file.bin"


def left(path):
    folder = path.parent  # made for nothing, it is gone
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


def test_a_file_comes_whole_with_progress(server, path):
    seen = []
    fetch([server.url()], path, DIGEST, lambda *call: seen.append(call), **FAST)
    assert path.read_bytes() == CONTENT
    assert left(path) == ["file.bin"]
    assert {call[0] for call in seen} == {"downloading file.bin"}
    done = [call[1] for call in seen]
    assert done == sorted(done)
    assert seen[-1][1:] == (len(CONTENT), len(CONTENT))
    assert "Range" not in server.asked[0]
    assert server.asked[0]["Accept-Encoding"] == "identity"
    assert server.asked[0]["User-Agent"].startswith("noisylabels/")


def test_what_is_there_is_not_asked_for(server, path):
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    fetch([server.url()], path, DIGEST, **FAST)
    assert server.asked == []


def test_a_wrong_file_is_replaced_at_the_end(server, path):
    path.parent.mkdir()
    path.write_bytes(b"old")
    server.acts = [code(404)]
    with pytest.raises(InputError):
        fetch([server.url()], path, DIGEST, **FAST)
    assert path.read_bytes() == b"old"
    server.acts = [whole]
    fetch([server.url()], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("version", [{"ETag": '"abc"'}, {"Last_Modified": "Sat, 01 Jan 2000 00:00:00 GMT"}])
def test_what_broke_off_goes_on_in_the_same_version(version, server, path):
    server.acts = [breaking(1_000_000, **version), breaking(2_000_000, **version), ranges]
    fetch([server.url()], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT
    assert [asked.get("Range") for asked in server.asked] == [None, "bytes=1000000-", "bytes=2000000-"]
    expected = next(iter(version.values()))
    assert [asked.get("If-Range") for asked in server.asked] == [None, expected, expected]
    assert left(path) == ["file.bin"]


@pytest.mark.parametrize("version", [{}, {"ETag": 'W/"abc"'}])
def test_without_a_proof_of_the_version_the_digest_decides(version, server, path):
    server.acts = [breaking(1_000_000, **version), ranges]
    fetch([server.url()], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT
    assert "If-Range" not in server.asked[1]


def test_another_call_goes_on_where_one_gave_up(server, path):
    server.acts = [breaking(1_000_000, ETag='"abc"'), code(503)]
    with pytest.raises(
        InputError, match=r"HTTP 503 .*; try again, which resumes after the 1,000,000 bytes received, or get"
    ):
        fetch([server.url()], path, DIGEST, **FAST)
    assert left(path) == ["file.bin.part", "file.bin.part.json"]
    server.acts, server.asked = [ranges], []
    fetch([server.url()], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT
    assert server.asked[0]["Range"] == "bytes=1000000-"
    assert server.asked[0]["If-Range"] == '"abc"'
    assert left(path) == ["file.bin"]


def test_a_version_is_asked_for_only_where_it_came_from(server, path):
    server.acts = [breaking(1_000_000, ETag='"abc"'), code(404), ranges]
    fetch([server.url(), server.url("mirror")], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT
    assert server.asked[2]["Range"] == "bytes=1000000-"
    assert "If-Range" not in server.asked[2]


@pytest.mark.parametrize("state", ["", "[]", '{"url": 3}', "not json"])
def test_a_damaged_note_of_the_version_is_passed_over(state, server, path):
    path.parent.mkdir()
    (path.parent / "file.bin.part").write_bytes(CONTENT[:500])
    (path.parent / "file.bin.part.json").write_text(state)
    server.acts = [ranges]
    fetch([server.url()], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT
    assert server.asked[0]["Range"] == "bytes=500-"
    assert left(path) == ["file.bin"]


def test_a_server_that_ignores_ranges_starts_over(server, path):
    server.acts = [breaking(1_000_000), whole]
    fetch([server.url()], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT
    assert "Range" in server.asked[1]


def test_a_stall_is_cut_and_gone_on_from(server, path):
    server.acts = [stall, ranges]
    begin = time.monotonic()
    fetch([server.url()], path, DIGEST, **FAST)
    assert time.monotonic() - begin < 5
    assert path.read_bytes() == CONTENT
    assert server.asked[1]["Range"] == "bytes=1000000-"


def test_silence_is_given_up(server, path):
    server.acts = [silence]
    with pytest.raises(InputError, match=r"127\.0\.0\.1:\d+: timed out"):
        fetch([server.url()], path, DIGEST, **(FAST | {"attempts": 2}))
    assert len(server.asked) == 2
    assert left(path) == []


def test_a_long_file_may_break_often_while_it_grows(server, path):
    step = download.CHUNK + 1
    server.content = CONTENT * 3
    digest = f"md5:{hashlib.md5(server.content).hexdigest()}"
    server.acts = [breaking(step * n) for n in range(1, 9)] + [ranges]
    fetch([server.url()], path, digest, **(FAST | {"attempts": 2}))
    assert path.read_bytes() == server.content
    assert len(server.asked) == 9


def test_a_server_that_always_breaks_at_the_same_place_is_given_up(server, path):
    server.acts = [lambda handler, content: (handler.begin(200, len(content)), handler.wfile.write(b"x" * 9))]
    with pytest.raises(
        InputError,
        match=r"ended after 9 of 3,000,000 bytes\); try again, which resumes after the 9 bytes received",
    ):
        fetch([server.url()], path, DIGEST, **FAST)
    assert len(server.asked) == 3


def test_a_stream_that_is_cut_is_no_file(server, path):
    server.acts = [chunked_and_cut, whole]
    fetch([server.url()], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_no_length_is_no_hindrance(server, path):
    seen = []
    server.acts = [unknown_length]
    fetch([server.url()], path, DIGEST, lambda *call: seen.append(call), **FAST)
    assert path.read_bytes() == CONTENT
    assert seen[-1][1:] == (len(CONTENT), 0)


def test_wrong_bytes_of_the_right_length_are_removed_and_told(server, path):
    lie = bytes(len(CONTENT))
    server.acts = [says(lie)]
    with pytest.raises(InputError) as caught:
        fetch([server.url()], path, DIGEST, **FAST)
    message = str(caught.value)
    assert "\n" not in message
    assert "another file of 3,000,000 bytes" in message
    assert hashlib.md5(lie).hexdigest() in message
    assert DIGEST.removeprefix("md5:") in message
    assert f"get {server.url()} manually and save it as {path}" in message
    assert left(path) == []
    assert len(server.asked) == 1  # another try would bring the same


def test_bad_bytes_of_before_cost_one_more_try_from_the_start(server, path):
    path.parent.mkdir()
    (path.parent / "file.bin.part").write_bytes(b"other bytes")
    server.acts = [ranges]
    fetch([server.url()], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT
    assert [asked.get("Range") for asked in server.asked] == ["bytes=11-", None]


def test_a_server_that_breaks_and_lies_comes_to_an_end(server, path):
    lie = bytes(len(CONTENT))
    server.acts = [lambda handler, content: ranges(handler, lie, None if handler.start() else 2_000_000)]
    with pytest.raises(InputError, match="it sent another file"):
        fetch([server.url()], path, DIGEST, **FAST)
    assert len(server.asked) == 4
    assert left(path) == []


def test_a_web_page_destroys_no_part(server, path):
    """A captive portal answers for any server with status 200."""
    page = b"<!DOCTYPE html><title>Please log in</title>"
    server.acts = [breaking(1_000_000), says(page, Content_Type="text/html; charset=utf-8")]
    with pytest.raises(
        InputError, match=r"a web page instead of the file.* after the 1,000,000 bytes received"
    ):
        fetch([server.url()], path, DIGEST, **FAST)
    server.acts = [ranges]
    fetch([server.url()], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT


def test_a_web_page_that_does_not_say_so_is_shown(server, path):
    server.acts = [says(b"<!DOCTYPE html><title>Not found</title>")]
    with pytest.raises(InputError, match=r"begins with b'<!DOCTYPE html><title>No'"):
        fetch([server.url()], path, DIGEST, **FAST)
    assert left(path) == []


@pytest.mark.parametrize("number", [401, 403, 404, 410])
def test_a_refusal_is_not_repeated_and_the_next_mirror_asked(number, server, path):
    server.acts = [code(number), whole]
    fetch([server.url("first"), server.url("second")], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 2


@pytest.mark.parametrize("number", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_repeated(number, server, path):
    server.acts = [code(number), code(number), whole]
    fetch([server.url()], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT


def test_pauses_double_and_heed_the_server(server, path, monkeypatch):
    pauses = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    server.acts = [code(500), code(500), code(503, Retry_After="7"), code(503, Retry_After="99999"), whole]
    fetch([server.url()], path, DIGEST, timeout=5, attempts=5, pause=1.0)
    assert pauses == [1.0, 2.0, 7.0, 60.0]


@pytest.mark.parametrize("there", [len(CONTENT), len(CONTENT) + 5])
def test_a_part_that_is_whole_or_too_long(there, server, path):
    path.parent.mkdir()
    (path.parent / "file.bin.part").write_bytes((CONTENT + b"extra")[:there])
    server.acts = [ranges]
    fetch([server.url()], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == (1 if there == len(CONTENT) else 2)


def test_a_range_that_is_refused_without_one_asked_for(server, path):
    server.acts = [code(416)]
    with pytest.raises(InputError, match="HTTP 416"):
        fetch([server.url()], path, DIGEST, **FAST)
    assert len(server.asked) == 1


@pytest.mark.parametrize("extent", ["bytes 7-2999999/3000000", "bytes */3000000", "nonsense", ""])
def test_another_range_than_asked_for_is_not_joined(extent, server, path):
    path.parent.mkdir()
    (path.parent / "file.bin.part").write_bytes(CONTENT[:500])
    server.acts = [lambda handler, _: handler.begin(206, 0, Content_Range=extent), whole]
    fetch([server.url(), server.url("mirror")], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT


def test_a_redirection_keeps_the_range(server, path):
    path.parent.mkdir()
    (path.parent / "file.bin.part").write_bytes(CONTENT[:500])
    server.acts = [lambda handler, _: handler.begin(302, 0, Location="/elsewhere"), ranges]
    fetch([server.url()], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT
    assert server.asked[1]["Range"] == "bytes=500-"


def test_a_circle_of_redirections_is_one_line(server, path):
    server.acts = [lambda handler, _: handler.begin(302, 0, Location="/file.bin")]
    with pytest.raises(InputError, match="HTTP 302") as caught:
        fetch([server.url()], path, DIGEST, **FAST)
    assert "\n" not in str(caught.value)


def test_nobody_listens(closed, path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(InputError) as caught:
        fetch([closed, closed.replace("file", "mirror")], path, DIGEST, timeout=5, attempts=9, pause=60)
    message = str(caught.value)
    assert "\n" not in message
    assert message.count("refused") == 2
    assert f"; get {closed} manually and save it as {path}" in message
    assert left(path) == []


def test_a_server_without_an_address(path, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(InputError, match=r"\(data\.example: Name or service not known\); get http://data"):
        fetch(["http://data.example/file.bin"], path, DIGEST, timeout=5, attempts=9, pause=60)


def test_a_proxy_is_used(server, path, monkeypatch):
    monkeypatch.delenv("no_proxy")
    monkeypatch.setattr(
        urllib.request, "_opener", None
    )  # made by the first request, from the environment then
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    fetch(["http://data.example/file.bin"], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT
    assert server.asked[0]["Host"] == "data.example"


class Full(io.BytesIO):
    def write(self, piece):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_one_line_and_keeps_what_came(server, path, monkeypatch):
    server.acts = [breaking(1_000_000, ETag='"abc"'), ranges]
    opened = download.open_in_place

    def open_(path, mode):
        return Full() if mode == "ab" else opened(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr(download, "open_in_place", open_)
        with pytest.raises(
            InputError, match=r"cannot be written to .*No space left on device\); received bytes are kept"
        ):
            fetch([server.url()], path, DIGEST, **FAST)
    assert left(path) == ["file.bin.part", "file.bin.part.json"]
    fetch([server.url()], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file\.bin cannot be written to .*\(File exists\)"):
        fetch([server.url()], tmp_path / "file" / "file.bin", DIGEST, **FAST)


def test_an_interrupt_keeps_what_came(server, path):
    def stop(what, done, total):
        if done > 1_500_000:
            raise KeyboardInterrupt

    server.acts = [ranges]
    with pytest.raises(KeyboardInterrupt):
        fetch([server.url()], path, DIGEST, stop, **FAST)
    there = (path.parent / "file.bin.part").read_bytes()
    assert 1_500_000 < len(there) < len(CONTENT)
    assert CONTENT.startswith(there)
    fetch([server.url()], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT
    assert server.asked[-1]["Range"] == f"bytes={len(there)}-"
    assert left(path) == ["file.bin"]


def hold(lock, ready, done):
    with exclusive_lock(lock):
        ready.set()
        done.wait(30)


def test_a_second_process_is_sent_away(server, path):
    path.parent.mkdir()
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(path.parent / ".file.bin.lock", ready, done))
    other.start()
    try:
        assert ready.wait(60)
        with pytest.raises(InputError, match="another process is working"):
            fetch([server.url()], path, DIGEST, **FAST)
        assert server.asked == []
    finally:
        done.set()
        other.join()
    fetch([server.url()], path, DIGEST, **FAST)
    assert path.read_bytes() == CONTENT


def test_sha256_serves_as_well(server, path):
    fetch([server.url()], path, f"sha256:{hashlib.sha256(CONTENT).hexdigest()}", **FAST)
    assert path.read_bytes() == CONTENT


def test_a_file_that_is_too_long_is_not_begun(server, path):
    server.acts = [says(b"x" * 4_000_000)]
    path.parent.mkdir()
    part = path.with_name("file.bin.part")
    part.write_bytes(CONTENT[:1_000_000])
    with pytest.raises(InputError, match="it offers a file of 4,000,000 bytes, expected 3,000,000"):
        fetch([server.url()], path, DIGEST, size=len(CONTENT), **FAST)
    assert part.read_bytes() == CONTENT[:1_000_000]
    server.acts, server.asked = [ranges], []
    fetch([server.url()], path, DIGEST, size=len(CONTENT), **FAST)
    assert path.read_bytes() == CONTENT
    assert server.asked[0]["Range"] == "bytes=1000000-"


def test_a_stream_without_end_is_cut_off(server, path):
    def endless(handler, content):
        handler.begin(200, None)
        for _ in range(100):
            handler.wfile.write(content)

    server.acts = [endless]
    with pytest.raises(InputError, match="it sent more than the 3,000,000 bytes of the file"):
        fetch([server.url()], path, DIGEST, size=len(CONTENT), **FAST)
    assert left(path) == []
    server.acts, server.asked = [endless, unknown_length], []
    told = []
    fetch(
        [server.url(), server.url()], path, DIGEST, lambda *what: told.append(what), size=len(CONTENT), **FAST
    )
    assert path.read_bytes() == CONTENT
    assert told[-1] == ("downloading file.bin", len(CONTENT), len(CONTENT))
