import errno
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import warm_process
from noisylabels.core.checks import InputError
from noisylabels.data import cache as module
from noisylabels.data import decode
from noisylabels.data.catalog import load
from noisylabels.data.reader import Plan, ReadResult

LONG_AGO = 1_500_000_000


@pytest.fixture
def root(tree):
    folder = tree(*[f"cat/{i}.png" for i in range(6)], *[f"dog/{i}.png" for i in range(6)])
    for path in folder.rglob("*.png"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return folder


@pytest.fixture
def work(monkeypatch):
    """Counts of the work done: files hashed, images decoded."""
    counts = {"hashed": 0, "decoded": 0}

    def counted(owner, name, what):
        real = getattr(owner, name)

        def wrapper(*arguments, **options):
            counts[what] += 1
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, wrapper)

    counted(module, "file_digest", "hashed")
    counted(decode, "read_pixels", "decoded")

    def since_last():
        found = (counts["hashed"], counts["decoded"])
        counts.update(hashed=0, decoded=0)
        return found

    return since_last


def entry(cache):
    [found] = (cache / "data").iterdir()
    return found


def facts(loaded):
    """Everything in the two sets, copied: an entry that is damaged below changes what is mapped from it."""
    return [
        (
            part.images.tolist(),
            part.labels.tolist(),
            part.ids,
            part.digest,
            usual(part.notes),
            part.class_names,
        )
        for part in loaded
    ]


DAMAGED = "were damaged, and were decoded again"


def usual(notes):
    """The notes but for that on damage."""
    return [note for note in notes if DAMAGED not in note]


def test_the_second_start_reads_and_decodes_nothing(root, work, cache):
    first = facts(load(root))
    assert work() == (12, 12)
    second = facts(load(root))
    assert work() == (0, 0)
    assert first == second
    there = sorted(path.name for path in entry(cache).iterdir())
    assert there == ["ids", "images.npy", "labels.npy", "meta.json", "rows.npy"]
    assert np.load(entry(cache) / "images.npy").shape == (12, 3, 12, 12)


def test_the_digest_is_that_of_the_content(root):
    from noisylabels.data.images import image_set

    for part in load(root):
        assert part.digest == image_set(part.images, part.labels, part.class_names).digest


def test_writing_into_the_arrays_leaves_the_cache_alone(root):
    first = load(root)
    expected = first[0].images.clone()
    first[0].images.zero_()
    assert torch.equal(load(root)[0].images, expected)


def test_a_touched_file_is_read_again_but_not_decoded(root, work):
    load(root)
    work()
    os.utime(root / "cat/3.png", (LONG_AGO + 5, LONG_AGO + 5))
    load(root)
    assert work() == (1, 0)
    load(root)
    assert work() == (0, 0)


def test_changed_bytes_are_decoded(root, work):
    before = load(root)
    work()
    shutil.copy(root / "dog/1.png", root / "cat/3.png")
    after = load(root)
    assert work() == (1, 12)
    assert before[0].digest != after[0].digest or before[1].digest != after[1].digest


def test_a_file_changed_a_moment_ago_is_not_trusted_by_its_time(root, work):
    """Two changes within one tick of the clock leave the same size and time."""
    now = time.time()
    os.utime(root / "cat/3.png", (now, now))
    load(root)
    work()
    load(root)
    assert work() == (1, 0)


@pytest.mark.parametrize("options", [{"image_size": 8}, {"test_fraction": 0.5}, {"bad_images": "skip"}])
def test_other_options_are_another_entry(options, root, work):
    first = facts(load(root))
    work()
    load(root, **options)
    assert work() == (0, 12)
    assert facts(load(root)) == first
    assert work() == (0, 0)


def test_an_empty_class_counts(root):
    load(root)
    (root / "eel").mkdir()
    assert load(root)[0].class_names == ("cat", "dog", "eel")


def test_a_copy_elsewhere_shares_the_entry_but_not_the_name(root, work, tmp_path):
    load(root)
    work()
    shutil.copytree(root, tmp_path / "copy")
    assert load(tmp_path / "copy")[0].name == "copy"
    assert work() == (12, 0)


def test_a_note_on_what_is_ignored_is_not_stored(tree, work):
    names = [f"{part}/{kind}/{i}.png" for part in ("train", "test") for kind in "ab" for i in range(2)]
    root = tree(*names)
    assert load(root)[0].notes == ()
    work()
    (root / "raw").mkdir()
    assert load(root)[0].notes == ("ignored the folder raw (0 images) beside train",)
    assert work()[1] == 0


