"""``noisylabels tune``: search loss weights, parameters and learning rate on noisy validation labels."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import tyro

from noisylabels.cli import output
from noisylabels.experiment import RunConfig, load_config

if TYPE_CHECKING:
    from noisylabels.study.tune import Tuned

SHOWN = 5
"""Number of trials in the table."""


@dataclass
class Tune:
    """Tune the weights and parameters of a loss and the learning rate without clean labels.

    Trials are compared by accuracy on a held-out share of the training set with its given labels, correct or
    not; test data play no part. The settings are those of `train`. Running the same command again resumes a
    stopped search. --validation is a tenth unless given. Needs Optuna (pip install '.[tune]' in a clone).

    For example:
        noisylabels tune digits --noise symmetric:0.4 --epochs 20 --trials 30
        noisylabels tune --data photos/ --loss nce+agce --epochs 10 --out tunes/photos
    """

    recipe: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[RECIPE]")] = None
    """digits, paper, or the path of a TOML file of settings"""
    settings: RunConfig = field(default_factory=RunConfig)
    trials: int = 20
    """total number of trials"""
    search: tuple[str, ...] = ("weights", "parameters", "lr")
    """what to search: any of weights, parameters, lr"""
    by: str = "validation_accuracy"
    """measure by which trials are compared; measures on test data are refused"""
    prune: bool = True
    """stop trials early that are below the median of the others"""
    time_budget: str | None = None
    """time after which a checkpoint is written and the search stops, such as 90s, 9m or 1h30m; the same
    command resumes it"""

    def run(self) -> int:
        """Search, with progress in a terminal, and print the best trials."""
        import time

        from noisylabels.cli.terminal import TerminalReporter, console
        from noisylabels.core.interrupt import Interrupted
        from noisylabels.core.process import keep_freed_memory, limit_threads
        from noisylabels.study.plan import read_seconds
        from noisylabels.study.tune import tune

        config = load_config(
            None, **{f.name: getattr(self.settings, f.name) for f in dataclasses.fields(RunConfig)}
        )
        until = time.monotonic() + read_seconds(self.time_budget) if self.time_budget else float("inf")
        time_is_up = False

        def stop() -> bool:  # not asked after a signal
            nonlocal time_is_up
            time_is_up = time.monotonic() > until
            return time_is_up

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
                    stop=stop,
                )
        except Interrupted:
            if time_is_up:
                output.complain("the time is up; run the same command again to resume")
                return 0
            raise
        if not tuned.ranked:
            output.complain(f"no trial in {tuned.out} finished")
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
    """Return the summary of a search, with the command that trains the best settings in full."""
    ranked = tuned.ranked
    count = {
        state: sum(trial.state == state for trial in tuned.tried) for state in ("whole", "pruned", "failed")
    }
    first, value, error = ranked[0], ranked[0].value or 0.0, tuned.error
    equal = sum((trial.value or 0.0) >= value - error for trial in ranked[1:])
    others = {0: "no other trial is", 1: "1 other trial is"}.get(equal, f"{equal} other trials are")
    full = first.config
    if "validation" not in wanted.table_recipe.split(","):  # which would hold out as many
        full = dataclasses.replace(full, validation=wanted.validation)
    if not full.validation:
        full = dataclasses.replace(full, keep_epoch="last")
    lines = [
        "",
        f"{len(tuned.tried)} trials: {count['whole']} complete, {count['pruned']} stopped early, "
        f"{count['failed']} diverged",
        f"  best trial    {100 * value:.2f} % on {tuned.validation:,} noisy validation labels, one seed",
        f"  uncertainty   {100 * error:.2f} points (standard error): {others} within it",
        "  This is not an accuracy: the labels are noisy, and the best of many trials is partly luck.",
        "  To measure how good the settings are, train them in full:",
        f"  {command_line(full)}",
    ]
    return "\n".join(lines)


def command_line(config: RunConfig) -> str:
    """Return the command that trains a configuration, with the settings that `train` would not have itself.

    These are the settings that differ from the defaults, and those that `train` decides by the data, such as
    the encoder of photographs, unless they are named.

    >>> command_line(RunConfig(loss="ce", lr=0.5, channels_last=False))
    'noisylabels train --loss ce --lr 0.5 --no-channels-last'
    """
    every = {each.name: each.default for each in dataclasses.fields(RunConfig) if each.name != "out"}
    values = {name: getattr(config, name) for name in every}
    named = {name for name in every if values[name] != every[name]}
    while True:  # naming one setting can change what is decided for others
        alone = load_config(None, **{name: values[name] for name in named})
        if not (decided := {name for name in every if getattr(alone, name) != values[name]}):
            break
        named |= decided
    words = ["noisylabels", "train"]
    for name in (name for name in every if name in named):
        value, flag = values[name], name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", _word(value)]
    return shlex.join(words)


def _word(value: object) -> str:
    """Return the word on a command line that is read as a value."""
    if isinstance(value, float) and float(short := f"{value:g}") == value:
        return short
    return str(value) or "none"  # as in --table-recipe none
