"""Ours beside what was published: the same data, noise, loss and model, and every setting that differs.

Beside a cell of ours stands a published number of the same data set (told by its classes), noise (kind and
rate), model, and loss (its terms). What then still differs, such as the loss's constants, the noise's
convention or the weight decay, is named, and so is what a source does not say.
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
from noisylabels.report.published import Published, published
from noisylabels.study.methods import Method, method_of, shape_of
from noisylabels.study.results import Results, Run, accuracy
from noisylabels.study.statistics import Contrast, Summary, contrast

MODELS = {"cnn8": "8-layer CNN", "resnet34": "ResNet-34", "resnet50": "ResNet-50", "lenet": "LeNet-5"}
"""Our model -> what the literature calls it."""

OFFICIAL = {
    "CIFAR-10": "cifar10",
    "CIFAR-100": "cifar100",
    "MNIST": "mnist",
    "WebVision-mini top1": "webvision-mini",
    "Clothing1M": "clothing1m",
    "Animal-10N": "animal10n",
}
"""The literature's data set -> its name here."""
BY_CLASSES = ("CIFAR-10", "CIFAR-100")
"""Data sets told by their classes, whatever the copy is called; the others by their name."""

_HUMAN = {
    "aggre": "aggre",
    "random1": "rand1",
    "random2": "rand2",
    "random3": "rand3",
    "worse": "worst",
    "fine": "noisy100",
}
CONVENTIONS = {
    "plain": "each label by itself",
    "exact": "an exact share of each class",
    "uniform": "drawn from all classes, the true one among them",
    "parts": "ten parts of the image, a matrix each",
    "cifar10": "each label by itself",
    "cifar10,sequential": "pair after pair, exact shares",
    "cifar100": "each label by itself, within superclasses",
    "cifar100,sequential": "pair after pair, exact shares, within superclasses",
    "cifar100-blocks": "each label by itself, within blocks of five classes",
    "cifar100-blocks,sequential": "pair after pair, exact shares, within blocks of five classes",
}
"""How a noise is applied, in words."""


@dataclass(frozen=True)
class Subject:
    """What a number is about, in the literature's words.

    Args:
        dataset, noise_type, rate: as in `Published`.
        convention: a key of `CONVENTIONS`; empty where there is none, as for clean labels; None if not known.
    """

    dataset: str
    noise_type: str
    rate: float | None
    convention: str | None = ""


@dataclass(frozen=True)
class Beside:
    """One of our cells beside one published number; or, of `paper_beside_literature`, two published ones.

    Args:
        loss, noise: ours.
        ours: test accuracy of the last epoch, summarized, in per cent.
        published: the row.
        contrast: ours less the published, in points.
        differs: what differs, a setting -> words.
        unstated: settings that one side does not say.
    """

    loss: str
    noise: str
    ours: Summary
    published: Published
    contrast: Contrast
    differs: Mapping[str, str] = field(default_factory=dict)
    unstated: tuple[str, ...] = ()


def dataset_of(results: Results) -> str | None:
    """Return what the literature calls the data of some results, or None if nothing is published about them.

    CIFAR-10 and CIFAR-100 are told by their class names, in any order; other sets by their names.
    """
    names = {_fold(name) for name in results.class_names}
    for dataset in BY_CLASSES:
        official = MAPS[OFFICIAL[dataset]].class_names
        if len(results.class_names) == len(official) and names == {_fold(name) for name in official}:
            return dataset
    others = {name: dataset for dataset, name in OFFICIAL.items() if dataset not in BY_CLASSES}
    return others.get(results.data)


def subject_of(dataset: str, noise: str) -> Subject | None:
    """Return a noise of ours as the literature has it, or None if it has no such noise.

    >>> subject_of("CIFAR-10", "symmetric:0.4@exact")
    Subject(dataset='CIFAR-10', noise_type='symmetric', rate=0.4, convention='exact')
    >>> subject_of("CIFAR-10", "human:CIFAR-10_human.pt@worse").noise_type
    'worst'
    """
    stages = NoiseSpec.parse(noise).stages
    if len(stages) > 1:
        return None
    if dataset not in (*BY_CLASSES, "MNIST"):  # labels as they were found
        return None if stages else Subject(dataset, "real-world", None)
    if not stages or (kind_of(stages[0]).takes == "rate" and stages[0].rate == 0):
        return Subject(dataset, "clean", 0.0)
    stage = stages[0]
    if stage.kind == "human":
        label_set = _HUMAN.get(stage.word)
        if label_set is None or (label_set == "noisy100") != (dataset == "CIFAR-100"):
            return None
        return Subject(f"{dataset}N", label_set, None)
    kinds = {"symmetric": "symmetric", "asymmetric": "asymmetric", "instance": "instance-dependent"}
    if stage.kind not in kinds or (convention := _convention(dataset, stage)) is None:
        return None
    return Subject(dataset, kinds[stage.kind], stage.rate, convention)


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


# The two sides of a comparison: a setting -> words, None where a source does not say.

Side = dict[str, str | None]

_STATED = (
    "optimizer", "lr", "momentum", "weight_decay", "batch_size", "schedule", "clip", "augment", "precision",
)  # fmt: skip


def _our_side(run: Run, data: str, subject: Subject) -> Side:
    config: dict[str, Any] = {**to_dict(RunConfig()), **run.config}
    photographs = subject.dataset != "MNIST"
    augment = str(config["augment"])
    number = "{:g}".format
    return {
        "data": data,
        "loss": with_ln(run.loss),
        "noise": subject.convention,
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
        # as `default_augment` has it for color and for gray images
        "augment": {"auto": "crop:4+flip" if photographs else "none"}.get(augment, augment),
        "precision": "float32" if config["precision"] == "float32" else "mixed",
        "besides": ", ".join(_besides(config)),
    }


