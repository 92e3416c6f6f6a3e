"""The runs that docs/found.md is about, and what its tables and figures share."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from noisylabels.study.results import Results, read_results
from noisylabels.study.store import read_rows

TENTH_NOISES = ("none", "symmetric:0.4", "symmetric:0.8", "asymmetric:0.4")
KNOB_NOISES = ("none", "symmetric:0.6", "asymmetric:0.4")


@dataclass(frozen=True)
class Runs:
    """Exported studies in a folder: NAME/runs.parquet, read when they are asked for."""

    folder: Path

    def read(self, *names: str) -> Results:
        """Return the runs of some studies, which must belong into one table."""
        (results,) = read_results([self.folder / name / "runs.parquet" for name in names])
        return results

    @cached_property
    def paper(self) -> Results:
        """The paper's study on all images, as far as it has been run."""
        return self.read("paper")

    @cached_property
    def tenth(self) -> Results:
        """The same losses on a tenth of the images, and all that was run there besides."""
        return self.read("tenth", "forms-tenth")

    @cached_property
    def longer(self) -> Results:
        """Most of these losses there at five times the length, under one noise."""
        return self.read("longer-tenth")

    @cached_property
    def tenth_rates(self) -> dict[str, float]:
        """Noise -> the share of wrong labels there, mean over the seeds."""
        found: dict[str, list[float]] = {}
        for name in ("tenth", "forms-tenth"):
            for row in read_rows(self.folder / name / "runs.parquet"):
                found.setdefault(row["config"]["noise"], []).append(row["noise"]["rate"])
        return {noise: statistics.fmean(rates) for noise, rates in found.items()}

    @cached_property
    def digits(self) -> Results:
        """The same losses on the digits: what `make demo` runs, and more seeds."""
        return self.read("digits-study", "digits-more")

    @cached_property
    def knob(self) -> Results:
        """Weights of nce and mae on the digits."""
        return self.read("knob")


def words(noise: str) -> str:
    """Return a noise as a table calls it: "symmetric 0.4"."""
    return "clean" if noise == "none" else noise.replace(":", " ")


def weights(results: Results) -> list[tuple[float, float, str]]:
    """Return a, b and the loss of every a nce + b mae in the results, by a and b."""
    found = []
    for loss in results.losses:
        factors = {"nce": 0.0, "mae": 0.0}
        for term in loss.split("+"):
            factor, _, part = term.rpartition("*")
            if part not in factors:
                break
            factors[part] = float(factor or 1)
        else:
            found.append((factors["nce"], factors["mae"], loss))
    return sorted(found)


def machines(results: Results) -> str:
    """Return where runs were made."""
    return "; ".join(dict.fromkeys(run.machine for run in results.done))


def span(values: list[int]) -> str:
    """Return the least and the most: "5 to 6", or "5"."""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
