"""Write the tables and figures of docs/found.md and docs/measured-found.md from runs and published numbers.

    python benchmarks/found.py

The script trains nothing. It reads exported studies, whose rows hold every epoch, the configuration and the
machine, writes each table into the document between its markers, <!-- NAME --> and <!-- /NAME -->, and draws
the figures into results/found.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from document_tables import figure_digests, with_tables
from found_decisions import decisions
from found_figures import figures
from found_runs import KNOB_NOISES, TENTH_NOISES, Runs, machines, span, weights, words
from scipy import stats

from noisylabels.core.files import write_json, write_text
from noisylabels.losses import PAPER
from noisylabels.paper.observations import OBSERVATIONS
from noisylabels.paper.published import Published, published
from noisylabels.report.figure_files import draw
from noisylabels.report.tables import Cell, Number, Table, markdown
from noisylabels.study.claims import Finding, judge, judge_by_machine
from noisylabels.study.results import Measure, Results, Run, accuracy, dead, memorized
from noisylabels.study.statistics import Summary, compare
from noisylabels.training.metrics import DEAD_RECALL

COLUMN = "symmetric:0.4"
"""The noise that the paper's study has been run with so far."""

WANG = "Wang 2024, Table 2"

EARLY = 3
"""Number of first epochs in which dead classes are not listed."""


@dataclass
class Options:
    """Choose where the runs are and where the tables go."""

    results: Path = Path("results")
    """folder with the studies that `found_runs` names: paper, tenth, ..., each with a runs.parquet"""
    document: Path = Path("docs/measured-found.md")
    """the document with the tables"""
    article: Path = Path("docs/found.md")
    """the document with the table of decisions"""


def tables(runs: Runs) -> list[Table]:
    """Return every table of the document."""
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
        claims(
            {
                "all images": runs.paper,
                "features": runs.frozen,
                "a tenth": runs.tenth,
                "digits": runs.digits,
            }
        ),
    ]


def cell(
    results: Results, measure: Measure, loss: str, noise: str, digits: int = 1, factor: float = 100
) -> Cell:
    """Return mean and deviation of a measure, in per cent unless `factor` is given."""
    found = results.summary(measure, loss, noise)
    if found is None:
        return None
    deviation = None if found.deviation is None else factor * found.deviation
    return Number(factor * found.mean, deviation, n=found.n, digits=digits)


def interval(found: Summary) -> str:
    """Return the 95 % interval of a difference in points, as in "−2.8 to +6.8"."""
    if found.low is None or found.high is None:
        return ""
    return f"{100 * found.low:+.1f} to {100 * found.high:+.1f}".replace("-", "−")


def _seeds(results: Results, noises: Sequence[str]) -> str:
    """Return which seeds were run, per noise if they differ between noises."""
    found = {noise: sorted({run.seed for run in results.done if run.noise == noise}) for noise in noises}
    said = {noise: ", ".join(map(str, seeds)) for noise, seeds in found.items()}
    if len(set(said.values())) == 1:
        (seeds,) = set(said.values())
        return f"seeds {seeds}" if "," in seeds else f"one run each, seed {seeds}"
    return "seeds " + "; ".join(f"{seeds} ({words(noise)})" for noise, seeds in said.items())


def column(paper: Results) -> Table:
    """Return the paper's study at symmetric 0.4 beside the paper and the literature."""
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
        row += [cell(paper, measure, loss, COLUMN) for measure in (memorized, recovered)]
        rows.append(row)
    return Table(
        "column",
        "The paper's setting, 40 % symmetric noise",
        ["loss", "ours", "the paper's", WANG, "our best", "in epoch", "memorized", "recovered"],
        rows,
        f"Test accuracy of the last of 120 epochs, per cent: {paper.data}, {_seeds(paper, [COLUMN])} "
        f"({machines(paper)}). {WANG}: CIFAR-10 itself, mean ± deviation of 3 runs, an exact share of each "
        "class, gradients clipped, A = ln 1e-4 in RCE. Memorized: the share of the noisy training labels "
        "that the last model predicts; recovered: the share for which it predicts the true class instead.",
    )


def recovered(run: Run) -> float | None:
    """Return the share of noisy labels whose true class the last epoch's model predicts."""
    return run.last("recovered")


# Spread ---------------------------------------------------------------------------------------------


def twins() -> list[float]:
    """Return NMAE minus NRCE, two rows of one function, for each noise of the paper."""
    rows = {(row.method, row.noise_type, row.rate): row.mean for row in published(collection="paper")}
    return [rows[key] - rows["NRCE", *key[1:]] for key in rows if key[0] == "NMAE"]


