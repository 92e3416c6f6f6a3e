"""The candidates for a table: models and losses with the settings of their training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from noisylabels.experiment.table_settings import DECIDED

if TYPE_CHECKING:
    from noisylabels.experiment.config import RunConfig


@dataclass(frozen=True)
class Recipe:
    """A kind of network and its default training settings.

    Args:
        name: name of the model.
        widths: numbers of units of the hidden layers; None for a forest, or a network of images.
        loss: an expression.
        lr, weight_decay: settings of the optimizer, with a one-cycle schedule.
        steps: approximate number of training steps.
        optimizer: adamw or sgd.
    """

    name: str
    widths: tuple[int, ...] | None
    loss: str
    lr: float
    weight_decay: float
    steps: int
    optimizer: str = "adamw"

    def batch_size(self, count: int) -> int:
        """Return the batch size for `count` examples."""
        return min(256, max(32, count // 8))

    def epochs(self, count: int, batch_size: int) -> int:
        """Return the number of epochs that make about `steps` steps, from 8 to 150."""
        return min(150, max(8, math.ceil(self.steps / math.ceil(count / batch_size))))

    def settings(self, count: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the training settings for `count` examples; `given` settings take precedence.

        >>> LINEAR.settings(1000, {"lr": 0.1})
        {'batch_size': 125, 'optimizer': 'adamw', 'schedule': 'onecycle', 'lr': 0.1, 'weight_decay': 1.0, \
'epochs': 13}
        """
        found: dict[str, Any] = {
            "batch_size": self.batch_size(count),
            "optimizer": self.optimizer,
            "schedule": "onecycle",
            "lr": self.lr,
            "weight_decay": self.weight_decay,
        }
        found |= given
        return found | {"epochs": found.get("epochs", self.epochs(count, found["batch_size"]))}


LINEAR = Recipe("linear", (), "ce", 2e-2, 1.0, 100)
MLP = Recipe("mlp", (64, 64), "gce(q=0.7)", 5e-3, 1e-2, 300)

WIDE = 256
"""With more columns, a table is wide: then how strongly weights are penalized matters most."""

WIDE_STEPS = 100
"""Steps of a network with hidden layers on a wide table: it memorizes sooner, and a step takes longer."""

PENALIZED = Recipe("linear", (), "ce", 1e-2, 0.0, 150, "sgd")
"""A linear model of a wide table; its weight decay, the L2 penalty of SGD, is chosen by the data."""

STABLE = 1280
"""Columns up to which the learning rate of `PENALIZED` is stable; with more it is lowered in proportion."""

MODELS = {"linear": "linear", "mlp": "mlp@dropout"}
"""Name of a recipe -> name of its model in the catalog."""


@dataclass(frozen=True)
class Candidate:
    """A model and a loss with the recipe of their training.

    Args:
        recipe: gives the settings.
        model: its name in the catalog, or that of the user's own model.
        loss: its expression.
    """

    recipe: Recipe
    model: str
    loss: str

    def __str__(self) -> str:
        return f"{self.model} with {self.loss}"


def candidates(config: RunConfig, columns: int, count: int = 0) -> list[Candidate]:
    """Return the candidates of a configuration; a named model or loss is that of each.

    Args:
        config: in canonical form.
        columns: the number of columns of the table.
        count: the number of rows to train on.
    """
    wide = columns > WIDE
    linear, network = (LINEAR, dataclasses.replace(MLP, steps=WIDE_STEPS)) if wide else (LINEAR, MLP)
    if wide and _is_penalized(config, count):
        linear = dataclasses.replace(PENALIZED, lr=PENALIZED.lr * min(1.0, STABLE / columns))
    penalized = linear.optimizer == "sgd"
    robust = [dataclasses.replace(linear, loss=MLP.loss)]
    if config.model not in ("auto", "linear"):
        recipes = [network]
    elif penalized:  # its penalty decides, with either loss
        recipes = [linear, *(robust if config.loss == "auto" else [])]
    elif config.model == "linear":
        recipes = [linear]
    elif config.loss == "auto" and not wide:
        recipes = [linear, *robust, network, dataclasses.replace(network, loss="ce")]
    else:
        recipes = [linear, network]
    return [
        Candidate(
            each,
            MODELS[each.name] if config.model == "auto" else config.model,
            each.loss if config.loss == "auto" else config.loss,
        )
        for each in recipes
    ]


def given_settings(config: RunConfig) -> dict[str, Any]:
    """Return the settings that the recipe could decide and that are given."""
    free = config.table_recipe.split(",")
    return {name: getattr(config, name) for name in DECIDED if name not in free}


def _is_penalized(config: RunConfig, count: int) -> bool:
    """Return whether the recipe decides the settings of a penalized linear model; epochs may be given.

    Its objective has one minimum, so that it needs enough steps, and more do no harm.
    """
    from noisylabels.losses.expression import loss

    named = config.loss != "auto" and bool(loss(config.loss).needs)
    given = given_settings(config)
    if named or {"batch_size", "optimizer", "lr", "weight_decay", "schedule"} & given.keys():
        return False
    if "epochs" not in given:
        return True
    return bool(given["epochs"] * math.ceil(count / PENALIZED.batch_size(count)) >= PENALIZED.steps)
