"""A run that is killed repeatedly ends like an uninterrupted one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from warm_process import WarmPopen

KILLS = 8
# What kills aim at, assigned round-robin and shuffled: the start of the program, some moment after so many
# checkpoints, and the moment in which the next checkpoint is being written.
AIMS = ("start", "training", "writing", "writing")
# An epoch is 45 steps; 6 ms are a few of them, so that most checkpoints lie within an epoch.
FLAGS = [
    *("digits", "--model", "small-cnn", "--width", "0.5", "--noise", "symmetric:0.3"),
    *("--loss", "nce+auto*mae"),  # a loss whose rule learns from the batches
    *("--epochs", "10", "--batch-size", "32", "--lr", "0.02", "--momentum", "0.9", "--ema", "0.99"),
    *("--augment", "crop:1", "--checkpoint-minutes", "0.0001", "--device", "cpu"),
    *("--record", "dynamics(stride=4,sharpness_epochs=5)"),
]


def environment(threads: int = 1) -> dict[str, str]:
    import noisylabels

    source = str(Path(noisylabels.__file__).parents[1])
    path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}


def start(out: Path, *more: str) -> subprocess.Popen[str]:
    return WarmPopen(
        ["-m", "noisylabels", "train", *FLAGS, *more, "--out", str(out)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(out: Path, *more: str) -> None:
    process = start(out, *more)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors


def stamp(path: Path) -> int:
    """Return a number that changes with every checkpoint."""
    return path.stat().st_ino ^ path.stat().st_mtime_ns if path.exists() else 0


def position(out: Path) -> tuple[int, int]:
    """Return how far the checkpoint is: epochs and steps done."""
    path = out / "checkpoint.pt"
    if not path.exists():
        return (0, 0)
    state = torch.load(path, weights_only=True)
    return (state["epoch"], state["done"])


def aim(process: subprocess.Popen[str], out: Path, what: str, chance: random.Random) -> None:
    """Wait for the moment in which to strike."""
    path = out / "checkpoint.pt"
    if what == "start":  # from the interpreter's start to the first checkpoint, at the latest
        before, end = stamp(path), time.monotonic() + chance.uniform(0, 3)
        while time.monotonic() < end and stamp(path) == before:
            time.sleep(0.0005)
        return
    for _ in range(chance.randint(1, 20)):
        before = stamp(path)
        while stamp(path) == before and process.poll() is None:
            time.sleep(0.0005)
    if what == "training":
        time.sleep(chance.uniform(0, 0.05))
        return
    before_writing = set(out.glob(".checkpoint.pt.*.tmp"))  # what earlier kills left
    while process.poll() is None and set(out.glob(".checkpoint.pt.*.tmp")) <= before_writing:
        pass


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if not k.endswith("_seconds")}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def assert_same_run(a: Path, b: Path) -> None:
    ours, theirs = load_file(a / "model.safetensors"), load_file(b / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
    rows = [[json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()] for run in (a, b)]
    assert without_times(rows[0]) == without_times(rows[1])
    results = [json.loads((run / "result.json").read_text()) for run in (a, b)]
    assert without_times(results[0]) == without_times(results[1])
    for name in ("labels.parquet", "dynamics.parquet", "dynamics-examples.parquet"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
    assert {file.name for file in a.iterdir()} == {file.name for file in b.iterdir()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(out)
    assert sorted(file.name for file in out.iterdir()) == [
        "config.json",
        "dynamics-examples.parquet",
        "dynamics.parquet",
        "environment.json",
        "history.jsonl",
        "labels.parquet",
        "model.safetensors",
        "result.json",
    ]
    return out


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_bit_for_bit_as_one_left_alone(
    undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    chance = random.Random(20)
    aims = [AIMS[i % len(AIMS)] for i in range(KILLS)]
    chance.shuffle(aims)
    positions, during, leftovers = [(0, 0)], 0, 0
    for what in aims:
        process = start(out)
        aim(process, out, what, chance)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "the run ended before it was killed"
        positions.append(position(out))
        during += positions[-1] > positions[-2]
        leftovers = len(list(out.glob(".*.tmp")))
    # It never went back: each start went on from the checkpoint that the last one left.
    assert positions == sorted(positions)
    # Most kills hit a run that was training, and most left it within an epoch.
    within = sum(done > 0 for _, done in positions)
    print(f"{KILLS} kills, {during} while training, {within} within an epoch, {leftovers} files half written")
    print("epochs and steps done:", positions)
    assert during >= KILLS // 2
    assert within >= KILLS // 4
    assert leftovers > 0  # some kills hit a write
    finish(out)
    assert_same_run(out, undisturbed)


@pytest.mark.slow
def test_a_signal_saves_first_and_the_same_command_goes_on(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    # no checkpoint by the clock and few by the epoch: what there is in the end the signal wrote
    rarely = ("--checkpoint-minutes", "60", "--checkpoint-epochs", "1000")
    process = start(out, *rarely)
    while not (out / "history.jsonl").exists() and process.poll() is None:
        time.sleep(0.001)
    assert not (out / "checkpoint.pt").exists()
    process.send_signal(signal.SIGTERM)
    printed, errors = process.communicate(timeout=600)
    assert process.returncode == 143, errors
    assert printed == ""
    first, line = errors.splitlines()
    assert first.startswith("training small-cnn on 1,438 examples in 10 classes of digits: 10 epochs on ")
    assert line.startswith("noisylabels: stopped in epoch ")
    assert position(out) > (0, 0)
    assert not (out / "result.json").exists()
    finish(out, *rarely)
    assert_same_run(out, undisturbed)
