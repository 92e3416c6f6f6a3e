"""The tables and figures of docs/found.md, from the runs in results/ and the published numbers.

    python benchmarks/found.py

Nothing is trained: all is read off exported studies, whose rows hold every epoch, the configuration and the
machine. A table goes into the document between its marks, <!-- NAME --> and <!-- /NAME -->, the figures into
results/found.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from found_figures import figures
from found_runs import KNOB_NOISES, TENTH_NOISES, Runs, machines, span, weights, words
from scipy import stats

from noisylabels.core.files import write_json, write_text
from noisylabels.losses import PAPER
from noisylabels.paper.observations import OBSERVATIONS
from noisylabels.paper.published import Published, published
from noisylabels.report.figure_files import draw
from noisylabels.report.tables import Cell, Number, Table, markdown
from noisylabels.study.claims import judge
from noisylabels.study.results import Measure, Results, Run, accuracy, dead, memorized
from noisylabels.study.statistics import Summary, compare
from noisylabels.training.metrics import DEAD_RECALL

COLUMN = "symmetric:0.4"
"""The noise under which the paper's study has been run."""

WANG = "Wang 2024, Table 2"

EARLY = 3
"""Epochs in which any network may have a dead class."""


@dataclass
class Options:
    """Where the runs are and where the tables go."""

    results: Path = Path("results")
    """folder with paper, tenth, digits-study and what `found_runs` names, a runs.parquet in each"""
    document: Path = Path("docs/found.md")
    """the document, which has the marks"""


def tables(runs: Runs) -> list[Table]:
    """Return all of them."""
    return [
        column(runs.paper),
        spread(runs),
        decided(),
        short(runs.tenth),
        longer(runs),
        dying(runs),
        memory(runs),
        knob(runs.knob),
        forms(runs.tenth, runs.tenth_rates),
        claims([("all images", runs.paper), ("a tenth", runs.tenth), ("digits", runs.digits)]),
    ]


def cell(
    results: Results, measure: Measure, loss: str, noise: str, digits: int = 1, factor: float = 100
) -> Cell:
    """Return mean and deviation of a measure, by default in per cent."""
    found = results.summary(measure, loss, noise)
    if found is None:
        return None
    deviation = None if found.deviation is None else factor * found.deviation
    return Number(factor * found.mean, deviation, n=found.n, digits=digits)


def interval(found: Summary) -> str:
    """Return the 95 % interval of a difference in points: "−2.8 to +6.8"."""
    if found.low is None or found.high is None:
        return ""
    return f"{100 * found.low:+.1f} to {100 * found.high:+.1f}".replace("-", "−")


def _seeds(results: Results, noises: Sequence[str]) -> str:
    """Say which seeds were run; under each noise, where they are not the same."""
    found = {noise: sorted({run.seed for run in results.done if run.noise == noise}) for noise in noises}
    said = {noise: ", ".join(map(str, seeds)) for noise, seeds in found.items()}
    if len(set(said.values())) == 1:
        (seeds,) = set(said.values())
        return f"seeds {seeds}" if "," in seeds else f"one run each, seed {seeds}"
    return "seeds " + "; ".join(f"{seeds} ({words(noise)})" for noise, seeds in said.items())


def column(paper: Results) -> Table:
    """The paper's study at symmetric 0.4, beside the paper and the literature."""
    where: dict[str, Any] = {"dataset": "CIFAR-10", "noise_type": "symmetric", "rate": 0.4}
    where["model"] = "8-layer CNN"
    theirs = {row.method.lower(): row.mean for row in published(collection="paper", **where)}
    wang = {row.method.lower(): row for row in published(collection="literature", source=WANG, **where)}
    rows: list[list[Cell]] = []
    for loss in PAPER:
        best = [run.curves["test_accuracy"] for run in paper.cell(loss, COLUMN)]
        row: list[Cell] = [loss, cell(paper, accuracy, loss, COLUMN, 2), Number(theirs[loss])]
        row += [Number(wang[loss].mean, wang[loss].deviation) if loss in wang else None]
        row += [f"{100 * np.mean([a.max() for a in best]):.2f}" if best else None]
        row += [span([int(a.argmax()) + 1 for a in best]) if best else None]
        row += [cell(paper, measure, loss, COLUMN) for measure in (memorized, seen_through)]
        rows.append(row)
    return Table(
        "column",
        "The paper's setting, 40 % symmetric noise",
        ["loss", "ours", "the paper's", WANG, "our best", "in epoch", "learned by heart", "seen through"],
        rows,
        f"Test accuracy of the last of 120 epochs, per cent: {paper.data}, {_seeds(paper, [COLUMN])} "
        f"({machines(paper)}). {WANG}: CIFAR-10 itself, mean ± deviation of 3 runs, an exact share of each "
        "class, gradients clipped, A = ln 1e-4 in RCE. Learned by heart: of the wrong training labels, the "
        "share that the last model predicts; seen through: the share whose true class it predicts instead.",
    )


