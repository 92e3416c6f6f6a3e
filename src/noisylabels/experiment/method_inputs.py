"""Find what a method needs: a transition matrix, a noise rate, an audit, a second network.

Estimates use the noisy data alone. Nearest neighbors give one within seconds where they predict labels well;
elsewhere two networks, each trained on half of the examples for a part of the run's epochs, predict the
other half.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.rng import derive_seed, uniforms
from noisylabels.experiment.auto_loss import cheap_features
from noisylabels.experiment.folds import assign_folds
from noisylabels.experiment.reporter import Reporter, Silent
from noisylabels.methods.inputs import AUTO, ORACLE

if TYPE_CHECKING:
    from torch import nn

    from noisylabels.data.features import Examples
    from noisylabels.methods.expression import MethodSpec
    from noisylabels.noise.labels import NoisyLabels

MOST = 20_000
"""Most examples whose neighbors are compared."""

FOLDS = 2
CHECKPOINTS = ".method-"
"""Beginning of the names of folders with checkpoints of an estimate's networks."""
EPOCHS_SHARE, LEAST_EPOCHS = 0.25, 5
"""The part of a run's epochs for which the networks of an estimate are trained, and the fewest: early, before
they memorize noisy labels."""

MOST_SYMMETRIC = 0.95
"""Largest noise rate of an assumed symmetric matrix, as a share of that of random labels, (K - 1)/K."""

NO_ORACLE = (
    "the true labels of these data are unknown, so that there is no oracle; use auto (an oracle is for runs "
    "that add noise to labels)"
)


@dataclass(frozen=True)
class Found:
    """An estimate of the label noise: transition matrix, noise rate, and how they were found."""

    transition: np.ndarray
    rate: float
    how: str