def test_notes_are_shown_at_every_start(root):
    (root / "cat/0.png").write_bytes(b"")
    first, second = load(root, bad_images="skip"), load(root, bad_images="skip")
    assert first[0].notes == second[0].notes
    assert any("cat/0.png (0 bytes)" in note for note in second[0].notes)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-10])


def clear(path):
    path.write_bytes(b"")


def garble(path):
    path.write_bytes(bytes(reversed(path.read_bytes())))


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "ids", "meta.json"])
@pytest.mark.parametrize("damage", [truncate, clear, garble, os.remove])
def test_a_damaged_entry_is_made_again(name, damage, root, work, cache):
    first = facts(load(root))
    work()
    damage(entry(cache) / name)
    again = load(root)
    assert facts(again) == first
    assert work() == (0, 12)
    assert [note for note in again[0].notes if DAMAGED in note]
    again = load(root)
    assert facts(again) == first
    assert work() == (0, 0)
    assert not [note for note in again[0].notes if DAMAGED in note]


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "rows.npy", "ids", "meta.json"])
def test_a_single_changed_bit_is_found(name, root, work, cache):
    """Training on other pixels than those of the recorded digest would make the record untrue."""
    first = facts(load(root))
    work()
    path, rng = entry(cache) / name, np.random.default_rng(0)
    for _ in range(8):
        content = bytearray(path.read_bytes())
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        again = load(root)
        assert facts(again) == first
        assert work() == (0, 12)
        assert [note for note in again[0].notes if DAMAGED in note]


@pytest.mark.parametrize("processes", [False, True])
def test_damage_of_a_large_set_is_found(processes, root, work, cache, monkeypatch):
    """In the second piece of a file, and in a set that processes decode."""
    from noisylabels.core import sums
    from noisylabels.data import cache_sums

    for owner in (sums, cache_sums):
        monkeypatch.setattr(owner, "PIECE_BYTES", 1000)
    monkeypatch.setattr(module, "PROCESSES_FROM", 12 if processes else 5000)
    first, told = facts(load(root)), []
    path = entry(cache) / "images.npy"
    content = bytearray(path.read_bytes())
    assert len(content) > 5000
    content[-1500:-1400] = bytes(100)
    path.write_bytes(content)
    again = load(root, progress=lambda *what: told.append(what))
    assert facts(again) == first
    assert [note for note in again[0].notes if DAMAGED in note]
    assert ("checking the stored images", 1000, 6000) in told
    assert facts(load(root)) == first


def test_an_entry_without_checksums_is_checked_by_its_digest(root, work, cache):
    """Those of earlier versions have none."""
    first = facts(load(root))
    work()

    def age():
        meta = json.loads((entry(cache) / "meta.json").read_text())
        del meta["sums"], meta["meta_crc32"]
        (entry(cache) / "meta.json").write_text(json.dumps(meta))

    age()
    assert facts(load(root)) == first
    assert work() == (0, 0)
    assert "sums" in json.loads((entry(cache) / "meta.json").read_text())
    age()
    path = entry(cache) / "images.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    again = load(root)
    assert facts(again) == first
    assert work() == (0, 12)
    assert [note for note in again[0].notes if DAMAGED in note]


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: [],
        lambda meta: {},
        lambda meta: meta | {"num_train": 99},
        lambda meta: meta | {"num_train": "9"},
        lambda meta: meta | {"class_names": ["cat"]},
        lambda meta: meta | {"labels_sha256": ""},
    ],
)
def test_an_entry_that_contradicts_itself_is_made_again(change, root, work, cache):
    first = facts(load(root))
    work()
    path = entry(cache) / "meta.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    assert facts(load(root)) == first
    assert work() == (0, 12)


@pytest.mark.parametrize("content", ["", "[]", '{"cat/0.png": 3}', '{"cat/0.png": ["a", "b", "c"]}'])
def test_a_damaged_index_costs_a_reading(content, root, work, cache):
    load(root)
    work()
    [index] = (cache / "digests").iterdir()
    index.write_text(content)
    load(root)
    assert work() == (12, 0)