def seen_through(run: Run) -> float | None:
    """Return the share of wrong labels whose true class the last epoch's model predicts."""
    return run.last("recovered")


# Spread ---------------------------------------------------------------------------------------------


def twins() -> list[float]:
    """Return NMAE less NRCE, two rows of one function, under each of the paper's noises."""
    rows = {(row.method, row.noise_type, row.rate): row.mean for row in published(collection="paper")}
    return [rows[key] - rows["NRCE", *key[1:]] for key in rows if key[0] == "NMAE"]


def pooled(differences: Sequence[float]) -> tuple[float, float, float]:
    """Return the deviation of one run that makes pairs of runs differ so, and its 95 % interval.

    ``s^2 = sum d^2 / 2n``, of n degrees of freedom, and ``n s^2 / sigma^2`` is χ² of so many.
    """
    n = len(differences)
    deviation = math.sqrt(sum(difference**2 for difference in differences) / (2 * n))
    low, high = (deviation * math.sqrt(n / stats.chi2.ppf(q, n)) for q in (0.975, 0.025))
    return deviation, low, high


def spread(runs: Runs) -> Table:
    """How far apart runs of one cell are, by who ran them."""
    deviation, low, high = pooled(twins())
    largest = max(map(abs, twins()))
    without, *_ = pooled([difference for difference in twins() if abs(difference) != largest])
    rows: list[list[Cell]] = [
        [
            "the paper: NMAE and NRCE, one function",
            f"{len(twins())} noises, 2 runs each",
            f"{deviation:.1f}",
            f"95 %: {low:.1f} to {high:.1f}; without the largest difference, {largest:.1f}: {without:.1f}",
        ]
    ]
    kinds: dict[str, Callable[[Published], bool]] = {
        "clean": lambda row: row.noise_type == "clean",
        "symmetric 0.2 to 0.6": lambda row: row.noise_type == "symmetric" and row.rate != 0.8,
        "symmetric 0.8": lambda row: row.noise_type == "symmetric" and row.rate == 0.8,
        "asymmetric 0.1 to 0.4": lambda row: row.noise_type == "asymmetric",
    }
    literature = published(collection="literature", dataset="CIFAR-10", model="8-layer CNN")
    for name, of_kind in kinds.items():
        found = [row.deviation for row in literature if row.deviation is not None and of_kind(row)]
        rows.append(_spread_row(f"the literature: {name}", "3 runs and more", found))
    for title, results, noises in (
        ("a tenth", runs.tenth, TENTH_NOISES),
        ("digits", runs.digits, runs.digits.noises),
    ):
        for noise in noises:
            summaries = [s for loss in PAPER if (s := results.summary(accuracy, loss, noise))]
            deviations = [100 * s.deviation for s in summaries if s.deviation is not None]
            count = f"{span([s.n for s in summaries])} runs"
            rows.append(_spread_row(f"ours, {title}: {words(noise)}", count, deviations))
    return Table(
        "spread",
        "The spread of one run",
        ["who", "what", "deviation, points", ""],
        rows,
        "Deviation of the last epoch's test accuracy, pooled: the root of the mean variance of the cells, "
        "and the largest cell's. Of the paper, if its code is what its equations say: the root of half the "
        "mean square difference. The literature: losses on CIFAR-10 with the 8-layer CNN.",
    )


