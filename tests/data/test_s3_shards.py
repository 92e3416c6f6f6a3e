"""Shards in a bucket of S3's protocol, with a server on this machine that fails."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

import s3_server
from noisylabels.core.checks import InputError
from noisylabels.data import remote_shards
from noisylabels.data.catalog import load
from noisylabels.data.pixel_source import in_memory
from shard_samples import samples, write_shard

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(bool(s3_server.MISSING), reason=s3_server.MISSING),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_server.Proxy]:
    with s3_server.s3_server(tmp_path_factory.mktemp("s3") / "log") as proxy:
        yield proxy


@pytest.fixture
def bucket(server, tmp_path, monkeypatch) -> Iterator[str]:
    """Return the URL of a folder of shards, whose server fails now and then."""
    for name, value in s3_server.variables(server.endpoint).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "path", [*sys.path, str(s3_server.CLIENT)])
    monkeypatch.setattr(remote_shards, "PAUSES", (0.01,) * 12)
    monkeypatch.setattr(remote_shards, "_BLOCK", 5000)
    from noisylabels.core.urls import open_files

    for split, numbers in (("train", range(16)), ("val", range(16, 22))):
        (tmp_path / split).mkdir()
        write_shard(tmp_path / split / "0.tar", samples(numbers))
        files, root = open_files(f"s3://{s3_server.BUCKET}/shards/{split}/0.tar")
        files.pipe_file(root, (tmp_path / split / "0.tar").read_bytes())
    server.share = 0.3
    yield f"s3://{s3_server.BUCKET}/shards"
    server.share, server.refuse = 0.0, None


@pytest.mark.parametrize("copied", [True, False])
def test_shards_of_a_bucket_equal_those_on_a_disk(copied, bucket, tmp_path, monkeypatch):
    if not copied:
        monkeypatch.setattr(remote_shards, "_fitting", lambda shards: [False] * len(shards))
    for found, expected in zip(load(bucket), load(tmp_path), strict=True):
        assert in_memory(found.images, "the test").equal(in_memory(expected.images, "the test"))
        assert (list(found.ids), found.digest) == (list(expected.ids), expected.digest)


def test_a_bucket_that_refuses_is_one_line(server, bucket):
    server.share, server.refuse = 0.0, (403, "AccessDenied", "no")
    with pytest.raises(InputError, match=r"^cannot read s3://.*; the credentials do not allow it$"):
        load(bucket)
