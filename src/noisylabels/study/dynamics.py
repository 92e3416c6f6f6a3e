"""Figures of the recorded dynamics of a study's runs: gradients, steps, predictions, sharpness."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from noisylabels.report.panels import Figure, Panel, heatmap, lines
from noisylabels.report.theme import Theme
from noisylabels.study.families import noise_label
from noisylabels.study.plotting import SPREAD, file_name
from noisylabels.study.recordings import (
    Mean,
    Recording,
    by_epoch,
    by_key,
    learned_by_epoch,
    recordings,
)
from noisylabels.study.results import Results, Run
from noisylabels.training.dynamics.recorder import COLUMNS
from noisylabels.training.metrics import DEAD_RECALL

BY_EPOCH = {
    "noisy_logit_share": ("noisy labels' share of the gradient, logits", "share", ".0%"),
    "noisy_weight_share": ("noisy labels' share of the gradient, weights", "share", ".0%"),
    "noisy_cosine": ("cosine of noisy and clean gradient", "cosine", ".2f"),
    "gradient_at_weights": ("norm of the gradient, weights", "norm", ".0e"),
    "relative_step": ("relative step, |update| / |weights|", "relative step", ".0e"),
    "sharpness": ("sharpness, given labels", "largest eigenvalue", ".0e"),
    "sharpness_true": ("sharpness, true labels", "largest eigenvalue", ".0e"),
}
"""Column of the history -> title of its panel, title of its axis, format; those in e are on a log scale."""

BIN = 0.1
"""Width of the bins of a probability and of a margin."""

MOST_LAYERS = 16
"""Most parameters whose relative steps are drawn: more do not fit."""

Kinds = Iterator[Figure]


def _losses(results: Results, noise: str) -> list[str]:
    """Return the losses with a recorded run under a noise."""

    def has(run: Run) -> bool:
        return any(name in run.curves and not np.isnan(run.curves[name]).all() for name in COLUMNS)

    return [loss for loss in results.losses if any(map(has, results.cell(loss, noise)))]


def gradients(results: Results, theme: Theme) -> Kinds:
    """Yield the gradient's share, angle and norm, the relative step and sharpness by epoch."""
    for noise in results.noises:
        losses = _losses(results, noise)
        panels = []
        for column, (title, axis, form) in BY_EPOCH.items():
            rows = [
                _row(loss, point)
                for loss in losses
                for point in _column_by_epoch(results, column, loss, noise)
            ]
            panels += _panel(title, rows, theme, losses, axis, form)
        if panels:
            yield Figure(
                _name("gradients", noise),
                f"Gradients, steps and sharpness, {noise_label(noise)}",
                "By epoch, in the measured steps. The shares and the cosine split the gradient of each step "
                "between noisy and clean labels; the step is that of all weights. Sharpness is the largest "
                f"eigenvalue of the Hessian on a fixed sample. {_spread_text(results, losses, noise)}",
                panels,
            )


def _column_by_epoch(results: Results, column: str, loss: str, noise: str) -> Iterator[Mean]:
    values = results.curve(column, loss, noise)
    if not values.size:
        return
    for epoch, each in enumerate(values.T, 1):
        known = each[~np.isnan(each)]
        if len(known):
            deviation = float(known.std(ddof=1)) if len(known) > 1 else None
            yield Mean(epoch, float(known.mean()), deviation)


def bins(results: Results, theme: Theme) -> Kinds:
    """Yield where the gradient comes from: by the probability of the given label, clean and noisy."""
    for noise, found in _recorded(results):
        panels: list[Panel] = []
        for part in ("clean", "noisy"):
            rows = [
                _row(loss, point, shift=BIN / 2)
                for loss, each in found.items()
                for point in by_key(each, "bin_logit_gradient", part)
            ]
            title = f"gradient of one example, {part} labels"
            panels += _panel(title, rows, theme, list(found), "norm at the logits", ".2f", P_AXIS)
        for part in ("clean", "noisy"):
            rows = [
                _row(loss, point, shift=BIN / 2)
                for loss, each in found.items()
                for point in by_key(each, "bin_cosine", part)
            ]
            title = f"cosine with the clean gradient, {part} labels"
            panels += _panel(title, rows, theme, list(found), "cosine at the weights", ".1f", P_AXIS)
        if panels:
            yield Figure(
                _name("bins", noise),
                f"Gradient by the probability of the given label, {noise_label(noise)}",
                "Mean over the measured steps of all epochs, per bin of a tenth. Top: norm of the gradient "
                "of one example's loss at its logits. Bottom: cosine of the part of the weights' gradient "
                f"from that bin and the gradient of all clean labels. {_n(found)}",
                panels,
            )


