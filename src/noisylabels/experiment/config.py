"""The configuration of a run, its id, and the recipes."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisylabels.core.checks import InputError, check_between, did_you_mean
from noisylabels.core.config import build, fingerprint, read_toml
from noisylabels.experiment.table_settings import decided
from noisylabels.training.settings import HOW, Settings


@dataclass(frozen=True)
class Subject:
    """The data, noise, loss, model and method of a run."""

    data: str = "digits"
    """data set: a name in `noisylabels list data`, such as digits or cifar10, or a path in a format of
    `noisylabels list formats`, such as a folder of images with one folder per class"""
    noise: str = "none"
    """label noise to add: none, symmetric:0.4, asymmetric:0.4, ..., or a chain such as
    "longtail:0.1 | symmetric:0.4"; see `noisylabels list noise`"""
    loss: str = "auto"
    """auto (chosen by classes, training steps and the estimated noise rate; for a table with the model; ce
    with a method other than standard), or a loss or a weighted sum: ce, nce+mae, 2*nce+0.5*rce; see
    `noisylabels list losses`; FILE.py:FUNCTION or MODULE:FUNCTION stands for your own loss"""
    model: str = "auto"
    """auto (small-cnn for images below 16x16, else cnn8; for a table linear or mlp@dropout, chosen on
    held-out rows), a name in `noisylabels list models`, timm:NAME, or your own as MODULE:FUNCTION or
    FILE.py:FUNCTION"""
    width: float = 1.0
    """multiplier of the model's layer widths"""
    out: str | None = None
    """folder of the run (default: runs/ and a name derived from the configuration)"""
    data_root: str | None = None
    """folder that contains the named data set, or to which the path in --data is relative (default: the
    folder that NOISYLABELS_DATA names, or else downloads in the cache)"""
    download: bool = False
    """download the named data set if it is missing"""
    image_size: int | None = None
    """side in pixels to resize images to; needed only if their sizes differ or are large"""
    bad_images: str = "fail"
    """fail or skip: what to do with images that cannot be read"""
    features: str = "none"
    """none, auto, or the frozen encoder whose features are trained on in place of the images or texts, such
    as efficientnet-lite0; see `noisylabels list encoders` (default: auto for images and texts of your own,
    unless model, width or augment is given)"""
    labels: str | None = None
    """CSV or Parquet file with columns id (or path) and label, such as corrected.csv: these labels replace
    those of the data; examples with an empty label are left out"""
    label_column: str | None = None
    """column of labels in a table or Parquet file (default: the one named label, class, target or y)"""
    table_recipe: str = ""
    """for a table of features: the settings that its recipe decides, separated by commas, or none (default:
    those of epochs, batch_size, optimizer, lr, weight_decay, schedule, validation and keep_epoch that are
    not set)"""
    id_column: str | None = None
    """column of ids in a table or Parquet file (default: id; for images their paths, or their rows)"""
    text_column: str | None = None
    """column of free text in a table, or several with commas between them, which are joined (default: the
    columns of words that are no features and have the length of sentences)"""
    method: str = "standard"
    """training method: standard, elr, "elr(lambda_=3,beta=0.9)", "coteaching(forget_rate=0.4)", ...; see
    `noisylabels list methods`; FILE.py:CLASS or MODULE:CLASS stands for your own method"""
    record: str = "none"
    """none, or dynamics: record gradients, steps, predictions and sharpness, for clean and noisy labels; also
    "dynamics(stride=5,sharpness_epochs=10)"; training stays the same"""
    train_share: float = 1.0
    """share of each class's training examples to train on, the same examples for every seed; the test set
    stays whole"""

    def __post_init__(self) -> None:
        check_between(self.train_share, "train_share", low=0.0, high=1.0, open_low=True)


@dataclass(frozen=True)
class RunConfig(Settings, Subject):
    """All settings of a run: the keys of a recipe file and the flags of the command line."""

    # It extends two dataclasses instead of holding them, so that keys are flat and every default is written
    # once. Dataclasses collect fields from the last base first: those of the subject come first.

    augment: str = "auto"
    """random changes of training images: auto (crop:4+flip for color images, resized-crop:0.08+flip for those
    in shards, else none), or parts joined with +: none, flip, crop:4, resized-crop:0.08 (least share of the
    area), rand:2 (random operations), cutout:16; of features: noise:0.1, dropout:0.1"""

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        Subject.__post_init__(self)


NOT_IDENTITY = ("out", "data_root", "download", "record", *HOW)
"""Settings of where and how a run is executed, not of what it computes; they do not enter its id."""

FIRST_SETTINGS = frozenset(
    {"data", "noise", "loss", "model", "width", "image_size", "bad_images", "augment", "epochs", "batch_size"}
    | {"optimizer", "lr", "momentum", "weight_decay", "l1", "schedule", "warmup_epochs", "clip", "precision"}
    | {"channels_last", "ema", "seed"}
)
"""The settings from which the first ids were computed. This list never changes: a setting added later enters
an id only where it is not at its default, so that earlier ids stay valid."""


