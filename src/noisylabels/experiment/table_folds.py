"""Cross-validate the candidates for a table, and compare them by the likelihood of held-out labels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.rng import derive_seed, uniforms

if TYPE_CHECKING:
    from torch import Tensor

    from noisylabels.data.features import FeatureSet
    from noisylabels.experiment.bagging import LabeledRows
    from noisylabels.experiment.config import RunConfig
    from noisylabels.experiment.table_candidates import Candidate
    from noisylabels.losses.modules import Loss

FOLDS, MOST = 5, 20_000
"""Folds of the cross-validation that selects a candidate, and the most rows that it uses."""

ENOUGH = 3000
"""Held-out rows from which no further fold is held out, since folds take time. 3,000 rows also separate
candidates under confusion between pairs of classes, such as human noise has; 1,000 do not."""

POWERS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0)
"""Powers of a candidate's probabilities that are tried, see `HeldOut.power`."""

LOOP_ONLY = ("l1", "clip", "ema", "precision", "body_lr", "frozen_epochs", "loss_lr")
"""Settings that the loop of one network knows and that of many does not."""


@dataclass(frozen=True)
class HeldOut:
    """The predictions of a candidate for rows that were held out.

    Args:
        cost: mean negative log-likelihood of their given labels, see `likelihood`.
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
        return likelihood(self.probs, given[self.rows])[1]


def likelihood(probs: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Return how unlikely given labels are, and the power of the probabilities at which that holds.

    The cost is the mean negative log-likelihood under a noise model, as it is expected for other rows
    (`NoiseModels.most_predictive`): poor probabilities with a rate for each pair of classes would otherwise
    fit a thousand rows better than good ones with a single rate. A robust loss predicts the true class, cross
    entropy the given label: without label noise between the probabilities and the labels, the likelihood
    would prefer cross entropy for learning the noise.

    Args:
        probs: (M, K), probabilities of held-out rows.
        labels: (M,) int64, their given labels.

    >>> right, hedged = np.repeat([[[0.99, 0.01]], [[0.6, 0.4]]], 100, axis=1)
    >>> noisy = np.arange(100) % 5 // 4  # a fifth is labeled 1, whatever it is
    >>> round(likelihood(right, noisy)[0], 2) == round(likelihood(hedged, noisy)[0], 2)
    True
    """
    from noisylabels.noise.checked_probs import CheckedProbs
    from noisylabels.noise.noise_model import NoiseModels

    found = NoiseModels(labels, CheckedProbs(probs, "probs"), POWERS).most_predictive
    return found.expected_cost, found.power


def drawn(at: np.ndarray, seed: int) -> np.ndarray:
    """Return at most `MOST` of the positions, in random order."""
    some: np.ndarray = at[np.argsort(uniforms(len(at), seed, "choice"), kind="stable")[:MOST]]
    return some


