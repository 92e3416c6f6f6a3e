"""``noisylabels train``: train on noisy labels and print a summary."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import tyro

from noisylabels.cli import output
from noisylabels.experiment import RunConfig, RunResult, load_config


@dataclass
class Train:
    """Train a classifier on noisy labels and print a summary.

    Defaults (the paper's recipe) are overridden by the recipe, and the recipe by flags. The run is saved in a
    folder. Running the same command again resumes a stopped run, with the same final weights as an
    uninterrupted one, or shows the result of a finished one.

    For example:
        noisylabels train digits --noise symmetric:0.4 --loss ce
        torchrun --nproc-per-node 2 -m noisylabels train digits --loss ce
        noisylabels train --data photos/ --loss nce+rce --epochs 30 --out runs/photos
    """

    several_processes: ClassVar[bool] = True  # each takes part

    recipe: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[RECIPE]")] = None
    """digits, paper, or the path of a TOML file of settings"""
    settings: RunConfig = field(default_factory=RunConfig)
    track: tuple[str, ...] = ()
    """trackers that also receive the history: any of tensorboard, mlflow, wandb (pip install
    '.[track]' in a clone)"""

    def run(self) -> int:
        """Train, with progress in a terminal, and print a summary."""
        from noisylabels.cli.terminal import TerminalReporter
        from noisylabels.core.process import keep_freed_memory, limit_threads
        from noisylabels.experiment import run
        from noisylabels.experiment.reporter import Silent
        from noisylabels.training.ranks import joined

        # flags skip the checks of a recipe file: tyro checks only types, the dataclass only ranges
        config = load_config(
            None, **{f.name: getattr(self.settings, f.name) for f in dataclasses.fields(RunConfig)}
        )
        keep_freed_memory()
        limit_threads()
        with joined(config.device) as ranks:
            reporter = TerminalReporter(config.epochs) if ranks.first else nullcontext(Silent())
            with reporter as shown:
                result = run(config, shown, track=self.track)
            if result.status == "failed":
                output.complain(f"{result.message} (recorded in {result.path})")
                return 1
            if ranks.first:
                output.say(summary(result))
        return 0


WAITING_SHARE, WAITING_SECONDS = 0.1, 10.0  # beyond both, the summary reports the wait

INPUTS = {"images": "NEW_IMAGES", "table": "NEW_TABLE"}
"""What `noisylabels predict` takes, by what a run was trained on."""


def summary(result: RunResult) -> str:
    """Return the summary of a finished run, a few lines."""
    last = result.final or {}
    final = result.kept or last

    def percent(name: str, row: Mapping[str, Any] = final) -> str:
        return "unknown" if row.get(name) is None else f"{100 * row[name]:.2f} %"

    names = result.class_names
    others = []
    if result.kept is not None:
        if last["epoch"] != final["epoch"]:
            words = f"at the last epoch, {last['epoch']}"
            others = [f"  {words:36} {percent('test_accuracy', last)}"]
    elif (row := result.history.chosen) is not None:
        words = f"at epoch {row['epoch']}, best on validation"
        others = [f"  {words:36} {percent('test_accuracy', row)}"]
    lines = [
        _trained(result, final["epoch"]),
        f"  test accuracy                        {percent('test_accuracy')}{_tested_on(result)}",
        *_on_true_labels(result),
        *others,
        f"  training set: given labels           {percent('given_accuracy')}",
    ]
    if final.get("memorized") is not None:
        lines += [
            f"  training set: true labels            {percent('true_accuracy')}",
            f"  noisy labels: memorized              {percent('memorized')} (predicted as given)",
            f"  noisy labels: recovered              {percent('recovered')} (predicted as their true class)",
        ]
    if final.get("dead_classes"):
        dead = ", ".join(names[k] for k in final["dead_classes"])
        lines.append(f"  dead classes (recall at most 1 %)    {dead}")
        lines.append(
            "  to let the model learn them          "
            f"{_advice(result.loss or result.config['loss'], result.config.get('method', 'standard'))}"
        )
    for name, value in final.items():
        if name.startswith("weight_") and value is not None:
            lines.append(f"  {name.replace('_', ' of ', 1):36} {value:.3g} at the end")
    seconds, share = result.history.waited()
    if share > WAITING_SHARE and seconds > WAITING_SECONDS:
        lines.append(
            f"  waited for data                      {100 * share:.0f} % of the training time; use a faster "
            "disk for NOISYLABELS_CACHE, more memory, a smaller image_size or less augmentation"
        )
    return "\n".join([*lines, f"  saved in {result.path}", *_next(result)])


def _trained(result: RunResult, epoch: int) -> str:
    """Return what was trained, with what, and on what."""
    config, noise = result.config, result.noise
    count = "" if result.train is None else f"{result.train['examples']:,} examples of "
    added = (
        ""
        if noise["spec"] == "none"
        else f", noise {noise['spec']} ({100 * noise['rate']:.2f} % noisy labels)"
    )
    kept = (
        f"epoch {epoch} is kept, best on validation" if result.kept else f"{epoch} epoch{'s' * (epoch > 1)}"
    )
    loss = f"loss {result.loss or config['loss']}{_by(config)}"
    return f"trained {result.model or config['model']} with {loss} on {count}{config['data']}{added}: {kept}"


def _by(config: dict[str, Any]) -> str:
    """Return the method of a run in words; "" for standard training."""
    method = config.get("method", "standard")
    return "" if method == "standard" else f" by {method}"


def _advice(loss: str, method: str) -> str:
    """Return how to avoid dead classes, as measured (docs/measured-default-loss.md, measured-methods.md)."""
    how = "more epochs" if loss == "ce" else "more epochs, or --loss ce, which learns fastest"
    if loss != "ce" and (found := re.match(r"elr(_plus)?\b", method)):
        name = found[0]
        how += f"; {name} needs a smaller lambda_ for losses with small gradients, such as "
        how += f"{name}(lambda_=0.3)"
    return how


def _tested_on(result: RunResult) -> str:
    """Return a remark on the test labels if they may be wrong, else ""."""
    test = result.test or {}
    held_out, noisy = test.get("held_out"), result.noise["spec"] != "none"
    if not held_out and "true_labels" not in test:
        return ""
    labels = "whose labels may be as noisy as the others"
    if noisy or not held_out:
        labels = f"whose labels{' have no added noise but' * noisy} may be wrong"
    return f" on {test['examples']:,} {'held-out' if held_out else 'test'} examples, {labels}"


def _on_true_labels(result: RunResult) -> list[str]:
    """Return the line of the estimated accuracy on true labels, if there is an estimate."""
    found = (result.test or {}).get("true_labels", {})
    if "accuracy" not in found:
        return []
    low, high = found["interval"]
    value = f"about {100 * found['accuracy']:.0f} % ({100 * low:.0f} to {100 * high:.0f})"
    return [f"  test accuracy, true labels           {value}, estimated"]


def _next(result: RunResult) -> list[str]:
    """Return the command that predicts new examples with a model of the user's own data."""
    from noisylabels.models.catalog import is_user_model

    if result.train is None or "true_labels" not in (result.test or {}):
        return []
    words = [
        "noisylabels",
        "predict",
        str(result.path),
        INPUTS[result.train["inputs"]],
        "--out",
        "labels.csv",
    ]
    if is_user_model(result.model):
        words += ["--model", result.model]
    if ".py:" in (features := result.config.get("features") or ""):
        words += ["--features", features]
    return [f"  next: {shlex.join(words)}"]
