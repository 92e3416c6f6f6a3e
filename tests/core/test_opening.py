"""Opening: named pipes, devices, sockets, folders and endless links, at every reader; no link to write."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisylabels.audit.probability_files import read_probs
from noisylabels.audit.result import Audit
from noisylabels.audit.saved_probs import values_of
from noisylabels.core import columnar, delimited, files, opening
from noisylabels.core.checks import InputError
from noisylabels.core.config import read_toml
from noisylabels.core.locks import exclusive_lock, hold_if_free, is_locked
from noisylabels.core.sums import piece_sums
from noisylabels.core.tables import read_table
from noisylabels.core.unpickle import read_saved
from noisylabels.data import image_lists
from noisylabels.data.animal10n import _records
from noisylabels.data.decode_workers import read_file
from noisylabels.data.idx import read_idx
from noisylabels.data.image_decoding import read_header, read_pixels
from noisylabels.encoders.embedding_files import read_embeddings
from noisylabels.encoders.hub import check_model_files
from noisylabels.experiment.folder import check_ends, read_config
from noisylabels.experiment.prediction import load_model
from noisylabels.models.efficientnet_lite import load_weights
from noisylabels.noise.human import _read_numpy, _read_parquet
from noisylabels.noise.label_files import read_labels
from noisylabels.noise.labels import NoisyLabels
from noisylabels.noise.matrix_files import read_transition
from noisylabels.study.store import read_rows
from noisylabels.training.checkpoint import load_checkpoint
from noisylabels.training.history import History
from noisylabels.training.weights_file import read_model

SECONDS = 20


@contextlib.contextmanager
def no_hang() -> Iterator[None]:
    """Fail instead of waiting for a named pipe."""

    def ring(*_: Any) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def a_link_to_a_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made, contextlib.chdir(path.parent):
        made.bind(path.name)  # its whole path may be too long


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_terminal(path: Path) -> None:
    path.symlink_to("/dev/ptmx")


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


def a_loop_of_two(path: Path) -> None:
    path.symlink_to("other")
    path.with_name("other").symlink_to(path.name)


def a_chain_of_links(path: Path) -> None:
    for number in range(60):
        path.with_name(f"link{number}").symlink_to(f"link{number + 1}")
    path.symlink_to("link0")


def a_folder(path: Path) -> None:
    path.mkdir()


def standard_input(path: Path) -> None:
    path.symlink_to("/dev/tty")


def a_system_file_without_end(path: Path) -> None:
    """A regular file of 0 bytes, from which more can be read, or nothing at all."""
    path.symlink_to("/proc/self/mem")


SPECIAL: list[Callable[[Path], None]] = [
    *(a_pipe, a_link_to_a_pipe, a_socket, endless, a_terminal, a_loop, a_loop_of_two, a_chain_of_links),
    *(a_folder, standard_input, a_system_file_without_end),
]

READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "open_file": ("a", lambda path: opening.open_file(path).read(1)),
    "read_bytes": ("a", opening.read_bytes),
    "check_regular": ("a", lambda path: (opening.check_regular(path), opening.read_bytes(path))),
    "read_text": ("a.txt", files.read_text),
    "read_json": ("a.json", files.read_json),
    "file_digest": ("a", files.file_digest),
    "check_file": ("a", lambda path: files.read_text(files.check_file(path))),
    "piece_sums": ("a", lambda path: piece_sums(path)[0]),
    "recipe": ("a.toml", read_toml),
    "CSV": ("a.csv", lambda path: list(delimited.read_cells(path))),
    "table": ("a.csv", read_table),
    "table of Parquet": ("a.parquet", read_table),
    "Parquet": ("a.parquet", lambda path: columnar.parquet_columns([path])),
    "npy": ("a.npy", columnar.read_array),
    "npy, mapped": ("a.npy", lambda path: columnar.read_array(path, mapped=True)),
    "npz": ("a.npz", lambda path: columnar.read_array(path, "x")),
    "names of npz": ("a.npz", columnar.array_names),
    "saved dict": ("a.pt", read_saved),
    "probabilities in CSV": ("a.csv", lambda path: read_probs(path, ["a", "b"], ["1"])),
    "probabilities in npy": ("a.npy", lambda path: read_probs(path, ["a", "b"], ["1"])),
    "probabilities in Parquet": ("a.parquet", lambda path: read_probs(path, ["a", "b"], ["1"])),
    "probabilities of an audit": ("a.parquet", values_of),
    "audit": ("audit.json", lambda path: Audit.load(path.parent)),
    "file of a run": ("config.json", lambda path: read_config(path.parent)),
    "ends of a file": ("labels.parquet", lambda path: check_ends(path.parent, path.name)),
    "history": ("history.jsonl", History.read),
    "checkpoint": ("checkpoint.pt", lambda path: load_checkpoint(path, None)),  # type: ignore[arg-type]
    "model": ("model.safetensors", read_model),
    "model to predict": ("model.safetensors", load_model),
    "weights": ("a.pth", lambda path: load_weights(None, path)),  # type: ignore[arg-type]
    "weights in safetensors": ("a.safetensors", lambda path: load_weights(None, path)),  # type: ignore[arg-type]
    "exported study": ("a.parquet", read_rows),
    "noisy labels": ("labels.parquet", NoisyLabels.load),
    "labels in CSV": ("a.csv", lambda path: read_labels(path, num_classes=2)),
    "labels in text": ("a.txt", lambda path: read_labels(path, num_classes=2)),
    "labels in JSON": ("a.json", lambda path: read_labels(path, num_classes=2)),
    "labels in npy": ("a.npy", lambda path: read_labels(path, num_classes=2)),
    "labels in Parquet": ("a.parquet", lambda path: read_labels(path, num_classes=2)),
    "transition matrix": ("a.csv", lambda path: read_transition(path, 2)),
    "human labels in npy": ("a.npy", _read_numpy),
    "human labels in Parquet": ("a.parquet", _read_parquet),
    "IDX": ("a-idx3-ubyte", lambda path: read_idx(path, 3)),
    "ANIMAL-10N": ("data_batch_1.bin", lambda path: next(_records(path))),
    "list of images": ("a.txt", lambda path: list(image_lists.numbered_lines(path))),
    "image": ("a.png", lambda path: read_pixels(path, 3, (8, 8))),
    "image, header": ("a.png", read_header),
    "image of a large set": ("a.png", lambda path: read_file(str(path))),
    "features": ("a.npz", lambda path: read_embeddings(path, (), print)),
    "features in Parquet": ("a.parquet", lambda path: read_embeddings(path, (), print)),
    "encoder": ("config.json", lambda path: (check_model_files(path.parent, "e"), files.read_json(path))),
    "lock": (".lock", lambda path: exclusive_lock(path).__enter__()),
}
"""Every reader of files from outside: a name for the file, and the call."""


@pytest.mark.parametrize("special", SPECIAL, ids=lambda make: make.__name__)
@pytest.mark.parametrize("reader", READERS)
def test_a_special_file_is_refused_at_once(reader, special, tmp_path):
    name, read = READERS[reader]
    if special is a_system_file_without_end and reader in ("open_file", "piece_sums", "lock"):
        pytest.skip("it is a regular file, which these do not read to its end")
    if reader in ("image", "image, header") and special is a_system_file_without_end:
        pytest.skip("Pillow leaves it open")
    if reader == "checkpoint" and special in (a_loop, a_loop_of_two, a_chain_of_links):
        pytest.skip("no checkpoint: the run starts over, and replaces the link")
    special(tmp_path / name)
    if not os.path.exists("/dev/tty") and special is standard_input:
        pytest.skip("no terminal device")
    with no_hang(), pytest.raises((InputError, OSError)) as caught:
        read(tmp_path / name)
    assert caught.type is not AssertionError
    assert len(str(caught.value)) < 300
    assert os.path.lexists(tmp_path / name)  # it stays as it is


def test_the_message_says_what_it_is(tmp_path):
    for make, words in ((a_pipe, "named pipe"), (a_socket, "socket"), (endless, "device")):
        folder = tmp_path / make.__name__
        folder.mkdir()
        make(folder / "a.csv")
        with pytest.raises(InputError, match=f"a.csv cannot be read: it is a {words}, expected a file"):
            read_table(folder / "a.csv")
    with pytest.raises(InputError, match="save its output to a file first"):
        read_table(tmp_path / "a_pipe" / "a.csv")


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_is_too_large_is_refused_before_it_is_read(reader, tmp_path, monkeypatch):
    """A sparse file of a terabyte: whole files are read up to a limit; others are read piece by piece."""
    name, read = READERS[reader]
    if reader in ("file_digest", "piece_sums", "open_file", "lock", "ANIMAL-10N", "list of images"):
        pytest.skip("reads piece by piece, or nothing")
    with open(tmp_path / name, "wb") as file:
        file.write(b"\0" * 8)
        file.truncate(1 << 40)
    with no_hang(), pytest.raises((InputError, OSError)):
        read(tmp_path / name)


def test_a_limit_is_exact_and_named(tmp_path):
    path = tmp_path / "a.toml"
    path.write_bytes(b"#" * opening.SETTINGS_BYTES)
    assert read_toml(path) == {}
    path.write_bytes(b"#" * (opening.SETTINGS_BYTES + 1))
    with pytest.raises(InputError, match=r"it has 16,777,217 bytes, expected at most 16,777,216"):
        read_toml(path)


def test_a_file_of_the_system_is_read_up_to_a_limit(tmp_path, monkeypatch):
    """Files in /proc report 0 bytes."""
    assert b"Name:" in opening.read_bytes("/proc/self/status")
    monkeypatch.setattr(opening, "_UNSIZED_BYTES", 16)
    with pytest.raises(OSError, match="it has no end, expected at most 16 bytes"):
        opening.read_bytes("/proc/self/status")


# Writing ------------------------------------------------------------------------------------------

WRITERS: dict[str, Callable[[Path], Any]] = {
    "wb": lambda path: opening.open_in_place(path, "wb").close(),
    "ab": lambda path: opening.open_in_place(path, "ab").close(),
    "r+b": lambda path: opening.open_in_place(path, "r+b").close(),
    "check_not_link": opening.check_not_link,
    "check_database": opening.check_database,
    "lock": lambda path: exclusive_lock(path).__enter__(),
    "locked folder": lambda path: files.locked_folder(path.parent, "it").__enter__(),
    "below a root": lambda path: files.make_folder(path / "b", path.parent),
    "text below a root": lambda path: files.write_text(path / "b.txt", "b", path.parent),
    "remove below a root": lambda path: files.remove_file(path / "precious", path.parent),
    "remove a tree below a root": lambda path: files.remove_tree(path / "precious", path.parent),
}


@pytest.mark.parametrize("target", ["a file", "a folder", "nothing"])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_link_is_not_followed_to_write(writer, target, tmp_path):
    victim, inside = tmp_path / "victim", tmp_path / "inside"
    inside.mkdir()
    if target == "a file":
        victim.write_text("precious")
    elif target == "a folder":
        victim.mkdir()
        (victim / "precious").write_text("precious")
    path = inside / ".lock"
    path.symlink_to(victim)
    with no_hang(), pytest.raises((InputError, OSError), match=r"it is a link|is a link, expected"):
        WRITERS[writer](path)
    assert path.is_symlink()
    assert victim.exists() == (target != "nothing")
    if target != "nothing":
        assert (victim if target == "a file" else victim / "precious").read_text() == "precious"


@pytest.mark.parametrize("special", SPECIAL, ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    "writer", ["wb", "ab", "r+b", "check_not_link", "check_database", "lock", "locked folder"]
)
def test_a_special_file_is_not_written(writer, special, tmp_path):
    path = tmp_path / ".lock"
    special(path)
    with no_hang(), pytest.raises((InputError, OSError)):
        WRITERS[writer](path)
    assert os.path.lexists(path)


@pytest.mark.parametrize("target", ["a file", "a folder", "nothing"])
def test_what_replaces_or_removes_a_link_leaves_its_target(target, tmp_path):
    victim = tmp_path / "victim"
    if target == "a file":
        victim.write_text("precious")
    elif target == "a folder":
        victim.mkdir()
        (victim / "precious").write_text("precious")
    for act in (
        lambda path: files.write_text(path, "new"),
        lambda path: files.write_json(path, {}),
        files.remove_file,
        files.remove_tree,
    ):
        path = tmp_path / "link"
        path.symlink_to(victim)
        act(path)
        assert not path.is_symlink()
        path.unlink(missing_ok=True)
        assert victim.exists() == (target != "nothing")
        if target != "nothing":
            assert (victim if target == "a file" else victim / "precious").read_text() == "precious"


@pytest.fixture
def ended_while_waiting(monkeypatch):
    """A block that another process holds, and that ends when somebody waits for its lock."""
    stack = contextlib.ExitStack()

    def sleep(seconds: float) -> None:
        stack.close()

    monkeypatch.setattr(time, "sleep", sleep)
    return stack


@pytest.mark.parametrize("above", ["a new folder above it", "an old one"])
def test_a_folder_that_the_holder_of_its_lock_removes_is_created_again(tmp_path, ended_while_waiting, above):
    folder = tmp_path / "study" / "run"
    if above == "an old one":
        folder.parent.mkdir()
    ended_while_waiting.enter_context(files.locked_folder(folder, "the folder"))
    with files.locked_folder(folder, "the folder"):
        assert is_locked(folder / ".lock")
        (folder / "file").write_text("x")
    assert [path.name for path in folder.iterdir()] == ["file"]


def test_a_folder_that_is_always_removed_is_an_error(tmp_path, monkeypatch):
    @contextlib.contextmanager
    def gone(lock):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(lock))
        yield

    monkeypatch.setattr(files, "exclusive_lock", gone)
    monkeypatch.setattr(files, "_REMOVED_SECONDS", 0.0)
    with (
        pytest.raises(InputError, match=r"the folder .* cannot be written: No such file"),
        files.locked_folder(tmp_path / "run", "the folder"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_a_lock_whose_folder_was_moved_removes_no_other_lock(tmp_path):
    (tmp_path / "run").mkdir()
    with exclusive_lock(tmp_path / "run" / ".lock"):
        (tmp_path / "run").rename(tmp_path / "damaged")
        (tmp_path / "run").mkdir()
        other = contextlib.ExitStack()
        other.enter_context(exclusive_lock(tmp_path / "run" / ".lock"))
    assert is_locked(tmp_path / "run" / ".lock")
    other.close()
    assert list((tmp_path / "run").iterdir()) == []


def test_a_lock_is_not_emptied(tmp_path):
    """It may be a file of somebody else's, with a name of ours."""
    (tmp_path / ".lock").write_text("notes")
    with contextlib.suppress(FileNotFoundError), exclusive_lock(tmp_path / ".lock"):
        assert (tmp_path / ".lock").read_text() == "notes"
        assert is_locked(tmp_path / ".lock")


