"""The setting `table_recipe`: which settings the recipe for tables decides."""

from __future__ import annotations

from collections.abc import Collection

from noisylabels.core.checks import check_choice

DECIDED = (
    "epochs",
    "batch_size",
    "optimizer",
    "lr",
    "weight_decay",
    "schedule",
    "validation",
    "keep_epoch",
)
"""The settings that the recipe can decide; a model or a loss that is named is also left as it is."""


def decided(given: Collection[str] = ()) -> str:
    """Return the names of the settings that the recipe decides: all that are not given.

    The learning rate, weight decay and schedule are those of AdamW, so a given optimizer leaves them out too.

    >>> decided(["epochs", "optimizer"])
    'batch_size,validation,keep_epoch'
    """
    out = set(given)
    if "optimizer" in out:
        out |= {"lr", "weight_decay", "schedule"}
    if "warmup_epochs" in out:  # a one-cycle schedule has its own
        out.add("schedule")
    return ",".join(name for name in DECIDED if name not in out)


def canonical_names(text: str) -> str:
    """Return names separated by commas in their canonical order, "" for none.

    Raises:
        InputError: a setting that the recipe does not decide.

    >>> canonical_names("lr, epochs"), canonical_names("none")
    ('epochs,lr', '')
    """
    if text.strip().lower() in ("", "none"):
        return ""
    names = [check_choice(name.strip(), DECIDED, "setting of table_recipe") for name in text.split(",")]
    return ",".join(name for name in DECIDED if name in names)
