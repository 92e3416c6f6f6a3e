"""Show how far the realized noise rate of a small set spreads over seeds, and what that does to accuracy.

    python benchmarks/realized_rates.py                                   # the digits, 8 seeds
    python benchmarks/realized_rates.py results/digits/runs.json --name realized-rates-3   # 3 seeds

Noise that flips each label with a probability realizes another rate with every seed. For each noise, the
table has the realized rates, the correlation of test accuracy with them (of the runs of all losses, each less
its loss's mean), the least and greatest correlation of a single loss, and the standard deviation of the
accuracy over seeds within a loss, as it is and after subtracting its linear dependence on the rate. Writes
realized-rates.json and .md into results/benchmarks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from noisylabels.bench.machine import keep
from noisylabels.study.store import read_rows

DIGITS = (Path("results/digits-study/runs.parquet"), Path("results/digits-more/runs.parquet"))


@dataclass
class Options:
    """Choose the runs and where the results go."""

    files: tyro.conf.Positional[tuple[Path, ...]] = DIGITS
    """files of `noisylabels study export`, or runs.json of digits_table.py"""
    out: Path = Path("results/benchmarks")
    """folder for the results"""
    name: str = "realized-rates"
    """name of the results' files"""


@dataclass(frozen=True)
class Spread:
    """Realized rates of one noise over seeds, and the accuracies that go with them, as shares."""

    noise: str
    seeds: int
    losses: int
    low: float
    high: float
    correlation: float
    least: float
    greatest: float
    deviation: float
    without: float


def spread(noise: str, rates: Sequence[float], losses: Sequence[str], accuracies: Sequence[float]) -> Spread:
    """Return the spread of runs of one noise: one rate, loss and accuracy per run.

    Each loss is centered by its mean; the deviations have as many degrees of freedom as are left.
    """
    names = np.array(losses)
    x, y = np.array(rates), np.array(accuracies)
    low, high = float(x.min()), float(x.max())
    for name in set(losses):
        x[names == name] -= x[names == name].mean()
        y[names == name] -= y[names == name].mean()
    each = [float(np.corrcoef(x[names == name], y[names == name])[0, 1]) for name in sorted(set(losses))]
    left = len(y) - len(set(losses))
    rest = y - x * (x @ y) / (x @ x)
    correlation = float((x @ y) / np.sqrt((x @ x) * (y @ y)))
    whole, without = (float(np.sqrt((one @ one) / free)) for one, free in ((y, left), (rest, left - 1)))
    seeds = len(x) // len(each)
    return Spread(noise, seeds, len(each), low, high, correlation, min(each), max(each), whole, without)


def runs(file: Path) -> Iterator[tuple[str, float, str, float]]:
    """Yield noise, realized rate, loss and accuracy of every finished run of a file."""
    if file.suffix == ".json":
        for row in json.loads(file.read_text(encoding="utf-8"))["runs"]:
            if row["status"] == "done":
                yield row["noise"], row["noise_rate"], row["loss"], row["test_accuracy"]
        return
    for row in read_rows(file):
        if row["status"] == "done":
            config = row["config"]
            yield config["noise"], row["noise"]["rate"], config["loss"], row["final"]["test_accuracy"]


def spreads(files: Sequence[Path]) -> list[Spread]:
    """Return the spread of every noise of the finished runs whose rate differs between seeds."""
    found: dict[str, list[tuple[float, str, float]]] = {}
    for file in files:
        for noise, *run in runs(file):
            found.setdefault(noise, []).append((run[0], run[1], run[2]))
    noises = (noise for noise, each in found.items() if len({rate for rate, *_ in each}) > 1)
    return [spread(noise, *zip(*found[noise], strict=True)) for noise in noises]


def main(options: Options) -> None:
    """Compute and write the table."""
    rows = spreads(options.files)
    head = [
        "noise",
        "realized rate",
        "seeds",
        "losses",
        "correlation",
        "of a single loss",
        "deviation",
        "at one rate",
    ]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        rates = f"{100 * row.low:.1f} to {100 * row.high:.1f} %"
        numbers = [f"{row.correlation:.2f}", f"{row.least:.2f} to {row.greatest:.2f}"]
        numbers = [number.replace("-", "−") for number in numbers]
        numbers += [f"{100 * each:.1f}" for each in (row.deviation, row.without)]
        lines.append(f"| {' | '.join([row.noise, rates, str(row.seeds), str(row.losses), *numbers])} |")
    result = {"files": [str(file) for file in options.files], "rows": [vars(row) for row in rows]}
    keep(options.out, options.name, result, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main(tyro.cli(Options))