def test_a_cache_that_cannot_be_written_costs_time_only(root, work, tmp_path, monkeypatch):
    expected = load(root)
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("NOISYLABELS_CACHE", str(blocked / "cache"))
    work()
    found = load(root)
    assert work() == (12, 12)
    assert [part.digest for part in found] == [part.digest for part in expected]
    assert torch.equal(found[0].images, expected[0].images)
    [note] = [note for note in found[0].notes if note not in expected[0].notes]
    assert note.startswith("the decoded images could not be stored (Not a directory: ")
    assert "NOISYLABELS_CACHE" in note


def test_a_full_disk_costs_time_only(root, cache, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    found = load(root)
    assert any("could not be stored (No space left on device" in note for note in found[0].notes)
    assert list((cache / "data").iterdir()) == []
    monkeypatch.undo()


def test_an_error_in_the_data_leaves_nothing(root, cache):
    (root / "cat/0.png").write_bytes(b"")
    with pytest.raises(InputError):
        load(root)
    assert list((cache / "data").iterdir()) == []


def test_an_interrupt_leaves_nothing(root, cache):
    def interrupt(what, done, total):
        if what == "decoding":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(root, progress=interrupt)
    assert list((cache / "data").iterdir()) == []


def test_a_killed_writer_leaves_no_entry(root, cache, work):
    code = (
        "import os, signal, sys; from noisylabels.data.catalog import load\n"
        "def kill(what, done, total):\n"
        "    if what == 'decoding': os.kill(os.getpid(), signal.SIGKILL)\n"
        "load(sys.argv[1], progress=kill)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = warm_process.run(["-c", code, str(root)], env=environment)
    assert done.returncode == -signal.SIGKILL
    [left] = (cache / "data").iterdir()
    assert left.name.endswith(".tmp")
    os.utime(left, (LONG_AGO, LONG_AGO))  # a day later
    load(root)
    assert work()[1] == 12
    assert not left.exists()
    assert entry(cache).is_dir()


@pytest.mark.parametrize("load_plan", [module.load_cached, module.load_uncached])
def test_images_and_labels_are_as_many(load_plan, cache):
    """As in a Parquet file with a changed byte, whose columns state different lengths."""
    few = np.zeros((3, 1, 2, 2), dtype=np.uint8)

    def read():
        return ReadResult((1, 2, 2), lambda: iter([few]), np.arange(4) % 2, list("abcd"), ("x", "y"), 2)

    with pytest.raises(InputError, match=r"^there are 3 images and 4 labels; get the files again"):
        load_plan(Plan("photos", Path("photos"), {}, {}, read))
    assert not (cache / "data").exists() or list((cache / "data").iterdir()) == []


def test_a_writer_leaves_the_work_of_others_alone(root, cache):
    other = cache / "data" / ".0123.1-2.tmp"
    other.mkdir(parents=True)
    load(root)
    assert other.exists()


def test_two_writers_at_once_agree(root, cache, monkeypatch):
    """The other process finishes between this one's reading and renaming."""
    real = module._finish

    def slow(*arguments):
        monkeypatch.setattr(module, "_finish", real)
        load(root)
        return real(*arguments)

    monkeypatch.setattr(module, "_finish", slow)
    found = load(root)
    assert facts(found) == facts(load(root))
    assert not any("could not be stored" in note for note in found[0].notes)
    assert entry(cache).is_dir()


def test_progress_is_told(root):
    told = []
    load(root, progress=lambda *what: told.append(what))
    assert told == [("checking files", 12, 12), ("reading sizes", 12, 12), ("decoding", 12, 12)]


def test_an_entry_of_an_older_version_gets_its_positions(root, work, cache):
    """Check that entries without rows.npy are completed from the paths, or read again."""
    before = load(root, bad_images="skip")
    work()
    assert sorted([*before[0].rows, *before[1].rows]) == list(range(12))

    def age():
        meta = json.loads((entry(cache) / "meta.json").read_text())
        for name in ("positions", "rows_sha256", "sums", "meta_crc32"):
            del meta[name]
        (entry(cache) / "meta.json").write_text(json.dumps(meta))
        (entry(cache) / "rows.npy").unlink()

    age()
    again = load(root, bad_images="skip")
    assert work() == (0, 0)
    for old, new in zip(before, again, strict=True):
        assert old.rows.tolist() == new.rows.tolist()
        assert (new.source_rows, new.positions.whole) == (12, False)
    assert (entry(cache) / "rows.npy").exists()


def test_damaged_positions_are_read_again(root, cache):
    before = load(root)
    np.save(entry(cache) / "rows.npy", np.arange(12)[::-1])
    assert [part.rows.tolist() for part in load(root)] == [part.rows.tolist() for part in before]
