"""Compare the verdicts on the paper's claims from the same runs with another rounding.

    git show 59e8139:results/digits-study/runs.parquet > before.parquet
    python benchmarks/rounding_verdicts.py results/digits-study/runs.parquet before.parquet

Two exports of one study, whose runs have the same losses, noises and seeds, made by another kernel or on
another processor. Prints how far the test accuracies of equal runs differ, and how many verdicts do: with two
seeds judged at 95 % as more are, and at 99 %, as `judge` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from noisylabels.paper.observations import OBSERVATIONS
from noisylabels.study import comparisons
from noisylabels.study.claims import judge
from noisylabels.study.results import Results, accuracy, read_results


@dataclass
class Options:
    """Choose the two exports."""

    first: tyro.conf.Positional[Path]
    """file of `noisylabels study export`"""
    second: tyro.conf.Positional[Path]
    """file with the same runs, made with another rounding"""


def verdicts(results: Results, few: int) -> list[str]:
    """Return the verdict on each claim; results of fewer than `few` seeds are judged at 99 %."""
    comparisons.FEW, usual = few, comparisons.FEW
    try:
        return [finding.status for finding in judge(OBSERVATIONS, results)]
    finally:
        comparisons.FEW = usual


def main(options: Options) -> None:
    """Print the comparison."""
    (first,), (second,) = read_results([options.first]), read_results([options.second])
    others = {(run.loss, run.noise, run.seed): accuracy(run) for run in second.done}
    apart = [
        100 * (here - there)
        for run in first.done
        if (here := accuracy(run)) is not None
        and (there := others.get((run.loss, run.noise, run.seed))) is not None
    ]
    print(
        f"{len(apart)} runs in both; test accuracies differ by {np.std(apart):.1f} points (standard "
        f"deviation), at most {np.abs(apart).max():.1f}"
    )
    for level, few in (("95 %", 0), ("99 %", comparisons.FEW)):
        one, other = verdicts(first, few), verdicts(second, few)
        decided = [sum(word in ("supported", "contradicted") for word in each) for each in (one, other)]
        differ = sum(a != b for a, b in zip(one, other, strict=True))
        counts = f"{decided[0]} and {decided[1]} decided, {differ} of {len(one)} verdicts differ"
        print(f"two seeds at {level}: {counts}")


if __name__ == "__main__":
    main(tyro.cli(Options))
