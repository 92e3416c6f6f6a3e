"""Large sets of files: decoded by processes, resumed after an interruption, never from damaged chunks."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from noisylabels.core.checks import InputError
from noisylabels.data import cache as cache_module
from noisylabels.data import decode_workers, parallel_decoding
from noisylabels.data.catalog import load
from warm_process import WarmPopen

LONG_AGO = 1_500_000_000
NAMES = [f"{kind}/{i:02d}.png" for kind in ("cat", "dog") for i in range(30)]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Processes for any number of files, in chunks of 8."""
    monkeypatch.setattr(cache_module, "PROCESSES_FROM", 1)
    monkeypatch.setattr(parallel_decoding, "_CHUNK_IMAGES", 8)


@pytest.fixture
def root(tree):
    folder = tree(*NAMES)
    for path in folder.rglob("*.png"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return folder


@pytest.fixture
def decoded(monkeypatch):
    """Return the positions of the chunks decoded since the last call."""
    starts: list[int] = []
    real = decode_workers.Worker.decode

    def counted(self, start, names):
        starts.append(start)
        return real(self, start, names)

    monkeypatch.setattr(decode_workers.Worker, "decode", counted)

    def since_last():
        found = sorted(starts)
        starts.clear()
        return found

    return since_last


ALL = list(range(0, 60, 8))


def facts(loaded):
    return [
        (part.images.tolist(), part.labels.tolist(), list(part.ids), part.digest, part.notes)
        for part in loaded
    ]


def by_threads(monkeypatch, root, tmp_path, **options):
    """Return the sets read without processes."""
    with monkeypatch.context() as context:
        context.setattr(cache_module, "PROCESSES_FROM", 10**9)
        context.setenv("NOISYLABELS_CACHE", str(tmp_path / "other"))
        return facts(load(root, **options))


def cut_after(monkeypatch, root, count, **options):
    """Load, and interrupt after so many finished chunks."""

    def progress(what, done, total):
        if what == "decoding" and done >= min(8 * count, total):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(root, progress=progress, **options)


@pytest.mark.parametrize("options", [{}, {"image_size": 7}, {"test_fraction": 0.5}])
def test_processes_and_threads_give_the_same(options, root, monkeypatch, tmp_path, decoded):
    assert facts(load(root, **options)) == by_threads(monkeypatch, root, tmp_path, **options)
    assert decoded() == ALL
    load(root, **options)
    assert decoded() == []


def test_a_few_large_files_are_worth_processes(root, monkeypatch, tmp_path, decoded):
    read = sum(path.stat().st_size for path in root.rglob("*.png"))
    monkeypatch.setattr(cache_module, "PROCESSES_FROM", 61)
    for limit, chunks in ((read, ALL), (read + 1, [])):
        monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / str(limit)))
        monkeypatch.setattr(cache_module, "PROCESSES_FROM_BYTES", limit)
        load(root)
        assert decoded() == chunks
    monkeypatch.setattr(cache_module, "PROCESSES_FROM_BYTES", read)
    changed = root / NAMES[0]
    os.utime(changed, (LONG_AGO + 9, LONG_AGO + 9))
    load(root)  # one file is read again, and its content is the same
    assert decoded() == []


def test_sizes_and_colors_of_all_kinds_give_the_same(root, tree, encode, pixels, monkeypatch, tmp_path):
    """The headers read first are not representative: another size late, then a color among gray ones."""
    for path in root.rglob("*.png"):
        path.write_bytes(encode(pixels(1, gray=True)))
    assert load(root)[0].images.shape[1:] == (1, 12, 12)
    for changed, shape in (("dog/21.png", (1, 64, 64)), ("cat/07.png", (3, 64, 64))):
        (root / changed).write_bytes(encode(pixels(2, 15, 13, gray=shape[0] == 1)))
        found = load(root)
        assert tuple(found[0].images.shape[1:]) == shape
        assert facts(found) == by_threads(monkeypatch, root, tmp_path)