def pooled(differences: Sequence[float]) -> tuple[float, float, float]:
    """Return the deviation of single runs estimated from the differences of pairs, and its 95 % interval.

    ``s^2 = sum d^2 / 2n`` has n degrees of freedom, and ``n s^2 / sigma^2`` is χ² with as many.
    """
    n = len(differences)
    deviation = math.sqrt(sum(difference**2 for difference in differences) / (2 * n))
    low, high = (deviation * math.sqrt(n / stats.chi2.ppf(q, n)) for q in (0.975, 0.025))
    return deviation, low, high


def spread(runs: Runs) -> Table:
    """Return the deviation between runs of one cell, by source."""
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
        rows.append(_spread_row(f"the literature: {name}", "3 runs or more", found))
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
        ["source", "runs", "deviation, points", ""],
        rows,
        "Deviation of the last epoch's test accuracy, pooled: the root of the mean variance of the cells, "
        "and the largest cell's. For the paper, if its code implements its equations: the root of half the "
        "mean square difference. The literature: losses on CIFAR-10 with the 8-layer CNN.",
    )


def _spread_row(who: str, what: str, deviations: Sequence[float]) -> list[Cell]:
    mean = math.sqrt(statistics.fmean(deviation**2 for deviation in deviations))
    return [who, f"{len(deviations)} cells, {what}", f"{mean:.1f}", f"largest {max(deviations):.1f}"]


def decided() -> Table:
    """Return how many of the paper's differences between losses one run of each can resolve."""
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
        "Differences that one run of each can resolve",
        ["the paper's column", f"over {least[0]:.1f} points", f"over {least[1]:.1f} points", "the best two"],
        rows,
        "The number of the 66 pairs of losses in a column that differ by more than 1.96 √2 deviations of one "
        f"run: of {deviation:.1f} points, as estimated from the paper's twin rows (with their interval the "
        f"limit is {1.96 * math.sqrt(2) * low:.1f} to {1.96 * math.sqrt(2) * high:.1f}), and of half a "
        "point, as in the literature below a rate of 0.8. There is no correction for 66 comparisons.",
    )


# Short runs, dead classes, memory ---------------------------------------------------------------------


def short(tenth: Results) -> Table:
    """Return accuracy and dead classes of the study on a tenth."""
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
        "steps), bfloat16: test accuracy of the last epoch in per cent on all 10,000 test images, and the "
        f"number of classes with a recall of 1 % or less; mean ± deviation, {_seeds(tenth, TENTH_NOISES)} "
        f"({machines(tenth)}).",
    )


def longer(runs: Runs) -> Table:
    """Return accuracy and memorization by length of training, and how the order of the losses changes."""
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
        ["loss", *(text for steps in lengths for text in (f"{steps} steps", "memorized"))],
        rows,
        "Test accuracy of the last epoch and share of the noisy labels memorized, per cent. A tenth "
        f"of the images for 20 epochs ({_seeds(runs.tenth, [COLUMN])}) and for 100 "
        f"({_seeds(runs.longer, [COLUMN])}; {machines(runs.longer)}); all images for 120 "
        f"({_seeds(runs.paper, [COLUMN])}), by a network four times as wide. Kendall's τ between the "
        f"order of these {len(losses)} losses and their order after 46,920 steps: {said[0]} after 800 steps, "
        f"{said[1]} after 4,000.",
    )


def dying(runs: Runs) -> Table:
    """Return how long classes are dead, by loss and noise."""
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
        "A class is dead while its recall on the test set is 1 % or less; minimum and maximum over the runs. "
        "All images: 120 epochs of 391 steps; a tenth: 100 of 40; digits: 60 of 12. Losses that are not "
        f"listed had none after epoch {EARLY}.",
    )


def memory(runs: Runs) -> Table:
    """Return the share of noisy labels that each loss memorizes."""
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
        "Memorized noisy labels",
        ["loss", *(name for *_, name in where)],
        [[loss, *(cell(results, memorized, loss, noise) for results, noise, _ in where)] for loss in PAPER],
        "The share of the noisy training labels that the last model predicts, per cent, mean ± deviation "
        "over the seeds. A model that guesses predicts 10 % of them.",
    )


# Weights and kinds of noise -----------------------------------------------------------------------------


def knob(results: Results) -> Table:
    """Return accuracy and memorization by the weights of nce and mae."""
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
        columns += [words(noise), "from a = b = 1", "memorized"]
    return Table(
        "knob",
        "a nce + b mae",
        ["a", "b", *columns],
        rows,
        "Digits, small-cnn, 60 epochs: test accuracy of the last epoch and share of noisy labels memorized, "
        f"per cent, mean ± deviation, {_seeds(results, KNOB_NOISES)} ({machines(results)}). From a = "
        "b = 1: the 95 % interval of the difference, seed by seed (Student).",
    )


