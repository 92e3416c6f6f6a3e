"""Write the tables of docs/measured-weights.md from the runs of the studies weights-*.

    noisylabels study run benchmarks/studies/weights-digits.toml --out runs/weights-digits
    noisylabels study run benchmarks/studies/weights-fashion.toml --out runs/weights-fashion

    noisylabels embed FOLDER/cifar10-jpeg --features efficientnet-lite0@160 --out lite0-160.npz
    noisylabels study run benchmarks/studies/weights-frozen.toml --data-root FOLDER \\
        --labels cifar10n.parquet --out runs/weights-frozen
    noisylabels study run benchmarks/studies/weights-frozen-all.toml --data-root FOLDER \\
        --labels cifar10n.parquet --out runs/weights-frozen-all

    python benchmarks/hundred_classes.py lite0-160.npz --data FOLDER/cifar10-jpeg --out hundred.npz
    noisylabels study run benchmarks/studies/weights-hundred.toml --out runs/weights-hundred

    noisylabels study export runs/weights-digits --file results/weights-digits/runs.parquet  # and so on
    python benchmarks/bench_tune.py --study benchmarks/studies/weights-digits.toml  # likewise
    python benchmarks/weights_table.py

The script trains nothing. It reads the studies that are there, and writes table.md beside the runs of each,
the gains over all of them into results/weights/table.md, and all tables, with those of searches at equal
budgets by bench_tune.py, into the document. Gains are paired: the same seed gives the same noisy labels,
initial weights and order.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq
import tyro
from document_tables import interval, with_tables
from found_runs import machines, span, words
from scipy import stats
from tune_budgets import ruled_jal

from noisylabels.core.files import write_text
from noisylabels.losses import Loss
from noisylabels.losses import loss as read_loss
from noisylabels.report.tables import Cell, Number, Table, markdown
from noisylabels.study.results import Results, accuracy, read_results
from noisylabels.study.statistics import Summary, compare, summarize


@dataclass(frozen=True)
class Setting:
    """A study: its title, the words for it in a sentence, and what its data set is compared with.

    Args:
        preset: the key of the constants of the literature for nce+mae.
        classes: the number of classes, which decides the constants.
        auto: whether ``--loss auto`` chooses `AGCE`. For features it chooses a loss together with a model.
    """

    title: str
    place: str
    preset: str
    classes: int = 10
    auto: bool = False

    @property
    def special(self) -> dict[str, str]:
        """Row of the table over all settings -> the loss that it stands for here."""
        key = "cifar10" if self.classes == 10 else "cifar100"
        return {
            PRESET: f"nce+mae@{self.preset}",
            JAL: f"jal_ce@{key}",
            RULED_JAL: ruled_jal(self.classes),
            AGCE: f"nce+agce@{key}",
        }


SETTINGS = {
    "digits": Setting("Digits", "the digits", "mnist", auto=True),
    "fashion": Setting("Fashion-MNIST", "Fashion-MNIST", "mnist", auto=True),
    "frozen": Setting("Frozen features", "frozen features", "cifar10"),
    "frozen-all": Setting("Frozen features of all images", "frozen features of all images", "cifar10"),
    "hundred": Setting("100 classes", "100 classes", "cifar100", 100),
}

RULED, FIXED = "nce+auto(rule=gradient)*mae", "nce+0.1*mae"

PLAIN = "nce+mae"
"""The weights of the paper."""

PRESET, AGCE = "nce+mae with the published weights", "nce+agce with the published constants"
JAL, RULED_JAL = "JAL with the published a", "JAL with a by the rule noise"
"""Rows that stand for another loss in each setting."""


@dataclass
class Options:
    """Choose where the runs are."""

    results: Path = Path("results")
    """folder of weights-digits and the other exported studies, in which table.md is written"""
    document: Path = Path("docs/measured-weights.md")
    """the document that shows the tables between its markers"""


def base_of(loss: str, losses: Sequence[str]) -> str:
    """Return the loss with weights of 1 that has the same parts, or nce+mae if it is not among the losses."""
    plain = Loss([term.bare for term in read_loss(loss).terms]).expression
    return plain if plain in losses else PLAIN


def accuracies(results: Results, name: str) -> Table:
    """Return mean and deviation of the test accuracy, and the gain over weights of 1, by loss and noise."""
    noises = results.noises
    rows: list[list[Cell]] = []
    bases = {loss: base_of(loss, results.losses) for loss in results.losses}
    for loss in sorted(bases, key=lambda each: (bases[each], each != bases[each], each)):
        row: list[Cell] = [loss]
        for noise in noises:
            found = results.summary(accuracy, loss, noise)
            if found is None:
                row += [None, None]
                continue
            spread = None if found.deviation is None else 100 * found.deviation
            row.append(Number(100 * found.mean, spread, n=found.n, digits=1))
            row.append("" if loss == bases[loss] else gain(results, loss, bases[loss], noise))
        rows.append(row)
    heads = [head for noise in noises for head in (words(noise), "gain")]
    return Table(
        f"weights-{name}",
        SETTINGS[name].title,
        ["loss", *heads],
        rows,
        f"{results.title} ({machines(results)}); seeds {span(results.seeds)}. Test accuracy of "
        "the last epoch, per cent, mean ± sample standard deviation; gain over the weights 1 with the same "
        "seed, in points, with its 95 % interval (Student's t of paired differences, not corrected for the "
        "number of comparisons).",
    )


def beside_fixed(results: Results, name: str) -> Table:
    """Return the gain of the rule gradient over the fixed weight at which it ends."""
    row = [gain(results, RULED, FIXED, noise) for noise in results.noises]
    return Table(
        f"weights-fixed-{name}",
        f"The rule gradient beside a fixed weight on {SETTINGS[name].place}",
        ["gain over", *map(words, results.noises)],
        [[FIXED, *row]],
        f"Test accuracy of {RULED} minus that of {FIXED} with the same seed, in points; 95 % interval.",
    )


def gain(results: Results, loss: str, other: str, noise: str) -> str:
    """Return the paired gain over another loss, with its interval; "" if a seed of both was not run."""
    first, second = (results.values(accuracy, each, noise) for each in (loss, other))
    return interval(compare(first, second).difference) if first.keys() & second.keys() else ""


def chosen(path: Path, name: str) -> Table:
    """Return the weights that rules set: before training by run, in training at the end."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in pq.read_table(path).to_pylist():
        config: Mapping[str, Any] = json.loads(row["config"])
        weight = json.loads(row["environment"]).get("chosen", {}).get("weight")
        final = json.loads(row["final"]) or {}
        weight = weight or next((value for key, value in final.items() if key.startswith("weight_")), None)
        if weight is not None and "auto" in config["loss"]:
            found.setdefault((config["loss"], config["noise"]), []).append(weight)
    rows: list[list[Cell]] = []
    for (loss, noise), weights in sorted(found.items()):
        counts = Counter(f"{weight:.3g}" for weight in sorted(weights))
        few = len(counts) <= 5 and "gradient" not in loss and "agreement" not in loss
        text = ", ".join(f"{value} ({count})" for value, count in counts.items())
        rows.append([loss, words(noise), text if few else f"{min(weights):.3g} to {max(weights):.3g}"])
    return Table(
        f"weights-chosen-{name}",
        f"Weights that the rules set on {SETTINGS[name].place}",
        ["loss", "noise", "weight"],
        rows,
        "accuracy and noise: the weight of each run (number of runs); gradient and agreement: the range over "
        "runs at the end of training.",
    )