def _spread_row(who: str, what: str, deviations: Sequence[float]) -> list[Cell]:
    mean = math.sqrt(statistics.fmean(deviation**2 for deviation in deviations))
    return [who, f"{len(deviations)} cells, {what}", f"{mean:.1f}", f"largest {max(deviations):.1f}"]


def decided() -> Table:
    """How many of the paper's differences between losses one run of each can tell."""
    columns: dict[str, dict[str, float]] = {}
    for row in published(collection="paper"):
        name = f"{row.noise_type} {row.rate:g}" if row.rate else "clean"
        columns.setdefault(name, {})[row.method] = row.mean
    deviation, low, high = pooled(twins())
    least = [1.96 * math.sqrt(2) * each for each in (deviation, 0.5)]
    rows: list[list[Cell]] = []
    for name, means in columns.items():
        differences = [abs(a - b) for a, b in itertools.combinations(means.values(), 2)]
        best, second = sorted(means, key=lambda method: -means[method])[:2]
        told = [str(sum(difference > limit for difference in differences)) for limit in least]
        rows.append([name, *told, f"{best} {means[best]:.2f}, {second} {means[second]:.2f}"])
    return Table(
        "decided",
        "Differences that one run of each can tell",
        ["the paper's column", f"over {least[0]:.1f} points", f"over {least[1]:.1f} points", "the best two"],
        rows,
        "Of the 66 pairs of losses in a column, how many differ by more than 1.96 √2 deviations of one run: "
        f"of {deviation:.1f} points, as the paper's twin rows have it (with their interval the limit is "
        f"{1.96 * math.sqrt(2) * low:.1f} to {1.96 * math.sqrt(2) * high:.1f}), and of half a point, as the "
        "literature has it below a rate of 0.8. Nothing is corrected for there being 66.",
    )


# Short runs, dead classes, memory ---------------------------------------------------------------------


def short(tenth: Results) -> Table:
    """The study on a tenth: accuracy and dead classes."""
    rows: list[list[Cell]] = []
    for loss in PAPER:
        row: list[Cell] = [loss]
        for noise in TENTH_NOISES:
            row += [cell(tenth, accuracy, loss, noise), cell(tenth, dead, loss, noise, factor=1)]
        rows.append(row)
    return Table(
        "short",
        "A tenth of the images, 20 epochs",
        ["loss", *(text for noise in TENTH_NOISES for text in (words(noise), "dead"))],
        rows,
        "5,000 images of cifar10-jpeg, the paper's network at a quarter of its widths, 20 epochs (800 "
        "steps), bfloat16: test accuracy of the last epoch in per cent on all 10,000 test images, and how "
        f"many classes are recalled to 1 % or less; mean ± deviation, {_seeds(tenth, TENTH_NOISES)} "
        f"({machines(tenth)}).",
    )


def longer(runs: Runs) -> Table:
    """What the length of training does to the losses, and to their order."""
    lengths = {"800": runs.tenth, "4,000": runs.longer, "46,920": runs.paper}
    losses = runs.longer.losses
    rows: list[list[Cell]] = [[loss] for loss in losses]
    for results in lengths.values():
        for row, loss in zip(rows, losses, strict=True):
            row += [cell(results, measure, loss, COLUMN) for measure in (accuracy, memorized)]
    *early, end = (
        [np.mean(list(results.values(accuracy, loss, COLUMN).values())) for loss in losses]
        for results in lengths.values()
    )
    agreement = [stats.kendalltau(means, end) for means in early]
    said = [f"{found.statistic:+.2f} (p = {found.pvalue:.2f})".replace("-", "−") for found in agreement]
    return Table(
        "longer",
        f"The same losses after more steps, {words(COLUMN)}",
        ["loss", *(text for steps in lengths for text in (f"{steps} steps", "by heart"))],
        rows,
        "Test accuracy of the last epoch and share of the wrong labels learned by heart, per cent. A tenth "
        f"of the images for 20 epochs ({_seeds(runs.tenth, [COLUMN])}) and for 100 "
        f"({_seeds(runs.longer, [COLUMN])}; {machines(runs.longer)}); all of them for 120 "
        f"({_seeds(runs.paper, [COLUMN])}), by a network four times as wide. Kendall's τ of the order of "
        f"these {len(losses)} losses with that at the end of the last: {said[0]} after 800 steps, {said[1]} "
        "after 4,000.",
    )


