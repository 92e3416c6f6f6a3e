"""Compare approaches to choose the weights of nce and mae that train for the same number of epochs in all.

`bench_tune.py --study FILE` runs them. A budget is a number of trainings as long as one of the study; the
trials of a search count, pruned ones by the epochs that they ran, as do the short trainings of the rule
accuracy and the last training, on all given labels, with the settings that were best on held-out ones.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from document_tables import interval
from found_runs import words

from noisylabels.core.checks import InputError
from noisylabels.experiment import RunConfig, Silent, run
from noisylabels.experiment.auto_weight import plan_rounds
from noisylabels.losses import loss as read_loss
from noisylabels.study.grid import Cell
from noisylabels.study.statistics import Summary, summarize
from noisylabels.study.tune import Tried, tune

SEARCHED = "1:1, learning rate searched"
"""The approach with weights of 1 that spends the budget as the others do: gains are over it."""

Measured = Mapping[str, Any]
"""A row of the results: one approach with one noise and seed."""


@dataclass(frozen=True)
class Approach:
    """How to spend a budget.

    Args:
        loss: the loss to start from; PRESET stands for the constants of the literature, JAL for `ruled_jal`.
        search: what `tune` searches; nothing for a single training.
        long: whether a single training takes the whole budget.
    """

    loss: str
    search: tuple[str, ...] = ("lr",)
    long: bool = False


PRESET, JAL = "preset", "jal"

APPROACHES = {
    "1:1, one training": Approach("nce+mae", ()),
    "1:1, one long training": Approach("nce+mae", (), long=True),
    SEARCHED: Approach("nce+mae"),
    "preset of the literature, learning rate searched": Approach(PRESET),
    "rule gradient, learning rate searched": Approach("nce+auto(rule=gradient)*mae"),
    "rule accuracy, learning rate searched": Approach("nce+auto(rule=accuracy)*mae"),
    "rule noise (JAL), learning rate searched": Approach(JAL),
    "rule agreement, learning rate searched": Approach("auto(rule=agreement)*nce+mae"),
    "tune: weights and learning rate": Approach("nce+mae", ("weights", "lr")),
}

PRESETS = {"digits": "mnist", "fashion-mnist": "mnist", "cifar10-jpeg": "cifar10"}
"""Data set -> key of the constants of the literature; of another one cifar10, or cifar100 with 32 or more
classes."""


def ruled_jal(classes: int) -> str:
    """Return nce + amse(a) with a by the rule noise: ``K amse(a) = mse + (a-1) mae`` but for a constant."""
    return f"nce+{1 / classes:g}*mse+{1 / classes:g}*auto(rule=noise)*mae"


class Epochs(Silent):
    """A reporter that counts the epochs of all trainings."""

    def __init__(self) -> None:
        self.count = 0

    def epoch(self, row: dict[str, Any]) -> None:
        """Count an epoch."""
        self.count += 1


def epochs_before(config: RunConfig) -> int:
    """Return the epochs of the short trainings of the rule accuracy, which a reporter does not see."""
    made = read_loss(config.loss)
    if made.rule != "accuracy":
        return 0
    budget = next(term.varying.parameters["budget"] for term in made.terms if term.varying)
    weights, rounds = plan_rounds(config.epochs, budget)
    return sum(epochs * (len(weights) >> number) for number, epochs in enumerate(rounds))


def search(config: RunConfig, what: Sequence[str], budget: int) -> tuple[Tried, int, int]:
    """Return the best trial of a search that leaves epochs for one more training, its epochs and trials.

    Raises:
        InputError: a budget of less than one trial and one training.
    """
    seen, trials, spent = Epochs(), 0, 0
    before = epochs_before(config)
    whole = config.epochs + before
    if budget < 2 * whole:
        raise InputError(
            f"the budget is {budget} epochs, expected {2 * whole} or more: a trial and the last training of "
            f"{config.loss} take {whole} each; give a larger --budget"
        )
    while budget - spent >= 2 * whole:
        trials += (budget - whole - spent) // whole  # so many fit even if none is pruned
        found = tune(config, trials, search=what, reporter=seen)
        spent = seen.count + trials * before
    return found.ranked[0], spent, trials


def measured(config: RunConfig, name: str, trainings: int, preset: str, classes: int) -> dict[str, Any]:
    """Return the test accuracy of one approach within a budget, with what it found and spent.

    Args:
        config: of one training; its loss is replaced.
        name: of `APPROACHES`.
        trainings: the budget in trainings; a search needs 2 or more.
        preset: key of the constants of the literature.
        classes: the number of classes.
    """
    approach = APPROACHES[name]
    loss = {PRESET: f"nce+mae@{preset}", JAL: ruled_jal(classes)}.get(approach.loss, approach.loss)
    config = dataclasses.replace(config, loss=read_loss(loss).expression)
    budget, spent, trials = trainings * config.epochs, 0, 0
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        best = dataclasses.replace(config, epochs=budget) if approach.long else config
        if approach.search:
            start = dataclasses.replace(config, out=str(Path(folder) / "search"))
            tried, spent, trials = search(start, approach.search, budget)
            best = dataclasses.replace(tried.config, validation=config.validation)
        last = Epochs()
        result = run(dataclasses.replace(best, out=str(Path(folder) / "best")), last)
    accuracy = (result.final or {}).get("test_accuracy") if result.status == "done" else None
    return {
        "accuracy": accuracy,
        "loss": best.loss,
        "trained": result.loss,
        "lr": best.lr,
        "trials": trials,
        "epochs": spent + last.count + epochs_before(best),
        "cpu_seconds": time.process_time() - began,
    }


def rows_of(
    cell: Cell, classes: int, trainings: int, known: Sequence[Measured]
) -> Sequence[Callable[[], dict[str, Any]]]:
    """Return one call per approach that is not among the known rows; it returns the row."""
    key = {"noise": words(cell.config.noise), "seed": cell.config.seed, "trainings": trainings}
    preset = PRESETS.get(Path(cell.config.data).name) or ("cifar100" if classes >= 32 else "cifar10")
    done = {row["approach"] for row in known if key.items() <= row.items()}

    def make(name: str) -> Callable[[], dict[str, Any]]:
        return lambda: key | {"approach": name} | measured(cell.config, name, trainings, preset, classes)

    return [make(name) for name in APPROACHES if name not in done]


def table(rows: Sequence[Measured], title: str) -> str:
    """Return the results as Markdown, with the gain over 1:1 at the same budget and what it says of tune."""
    noises = list(dict.fromkeys(row["noise"] for row in rows))
    found: dict[str, dict[tuple[str, int], float]] = {
        name: {
            (row["noise"], row["seed"]): row["accuracy"]
            for row in rows
            if row["approach"] == name and row["accuracy"] is not None
        }
        for name in APPROACHES
    }
    heads = [head for noise in noises for head in (noise, "gain")]
    lines = [
        f"| {' | '.join(['approach', 'epochs', 'trials', *heads, 'gain over all noises'])} |",
        f"|---|---:|---:|{'---|' * (len(heads) + 1)}",
    ]
    for name, values in found.items():
        mine = [row for row in rows if row["approach"] == name]
        if not values:
            continue
        cells = [name, f"{fmean(row['epochs'] for row in mine):.0f}", _span([row["trials"] for row in mine])]
        for noise in noises:
            here = [value for (at, _), value in values.items() if at == noise]
            cells.append(_mean(summarize(here)) if here else "")
            cells.append(gain(found, name, [noise]))
        lines.append(f"| {' | '.join([*cells, gain(found, name, noises)])} |")
    return "\n".join(
        [
            f"**{title}**",
            "",
            *lines,
            "",
            f"{len({row['seed'] for row in rows})} seeds; a budget of {rows[0]['trainings']} trainings. "
            "Epochs are those of all trainings, trials included, mean per run of the approach; a search may "
            "leave less than one training of its budget unused. Test accuracy of the last epoch of the last "
            "training, per cent, mean ± sample standard deviation; gain over "
            f"“{SEARCHED}” with the same seed, in points, with its 95 % interval (Student's t). "
            + _verdict(found, noises),
            "",
        ]
    )


def gains(
    found: Mapping[str, Mapping[tuple[str, int], float]], name: str, noises: Sequence[str]
) -> Summary | None:
    """Return the gain over `SEARCHED`, the mean over the noises per seed; None without common seeds."""
    by_seed: dict[int, list[float]] = {}
    for at in found[name].keys() & found[SEARCHED].keys():
        if at[0] in noises:
            by_seed.setdefault(at[1], []).append(found[name][at] - found[SEARCHED][at])
    means = {seed: fmean(each) for seed, each in by_seed.items() if len(each) == len(noises)}
    if name == SEARCHED or not means:
        return None
    return summarize(list(means.values()))


def gain(found: Mapping[str, Mapping[tuple[str, int], float]], name: str, noises: Sequence[str]) -> str:
    """Return a gain in words, "" where there is none."""
    summary = gains(found, name, noises)
    return "" if summary is None else interval(summary)


def _verdict(found: Mapping[str, Mapping[tuple[str, int], float]], noises: Sequence[str]) -> str:
    """Return a sentence with the approaches that are better, and those that are worse, over all noises."""
    known = {name: gains(found, name, noises) for name in APPROACHES}
    better = [name for name, each in known.items() if each and each.low is not None and each.low > 0]
    worse = [name for name, each in known.items() if each and each.high is not None and each.high < 0]
    return (
        f"Better over all noises (interval above 0): {'; '.join(better) or 'none'}. "
        f"Worse (below 0): {'; '.join(worse) or 'none'}."
    )


def _mean(found: Summary) -> str:
    spread = "" if found.deviation is None else f" ± {100 * found.deviation:.1f}"
    return f"{100 * found.mean:.1f}{spread}"


def _span(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