# Over all noises and settings ---------------------------------------------------------------------


def named(loss: str, name: str) -> str:
    """Return the loss that a row of the pooled table stands for in a setting."""
    return read_loss(SETTINGS[name].special.get(loss, loss)).expression


def mean_gains(results: Results, loss: str, other: str) -> dict[int, float]:
    """Return seed -> mean gain over all noises; empty unless both losses were run under each."""
    gains: dict[int, list[float]] = {}
    for noise in results.noises:
        first, second = (results.values(accuracy, each, noise) for each in (loss, other))
        for seed in first.keys() & second.keys():
            gains.setdefault(seed, []).append(first[seed] - second[seed])
    return {seed: fmean(each) for seed, each in sorted(gains.items()) if len(each) == len(results.noises)}


def over_settings(
    found: Mapping[str, Results], loss: str, other: str, confidence: float = 0.95
) -> Summary | None:
    """Return the mean gain over all settings, each with the same weight; None unless all have it.

    Settings may have different seeds. Their mean gains are independent, so that the variance of the mean is
    the sum of theirs over the square of their number, with the degrees of freedom of Welch and Satterthwaite.
    """
    gains = [mean_gains(results, named(loss, name), named(other, name)) for name, results in found.items()]
    if not gains or not all(gains):
        return None
    parts = [summarize(list(each.values())) for each in gains]
    mean, n = fmean(part.mean for part in parts), min(part.n for part in parts)
    if n == 1:
        return Summary(mean, None, None, None, n)
    variances = [(part.deviation or 0.0) ** 2 / part.n for part in parts]
    half = 0.0
    if total := sum(variances):
        freedom = total**2 / sum(v**2 / (part.n - 1) for v, part in zip(variances, parts, strict=True))
        half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * math.sqrt(total) / len(parts)
    return Summary(mean, None, mean - half, mean + half, n)


