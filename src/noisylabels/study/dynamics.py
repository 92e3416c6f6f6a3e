"""Figures of the recorded dynamics of a study's runs: gradients, steps, predictions, sharpness."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from noisylabels.report.panels import Figure, Panel, heatmap, lines
from noisylabels.report.theme import Theme
from noisylabels.study.families import noise_label
from noisylabels.study.plotting import SPREAD, file_name, runs_each
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


class Axis(NamedTuple):
    """The x axis of a panel.

    Args:
        title: with units.
        ticks: none for those of the epochs.
        shift: added to the places of points; half a bin where these are the lower ends of bins.
    """

    title: str
    ticks: tuple[float, ...] = ()
    shift: float = 0.0


EPOCH = Axis("epoch")
PROBABILITY = Axis("p of the given label", (0.0, 0.25, 0.5, 0.75, 1.0), BIN / 2)
MARGIN = Axis("margin", (-1.0, -0.5, 0.0, 0.5, 1.0), BIN / 2)
LINE = Axis("place on the line", (-1.0, -0.5, 0.0, 0.5, 1.0))

Kinds = Iterator[Figure]

Recorded = Mapping[str, Sequence[Recording]]
"""Loss -> recordings of its runs."""


def gradients(results: Results, theme: Theme) -> Kinds:
    """Yield the gradient's share, angle and norm, the relative step and sharpness by epoch."""
    for noise in results.noises:
        losses = _losses(results, noise)
        panels: list[Panel] = []
        for column, (title, y_title, form) in BY_EPOCH.items():
            points = {loss: _column_by_epoch(results, column, loss, noise) for loss in losses}
            panels += _panel(title, points, theme, y_title, form)
        yield from _figure(
            "gradients",
            "Gradients, steps and sharpness",
            noise,
            "By epoch, in the measured steps. The shares and the cosine split the gradient of each step "
            "between noisy and clean labels; the step is that of all weights. Sharpness is the largest "
            "eigenvalue of the Hessian on a fixed sample.",
            runs_each(results, losses, [noise]),
            panels,
        )


def _losses(results: Results, noise: str) -> list[str]:
    """Return the losses with a recorded run under a noise."""

    def has(run: Run) -> bool:
        return any(name in run.curves and not np.isnan(run.curves[name]).all() for name in COLUMNS)

    return [loss for loss in results.losses if any(map(has, results.cell(loss, noise)))]


def _column_by_epoch(results: Results, column: str, loss: str, noise: str) -> Iterator[Mean]:
    values = results.curve(column, loss, noise)
    for epoch, each in enumerate(values.T if values.size else (), 1):
        known = each[~np.isnan(each)]
        if len(known):
            yield Mean.of(epoch, known)


