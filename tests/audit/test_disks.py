"""An audit on a full disk, and the export of one that is read-only; both need the right to mount."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from noisylabels.audit.review.session import Session
from noisylabels.cli import main
from noisylabels.core.checks import InputError

AUDIT = ["audit", "set.npz", "--epochs", "1", "--folds", "2", "--model", "mlp:4", "--device", "cpu", "--out"]


@pytest.fixture
def mount() -> Iterator[Callable[..., None]]:
    mounted: list[Path] = []

    def make(place: Path, *words: str) -> None:
        done = (
            subprocess.run(["mount", *words, str(place)], capture_output=True)
            if shutil.which("mount")
            else None
        )
        if done is None or done.returncode:
            pytest.skip("no right to mount")
        mounted.append(place)

    yield make
    for place in reversed(mounted):
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    labels = np.arange(24) % 2
    images = np.random.default_rng(0).integers(0, 100, (24, 1, 8, 8)) + 100 * labels[:, None, None, None]
    np.savez(tmp_path / "set.npz", images=images.astype(np.uint8), labels=labels)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kilobytes", [4, 12, 20, 36, 44, 60])
def test_an_audit_on_a_full_disk(kilobytes, data, mount, capsys):
    """Wherever it becomes full: one line, no temporary file, and the same command finishes it later."""
    place = data / "disk"
    place.mkdir()
    mount(place, "-t", "tmpfs", "-o", f"size={kilobytes}k", "none")
    assert main([*AUDIT, str(place / "a")]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"noisylabels: the audit's folder {place}/a cannot be written: ")
    assert "No space left on device" in said
    assert not [path for path in place.rglob("*") if path.name.endswith(".tmp") or path.name == "audit.json"]
    subprocess.run(["mount", "-o", "remount,size=2m", str(place)], check=True)
    assert main([*AUDIT, str(place / "a")]) == 0
    assert main([*AUDIT, "b"]) == 0
    for name in ("labels.csv", "probs.parquet"):
        assert (place / "a" / name).read_bytes() == (data / "b" / name).read_bytes()


@pytest.mark.parametrize("reviewed", [False, True])
@pytest.mark.parametrize("alive", [False, True])
def test_the_export_of_a_read_only_audit(reviewed, alive, data, mount, capsys):
    """With decisions in the file and, while a review is open, in the log beside it."""
    assert main([*AUDIT, "a"]) == 0
    with contextlib.ExitStack() as stack:
        if reviewed:
            session = Session(data / "a")
            stack.callback(session.store.close)
            session.decide("event-1234", 0, "chosen", 1)
            if not alive:
                stack.close()
        before = {path.name: path.read_bytes() for path in (data / "a").iterdir()}
        mount(data / "a", "--bind", str(data / "a"))
        subprocess.run(["mount", "-o", "remount,ro,bind", str(data / "a")], check=True)
        assert main(["review", "a", "--export", "labels.csv"]) == 0
        rows = (data / "labels.csv").read_text().splitlines()
        assert len(rows) == 25
        assert "24 labels" in capsys.readouterr().out
        given = main(["review", "a", "--export", "again.parquet"])
        assert given == 0
        assert {path.name: path.read_bytes() for path in (data / "a").iterdir()} == before
        if reviewed:
            copied = Session(data / "a", reading=True)
            copied.store.close()
            assert f"{copied.audit.ids[0]},1" in rows
        with pytest.raises(InputError, match="cannot be used"):
            Session(data / "a")  # to decide, it must be writable
