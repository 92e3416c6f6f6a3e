"""The recipe for tables: candidates with their training settings, and the choice between them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import TypedDict

from noisylabels.core.checks import InputError
from noisylabels.core.config import build, to_dict
from noisylabels.core.rng import derive_seed, uniforms
from noisylabels.core.schema import checked
from noisylabels.experiment.table_settings import DECIDED

if TYPE_CHECKING:
    import numpy as np

    from noisylabels.data.features import Examples, FeatureSet
    from noisylabels.experiment.config import RunConfig

VALIDATION, FEWEST_HELD = 0.1, 10
"""Share of the rows that is held out to select an epoch, unless that is fewer than `FEWEST_HELD` rows."""

FOLDS, MOST = 5, 20_000
"""Folds of the cross-validation that selects a candidate, and the most rows that it uses."""

POWERS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0)
"""Powers of a candidate's probabilities that are tried, see `HeldOut.power`."""

FEWEST = 10
"""With fewer rows, the first candidate is selected."""


@dataclass(frozen=True)
class Recipe:
    """A kind of network and its default training settings.

    Args:
        name: name of the model.
        widths: widths of the hidden layers, for tables; None for an image model.
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


@dataclass(frozen=True)
class HeldOut:
    """The predictions of a candidate for rows that were held out.

    Args:
        cost: mean negative log-likelihood of their given labels, at the best temperature.
        rows: (M,), their positions.
        probs: (M, K).
    """

    cost: float
    rows: np.ndarray
    probs: np.ndarray

    def power(self, given: np.ndarray) -> float:
        """Return the exponent that makes the probabilities those of the true class.

        A model that learned noisy labels is underconfident about the true class. The exponent is that of the
        noise model under which the given labels of held-out rows are most likely (`NoiseModels`).

        Args:
            given: (N,), the given labels of all rows.
        """
        from noisylabels.noise.checked_probs import CheckedProbs
        from noisylabels.noise.noise_model import NoiseModels

        return NoiseModels(given[self.rows], CheckedProbs(self.probs, "probs"), POWERS).simplest.power


def candidates(config: RunConfig, columns: int) -> list[Candidate]:
    """Return the candidates of a configuration; a named model or loss is that of each.

    Args:
        config: in canonical form.
        columns: the number of columns of the table.
    """
    wide = columns > WIDE
    linear, network = (LINEAR, dataclasses.replace(MLP, steps=WIDE_STEPS)) if wide else (LINEAR, MLP)
    if wide and _is_penalized(config):
        linear = dataclasses.replace(PENALIZED, lr=PENALIZED.lr * min(1.0, STABLE / columns))
    recipes = [linear, network]
    if config.model != "auto":
        recipes = [linear if config.model == "linear" else network]
    elif linear.optimizer == "sgd":  # its penalty decides, with either loss
        recipes = [linear]
    elif config.loss == "auto" and not wide:
        recipes.append(dataclasses.replace(network, loss="ce"))
    if linear in recipes and linear.optimizer == "sgd" and config.loss == "auto":
        recipes = [linear, dataclasses.replace(linear, loss=MLP.loss)]
    return [
        Candidate(
            each,
            MODELS[each.name] if config.model == "auto" else config.model,
            each.loss if config.loss == "auto" else config.loss,
        )
        for each in recipes
    ]


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

    Of the candidates, it keeps the one under which the given labels of held-out rows are most likely, after
    its probabilities are scaled by the temperature that fits best. In a wide table, such as an encoder's
    features, the candidates are linear models, each with the penalty of which that holds.

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

    labeled = with_labels(train, given)
    if not isinstance(labeled, FeatureSet):
        raise InputError(
            f"table_recipe is {config.table_recipe!r}, and {train.name} is a set of images; leave it out"
        )
    at = np.arange(len(train)) if positions is None else positions
    tried = candidates(config, labeled.features.shape[1])
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
                    tried, held = _with_penalties(tried, labeled, at, config.seed, ended)
                else:
                    held = [held_out(each, config, labeled, at, ended) for each in tried]
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


def _given(config: RunConfig) -> dict[str, Any]:
    """Return the settings that the recipe could decide and that are given."""
    free = config.table_recipe.split(",")
    return {name: getattr(config, name) for name in DECIDED if name not in free}


def _settings(candidate: Candidate, config: RunConfig, count: int) -> dict[str, Any]:
    """Return the values of all settings that the recipe can decide, for a run on `count` rows."""
    given = _given(config)
    share = VALIDATION if round(VALIDATION * count) >= FEWEST_HELD else 0.0
    if candidate.recipe.optimizer == PENALIZED.optimizer:
        share = 0.0  # its objective has one minimum, so that no epoch is to be chosen
    held = given.setdefault("validation", share)
    given.setdefault("keep_epoch", "best" if held else "last")
    return candidate.recipe.settings(count - round(held * count), given)


def _is_penalized(config: RunConfig) -> bool:
    """Return whether the recipe decides every setting that a penalized linear model has."""
    from noisylabels.losses.expression import loss

    named = config.loss != "auto" and bool(loss(config.loss).needs)
    return not named and not {"epochs", "batch_size", "optimizer", "lr", "weight_decay", "schedule"} & set(
        _given(config)
    )


def _drawn(at: np.ndarray, seed: int) -> np.ndarray:
    """Return at most `MOST` of the positions, in random order."""
    import numpy as np

    drawn: np.ndarray = at[np.argsort(uniforms(len(at), seed, "choice"), kind="stable")[:MOST]]
    return drawn


def _with_penalties(
    tried: list[Candidate], train: FeatureSet, at: np.ndarray, seed: int, stop: Callable[[], bool]
) -> tuple[list[Candidate], list[HeldOut]]:
    """Return linear candidates with their best penalties, and what they predict for held-out rows."""
    import numpy as np

    from noisylabels.core.interrupt import Interrupted
    from noisylabels.experiment.bagging import LabeledRows
    from noisylabels.experiment.linear_path import linear_path
    from noisylabels.losses.expression import loss

    some = _drawn(at, seed)
    mean, std = (np.asarray(each, dtype=np.float32) for each in train.mean_std())
    rows = (train.features[some].numpy() - mean) / std
    held = [part[: len(some) // FOLDS] for part in np.array_split(np.arange(len(some)), FOLDS)]
    data = LabeledRows(rows, train.labels.numpy()[some], np.ones(len(some)), train.num_classes, held)
    found, predicted = [], []
    for each in tried:
        if stop():
            raise Interrupted(0, 0, "while penalties were compared")
        path = linear_path(data, loss(each.loss))
        recipe = dataclasses.replace(each.recipe, weight_decay=path.penalty)
        found.append(dataclasses.replace(each, recipe=recipe))
        seen = path.times > 0
        predicted.append(HeldOut(path.costs[path.penalty], some[seen], path.probs[seen]))
    return found, predicted


def held_out(
    candidate: Candidate,
    config: RunConfig,
    train: FeatureSet,
    at: np.ndarray,
    stop: Callable[[], bool],
) -> HeldOut:
    """Return what a candidate predicts for held-out rows in a cross-validation.

    The cost is infinite if training diverges.

    Args:
        candidate, config, stop: see `choose_for_table`.
        train: the training set with its given labels.
        at: positions of the rows to use; at most `MOST` of them are drawn.
    """
    import numpy as np
    import torch

    from noisylabels.experiment.model_selection import calibrate
    from noisylabels.experiment.prediction import Trained, predict
    from noisylabels.losses.expression import loss
    from noisylabels.methods.fit import fit
    from noisylabels.models.catalog import build_model
    from noisylabels.training.callbacks import PauseWhen
    from noisylabels.training.loop import TrainingDiverged
    from noisylabels.training.settings import Settings

    some = _drawn(at, config.seed)
    mean, std = train.mean_std()
    shape: dict[str, Any] = {"name": candidate.model, "channels": 1, "width": config.width}
    shape |= {"image_size": (1, train.features.shape[1]), "num_classes": train.num_classes}
    every = {name: getattr(config, name) for name in Settings.__dataclass_fields__}
    probs = np.zeros((len(train), train.num_classes))
    for fold, held in enumerate(np.array_split(some, FOLDS)):
        rest = np.sort(np.setdiff1d(some, held))
        seed = derive_seed(config.seed, candidate.model, candidate.loss, fold) % 2**31
        use = every | candidate.recipe.settings(len(rest), _given(config))
        use |= {"validation": 0.0, "keep_epoch": "last", "augment": "none", "seed": seed}
        model = build_model(**shape, seed=seed)
        try:
            fit(model, train, None, loss(candidate.loss), positions=rest, callbacks=[PauseWhen(stop)], **use)
        except TrainingDiverged:
            return HeldOut(math.inf, some, probs[some])
        trained = Trained(model, shape, train.class_names, mean, std)
        probs[held] = predict(trained, train.features.index_select(0, torch.from_numpy(held))).numpy()
    labels = train.labels.numpy()[some]
    return HeldOut(calibrate(probs[some], labels, np.ones(len(some)))[1], some, probs[some])
