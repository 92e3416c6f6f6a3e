"""`noisylabels embed` and `nl.embed`: files of features that give the same audit, resumed after a kill."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import noisylabels as nl
import warm_process
from noisylabels.cli import main
from noisylabels.core.checks import InputError

CODE = """
import torch

def stripes(images):
    \"\"\"Return the means of each channel in four bands.\"\"\"
    x = images.float() / 255
    return torch.cat([band.mean((2, 3)) for band in x.chunk(4, 2)], 1)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Sixty photographs of two classes, one brighter than the other, and an encoder of their own."""
    monkeypatch.setenv("NOISYLABELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(CODE)
    rng = np.random.default_rng(0)
    for label, level in (("day", 140), ("night", 60)):
        place = tmp_path / "photos" / label
        place.mkdir(parents=True)
        for i in range(30):
            values = rng.integers(0, 60, (24, 24, 3)) + level + rng.integers(-30, 30)
            Image.fromarray(values.astype(np.uint8)).save(place / f"{i:02}.png")
    return tmp_path / "photos"


def test_ids_and_features_in_the_order_of_the_paths(folder, capsys):
    assert main(["embed", "photos", "--features", "own.py:stripes", "--out", "f.npz"]) == 0
    said = capsys.readouterr().out
    assert "60 examples, 12 features each, of own.py:stripes" in said
    assert "stored in" in said
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.png"))
    with np.load("f.npz") as file:
        assert file["ids"].tolist() == paths
        for place in (0, 17, 59):
            pixels = np.asarray(Image.open(folder / paths[place])) / 255
            bands = [pixels[6 * band : 6 * band + 6].mean((0, 1)) for band in range(4)]
            assert np.allclose(file["features"][place], np.concatenate(bands), atol=1e-3)


@pytest.mark.parametrize("name", ["f.parquet", "f.npy", "f.npz"])
def test_the_file_gives_the_same_audit(folder, name):
    nl.embed("photos", features="own.py:stripes", out=name)
    how = {"epochs": 3, "seed": 1, "device": "cpu"}
    with_encoder = nl.audit_labels("photos", features="own.py:stripes", **how)
    with_file = nl.audit_labels("photos", features=name, **how)
    assert list(with_file.ids) == list(with_encoder.ids)
    assert np.array_equal(with_file.score, with_encoder.score)


def test_sets_arrays_and_files_agree(folder):
    train, test = nl.embed("photos", features="own.py:stripes")
    (again,) = nl.embed(nl.load("photos")[0], features="own.py:stripes", out="f.parquet")
    assert np.array_equal(again.features.numpy(), train.features.numpy())
    assert sorted([*train.ids, *test.ids]) == sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*.png")
    )
    table = pq.read_table("f.parquet")
    assert table["id"].to_pylist() == sorted(train.ids)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["photos", "--features", "none", "--out", "f.npz"], "no encoder for photos: name one"),
        (["photos", "--features", "own.py:stripes", "--out", "f.txt"], "ends in '.txt'"),
        (["photos", "--features", "lite", "--out", "f.npz"], "features is 'lite'"),
        (["nowhere", "--features", "own.py:stripes", "--out", "f.npz"], "neither a file or folder"),
    ],
)
def test_what_is_wrong_is_one_line(folder, capsys, words, said):
    assert main(["embed", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


SLOW = """
import time
import torch
seen = []

def slow(images):
    if len(images) > 2:
        time.sleep(0.4)
        with open("seen.txt", "a") as file:
            file.write(f"{len(images)}\\n")
    return images.float().mean((2, 3))
"""


@pytest.mark.slow
def test_a_killed_embedding_goes_on(folder, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    run = [
        "-c",
        "import sys; from noisylabels.encoders import embedding; embedding.SEGMENT_SECONDS = 0.1;"
        "from noisylabels.encoders.encoder import FrozenEncoder; own = FrozenEncoder.__init__;\n"
        "def small(self, *a, **k):\n    own(self, *a, **k); self.batch_size = 6\n"
        "FrozenEncoder.__init__ = small\n"
        "from noisylabels.cli import main; sys.exit(main(sys.argv[1:]))",
        *("embed", "photos", "--features", "slow.py:slow", "--out", "f.npz"),
    ]
    started = warm_process.WarmPopen(run, cwd=tmp_path, stderr=subprocess.DEVNULL)
    seen = tmp_path / "seen.txt"
    for _ in range(6000):
        if seen.exists() and len(seen.read_text().split()) >= 3:
            break
        time.sleep(0.02)
    started.send_signal(signal.SIGKILL)
    started.wait()
    first = len(seen.read_text().split())
    assert 3 <= first < 10
    assert warm_process.run(run, cwd=tmp_path).returncode == 0
    assert 10 <= len(seen.read_text().split()) <= 11  # at most the batch that was in work is computed again
    with np.load(tmp_path / "f.npz") as file:
        assert file["features"].shape == (60, 3)


STOPPING = """
import os
import signal
from pathlib import Path

