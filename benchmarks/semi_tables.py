"""Write the tables of docs/measured-semi-supervised.md from the runs in results/.

    python benchmarks/semi_tables.py

The script trains nothing. It reads the exported studies semi-*, whose files are in benchmarks/studies, and
writes each table into the document between its markers, <!-- NAME --> and <!-- /NAME -->.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro
from document_tables import interval, with_tables
from method_runs import NOISES, Grid, read_grid
from method_tables import number, pooled, with_failed

from noisylabels.core.files import write_text
from noisylabels.report.tables import Cell, Table, markdown

EXAMPLES = {"digits": 1438, "fashion": 6000, "features": 5000, "photographs": 5000}
"""Data -> number of training examples."""

TITLES = {
    "digits": "the digits, mlp:512",
    "fashion": "a tenth of Fashion-MNIST, mlp:512",
    "features": "features of a tenth of CIFAR-10, mlp:128",
    "photographs": "photographs, a tenth of CIFAR-10, the paper's network at width 0.25",
}

METHODS = (
    *("standard", "mixup", "elr", "coteaching", "coteaching_plus", "jocor", "early_stop", "t_revision"),
    *("volminnet", "elr_plus", "ssr", "dividemix"),
)
ALSO = ("agreement",)
"""A method of the study of photographs alone."""
DEFAULT = "-default"
"""Ends the names of studies of the default of `noisylabels train`."""

VARIED = {
    "digits": (
        *("dividemix", "dividemix(lambda_u=0)", "dividemix(lambda_u=75)", "dividemix(rate=oracle)"),
        *("dividemix(warmup=10)", "dividemix(warmup=20)"),
    ),
    "features": (
        *("elr", "elr(lambda_=10)", "early_stop", "early_stop(T1=2)", "dividemix", "dividemix(warmup=10)"),
    ),
}
"""Data -> methods with several values of their parameters."""

COLUMNS = {"digits": ("labeled", "lambda_u"), "features": ("memorized",)}
"""Data -> columns of the history that stand beside the accuracy."""

MEANING = {
    "labeled": "the share of examples that kept their labels",
    "lambda_u": "the weight of the unlabeled part",
    "memorized": "the share of the noisy labels that are memorized",
}

INSIDE = ("standard", "elr_plus", "elr_plus(lambda_=0.3)", "dividemix")


@dataclass
class Options:
    """Choose where the runs are and where the tables go."""

    results: Path = Path("results")
    """folder with semi-digits/runs.parquet and the other exported studies"""
    document: Path = Path("docs/measured-semi-supervised.md")
    """the document with the markers"""


def read(results: Path) -> dict[str, Grid]:
    """Return the runs by name: at equal steps, at equal seconds, and of the default of `train`."""

    def grid(data: str, *studies: str) -> Grid:
        files = [results / study / "runs.parquet" for study in studies]
        return read_grid(TITLES[data], EXAMPLES[data], files)

    grids = {data: grid(data, f"semi-{data}", f"semi-hybrids-{data}") for data in EXAMPLES}
    grids |= {f"{data}-seconds": grid(data, f"semi-{data}-seconds") for data in EXAMPLES}
    grids |= {f"{data}{DEFAULT}": grid(data, f"semi-{data}{DEFAULT}") for data in EXAMPLES}
    return {name: found for name, found in grids.items() if found.accuracy}


def noises_of(grid: Grid) -> list[str]:
    """Return the noises under which anything was run."""
    return [noise for noise in NOISES if any(key[2] == noise for key in (*grid.accuracy, *grid.failed))]


def seeds(grid: Grid) -> str:
    """Return the number of seeds of the runs."""
    counts = {len(values) + grid.failed.get(key, 0) for key, values in grid.accuracy.items()}
    return f"n = {min(counts)}" if len(counts) == 1 else f"n = {min(counts)} to {max(counts)}"


def methods(name: str, grid: Grid, default: Grid | None = None) -> Table:
    """Return the accuracy of each method with cross entropy, by noise, with its epochs and seconds.

    Args:
        name: of the runs.
        grid: the runs.
        default: those of the default of `train` on the same data.
    """
    noises = noises_of(grid)
    rows: list[list[Cell]] = []
    if default is not None:
        keys = [("standard", "auto", noise) for noise in noises]
        lasted = {int(last["epoch"]) for key in keys for last in default.last.get(key, [])}
        cells = [number(default.summary(*key)) for key in keys]
        rows.append(["default of `train`", *cells, ", ".join(map(str, sorted(lasted))), None])
    for method in _run(grid):
        took = [s for noise in noises for s in grid.seconds.get((method, "ce", noise), [])]
        cells = [with_failed(grid, method, noise) for noise in noises]
        rows.append([method, *cells, str(grid.epochs[method]), f"{statistics.median(took):.0f}"])
    rates = ", ".join(f"{100 * statistics.fmean(grid.rates[noise]):.1f} ({noise})" for noise in noises)
    equal = "equal seconds" if name.endswith("-seconds") else "equal steps"
    return Table(
        f"semi-{name}",
        f"At {equal}: {grid.title}",
        ["method", *noises, "epochs", "seconds"],
        rows,
        "Test accuracy of the last epoch, per cent, mean ± sample standard deviation, "
        f"{seeds(grid)} ({grid.machine}, 1 thread). Noise rates, per cent: {rates}. Seconds: of training, "
        "median of the runs, on a machine that was shared."
        + (
            ""
            if default is None
            else " The default is a linear model whose loss and penalty a cross-validation chooses."
        ),
    )


def _run(grid: Grid) -> Iterator[str]:
    """Yield the methods of a grid at their defaults, or as they were run where that was never."""
    for method in (*METHODS, *ALSO):
        others = sorted(name for name in grid.epochs if name.startswith(f"{method}("))
        yield from [method] if method in grid.epochs else others


def varied(name: str, grid: Grid) -> Table:
    """Return the accuracy of methods by their parameters, with what they ended with."""
    noises, columns = noises_of(grid), COLUMNS[name]
    rows: list[list[Cell]] = []
    for method in VARIED[name]:
        row: list[Cell] = [method]
        for noise in noises:
            row.append(number(grid.summary(method, "ce", noise)))
            last = grid.last.get((method, "ce", noise), [])
            for column in columns:
                row.append(f"{statistics.fmean(each[column] for each in last):.2g}" if last else None)
        rows.append(row)
    meaning = " and ".join(MEANING[column] for column in columns)
    return Table(
        f"semi-varied-{name}",
        f"Methods by their parameters: {grid.title}",
        ["parameters", *(head for noise in noises for head in (noise, *columns))],
        rows,
        "Test accuracy of the last epoch, per cent, mean ± sample standard deviation, "
        f"{seeds(grid)}; {meaning} in the last epoch, means.",
    )


def hybrids(name: str, grid: Grid) -> Table:
    """Return the accuracy of each loss inside each method, and the gain of the sums."""
    rows: list[list[Cell]] = []
    noises = [noise for noise in noises_of(grid) if noise in grid.noises(INSIDE, grid.sums)]
    for noise in noises:
        for method in INSIDE:
            cells = [number(grid.summary(method, loss, noise)) for loss in grid.losses]
            known = method != "standard" and grid.values(method, "ce", noise)
            over = interval(pooled(grid, method, "ce", noise)) if known else None
            best = None if method == "standard" else interval(pooled(grid, method, "best", noise))
            rows.append([noise, method, *cells, over, best])
    bests = ", ".join(f"{grid.best(noise)} ({noise})" for noise in noises)
    return Table(
        f"semi-hybrids-{name}",
        f"Losses inside the methods: {grid.title}",
        ["noise", "method", *grid.losses, "sums over ce", "over the best alone"],
        rows,
        f"Test accuracy of the last epoch, per cent, mean ± sample standard deviation, {seeds(grid)}. Then "
        f"the mean over {' and '.join(grid.sums)} inside the method minus ce inside it, and minus the loss "
        f"that is best alone, which is {bests}; in points, paired by seed, with Student's 95 % interval.",
    )


def tables(grids: Mapping[str, Grid]) -> Iterator[Table]:
    """Yield every table of the document."""
    for name, grid in grids.items():
        if not name.endswith(DEFAULT):
            yield methods(name, grid, grids.get(name + DEFAULT))
    for name in VARIED:
        yield varied(name, grids[name])
    for name in VARIED:
        if grids[name].sums:
            yield hybrids(name, grids[name])


def renewed(document: str, grids: Mapping[str, Grid]) -> str:
    """Return the document with every table between its markers rebuilt from the runs."""
    return with_tables(document, ((table.name, markdown(table)) for table in tables(grids)))


def main(options: Options) -> None:
    """Write the tables."""
    grids = read(options.results)
    write_text(options.document, renewed(options.document.read_text(encoding="utf-8"), grids))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