def _besides(config: Mapping[str, Any]) -> Iterable[str]:
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


def _their_side(row: Published, method: Method) -> Side:
    epoch = next((word for word in ("last", "best", "final") if word in row.metric), None)
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
        "epoch": "last" if epoch == "final" else epoch,
        **{name: row.stated.get(name) for name in _STATED},
        "besides": method.note,
    }


_TITLES = {
    "weight_decay": "weight decay",
    "batch_size": "batch size",
    "augment": "augmentation",
    "epoch": "metric",
}
_NAMES = {"noise": "how the noise is applied", "epoch": "which epoch"}


def _apart(ours: Side, theirs: Side, who: tuple[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return in what two sides differ, in words, and what one of them does not say."""
    differs, unstated = {}, []
    for name, mine in ours.items():
        other = theirs[name]
        title = _TITLES.get(name, name)
        if name == "epoch":
            mine, other = (f"{value} epoch" if value else None for value in (mine, other))
        if (
            name == "loss" and other is None
        ):  # that numbers can be set side by side hangs on it: not in a note
            differs[name] = f"loss: {who[0]} {mine}, {who[1]} with constants that are not known"
        elif mine is None or other is None:
            unstated.append(_NAMES.get(name, title))
        elif mine != other:
            words = [
                CONVENTIONS[value] if name == "noise" and value else value or "none"
                for value in (mine, other)
            ]
            differs[name] = f"{title}: {who[0]} {words[0]}, {who[1]} {words[1]}"
    return differs, tuple(unstated)


def _model_of(row: Published) -> str:
    return row.model.partition(" (settings")[0]


def _our_model(run: Run) -> str | None:
    name, side = str(run.config["model"]), run.config.get("image_size") or 32
    # auto is cnn8 for the literature's data sets, whose images are not below 16x16 unless they are made so
    return MODELS.get("cnn8" if name == "auto" and side >= 16 else name)


def percent(summary: Summary) -> Summary:
    """Return shares as per cent."""
    values = (summary.mean, summary.deviation, summary.low, summary.high)
    mean, deviation, low, high = (None if value is None else 100 * value for value in values)
    assert mean is not None
    return Summary(mean, deviation, low, high, summary.n)


def as_summary(row: Published) -> Summary:
    """Return a row as a summary; of how many runs it is, is taken to be 1 if it is not stated.

    So a deviation over an unknown number of runs counts as none.
    """
    return Summary(row.mean, row.deviation, None, None, row.runs or 1)


def beside(results: Results, collection: str | None = None) -> list[Beside]:
    """Return each cell of some results beside each published number of the same data, noise, loss and model.

    Losses are the same if they have the same terms; where their constants differ, or are not known, that is
    in `differs`.

    Args:
        results: of one data set and model.
        collection: "paper" or "literature"; None for both.

    Returns:
        In the order of the results' losses and noises, the paper first.
    """
    dataset = dataset_of(results)
    model = _our_model(results.runs[0]) if results.runs else None
    if dataset is None or model is None:
        return []
    rows = [row for row in published(collection=collection) if _model_of(row) == model]
    subjects = {noise: subject_of(dataset, noise) for noise in results.noises}
    found = []
    for loss in results.losses:
        shape = shape_of(loss)
        for noise, subject in subjects.items():
            summary = results.summary(accuracy, loss, noise)
            if subject is None or summary is None or shape is None:
                continue
            what = (subject.dataset, subject.noise_type, subject.rate)
            side = _our_side(results.cell(loss, noise)[0], results.data, subject)
            for row in rows:
                method = method_of(row) if (row.dataset, row.noise_type, row.rate) == what else None
                if method is not None and method.shape == shape:
                    ours, theirs = percent(summary), _their_side(row, method)
                    apart = _apart(side, theirs, ("ours", "theirs"))
                    found.append(Beside(loss, noise, ours, row, contrast(ours, as_summary(row)), *apart))
    return found


def paper_beside_literature() -> list[Beside]:
    """Return each number of the paper beside the literature's for the same noise, loss and model.

    What is "ours" in them is the paper's.
    """
    literature = published(collection="literature", dataset="CIFAR-10")
    found = []
    for row in published(collection="paper"):
        mine = method_of(row)
        assert mine is not None
        assert mine.expression is not None
        for other in literature:
            same = (other.noise_type, other.rate, _model_of(other)) == (row.noise_type, row.rate, row.model)
            method = method_of(other) if same else None
            if method is not None and method.shape == mine.shape:
                apart = _apart(_their_side(row, mine), _their_side(other, method), ("the paper", "theirs"))
                ours = as_summary(row)
                noise = "clean" if not row.rate else f"{row.noise_type} {row.rate:g}"
                found.append(
                    Beside(mine.expression, noise, ours, other, contrast(ours, as_summary(other)), *apart)
                )
    return found


def nothing_published(results: Results) -> str:
    """Return one sentence on why nothing is published beside some results; empty if something is."""
    if beside(results):
        return ""
    dataset = dataset_of(results)
    if dataset is None:
        known = ", ".join(OFFICIAL)
        return f"Nothing published stands beside these results: {results.data} is none of {known}."
    what = str(results.runs[0].config["model"])
    if _our_model(results.runs[0]) is None:
        models = ", ".join(filter(None, dict.fromkeys(_model_of(row) for row in published(dataset=dataset))))
        return (
            f"Nothing published stands beside these results: for {dataset} there are numbers with {models}, "
            f"and none with the model {what}."
        )
    return (
        f"Nothing published stands beside these results: for {dataset} there is no number with the model "
        f"{what} and these losses and noises."
    )
