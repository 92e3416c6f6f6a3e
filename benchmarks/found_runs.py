"""Read the runs behind docs/measured-found.md, and name noises, weights and machines as its tables do."""

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
    """Exported studies in a folder, NAME/runs.parquet, each read on first use."""

    folder: Path

    def read(self, *names: str) -> Results:
        """Return the runs of some studies, which must belong to one set of results."""
        (results,) = read_results([self.folder / name / "runs.parquet" for name in names])
        return results

    @cached_property
    def paper(self) -> Results:
        """The paper's study on all images, as far as it has been run."""
        return self.read("paper")

    @cached_property
    def tenth(self) -> Results:
        """The same losses on a tenth of the images, and the other noises run there."""
        return self.read("tenth", "forms-tenth")

    @cached_property
    def longer(self) -> Results:
        """Most of these losses on a tenth of the images for five times as long, under one noise."""
        return self.read("longer-tenth")

    @cached_property
    def tenth_rates(self) -> dict[str, float]:
        """Noise -> share of noisy labels on a tenth of the images, mean over the seeds."""
        found: dict[str, list[float]] = {}
        for name in ("tenth", "forms-tenth"):
            for row in read_rows(self.folder / name / "runs.parquet"):
                found.setdefault(row["config"]["noise"], []).append(row["noise"]["rate"])
        return {noise: statistics.fmean(rates) for noise, rates in found.items()}

    @cached_property
    def frozen(self) -> Results:
        """The same losses and others on features of all images."""
        return self.read("frozen")

    @cached_property
    def digits(self) -> Results:
        """The same losses on the digits, with an exact number of noisy labels."""
        return self.read("digits-8")

    @cached_property
    def knob(self) -> Results:
        """Weights of nce and mae on the digits."""
        return self.read("knob")


def words(noise: str) -> str:
    """Return the name of a noise in tables, such as "symmetric 0.4" or "human worse"."""
    kind, _, rest = noise.partition(":")
    if kind == "human":
        return f"human {rest.rpartition('@')[2]}"
    return "clean" if noise == "none" else noise.replace(":", " ")


def weights(results: Results) -> list[tuple[float, float, str]]:
    """Return (a, b, loss) of every a nce + b mae in the results, sorted by a and b."""
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
    """Return the machines that made the runs."""
    return "; ".join(dict.fromkeys(run.machine for run in results.done))


def span(values: list[int]) -> str:
    """Return minimum and maximum, as in "5 to 6", or "5" if they are equal."""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