DATA_FILES = {
    **dict.fromkeys((".csv", ".tsv", ".parquet"), "a table"),
    **dict.fromkeys((".npz", ".npy"), "a file of arrays"),
}
"""Suffixes of data, which a recipe never has, and what such a file is."""


def recipes() -> dict[str, Path]:
    """Return the paths of the built-in recipes, by name."""
    return {path.stem: path for path in sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))}


def load_config(recipe: str | None = None, **flags: Any) -> RunConfig:
    """Return defaults < recipe < flags as one configuration.

    If the data are a table, or features of an encoder are trained on, the recipe for tables decides the
    settings that are not given (`table_recipe`). Images and texts of your own are encoded by default
    (`features`).

    Args:
        recipe: a name in `recipes()`, or the path of a TOML file of settings.
        flags: settings that take precedence over the recipe's.

    Raises:
        InputError: an unknown recipe or key, a wrong type, a value out of range.

    >>> load_config("digits", loss="nce+mae").loss
    'nce+mae'
    """
    layer: dict[str, Any] = {}
    if recipe is not None:
        layer = build_layer(_recipe_file(recipe))
    found = build(RunConfig, layer, flags)
    given = layer.keys() | flags.keys()
    table = is_table(found)
    if not given & _FROM_PIXELS and not table and is_own(found):
        found = dataclasses.replace(found, features="auto")
    if "features" not in given and table and (found.text_column is not None or has_texts(found)):
        found = dataclasses.replace(found, features="auto")
    if "table_recipe" not in given and (table or found.features != "none"):
        found = dataclasses.replace(found, table_recipe=decided(given))
    return found


_FROM_PIXELS = {"features", "model", "width", "augment"}
"""Settings that choose what a network sees: with one of them, features of an encoder are not the default."""


def source_of(config: RunConfig) -> str:
    """Return the name or path of a configuration's data; a path may be relative to the data root."""
    from noisylabels.data.catalog import DATA
    from noisylabels.data.formats import is_there

    if config.data in DATA or config.data_root is None:
        return config.data
    below = Path(config.data_root).expanduser() / config.data
    return str(below) if is_there(below) else config.data


def is_table(config: RunConfig) -> bool:
    """Return whether the data of a configuration are a table of features; it reads at most the heading."""
    from noisylabels.data.catalog import DATA
    from noisylabels.data.formats import is_table

    return config.data not in DATA and is_table(Path(source_of(config)).expanduser())


def has_texts(config: RunConfig) -> bool:
    """Return whether the data of a configuration are a table with free text, by its first rows."""
    from noisylabels.data.feature_table import has_texts

    return has_texts(Path(source_of(config)).expanduser())


def is_own(config: RunConfig) -> bool:
    """Return whether the data of a configuration are the user's own, and no named data set."""
    from noisylabels.data.catalog import DATA
    from noisylabels.data.formats import is_there

    return config.data not in DATA and is_there(Path(source_of(config)).expanduser())


def _recipe_file(recipe: str) -> Path:
    """Return the file of a recipe, or raise an `InputError` that says what the word could mean instead."""
    from noisylabels.data.catalog import DATA

    shipped = recipes()
    if recipe in shipped:
        return shipped[recipe]
    path = Path(recipe)
    kind = "a folder" if path.is_dir() else DATA_FILES.get(path.suffix.lower())
    if kind is not None:
        raise InputError(f"{recipe} is {kind}, expected a recipe; did you mean --data {shlex.quote(recipe)}?")
    if path.exists():
        return path
    hint = f"; for the data set, use --data {recipe}" if recipe in DATA else ""
    near = did_you_mean(recipe, [*shipped, *DATA])
    if not hint and "did you mean" in near:
        named = near.partition("'")[2].partition("'")[0]
        hint = near if named in shipped else f"; did you mean --data {named}?"
    known = ", ".join(shipped)
    raise InputError(
        f"there is no recipe {recipe!r}: no such file, and the built-in recipes are {known}{hint}"
    )


def build_layer(path: Path) -> dict[str, Any]:
    """Return the settings of a recipe file, after checking their names and types."""
    layer = read_toml(path)
    build(RunConfig, layer, origin=f"key of {path.name}")
    return layer


def canonical_id(config: RunConfig) -> str:
    """Return the id of a run whose configuration is in canonical spelling.

    A setting outside `FIRST_SETTINGS` enters it only where it is not at its default.
    """
    left_out = [
        field.name
        for field in dataclasses.fields(config)
        if field.name in NOT_IDENTITY
        or (field.name not in FIRST_SETTINGS and getattr(config, field.name) == field.default)
    ]
    return fingerprint(config, left_out)