def bins(results: Results, theme: Theme) -> Kinds:
    """Yield where the gradient comes from: by the probability of the given label, clean and noisy."""
    for noise, found in _recorded(results):
        panels: list[Panel] = []
        for measure, title, y_title, form in (
            ("bin_logit_gradient", "gradient of one example", "norm at the logits", ".2f"),
            ("bin_cosine", "cosine with the clean gradient", "cosine at the weights", ".1f"),
        ):
            for part in ("clean", "noisy"):
                points = {loss: by_key(each, measure, part) for loss, each in found.items()}
                panels += _panel(f"{title}, {part} labels", points, theme, y_title, form, PROBABILITY)
        yield from _figure(
            "bins",
            "Gradient by the probability of the given label",
            noise,
            "Mean over the measured steps of all epochs, per bin of a tenth. Top: norm of the gradient "
            "of one example's loss at its logits. Bottom: cosine of the part of the weights' gradient "
            "from that bin and the gradient of all clean labels.",
            _n(found),
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
            points = {loss: learned_by_epoch(each, column, noisy, epochs) for loss, each in found.items()}
            panels += _panel(title, points, theme, "share of examples", ".0%")
        for part in ("clean", "noisy"):
            points = {loss: by_epoch(each, "forgetting_events", part) for loss, each in found.items()}
            panels += _panel(f"times forgotten, {part} labels", points, theme, "per example", ".1f")
        yield from _figure(
            "learning",
            "Learning and forgetting",
            noise,
            "Predictions are those that training makes for each example once per epoch. An example is "
            "forgotten when it was predicted as given and is no longer so an epoch later.",
            _n(found),
            panels,
        )


def confidence(results: Results, theme: Theme) -> Kinds:
    """Yield the entropy of the predictions by epoch, and the margins at the last one."""
    for noise, found in _recorded(results):
        panels: list[Panel] = []
        for part in ("clean", "noisy"):
            points = {loss: by_epoch(each, "entropy", part) for loss, each in found.items()}
            panels += _panel(f"entropy, {part} labels", points, theme, "nats", ".1f")
        for part in ("clean", "noisy"):
            points = {loss: by_key(each, "margin_share", part, last=True) for loss, each in found.items()}
            title = f"margins at the last epoch, {part} labels"
            panels += _panel(title, points, theme, "share of examples", ".0%", MARGIN)
        yield from _figure(
            "confidence",
            "Entropy and margins of the predictions",
            noise,
            "The margin is p of the given label minus the largest p of another, in bins of a tenth.",
            _n(found),
            panels,
        )


def dead_classes(results: Results, theme: Theme) -> Kinds:
    """Yield the number of dead classes by epoch, and the pull at the classes that die and that live."""
    for noise, found in _recorded(results):
        counts = {loss: list(_dead_by_epoch(results, loss, noise)) for loss in found}
        if not any(point.mean for points in counts.values() for point in points):
            continue
        panels = _panel("dead classes", counts, theme, "classes", ".0f")
        for title, dead in (("pull at classes that end dead", True), ("pull at the other classes", False)):
            pulls = {loss: _pull(each, dead) for loss, each in found.items()}
            panels += _panel(title, pulls, theme, "pull on the class's logit", ".1e", linear=True)
        yield from _figure(
            "dead",
            "Dead classes and the pull at them",
            noise,
            "A class is dead if its test recall is 1 % or less. The pull is minus the gradient of the loss "
            "by the class's logit, summed over a batch: above 0, the step raises the logit of the class.",
            _n(found),
            panels,
        )


def _dead_by_epoch(results: Results, loss: str, noise: str) -> Iterator[Mean]:
    tables = [(run.recall <= DEAD_RECALL).sum(axis=1) for run in results.cell(loss, noise) if run.recall.size]
    epochs = min(map(len, tables), default=0)
    for epoch in range(epochs):
        yield Mean.of(epoch + 1, [table[epoch] for table in tables])


def _pull(found: Sequence[Recording], dead: bool) -> Iterator[Mean]:
    """Yield the mean net pull at the classes that are dead at the end, or at the others, by epoch."""
    sums: dict[int, list[float]] = {}
    for each in found:
        own, others = each.series("pull", "own"), each.series("pull", "others")
        if own is None or others is None:
            continue
        classes = np.isin(own.keys, each.dead_at_the_end()) == dead
        opposite = dict(zip(zip(others.epochs, others.keys, strict=True), others.values, strict=True))
        pulls: dict[int, list[float]] = {}
        for epoch, key, value in zip(*(part[classes] for part in own), strict=True):
            if (epoch, key) in opposite:  # a gradient that was not finite is not recorded
                pulls.setdefault(int(epoch), []).append(value + opposite[epoch, key])
        for epoch, values in pulls.items():
            sums.setdefault(epoch, []).append(float(np.mean(values)))
    for epoch, means in sorted(sums.items()):
        yield Mean.of(epoch, means)


def slices(results: Results, theme: Theme) -> Kinds:
    """Yield slices of the loss around the final weights, for the given and for the true labels."""
    for noise, found in _recorded(results):
        panels: list[Panel] = []
        for part in ("given", "true"):
            points = {loss: _relative(by_key(each, "slice", part, last=True)) for loss, each in found.items()}
            panels += _panel(f"{part} labels", points, theme, "loss / loss at 0", ".0e", LINE)
        yield from _figure(
            "slices",
            "Loss along a random line",
            noise,
            "Loss on the sample at the last measured epoch, divided by its value at the weights; -1 and "
            "1 are a random direction of the weights' own length, per filter (Li et al. 2018).",
            _n(found),
            panels,
        )


def _relative(points: Iterable[Mean]) -> list[Mean]:
    """Return points divided by the one at 0, without deviations; none if that is not above 0."""
    points = list(points)
    center = next((point.mean for point in points if point.x == 0), 0.0)
    return [Mean(point.x, point.mean / center, None) for point in points] if center > 0 else []


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
            yield from _figure(
                "layers",
                "Relative step per layer in the first measured epoch",
                noise,
                "|update| / |weights| of each weight matrix or kernel; darker is larger.",
                _n(found),
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


def _recorded(results: Results) -> Iterator[tuple[str, Recorded]]:
    """Yield each noise with the recordings of its losses that have some."""
    for noise in results.noises:
        every = {loss: recordings(results.cell(loss, noise)) for loss in results.losses}
        found = {loss: each for loss, each in every.items() if each}
        if found:
            yield noise, found


def _figure(
    kind: str, title: str, noise: str, caption: str, n: str, panels: Sequence[Panel]
) -> Iterator[Figure]:
    """Yield a figure of a noise, unless it has no panels; `n` is the number of runs in words."""
    if panels:
        what = noise_label(noise)
        name = file_name(f"dynamics-{kind}", what)
        yield Figure(name, f"{title}, {what}", f"{caption} Mean {SPREAD}; {n}.", panels)


def _row(loss: str, point: Mean, shift: float) -> dict[str, Any]:
    row: dict[str, Any] = {"loss": loss, "x": round(point.x + shift, 6), "y": point.mean}
    if point.deviation is not None:
        row |= {"low": point.mean - point.deviation, "high": point.mean + point.deviation}
    return row


def _panel(
    title: str,
    points: Mapping[str, Iterable[Mean]],
    theme: Theme,
    y_title: str,
    form: str,
    axis: Axis = EPOCH,
    linear: bool = False,
) -> list[Panel]:
    """Return a panel of lines, one per loss, in a list; an empty list without points.

    Args:
        title: of the panel.
        points: of each loss.
        theme: colors of the losses.
        y_title, form: title and format of the y axis, which is logarithmic for formats in e.
        axis: the x axis.
        linear: keep the y axis linear.
    """
    log = form.endswith("e") and not linear
    rows = [_row(loss, point, axis.shift) for loss, each in points.items() for point in each]
    rows = [row for row in rows if not log or row["y"] > 0]
    if not rows:
        return []
    if log:  # a band that reaches 0 cannot be drawn
        rows = [
            row if row.get("low", 1.0) > 0 else {k: v for k, v in row.items() if k not in ("low", "high")}
            for row in rows
        ]
    return [
        lines(
            title,
            rows,
            theme,
            list(points),
            x_title=axis.title,
            y_title=y_title,
            format=form,
            log=log,
            ticks=axis.ticks or None,
        )
    ]


def _n(found: Recorded) -> str:
    """Return the number of recordings per loss in words."""
    counts = {len(each) for each in found.values()}
    return f"n = {max(counts)}" if len(counts) == 1 else f"n = {min(counts)} to {max(counts)}"
