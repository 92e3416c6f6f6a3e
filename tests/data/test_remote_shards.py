"""Sets in shards at a URL, against a web server on this machine that fails, truncates and changes."""

from __future__ import annotations

import http.server
import re
import threading
from collections import Counter

import pytest
import torch

import noisylabels as nl
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.data import remote_shards
from noisylabels.data.catalog import load
from noisylabels.data.pixel_source import in_memory
from shard_samples import pixels_of, samples, write_shard

pytest.importorskip("fsspec")
pytest.importorskip("aiohttp")


class Server(http.server.ThreadingHTTPServer):
    """Server of files by path, with ranges, that can fail.

    Attributes:
        files: path -> content.
        tags: path -> entity tag; none by default.
        counts: requests by method.
        faults: what the next requests of bytes get: "500", "half" or "403"; `always` is for all.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.tags: dict[str, str] = {}
        self.counts: Counter[str] = Counter()
        self.faults: list[str] = []
        self.always = ""
        self.after = 10**9  # requests of bytes until `always` begins
        self.ranges = True

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(only_head=True)

    def do_GET(self):
        self.answer(only_head=False)

    def answer(self, only_head):
        server, content = self.server, self.server.files.get(self.path[1:])
        server.counts[self.command] += 1
        self.close_connection = True
        fault = ""
        if not only_head:
            fault = server.faults.pop(0) if server.faults else ""
            fault = fault or (server.always if server.counts["GET"] > server.after else "")
        if content is None or fault.isdecimal():
            self.begin(404 if content is None else int(fault), 0)
            return
        total = len(content)
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")) if server.ranges else None
        if found:
            content = content[int(found[1]) : int(found[2]) + 1]
        self.begin(206 if found else 200, len(content), total)
        if not only_head:
            self.wfile.write(content[: len(content) // 2] if fault == "half" else content)

    def begin(self, code, length, total=0):
        self.send_response(code)
        if tag := self.server.tags.get(self.path[1:]):
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Small requests and short pauses."""
    monkeypatch.setattr(remote_shards, "PAUSES", (0.0, 0.01, 0.02))
    monkeypatch.setattr(remote_shards, "_BLOCK", 5000)


@pytest.fixture
def server(tmp_path):
    """Serve three shards for training and one for testing."""
    made = Server()
    for name, numbers in (*((f"train-{k:03d}.tar", range(8 * k, 8 * k + 8)) for k in range(3)),):
        write_shard(tmp_path / name, samples(numbers))
    write_shard(tmp_path / "val-000.tar", samples(range(100, 106)))
    for path in tmp_path.glob("*.tar"):
        made.files[path.name] = path.read_bytes()
        made.tags[path.name] = f'"{path.name}"'
    threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def pattern(server):
    return server.url("{train-000,train-001,train-002,val-000}.tar")


@pytest.fixture
def full(monkeypatch):
    """A disk without room for copies."""
    monkeypatch.setattr(remote_shards, "_fitting", lambda shards: [False] * len(shards))


def facts(loaded):
    return [
        (in_memory(part.images, "the test").tolist(), part.labels.tolist(), list(part.ids), part.digest)
        for part in loaded
    ]


def test_shards_at_a_url_equal_those_on_a_disk(server, pattern, tmp_path):
    assert facts(load(pattern)) == facts(load(tmp_path))
    asked = server.counts["GET"]
    train, _ = load(pattern)
    assert torch.equal(train.images[9], pixels_of(9))
    assert server.counts["GET"] == asked  # neither the index nor an image is requested again


def test_without_room_each_image_is_one_request(server, pattern, tmp_path, full, cache):
    train, test = load(pattern)
    assert not list((cache / "shards").glob("*.tar"))
    asked = server.counts["GET"]
    assert torch.equal(train.images[9], pixels_of(9))
    assert server.counts["GET"] == asked + 1
    assert facts((train, test)) == facts(load(tmp_path))


def test_half_of_the_space_that_is_free_is_used(server, pattern, monkeypatch, cache):
    usage = remote_shards.shutil.disk_usage(".")
    free = 4 * len(server.files["train-000.tar"])
    monkeypatch.setattr(remote_shards.shutil, "disk_usage", lambda _: usage._replace(free=free))
    train, _ = load(pattern)
    assert len(list((cache / "shards").glob("*.tar"))) == 2
    assert any(note.startswith("2 of the 4 shards, 0.0 GB, do not fit") for note in train.notes)


def test_passing_faults_are_repeated(server, pattern, tmp_path, full):
    server.faults = ["500", "half", "", "half", "503"]
    train, test = load(pattern)
    server.faults = ["half", "500"]
    assert facts((train, test)) == facts(load(tmp_path))


