"""Compare what is trained by default with the best fixed loss, on photographs, digits, tables and texts.

    apt-get install dataset-fashion-mnist
    python benchmarks/bench_defaults.py
    python benchmarks/bench_defaults.py --cifar10 FOLDER --human cifar10n.parquet --features lite0.npz

One row of the file --rows is one training: data set, noise, epochs, loss and seed, with the validation
accuracy (on given, noisy labels) and the test accuracy (on clean labels) of every epoch, so that rules that
choose a loss or an epoch can be compared on the same rows. Images are trained from their pixels by `nl.fit`
with small-cnn; tables, features and texts by `noisylabels train` and by NoisyLabelClassifier.

`default` is what is used where no loss is named. The regret of a way to train is, per seed, the test accuracy
of the fixed loss that is best on the other seeds, minus its own. Repeat the command to resume. Writes
default-loss.json and .md into results/benchmarks.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from bench_tables import SETS, corrupted
from bench_texts import Options as TextOptions
from bench_texts import subject
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import noisylabels as nl
from noisylabels.bench.machine import keep, load, processor
from noisylabels.core.rng import uniforms
from noisylabels.data.catalog import default_augment
from noisylabels.data.images import ImageSet, subset
from noisylabels.experiment import choose, run
from noisylabels.experiment.auto_loss import number_of_steps
from noisylabels.study.statistics import summarize
from noisylabels.training.settings import Settings

FIXED = ("ce", "gce", "nce+agce@cifar10", "4*gce")
"""Losses of images among which the best fixed one is sought."""

OF_TABLES = ("ce", "gce")

DEFAULT = "default"

ONE = "one network"
"""A run on a table that compares nothing: its model and its loss are named."""

FORMER, FORMER_OF_TABLES = "nce+agce@cifar10", "former"
"""The former default for images of few classes, and in rows of `train` on tables that are of a version which
compared candidates by the likelihood of the given labels alone, with one training per candidate and fold."""

HUMAN = "human"
TABLES = ("iris", "wine", "breast_cancer", "quantiles", "hard")
NOISES = ("none", "symmetric:0.2", "symmetric:0.4", "asymmetric:0.3", HUMAN)
KEYS = ("set", "noise", "epochs", "loss", "seed")

IMAGES: dict[str, dict[str, Any]] = {
    "photographs": {"train": 2400, "test": 1000, "width": 0.5},
    "fashion-mnist": {"train": 6000, "test": 1000, "width": 0.5},
    "digits": {"train": 1438, "test": 359, "width": 1.0},
    "few-digits": {"train": 150, "test": 359, "width": 1.0},
}
"""Sets of images: how many are drawn per seed, and the width of small-cnn."""

SETTINGS: dict[str, Any] = {"validation": 0.1}
"""Settings of the networks of images that are not at their defaults."""


@dataclass
class Options:
    """Choose what to measure and where the results go."""

    out: Path = Path("results/benchmarks")
    """folder for the results"""
    rows: Path = Path("runs/defaults.jsonl")
    """file of the finished trainings"""
    sets: tuple[str, ...] = ("digits", *TABLES, "docstrings")
    """data sets: photographs, fashion-mnist, digits, few-digits, features, docstrings, or a table of
    bench_tables.py"""
    noises: tuple[str, ...] = NOISES
    """kinds of label noise; human only for photographs and features"""
    epochs: tuple[int, ...] = (30,)
    """epochs of the networks of images"""
    ways: tuple[str, ...] = ()
    """losses, or default; of tables with the tool, such as "train: ce" (default: all that apply)"""
    seeds: tuple[int, ...] = (1, 2, 3)
    """seeds of the draw, the noise and the weights"""
    cifar10: Path | None = None
    """CIFAR-10 in a form that `noisylabels train --data` reads: the photographs"""
    human: Path | None = None
    """CIFAR-10N as its authors publish it, or as Parquet"""
    column: str = "random_label1"
    """label set of the human annotations"""
    fashion: Path = Path("/usr/share/datasets/fashion-mnist")
    """folder of Fashion-MNIST's official files"""
    features: Path | None = None
    """file with x_train, y_train, x_test and y_test: an encoder's features of the photographs, in order"""
    only_done: bool = False
    """write the results of the finished trainings, without more"""


def ways_of(name: str) -> list[str]:
    """Return the ways to train a set that are measured by default."""
    if name in IMAGES:
        return [*FIXED, DEFAULT]
    ways = [f"{tool}: {loss}" for tool in ("train", "estimator") for loss in (*OF_TABLES, DEFAULT)]
    return [*ways, f"train: {ONE}"]


