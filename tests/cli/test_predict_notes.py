"""`noisylabels predict` names what it cannot predict in one line, with a count and the first few."""

from __future__ import annotations

import numpy as np
from PIL import Image

from noisylabels.cli import main


def test_rows_without_text_keep_their_place_and_are_noted_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rows = [f"a text {i} about the {'cat' if i % 2 else 'dog'} on the mat,{'uv'[i % 2]}" for i in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    how = ["--features", "tfidf", "--text-column", "text", "--out", "run"]
    assert main(["train", "--data", "t.csv", *how]) == 0
    new = ['""', "about the cat", *['""'] * 6, "about the dog", ""]
    (tmp_path / "new.csv").write_text("\n".join(["text", *new]))
    capsys.readouterr()
    assert main(["predict", "run", "new.csv"]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()[1:]
    assert [line.split(",")[0] for line in lines] == [f"row:{i}" for i in range(9)]
    assert [lines[i].split(",")[1] for i in (1, 8)] == ["v", "u"]
    notes = [line for line in said.err.splitlines() if "no text" in line]
    assert len(notes) == 1
    assert "7 rows have no text" in notes[0]
    assert "row:0, row:2" in notes[0]
    assert notes[0].endswith(", ...")


def test_unreadable_images_are_one_note(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for k, name in enumerate(("day", "night")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(6):
            pixels = draw.integers(0, 60, (8, 8, 3)) + 150 * k
            Image.fromarray(pixels.astype(np.uint8)).save(f"photos/{name}/{i}.png")
    assert (
        main(
            [
                "train",
                "--data",
                "photos",
                "--epochs",
                "1",
                "--model",
                "linear",
                "--loss",
                "ce",
                "--out",
                "run",
            ]
        )
        == 0
    )
    paths = [f"photos/day/{i}.png" for i in range(3)]
    for i in range(9):
        (tmp_path / f"bad{i}.png").write_bytes(b"nothing")
        paths.append(f"bad{i}.png")
    capsys.readouterr()
    assert main(["predict", "run", *paths, "--bad-images", "skip"]) == 0
    said = capsys.readouterr()
    assert len(said.out.splitlines()) == 4
    (note,) = [line for line in said.err.splitlines() if "cannot be read" in line]
    assert "left out 9 of 12 images" in note
    assert note.endswith("bad2.png (not an image) and 6 more")
