"""Compare a study's accuracies with published ones, and list all settings that differ.

A cell of the study is compared with the published accuracies for the same data set (recognized by its class
names), noise (kind and rate), model, and loss (its terms). Other settings that differ, such as the constants
of the loss, the noise convention or the weight decay, are listed, and so are those that a source omits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from noisylabels.core.config import to_dict
from noisylabels.experiment import RunConfig
from noisylabels.losses.presets import with_ln
from noisylabels.noise import MAPS
from noisylabels.noise.spec import NoiseSpec, kind_of, map_of
from noisylabels.noise.stage import Stage
from noisylabels.paper.published import Published, published
from noisylabels.paper.published_names import PublishedMethod, published_method, shape_of
from noisylabels.study.results import Results, Run, accuracy
from noisylabels.study.statistics import Contrast, Summary, contrast

MODELS = {
    "cnn8": "8-layer CNN",
    "resnet34": "ResNet-34",
    "resnet50": "ResNet-50",
    "lenet": "LeNet-5",
    "preact-resnet18@dividemix": "PreAct ResNet-18",
}
"""Model of this library -> its name in the literature."""

OFFICIAL = {
    "CIFAR-10": "cifar10",
    "CIFAR-100": "cifar100",
    "MNIST": "mnist",
    "WebVision-mini top1": "webvision-mini",
    "Clothing1M": "clothing1m",
    "Animal-10N": "animal10n",
}
"""Data set in the literature -> its name in this library."""
BY_CLASSES = ("CIFAR-10", "CIFAR-100")
"""Data sets recognized by their class names, whatever name the copy has; others are matched by name."""

_HUMAN = {
    "aggre": "aggre",
    "random1": "rand1",
    "random2": "rand2",
    "random3": "rand3",
    "worse": "worst",
    "fine": "noisy100",
}
CONVENTIONS = {
    "plain": "independent flips",
    "exact": "an exact share of each class",
    "uniform": "drawn from all classes, including the true one",
    "parts": "ten image parts with one matrix each",
    "cifar10": "independent flips",
    "cifar10,sequential": "exact shares, pair by pair",
    "cifar100": "independent flips within superclasses",
    "cifar100,sequential": "exact shares, pair by pair, within superclasses",
    "cifar100-blocks": "independent flips within blocks of five classes",
    "cifar100-blocks,sequential": "exact shares, pair by pair, within blocks of five classes",
}
"""Key of a noise convention -> description."""


@dataclass(frozen=True)
class NoiseSetting:
    """A data set and its label noise, in the literature's terms.

    Args:
        dataset, noise_type, rate: as in `Published`.
        convention: key of `CONVENTIONS`; empty for clean labels and noise without one; None if unknown.
    """

    dataset: str
    noise_type: str
    rate: float | None
    convention: str | None = ""


@dataclass(frozen=True)
class PublishedComparison:
    """One cell of a study compared with one published accuracy.

    In `compare_paper_with_literature`, an accuracy of the paper replaces the cell.

    Args:
        loss, noise: axes of the cell.
        ours: summary of the test accuracy at the last epoch, in percent.
        published: the published accuracy.
        contrast: ours minus the published accuracy, in points.
        differs: setting -> description of the difference.
        unstated: settings that one side does not report.
    """

    loss: str
    noise: str
    ours: Summary
    published: Published
    contrast: Contrast
    differs: Mapping[str, str] = field(default_factory=dict)
    unstated: tuple[str, ...] = ()


def dataset_of(results: Results) -> str | None:
    """Return the literature's name of a study's data set, or None if it has no published accuracies.

    CIFAR-10 and CIFAR-100 are recognized by their class names, in any order; other sets by their names.
    """
    names = {_fold(name) for name in results.class_names}
    for dataset in BY_CLASSES:
        official = MAPS[OFFICIAL[dataset]].class_names
        if len(results.class_names) == len(official) and names == {_fold(name) for name in official}:
            return dataset
    others = {name: dataset for dataset, name in OFFICIAL.items() if dataset not in BY_CLASSES}
    return others.get(results.data)


def noise_setting(dataset: str, noise: str) -> NoiseSetting | None:
    """Return a noise of this library in the literature's terms, or None if it has no counterpart there.

    >>> noise_setting("CIFAR-10", "symmetric:0.4@exact")
    NoiseSetting(dataset='CIFAR-10', noise_type='symmetric', rate=0.4, convention='exact')
    >>> noise_setting("CIFAR-10", "human:CIFAR-10_human.pt@worse").noise_type
    'worst'
    """
    stages = NoiseSpec.parse(noise).stages
    if len(stages) > 1:
        return None
    if dataset not in (*BY_CLASSES, "MNIST"):  # real-world labels
        return None if stages else NoiseSetting(dataset, "real-world", None)
    if not stages or (kind_of(stages[0]).takes == "rate" and stages[0].rate == 0):
        return NoiseSetting(dataset, "clean", 0.0)
    stage = stages[0]
    if stage.kind == "human":
        label_set = _HUMAN.get(stage.word)
        if label_set is None or (label_set == "noisy100") != (dataset == "CIFAR-100"):
            return None
        return NoiseSetting(f"{dataset}N", label_set, None)
    kinds = {"symmetric": "symmetric", "asymmetric": "asymmetric", "instance": "instance-dependent"}
    if stage.kind not in kinds or (convention := _convention(dataset, stage)) is None:
        return None
    return NoiseSetting(dataset, kinds[stage.kind], stage.rate, convention)


def _convention(dataset: str, stage: Stage) -> str | None:
    """Return the key of `CONVENTIONS` for a stage, or None if it flips other classes than the literature."""
    named = next((q for q in stage.qualifiers if q in kind_of(stage).conventions), "")
    if stage.kind != "asymmetric":
        return named or "plain"
    own = OFFICIAL[dataset]
    chosen = map_of(stage) or own
    key = ",".join(filter(None, [chosen, named]))
    return key if not stage.pairs and key in CONVENTIONS and chosen.startswith(own) else None


def _fold(name: str) -> str:
    return name.strip().casefold().replace("_", " ")


# The settings of the two sides of a comparison

Settings = dict[str, str | None]
"""Setting -> value as text; None if the source does not report it."""

_STATED = (
    "optimizer", "lr", "momentum", "weight_decay", "batch_size", "schedule", "clip", "augment", "precision",
)  # fmt: skip


def _our_settings(run: Run, data: str, setting: NoiseSetting) -> Settings:
    config: dict[str, Any] = {**to_dict(RunConfig()), **run.config}
    photographs = setting.dataset != "MNIST"
    augment = str(config["augment"])
    number = "{:g}".format
    return {
        "data": data,
        "loss": with_ln(run.loss),
        "noise": setting.convention,
        "model": "" if config["width"] == 1 else f"width {config['width']:g}",
        "image size": "" if config["image_size"] is None else f"{config['image_size']}",
        "epochs": f"{config['epochs']}",
        "epoch": "last",
        "optimizer": str(config["optimizer"]),
        "lr": number(config["lr"]),
        "momentum": number(config["momentum"]),
        "weight_decay": number(config["weight_decay"]),
        "batch_size": number(config["batch_size"]),
        "schedule": str(config["schedule"]),
        "clip": number(config["clip"]),
        # the defaults of `default_augment` for color and gray images
        "augment": {"auto": "crop:4+flip" if photographs else "none"}.get(augment, augment),
        "precision": "float32" if config["precision"] == "float32" else "mixed",
        "other settings": ", ".join(_other_settings(config)),
    }


def _other_settings(config: Mapping[str, Any]) -> Iterable[str]:
    if config["l1"]:
        yield f"L1 {config['l1']:g}".replace("e-0", "e-")
        if not config["weight_decay"]:
            yield "no weight decay"
    if config["ema"]:
        yield f"averaged weights ({config['ema']:g})"
    if config["warmup_epochs"]:
        yield f"warm-up of {config['warmup_epochs']:g} epochs"
    if config.get("train_share", 1) != 1:
        yield f"{config['train_share']:g} of the training set"
    if config.get("validation"):
        yield f"{config['validation']:g} of the training set held out"


def _published_settings(row: Published, method: PublishedMethod) -> Settings:
    conventions = {
        "symmetric": row.source.symmetric,
        "asymmetric": row.source.asymmetric_cifar100 if "100" in row.dataset else row.source.asymmetric,
        "instance-dependent": "",
    }
    return {
        "data": OFFICIAL.get(row.dataset) or OFFICIAL[row.dataset.removesuffix("N")],  # CIFAR-10N: labels
        "loss": method.expression,
        "noise": (conventions[row.noise_type] or None) if row.noise_type in conventions else "",
        "model": "",
        "image size": "",
        "epochs": None if row.epochs is None else f"{row.epochs}",
        "epoch": row.epoch,
        **{name: row.stated.get(name) for name in _STATED},
        "other settings": method.note,
    }


_TITLES = {
    "weight_decay": "weight decay",
    "batch_size": "batch size",
    "augment": "augmentation",
    "epoch": "metric",
}
_NAMES = {"noise": "noise convention", "epoch": "reported epoch"}


def _compare_settings(
    ours: Settings, theirs: Settings, who: tuple[str, str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return descriptions of the settings that differ, and the settings that one side does not report."""
    differs, unstated = {}, []
    for name, mine in ours.items():
        other = theirs[name]
        title = _TITLES.get(name, name)
        if name == "epoch":
            mine, other = (f"{value} epoch" if value else None for value in (mine, other))
        if name == "loss" and other is None:  # essential for the comparison: listed even if unknown
            differs[name] = f"loss: {who[0]} {mine}, {who[1]} with unknown constants"
        elif mine is None or other is None:
            unstated.append(_NAMES.get(name, title))
        elif mine != other:
            words = [
                CONVENTIONS[value] if name == "noise" and value else value or "none"
                for value in (mine, other)
            ]
            differs[name] = f"{title}: {who[0]} {words[0]}, {who[1]} {words[1]}"
    return differs, tuple(unstated)