def test_a_network_that_is_gone_is_one_line_and_the_next_start_goes_on(server, pattern, tmp_path):
    server.after, server.always = 6, "half"
    with pytest.raises(InputError, match=r"^cannot read http://.*\.tar, 4 tries failed: .*; start again"):
        load(pattern)
    before, server.always = server.counts["GET"], ""
    assert facts(load(pattern)) == facts(load(tmp_path))
    needed = sum(-(-len(content) // 5000) for content in server.files.values())
    assert server.counts["GET"] - before <= needed - 6


def test_a_network_that_goes_during_an_epoch_is_one_line(server, pattern, full):
    train, _ = load(pattern)
    server.after, server.always = server.counts["GET"] + 3, "500"
    with pytest.raises(InputError, match=r"^cannot read http://.*\.tar, 4 tries failed: .*500"):
        in_memory(train.images, "the test")


def test_a_truncated_object_is_named_by_its_url(server, pattern):
    server.files["train-001.tar"] = server.files["train-001.tar"][:-11000]
    with pytest.raises(InputError, match=r"^http://.*/train-001.tar is truncated: "):
        load(pattern)


def test_a_changed_object_is_read_again(server, pattern, tmp_path):
    load(pattern)
    write_shard(tmp_path / "train-001.tar", samples(range(50, 58)))
    server.files["train-001.tar"] = (tmp_path / "train-001.tar").read_bytes()
    server.tags["train-001.tar"] = '"2"'
    assert facts(load(pattern)) == facts(load(tmp_path))


@pytest.mark.parametrize("tagged", [True, False])
def test_an_object_that_changes_after_it_was_indexed_is_one_line(tagged, server, pattern, tmp_path, full):
    if not tagged:
        server.tags.clear()
    train, _ = load(pattern)
    write_shard(tmp_path / "train-001.tar", samples(range(50, 58)))
    server.files["train-001.tar"] = (tmp_path / "train-001.tar").read_bytes()
    if tagged:
        server.tags["train-001.tar"] = '"2"'
    with pytest.raises(InputError, match=r"train-001.tar, 0008.png: the shard has changed since it was"):
        train.images[8]
    assert facts(load(pattern)) == facts(load(tmp_path))


def test_what_cannot_be_read_is_one_line(server, pattern, tmp_path):
    with pytest.raises(InputError, match=r"^1 of the 3 shards of 'http.*' is missing, first .*-003.tar"):
        load(server.url("train-{001..003}.tar"))
    with pytest.raises(InputError, match=r"is no shard, and a web server has no list of files; name"):
        load(server.url("shards/"))
    write_shard(tmp_path / "a.tar", [("1.jpg", b"x"), ("2.jpg", b"x")])
    server.files["a.tar"] = (tmp_path / "a.tar").read_bytes()
    with pytest.raises(InputError, match=r"^no sample has a label.*http://.*/a.tar, 1.jpg$"):
        load(server.url("a.tar"))
    server.always, server.after = "403", 0
    with pytest.raises(InputError, match=r"^cannot read http://.*: the server answered 403 Forbidden; check"):
        load(pattern)
    server.always, server.ranges = "", False
    with pytest.raises(InputError, match=r"^the server of http://.* ignores ranges: it sent .*; copy the"):
        load(pattern)


def test_folders_of_a_store_and_of_file_urls_are_listed(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    for split in ("train", "val"):
        write_shard(tmp_path / f"{split}.tar", samples(range(8) if split == "train" else range(8, 12)))
        memory.pipe_file(f"/store/{split}/0.tar", (tmp_path / f"{split}.tar").read_bytes())
    memory.pipe_file("/store/notes.txt", b"")
    try:
        train, test = load("memory://store")
        assert (len(train), len(test)) == (8, 4)
        with pytest.raises(InputError, match=r"^memory://nothing holds no shards, expected NAME.tar"):
            load("memory://nothing")
    finally:
        memory.rm("/store", recursive=True)
    train, test = load(f"file://{tmp_path}/{{train,val}}.tar")
    assert (len(train), len(test)) == (8, 4)
    assert (len(load(f"file://{tmp_path}")[0]), len(test)) == (8, 4)


def test_a_run_and_an_audit_read_a_url(server, pattern, tmp_path, capsys):
    flags = ["--data", pattern, "--epochs", "1", "--model", "linear", "--loss", "ce", "--features", "none"]
    assert main(["train", *flags, "--out", str(tmp_path / "run")]) == 0
    assert main(["train", *flags, "--out", str(tmp_path / "run")]) == 0  # it is done
    assert '"http://127' in (tmp_path / "run" / "config.json").read_text()
    found = nl.audit_labels(pattern, probs=[[0.9, 0.1], [0.2, 0.8]] * 12, part="train")
    assert (len(found), found.flagged.sum()) == (24, 0)
