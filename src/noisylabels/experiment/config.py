"""The configuration of a run, its id, and the recipes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisylabels.core.checks import InputError, check_between
from noisylabels.core.config import build, fingerprint, read_toml
from noisylabels.training.settings import HOW, Settings


@dataclass(frozen=True)
class Subject:
    """The subject of a run: data, noise, loss, model."""

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

    # It extends two dataclasses instead of holding them, so that keys are flat and every default has one
    # place. Dataclasses collect fields from the last base first: those of the subject come first.

    augment: str = "auto"
    """auto (crop:4+flip for color images, else none), none, flip, crop:4, crop:4+flip"""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        Subject.__post_init__(self)


NOT_IDENTITY = ("out", "data_root", "download", *HOW)
"""Settings of where and how a run executes; they are not part of its identity and do not enter its id."""

FIRST_SETTINGS = frozenset(
    {"data", "noise", "loss", "model", "width", "image_size", "bad_images", "augment", "epochs", "batch_size"}
    | {"optimizer", "lr", "momentum", "weight_decay", "l1", "schedule", "warmup_epochs", "clip", "precision"}
    | {"channels_last", "ema", "seed"}
)
"""The settings that the first ids were derived from. This set never changes: a setting added later enters an
id only if it is not at its default, so that existing ids stay the same."""


def recipes() -> dict[str, Path]:
    """Return the paths of the built-in recipes, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))}


def load_config(recipe: str | None = None, **flags: Any) -> RunConfig:
    """Return defaults < recipe < flags as one configuration.

    Args:
        recipe: a name of `recipes()`, or the path of a TOML file of settings.
        flags: settings that override those of the recipe.

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
            raise InputError(f"there is no recipe {recipe!r}, expected a TOML file or one of: {known}{hint}")
        layer = build_layer(path)
    return build(RunConfig, layer, flags)


def build_layer(path: Path) -> dict[str, Any]:
    """Return the settings of a recipe file, validated by name and type."""
    layer = read_toml(path)
    build(RunConfig, layer, origin=f"key of {path.name}")
    return layer


def canonical_id(config: RunConfig) -> str:
    """Return the id of a run with a canonical configuration.

    A setting that is not one of `FIRST_SETTINGS` enters the id only if it is not at its default.
    """
    left_out = [
        field.name
        for field in dataclasses.fields(config)
        if field.name in NOT_IDENTITY
        or (field.name not in FIRST_SETTINGS and getattr(config, field.name) == field.default)
    ]
    return fingerprint(config, left_out)
