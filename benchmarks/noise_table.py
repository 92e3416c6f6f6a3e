"""Draw every supported noise model and compare the realized noise rate with the nominal one.

    python benchmarks/noise_table.py
    python benchmarks/noise_table.py --cifar10 FOLDER --human cifar10n.parquet    # human annotations too

Writes rows.json and table.md into results/noise. The noises are drawn on the digits, 20 seeds each. The last
column is chi squared over its degrees of freedom, of the realized against the nominal matrix, all seeds
together, in cells that expect 5 examples or more (the others of a row are taken together): near 1 where the
difference is that of sampling, below 1 where counts are exact or every image has a rate of its own.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.progress import track

import noisylabels as nl
from noisylabels.core.files import write_text
from noisylabels.data.images import ImageSet
from noisylabels.noise import NoiseSpec
from noisylabels.noise.spec import kind_of

NOISES = (
    "symmetric:0.4",
    "symmetric:0.4@exact",
    "symmetric:0.4@uniform",
    "asymmetric:0.4",
    "asymmetric:0.4@sequential",
    "pairflip:0.45",
    "matrix:{folder}/T.csv",
    "instance:0.2",
    "instance:0.4",
    "instance:0.4@parts",
    "projection:0.2",
    "projection:0.4",
    "openset:0.2@{folder}/foreign.npz",
    "openset:0.2@{folder}/foreign.npz,exact",
    "longtail:0.1 | symmetric:0.4",
    "longtail:0.1@step | pairflip:0.3",
    "symmetric:0.2 | asymmetric:0.2",
)
PEOPLE = ("aggre", "random1", "random2", "random3", "worse")


@dataclass
class Options:
    """What to draw on and where to."""

    out: Path = Path("results/noise")
    """folder for the results"""
    seeds: int = 20
    """draws of each noise, seeds 0, 1, ..."""
    cifar10: Path | None = None
    """CIFAR-10 in a form that `noisylabels train --data` reads, for human annotations"""
    human: Path | None = None
    """CIFAR-10N as its authors publish it, or as Parquet"""


def expected_rate(labels: nl.NoisyLabels) -> float | None:
    """Return the share of wrong labels that the nominal matrix gives for these examples."""
    if labels.nominal is None:
        return None
    sizes = np.bincount(labels.true[labels.true >= 0], minlength=labels.num_classes)
    closed = float(((1 - labels.nominal.diagonal()) * sizes).sum() / sizes.sum())
    foreign = [s.rate for s in NoiseSpec.parse(labels.spec).stages if kind_of(s).needs == "foreign images"]
    return closed if not foreign else foreign[0] + (1 - foreign[0]) * closed


def chi_squared(draws: list[nl.NoisyLabels]) -> float | None:
    """Return chi squared over its degrees of freedom of all draws together."""
    total, freedom = 0.0, 0
    for labels in draws:
        if labels.nominal is None:
            return None
        counts = labels.counts
        expected = counts.sum(axis=1, keepdims=True) * labels.nominal
        for seen, wanted in zip(counts, expected, strict=True):
            many = wanted >= 5
            groups = [(s, w) for s, w in zip(seen[many], wanted[many], strict=True)]
            groups += [(seen[~many].sum(), wanted[~many].sum())]
            groups = [(s, w) for s, w in groups if w > 1]
            if len(groups) > 1:
                total += sum((s - w) ** 2 / w for s, w in groups)
                freedom += len(groups) - 1
    return total / freedom if freedom else None


def rows_on_digits(options: Options) -> Iterator[dict[str, Any]]:
    """Draw every noise on the digits."""
    train, _ = nl.load("digits")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rising = np.eye(10) * 0.6 + np.tri(10) / np.arange(1, 11)[:, None] * 0.4  # taken for a smaller digit
        np.savetxt(folder / "T.csv", rising, delimiter=",", fmt="%.17g")
        images = np.random.default_rng(0).integers(0, 256, (2000, 8, 8), dtype=np.uint8)
        np.savez(folder / "foreign.npz", images=images, labels=np.arange(2000) % 2)
        for noise in track(NOISES, description="noises"):
            draws = [draw(train, noise.format(folder=folder), seed) for seed in range(options.seeds)]
            shown = noise.replace("{folder}/", "")
            yield row(shown, "digits", draws)


def draw(train: ImageSet, noise: str, seed: int) -> nl.NoisyLabels:
    """Return the labels of one draw."""
    return nl.corrupt_set(train, noise, seed=seed)[1]


def row(noise: str, data: str, draws: list[nl.NoisyLabels]) -> dict[str, Any]:
    """Return what came of the draws of one noise."""
    nominal = [rate for labels in draws if (rate := expected_rate(labels)) is not None]
    return {
        "noise": noise,
        "data": data,
        "examples": len(draws[0]),
        "draws": len(draws),
        "nominal": statistics.mean(nominal) if nominal else None,
        "realized": [labels.rate for labels in draws],
        "chi_squared": chi_squared(draws),
    }


def people(options: Options) -> Iterator[dict[str, Any]]:
    """Read the five sets of human annotations."""
    if options.human is None or options.cifar10 is None:
        return
    train, _ = nl.load(options.cifar10)
    for column in PEOPLE:
        yield row(
            f"human:{options.human.name}@{column}",
            train.name,
            [draw(train, f"human:{options.human}@{column}", 0)],
        )


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| noise | data | examples | nominal noise rate | realized noise rate | χ²/df |",
        "|---" * 6 + "|",
    ]
    for r in rows:
        mean = f"{100 * statistics.mean(r['realized']):.2f} %"
        if len(r["realized"]) > 1:
            mean = f"{mean.removesuffix(' %')} ± {100 * statistics.stdev(r['realized']):.2f} %"
        nominal = "" if r["nominal"] is None else f"{100 * r['nominal']:.2f} %"
        chi = "" if r["chi_squared"] is None else f"{r['chi_squared']:.2f}"
        name = r["noise"].replace("|", "\\|")
        lines.append(f"| `{name}` | {r['data']} | {r['examples']:,} | {nominal} | {mean} | {chi} |")
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    """Draw all and write the results."""
    rows = [*rows_on_digits(options), *people(options)]
    body = ",\n".join(f"  {json.dumps(each)}" for each in rows)
    write_text(options.out / "rows.json", f"[\n{body}\n]\n")
    write_text(options.out / "table.md", table(rows))
    print(table(rows))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