@dataclass(frozen=True, eq=False)
class MethodData:
    """The data and settings of a run, from which inputs of its method are found.

    Args:
        train: the training set.
        given: (N,) int64, the given labels.
        labels: given and true labels, where the noise was added; None otherwise.
        positions: the examples trained on; None for all.
        make_model: returns an untrained network, its weights drawn from a seed.
        settings: those of training, as for `fit`.
        stop: asked after every step of an estimate's training; True interrupts it.
        reporter: receives notes.
        folder: where the training of an estimate writes checkpoints, so that it can resume; None for nowhere.
    """

    train: Examples
    given: np.ndarray
    labels: NoisyLabels | None
    positions: np.ndarray | None
    make_model: Callable[[int], nn.Module]
    settings: Mapping[str, Any]
    stop: Callable[[], bool] = lambda: False
    reporter: Reporter = field(default_factory=Silent)
    folder: Path | None = None

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.settings["seed"])

    @cached_property
    def rows(self) -> np.ndarray:
        """The positions of the examples trained on, (n,)."""
        return np.arange(len(self.train)) if self.positions is None else self.positions

    def find(self, source: str) -> Found:
        """Return transition matrix and noise rate from a source, see `methods.inputs.KINDS`."""
        if source not in self._found:
            self._found[source] = self._find(source)
            self.reporter.note(self._found[source].how)
        return self._found[source]

    @cached_property
    def _found(self) -> dict[str, Found]:
        return {}

    def _find(self, source: str) -> Found:
        from noisylabels.noise.estimate import estimate_transition

        if source == ORACLE:
            if self.labels is None:
                raise InputError(NO_ORACLE)
            rate = self.labels.rate
            return Found(self.labels.realized, rate, f"noise rate {100 * rate:.1f} %, by the true labels")
        if source in (AUTO, "neighbors"):
            found = self._by_neighbors()
            if source == "neighbors" or found is not None:
                if found is None:
                    raise InputError("there are too few examples to estimate the noise by their neighbors")
                return found
            return self._by_networks()
        estimate = estimate_transition(
            self.given[self.rows], self.probs, method=source, num_classes=self.train.num_classes
        )
        how = f"noise rate {100 * estimate.rate:.1f} %, estimated by {source} from {FOLDS} networks"
        return Found(estimate.transition, estimate.rate, how)

    def _by_neighbors(self) -> Found | None:
        """Return an estimate by nearest neighbors; None if it cannot be trusted."""
        from noisylabels.experiment.auto_loss import EACH
        from noisylabels.noise.estimate import estimate_transition

        K, n = self.train.num_classes, len(self.rows)
        if min(n, MOST) < EACH * K:
            return None
        some = np.sort(uniforms(n, self.seed, "method inputs").argsort(kind="stable")[:MOST])
        at = self.rows[some]
        found = estimate_transition(
            self.given[at],
            features=cheap_features(self.train, at),
            method="neighbors",
            num_classes=K,
            seed=self.seed,
        )
        if not found.trusted:
            return None
        how = f"noise rate {100 * found.rate:.1f} %, estimated from the labels of nearest neighbors"
        return Found(found.transition, found.rate, how)

    def _by_networks(self) -> Found:
        """Return an estimate by a noise model of the networks' probabilities."""
        from noisylabels.noise.checks import check_labels_probs
        from noisylabels.noise.noise_model import NoiseModels
        from noisylabels.noise.noise_rate import evidence, noise_rate

        checked, given = check_labels_probs(self.given[self.rows], self.probs)
        models = NoiseModels(given, checked)
        rate = noise_rate(evidence(given, checked, None, models)).estimate
        how = (
            f"noise rate {100 * rate:.1f} %, estimated by {FOLDS} networks, each trained on half of the data"
        )
        return Found(models.simplest.transition, rate, how)

    def label_quality(self, source: str) -> np.ndarray:
        """Return the probability that each given label is right, and the suggested class, (N, 2) float64.

        The suggested class of a label that is not likely wrong is the given one. Examples that are not
        trained on count as right.

        Args:
            source: "oracle", the true labels; "auto", the posterior of a noise model fitted to out-of-fold
                probabilities, as `noisylabels audit` fits it.
        """
        from noisylabels.noise.checks import check_labels_probs
        from noisylabels.noise.noise_model import NoiseModels

        found = np.column_stack([np.ones(len(self.given)), self.given])
        rows, given = self.rows, self.given[self.rows]
        if source == ORACLE:
            if self.labels is None:
                raise InputError(NO_ORACLE)
            true = self.labels.true_codes[rows]
            found[rows] = np.column_stack([true == given, true])
            return found
        checked, given = check_labels_probs(given, self.probs)
        posterior = NoiseModels(given, checked).simplest.whole(checked, given)
        at = np.arange(len(rows))
        right = posterior[at, given]
        posterior[at, given] = -1
        other = posterior.argmax(1)
        wrong = (right < 0.5) & (posterior[at, other] > right)
        found[rows] = np.column_stack([right, np.where(wrong, other, given)])
        self.reporter.note(
            f"{100 * wrong.mean():.1f} % of the labels are likely wrong, by {FOLDS} networks, each trained "
            "on half of the data"
        )
        return found

    @cached_property
    def probs(self) -> np.ndarray:
        """Out-of-fold probabilities of the examples trained on, (n, K) float64."""
        fold = assign_folds(self.given[self.rows], FOLDS, self.seed)
        probs = np.zeros((len(self.rows), self.train.num_classes))
        for k in range(FOLDS):
            held = np.flatnonzero(fold == k)
            probs[held] = self._trained_on(self.rows[fold != k], self.rows[held], k)
        return probs

    def _trained_on(self, rest: np.ndarray, held: np.ndarray, k: int) -> np.ndarray:
        """Return the probabilities of `held` by a network that is trained on `rest`."""
        import torch

        from noisylabels.core.device import pick_device
        from noisylabels.data.loader import Batches, evaluation_batch_size
        from noisylabels.losses.expression import loss
        from noisylabels.methods.fit import fit
        from noisylabels.models.normalization import normalization_of
        from noisylabels.training.callbacks import PauseWhen

        seed = derive_seed(self.seed, "method inputs", k) % 2**31
        epochs = min(self.settings["epochs"], max(LEAST_EPOCHS, self._epochs()))
        own = {"epochs": epochs, "seed": seed, "validation": 0.0, "keep_epoch": "last", "frozen_epochs": 0}
        own["warmup_epochs"] = min(self.settings.get("warmup_epochs", 0.0), epochs / 2)
        network, train = self.make_model(seed), self.train
        fit(
            network,
            train,
            None,
            loss("ce"),  # whose probabilities are those of the given labels
            labels=self.labels,
            positions=rest,
            folder=None if self.folder is None else self.folder / f"{CHECKPOINTS}{k}",
            callbacks=[PauseWhen(self.stop)],
            **{**self.settings, **own},
        )
        images = train.inputs.ndim == 4
        mean, std = (normalization_of(network, train.inputs.shape[1]) if images else None) or train.mean_std()
        batches = Batches(
            train.inputs,
            torch.from_numpy(self.given),
            batch_size=evaluation_batch_size(train.inputs),
            device=pick_device(self.settings.get("device", "auto")),
            mean=mean,
            std=std,
            augment=None,
            shuffle=False,
            seed=seed,
            positions=torch.from_numpy(held),
        )
        with torch.inference_mode():
            parts = [network(batch.inputs).double().softmax(1).cpu() for batch in batches]
        return torch.cat(parts).numpy()

    def _epochs(self) -> int:
        return math.ceil(EPOCHS_SHARE * int(self.settings["epochs"]))