def learning(results: Results, theme: Theme) -> Kinds:
    """Yield when examples are learned and memorized, and how often they are forgotten."""
    epochs = max((len(run.curves["epoch"]) for run in results.done), default=0)
    for noise, found in _recorded(results):
        panels: list[Panel] = []
        for title, column, noisy in (
            ("clean labels learned so far", "learned", False),
            ("noisy labels memorized so far", "learned", True),
            ("noisy labels: true class predicted so far", "true_learned", True),
        ):
            rows = [
                _row(loss, point)
                for loss, each in found.items()
                for point in learned_by_epoch(each, column, noisy, epochs)
            ]
            panels += _panel(title, rows, theme, list(found), "share of examples", ".0%")
        for part in ("clean", "noisy"):
            title = f"times forgotten, {part} labels"
            rows = _epochs(found, "forgetting_events", part)
            panels += _panel(title, rows, theme, list(found), "per example", ".1f")
        if panels:
            yield Figure(
                _name("learning", noise),
                f"Learning and forgetting, {noise_label(noise)}",
                "Predictions are those that training makes for each example once per epoch. An example is "
                "forgotten when it was predicted as given and is no longer so an epoch later. "
                f"{_n(found)}",
                panels,
            )


def confidence(results: Results, theme: Theme) -> Kinds:
    """Yield the entropy of the predictions by epoch, and the margins at the last one."""
    for noise, found in _recorded(results):
        panels: list[Panel] = []
        for part in ("clean", "noisy"):
            rows = _epochs(found, "entropy", part)
            panels += _panel(f"entropy, {part} labels", rows, theme, list(found), "nats", ".1f")
        for part in ("clean", "noisy"):
            rows = [
                _row(loss, point, shift=BIN / 2)
                for loss, each in found.items()
                for point in by_key(each, "margin_share", part, last=True)
            ]
            title = f"margins at the last epoch, {part} labels"
            panels += _panel(title, rows, theme, list(found), "share of examples", ".0%", MARGIN_AXIS)
        if panels:
            yield Figure(
                _name("confidence", noise),
                f"Entropy and margins of the predictions, {noise_label(noise)}",
                "The margin is p of the given label minus the largest p of another, in bins of a tenth. "
                f"{_n(found)}",
                panels,
            )


def _epochs(found: Mapping[str, Sequence[Recording]], measure: str, part: str) -> list[dict[str, Any]]:
    """Return the rows of a measure by epoch for every loss."""
    return [_row(loss, point) for loss, each in found.items() for point in by_epoch(each, measure, part)]


def dead_classes(results: Results, theme: Theme) -> Kinds:
    """Yield the number of dead classes by epoch, and the pull at the classes that die and that live."""
    for noise, found in _recorded(results):
        counts = {loss: list(_dead_by_epoch(results, loss, noise)) for loss in found}
        if not any(point.mean for points in counts.values() for point in points):
            continue
        rows = [_row(loss, point) for loss, points in counts.items() for point in points]
        panels = _panel("dead classes", rows, theme, list(found), "classes", ".0f")
        for title, dead in (("pull at classes that end dead", True), ("pull at the other classes", False)):
            rows = [_row(loss, point) for loss, each in found.items() for point in _pull(each, dead)]
            panels += _panel(title, rows, theme, list(found), "pull on the class's logit", ".1e", linear=True)
        yield Figure(
            _name("dead", noise),
            f"Dead classes and the pull at them, {noise_label(noise)}",
            "A class is dead if its test recall is 1 % or less. The pull is minus the gradient of the loss "
            "by the class's logit, summed over a batch: above 0, the step raises the logit of the class. "
            f"{_n(found)}",
            panels,
        )


def _dead_by_epoch(results: Results, loss: str, noise: str) -> Iterator[Mean]:
    tables = [(run.recall <= DEAD_RECALL).sum(axis=1) for run in results.cell(loss, noise) if run.recall.size]
    if tables:
        epochs = min(map(len, tables))
        for epoch, values in enumerate(np.stack([each[:epochs] for each in tables]).T, 1):
            deviation = float(values.std(ddof=1)) if len(values) > 1 else None
            yield Mean(epoch, float(values.mean()), deviation)


def _pull(found: Sequence[Recording], dead: bool) -> Iterator[Mean]:
    """Yield the mean net pull at the classes that are dead at the end, or at the others, by epoch."""
    sums: dict[float, list[float]] = {}
    for each in found:
        own, others = each.series("pull", "own"), each.series("pull", "others")
        if own is None or others is None:
            continue
        net = own.values + others.values  # both have one row per epoch and class
        keep = np.isin(own.keys, each.dead_at_the_end()) == dead
        for epoch in np.unique(own.epochs[keep]):
            sums.setdefault(float(epoch), []).append(float(net[keep & (own.epochs == epoch)].mean()))
    for epoch, values in sorted(sums.items()):
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
        yield Mean(epoch, float(np.mean(values)), deviation)


