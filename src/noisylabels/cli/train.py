"""``noisylabels train``: train on noisy labels and say how it went."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from noisylabels.experiment import RunConfig, RunResult, load_config


@dataclass
class Train:
    """Train a classifier on partly wrong labels, and say how it went.

    Settings come from the defaults (the paper's recipe), then from the recipe, then from flags.
    The run is a folder. The same command goes on where a stopped one left off, to the same end, and
    shows the result of a finished one.

    noisylabels train digits --noise symmetric:0.4 --loss ce

    noisylabels train --data photos/ --loss nce+rce --epochs 30 --out runs/photos
    """

    recipe: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[RECIPE]")] = None
    """digits, paper, or the path of a TOML file of settings"""
    settings: RunConfig = field(default_factory=RunConfig)
    track: tuple[str, ...] = ()
    """any of tensorboard, mlflow, wandb: get the same history (pip install 'noisylabels[track]')"""

    def recipe_config(self) -> RunConfig:
        """Return the settings of the recipe alone."""
        return load_config(self.recipe)

    def run(self) -> int:
        """Train, with progress in a terminal, and print a summary."""
        from noisylabels.cli.terminal import TerminalReporter
        from noisylabels.core.process import keep_freed_memory, limit_threads
        from noisylabels.experiment import run
        from noisylabels.training.interrupt import Interrupted

        # a flag's value went past the checks of a file's: types are tyro's, ranges the dataclass's
        config = load_config(
            None, **{f.name: getattr(self.settings, f.name) for f in dataclasses.fields(RunConfig)}
        )
        keep_freed_memory()
        limit_threads()
        try:
            with TerminalReporter(config.epochs) as reporter:
                result = run(config, reporter, track=self.track)
        except Interrupted as stopped:
            print(f"noisylabels: {stopped}; the same command goes on from there", file=sys.stderr)
            return 128 + stopped.signal
        if result.status == "failed":
            print(f"noisylabels: {result.message} (recorded in {result.path})", file=sys.stderr)
            return 1
        print(summary(result))
        return 0


WAITING_SHARE, WAITING_SECONDS = 0.1, 10.0  # beyond both the summary says so


def summary(result: RunResult) -> str:
    """Return what a person wants to know of a finished run, a few lines."""
    final, noise = result.final or {}, result.noise

    def percent(name: str) -> str:
        return "unknown" if final.get(name) is None else f"{100 * final[name]:.2f} %"

    added = f"noise {noise['spec']} ({100 * noise['rate']:.2f} % of the labels wrong)"
    if noise["spec"] == "none":
        added = "no noise added"  # which says nothing of how many labels were wrong before
    names = result.class_names
    dead = ", ".join(names[k] for k in final["dead_classes"]) or "none"
    chosen = []
    if result.config.get("validation") and (row := result.history.chosen) is not None:
        words = f"  at epoch {row['epoch']}, best on validation"
        chosen = [f"{words:38} {100 * row['test_accuracy']:.2f} %"]
    loss = result.loss or result.config["loss"]
    lines = [
        f"{result.config['data']}, {added}, loss {loss}, epoch {final['epoch']}",
        f"  test accuracy                        {percent('test_accuracy')}",
        *chosen,
        f"  training set, on the labels given    {percent('given_accuracy')}",
    ]
    if final["memorized"] is not None:
        lines += [
            f"  training set, on the true labels     {percent('true_accuracy')}",
            f"  wrong labels: learned by heart       {percent('memorized')}",
            f"  wrong labels: seen through           {percent('recovered')}",
        ]
    lines.append(f"  dead classes (recall at most 1 %)    {dead}")
    seconds, share = result.history.waited()
    if share > WAITING_SHARE and seconds > WAITING_SECONDS:
        lines.append(
            f"  waited for data                      {100 * share:.0f} % of the training time; a faster disk "
            "for NOISYLABELS_CACHE, more memory, a smaller image_size or less augmentation would help"
        )
    lines.append(f"  saved in {result.path}")
    return "\n".join(lines)
