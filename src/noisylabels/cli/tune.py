"""``noisylabels tune``: search weights, parameters and learning rate by noisy validation labels."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import tyro

from noisylabels.experiment import RunConfig, load_config

if TYPE_CHECKING:
    from noisylabels.study.tune import Tuned

SHOWN = 5
"""Trials in the table."""


@dataclass
class Tune:
    """Search the weights of a loss, its parameters and the learning rate, without a clean label.

    Trials are judged by their accuracy on labels that are held out of the training set, right or wrong; test
    data has no part in it. Settings are those of `train`; the same command goes on where a stopped one left
    off. Needs Optuna (pip install 'noisylabels[tune]').

    noisylabels tune digits --noise symmetric:0.4 --epochs 20 --trials 30

    noisylabels tune --data photos/ --loss nce+agce --epochs 10 --out tunes/photos
    """

    recipe: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[RECIPE]")] = None
    """digits, paper, or the path of a TOML file of settings"""
    settings: RunConfig = field(default_factory=RunConfig)
    trials: int = 20
    """how many, in all"""
    search: tuple[str, ...] = ("weights", "parameters", "lr")
    """what to search: weights, parameters, lr"""
    by: str = "validation_accuracy"
    """what trials are judged by; test data is refused"""
    prune: bool = True
    """end trials early that are below the median of the others"""
    time_budget: str | None = None
    """90s, 9m, 1h30m: then a checkpoint is written, and the same command goes on"""

    def recipe_config(self) -> RunConfig:
        """Return the settings of the recipe alone."""
        return load_config(self.recipe)

    def run(self) -> int:
        """Search, with progress in a terminal, and print the best."""
        import time

        from noisylabels.cli.terminal import TerminalReporter, console
        from noisylabels.core.process import keep_freed_memory, limit_threads
        from noisylabels.study.plan import read_seconds
        from noisylabels.study.tune import tune
        from noisylabels.training.interrupt import Interrupted

        config = load_config(
            None, **{f.name: getattr(self.settings, f.name) for f in dataclasses.fields(RunConfig)}
        )
        until = time.monotonic() + read_seconds(self.time_budget) if self.time_budget else float("inf")
        keep_freed_memory()
        limit_threads()
        try:
            with TerminalReporter(config.epochs) as reporter:
                tuned = tune(
                    config,
                    self.trials,
                    search=self.search,
                    by=self.by,
                    prune=self.prune,
                    reporter=reporter,
                    stop=lambda: time.monotonic() > until,
                )
        except Interrupted as stopped:
            if time.monotonic() > until:
                print("noisylabels: the time is up; the same command goes on from there", file=sys.stderr)
                return 0
            print(f"noisylabels: {stopped}; the same command goes on from there", file=sys.stderr)
            return 128 + stopped.signal
        if not tuned.ranked:
            print(f"noisylabels: no trial in {tuned.out} came to an end", file=sys.stderr)
            return 1
        console().print(best(tuned), markup=False, soft_wrap=True)
        console().print(summary(tuned, config), markup=False, soft_wrap=True)
        return 0


def best(tuned: Tuned) -> object:
    """Return the table of the best trials."""
    from noisylabels.cli.terminal import table

    rows = [
        [str(trial.number), f"{100 * (trial.value or 0):.2f} %", trial.config.loss, f"{trial.config.lr:g}"]
        for trial in tuned.ranked[:SHOWN]
    ]
    return table(["trial", "validation", "loss", "lr"], rows)


def summary(tuned: Tuned, wanted: RunConfig) -> str:
    """Return what a person wants to know of a search, with the command that trains the best in full."""
    ranked = tuned.ranked
    count = {
        state: sum(trial.state == state for trial in tuned.tried) for state in ("whole", "pruned", "failed")
    }
    first, value, error = ranked[0], ranked[0].value or 0.0, tuned.error
    equal = sum((trial.value or 0.0) >= value - error for trial in ranked[1:])
    others = {0: "no other trial is", 1: "another trial is"}.get(equal, f"{equal} other trials are")
    full = dataclasses.replace(first.config, validation=wanted.validation)
    lines = [
        "",
        f"{len(tuned.tried)} trials: {count['whole']} whole, {count['pruned']} ended early, "
        f"{count['failed']} diverged",
        f"  best, on {tuned.validation:,} validation labels   {100 * value:.2f} %, one run with one seed",
        f"  standard error with so few   {100 * error:.2f} points: {others} as good, for all one can tell",
        "  these labels are as noisy as the others: the best of many is a little lucky, and no accuracy",
        "  train it in full, to see how good it is:",
        f"  {command_line(full)}",
    ]
    return "\n".join(lines)


def command_line(config: RunConfig) -> str:
    """Return the command that trains a configuration: what differs from the defaults.

    >>> command_line(RunConfig(loss="ce", lr=0.5, channels_last=False))
    'noisylabels train --loss ce --lr 0.5 --no-channels-last'
    """
    words = ["noisylabels", "train"]
    for each in dataclasses.fields(RunConfig):
        value, flag = getattr(config, each.name), each.name.replace("_", "-")
        if value == each.default or each.name == "out":
            continue
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)