def test_bad_images_are_named_or_left_out(root, monkeypatch, tmp_path, decoded):
    (root / "cat/03.png").write_bytes(b"")
    (root / "dog/29.png").write_bytes(b"no image")
    (root / "dog/11.png").write_bytes((root / "dog/10.png").read_bytes()[:100])
    for path in root.rglob("*.png"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    with pytest.raises(InputError, match=r"^3 of 60 images cannot be read: .*cat/03.png \(0 bytes\).*skip"):
        load(root)
    decoded()
    found = facts(load(root, bad_images="skip"))
    assert decoded() == []  # it resumed from the images decoded before
    assert found == by_threads(monkeypatch, root, tmp_path, bad_images="skip")


def test_an_interrupted_run_is_resumed(root, cache, monkeypatch, tmp_path, decoded):
    cut_after(monkeypatch, root, 3)
    [part] = (path for path in (cache / "data").iterdir() if path.suffix == ".part")
    there = sorted(int(path.stem) for path in (part / "chunks").glob("*.record"))
    assert len(there) >= 3
    decoded()
    assert facts(load(root)) == by_threads(monkeypatch, root, tmp_path)
    assert decoded() == [start for start in ALL if start not in there]
    assert [path.name[0] for path in (cache / "data").iterdir()] != ["."]


def test_what_is_not_whole_is_not_trusted(root, cache, monkeypatch, tmp_path, decoded):
    cut_after(monkeypatch, root, 8)
    decoded()
    [part] = (path for path in (cache / "data").iterdir() if path.suffix == ".part")
    record = part / "chunks" / "8.record"
    record.write_bytes(record.read_bytes()[:-20])  # a half-written record
    with (part / "images.npy").open("r+b") as file:  # pixels that never reached the disk
        file.seek(128 + 24 * 3 * 144)
        file.write(bytes(3 * 144))
    (part / "chunks" / "40.record").write_bytes((part / "chunks" / "48.record").read_bytes())
    files = next(iter(_ordered(root).names[0:1]))
    os.utime(root / files, (LONG_AGO + 9, LONG_AGO + 9))  # a file changed since
    assert facts(load(root)) == by_threads(monkeypatch, root, tmp_path)
    assert decoded() == [0, 8, 24, 40]


def _ordered(root):
    from noisylabels.data.formats import plan_path
    from noisylabels.data.reader import Options

    return plan_path(root, Options()).ordered()


def test_a_file_changed_a_moment_ago_is_decoded_again(root, monkeypatch, decoded):
    name = _ordered(root).names[20]
    now = time.time()
    os.utime(root / name, (now, now))
    cut_after(monkeypatch, root, 8)
    decoded()
    load(root)
    assert decoded() == [16]


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


KILLED = """
import os, signal, sys
from noisylabels.data import cache, parallel_decoding
from noisylabels.data.catalog import load
cache.PROCESSES_FROM, parallel_decoding._CHUNK_IMAGES = 1, 8
def kill(what, done, total):
    if what == "decoding" and done >= 24: os.kill(os.getpid(), signal.SIGKILL)
load(sys.argv[1], progress=kill)
"""


def test_a_killed_run_is_resumed_and_leaves_no_orphan(root, cache, monkeypatch, tmp_path, decoded):
    process = WarmPopen(["-c", KILLED, str(root)], env=environment())
    assert process.wait() == -signal.SIGKILL
    deadline = time.monotonic() + 20
    while (left := workers_of(cache)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
    assert facts(load(root)) == by_threads(monkeypatch, root, tmp_path)
    assert 0 < len(decoded()) < len(ALL)


def workers_of(cache):
    """Return the processes that hold a file of the cache open."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = os.readlink(link)
        except OSError:
            continue
        if target.startswith(str(cache)) and link.parts[2] != str(os.getpid()):
            found.append(link.parts[2])
    return found


def test_a_killed_worker_is_one_clear_line(root, monkeypatch, decoded):
    real = decode_workers.Worker.decode

    def kill(self, start, names):
        if start == 16:
            self._process.kill()
        return real(self, start, names)

    monkeypatch.setattr(decode_workers.Worker, "decode", kill)
    with pytest.raises(
        InputError, match=r"ended \(signal 9\) at one of .*\.png to .*; start again"
    ) as caught:
        load(root)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()


def test_two_processes_share_the_work(root, cache, monkeypatch, tmp_path):
    code = KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "pass")
    expected = by_threads(monkeypatch, root, tmp_path)
    running = [WarmPopen(["-c", code, str(root)], env=environment()) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert facts(load(root)) == expected
    assert len(list((cache / "data").iterdir())) == 1


def test_a_full_disk_is_one_clear_line_for_a_large_set(root, cache, monkeypatch, decoded):
    usage = shutil.disk_usage(root)
    with monkeypatch.context() as context:
        context.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
        note = load(root)[0].notes[-1]
        assert "could not be stored (No space left on device" in note
        context.setattr(cache_module, "MAX_UNASKED_BYTES", 1000)
        with pytest.raises(InputError, match=r"cannot be stored in .*No space left.* GiB are free") as caught:
            load(root)
        assert "\n" not in str(caught.value)
    assert decoded() == []

    def full(self, start, names):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as context:  # or half-way
        context.setattr(decode_workers.Worker, "decode", full)
        assert "No space left" in load(root)[0].notes[-1]
    assert torch.equal(load(root)[0].images, load(root)[0].images)


def test_old_leftovers_are_removed(root, cache, monkeypatch):
    cut_after(monkeypatch, root, 2)
    [part] = (path for path in (cache / "data").iterdir() if path.suffix == ".part")
    for path in (part, part / "chunks"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    load(root, image_size=5)
    assert not part.exists()


def test_records_are_read_as_written(tmp_path):
    files = np.zeros(2, dtype=decode_workers.FACTS)
    files["size"] = [3, 4]
    chunk = decode_workers.Chunk(files, [[5, 6]], True, {1: "0 bytes"}, "aa", 7)
    decode_workers.write_chunk(tmp_path / "0.record", chunk)
    found = decode_workers.read_chunk(tmp_path / "0.record")
    assert found[1:] == chunk[1:]
    assert (found.files == files).all()
