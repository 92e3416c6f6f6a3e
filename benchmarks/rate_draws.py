"""The draws of bench_rates.py: sets with known noise, and what models predict for them.

- photos: features of an encoder; 500 to 5,000 of 2, 3, 5 or 10 classes;
- weak: 40 of these columns, so that the models err often;
- small: 100 to 200 of them, or of Fashion-MNIST;
- fine: 20 to 100 classes, clusters of half of the columns; the models see the other half;
- fashion: features of Fashion-MNIST;
- texts: fortunes and docstrings (bench_texts.py), by a sentence encoder and by TF-IDF;
- table: digits, wine and breast cancer;
- synthetic: Gaussian classes, up to 100;
- strong: probabilities of models that learned from other, right labels: those published for the test sets of
  CIFAR-10, MNIST and 20 Newsgroups, and a logistic regression of 20,000 other photographs;
- pixels: photographs from pixels.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bench_texts
import numpy as np
import torch

import noisylabels as nl
from noisylabels.audit.cross_validation import OutOfFold, cross_validate
from noisylabels.data.features import feature_set
from noisylabels.data.images import image_set
from noisylabels.encoders.embedding import embed_sets
from noisylabels.noise.noise_rate import GIVEN, JUDGES, NETWORK

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
HUMAN = {"aggre": "aggre_label", "worse": "worse_label", "random1": "random_label1"}
PIXELS = ("human:random1", "human:aggre", "human:worse", "none", "symmetric:0.2", "asymmetric:0.3")
PIXELS += ("instance:0.15", "symmetric:0.4", "human:random1", "symmetric:0.05", "human:worse", "human:aggre")
PIXELS += ("none", "instance:0.3", "asymmetric:0.15", "human:random1")
PUBLISHED = ("cifar10", "mnist", "20news")
EMBEDDED = ("photos", "weak", "small", "fine", "fashion", "texts")
"""Families whose inputs are features of an encoder."""
LEARNED = 20_000
"""Photographs by whose true labels the logistic regression of "strong" learns; the draws have others."""


@dataclass(frozen=True)
class Files:
    """Where the data are."""

    photos: Path
    human: Path
    fashion: Path | None
    pixels: Path | None
    published: Path | None

    def has(self, family: str) -> bool:
        """Return whether the files of a family of draws are there."""
        needs = {"fashion": self.fashion, "pixels": self.pixels, "strong": self.published}
        return needs.get(family, self.photos) is not None


@dataclass(frozen=True)
class Subject:
    """A set with its given labels; `rows` are those of the photographs, `probs` given probabilities."""

    inputs: np.ndarray
    given: np.ndarray
    true: np.ndarray
    num_classes: int
    noise: str
    probs: np.ndarray | None = None


class Sources:
    """The data, read when they are first used."""

    def __init__(self, files: Files) -> None:
        self.files, self._read = files, {}

    def table(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs (of published sets: probabilities) and true labels."""
        if name not in self._read:
            self._read[name] = self._load(name)
        return self._read[name]

    def _load(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        if name in ("photos", "fashion"):
            with np.load(self.files.photos if name == "photos" else self.files.fashion) as file:
                return file["x_train"].astype(np.float32), file["y_train"].astype(np.int64)
        if name in PUBLISHED:
            with np.load(self.files.published / f"{name}.npz") as file:
                probs = file["probs"].astype(np.float64)
                return probs / probs.sum(axis=1, keepdims=True), file["labels"].astype(np.int64)
        if name in ("digits", "wine", "breast_cancer"):
            import sklearn.datasets

            X, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
            return ((X - X.mean(0)) / (X.std(0) + 1e-9)).astype(np.float32), y.astype(np.int64)
        corpus, encoder = name.split("-")
        texts, y, names = bench_texts.corpus(corpus, bench_texts.Options())
        whole = feature_set(torch.zeros(len(y), 0), y, names, texts=list(texts))
        return embed_sets([whole], encoder)[0].inputs.numpy(), y

    def human(self, name: str) -> np.ndarray:
        """Return the human labels of all photographs."""
        import pyarrow.parquet as pq

        if name not in self._read:
            column = pq.read_table(self.files.human, columns=[HUMAN[name]])[HUMAN[name]]
            self._read[name] = (np.asarray(column).astype(np.int64), np.empty(0))
        return self._read[name][0]

    def pictures(self, rows: np.ndarray) -> np.ndarray:
        """Return photographs, uint8 (N, 3, H, W)."""
        import pyarrow.parquet as pq
        from PIL import Image

        column = pq.read_table(self.files.pixels).column(0)
        made = [Image.open(io.BytesIO(column[int(row)].as_py()["bytes"])).convert("RGB") for row in rows]
        return np.stack([np.asarray(image).transpose(2, 0, 1) for image in made])

    def learned(self, rows: np.ndarray) -> np.ndarray:
        """Return the probabilities of photographs beyond the first `LEARNED`, (N, 10) float64."""
        if "learned" not in self._read:
            from sklearn.linear_model import LogisticRegression

            X, y = self.table("photos")
            mean, std = X[:LEARNED].mean(0), X[:LEARNED].std(0) + 1e-6
            made = LogisticRegression(C=0.003, max_iter=60)
            made.fit((X[:LEARNED] - mean) / std, y[:LEARNED])
            self._read["learned"] = made.predict_proba((X - mean) / std), y
        return self._read["learned"][0][rows]


def subject(family: str, number: int, draws: int, sources: Sources) -> Subject | None:
    """Return a draw; None if all its labels are one class."""
    if family == "pixels":
        return _pixels(number, draws, sources)
    rng = np.random.default_rng([draws, sum(map(ord, family)), number])
    rows, classes, probs = None, np.arange(10), None
    if family in ("photos", "weak", "fashion"):
        X, y = sources.table("fashion" if family == "fashion" else "photos")
        n, K = int(rng.choice([500, 1000, 2500, 2500, 5000])), int(rng.choice([10, 10, 10, 2, 3, 5]))
        classes = np.sort(rng.permutation(10)[:K])
        rows = np.sort(rng.permutation(np.flatnonzero(np.isin(y, classes)))[:n])
        X, y = X[rows], np.searchsorted(classes, y[rows])
        if family == "weak":
            X = X[:, rng.permutation(X.shape[1])[:40]]
    elif family == "small":
        X, y = sources.table(str(rng.choice(["photos", "photos", "fashion"])))
        n, K = int(rng.integers(100, 201)), int(rng.choice([2, 3, 5]))
        of_photos = len(y) == len(sources.table("photos")[1])
        classes = np.sort(rng.permutation(10)[:K])
        rows = np.sort(rng.permutation(np.flatnonzero(np.isin(y, classes)))[:n])
        X, y = X[rows], np.searchsorted(classes, y[rows])
        rows = rows if of_photos else None
    elif family == "fine":
        X, y, K = _fine(rng, sources)
    elif family == "texts":
        names = ["fortunes-tfidf", "fortunes-minilm", "docstrings-tfidf", "docstrings-minilm"]
        X, y = sources.table(str(rng.choice(names)))
        K = int(y.max()) + 1
        some = np.sort(rng.permutation(len(y))[: int(rng.choice([1000, 2500]))])
        X, y = X[some], y[some]
    elif family == "table":
        X, y = sources.table(str(rng.choice(["digits", "digits", "wine", "breast_cancer"])))
        K = int(y.max()) + 1
    elif family == "strong":
        name = str(rng.choice([*PUBLISHED, "learned", "learned", "learned"]))
        n = int(rng.choice([500, 1000, 2500, 5000]))
        if name == "learned":
            X, y = sources.table("photos")
            rows = np.sort(LEARNED + rng.permutation(len(y) - LEARNED)[:n])
            probs, X, y = sources.learned(rows), X[rows], y[rows]
        else:
            probs, y = sources.table(name)
            some = np.sort(rng.permutation(len(y))[:n])
            probs, y = probs[some], y[some]
            X = np.log(probs + 1e-4).astype(np.float32)
        K = probs.shape[1]
    else:
        K = int(rng.choice([2, 5, 10, 30, 100]))
        n = max(1000, 20 * K)
        centers, scale = rng.normal(size=(K, 20)), rng.uniform(0.4, 1.5)
        y = rng.integers(0, K, n)
        X = (centers[y] + scale * rng.normal(size=(n, 20))).astype(np.float32)
    kinds = ["none", "symmetric", "symmetric", "asymmetric", "instance"]
    kinds += ["human"] * 3 if rows is not None and family != "fashion" else []
    kind, seed = str(rng.choice(kinds)), int(rng.integers(1, 10**6))
    if kind == "none":
        given, noise = y.copy(), "none"
    elif kind == "human":
        name = str(rng.choice(["aggre", "worse", "random1"]))
        noise, human = f"human:{name}", sources.human(name)[rows]
        inside = np.isin(human, classes)
        X, y, given = X[inside], y[inside], np.searchsorted(classes, human[inside])
        probs = None if probs is None else probs[inside]
    else:
        most = {"symmetric": 0.6 if K > 2 else 0.45}.get(kind, 0.4)
        noise = f"{kind}:{float(rng.uniform(0.02, most)):.3f}"
        how: dict[str, Any] = {"images": torch.from_numpy(X)} if kind == "instance" else {}
        if kind == "asymmetric":
            order = rng.permutation(K)
            pairs = range(max(2, K // 2) if K > 2 else 2)
            how = {"pairs": {int(order[k]): int(order[(k + 1) % K]) for k in pairs}}
        given = nl.corrupt(y, noise, seed=seed, num_classes=K, **how).given
    given = np.asarray(given)
    if len(np.unique(given)) < 2:
        return None
    return Subject(X, given, y, K, noise, probs)


def _fine(rng: np.random.Generator, sources: Sources) -> tuple[np.ndarray, np.ndarray, int]:
    """Return features and classes that are clusters, found by half of the columns, of each true class."""
    from sklearn.cluster import KMeans

    X, y = sources.table(str(rng.choice(["photos", "photos", "fashion"])))
    some = np.sort(rng.permutation(len(y))[: int(rng.choice([2500, 5000]))])
    X, y, parts = X[some], y[some], int(rng.choice([2, 3, 5, 10]))
    columns = rng.permutation(X.shape[1])
    first, second = columns[: len(columns) // 2], columns[len(columns) // 2 :]
    made = np.empty(len(y), np.int64)
    for k in range(10):
        mine = np.flatnonzero(y == k)
        found = KMeans(parts, n_init=1, max_iter=20, random_state=int(rng.integers(2**31)))
        made[mine] = k * parts + found.fit_predict(X[mine][:, first])
    return X[:, second], made, 10 * parts


def _pixels(number: int, draws: int, sources: Sources) -> Subject:
    noise, rng = PIXELS[number % len(PIXELS)], np.random.default_rng([draws, 77, number])
    rows = np.sort(rng.permutation(50_000)[: (2500, 1500)[number % 2]])
    X, y = sources.pictures(rows), sources.table("photos")[1][rows]
    if noise.startswith("human"):
        given = sources.human(noise.partition(":")[2])[rows]
    else:
        how: dict[str, Any] = {}
        if noise.startswith("asymmetric"):
            how = {"class_names": CLASSES}
        elif noise.startswith("instance"):
            how = {"images": torch.from_numpy(X.reshape(len(X), -1).astype(np.float32) / 255)}
        spec = f"{noise}@cifar10" if noise.startswith("asymmetric") else noise
        given = y if noise == "none" else nl.corrupt(y, spec, seed=number + 1, num_classes=10, **how).given
    return Subject(X, np.asarray(given), y, 10, noise)


def predictions(family: str, found: Subject, seed: int) -> dict[str, np.ndarray]:
    """Return the labels, and what the judges of an audit predict for them."""
    made = {"given": found.given, "true": found.true}
    if found.probs is not None:
        return made | {"logistic": found.probs.astype(np.float32)}
    names = [str(k) for k in range(found.num_classes)]
    data: Any = (image_set if found.inputs.ndim == 4 else feature_set)(found.inputs, found.given, names)
    if family in EMBEDDED:
        data = replace(data, embedding={"name": "benchmark"})
    fold: OutOfFold = cross_validate(data, seed=seed, device="cpu")
    made |= {"probs": fold.probs, "seen": fold.seen, "network": fold.network}
    for name in ("ridge", "votes", "logistic"):
        if (values := getattr(fold, name)) is not None:
            made[name] = np.asarray(values, np.float32)
    return made


def by_source(draw: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray | None, ...]]:
    """Return probabilities for each source that a draw has: out of fold, during training, of the network."""
    made: dict[str, tuple[np.ndarray | None, ...]] = {}
    if "ridge" in draw:
        made[JUDGES] = draw["probs"], draw["seen"], draw["network"]
    if "network" in draw:
        made[NETWORK] = draw["network"], draw["seen"], None
    if "logistic" in draw:
        made[GIVEN] = draw["logistic"], None, None
    return made