def wanted(options: Options) -> Iterator[tuple[str, str, int, str, int]]:
    """Yield the keys of the trainings that the options ask for."""
    for seed in options.seeds:
        for name in options.sets:
            for noise in options.noises:
                if noise == HUMAN and name not in ("photographs", "features"):
                    continue
                for epochs in options.epochs if name in IMAGES else (0,):
                    for way in options.ways or ways_of(name):
                        yield name, noise, epochs, way, seed


class Images:
    """The sets of images, each read once."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.read: dict[str, tuple[ImageSet, ImageSet]] = {}

    def part(self, name: str, noise: str, seed: int) -> tuple[ImageSet, ImageSet, Any]:
        """Return the training images of a seed with their noisy labels, and its test images."""
        if name not in self.read:
            self.read[name] = self._load(name)
        sizes = IMAGES[name]
        train, test = (
            subset(one, np.sort(np.argsort(uniforms(len(one), seed, "benchmark", k))[: sizes[k]]))
            for one, k in zip(self.read[name], ("train", "test"), strict=True)
        )
        spec = f"human:{self.options.human}@{self.options.column}" if noise == HUMAN else noise
        if noise == HUMAN:  # one label per image of the whole set
            whole = self.read[name][0]
            names = {"class_names": whole.class_names, "ids": whole.ids}
            given = nl.corrupt(whole.labels, spec, **names).given
            at = np.sort(np.argsort(uniforms(len(whole), seed, "benchmark", "train"))[: sizes["train"]])
            return dataclasses.replace(train, labels=torch.from_numpy(given[at])), test, None
        return train, test, nl.corrupt(train.labels, spec, class_names=train.class_names, seed=seed)

    def _load(self, name: str) -> tuple[ImageSet, ImageSet]:
        if name == "photographs":
            if self.options.cifar10 is None:
                raise nl.InputError("the set photographs needs --cifar10 FOLDER")
            return nl.load(str(self.options.cifar10))
        return nl.load(str(self.options.fashion) if name == "fashion-mnist" else "digits")


def of_images(images: Images, name: str, noise: str, epochs: int, way: str, seed: int) -> dict[str, Any]:
    """Train a network on images, and return its accuracies per epoch."""
    train, test, labels = images.part(name, noise, seed)
    model = nl.build_model(
        "small-cnn",
        channels=train.inputs.shape[1],
        image_size=tuple(train.inputs.shape[2:]),
        num_classes=train.num_classes,
        width=IMAGES[name]["width"],
        seed=seed,
    )
    history = nl.fit(
        model,
        train,
        test,
        nl.loss(way),
        labels=labels,
        **SETTINGS,
        epochs=epochs,
        seed=seed,
        augment=default_augment(name, train),
        device="cpu",
    )
    return {
        "accuracy": history.final["test_accuracy"],
        "validation": [round(value, 4) for value in history.column("validation_accuracy")],
        "test": [round(value, 4) for value in history.column("test_accuracy")],
        "dead": len(history.final["dead_classes"]),
        "n": len(train),
    }


def chosen_loss(images: Images, name: str, noise: str, epochs: int, seed: int) -> str:
    """Return the loss that a run on images chooses if none is named."""
    train, _, labels = images.part(name, noise, seed)
    steps = number_of_steps(Settings(epochs=epochs, **SETTINGS), len(train))
    return choose(train, steps, None if labels is None else labels.given, seed).loss


def table_of(name: str, noise: str, seed: int, options: Options) -> tuple[np.ndarray, ...]:
    """Return standardized training rows, their noisy labels, test rows and their clean labels."""
    if name == "docstrings":
        found = subject(name, "tfidf", noise, seed, TextOptions(examples=1000))
        return (
            found.train.features.numpy(),
            found.given,
            found.test.features.numpy(),
            found.test.labels.numpy(),
        )
    if name != "features":
        rows, labels = SETS[name](seed)
        labels = np.unique(labels, return_inverse=True)[1]
        train, test, given, true = train_test_split(
            rows, labels, test_size=0.3, stratify=labels, random_state=seed
        )
        scaler = StandardScaler().fit(train)
        train = scaler.transform(train)
        return train, corrupted(train, given, noise, seed), scaler.transform(test), true
    if options.features is None:
        raise nl.InputError("the set features needs --features FILE.npz")
    with np.load(options.features) as arrays:
        parts = {key: arrays[key] for key in ("x_train", "y_train", "x_test", "y_test")}
    at, to = (
        np.sort(np.argsort(uniforms(len(parts[f"y_{k}"]), seed, "benchmark", k))[:count])
        for k, count in (("train", 2400), ("test", 5000))
    )
    train, true = parts["x_train"][at], parts["y_train"].astype(np.int64)
    if noise == HUMAN:
        spec = f"human:{options.human}@{options.column}"
        given = nl.corrupt(true, spec, num_classes=10).given[at]
    else:
        given = corrupted(train, true[at], noise, seed)
    return train, given, parts["x_test"][to], parts["y_test"][to].astype(np.int64)


def of_table(name: str, noise: str, way: str, seed: int, options: Options) -> dict[str, Any]:
    """Train on rows by a tool, and return its accuracy."""
    rows, given, test, true = table_of(name, noise, seed, options)
    tool, _, loss = way.partition(": ")
    loss = "auto" if loss == "default" else loss
    named = {"loss": "gce", "model": "mlp@dropout"} if loss == ONE else {"loss": loss}
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optimizers that have not converged
        if tool == "estimator":
            model = nl.NoisyLabelClassifier(loss, random_state=seed).fit(rows, given)
            seconds, chosen = time.process_time() - began, f"{model.model_} {model.loss_}"
            accuracy = float((model.predict(test) == true).mean())
        else:
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "rows.npz"
                np.savez(file, x_train=rows, y_train=given, x_test=test, y_test=true)
                config = nl.load_config(
                    None, data=str(file), seed=seed, **named, device="cpu", out=str(Path(folder) / "run")
                )
                result = run(config)
            seconds, chosen = time.process_time() - began, f"{result.model} {result.loss}"
            accuracy = float((result.kept or result.final or {})["test_accuracy"])
    return {"accuracy": accuracy, "n": len(rows), "chosen": chosen, "cpu_seconds": seconds}


def measure(options: Options) -> list[dict[str, Any]]:
    """Return one row per training, from the file where it has them."""
    options.rows.parent.mkdir(parents=True, exist_ok=True)
    lines = options.rows.read_text().splitlines() if options.rows.exists() else []
    rows = [json.loads(line) for line in lines]
    there = {tuple(row[key] for key in KEYS) for row in rows}
    images = Images(options)
    for key in () if options.only_done else wanted(options):
        if key in there:
            continue
        name, noise, epochs, way, seed = key
        began, chosen = time.process_time(), {}
        if name in IMAGES and way == DEFAULT:
            way = chosen_loss(images, name, noise, epochs, seed)
            chosen = {"chosen": way, "choice_seconds": time.process_time() - began}
        same = [row for row in rows if [row[k] for k in KEYS] == [name, noise, epochs, way, seed]]
        if same:  # the loss by its name, and chosen: the same training
            found = {k: v for k, v in same[0].items() if k not in (*KEYS, "load")}
        elif name in IMAGES:
            found = of_images(images, name, noise, epochs, way, seed)
        else:
            found = of_table(name, noise, way, seed, options)
        row = (
            dict(zip(KEYS, key, strict=True)) | {"cpu_seconds": time.process_time() - began} | found | chosen
        )
        rows.append(row | {"load": load()})
        with options.rows.open("a") as file:
            file.write(json.dumps(rows[-1]) + "\n")
        print(*key, f"{100 * row['accuracy']:.1f} %, {row['cpu_seconds']:.0f} s", flush=True)
    return rows


def regrets(cell: dict[str, dict[int, float]], way: str, fixed: list[str]) -> dict[int, float]:
    """Return the regret of a way per seed: the best loss of the other seeds, minus its own, in points.

    With one seed, the best loss is that of this seed, so that the regret is at least its true size.
    """
    found = {}
    for seed, own in cell.get(way, {}).items():
        shared = [loss for loss in fixed if seed in cell.get(loss, {})]
        others = {
            loss: [value for other, value in cell[loss].items() if other != seed] or [cell[loss][seed]]
            for loss in shared
        }
        if shared:
            best = max(shared, key=lambda loss: float(np.mean(others[loss])))
            found[seed] = 100 * (cell[best][seed] - own)
    return found


def in_words(values: dict[int, float]) -> str:
    """Return mean and 95 % interval of the regrets of a cell."""
    if not values:
        return ""
    found = summarize(list(values.values()))
    return (
        f"{found.mean:.1f}"
        if found.low is None
        else f"{found.mean:.1f} ({found.low:.1f} to {found.high:.1f})"
    )


def about(cells: dict[str, dict[int, float]], who: str) -> str:
    """Return the mean regret over cells, and which cells are beyond 3 points, in words."""
    found = {key: summarize(list(values.values())) for key, values in cells.items() if values}
    if not found:
        return ""
    beyond = [key for key, one in found.items() if one.low is not None and one.low > 3]
    largest = max(found, key=lambda key: found[key].mean)
    return (
        f"{who}: mean regret {np.mean([one.mean for one in found.values()]):.1f} points over {len(found)} "
        f"cells, largest {found[largest].mean:.1f} ({largest}); cells whose interval lies beyond 3: "
        f"{', '.join(beyond) or 'none'}."
    )


def cost(rows: list[dict[str, Any]]) -> str:
    """Return the CPU seconds of `train` on tables beside those of a run with a named loss, in words."""
    seconds: dict[str, dict[tuple[Any, ...], float]] = {}
    for row in rows:
        tool, _, loss = row["loss"].rpartition(": ")
        if tool == "train" and row["set"] in TABLES:
            seconds.setdefault(loss, {})[row["set"], row["noise"], row["seed"]] = row["cpu_seconds"]
    words = []
    for other, what in (
        ("ce", "a run with `--loss ce`"),
        (ONE, "a run with `--loss gce --model mlp@dropout`, which compares nothing"),
        (FORMER_OF_TABLES, "the former default"),
    ):
        if shared := seconds.get(DEFAULT, {}).keys() & seconds.get(other, {}).keys():
            sums = [sum(seconds[loss][key] for key in shared) for loss in (DEFAULT, other)]
            words.append(
                f"{sums[0] / len(shared):.2f} CPU seconds, {sums[0] / sums[1]:.2f} times {what} "
                f"({len(shared)} pairs)"
            )
    return f"Cost of the default of `train` on the five tables, means: {'; '.join(words)}." if words else ""


def table(rows: list[dict[str, Any]]) -> str:
    """Return the results as Markdown."""
    cells: dict[tuple[str, str, int, str], dict[str, dict[int, float]]] = {}
    for row in rows:
        tool, _, loss = row["loss"].rpartition(": ")
        cell = cells.setdefault((row["set"], row["noise"], row["epochs"], tool or "fit"), {})
        cell.setdefault(loss, {})[row["seed"]] = row["accuracy"]
    fixed = list(FIXED)
    lines = [
        "| set | noise | epochs | tool | seeds | " + " | ".join(f"`{one}`" for one in fixed) + " | default "
        "| regret of the default | of the former default |",
        "|---|---|---:|---|---:|" + "---:|" * (len(fixed) + 3),
    ]
    ours: dict[str, dict[str, dict[int, float]]] = {}
    for (name, noise, epochs, tool), cell in sorted(cells.items()):
        if DEFAULT not in cell:
            continue
        mine = regrets(cell, DEFAULT, fixed)
        former = regrets(cell, FORMER if name in IMAGES else FORMER_OF_TABLES, fixed)
        key = f"{name}, {noise}" + (f", {epochs} epochs" if epochs else "")
        for who, values in ((f"Default of {tool}", mine), (f"Former default of {tool}", former)):
            ours.setdefault(who, {})[key] = values
        means = [
            f"{100 * np.mean(list(cell[k].values())):.1f}" if k in cell else "" for k in (*fixed, DEFAULT)
        ]
        start = f"| {name} | {noise} | {epochs or ''} | {tool} | {len(cell[DEFAULT])} | "
        lines.append(start + " | ".join([*means, in_words(mine), in_words(former)]) + " |")
    for who, values in ours.items():
        lines += ["", found] if (found := about(values, who)) else []
    lines += ["", found] if (found := cost(rows)) else []
    dead = {
        loss: [row["dead"] for row in rows if row["loss"] == loss and row["set"] in IMAGES] for loss in FIXED
    }
    lines += [
        "",
        "Runs on images that ended with dead classes: "
        + "; ".join(
            f"`{loss}` {sum(map(bool, found))} of {len(found)}" for loss, found in dead.items() if found
        )
        + ".",
    ]
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    torch.set_num_threads(1)
    rows = measure(options)
    result = {"processor": processor(), "torch": torch.__version__, "load": load(), "rows": rows}
    keep(options.out, "default-loss", result, table(rows))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
