"""What a run is: its configuration, its id, and the recipes."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisylabels.core.checks import InputError, check_between
from noisylabels.core.config import build, fingerprint, read_toml
from noisylabels.core.files import file_digest
from noisylabels.core.user_code import code_file
from noisylabels.experiment.auto_loss import AUTO
from noisylabels.training.settings import HOW, Settings


@dataclass(frozen=True)
class Subject:
    """What a run is about: data, noise, loss, model."""

    data: str = "digits"
    """a name of `noisylabels list data`, such as digits or cifar10, or a path in one of the forms of
    `noisylabels list formats`, such as a folder with a folder a class"""
    noise: str = "none"
    """label noise to add: none, symmetric:0.4, asymmetric:0.4, ..., or several in a row, as in
    "longtail:0.1 | symmetric:0.4"; see `noisylabels list noise`"""
    loss: str = "auto"
    """auto (chosen by the number of classes and the share of labels that look wrong), or a loss or a sum of
    losses: ce, nce+mae, 2*nce+0.5*rce; see `noisylabels list losses`; FILE.py:FUNCTION or MODULE:FUNCTION in
    it is of your own"""
    model: str = "auto"
    """auto (small-cnn for images below 16x16, else cnn8; a small mlp for a table), one of `noisylabels list
    models`, timm:NAME, or MODULE:FUNCTION or FILE.py:FUNCTION of your own"""
    width: float = 1.0
    """factor of the model's layer widths"""
    out: str | None = None
    """folder of the run (default: runs/ and a name made of the configuration)"""
    data_root: str | None = None
    """folder that holds the named data set, or to which the path of --data is relative (else the one that
    NOISYLABELS_DATA names, else downloads in the cache)"""
    download: bool = False
    """get the named data set if it is not there"""
    image_size: int | None = None
    """side in pixels to bring images to; needed only if they differ in size or are large"""
    bad_images: str = "fail"
    """what to do with images that cannot be read: fail, or skip"""
    labels: str | None = None
    """CSV or Parquet file of id (or path) and label, such as corrected.csv: these labels replace those that
    were read; an example with an empty one is left out"""
    label_column: str | None = None
    """column of the labels in a table or in Parquet (default: the one called label, class, target or y)"""
    train_share: float = 1.0
    """share of each class's training examples to train on, the same ones whatever the seed; the test set
    stays whole"""

    def __post_init__(self) -> None:
        check_between(self.train_share, "train_share", low=0.0, high=1.0, open_low=True)


@dataclass(frozen=True)
class RunConfig(Settings, Subject):
    """The settings of a run: the keys of a recipe file, the flags of the command line."""

    # It extends two dataclasses instead of holding them so that keys are flat and every default stands
    # in one place. Dataclasses gather fields from the last base first: the subject leads.

    augment: str = "auto"
    """auto (crop:4+flip for color images, else none), none, flip, crop:4, crop:4+flip"""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        Subject.__post_init__(self)


NOT_IDENTITY = ("out", "data_root", "download", *HOW)
"""Settings that say where and how a run is carried out, not what it is; they do not enter its id."""

NEWER = ("validation", "labels", "label_column", "train_share", "loss_lr")
"""Settings that came after the first ids: at their defaults they do not enter an id, so that it stays."""


def recipes() -> dict[str, Path]:
    """Return the recipes that come with the package, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))}


def load_config(recipe: str | None = None, **flags: Any) -> RunConfig:
    """Return defaults < recipe < flags as one configuration.

    Args:
        recipe: a name of `recipes()`, or the path of a TOML file of settings.
        flags: settings that go over the recipe's.

    Raises:
        InputError: an unknown recipe or key, a wrong type, a value out of range.
    """
    layer: dict[str, Any] = {}
    if recipe is not None:
        shipped = recipes()
        path = shipped.get(recipe, Path(recipe))
        if not path.exists():
            from noisylabels.data.catalog import DATA

            hint = f"; the data set is --data {recipe}" if recipe in DATA else ""
            known = ", ".join(shipped)
            raise InputError(
                f"there is no recipe {recipe!r}: no file of that name, and none of: {known}{hint}"
            )
        layer = build_layer(path)
    return build(RunConfig, layer, flags)


def build_layer(path: Path) -> dict[str, Any]:
    """Return the settings of a recipe file, each checked by name and type."""
    layer = read_toml(path)
    build(RunConfig, layer, origin=f"key of {path.name}")
    return layer


def canonical(config: RunConfig) -> RunConfig:
    """Return the configuration spelled canonically: "MAE + NCE" is "nce+mae", "photos/" is "photos".

    Raises:
        InputError: a loss, a noise or an augmentation that cannot be read, an unknown model.
    """
    from noisylabels.data.augment import parse_augment
    from noisylabels.data.catalog import DATA
    from noisylabels.losses.expression import loss
    from noisylabels.models.catalog import canonical_model
    from noisylabels.noise.spec import NoiseSpec

    expression = config.loss
    if expression.strip().lower() == AUTO:
        expression = AUTO
    else:
        criterion = loss(expression)
        expression = criterion.expression
    if expression != AUTO and "two views" in criterion.needs:
        raise InputError(
            f"the loss {config.loss!r} compares two views of each image, and a run has one (gjs is then js); "
            "take js here, or train with gjs in a loop of your own"
        )
    data = config.data
    if not data.strip():
        raise InputError("the data set is empty text, expected a name or a path; for this folder write .")
    if data not in DATA:
        data = os.path.normpath(os.path.expanduser(data))
        data = os.path.join(".", data) if data in DATA else data  # a folder called as a data set is
    labels = config.labels
    if labels is not None:
        if not labels.strip():
            raise InputError("the file of labels is empty text, expected a path such as corrected.csv")
        labels = os.path.normpath(os.path.expanduser(labels))
    return dataclasses.replace(
        config,
        data=data,
        labels=labels,
        model=canonical_model(config.model),
        loss=expression,
        noise=str(NoiseSpec.parse(config.noise)),
        augment=config.augment if config.augment == "auto" else str(parse_augment(config.augment)),
    )


def code_digests(config: RunConfig) -> dict[str, str]:
    """Return the sha256 of the files of the user's own code in a configuration, by file or module.

    It is the file that is named, not what that imports.

    Raises:
        InputError: a loss that cannot be read.
    """
    from noisylabels.losses.expression import read_terms
    from noisylabels.losses.user_loss import unresolved_row, user_specs
    from noisylabels.models.catalog import is_user_model

    specs = [] if config.loss == AUTO else user_specs(read_terms(config.loss, unresolved_row))
    specs += [config.model] if is_user_model(config.model) else []
    return {spec.rpartition(":")[0]: file_digest(path) for spec in specs if (path := code_file(spec))}


def run_id(config: RunConfig) -> str:
    """Return the id of a run: 12 hexadecimal digits of what it is, not of where it is carried out."""
    return canonical_id(canonical(config))


def canonical_id(config: RunConfig) -> str:
    """Return the id of a run whose configuration is spelled canonically already."""
    unused = [name for name in NEWER if getattr(config, name) == getattr(RunConfig, name)]
    return fingerprint(config, (*NOT_IDENTITY, *unused))


def default_out(config: RunConfig) -> Path:
    """Return the folder of a run that was not given one: readable, and unique by its id."""
    words = [Path(config.data).resolve().name, config.noise, config.loss, f"seed{config.seed}"]
    # cut, because a folder's name may not be longer than 255 bytes
    name = "-".join("".join(c if c.isalnum() or c in "+.@" else "_" for c in word[:32]) for word in words)
    return Path("runs") / f"{name}-{run_id(config)}"