def without_confusion(transition: np.ndarray, rate: float) -> tuple[np.ndarray, str]:
    """Return a transition matrix whose rows are not those of other classes, and a note.

    Under much noise the rows of an estimate can be those of other classes, and a correction by it teaches a
    permutation of the classes (docs/measured-methods.md). If the matrix gives more than half of the classes
    another label more often than their own, symmetric noise with the estimated rate stands in for it, at
    most `MOST_SYMMETRIC` of that of random labels. A single such class is common under asymmetric noise.

    Args:
        transition: (K, K), T[true, given].
        rate: the estimated noise rate.

    >>> odd = np.array([[0.3, 0.4, 0.3], [0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    >>> without_confusion(odd, 0.5)[0].tolist()
    [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]]
    >>> without_confusion(np.array([[0.9, 0.1], [0.6, 0.4]]), 0.2)[1]
    ''
    """
    from noisylabels.noise.transition import symmetric

    K = len(transition)
    odd = int((transition.argmax(1) != np.arange(K)).sum())
    if 2 * odd <= K:
        return transition, ""
    rate = min(rate, MOST_SYMMETRIC * (K - 1) / K)
    return symmetric(K, rate), (
        f"by the estimated transition matrix {odd} of {K} classes mostly have labels of another class; "
        f"symmetric noise with a rate of {100 * rate:.1f} % is assumed instead, unless a matrix is named"
    )


def _transition(data: MethodData, source: str | None) -> np.ndarray:
    from noisylabels.methods.inputs import KINDS
    from noisylabels.noise.matrix_files import read_transition

    assert source is not None
    if source == AUTO:
        found = data.find(source)
        matrix, note = without_confusion(found.transition, found.rate)
        if note:
            data.reporter.note(note)
        return matrix
    if source in KINDS["transition"].sources:
        return data.find(source).transition
    return read_transition(source, data.train.num_classes, data.train.class_names)


def _noise_rate(data: MethodData, source: str | None) -> float:
    assert source is not None
    # a rate of 1 would leave nothing to train on
    return min(data.find(source).rate, 0.99)


def _label_quality(data: MethodData, source: str | None) -> np.ndarray:
    assert source is not None
    return data.label_quality(source)


def _network(data: MethodData, source: str | None) -> nn.Module:
    return data.make_model(derive_seed(data.seed, "second network") % 2**31)


FINDERS: Mapping[str, Callable[[MethodData, str | None], Any]] = {
    "transition": _transition,
    "noise_rate": _noise_rate,
    "label_quality": _label_quality,
    "network": _network,
}
"""A function for each kind of `methods.inputs.KINDS`."""

KEPT = ("transition", "noise_rate", "label_quality")
"""The kinds that are kept in the run's folder, so that a resumed run does not estimate them again."""

PER_EXAMPLE = ("label_quality",)
"""The kinds with a row per example, which fit no other part of the data."""


def find_inputs(
    spec: MethodSpec, data: MethodData, before: Mapping[str, Any] | None = None
) -> tuple[MethodSpec, dict[str, Any]]:
    """Return a method with its inputs, and those to keep, as plain lists and numbers.

    Args:
        spec: the method.
        data: of the run.
        before: what an earlier call returned to be kept; nothing in it is estimated again.

    Raises:
        InputError: an oracle where true labels are unknown; a file of a matrix for other classes.
        Interrupted: `data.stop` returned True.
    """
    inputs: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    for name, (kind, source) in spec.needs.items():
        if before is not None and name in before:
            value = before[name] if kind == "noise_rate" else np.asarray(before[name])
        else:
            value = FINDERS[kind](data, source)
        inputs[name] = value
        if kind in KEPT:
            kept[name] = value.tolist() if isinstance(value, np.ndarray) else value
    return (spec.with_inputs(**inputs) if inputs else spec), kept


def for_other_parts(spec: MethodSpec, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return those inputs that `find_inputs` returned to keep that hold for other examples too."""
    needs = spec.needs
    return {name: value for name, value in kept.items() if needs[name][0] not in PER_EXAMPLE}


def with_placeholders(
    spec: MethodSpec, num_examples: int, num_classes: int, network: Callable[[], nn.Module]
) -> MethodSpec:
    """Return a method with inputs of the right shape and no meaning, to time its steps.

    Args:
        spec: the method.
        num_examples: N.
        num_classes: K.
        network: returns an untrained network.
    """
    made: dict[str, Callable[[], Any]] = {
        "transition": lambda: 0.8 * np.eye(num_classes) + 0.2 / num_classes,
        "noise_rate": lambda: 0.2,
        "label_quality": lambda: np.column_stack([np.full(num_examples, 0.8), np.zeros(num_examples)]),
        "network": network,
    }
    return spec.with_inputs(**{name: made[kind]() for name, (kind, _) in spec.needs.items()})
