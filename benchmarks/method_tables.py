"""Write the tables and the figure of docs/measured-methods.md from the runs in results/.

    python benchmarks/method_tables.py

The script trains nothing. It reads the exported studies hybrids-* and methods-*, whose files are in
benchmarks/studies, writes each table into the document between its markers, <!-- NAME --> and <!-- /NAME -->,
and draws the figure into results/methods.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from document_tables import figure_digests, interval, with_tables
from method_figure import figure
from method_runs import HYBRID, METHODS, Grid, read_grid
from relabel_kept import FILE, kept_table

from noisylabels.core.files import write_json, write_text
from noisylabels.report.figure_files import draw
from noisylabels.report.tables import Cell, Number, Table, markdown
from noisylabels.study.statistics import Ranks, Summary, rank, summarize

ROOT = Path(__file__).parents[1]

EXAMPLES = {"digits": 1438, "fashion": 6000, "features": 5000}
"""Data -> number of training examples."""

TITLES = {
    "digits": "the digits, mlp:512",
    "fashion": "a tenth of Fashion-MNIST, mlp:512",
    "features": "features of a tenth of CIFAR-10, mlp:128",
}

INSIDE = ("digits", "features")
"""Data on which losses were also run inside methods."""


@dataclass
class Options:
    """Choose where the runs are and where the tables go."""

    results: Path = Path("results")
    """folder with hybrids-digits/runs.parquet and the other exported studies"""
    document: Path = Path("docs/measured-methods.md")
    """the document with the markers"""


def read(results: Path) -> dict[str, Grid]:
    """Return the runs of each data set, and of the digits with a convolutional network."""

    def grid(title: str, data: str, *studies: str) -> Grid:
        return read_grid(title, EXAMPLES[data], [results / study / "runs.parquet" for study in studies])

    grids = {data: grid(TITLES[data], data, f"methods-{data}", f"hybrids-{data}") for data in EXAMPLES}
    grids["checks"] = grid("the digits", "digits", "methods-checks")
    grids["cnn"] = grid("the digits, small-cnn", "digits", "hybrids-digits-cnn")
    return grids


def number(found: Summary | None, *, signed: bool = False) -> Cell:
    """Return mean ± deviation in per cent."""
    if found is None:
        return None
    deviation = None if found.deviation is None else 100 * found.deviation
    return Number(100 * found.mean, deviation, n=found.n, signed=signed, digits=1)


def with_failed(grid: Grid, method: str, noise: str) -> Cell:
    """Return mean ± deviation with cross entropy inside, and how many runs diverged."""
    found = number(grid.summary(method, "ce", noise))
    failed = grid.failed.get((method, "ce", noise), 0)
    if not failed:
        return found
    left = len(grid.values(method, "ce", noise))
    return f"{found or ''} ({failed} of {failed + left} diverged)".strip()


def runs_each(grid: Grid, cells: Sequence[tuple[str, str, str]]) -> str:
    """Return the number of seeds of some (method, loss, noise) in words."""
    counts = {len(grid.values(*cell)) + grid.failed.get(cell, 0) for cell in cells} - {0}
    return f"n = {min(counts)}" if len(counts) == 1 else f"n = {min(counts)} to {max(counts)}"


# Methods with cross entropy -----------------------------------------------------------------------------


def networks(method: str) -> str:
    """Return the cost of a method in steps of one network, relative to `standard`."""
    if method == "coteaching":
        return "2"
    if method == "knn":
        return "0"
    return "1.25" if method == "relabel" else "1"


def methods(name: str, grid: Grid) -> Table:
    """Return the accuracy of each method with cross entropy, by noise, with its cost."""
    noises = grid.noises(METHODS, ["ce"])
    rows: list[list[Cell]] = []
    for method in METHODS:
        row: list[Cell] = [method, *(with_failed(grid, method, noise) for noise in noises)]
        rows.append([*row, networks(method)])
    rates = ", ".join(f"{100 * statistics.fmean(grid.rates[noise]):.1f} ({noise})" for noise in noises)
    epochs = grid.config["epochs"]
    return Table(
        f"methods-{name}",
        f"Methods with cross entropy: {grid.title}",
        ["method", *noises, "steps"],
        rows,
        f"Test accuracy of the last of {epochs} epochs ({grid.steps} steps), per cent, mean ± sample "
        f"standard deviation, {runs_each(grid, [(m, 'ce', noise) for m in METHODS for noise in noises])} "
        f"({grid.machine}, 1 thread). Noise rates, per cent: {rates}. Steps: passes of a network over a "
        "batch, relative to standard; the audit of relabel included, estimates of the noise (at most "
        "0.25) not.",
    )


def ranked(grids: Mapping[str, Grid]) -> tuple[Ranks, list[str]]:
    """Return the ranks of the methods over data sets and noises, and these settings."""
    table: dict[str, dict[object, float]] = {method: {} for method in METHODS}
    settings = []
    for name in EXAMPLES:
        for noise in grids[name].noises(METHODS, ["ce"]):
            settings.append(f"{name} {noise}")
            for method in METHODS:
                found = grids[name].summary(method, "ce", noise)
                diverged = (method, "ce", noise) in grids[name].failed
                table[method][name, noise] = 0.0 if found is None or diverged else found.mean
    return rank(table), settings


def ranks(grids: Mapping[str, Grid]) -> Table:
    """Return the mean ranks of the methods."""
    found, settings = ranked(grids)
    assert found.critical is not None
    assert found.p is not None
    return Table(
        "ranks",
        "Mean ranks of the methods with cross entropy",
        ["method", "mean rank"],
        [[method, f"{mean:.1f}"] for method, mean in found.mean.items()],
        f"1 is best. Over {found.settings} settings of data and noise, by the mean accuracy of the seeds, "
        f"last where a run diverged: {', '.join(settings)}. Two methods differ at the level of 5 % if their "
        f"mean ranks differ by more than {found.critical:.1f} (Nemenyi's critical difference; Friedman's "
        f"test: p = {found.p:.1g}).",
    )


# Losses inside methods ----------------------------------------------------------------------------------


def pooled(grid: Grid, method: str, other: str, noise: str) -> Summary:
    """Return a difference of sums inside a method under a noise, per seed the mean over the sums.

    Args:
        grid: the runs.
        method: the method.
        other: "ce" or "gce": minus this loss inside the method; "alone": minus the same sum without the
            method; "best": minus the loss that is best without the method.
        noise: the noise.
    """
    values: dict[int, list[float]] = {}
    for loss in grid.sums:
        against = {
            "ce": (method, "ce"),
            "gce": (method, "gce"),
            "alone": ("standard", loss),
            "best": ("standard", grid.best(noise)),
        }[other]
        first, second = grid.values(method, loss, noise), grid.values(*against, noise)
        for seed in first.keys() & second.keys():
            values.setdefault(seed, []).append(first[seed] - second[seed])
    return summarize([statistics.fmean(each) for each in values.values() if len(each) == len(grid.sums)])


def answer(grids: Mapping[str, Grid]) -> Table:
    """Return how many sums inside each method beat both the method and the best loss alone."""
    places = [(name, noise) for name in INSIDE for noise in grids[name].noises(HYBRID, grids[name].losses)]
    rows: list[list[Cell]] = []
    for method in HYBRID[1:]:
        row: list[Cell] = [method]
        for name, noise in places:
            beats = [beaten(grids[name], method, loss, noise) for loss in grids[name].sums]
            higher, clearly = (sum(found) for found in zip(*beats, strict=True))
            row.append(f"{higher} ({clearly}) of {len(beats)}")
        rows.append(row)
    return Table(
        "answer",
        "How many sums inside a method beat both",
        ["method", *(f"{name}, {noise}" for name, noise in places)],
        rows,
        "The number of sums that inside the method have a higher mean test accuracy than cross entropy "
        "inside it and than the best loss without it; in brackets, of those with both differences above 0 by "
        "a 95 % interval, paired by seed, without correction for the number of comparisons. Sums: "
        + "; ".join(f"{name}: {', '.join(grids[name].sums)}" for name in INSIDE)
        + ". The best loss without the method has the highest mean test accuracy under that noise, chosen "
        "after the fact.",
    )


def beaten(grid: Grid, method: str, loss: str, noise: str) -> tuple[bool, bool]:
    """Return whether a loss inside a method beats both ce inside and the best loss alone.

    Returns:
        Whether its mean is higher than theirs, and whether the intervals of both differences are above 0.
    """
    against = [(method, "ce"), ("standard", grid.best(noise))]
    gains = [grid.gain((method, loss), other, noise) for other in against]
    higher = all(gain.mean > 0 for gain in gains)
    return higher, all(gain.low is not None and gain.low > 0 for gain in gains)


def hybrids(name: str, grid: Grid) -> Table:
    """Return for each noise and method what sums inside the method gain, on average over the sums."""
    rows: list[list[Cell]] = []
    noises = grid.noises(HYBRID, grid.losses)
    for noise in noises:
        for method in HYBRID:
            row: list[Cell] = [noise, method, number(grid.summary(method, "ce", noise))]
            others = ("ce", "gce") if method == "standard" else ("ce", "gce", "alone", "best")
            row += [interval(pooled(grid, method, other, noise)) for other in others]
            rows.append([*row, *[None] * (7 - len(row))])
    bests = ", ".join(f"{grid.best(noise)} ({noise})" for noise in noises)
    cells = [(method, loss, noise) for method in HYBRID for loss in grid.losses for noise in noises]
    return Table(
        f"hybrids-{name}",
        f"Sums inside each method: {grid.title}",
        [
            "noise",
            "method",
            "ce inside",
            "sums over ce",
            "over gce",
            "over the sum alone",
            "over the best alone",
        ],
        rows,
        "Test accuracy of the last epoch with cross entropy inside, per cent, mean ± sample standard "
        f"deviation, {runs_each(grid, cells)}. Then the test accuracy with a sum inside, per seed the mean "
        f"over {', '.join(grid.sums)}, minus that of another run of the same seed, in points with Student's "
        "95 % interval: ce and gce inside the same method; the same sum alone, by standard; and the loss "
        f"that is best alone, which is {bests}.",
    )


def convolutional(grid: Grid) -> Table:
    """Return the accuracies of the digits with a convolutional network, one run per cell."""
    noises = grid.noises(HYBRID, grid.losses)
    rows: list[list[Cell]] = [
        [method, *(number(grid.summary(method, loss, noises[0])) for loss in grid.losses)]
        for method in HYBRID
    ]
    return Table(
        "cnn",
        f"The same with a convolutional network: {grid.title}, {noises[0]}",
        ["method", *grid.losses],
        rows,
        f"Test accuracy of the last of {grid.config['epochs']} epochs, per cent; one run each.",
    )


def checks(grids: Mapping[str, Grid]) -> Table:
    """Return methods that do badly with their defaults, beside other parameters."""
    rows: list[list[Cell]] = []
    noises = ("symmetric 0.4", "symmetric 0.8")
    for method, loss in dict.fromkeys((method, loss) for method, loss, _ in grids["checks"].accuracy):
        default = method.partition("(")[0]
        for each, grid in ((default, grids["digits"]), (method, grids["checks"])):
            if [each, loss] not in [row[:2] for row in rows]:
                rows.append([each, loss, *(number(grid.summary(each, loss, noise)) for noise in noises)])
    rows.sort(key=lambda row: (str(row[1]), str(row[0])))
    return Table(
        "checks",
        "Other parameters",
        ["method", "loss", *noises],
        rows,
        "The digits, mlp:512: test accuracy of the last epoch, per cent, mean ± sample standard deviation, "
        f"{runs_each(grids['checks'], list(grids['checks'].accuracy))}.",
    )


def tables(grids: Mapping[str, Grid]) -> Iterator[Table]:
    """Yield every table of the document."""
    yield answer(grids)
    for name in EXAMPLES:
        yield methods(name, grids[name])
    yield ranks(grids)
    for name in INSIDE:
        yield hybrids(name, grids[name])
    yield checks(grids)
    yield kept_table(ROOT / FILE)
    yield convolutional(grids["cnn"])


def renewed(document: str, grids: Mapping[str, Grid]) -> str:
    """Return the document with every table between its markers rebuilt from the runs."""
    return with_tables(document, ((table.name, markdown(table)) for table in tables(grids)))


def digests(grids: Mapping[str, Grid]) -> dict[str, str]:
    """Return a digest of the content of the figure."""
    return figure_digests([figure(grids, INSIDE)])


def main(options: Options) -> None:
    """Write the tables and draw the figure."""
    grids, out = read(options.results), options.results / "methods"
    write_text(options.document, renewed(options.document.read_text(encoding="utf-8"), grids))
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "figures.json", digests(grids))
    draw(figure(grids, INSIDE), out, (".svg",))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
