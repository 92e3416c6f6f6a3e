"""Train by each method, whole, and killed by SIGKILL and resumed: a program for test_kill.py.

It imports once, and forks for every training, so that a kill costs no new start of Python.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch

import noisylabels as nl
from methods.conftest import EXPRESSIONS, ready
from noisylabels.core.rng import derive_seed
from noisylabels.data.images import image_set
from noisylabels.training import loop

KILLS = (2, 5, 1)
"""After how many checkpoints, of which each step writes one, a training is killed, start after start."""

N, K = 48, 3


def train(expression: str, folder: Path, kill_after: int = 0) -> None:
    """Train by a method, and perhaps kill this process right after a checkpoint."""
    save, left = loop.save_checkpoint, [kill_after]

    def save_and_die(*given, **options):
        save(*given, **options)
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    loop.save_checkpoint = save_and_die
    draw = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (N, 1, 4, 4), generator=draw, dtype=torch.uint8)
    labels = torch.randint(0, K, (N,), generator=draw)
    data = image_set(pixels, labels, [f"class {k}" for k in range(K)], name="tiny")
    # other weights at each start: only the checkpoint counts
    seed = derive_seed(0, str(folder), str(kill_after)) % 2**31 if (folder / "checkpoint.pt").exists() else 0
    spec = ready(expression, K, n=N)
    shape = {"channels": 1, "image_size": (4, 4), "num_classes": K}
    network = nl.build_model(spec.own_model or "mlp:8", seed=seed, **shape)
    more = {"epochs": 3, "batch_size": 14, "lr": 0.1, "validation": 0.1, "ema": 0.8, "augment": "crop:1"}
    how = {"folder": folder, "checkpoint_minutes": 1e-9, "device": "cpu", "seed": 3, **more}
    history = nl.fit(network, data, data, nl.loss(spec.own_loss or "nce+mae"), method=spec, **how)
    rows = [{k: v for k, v in row.items() if not k.endswith("_seconds")} for row in history.rows]
    weights = {name: value.tolist() for name, value in network.state_dict().items()}
    (folder / "end.json").write_text(json.dumps([rows, weights]))


def forked(call: Callable[[], None]) -> int:
    """Return the wait status of a process that makes a call."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        call()
        os._exit(0)
    finally:
        os._exit(1)


def main(folder: Path) -> None:
    """Print for each expression how often it was killed, and whether both trainings ended alike."""
    found = {}
    (folder / "first").mkdir()
    train("standard", folder / "first")  # imports what a training needs, once for all
    for number, expression in enumerate(each for group in EXPRESSIONS.values() for each in group):
        whole, killed = folder / f"{number}-whole", folder / f"{number}-killed"
        whole.mkdir()
        killed.mkdir()
        assert forked(lambda: train(expression, whole)) == 0  # noqa: B023  called in this round
        statuses = [forked(lambda: train(expression, killed, after)) for after in KILLS]  # noqa: B023
        (killed / "end.json").unlink(missing_ok=True)
        assert forked(lambda: train(expression, killed)) == 0  # noqa: B023
        kills = sum(os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL for status in statuses)
        same = (whole / "end.json").read_bytes() == (killed / "end.json").read_bytes()
        found[expression] = [kills, same]
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
