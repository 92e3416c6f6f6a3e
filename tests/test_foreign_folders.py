"""The folder of somebody else: whatever in it is a link, nothing outside it is changed, made or removed.

Each verb that writes into a folder is run once; then, for each path that it writes, in a copy whose work must
be repeated, that path is a link to a file, a folder or nothing outside, and the verb is run again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from noisylabels.cli import main

DATA = "set.npz"
TRAIN = ["train", "--data", DATA, "--epochs", "1", "--model", "mlp:4", "--device", "cpu"]
STUDY = """
title = "Two"
[fixed]
data = "set.npz"
epochs = 1
model = "mlp:4"
[axes]
loss = ["ce", "mae"]
"""


@dataclass(frozen=True)
class Verb:
    """A command that writes into the folder `out`.

    Args:
        words: the command; `out` is its folder.
        markers: what is removed so that the command repeats its work.
        writes: the paths in the folder that it writes, at any time.
        before: a command that makes the folder first.
    """

    words: tuple[str, ...]
    markers: tuple[str, ...]
    writes: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()


RUN = (
    "config.json",
    "environment.json",
    "labels.parquet",
    "history.jsonl",
    "model.safetensors",
    "result.json",
)
AUDIT = ("settings.json", "audit.json", "labels.csv", "labels.json", "labels.parquet", "neighbors.parquet")
AUDIT += ("page.html", "probs.parquet", "seen.parquet")
WORDS_OF_AUDIT = ("audit", DATA, "--epochs", "1", "--folds", "2", "--model", "mlp:4", "--device", "cpu")
DATABASE = ("review.sqlite", "review.sqlite-wal", "review.sqlite-shm", "review.sqlite-journal")

VERBS = {
    "train": Verb(
        (*TRAIN, "--out", "out"),
        ("result.json",),
        (*RUN, ".lock", "checkpoint.pt", ".result.json.12345678.tmp"),
    ),
    "audit": Verb(
        (*WORDS_OF_AUDIT, "--out", "out"),
        ("audit.json",),
        (
            *(*AUDIT, ".lock", "folds", "folds/.lock", "folds/crossval.json"),
            *("folds/fold-0.safetensors", "folds/fold-0", "folds/fold-0/checkpoint.pt"),
        ),
    ),
    "review": Verb(
        ("review", "out", "--export", "corrected.csv", "--overwrite"),
        (),
        DATABASE,
        ((*WORDS_OF_AUDIT, "--out", "out"),),
    ),
    "study": Verb(
        ("study", "run", "two.toml", "--out", "out", "--jobs", "0"),
        ("*/result.json",),
        (
            *("study.json", ".lock", "damaged", "CELL", "CELL/.lock", "CELL/failure.json"),
            *(f"CELL/{name}" for name in RUN),
        ),
    ),
    "train --track": Verb(
        (*TRAIN, "--out", "out", "--track", "tensorboard"),
        ("result.json",),
        ("tensorboard", "EVENTS"),
    ),
    "tune": Verb(
        (
            "tune",
            "digits",
            "--epochs",
            "1",
            "--model",
            "mlp:16",
            "--loss",
            "gce",
            "--trials",
            "1",
            "--out",
            "out",
        ),
        ("trials.jsonl",),
        ("tune.json", "trials.jsonl", "trials", "TRIAL", "TRIAL/.lock", "TRIAL/result.json"),
    ),
    "report": Verb(
        ("report", "runs", "--out", "out", "--formats"),
        (),
        ("index.html", "tables", "TABLE"),
        (("study", "run", "two.toml", "--out", "runs", "--jobs", "0"),),
    ),
}


NEEDS = {"tune": "optuna", "train --track": "tensorboard"}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Callable[[str], Path]:
    """Return a function that gives the folder in which a verb has been run once."""
    known: dict[str, Path] = {}

    def make(name: str) -> Path:
        if name not in known:
            place = tmp_path_factory.mktemp(name)
            rng = np.random.default_rng(0)
            labels = np.arange(24) % 2
            images = (rng.integers(0, 100, (24, 1, 8, 8)) + 100 * labels[:, None, None, None]).astype(
                np.uint8
            )
            np.savez(place / DATA, images=images, labels=labels)
            (place / "two.toml").write_text(STUDY)
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(place)
                patch.setenv("NOISYLABELS_CACHE", str(place / "cache"))
                if name in NEEDS:
                    pytest.importorskip(NEEDS[name])
                for words in (*VERBS[name].before, VERBS[name].words):
                    assert main([*words]) == 0
            known[name] = place
        return known[name]

    return make


def state(folder: Path) -> dict[str, Any]:
    """Return what is in a folder, with content and times."""
    return {
        str(path.relative_to(folder)): (
            path.read_bytes() if path.is_file() else None,
            path.stat().st_mtime_ns,
        )
        for path in [folder, *folder.rglob("*")]
    }


CASES = [
    (verb, path, target)
    for verb, each in VERBS.items()
    for path in each.writes
    for target in ("a file", "a folder", "nothing")
]


@pytest.mark.parametrize(("verb", "path", "target"), CASES)
def test_nothing_outside_is_touched(verb, path, target, made, tmp_path, monkeypatch, capsys):
    each = VERBS[verb]
    shutil.copytree(made(verb), tmp_path / "in", symlinks=True)
    out = tmp_path / "in" / "out"
    cells = sorted(found.parent.name for found in out.glob("*/config.json"))
    tables = sorted(f"tables/{found.name}" for found in (out / "tables").glob("*"))
    events = sorted(f"tensorboard/{found.name}" for found in (out / "tensorboard").glob("*"))
    trials = sorted(f"trials/{found.name}" for found in (out / "trials").glob("*"))
    for word, names in (("CELL", cells), ("TABLE", tables), ("EVENTS", events), ("TRIAL", trials)):
        assert names or word not in path
        path = path.replace(word, names[0] if names else "")
    for marker in each.markers:
        for found in out.glob(marker):
            found.unlink()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious\n" * 10)
    (outside / "folder").mkdir()
    for name in ("precious", "failure.json", "checkpoint.pt", ".lock", "result.json"):
        (outside / "folder" / name).write_text("{}")
    link = out / path
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside / {"a file": "file", "a folder": "folder", "nothing": "nothing"}[target])
    before = state(outside)
    monkeypatch.chdir(tmp_path / "in")
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "in" / "cache"))
    code = main([*each.words])
    said = capsys.readouterr().err
    assert state(outside) == before, said
    assert code in (0, 1, 2), said
    if code:
        assert said.strip().splitlines()[-1].startswith("noisylabels: ") or verb == "study", said


def test_a_cell_that_is_a_link_is_set_aside_and_run_again(made, tmp_path, monkeypatch, capsys):
    shutil.copytree(made("study"), tmp_path / "in")
    out, outside = tmp_path / "in" / "out", tmp_path / "outside"
    cell = next(out.glob("*/config.json")).parent
    shutil.move(cell, outside)
    (outside / "result.json").unlink()
    cell.symlink_to(outside)
    before = state(outside)
    monkeypatch.chdir(tmp_path / "in")
    assert main([*VERBS["study"].words]) == 0
    assert "is a link" in capsys.readouterr().err
    assert (cell / "result.json").exists()
    assert not cell.is_symlink()
    assert state(outside) == before


def test_finished_cells_may_be_links(made, tmp_path, monkeypatch, capsys):
    """A study can be put together from links to finished runs elsewhere, which nothing changes."""
    shutil.copytree(made("study"), tmp_path / "in")
    out, outside = tmp_path / "in" / "out", tmp_path / "outside"
    cell = next(out.glob("*/config.json")).parent
    shutil.move(cell, outside)
    cell.symlink_to(outside)
    before = state(outside)
    monkeypatch.chdir(tmp_path / "in")
    assert main([*VERBS["study"].words]) == 0
    assert cell.is_symlink()
    assert state(outside) == before


@pytest.mark.parametrize("name", ["../../outside", "/tmp/outside", "..", "a/../../../outside"])
def test_a_cell_cannot_be_named_after_a_place_elsewhere(name, made, tmp_path, monkeypatch, capsys):
    import json

    shutil.copytree(made("study"), tmp_path / "in")
    listing = tmp_path / "in" / "out" / "study.json"
    content = json.loads(listing.read_text())
    first = next(iter(content["cells"]))
    content["cells"][name] = content["cells"].pop(first)
    listing.write_text(json.dumps(content))
    (tmp_path / "outside").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    assert main(["study", "status", "out"]) == 2
    assert main([*VERBS["study"].words]) == 0
    assert list((tmp_path / "outside").iterdir()) == []