def stopping(images):
    if len(images) > 2:
        Path("seen.txt").write_text(Path("seen.txt").read_text() + "batch\\n")
        if (stop := Path("stop.txt")).exists() and Path("seen.txt").read_text().count("batch") == 3:
            number = stop.read_text()
            stop.unlink()
            if number == "error":
                raise ValueError("no more")
            os.kill(os.getpid(), int(number))
    return images.float().mean((2, 3))
"""


@pytest.fixture
def stopping(folder, tmp_path, monkeypatch) -> Path:
    """An encoder of six images at a time that stops itself in the third batch, as `stop.txt` says."""
    from noisylabels.encoders.encoder import FrozenEncoder

    own = FrozenEncoder.__init__

    def small(self, *given, **named):
        own(self, *given, **named)
        self.batch_size = 6

    monkeypatch.setattr(FrozenEncoder, "__init__", small)
    (tmp_path / "stopping.py").write_text(STOPPING)
    (tmp_path / "seen.txt").write_text("")
    return tmp_path


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "words",
    [
        ["embed", "photos", "--out", "f.npz"],
        ["audit", "photos", "--classifier", "knn", "--out", "audit"],
        ["train", "--data", "photos", "--epochs", "1", "--model", "linear", "--loss", "ce", "--out", "run"],
        ["predict", "run", "new", "--out", "new.csv"],
    ],
    ids=lambda words: words[0],
)
def test_a_stopped_embedding_loses_nothing(stopping, folder, words, number, capsys):
    words = [*words, "--features", "stopping.py:stopping"]
    if words[0] == "predict":
        assert (
            main(["train", "--data", "photos", *words[-2:], "--epochs", "1", "--loss", "ce", "--out", "run"])
            == 0
        )
        for path in folder.rglob("*.png"):
            (stopping / "new").mkdir(exist_ok=True)
            pixels = 255 - np.asarray(Image.open(path))
            Image.fromarray(pixels).save(stopping / "new" / f"{path.parent.name}{path.name}")
        (stopping / "seen.txt").write_text("")
        capsys.readouterr()
    handler = signal.getsignal(number)
    (stopping / "stop.txt").write_text(str(int(number)))
    assert main(words) == 128 + number
    error = capsys.readouterr().err.splitlines()[-1]
    of = 48 if words[0] in ("embed", "train") else 60  # a part is held out
    assert error.startswith(f"noisylabels: stopped after 18 of {of} images were embedded; run the same")
    assert signal.getsignal(number) is handler
    assert main(words) == 0
    # of 10 batches, or of 8 and 2, none is computed again
    assert (stopping / "seen.txt").read_text().count("batch") == 10


def test_an_error_of_the_encoder_loses_only_its_batch(stopping, capsys):
    words = ["embed", "photos", "--out", "f.npz", "--features", "stopping.py:stopping"]
    (stopping / "stop.txt").write_text("error")
    assert main(words) == 2
    assert "no more" in capsys.readouterr().err
    assert main(words) == 0
    assert (stopping / "seen.txt").read_text().count("batch") == 3 + 8


def test_a_run_on_a_file_has_no_encoder_for_new_images(folder):
    from noisylabels.experiment import load_config, run
    from noisylabels.experiment.prediction import load_model

    nl.embed("photos", features="own.py:stripes", out="f.npz")
    for features, out in (("f.npz", "one"), ("own.py:stripes", "two")):
        run(load_config(data="photos", features=features, out=out, epochs=1, model="linear", loss="ce"))
    with pytest.raises(InputError, match="holds features of certain examples"):
        load_model(Path("one"))
    with pytest.raises(InputError, match="pass --features own"):
        load_model(Path("two"))
    assert load_model(Path("two"), features="own.py:stripes").frozen is not None