def dying(runs: Runs) -> Table:
    """How long classes are dead, by loss and noise."""
    found: dict[tuple[str, ...], list[str]] = {}
    for title, results in (
        ("all images", runs.paper),
        ("a tenth, 100 epochs", runs.longer),
        ("digits", runs.digits),
    ):
        for noise, loss in itertools.product(results.noises, results.losses):
            counts = [(run.recall <= DEAD_RECALL).sum(axis=1) for run in results.cell(loss, noise)]
            last = [int(np.flatnonzero(count)[-1]) + 1 if count.any() else 0 for count in counts]
            if counts and max(last) > EARLY:
                spans = [span([int(c.max()) for c in counts]), span(last), span([int(c[-1]) for c in counts])]
                found.setdefault((title, words(noise), *spans, str(len(counts))), []).append(loss)
    return Table(
        "dead",
        "Dead classes",
        ["data", "noise", "loss", "at most", "last epoch with one", "at the end", "n"],
        [[title, noise, ", ".join(names), *rest] for (title, noise, *rest), names in found.items()],
        "A class is dead while its recall on the test set is 1 % or less; least and most over the runs. All "
        "images: 120 epochs of 391 steps; a tenth: 100 of 40; digits: 60 of 12. Losses that are not "
        f"listed had none after epoch {EARLY}.",
    )


def memory(runs: Runs) -> Table:
    """What losses learn by heart."""
    where = [
        (results, noise, f"{title}, {words(noise)}")
        for title, results, noises in (
            ("all images", runs.paper, runs.paper.noises),
            ("digits", runs.digits, runs.digits.noises),
            ("a tenth", runs.tenth, TENTH_NOISES),
        )
        for noise in noises
        if noise != "none"
    ]
    return Table(
        "memory",
        "Learned by heart",
        ["loss", *(name for *_, name in where)],
        [[loss, *(cell(results, memorized, loss, noise) for results, noise, _ in where)] for loss in PAPER],
        "Of the wrong training labels, the share that the last model predicts, per cent, mean ± deviation "
        "over the seeds. A model that guesses predicts 10 % of them.",
    )


# Weights and kinds of noise -----------------------------------------------------------------------------


def knob(results: Results) -> Table:
    """Accuracy and memory over the weights of nce and mae."""
    equal = "nce+mae"
    rows: list[list[Cell]] = []
    for active, passive, loss in weights(results):
        row: list[Cell] = [f"{active:g}", f"{passive:g}"]
        for noise in KNOB_NOISES:
            row.append(cell(results, accuracy, loss, noise))
            if noise != "none":
                both = (results.values(accuracy, each, noise) for each in (loss, equal))
                row.append(interval(compare(*both).difference) if loss != equal else None)
                row.append(cell(results, memorized, loss, noise, 0))
        rows.append(row)
    columns = ["clean"]
    for noise in KNOB_NOISES[1:]:
        columns += [words(noise), "from a = b = 1", "by heart"]
    return Table(
        "knob",
        "a nce + b mae",
        ["a", "b", *columns],
        rows,
        "Digits, small-cnn, 60 epochs: test accuracy of the last epoch and share of wrong labels learned by "
        f"heart, per cent, mean ± deviation, {_seeds(results, KNOB_NOISES)} ({machines(results)}). From a = "
        "b = 1: the 95 % interval of the difference, seed by seed (Student).",
    )


