"""The recipe for tables: the choice between candidates, and the settings of the run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from noisylabels.core.checks import InputError
from noisylabels.core.config import build, to_dict
from noisylabels.core.schema import checked
from noisylabels.experiment.table_candidates import (
    PENALIZED,
    Candidate,
    candidates,
    given_settings,
)

if TYPE_CHECKING:
    import numpy as np

    from noisylabels.data.features import Examples
    from noisylabels.experiment.config import RunConfig

VALIDATION, FEWEST_HELD = 0.1, 10
"""Share of the rows that is held out to select an epoch. If that is fewer than `FEWEST_HELD` rows, or the
model is `PENALIZED`, none are, unless the best epoch is asked for."""

FEWEST = 10
"""With fewer rows, the first candidate is selected."""


def choose_for_table(
    config: RunConfig,
    train: Examples,
    given: np.ndarray,
    positions: np.ndarray | None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Return the model, the loss and the settings for a run on a table, with the reason, for JSON.

    "power" is the exponent that makes the model's probabilities those of the true class, see `HeldOut.power`;
    None if no rows were held out.

    Of the candidates, it keeps the one under which the given labels of held-out rows are most likely, once
    they are true labels changed by the label noise that fits best, see `table_folds.likelihood`. In a wide
    table, such as an encoder's features, the candidates are linear models, each with the penalty of which
    that holds.

    Args:
        config: in canonical form.
        train: the training set.
        given: (N,) int64, the given labels, noise included.
        positions: the part to train on; None for all.
        stop: called after every step; `Interrupted` is raised once it returns true, or on a signal.

    Raises:
        InputError: a set of images.
    """
    import numpy as np

    from noisylabels.core.interrupt import Interrupted, stop_on_signals
    from noisylabels.data.features import FeatureSet, with_labels
    from noisylabels.experiment.table_folds import held_out, with_penalties

    labeled = with_labels(train, given)
    if not isinstance(labeled, FeatureSet):
        raise InputError(
            f"table_recipe is {config.table_recipe!r}, and {train.name} is a set of images; leave it out"
        )
    at = np.arange(len(train)) if positions is None else positions
    tried = candidates(config, labeled.features.shape[1], len(at))
    best, why, power = tried[0], "named", None
    penalized = tried[0].recipe.optimizer == PENALIZED.optimizer
    if (len(tried) > 1 or penalized) and len(at) < FEWEST:
        why = f"fewer than {FEWEST} rows"
    elif len(tried) > 1 or penalized:
        with stop_on_signals() as signals:

            def ended() -> bool:
                return signals() or stop()

            try:
                if penalized:
                    tried, held = with_penalties(tried, labeled, at, config.seed, ended)
                else:
                    held = held_out(tried, config, labeled, at, ended)
            except Interrupted as stopped:
                stopped.signal = signals.signal or stopped.signal
                raise
        costs = [each.cost for each in held]
        place = int(np.argmin(costs))
        best = tried[place]
        power = held[place].power(given) if math.isfinite(costs[place]) else None  # or all have diverged
        found = ", ".join(f"{each} {cost:.3f}" for each, cost in zip(tried, costs, strict=True))
        why = f"predicts the given labels of held-out rows best (cost per row: {found})"
    return {
        "loss": best.loss,
        "model": best.model,
        "why": why,
        "settings": _settings(best, config, len(at)),
        "power": power,
    }


class _Settled(TypedDict):
    model: str
    loss: str
    settings: dict[str, Any]


def settled(config: RunConfig, chosen: Mapping[str, Any]) -> RunConfig:
    """Return the configuration with the model, the loss and the settings that `choose_for_table` returned."""
    checked(chosen, _Settled, "what the run chose", "restore the folder, or give another --out")
    named = {"model": chosen["model"], "loss": chosen["loss"], "table_recipe": ""}
    return build(type(config), to_dict(config), named, chosen["settings"])


def _settings(candidate: Candidate, config: RunConfig, count: int) -> dict[str, Any]:
    """Return the values of all settings that the recipe can decide, for a run on `count` rows."""
    given = given_settings(config)
    share = VALIDATION if round(VALIDATION * count) >= FEWEST_HELD else 0.0
    if candidate.recipe.optimizer == PENALIZED.optimizer:
        share = 0.0  # its objective has one minimum, so that no epoch is to be chosen
    if given.get("keep_epoch") == "best":
        share = max(VALIDATION, 1 / count)  # at least a row
    held = given.setdefault("validation", share)
    given.setdefault("keep_epoch", "best" if held else "last")
    return candidate.recipe.settings(count - round(held * count), given)
