"""Make the sound files that generators copy and damage: sets, runs, audits, a study, an encoder's folder."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

RECIPE = """data = "{data}"
features = "none"
epochs = {epochs}
model = "{model}"
width = 0.1
"""

STUDY = """title = "two losses"
[fixed]
data = "digits"
model = "mlp"
width = 0.1
epochs = 2
[axes]
loss = ["ce", "mae"]
seed = [1, 2]
"""


def make_bases(base: Path) -> None:
    """Fill the folder `base`; run in a process of its own, whose working directory and cache it sets."""
    base.mkdir(parents=True)
    os.chdir(base)
    os.environ["NOISYLABELS_CACHE"] = str(base / "cache")
    with open(base / "log.txt", "w") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        _sets(base)
        _runs(base)
        _audits()
        _study(base)
        _encoder(base)


def _sets(base: Path) -> None:
    import random

    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for k, name in enumerate(("cat", "dog")):
        (base / "photos" / name).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(100 * k, 100 * k + 100, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(base / "photos" / name / f"{i}.png")
    (base / "pixels.txt").write_text(pixels_of("photos"))
    draw = random.Random(0)
    lines = [
        f"{i},{draw.gauss(i % 2, 0.5):.3f},{draw.random():.3f},{('cat', 'dog')[i % 2]}" for i in range(40)
    ]
    (base / "table.csv").write_text("id,x0,x1,label\n" + "\n".join(lines) + "\n")


def command(*words: str) -> None:
    """Run a command, which must succeed."""
    from noisylabels.cli import main

    code = main(words)
    if code != 0:
        raise RuntimeError(f"{' '.join(words)} ended with exit code {code}")


def after(calls: int) -> Countdown:
    """Return a condition that holds from its so-many-th evaluation on."""
    return Countdown(calls)


class Countdown:
    """A condition that becomes true after a number of evaluations."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def __call__(self) -> bool:
        """Return whether the evaluations are used up."""
        self.left -= 1
        return self.left < 0


def _runs(base: Path) -> None:
    from noisylabels.core.interrupt import Interrupted
    from noisylabels.experiment import load_config, run

    recipes = {
        "photos": ("photos", 1, "small-cnn"),
        "table": ("table.csv", 2, "mlp"),
        "begun": ("digits", 3, "mlp"),
    }
    for name, (data, epochs, model) in recipes.items():
        path = base / f"run-{name}.toml"
        path.write_text(RECIPE.format(data=data, epochs=epochs, model=model))
        if name != "begun":
            command("train", str(path), "--out", f"run-{name}")
    with contextlib.suppress(Interrupted):
        run(load_config(str(base / "run-begun.toml"), out="run-begun"), stop=after(20))
    assert (base / "run-begun" / "checkpoint.pt").exists()


def _audits() -> None:
    from noisylabels.audit.running import audit_labels
    from noisylabels.core.interrupt import Interrupted

    common = ["--epochs", "1", "--features", "none", "--folds", "2"]
    command("audit", "table.csv", *common, "--out", "audit-table")
    command("audit", "photos", *common, "--out", "audit-photos")
    command("review", "audit-photos", "--export", "reviewed.csv")  # makes the store
    with contextlib.suppress(Interrupted):
        audit_labels("photos", out=Path("audit-begun"), stop=after(2), epochs=1, features="none", folds=2)
    _decide(Path("audit-photos/review.sqlite"))


def _decide(path: Path) -> None:
    """Add a few decisions to the store of a review, as its page would."""
    from noisylabels.audit.review.session import Session

    session = Session(path.parent, "somebody", False)
    for i, action in enumerate(("chosen", "keep", "discard")):
        session.decide(f"event{i}", i, action, 1 if action == "chosen" else None)
    session.store.close()


def _study(base: Path) -> None:
    import shutil

    from noisylabels.core.config import to_dict
    from noisylabels.study.grid import load_study
    from noisylabels.study.store import Store
    from noisylabels.study.worker import carry_out

    (base / "study.toml").write_text(STUDY)
    command("study", "run", "study.toml", "--jobs", "0", "--out", "study")
    command("study", "export", "study", "--file", "study.parquet")
    cell = load_study("study.toml").cells()[0]  # one cell becomes unfinished again
    folder = Store(base / "study").path(cell)
    shutil.rmtree(folder)
    carry_out(to_dict(cell.config) | {"out": str(folder.relative_to(base))}, after(15))
    assert (folder / "checkpoint.pt").exists()


def _encoder(base: Path) -> None:
    """Write a tiny image model of transformers, if that package is there, else an empty folder."""
    import json

    from campaign.tensors import CONFIG, PROCESSOR

    (base / "encoder").mkdir()
    try:
        from transformers import ViTConfig, ViTModel
    except ImportError:
        (base / "encoder" / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
        return
    ViTModel(ViTConfig(**CONFIG)).save_pretrained(base / "encoder")
    (base / "encoder" / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))


def pixels_of(folder: str) -> str:
    """Return a digest of the pixels and labels of a set of images as the package loads them."""
    import hashlib

    import noisylabels as nl

    train, test = nl.load(folder)
    content = b"".join(bytes(part.images.numpy()) + bytes(part.labels.numpy()) for part in (train, test))
    return hashlib.sha256(content).hexdigest()
