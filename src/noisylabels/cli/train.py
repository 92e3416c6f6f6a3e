"""``noisylabels train``: train on noisy labels and print a summary."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from noisylabels.experiment import RunConfig, RunResult, load_config


@dataclass
class Train:
    """Train a classifier on noisy labels and print a summary.

    Defaults (the paper's recipe) are overridden by the recipe, and the recipe by flags. The run is saved in a
    folder. Running the same command again resumes a stopped run, with the same final weights as an
    uninterrupted one, or shows the result of a finished one.

    For example:
        noisylabels train digits --noise symmetric:0.4 --loss ce
        noisylabels train --data photos/ --loss nce+rce --epochs 30 --out runs/photos
    """

    recipe: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[RECIPE]")] = None
    """digits, paper, or the path of a TOML file of settings"""
    settings: RunConfig = field(default_factory=RunConfig)
    track: tuple[str, ...] = ()
    """trackers that also receive the history: any of tensorboard, mlflow, wandb (pip install
    'noisylabels[track]')"""

    def run(self) -> int:
        """Train, with progress in a terminal, and print a summary."""
        from noisylabels.cli.terminal import TerminalReporter
        from noisylabels.core.process import keep_freed_memory, limit_threads
        from noisylabels.experiment import run

        # flags skip the checks of a recipe file: tyro checks only types, the dataclass only ranges
        config = load_config(
            None, **{f.name: getattr(self.settings, f.name) for f in dataclasses.fields(RunConfig)}
        )
        keep_freed_memory()
        limit_threads()
        with TerminalReporter(config.epochs) as reporter:
            result = run(config, reporter, track=self.track)
        if result.status == "failed":
            print(f"noisylabels: {result.message} (recorded in {result.path})", file=sys.stderr)
            return 1
        print(summary(result))
        return 0


WAITING_SHARE, WAITING_SECONDS = 0.1, 10.0  # beyond both, the summary reports the wait


def summary(result: RunResult) -> str:
    """Return the summary of a finished run, a few lines."""
    last, noise = result.final or {}, result.noise
    final = result.kept or last

    def percent(name: str) -> str:
        return "unknown" if final.get(name) is None else f"{100 * final[name]:.2f} %"

    added = f"noise {noise['spec']} ({100 * noise['rate']:.2f} % noisy labels)"
    if noise["spec"] == "none":
        added = "no noise added"  # the data's own label errors are unknown
    names = result.class_names
    dead = ", ".join(names[k] for k in final["dead_classes"]) or "none"
    others = []
    if result.kept is not None:
        if last["epoch"] != final["epoch"]:
            words = f"at the last epoch, {last['epoch']}"
            others = [f"  {words:36} {100 * last['test_accuracy']:.2f} %"]
    elif (row := result.history.chosen) is not None:
        words = f"at epoch {row['epoch']}, best on validation"
        others = [f"  {words:36} {100 * row['test_accuracy']:.2f} %"]
    loss = result.loss or result.config["loss"]
    if result.config.get("table_recipe"):
        loss += f", model {result.model}"
    epoch = f"epoch {final['epoch']}" + (", best on validation" if result.kept else "")
    lines = [
        f"{result.config['data']}, {added}, loss {loss}, {epoch}",
        f"  test accuracy                        {percent('test_accuracy')}{_tested_on(result)}",
        *others,
        f"  training set: given labels           {percent('given_accuracy')}",
    ]
    if final["memorized"] is not None:
        lines += [
            f"  training set: true labels            {percent('true_accuracy')}",
            f"  noisy labels: memorized              {percent('memorized')} (predicted as given)",
            f"  noisy labels: recovered              {percent('recovered')} (predicted as their true class)",
        ]
    lines.append(f"  dead classes (recall at most 1 %)    {dead}")
    seconds, share = result.history.waited()
    if share > WAITING_SHARE and seconds > WAITING_SECONDS:
        lines.append(
            f"  waited for data                      {100 * share:.0f} % of the training time; use a faster "
            "disk for NOISYLABELS_CACHE, more memory, a smaller image_size or less augmentation"
        )
    lines.append(f"  saved in {result.path}")
    return "\n".join(lines)


def _tested_on(result: RunResult) -> str:
    """Return a remark on the test labels if a part of the data was held out, else ""."""
    test = result.test or {}
    if not test.get("held_out"):
        return ""
    labels = "whose labels may be as noisy as the others"
    if result.noise["spec"] != "none":
        labels = "whose labels have no added noise but may be wrong"
    return f" on {test['examples']:,} held-out examples, {labels}"
