"""Studies on a server of S3's protocol, through a proxy that counts requests and makes faults."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import s3_server
from noisylabels.cli import main
from noisylabels.core.checks import InputError
from noisylabels.study import objects
from noisylabels.study.objects import Unreachable, open_objects
from noisylabels.study.remote import RemoteStore, open_store
from noisylabels.study.scheduling import carry_out_all
from noisylabels.study.store import Store, read_rows
from study.test_remote import CELLS, TOML
from study.test_running import Quiet, untimed

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(s3_server.MISSING), reason=s3_server.MISSING),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_server.Proxy]:
    with s3_server.s3_server(tmp_path_factory.mktemp("s3") / "log") as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def proxy(server, tmp_path, monkeypatch) -> Iterator[s3_server.Proxy]:
    """The proxy without faults, and a machine of its own for each test."""
    for name, value in s3_server.variables(server.endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "path", [*sys.path, str(s3_server.CLIENT)])
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(objects, "PAUSES", (0.01, 0.02, 0.05))
    open_objects.cache_clear()
    server.share, server.refuse = 0.0, None
    server.counts.clear()
    server.faults.clear()
    yield server
    server.share, server.refuse = 0.0, None


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study in a folder, undisturbed."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    carry_out_all(Store(folder), CELLS, Quiet())
    return folder


def opened(name: str) -> RemoteStore:
    found = open_store(f"s3://{s3_server.BUCKET}/{name}")
    assert isinstance(found, RemoteStore)
    return found


def test_the_commands_with_processes(proxy, whole, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "six.toml").write_text(TOML)
    url = f"s3://{s3_server.BUCKET}/a/six"
    run = ["study", "run", "six.toml", "--device", "cpu", "--out", url]
    assert main([*run, "--jobs", "2"]) == 0
    assert f"6 of 6 cells done, in {url}" in capsys.readouterr().out
    proxy.counts.clear()
    open_objects.cache_clear()
    assert main(["study", "status", url]) == 0
    assert "6 cells: 6 done" in capsys.readouterr().out
    # the list of cells and a listing; the command before has copied the results
    assert proxy.counts == {"GET": 1, "LIST": 1}
    assert main(["study", "export", url]) == 0
    assert untimed(read_rows(tmp_path / "six.parquet")) == untimed(read_rows(whole))


def test_requests_that_the_server_sees(proxy):
    store = opened("requests")
    store.note("", CELLS)
    carry_out_all(store, CELLS[:1], Quiet())
    proxy.counts.clear()
    carry_out_all(store, CELLS[1:3], Quiet())
    # the lease and six files; the cell when it is taken and when it is sent; the lease
    assert proxy.counts == {"PUT": 2 * 7, "LIST": 2 * 2, "DELETE": 2}
    store.close()


def test_faults_lose_nothing(proxy, whole, monkeypatch):
    monkeypatch.setattr(objects, "PAUSES", (0.01,) * 12)
    store = opened("faults")
    store.note("", CELLS)
    proxy.share = 0.2
    view = Quiet()
    carry_out_all(store, CELLS, view)
    rows = store.rows([])
    proxy.share = 0.0
    store.close()
    assert sorted(view.ends) == sorted((cell.name, "done") for cell in CELLS)
    assert untimed(rows) == untimed(read_rows(whole))
    assert proxy.faults.total() > 10
    assert not any(".lease" in name or ".runners" in name for name in store.objects.find())


def test_a_result_is_written_once():
    store = opened("once").objects
    path = Path(os.environ["NOISYLABELS_CACHE"]) / "file"
    path.parent.mkdir()
    path.write_bytes(b"first")
    store.put(path, "result.json", new=True)
    path.write_bytes(b"second, longer")
    with pytest.raises(FileExistsError):
        store.put(path, "result.json", new=True)
    assert store.read("result.json") == b"first"


@pytest.mark.parametrize("size", [0, 5, 60_000_000])
def test_objects_of_all_sizes(size, tmp_path, proxy):
    store = opened("sizes/with blank+plus@1").objects
    path, back = tmp_path / "file", tmp_path / "back"
    path.write_bytes(os.urandom(size))
    store.put(path, "a b/c+d@2.json")
    assert store.find("a b")["a b/c+d@2.json"].size == size
    assert store.get("a b/c+d@2.json", back, size)
    assert back.read_bytes() == path.read_bytes()
    store.move("a b/c+d@2.json", "moved")
    assert set(store.find()) == {"moved"}
    store.delete("moved")
    store.delete("moved")
    assert store.find() == {}
    assert not store.get("moved", back)
    assert store.read("moved") is None


@pytest.mark.parametrize(
    ("refuse", "kind", "message"),
    [
        ((403, "AccessDenied", "no"), InputError, "the credentials do not allow it"),
        ((403, "SignatureDoesNotMatch", "no"), InputError, "the credentials do not allow it"),
        ((503, "SlowDown", "slow"), Unreachable, "4 tries failed: "),
        ((500, "InternalError", "oh"), Unreachable, "4 tries failed: "),
    ],
)
def test_a_server_that_refuses_is_one_line(proxy, refuse, kind, message):
    proxy.refuse = refuse
    store = opened("refused")
    for work in (lambda: store.note("", CELLS), store.refresh):
        with pytest.raises(kind) as raised:
            work()
        assert message in str(raised.value)
        assert f"s3://{s3_server.BUCKET}/refused" in str(raised.value)
        assert "\n" not in str(raised.value)


def test_errors_of_the_command_are_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "six.toml").write_text(TOML)
    run = ["study", "run", str(tmp_path / "six.toml"), "--device", "cpu", "--out"]
    assert main([*run, "s3://no-such-bucket/six"]) == 2
    error = capsys.readouterr().err
    assert "s3://no-such-bucket/six" in error
    assert "check the name of the bucket" in error
    assert error.count("\n") == 1
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed}")
    open_objects.cache_clear()
    assert main(["study", "status", f"s3://{s3_server.BUCKET}/six"]) == 2
    error = capsys.readouterr().err
    assert "4 tries failed: EndpointConnectionError: Could not connect" in error
    assert error.count("\n") == 1
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    open_objects.cache_clear()
    assert main(["study", "status", f"s3://{s3_server.BUCKET}/six"]) == 2
    error = capsys.readouterr().err
    assert "NoCredentialsError: Unable to locate credentials; set AWS_ACCESS_KEY_ID" in error
    assert error.count("\n") == 1
