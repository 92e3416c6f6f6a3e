"""Build the figures of docs/measured-found.md; `found.py` draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
from found_runs import KNOB_NOISES, Runs, weights, words

from noisylabels.report.panels import Figure, lines
from noisylabels.report.theme import Theme
from noisylabels.study.looks import loss_theme
from noisylabels.study.results import accuracy
from noisylabels.training.metrics import DEAD_RECALL

WIDTH = 260


def figures(runs: Runs) -> list[Figure]:
    """Return every figure of the document."""
    return [memory(runs), dead(runs), knob(runs)]


def memory(runs: Runs) -> Figure:
    """Return accuracy, memorization and recovery by epoch, in the paper's setting."""
    names = ["ce", "nce", "nmae", "mae", "nce+rce"]
    columns = {
        "test_accuracy": "Test accuracy",
        "memorized": "Noisy labels memorized",
        "recovered": "Noisy labels recovered",
    }
    style: dict[str, Any] = {"x_title": "epoch", "y_title": "share", "domain": (0, 1), "width": WIDTH}
    panels = []
    for column, title in columns.items():
        curves = {loss: runs.paper.curve(column, loss, "symmetric:0.4").mean(axis=0) for loss in names}
        panels.append(lines(title, _rows(curves), loss_theme(names), names, **style))
    return Figure(
        "memory",
        "40 % noisy labels: 120 epochs of the paper's study",
        f"{runs.paper.data}, symmetric noise, the paper's network and recipe. Recovered: the true "
        "class is predicted although the given label is another.",
        panels,
        columns=3,
    )


def dead(runs: Runs) -> Figure:
    """Return dead classes by epoch."""
    names = ["ce", "nce", "mae", "nmae", "nce+mae", "nce+rce"]
    places = [
        ("all images", runs.paper, "symmetric:0.4", 40),
        ("a tenth", runs.tenth, "none", 20),
        ("a tenth", runs.longer, "symmetric:0.4", 100),
        ("a tenth", runs.tenth, "asymmetric:0.4", 20),
        ("digits", runs.digits, "symmetric:0.6@exact", 60),
        ("digits", runs.digits, "asymmetric:0.4@exact", 60),
    ]
    style: dict[str, Any] = {"x_title": "epoch", "y_title": "dead classes", "format": "~g", "width": WIDTH}
    panels = []
    for title, results, noise, epochs in places:
        curves = {}
        for loss in names:
            counts = [(run.recall <= DEAD_RECALL).sum(axis=1) for run in results.cell(loss, noise)]
            if counts:
                curves[loss] = np.mean(counts, axis=0)[:epochs]
        panels.append(
            lines(f"{title}, {words(noise)}", _rows(curves), loss_theme(names), names, domain=(0, 6), **style)
        )
    return Figure(
        "dead",
        "Dead classes",
        "Number of classes, of ten, with a test recall of 1 % or less after each epoch; mean over the runs. "
        "All images: the first 40 of 120 epochs; a tenth: 20, and 100 of a longer run under symmetric noise.",
        panels,
        columns=3,
    )


def knob(runs: Runs) -> Figure:
    """Return accuracy by passive weight, one line per active weight."""
    names = [f"a = {a:g}" for a in sorted({a for a, b, _ in weights(runs.knob) if a and b})]
    style: dict[str, Any] = {"x_title": "passive weight b", "y_title": "test accuracy", "width": WIDTH}
    panels = []
    for noise in KNOB_NOISES:
        rows = []
        for a, b, loss in weights(runs.knob):
            found = runs.knob.summary(accuracy, loss, noise)
            if a and b and found is not None:
                row = {"loss": f"a = {a:g}", "x": b, "y": found.mean}
                if found.deviation is not None:
                    row |= {"low": found.mean - found.deviation, "high": found.mean + found.deviation}
                rows.append(row)
        style |= {"ticks": [0.1, 1, 10], "log_x": True}
        panels.append(lines(words(noise), rows, Theme(names), names, points=True, **style))
    return Figure(
        "knob",
        "The passive weight: a nce + b mae on the digits",
        f"Test accuracy of the last epoch, mean ± one deviation over {len(runs.knob.seeds)} seeds.",
        panels,
        columns=3,
    )


def _rows(curves: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    return [
        {"loss": loss, "x": epoch, "y": float(value)}
        for loss, values in curves.items()
        for epoch, value in enumerate(values, start=1)
    ]