def test_is_locked_of_special_files(tmp_path):
    for make in SPECIAL:
        folder = tmp_path / make.__name__
        folder.mkdir()
        make(folder / ".lock")
        with no_hang():
            assert not is_locked(folder / ".lock")


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../a", "/a", "a\0b"])
def test_a_name_that_leads_elsewhere_is_refused(name):
    with pytest.raises(InputError, match="cannot name a folder"):
        files.check_name(name, "cell")


# Temporary files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 199, 200, 201, 230, 241, 242, 255])
@pytest.mark.parametrize("letter", ["a", "é", "\N{GRINNING FACE}"])
def test_a_name_of_any_length_can_be_written(letter, length, tmp_path):
    name = letter * max(1, length // len(letter.encode()))
    files.write_text(tmp_path / name, "text")
    with files.atomic_folder(tmp_path / f"{name[:-1]}x") as made:
        (made / "a").touch()
    assert (tmp_path / name).read_text() == "text"
    assert len(list(tmp_path.iterdir())) == 2


def killed(act: str, folder: Path) -> None:
    """Run lines in a process that kills itself in the middle."""
    import subprocess
    import sys

    lines = "import os, sys; from pathlib import Path; from noisylabels.core import files\n"
    lines += f"with files.{act} as made:\n    os.kill(os.getpid(), 9)\n"
    done = subprocess.run([sys.executable, "-c", lines], cwd=folder)
    assert done.returncode == -9


@pytest.mark.parametrize("name", ["a.csv", "a" * 250])
def test_temporary_files_of_killed_processes_are_removed(name, tmp_path):
    killed(f"atomic_replace(Path({name!r}))", tmp_path)
    killed(f"atomic_folder(Path('b{name[1:]}'))", tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    files.write_text(tmp_path / name, "text")
    with files.atomic_folder(tmp_path / f"b{name[1:]}"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {name, f"b{name[1:]}"}


def test_temporary_files_of_others_stay(tmp_path):
    """Those in use, and those of other names."""
    (tmp_path / ".b.csv.12345678.tmp").touch()
    (tmp_path / ".a.csv.bak.tmp").touch()
    with files.atomic_replace(tmp_path / "a.csv") as first:
        files.write_text(tmp_path / "a.csv", "second")
        assert first.exists()
        first.write_text("first")
    assert (tmp_path / "a.csv").read_text() == "first"
    assert {path.name for path in tmp_path.iterdir()} == {"a.csv", ".b.csv.12345678.tmp", ".a.csv.bak.tmp"}


def test_permissions_are_those_of_a_plain_file(tmp_path):
    before = os.umask(0o027)
    try:
        files.write_text(tmp_path / "a", "text")
        with files.atomic_folder(tmp_path / "b"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o750


def test_hold_if_free(tmp_path):
    path = tmp_path / "a"
    path.touch()
    with hold_if_free(path) as free:
        assert free is True
        with hold_if_free(path) as again:
            assert again is False
    with hold_if_free(tmp_path / "nothing") as missing:
        assert missing is None


def test_checksums_see_every_changed_byte(tmp_path):
    path = tmp_path / "a.npy"
    rng = np.random.default_rng(0)
    path.write_bytes(rng.bytes(100_000))
    found = piece_sums(path)
    for _ in range(50):
        content = bytearray(path.read_bytes())
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        changed = tmp_path / "b.npy"
        changed.write_bytes(content)
        assert piece_sums(changed) != found
    assert piece_sums(path) == found


def test_the_content_and_the_status_of_a_file_are_read_together(tmp_path):
    place = tmp_path / "a.png"
    for content in (b"", b"x", b"y" * 100_000):
        place.write_bytes(content)
        assert read_file(os.fspath(place)) == (content, (len(content), place.stat().st_mtime_ns))
    (tmp_path / "link.png").symlink_to(place)
    assert read_file(os.fspath(tmp_path / "link.png"))[0] == content
