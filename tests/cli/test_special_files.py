"""Named pipes and endless links wherever a verb reads a path: one line and exit code 2, never a hang."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import noisylabels
from noisylabels.cli import main

SET = ["--data", "set.npz", "--epochs", "1", "--model", "mlp:4", "--device", "cpu"]
RUN = ["train", *SET, "--out", "run"]
AUDIT = ["audit", "set.npz", "--epochs", "1", "--folds", "2", "--model", "mlp:4", "--device", "cpu"]

VERBS: dict[str, tuple[str, list[str]]] = {
    "recipe": ("a.toml", ["train", "a.toml", "--out", "o"]),
    "table": ("a.csv", ["train", "--data", "a.csv", "--out", "o"]),
    "archive": ("a.npz", ["train", "--data", "a.npz", "--out", "o"]),
    "Parquet": ("a.parquet", ["noise", "symmetric:0.2", "--data", "a.parquet"]),
    "folder of arrays": ("d/x_train.npy", ["noise", "symmetric:0.2", "--data", "d"]),
    "IDX": ("d/train-images-idx3-ubyte", ["noise", "symmetric:0.2", "--data", "d"]),
    "label file": ("a.csv", ["train", *SET, "--noise", "labels:a.csv", "--out", "o"]),
    "matrix": ("a.csv", ["train", *SET, "--noise", "matrix:a.csv", "--out", "o"]),
    "human annotations": ("a.pt", ["train", *SET, "--noise", "human:a.pt", "--out", "o"]),
    "features": ("a.npz", ["train", *SET, "--features", "a.npz", "--out", "o"]),
    "encoder": ("e/config.json", ["train", *SET, "--features", "hf:e", "--out", "o"]),
    "loss": ("a.py", ["train", *SET, "--loss", "a.py:f", "--out", "o"]),
    "model": ("a.py", ["train", "--data", "set.npz", "--model", "a.py:f", "--out", "o"]),
    "configuration of a run": ("run/config.json", RUN),
    "environment of a run": ("run/environment.json", RUN),
    "result of a run": ("run/result.json", RUN),
    "probabilities": ("a.csv", [*AUDIT, "--probs", "a.csv", "--out", "o"]),
    "probabilities in npy": ("a.npy", [*AUDIT, "--probs", "a.npy", "--out", "o"]),
    "trusted examples": ("a.csv", [*AUDIT, "--trusted", "a.csv", "--out", "o"]),
    "settings of an audit": ("audit/settings.json", [*AUDIT, "--out", "audit"]),
    "audit": ("audit/audit.json", ["review", "audit", "--export", "o.csv"]),
    "labels of an audit": ("audit/labels.parquet", ["review", "audit", "--export", "o.csv"]),
    "probabilities of an audit": ("audit/probs.parquet", ["review", "audit", "--export", "o.csv"]),
    "decisions": ("audit/review.sqlite", ["review", "audit", "--export", "o.csv"]),
    "weights": ("run/model.safetensors", ["predict", "run", "0.png"]),
    "image to predict": ("a.png", ["predict", "run", "a.png"]),
    "study": ("a.toml", ["study", "run", "a.toml", "--out", "o"]),
    "exported study": ("a.parquet", ["report", "a.parquet", "--out", "o"]),
    "claims": ("a.py", ["report", "runs", "--claims", "a.py", "--out", "o"]),
    "cells of a study": ("o/study.json", ["study", "status", "o"]),
    "embeddings of": ("a.csv", ["embed", "a.csv", "--out", "o.npz"]),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A folder with a set, a run and an audit."""
    place = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2
    images = rng.integers(0, 100, (24, 1, 8, 8)) + 100 * labels[:, None, None, None]
    np.savez(place / "set.npz", images=images.astype(np.uint8), labels=labels)
    Image.fromarray(images[0, 0].astype(np.uint8)).save(place / "0.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert main(RUN) == 0
        assert main([*AUDIT, "--out", "audit"]) == 0
    return place


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def a_loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize("make", [a_pipe, endless, a_loop], ids=lambda make: make.__name__)
@pytest.mark.parametrize("verb", VERBS)
def test_one_line_and_no_hang(verb, make: Callable[[Path], None], made, tmp_path, monkeypatch, capsys):
    import shutil

    name, words = VERBS[verb]
    place = tmp_path / "here"
    shutil.copytree(made, place)
    if verb == "configuration of a run":
        assert (place / name).exists()
    (place / name).parent.mkdir(exist_ok=True)
    (place / name).unlink(missing_ok=True)
    make(place / name)
    monkeypatch.chdir(place)

    def ring(*_: Any) -> None:
        raise AssertionError("it waits")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(60)
    try:
        code = main(words)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "waits" not in said
    if (verb, make) in (("result of a run", a_loop), ("decisions", a_loop)):
        assert code in (0, 2)  # as if there were none
        return
    assert code == 2, said
    assert said.startswith("noisylabels: ")
    assert "internal error" not in said
    assert os.path.lexists(place / name)


SPECIAL_STREAMS = {
    "process substitution": 'exec "$0" -m noisylabels train <(echo "epochs = 1") --out o',
    "standard input": 'echo "epochs = 1" | "$0" -m noisylabels train /dev/stdin --out o',
    "table": 'echo "a,label" | "$0" -m noisylabels train --data /dev/stdin --out o',
}


@pytest.mark.parametrize("line", SPECIAL_STREAMS.values(), ids=SPECIAL_STREAMS)
def test_pipes_that_people_name_are_refused_with_advice(line, tmp_path):
    """Data are read more than once; a pipe can be read only once."""
    env = os.environ | {"PYTHONPATH": str(Path(noisylabels.__file__).parents[1])}
    done = subprocess.run(
        ["bash", "-c", line, sys.executable],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "save its output to a file first" in done.stderr


CLOSED = {
    "no output": ">&-",
    "no error": "2>&-",
    "nothing": "<&- >&- 2>&-",
    "a reader that has ended": "| true; exit ${PIPESTATUS[0]}",
}


@pytest.mark.parametrize("words", ["list losses", "--help", "noise symmetric:0.2 --data set.npz"])
@pytest.mark.parametrize("how", CLOSED)
def test_closed_streams(how, words, made):
    env = os.environ | {"PYTHONPATH": str(Path(noisylabels.__file__).parents[1])}
    line = f'"$0" -m noisylabels {words} {CLOSED[how]}'
    done = subprocess.run(
        ["bash", "-c", line, sys.executable], cwd=made, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device without space")
@pytest.mark.parametrize("words", ["list losses", "noise symmetric:0.2 --data set.npz"])
def test_a_full_output(words, made):
    env = os.environ | {"PYTHONPATH": str(Path(noisylabels.__file__).parents[1])}
    done = subprocess.run(
        ["bash", "-c", f'"$0" -m noisylabels {words} > /dev/full', sys.executable],
        cwd=made,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, "noisylabels: No space left on device")
    assert "Traceback" not in done.stderr