def forms(tenth: Results, tenth_rates: Mapping[str, float]) -> Table:
    """Other noise of the same rate, seed by seed."""
    people, matrix, pairs = (
        next(noise for noise in tenth.noises if noise.startswith(kind))
        for kind in ("human:", "matrix:", "asymmetric:0.4@")
    )
    each = "asymmetric:0.4"
    questions = [
        ("people's labels against symmetric", people, COLUMN),
        ("people's labels against their matrix", people, matrix),
        ("their matrix against symmetric", matrix, COLUMN),
        ("asymmetric, pair after pair against each by itself", pairs, each),
    ]
    rates = {noise: f"{100 * tenth_rates[noise]:.1f}" for noise in (people, matrix, pairs, COLUMN, each)}
    rows: list[list[Cell]] = []
    for question, first, second in questions:
        for loss in ("ce", "nce+rce"):
            ours, other = (tenth.values(accuracy, loss, noise) for noise in (first, second))
            found = compare(ours, other).difference
            means = [cell(tenth, accuracy, loss, noise) for noise in (first, second)]
            difference = Number(100 * found.mean, signed=True, digits=1)
            wrong = f"{rates[first]}, {rates[second]}"
            rows.append([question, wrong, loss, *means, difference, interval(found), str(found.n)])
    return Table(
        "forms",
        "Other noise of the same nominal rate",
        [
            "what against what",
            "wrong labels",
            "loss",
            "the first",
            "the second",
            "difference",
            "95 % interval",
            "n",
        ],
        rows,
        "The small study: per cent of the labels wrong; test accuracy of the last epoch in per cent, mean ± "
        "deviation; differences seed by seed with Student's interval. People's labels: CIFAR-10N's worst of "
        "three; of these a seed changes weights and order only. Their matrix: labels drawn that go wrong as "
        "often and into the same classes, for any image of a class alike.",
    )


# Claims and time ------------------------------------------------------------------------------------------


def claims(sets: Sequence[tuple[str, Results]]) -> Table:
    """The verdict on every claim of the paper, by data."""
    findings = {name: judge(OBSERVATIONS, results) for name, results in sets}
    rows: list[list[Cell]] = [
        [claim.name, claim.section, *(found[place].status for found in findings.values())]
        for place, claim in enumerate(OBSERVATIONS)
    ]
    statuses = ("supported", "contradicted", "undecided", "not measured")
    totals = [
        f"{name}: " + ", ".join(f"{sum(f.status == s for f in found)} {s}" for s in statuses)
        for name, found in findings.items()
    ]
    return Table(
        "claims", "The paper's claims", ["claim", "section", *findings], rows, "; ".join(totals) + "."
    )


def seconds(paper: Results) -> str:
    """Say what an epoch took."""
    every = [run.curves["train_seconds"] + run.curves["eval_seconds"] for run in paper.done]
    # the first epochs record the graph; later ones of the last runs had the card to fewer
    epoch = statistics.median(np.concatenate([each[2:60] for each in every]))
    asked = statistics.median(np.concatenate([run.curves["data_seconds"][2:60] for run in paper.done]))
    return (
        f"An epoch with its evaluation, four runs at once ({machines(paper)}): {epoch:.2f} s, "
        f"{epoch / 4:.3f} s a run; asking for batches took {100 * asked / epoch:.1f} % of it.\n"
    )


def texts(runs: Runs) -> Iterator[tuple[str, str]]:
    """Yield the name and the Markdown of everything but the figures."""
    for table in tables(runs):
        yield table.name, markdown(table)
    yield "seconds", seconds(runs.paper)


def renewed(document: str, runs: Runs) -> str:
    """Return the document with every table between its marks as the runs have it."""
    for name, text in texts(runs):
        begin, end = f"<!-- {name} -->\n", f"\n<!-- /{name} -->"
        before, marked, rest = document.partition(begin)
        _, closed, after = rest.partition(end)
        if not (marked and closed):
            raise SystemExit(f"the document has no place for {name}: {begin.strip()} and {end.strip()}")
        document = f"{before}{begin}\n{text}{end}{after}"
    return document


def digests(runs: Runs) -> dict[str, str]:
    """Return what tells whether a figure is that of the runs: a digest of all that it shows."""
    return {
        figure.name: hashlib.sha256(json.dumps(figure.spec(), sort_keys=True).encode()).hexdigest()
        for figure in figures(runs)
    }


def main(options: Options) -> None:
    runs, out = Runs(options.results), options.results / "found"
    write_text(options.document, renewed(options.document.read_text(encoding="utf-8"), runs))
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "figures.json", digests(runs))
    for figure in figures(runs):
        draw(figure, out, (".svg",))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
