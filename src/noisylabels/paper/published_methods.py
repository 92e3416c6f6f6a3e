"""Published accuracies of training methods: which of ours they are comparable with, and tables of them.

A method's accuracy depends on the whole recipe, so that ours are compared only with those of the same data
set, noise definition, model, number of epochs and reported epoch. A source that does not state one of these
is not compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from noisylabels.core.checks import InputError
from noisylabels.core.config import to_dict
from noisylabels.experiment import RunConfig
from noisylabels.methods.expression import method
from noisylabels.paper.compare_published import (
    NoiseSetting,
    as_summary,
    dataset_of,
    model_of,
    noise_setting,
    our_model,
    percent,
)
from noisylabels.paper.published import Published, published
from noisylabels.report.tables import Cell, Number, Table
from noisylabels.study.results import Results, Run, accuracy
from noisylabels.study.statistics import Contrast, Summary, contrast

OURS = {
    "F-correction": "forward",
    "Forward-T": "forward",
    "Co-teaching": "coteaching",
    "Co-teaching+": "coteaching_plus",
    "ELR": "elr",
    "SOP": "sop",
}
"""Published method -> ours, with cross entropy inside. Others are not in the catalog, differ in more than
parameters, as ELR+ does, or are a loss, which `compare_published` compares."""

_WHOLE = {"train_share": 1.0, "validation": 0.0, "width": 1.0, "image_size": None}
"""Settings by which a run has the literature's network and all of its training set."""


@dataclass(frozen=True)
class MethodComparison:
    """A cell of a study, of one method, and a published accuracy of the same method and recipe.

    Args:
        loss, noise: axes of the cell; `loss` names the method too.
        ours: summary of the test accuracy at the last epoch, in percent.
        published: the published accuracy.
        contrast: ours minus the published accuracy, in points.
    """

    loss: str
    noise: str
    ours: Summary
    published: Published
    contrast: Contrast


def compare_methods(results: Results) -> list[MethodComparison]:
    """Compare each cell of a method with the published accuracies of the same method and recipe.

    The same are data set, noise (kind, rate and definition), model, number of epochs, and the last epoch
    as the one that is reported. Studies without methods are compared by `compare_published`.

    Args:
        results: of one data set and model.
    """
    dataset = dataset_of(results)
    model = our_model(results.runs[0]) if results.runs else None
    if dataset is None or model is None:
        return []
    rows = [row for row in published() if model_of(row) == model and row.epoch == "last"]
    found = []
    for noise in results.noises:
        setting = noise_setting(dataset, noise)
        there = [row for row in rows if setting is not None and _same_noise(row, setting)]
        for loss in results.losses:
            summary = results.summary(accuracy, loss, noise)
            if summary is None or not there:
                continue
            run = results.cell(loss, noise)[0]
            for row in there:
                if _same_recipe(run, row):
                    ours = percent(summary)
                    difference = contrast(ours, as_summary(row))
                    found.append(MethodComparison(loss, noise, ours, row, difference))
    return found


def _same_noise(row: Published, setting: NoiseSetting) -> bool:
    """Return whether a published accuracy is for this data set and noise, whose definition is stated."""
    if (row.dataset, row.noise_type, row.rate) != (setting.dataset, setting.noise_type, setting.rate):
        return False
    source = row.source
    definitions = {
        "symmetric": source.symmetric,
        "asymmetric": source.asymmetric_cifar100 if "100" in row.dataset else source.asymmetric,
        "instance-dependent": "",  # no source states which of several it is
    }
    stated = definitions.get(row.noise_type)  # clean and human labels have one definition
    return stated is None or (stated != "" and stated == setting.convention)


def _same_recipe(run: Run, row: Published) -> bool:
    """Return whether a run has the method of a published accuracy, cross entropy, and as many epochs."""
    try:
        name = method(run.method).name
    except InputError:  # of a script that is not here
        return False
    config = {**to_dict(RunConfig()), **run.config}
    if any(config[key] != value for key, value in _WHOLE.items()):
        return False
    return OURS.get(row.method) == name and config["loss"] == "ce" and config["epochs"] == row.epochs


def comparable_methods(results: Results) -> Table | None:
    """Return a table of our methods and the published accuracies that they are compared with, or None.

    Args:
        results: the runs of a study, of `read_results`.
    """
    pairs = compare_methods(results)
    if not pairs:
        return None
    rows: list[Sequence[Cell]] = [
        (
            pair.loss,
            pair.noise,
            pair.published.method,
            _source(pair.published),
            Number(pair.ours.mean, pair.ours.deviation, pair.ours.low, pair.ours.high, pair.ours.n),
            Number(pair.published.mean, pair.published.deviation, n=pair.published.runs),
            pair.contrast.verdict,
        )
        for pair in pairs
    ]
    return Table(
        "comparison-methods",
        f"{results.title}: methods and published accuracies",
        ("loss by method", "noise", "published method", "source", "ours", "published", "verdict"),
        rows,
        "Test accuracy (%) at the last epoch. The data set, the definition of the noise, the model and the "
        "number of epochs are the same; parameters and other settings may differ. "
        + _sources(pair.published for pair in pairs),
    )


def method_tables() -> list[Table]:
    """Return the published accuracies of methods, one table per data set; needs no runs.

    A row is a method in a source, with one model and one reported epoch; a column is a noise.
    """
    found: dict[str, list[Published]] = {}
    for row in published(collection="methods"):
        found.setdefault(row.dataset, []).append(row)
    return [_of_dataset(dataset, rows) for dataset, rows in found.items()]


def _of_dataset(dataset: str, rows: Sequence[Published]) -> Table:
    noises = sorted({_noise(row) for row in rows}, key=lambda noise: (-_rank(noise), noise))
    cells: dict[tuple[str, ...], dict[str, Cell]] = {}
    for row in rows:
        key = (row.method, row.model or "not stated", row.epoch or "not stated", _source(row))
        cells.setdefault(key, {})[_noise(row)] = Number(row.mean, n=None)
    slug = "".join(c if c.isalnum() else "-" for c in dataset.casefold()).strip("-")
    return Table(
        f"published-methods-{slug}",
        dataset,
        ("method", "model", "epoch", "source", *noises),
        [(*key, *(values.get(noise) for noise in noises)) for key, values in cells.items()],
        _sources(rows),
    )


def _noise(row: Published) -> str:
    return row.noise_type if row.rate is None else f"{row.noise_type} {row.rate:g}"


def _rank(noise: str) -> int:
    order = ("instance", "asymmetric", "symmetric")
    return next((place for place, kind in enumerate(order) if noise.startswith(kind)), -1)


def _source(row: Published) -> str:
    return row.source.key + (" (second hand)" if row.secondary else "")


def _sources(rows: Iterable[Published]) -> str:
    return (
        "Sources: " + "; ".join(f"{s.key}: {s.text}" for s in dict.fromkeys(row.source for row in rows)) + "."
    )