def slices(results: Results, theme: Theme) -> Kinds:
    """Yield slices of the loss around the final weights, for the given and for the true labels."""
    for noise, found in _recorded(results):
        panels: list[Panel] = []
        for part in ("given", "true"):
            rows = []
            for loss, each in found.items():
                points = list(by_key(each, "slice", part, last=True))
                center = next((point.mean for point in points if point.x == 0), 0.0)
                if center > 0:
                    rows += [_row(loss, Mean(point.x, point.mean / center, None)) for point in points]
            panels += _panel(f"{part} labels", rows, theme, list(found), "loss / loss at 0", ".0e", LINE_AXIS)
        if panels:
            yield Figure(
                _name("slices", noise),
                f"Loss along a random line, {noise_label(noise)}",
                "Loss on the sample at the last measured epoch, divided by its value at the weights; -1 and "
                "1 are a random direction of the weights' own length, per filter (Li et al. 2018). "
                f"{_n(found)}",
                panels,
            )


def layer_steps(results: Results, theme: Theme) -> Kinds:
    """Yield the relative step per layer in the first measured epoch."""
    for noise, found in _recorded(results):
        rows: list[dict[str, Any]] = []
        names: dict[str, None] = {}
        for loss, each in found.items():
            for name, value in _layers(each):
                names[name] = None
                row = {"loss": loss, "name": loss, "column": name, "value": np.log10(value)}
                rows.append(row | {"text": f"{value:.0e}", "reading": f"{loss}, {name}: {value:.2e}"})
        if rows and len(names) <= MOST_LAYERS:
            values = [row["value"] for row in rows]
            domain = (min(values), max(max(values), min(values) + 1))
            panel = heatmap("", rows, columns=list(names), names=list(found), x_title="layer", domain=domain)
            yield Figure(
                _name("layers", noise),
                f"Relative step per layer in the first measured epoch, {noise_label(noise)}",
                f"|update| / |weights| of each weight matrix or kernel; darker is larger. {_n(found)}",
                [panel],
            )


def _layers(found: Sequence[Recording]) -> Iterator[tuple[str, float]]:
    """Yield the mean relative step of each layer's weights in the first measured epoch."""
    sums: dict[str, list[float]] = {}
    for each in found:
        if (series := each.series("layer_step", "all")) is None:
            continue
        first = series.epochs == series.epochs.min()
        for name, value in zip(series.keys[first].tolist(), series.values[first].tolist(), strict=True):
            if name.endswith("weight") and value > 0:
                sums.setdefault(name, []).append(value)
    for name, values in sums.items():
        yield name, float(np.mean(values))


FIGURES = (gradients, bins, learning, confidence, dead_classes, slices, layer_steps)
"""Kinds of figures in reading order."""

P_AXIS = ("p of the given label", (0.0, 0.25, 0.5, 0.75, 1.0))
MARGIN_AXIS = ("margin", (-1.0, -0.5, 0.0, 0.5, 1.0))
LINE_AXIS = ("place on the line", (-1.0, -0.5, 0.0, 0.5, 1.0))


def _recorded(results: Results) -> Iterator[tuple[str, dict[str, list[Recording]]]]:
    """Yield each noise with the recordings of its losses that have some."""
    for noise in results.noises:
        every = {loss: recordings(results.cell(loss, noise)) for loss in results.losses}
        found = {loss: each for loss, each in every.items() if each}
        if found:
            yield noise, found


def _name(kind: str, noise: str) -> str:
    """Return the name of a figure's files."""
    return file_name(f"dynamics-{kind}", noise_label(noise))


def _row(loss: str, point: Mean, shift: float = 0.0) -> dict[str, Any]:
    row: dict[str, Any] = {"loss": loss, "x": round(point.x + shift, 6), "y": point.mean}
    if point.deviation is not None:
        row |= {"low": point.mean - point.deviation, "high": point.mean + point.deviation}
    return row


def _panel(
    title: str,
    rows: Iterable[dict[str, Any]],
    theme: Theme,
    losses: Sequence[str],
    y_title: str,
    form: str,
    axis: tuple[str, Sequence[float]] = ("epoch", ()),
    linear: bool = False,
) -> list[Panel]:
    """Return a panel of lines in a list, or an empty list without rows."""
    log = form.endswith("e") and not linear
    rows = [row for row in rows if not log or row["y"] > 0]
    if not rows:
        return []
    if log:  # a band that reaches 0 cannot be drawn
        rows = [
            row if row.get("low", 1.0) > 0 else {k: v for k, v in row.items() if k not in ("low", "high")}
            for row in rows
        ]
    x_title, ticks = axis
    return [
        lines(
            title,
            rows,
            theme,
            losses,
            x_title=x_title,
            y_title=y_title,
            format=form,
            log=log,
            ticks=ticks or None,
        )
    ]


def _spread_text(results: Results, losses: Sequence[str], noise: str) -> str:
    counts = {len(results.cell(loss, noise)) for loss in losses}
    n = str(max(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    return f"Mean {SPREAD}; n = {n}."


def _n(found: dict[str, list[Recording]]) -> str:
    counts = {len(each) for each in found.values()}
    n = str(max(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    return f"Mean {SPREAD}; n = {n}."