def folds(count: int) -> list[np.ndarray]:
    """Return the places, among `count` rows, of those that each fold holds out, equally many in each.

    >>> [len(part) for part in folds(1000)], [len(part) for part in folds(16_000)]
    ([200, 200, 200, 200, 200], [3200])
    """
    used = min(FOLDS, math.ceil(FOLDS * ENOUGH / count))
    return [part[: count // FOLDS] for part in np.array_split(np.arange(count), FOLDS)[:used]]


def labeled_rows(train: FeatureSet, some: np.ndarray) -> LabeledRows:
    """Return rows of a set, standardized by all of it, with what each fold holds out of them."""
    from noisylabels.experiment.bagging import LabeledRows

    mean, std = (np.asarray(each, dtype=np.float32) for each in train.mean_std())
    rows = (train.features[some].numpy() - mean) / std
    labels = train.labels.numpy()[some]
    return LabeledRows(rows, labels, np.ones(len(some)), train.num_classes, folds(len(some)))


def with_penalties(
    tried: Sequence[Candidate], train: FeatureSet, at: np.ndarray, seed: int, stop: Callable[[], bool]
) -> tuple[list[Candidate], list[HeldOut]]:
    """Return linear candidates with their best penalties, and what they predict for held-out rows."""
    from noisylabels.core.interrupt import Interrupted
    from noisylabels.experiment.linear_path import linear_path
    from noisylabels.losses.expression import loss

    some = drawn(at, seed)
    data = labeled_rows(train, some)
    found, predicted = [], []
    for each in tried:
        if stop():
            raise Interrupted(0, 0, "while penalties were compared")
        path = linear_path(data, loss(each.loss), cost=lambda *seen: likelihood(*seen)[0])
        recipe = dataclasses.replace(each.recipe, weight_decay=path.penalty)
        found.append(dataclasses.replace(each, recipe=recipe))
        seen = path.times > 0
        predicted.append(HeldOut(path.costs[path.penalty], some[seen], path.probs[seen]))
    return found, predicted


def held_out(
    tried: Sequence[Candidate],
    config: RunConfig,
    train: FeatureSet,
    at: np.ndarray,
    stop: Callable[[], bool],
) -> list[HeldOut]:
    """Return what each candidate predicts for held-out rows in a cross-validation.

    Networks of the same shape are trained in one loop, whatever their loss, which takes little more time than
    one training. The cost is infinite where training diverges.

    Args:
        tried, config, stop: see `choose_for_table`.
        train: the training set with its given labels.
        at: positions of the rows to use; at most `MOST` of them are drawn.
    """
    from noisylabels.losses.expression import loss

    some = drawn(at, config.seed)
    data = labeled_rows(train, some)
    groups: dict[Any, list[Candidate]] = {}
    for each in tried:
        alone = _needs_own_loop(config, loss(each.loss))
        key = each if alone else dataclasses.replace(each.recipe, loss="")
        groups.setdefault(key, []).append(each)
    found: dict[Candidate, HeldOut] = {}
    for key, group in groups.items():
        if key in group:
            found[group[0]] = _one_by_one(group[0], config, train, some, data, stop)
            continue
        parts = [group]
        while parts:
            part = parts.pop()
            try:
                found |= zip(part, _together(part, config, data, some, stop), strict=True)
            except InputError:  # a loss of these has diverged
                if len(part) == 1:
                    found[part[0]] = HeldOut(math.inf, some, data.out_of_fold(_nothing(data))[0])
                else:
                    parts += [[one] for one in part]
    return [found[each] for each in tried]


def _nothing(data: LabeledRows) -> np.ndarray:
    return np.zeros((len(data.held), len(data.rows), data.num_classes))


def _needs_own_loop(config: RunConfig, criterion: Loss) -> bool:
    """Return whether a candidate trains only in the loop of one network."""
    from noisylabels.training.settings import Settings

    usual = Settings()
    others = any(getattr(config, name) != getattr(usual, name) for name in LOOP_ONLY)
    return others or bool(criterion.needs) or any(True for _ in criterion.parameters())


class _PerCandidate:
    """A loss per row of several losses, each of as many rows as the others, one after another."""

    reduction = "none"

    def __init__(self, losses: Sequence[Loss]) -> None:
        from noisylabels.experiment.bagging import per_row

        self.losses = [per_row(each) for each in losses]

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        import torch

        parts = zip(self.losses, logits.chunk(len(self.losses)), target.chunk(len(self.losses)), strict=True)
        return torch.cat([each(some, given) for each, some, given in parts])


def _together(
    group: Sequence[Candidate],
    config: RunConfig,
    data: LabeledRows,
    some: np.ndarray,
    stop: Callable[[], bool],
) -> list[HeldOut]:
    """Return `held_out` of candidates that differ in their loss alone, trained in one loop."""
    from noisylabels.experiment.bagging import bagged_probs, train_bagged
    from noisylabels.experiment.table_candidates import given_settings
    from noisylabels.losses.expression import loss
    from noisylabels.models.mlp import DROPOUT

    recipe = group[0].recipe
    assert recipe.widths is not None
    use: dict[str, Any] = {"momentum": config.momentum, "warmup_epochs": config.warmup_epochs}
    use |= recipe.settings(len(some) - len(data.held[0]), given_settings(config))
    use |= {"validation": 0.0, "keep_epoch": "last"}
    every = dataclasses.replace(data, held=list(data.held) * len(group))
    criterion: Any = _PerCandidate([loss(each.loss) for each in group])
    seed = derive_seed(config.seed, group[0].model) % 2**31
    network, _ = train_bagged(every, recipe.widths, DROPOUT, criterion, use, seed, stop)
    found = []
    for probs in np.split(bagged_probs(network, data.rows), len(group)):
        held, times = data.out_of_fold(probs)
        seen = times > 0
        found.append(HeldOut(likelihood(held[seen], data.labels[seen])[0], some[seen], held[seen]))
    return found


def _one_by_one(
    candidate: Candidate,
    config: RunConfig,
    train: FeatureSet,
    some: np.ndarray,
    data: LabeledRows,
    stop: Callable[[], bool],
) -> HeldOut:
    """Return `held_out` of one candidate, a training per fold."""
    import torch

    from noisylabels.experiment.prediction import Trained, predict
    from noisylabels.experiment.table_candidates import given_settings
    from noisylabels.losses.expression import loss
    from noisylabels.methods.fit import fit
    from noisylabels.models.catalog import build_model
    from noisylabels.training.callbacks import PauseWhen
    from noisylabels.training.loop import TrainingDiverged
    from noisylabels.training.settings import Settings

    mean, std = train.mean_std()
    shape: dict[str, Any] = {"name": candidate.model, "channels": 1, "width": config.width}
    shape |= {"image_size": (1, train.features.shape[1]), "num_classes": train.num_classes}
    every = {name: getattr(config, name) for name in Settings.__dataclass_fields__}
    probs = []
    for fold, places in enumerate(data.held):
        held = some[places]
        rest = np.sort(np.setdiff1d(some, held))
        seed = derive_seed(config.seed, candidate.model, candidate.loss, fold) % 2**31
        use = every | candidate.recipe.settings(len(rest), given_settings(config))
        use |= {"validation": 0.0, "keep_epoch": "last", "augment": "none", "seed": seed}
        model = build_model(**shape, seed=seed)
        try:
            fit(model, train, None, loss(candidate.loss), positions=rest, callbacks=[PauseWhen(stop)], **use)
        except TrainingDiverged:
            return HeldOut(math.inf, some, np.zeros((len(some), train.num_classes)))
        trained = Trained(model, shape, train.class_names, mean, std)
        probs.append(predict(trained, train.features.index_select(0, torch.from_numpy(held))).numpy())
    seen = some[np.concatenate(data.held)]
    cost = likelihood(np.concatenate(probs).astype(np.float64), train.labels.numpy()[seen])[0]
    return HeldOut(cost, seen, np.concatenate(probs))