def model_of(row: Published) -> str:
    """Return the model of a published accuracy, without remarks on its settings."""
    return row.model.partition(" (settings")[0]


def our_model(run: Run) -> str | None:
    """Return the literature's name of a run's model, or None if it has no published accuracies."""
    name, side = str(run.config["model"]), run.config.get("image_size") or 32
    # "auto" is cnn8 for the literature's data sets, whose images have at least 16x16 pixels unless resized
    return MODELS.get("cnn8" if name == "auto" and side >= 16 else name)


def percent(summary: Summary) -> Summary:
    """Convert a summary of shares to percent."""
    values = (summary.mean, summary.deviation, summary.low, summary.high)
    mean, deviation, low, high = (None if value is None else 100 * value for value in values)
    assert mean is not None
    return Summary(mean, deviation, low, high, summary.n)


def as_summary(row: Published) -> Summary:
    """Return a published accuracy as a summary; an unknown number of runs counts as one.

    A deviation over an unknown number of runs is therefore not used.
    """
    return Summary(row.mean, row.deviation, None, None, row.runs or 1)


def _of_losses(collection: str | None = None) -> list[Published]:
    """Return the accuracies of the collections in which a row is a loss."""
    return [row for row in published(collection=collection) if row.collection != "methods"]


def compare_published(results: Results, collection: str | None = None) -> list[PublishedComparison]:
    """Compare each cell with each published accuracy of the same data set, noise, loss and model.

    Losses match if they have the same terms; constants that differ or are unknown are listed in `differs`.

    Args:
        results: of one data set and model.
        collection: "paper" or "literature"; None for both. `published_methods` compares methods.

    Returns:
        The comparisons, in the order of the results' losses and noises, the paper first.
    """
    dataset = dataset_of(results)
    model = our_model(results.runs[0]) if results.runs else None
    if dataset is None or model is None:
        return []
    rows = [row for row in _of_losses(collection) if model_of(row) == model]
    noise_settings = {noise: noise_setting(dataset, noise) for noise in results.noises}
    found = []
    for loss in results.losses:
        shape = shape_of(loss)
        for noise, setting in noise_settings.items():
            summary = results.summary(accuracy, loss, noise)
            if setting is None or summary is None or shape is None:
                continue
            wanted = (setting.dataset, setting.noise_type, setting.rate)
            mine = _our_settings(results.cell(loss, noise)[0], results.data, setting)
            for row in rows:
                same = (row.dataset, row.noise_type, row.rate) == wanted
                method = published_method(row) if same else None
                if method is not None and method.shape == shape:
                    ours, theirs = percent(summary), _published_settings(row, method)
                    difference = contrast(ours, as_summary(row))
                    settings = _compare_settings(mine, theirs, ("ours", "theirs"))
                    found.append(PublishedComparison(loss, noise, ours, row, difference, *settings))
    return found


