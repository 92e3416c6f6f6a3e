"""The candidates of `NoisyLabelClassifier` for a table: linear models, networks, forests, any classifier."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from noisylabels.core.checks import InputError
from noisylabels.core.rng import derive_seed
from noisylabels.experiment.bagging import LabeledRows, bagged_probs, train_bagged
from noisylabels.experiment.classifier_probs import FittedClassifier, fit_classifier, name_of
from noisylabels.experiment.linear_path import PENALTIES, linear_path, principal_axes
from noisylabels.experiment.model_selection import likely_right
from noisylabels.experiment.table_candidates import WIDE, Recipe
from noisylabels.losses.modules import Loss
from noisylabels.models.bagged import BaggedNetwork

COMPONENTS = 128
"""Principal components of a wide table that hidden layers see, for time."""

WITHOUT_HELD = 0.1
"""Penalty of the linear models where no rows are held out to choose one."""

TREES = 100

FOREST = "forest"
"""The name of the candidates that are forests."""


class Judge(Protocol):
    """Predicts class probabilities."""

    def probs(self, rows: np.ndarray) -> np.ndarray:
        """Return class probabilities, (N, K) float64, of standardized rows (N, D) or images."""


@dataclass(frozen=True)
class Trained:
    """A trained candidate.

    Args:
        model, loss: its names.
        judges: their mean probabilities are the candidate's.
        held: (N, K), out-of-fold probabilities.
        times: (N,), how many judges held out each example; 0: its probabilities are not known.
        history: rows of its history.
    """

    model: str
    loss: str
    judges: Sequence[Judge]
    held: np.ndarray
    times: np.ndarray
    history: list[dict[str, Any]]

    def probs(self, rows: np.ndarray) -> np.ndarray:
        """Return class probabilities, (N, K) float64."""
        mean: np.ndarray = np.mean([judge.probs(rows) for judge in self.judges], axis=0)
        return mean


@dataclass(frozen=True)
class Bagged:
    """The mean of networks that are stored as one."""

    network: BaggedNetwork

    def probs(self, rows: np.ndarray) -> np.ndarray:
        """Return class probabilities, (N, K) float64, of standardized rows (N, D)."""
        mean: np.ndarray = bagged_probs(self.network, rows).mean(0)
        return mean


@dataclass(frozen=True)
class Fitted:
    """A fitted scikit-learn classifier."""

    classifier: FittedClassifier
    num_classes: int

    def probs(self, rows: np.ndarray) -> np.ndarray:
        """Return class probabilities, (N, K) float64, of standardized rows (N, D)."""
        return self.classifier.probs(rows, self.num_classes)


def train_linear(data: LabeledRows, recipe: Recipe, loss: Loss) -> Trained:
    """Return linear models of the best penalty of a path."""
    some = any(len(held) for held in data.held)
    path = linear_path(data, loss, PENALTIES if some else (WITHOUT_HELD,))
    history = [
        {"model": recipe.name, "loss": recipe.loss, "penalty": penalty, "cost": cost}
        for penalty, cost in path.costs.items()
    ]
    return Trained(recipe.name, recipe.loss, [Bagged(path.network)], path.probs, path.times, history)


def train_networks(
    data: LabeledRows, recipe: Recipe, loss: Loss, dropout: float, settings: dict[str, Any], seed: int
) -> Trained:
    """Return the networks of a recipe, one per member; those of wide rows see their principal components."""
    axes = None
    seen = data
    if data.rows.shape[1] > WIDE and recipe.widths:
        axes, variances = principal_axes(torch.from_numpy(data.rows), torch.from_numpy(data.weights))
        axes = axes[:, :COMPONENTS] / variances[:COMPONENTS].mean().sqrt()
        seen = replace(data, rows=(torch.from_numpy(data.rows) @ axes).numpy())
    assert recipe.widths is not None
    network, losses = train_bagged(seen, recipe.widths, dropout, loss, settings, seed)
    held, times = data.out_of_fold(bagged_probs(network, seen.rows))
    if axes is not None:  # the network then takes the rows themselves
        network.weights[0] = torch.nn.Parameter(axes.double() @ network.weights[0], requires_grad=False)
    history = [
        {
            "model": recipe.name,
            "loss": recipe.loss,
            "member": member,
            "epoch": epoch,
            "train_loss": values[member],
        }
        for member in range(len(data.held))
        for epoch, values in enumerate(losses, start=1)
    ]
    return Trained(recipe.name, recipe.loss, [Bagged(network)], held, times, history)


def train_forests(data: LabeledRows, seed: int) -> list[Trained]:
    """Return a random forest and extremely randomized trees, with the probabilities of rows out of bag.

    At least three rows per leaf: a leaf of a single row repeats its given label, right or wrong.
    """
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

    found = []
    for kind in (RandomForestClassifier, ExtraTreesClassifier):
        own = derive_seed(seed, kind.__name__) % 2**31
        forest = kind(TREES, min_samples_leaf=3, bootstrap=True, oob_score=True, random_state=own)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # rows of few that are in every bag: not known
            forest.fit(data.rows, data.labels, sample_weight=data.weights)
        held = np.nan_to_num(forest.oob_decision_function_)
        judge = Fitted(FittedClassifier(forest, np.arange(data.num_classes)), data.num_classes)
        times = (held.sum(1) > 0).astype(np.float64)
        found.append(Trained(f"{FOREST}:{kind.__name__}", "none", [judge], held, times, []))
    return found


def train_base(
    base: Any, data: LabeledRows, seed: int, class_names: Sequence[str], integral: bool
) -> list[Trained]:
    """Return a classifier of the user's, fitted to all rows, and to those likely labeled right.

    Args:
        base: a classifier with fit and predict_proba.
        data: the rows and what each member holds out.
        seed: of its random states.
        class_names: names of the classes, for its `class_weight`.
        integral: whether the weights count equal rows, which can be repeated for a base without weights.
    """
    every = np.ones(len(data.rows), dtype=bool)
    first = _fit_base(base, data, every, seed, class_names, integral)
    if not first.times.all():
        return [first]
    right = likely_right(first.held, data.labels, data.weights)
    kept = np.bincount(data.labels[right], minlength=data.num_classes)
    if right.all() or kept.min() < len(data.held):
        return [first]
    second = _fit_base(base, data, right, seed, class_names, integral)
    return [first, replace(second, model=f"{second.model} on selected rows")]


def _fit_base(
    base: Any, data: LabeledRows, used: np.ndarray, seed: int, class_names: Sequence[str], integral: bool
) -> Trained:
    """Return one clone per member, fitted to the used rows that it does not hold out."""
    judges = []
    probs = np.zeros((len(data.held), len(data.rows), data.num_classes))
    for member, rest in enumerate(data.rest()):
        rest = rest[used[rest]]
        rows, labels, weights = _base_input(base, data, rest, integral)
        own = derive_seed(seed, "base", member) % 2**31
        fitted = fit_classifier(base, rows, labels, seed=own, class_names=class_names, sample_weight=weights)
        judges.append(Fitted(fitted, data.num_classes))
        if len(held := data.held[member]):
            probs[member, held] = judges[-1].probs(data.rows[held])
    held_probs, times = data.out_of_fold(probs)
    return Trained(name_of(base), "none", judges, held_probs, times, [])


def _base_input(
    base: Any, data: LabeledRows, at: np.ndarray, integral: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return rows, labels and weights for a base; where it takes no weights, rows are repeated instead."""
    from sklearn.utils.validation import has_fit_parameter

    weights = data.weights[at]
    if not np.ptp(weights):
        return data.rows[at], data.labels[at], None
    if has_fit_parameter(base, "sample_weight"):
        return data.rows[at], data.labels[at], weights
    if not integral:
        raise InputError(
            f"{name_of(base)}.fit takes no sample_weight; leave out the weights or use another base"
        )
    often = np.repeat(at, weights.astype(np.int64))
    return data.rows[often], data.labels[often], None