def forms(tenth: Results, tenth_rates: Mapping[str, float]) -> Table:
    """Return the differences between noises of the same rate, paired by seed."""
    human, matrix, pairs = (
        next(noise for noise in tenth.noises if noise.startswith(kind))
        for kind in ("human:", "matrix:", "asymmetric:0.4@")
    )
    each = "asymmetric:0.4"
    questions = [
        ("human annotations, symmetric", human, COLUMN),
        ("human annotations, their matrix", human, matrix),
        ("their matrix, symmetric", matrix, COLUMN),
        ("asymmetric in sequential pairs, asymmetric", pairs, each),
    ]
    rates = {noise: f"{100 * tenth_rates[noise]:.1f}" for noise in (human, matrix, pairs, COLUMN, each)}
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
            "first noise, second noise",
            "noisy labels",
            "loss",
            "first",
            "second",
            "difference",
            "95 % interval",
            "n",
        ],
        rows,
        "The small study: noisy labels in per cent under the first and the second noise; test accuracy of "
        "the last epoch in per cent, mean ± deviation; differences paired by seed with Student's interval. "
        "Human annotations: CIFAR-10N's worst of three, of which a seed changes weights and order only. "
        "Their matrix: class-conditional noise drawn from the transition matrix of these annotations.",
    )


# Claims and time ------------------------------------------------------------------------------------------


def claims(sets: Mapping[str, Results]) -> Table:
    """Return the verdict on every claim of the paper, by data."""
    findings = {name: judge(OBSERVATIONS, results) for name, results in sets.items()}
    rows: list[list[Cell]] = [
        [claim.name, claim.section, *(found[place].status for found in findings.values())]
        for place, claim in enumerate(OBSERVATIONS)
    ]
    statuses = ("supported", "contradicted", "undecided", "not measured")
    totals = [
        f"{name}: " + ", ".join(f"{sum(f.status == s for f in found)} {s}" for s in statuses)
        for name, found in findings.items()
    ]
    apart = [
        sentence
        for name, results in sets.items()
        for sentence in _other_verdicts(name, findings[name], judge_by_machine(OBSERVATIONS, results))
    ]
    note = " ".join(["; ".join(totals) + ".", *apart])
    return Table("claims", "The paper's claims", ["claim", "section", *findings], rows, note)


def _other_verdicts(
    name: str, findings: Sequence[Finding], by_machine: Mapping[str, Sequence[Finding]]
) -> Iterator[str]:
    """Yield a sentence per machine: how many verdicts its runs alone give otherwise."""
    decided = {"supported", "contradicted"}
    for machine, alone in by_machine.items():
        pairs = [{a.status, b.status} for a, b in zip(findings, alone, strict=True)]
        differ = sum(len(pair) > 1 for pair in pairs)
        yield (
            f"Runs of {machine} alone, {name}: {differ} of {len(pairs)} verdicts differ, "
            f"{sum(pair == decided for pair in pairs)} of them reversed."
        )


def seconds(paper: Results) -> str:
    """Return a sentence on what an epoch took."""
    # the other noises are in float32, or were run with other numbers of runs at once
    timed = [run for run in paper.done if run.config["noise"] == COLUMN]
    every = [run.curves["train_seconds"] + run.curves["eval_seconds"] for run in timed]
    # the first epochs record the CUDA graph; in late epochs fewer runs shared the GPU
    epoch = statistics.median(np.concatenate([each[2:60] for each in every]))
    asked = statistics.median(np.concatenate([run.curves["data_seconds"][2:60] for run in timed]))
    return (
        f"With four runs at once ({machines(paper)}) an epoch with its evaluation takes {epoch:.2f} s, so "
        f"that one is completed every {epoch / 4:.3f} s; waiting for batches took "
        f"{100 * asked / epoch:.1f} % of it.\n"
    )


def texts(runs: Runs) -> Iterator[tuple[str, str]]:
    """Yield the name and the Markdown of every table and sentence."""
    for table in tables(runs):
        yield table.name, markdown(table)
    yield "seconds", seconds(runs.paper)


PHOTOGRAPHS = Path("docs/measured-photographs.md")
"""A second document, which shows the table `column` alone."""


def renewed(document: str, runs: Runs, only: str = "") -> str:
    """Return the document with every table, or one of them, between its markers rebuilt from the runs."""
    return with_tables(document, (each for each in texts(runs) if only in ("", each[0])))


def decided_upon(article: str, runs: Runs) -> str:
    """Return the article with its table of decisions rebuilt from the runs."""
    return with_tables(article, [("decisions", decisions(runs))])


def digests(runs: Runs) -> dict[str, str]:
    """Return a digest of the content of each figure."""
    return figure_digests(figures(runs))


def main(options: Options) -> None:
    runs, out = Runs(options.results), options.results / "found"
    write_text(options.document, renewed(options.document.read_text(encoding="utf-8"), runs))
    write_text(options.article, decided_upon(options.article.read_text(encoding="utf-8"), runs))
    write_text(PHOTOGRAPHS, renewed(PHOTOGRAPHS.read_text(encoding="utf-8"), runs, only="column"))
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "figures.json", digests(runs))
    for figure in figures(runs):
        draw(figure, out, (".svg",))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