def compare_paper_with_literature() -> list[PublishedComparison]:
    """Compare each accuracy of the paper with those of the literature for the same noise, loss and model.

    In these comparisons `ours` is the paper's accuracy.
    """
    literature = published(collection="literature", dataset="CIFAR-10")
    found = []
    for row in published(collection="paper"):
        mine = published_method(row)
        assert mine is not None
        assert mine.expression is not None
        for other in literature:
            same = (other.noise_type, other.rate, model_of(other)) == (row.noise_type, row.rate, row.model)
            method = published_method(other) if same else None
            if method is not None and method.shape == mine.shape:
                settings = _compare_settings(
                    _published_settings(row, mine),
                    _published_settings(other, method),
                    ("the paper", "theirs"),
                )
                ours = as_summary(row)
                difference = contrast(ours, as_summary(other))
                noise = "clean" if not row.rate else f"{row.noise_type} {row.rate:g}"
                found.append(PublishedComparison(mine.expression, noise, ours, other, difference, *settings))
    return found


def explain_no_comparison(results: Results) -> str:
    """Return one sentence on why no published accuracy is comparable, or empty text if one is."""
    if compare_published(results):
        return ""
    dataset = dataset_of(results)
    if dataset is None:
        known = ", ".join(OFFICIAL)
        return f"No published results to compare with: the data set {results.data} is none of {known}."
    what = str(results.runs[0].config["model"])
    if our_model(results.runs[0]) is None:
        models = ", ".join(
            filter(None, dict.fromkeys(model_of(row) for row in _of_losses() if row.dataset == dataset))
        )
        return (
            f"No published results to compare with: those on {dataset} use {models}; none uses the model "
            f"{what}."
        )
    return (
        f"No published results to compare with: none on {dataset} uses the model {what} with these losses "
        "and noises."
    )
