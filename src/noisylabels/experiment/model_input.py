"""Errors about models that do not take what they would be trained on: images, or rows of features."""

from __future__ import annotations

from noisylabels.core.checks import InputError
from noisylabels.encoders.names import AUTO, NONE


def takes_rows(model: str) -> bool:
    """Return whether a model takes rows of features: some of the catalog, any of the user's, and "auto".

    >>> takes_rows("mlp:64,32"), takes_rows("small-cnn"), takes_rows("mine.py:net")
    (True, False, True)
    """
    from noisylabels.models.catalog import FITTED, is_user_model
    from noisylabels.models.mlp import TABLE_MODELS

    name = model.partition(":")[0]
    return model == "auto" or name in TABLE_MODELS or name in FITTED or is_user_model(model)


def check_takes_features(model: str, features: str) -> None:
    """Raise an `InputError` if features of an encoder were asked for and the model takes images alone.

    >>> check_takes_features("small-cnn", "none")
    """
    if features not in (AUTO, NONE) and not takes_rows(model):
        raise InputError(
            f"the model {model!r} takes images, and features is {features!r}, whose features are rows of "
            "numbers; leave out --model (model=) to learn from the features, or --features (features=) to "
            "learn from the images"
        )


def check_takes_rows(model: str, name: str, columns: int) -> None:
    """Raise an `InputError` if a model takes images alone, and the set is a table of so many columns."""
    if not takes_rows(model):
        raise InputError(
            f"the model {model!r} takes images, and {name} is a table of {columns} features; leave out "
            "--model (model=), or use linear, mlp, mlp:64,32 or your own model"
        )
