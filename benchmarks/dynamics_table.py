"""Write the tables of docs/dynamics.md from the runs of two studies on the digits.

    noisylabels study run benchmarks/studies/dynamics.toml
    noisylabels study run benchmarks/studies/dynamics-lr.toml
    python benchmarks/dynamics_table.py

It writes results/dynamics: runs.json, one row per run with the numbers that the tables average, table.md and
learning-rates.svg. With --redraw it draws the figure from runs.json, without the runs.
Accuracies are those of the last epoch; the test set selects nothing, except that the table of learning rates
names the rate with the best test accuracy, which shows what a rate could give.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from noisylabels.core.files import write_text
from noisylabels.losses.curve import variation_ratio
from noisylabels.losses.expression import loss as parse
from noisylabels.report.figure_files import draw
from noisylabels.report.panels import Figure, lines
from noisylabels.study.looks import loss_theme
from noisylabels.study.recordings import Recording
from noisylabels.study.results import Run, read_results

EARLY = 5
"""The epoch at which the share of learned examples is shown."""

LAST = 10
"""Epochs at the end over which a measurement is averaged."""


@dataclass
class Options:
    """Choose which runs to read and where the results go."""

    runs: Path = Path("runs/dynamics")
    """folder of the study dynamics"""
    rates: Path = Path("runs/dynamics-lr")
    """folder of the study dynamics-lr"""
    out: Path = Path("results/dynamics")
    """folder for the results"""
    redraw: bool = False
    """only draw the figure, from runs.json in the folder for the results"""


def main(options: Options) -> None:
    """Read the runs and write the results."""
    if options.redraw:
        rates = json.loads((options.out / "runs.json").read_text(encoding="utf-8"))["rates"]
        draw(_figure(rates), options.out, (".svg",))
        return
    recorded, sweep = (
        [run for each in read_results([path]) for run in each.done] for path in (options.runs, options.rates)
    )
    rows = sorted(map(_row, recorded), key=lambda row: (row["noise"], row["loss"], row["seed"]))
    swept = sorted(map(_swept, sweep), key=lambda row: (row["lr"], row["loss"], row["seed"]))
    write_text(options.out / "runs.json", _json([*recorded, *sweep], {"runs": rows, "rates": swept}))
    noises = sorted({row["noise"] for row in rows}, reverse=True)
    parts = [_dynamics([row for row in rows if row["noise"] == noise], noise) for noise in noises]
    text = "\n".join([*parts, _rates(swept)])
    write_text(options.out / "table.md", text)
    draw(_figure(swept), options.out, (".svg",))
    print(text)


def _json(runs: Sequence[Run], found: dict[str, list[dict[str, Any]]]) -> str:
    """Return the rows of both studies, and what their runs share, as JSON with one line per row."""
    own = ("loss", "noise", "seed", "lr", "weight_decay", "out", "data_root", "record")
    config = {name: value for name, value in runs[0].config.items() if name not in own}
    head = {name: sorted({getattr(run, name) for run in runs}) for name in ("machine", "software")}
    parts = [f'  "{name}": {json.dumps(value)}' for name, value in (head | {"config": config}).items()]
    for name, rows in found.items():
        parts.append(f'  "{name}": [\n' + ",\n".join(f"    {json.dumps(row)}" for row in rows) + "\n  ]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _row(run: Run) -> dict[str, Any]:
    """Return the numbers of a run of the study dynamics."""
    assert run.folder is not None
    recording = Recording(run.folder)
    examples = recording.examples
    noisy = examples["noisy"]

    def learned(part: np.ndarray, column: str = "learned", by: float = np.inf) -> float:
        first = examples[column][part]
        return float(((first > 0) & (first <= by)).mean())

    share, step = run.curves["noisy_logit_share"], run.curves["relative_step"]
    dead = (run.recall <= 0.01).sum(axis=1)
    sharp = [run.curves[name][~np.isnan(run.curves[name])] for name in ("sharpness", "sharpness_true")]
    return {
        "loss": run.loss,
        "noise": run.noise,
        "seed": run.seed,
        "run_id": run.run_id,
        "accuracy": run.last("test_accuracy"),
        "best_accuracy": float(run.curves["test_accuracy"].max()),
        "memorized": run.last("memorized"),
        "learned_early": learned(~noisy, by=EARLY),
        "never_learned": 1 - learned(~noisy),
        "forgotten_clean": float(examples["forgotten"][~noisy].mean()),
        "true_class_lost": float(examples["true_forgotten"][noisy].mean()),
        "step_first": float(step[0]),
        "share_first": float(share[0]),
        "share_last": float(np.nanmean(share[-LAST:])),
        "cosine_last": float(np.nanmean(run.curves["noisy_cosine"][-LAST:])),
        "weight_share_last": float(np.nanmean(run.curves["noisy_weight_share"][-LAST:])),
        "dead_early": int(dead[EARLY - 1]),
        "dead_last": int(dead[-1]),
        "sharpness": float(sharp[0][-1]),
        "sharpness_true": float(sharp[1][-1]),
        "entropy_clean": _last(recording, "entropy", "clean"),
        "margin_noisy": _last(recording, "margin", "noisy"),
    }


def _last(recording: Recording, measure: str, part: str) -> float:
    series = recording.series(measure, part)
    assert series is not None
    return float(series.values[series.epochs == series.epochs.max()].mean())


def _swept(run: Run) -> dict[str, Any]:
    """Return the numbers of a run of the study dynamics-lr."""
    names = ("lr", "weight_decay")
    step, share = run.curves["relative_step"], run.curves["noisy_logit_share"]
    return {"loss": run.loss, "noise": run.noise, "seed": run.seed, "run_id": run.run_id} | {
        **{name: run.config[name] for name in names},
        "accuracy": run.last("test_accuracy"),
        "memorized": run.last("memorized"),
        "step_first": float(step[0]),
        "share_last": float(np.nanmean(share[-LAST:])),
    }


Shown = Callable[[Sequence[float]], str]


def _percent(values: Sequence[float]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}"


def _number(digits: str) -> Shown:
    return lambda values: f"{statistics.mean(values):{digits}}"


Columns = dict[str, tuple[str, Shown]]

WHAT: Columns = {
    "accuracy": ("test accuracy", _percent),
    "best_accuracy": ("highest in any epoch", _percent),
    "memorized": ("noisy labels memorized", _percent),
    "learned_early": (f"clean labels learned by epoch {EARLY}", _percent),
    "never_learned": ("never learned", _percent),
    "forgotten_clean": ("times a clean label is forgotten", _number(".2f")),
    "dead_early": (f"dead classes, epoch {EARLY}", _number(".1f")),
}
WHY: Columns = {
    "step_first": ("relative step, epoch 1", _number(".1e")),
    "share_first": ("noisy share, epoch 1", _percent),
    "share_last": (f"noisy share, last {LAST} epochs", _percent),
    "cosine_last": (f"cosine, last {LAST} epochs", _number(".2f")),
    "sharpness": ("sharpness, given labels", _number(".2g")),
    "sharpness_true": ("sharpness, true labels", _number(".2g")),
    "entropy_clean": ("entropy, clean labels", _number(".2f")),
}
"""Number of a run -> head of its column, and how its values are shown, in two tables."""


def _order(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    from noisylabels.losses import PAPER

    there = {row["loss"] for row in rows}
    yield from (loss for loss in PAPER if loss in there)


def _dynamics(rows: Sequence[dict[str, Any]], noise: str) -> str:
    """Return the two tables of one noise."""
    tables = []
    for columns in (WHAT, WHY):
        heads = ["loss", *(head for head, _ in columns.values())]
        heads += ["variation ratio"] if columns is WHY else []
        lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for loss in _order(rows):
            found = [row for row in rows if row["loss"] == loss]
            cells = [show([row[name] for row in found]) for name, (_, show) in columns.items()]
            if columns is WHY:
                ratio = variation_ratio(parse(loss))
                cells.append("unbounded" if ratio is None or math.isinf(ratio) else f"{ratio:.3g}")
            lines.append(f"| {loss} | {' | '.join(cells)} |")
        tables.append("\n".join(lines) + "\n")
    counts = {sum(row["loss"] == loss for row in rows) for loss in _order(rows)}
    return f"`{noise}`, {_n(counts)}:\n\n" + "\n".join(tables)


def _n(counts: set[int]) -> str:
    return "n = " + " to ".join(map(str, sorted({min(counts), max(counts)})))


def _rates(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of accuracies by learning rate, the best rate of each loss in bold."""
    rates = sorted({row["lr"] for row in rows})
    lines = [f"| loss | {' | '.join(f'lr {rate:g}' for rate in rates)} |", "|---" * (len(rates) + 1) + "|"]
    counts = set()
    for loss in _order(rows):
        values = {
            rate: [row["accuracy"] for row in rows if (row["loss"], row["lr"]) == (loss, rate)]
            for rate in rates
        }
        counts |= {len(each) for each in values.values()}
        best = max(rates, key=lambda rate: statistics.mean(values[rate]))
        cells = [f"**{_percent(v)}**" if rate == best else _percent(v) for rate, v in values.items()]
        lines.append(f"| {loss} | {' | '.join(cells)} |")
    return f"`{rows[0]['noise']}`, {_n(counts)}, lr × weight decay constant:\n\n" + "\n".join(lines) + "\n"


def _figure(rows: Sequence[dict[str, Any]]) -> Figure:
    """Return the figure of accuracy and memorization by learning rate."""
    losses = list(_order(rows))
    rates = sorted({row["lr"] for row in rows})
    panels = []
    for measure, title in (("accuracy", "test accuracy"), ("memorized", "noisy labels memorized")):
        points = []
        for loss in losses:
            for rate in rates:
                values = [row[measure] for row in rows if (row["loss"], row["lr"]) == (loss, rate)]
                mean, deviation = statistics.mean(values), statistics.stdev(values)
                point = {"loss": loss, "x": rate, "y": mean}
                points.append(point | {"low": mean - deviation, "high": mean + deviation})
        style: dict[str, Any] = {"x_title": "learning rate", "y_title": title, "ticks": rates}
        panels.append(lines(title, points, loss_theme(losses), losses, points=True, log_x=True, **style))
    runs = len({row["seed"] for row in rows})
    return Figure(
        "learning-rates",
        f"Accuracy by learning rate, {rows[0]['noise']}",
        f"At the last epoch, mean ± one sample standard deviation over seeds; n = {runs} per rate. The "
        "weight decay follows the rate, so that their product stays the same.",
        panels,
    )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