def pooled(found: Mapping[str, Results]) -> Table:
    """Return the gain over nce+mae by loss and setting, over all noises, with what it says of --loss auto."""
    chosen = {name: results for name, results in found.items() if SETTINGS[name].auto}
    places = " and ".join(SETTINGS[name].title for name in chosen)
    rest = (PRESET, JAL, RULED_JAL)
    special = {name: {named(row, name) for row in SETTINGS[name].special} for name in found}
    losses = dict.fromkeys(loss for name, all_ in found.items() for loss in all_.losses if "nce" in loss)
    plain = [loss for loss in losses if loss != PLAIN and not any(loss in each for each in special.values())]
    rows: list[list[Cell]] = []
    for loss in (*rest, *sorted(plain), AGCE):
        row: list[Cell] = [loss]
        for name, results in found.items():
            gains = mean_gains(results, named(loss, name), PLAIN)
            row.append(interval(summarize(list(gains.values()))) if gains else None)
        whole, beside = over_settings(found, loss, PLAIN), over_settings(chosen, loss, AGCE)
        row.append(None if whole is None else interval(whole))
        row.append(None if beside is None or loss == AGCE else interval(beside))
        if any(cell is not None for cell in row[1:]):
            rows.append(row)
    return Table(
        "weights",
        "Gain over nce+mae with weights of 1, over all noises",
        ["loss", *(SETTINGS[name].title for name in found), "all settings", f"{places}: over nce+agce"],
        rows,
        "Test accuracy minus that of nce+mae with the same seed, mean over the noises of each setting, then "
        "over settings, in points, with 95 % intervals over seeds, which do not extend to other data. Empty "
        f"where a loss was not run under every noise of a setting. On {places} `--loss auto` chooses "
        "nce+agce; " + verdict(chosen, [str(row[0]) for row in rows]),
    )


def verdict(chosen: Mapping[str, Results], losses: Sequence[str]) -> str:
    """Return in one sentence whether the choice of --loss auto should change, by the gains over it."""
    others = [loss for loss in losses if loss != AGCE]
    confidence = 1 - 0.05 / max(1, len(others))  # Bonferroni: the best of several is compared
    beside = {loss: over_settings(chosen, loss, AGCE, confidence) for loss in others}
    known = {loss: each for loss, each in beside.items() if each is not None and each.low is not None}
    if not known:
        return "it was not run beside them under every noise."
    above = [loss for loss in known if (known[loss].low or 0.0) > 0]
    best = max(above or known, key=lambda loss: known[loss].mean)
    return (
        f"of {len(known)} alternatives {len(above)} {'is' if len(above) == 1 else 'are'} better; the best is "
        f"{best}, by {interval(known[best])} points, with an interval corrected for the number of "
        "alternatives (Bonferroni)."
    )


def main(options: Options) -> None:
    """Write table.md of each study and of all."""
    parts, found = [], {}
    for name in SETTINGS:
        path = options.results / f"weights-{name}" / "runs.parquet"
        if path.exists():
            (found[name],) = read_results([path])
            tables = (accuracies(found[name], name), beside_fixed(found[name], name), chosen(path, name))
            parts.append("\n\n".join(markdown(table).rstrip() for table in tables) + "\n")
            write_text(path.with_name("table.md"), parts[-1])
    parts.insert(0, markdown(pooled(found)).rstrip() + "\n")
    write_text(options.results / "weights" / "table.md", parts[0])
    searches = sorted((options.results / "benchmarks").glob("weights-*-budgets.md"))
    text = "\n".join([parts[0], *(path.read_text(encoding="utf-8") for path in searches), *parts[1:]])
    document = options.document.read_text(encoding="utf-8")
    write_text(options.document, with_tables(document, [("tables", text)]))
    print(text)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
