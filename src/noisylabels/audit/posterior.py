"""The probability of each class given an example and its given label, calibrated to the noise rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisylabels.audit.scores import blended
from noisylabels.core.large_arrays import large_array
from noisylabels.noise.checked_probs import CheckedProbs, Computed
from noisylabels.noise.noise_model import NoiseModel, NoiseModels
from noisylabels.noise.noise_rate import JUDGES, NETWORK

RULES = (NETWORK, JUDGES)
"""What the two kinds of probabilities of an audit come from, and how they are judged, see `judged`."""

HELD_OUT = {NETWORK: 0.25, JUDGES: 0.85}
"""Weight of the probabilities out of fold against those of models that were trained on the example."""

POWER_JUDGES, POWER_NETWORK, POWER = 1.6, 1.8, 2.0
"""Powers that calibrate the probabilities: those of judges and of a network for models that are always right,
multiplied by their accuracy because weaker models are less certain; and that of others, which makes the score
`scores.sharpened`."""

MAPPED_BYTES = 1 << 28
"""Memory-mapped probabilities whose float32 copy would be larger stay in their file."""

COMPUTED_BYTES = 1 << 28
"""Mixtures of probabilities that would be larger as float64 are computed whenever some rows are read."""

_SMALL, _FADE, _LEAST = 1e-12, 0.01, 1e-300


@dataclass(frozen=True, eq=False)
class LabelPosterior:
    """The posterior of the true class of each example.

    q_i(k) ∝ p_i(k)^power × (1 if k is the given label, else odds), and powers below 1e-12 count as about that

    Args:
        labels: (N,) int64, the given labels.
        probs: (N, K), the probabilities that judge the labels, see `judged`.
        power: their exponent.
        odds: the factor by which the odds of a wrong label are multiplied.
        right: (N,) float64, the probability that the given label is right, q_i(y_i); it ranks the least
            probable labels too, which 1 - `wrong` does not.
    """

    labels: np.ndarray
    probs: CheckedProbs
    power: float
    odds: float
    right: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """Return the probability that each given label is wrong, (N,) float64."""
        return np.asarray(1 - self.right)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the posterior of some examples, (M, K) float64."""
        return self._weighted(self.probs.take(rows), self.labels[rows])

    def whole(self) -> np.ndarray:
        """Return the posterior of all examples, (N, K) float64."""
        made = np.empty(self.probs.shape)
        for rows, p in self.probs.blocks():
            made[rows] = self._weighted(p, self.labels[rows])
        return made

    def at(self, classes: np.ndarray) -> np.ndarray:
        """Return the probability that the true class is the one in `classes`, (N,) float64."""
        made = np.empty(len(self.labels))
        for rows, p in self.probs.blocks():
            q = self._weighted(p, self.labels[rows])
            made[rows] = q[np.arange(len(q)), classes[rows]]
        return made

    def kept(self) -> np.ndarray:
        """Return the posterior of all examples as float32; of a large memory-mapped file the file itself."""
        values = self.probs.values
        if isinstance(values, np.memmap) and values.size * 4 > MAPPED_BYTES:
            return values
        made = large_array(self.probs.shape, np.float32)
        for rows, p in self.probs.blocks():
            made[rows] = self._weighted(p, self.labels[rows])
        return made

    def others(self) -> np.ndarray:
        """Return the most probable class of each example apart from its given label, (N,) int64."""
        made = np.empty(len(self.labels), np.int64)
        for rows, p in self.probs.blocks():
            p[np.arange(len(p)), self.labels[rows]] = -1.0
            made[rows] = p.argmax(axis=1)
        return made

    def _weighted(self, p: np.ndarray, given: np.ndarray) -> np.ndarray:
        q, rows = _powers(p, self.power), np.arange(len(p))
        own = q[rows, given]
        q *= self.odds
        q[rows, given] = own
        return np.asarray(q / q.sum(axis=1, keepdims=True))


def judged(
    labels: np.ndarray,
    probs: CheckedProbs,
    seen: CheckedProbs | None,
    rule: str,
    models: NoiseModels,
    accuracy: float,
) -> tuple[CheckedProbs, float]:
    """Return the probabilities that judge the labels, and the power that calibrates them.

    After training they are w p + (1 - w) p', with the probabilities p out of fold, those p' of models that
    were trained on the example, and the weight w of `HELD_OUT`. A model that was not trained on an example is
    unbiased by its label, but has learned less about it; a robust loss keeps a model that was trained on it
    from memorizing a label error. The two err on different examples. Several judges, as on the features of a
    frozen encoder, are better out of fold than one network, and calibrated well enough for the posterior of
    the simplest noise model that fits to take the place of p. Without training the probabilities judge as
    they are.

    Args:
        labels: (N,) int64 in [0, K).
        probs: (N, K), out of fold.
        seen: (N, K), of models trained on the example with a robust loss; None without training.
        rule: one of `RULES`.
        models: noise models of the labels that may be wrong.
        accuracy: of the models out of fold, on right labels.

    Source: ours; measured by `benchmarks/bench_audit.py` and `benchmarks/bench_features.py`.
    """
    if rule == NETWORK:
        if seen is None:
            return probs, POWER
        return _blended(probs, seen, HELD_OUT[rule]), POWER_NETWORK * accuracy
    made = CheckedProbs(_modeled(models.simplest, probs, labels), "probs")
    if seen is None:
        return made, 1.0
    return _blended(made, seen, HELD_OUT[rule]), POWER_JUDGES * accuracy


def _modeled(model: NoiseModel, probs: CheckedProbs, labels: np.ndarray) -> np.ndarray | Computed:
    """Return the posterior of a noise model; of a large set it is computed whenever rows are read."""
    n, K = probs.shape
    if n * K * 8 <= COMPUTED_BYTES:
        return model.whole(probs, labels)
    return Computed((n, K), lambda rows: model.posterior(probs.take(rows), labels[rows]))


def _blended(outside: CheckedProbs, inside: CheckedProbs, weight: float) -> CheckedProbs:
    """Return `scores.blended`; of a large set it is computed whenever rows are read."""
    n, K = outside.shape
    if n * K * 8 <= COMPUTED_BYTES:
        return CheckedProbs(blended(outside, inside, weight), "probs")

    def rows_of(rows: object) -> np.ndarray:
        return np.asarray(weight * outside.take(rows) + (1 - weight) * inside.take(rows))

    return CheckedProbs(Computed((n, K), rows_of), "probs")


def calibrated(
    labels: np.ndarray,
    probs: CheckedProbs,
    rate: float,
    power: float = 1.0,
    known: np.ndarray | None = None,
) -> LabelPosterior:
    """Return the posterior whose expected share of wrong labels is the noise rate.

    Models err on the examples that are hard for annotators too, so on human noise they take many wrong labels
    for right ones. Their ranking is good all the same: a common factor of the odds calibrates it.

    Args:
        labels: (N,) int64 in [0, K).
        probs: (N, K), the probabilities that judge the labels, see `judged`.
        rate: the noise rate; of 0 it is taken as half a label, so that the labels are still ranked.
        power: the exponent of the probabilities.
        known: (N,) bool, labels that do not count for the rate, such as those checked by hand.

    >>> probs = CheckedProbs(np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]), "probs")
    >>> calibrated(np.array([0, 0, 0]), probs, 1 / 3).wrong.round(2).tolist()
    [0.06, 0.26, 0.68]
    """
    from scipy.optimize import brentq

    found = log_odds(labels, probs, power)
    counted = found if known is None or known.all() else found[~known]
    least = 0.5 / len(counted)
    share = min(max(rate, least), 1 - least)
    shift = brentq(lambda shift: float(_logistic(counted + shift).mean()) - share, -300, 300)
    return LabelPosterior(labels, probs, power, float(np.exp(shift)), _logistic(-found - shift))


def log_odds(labels: np.ndarray, probs: CheckedProbs, power: float = 1.0) -> np.ndarray:
    """Return the log odds that each label is wrong, before they are calibrated, (N,) float64.

    Args:
        labels: (N,) int64 in [0, K).
        probs: (N, K), the probabilities that judge the labels.
        power: their exponent.
    """

    def odds(p: np.ndarray, y: np.ndarray) -> np.ndarray:
        q, rows = _powers(p, power), np.arange(len(p))
        own = q[rows, y]
        q[rows, y] = 0
        return np.asarray(np.log(q.sum(axis=1)) - np.log(own))

    return probs.per_row(odds, labels)


def _powers(p: np.ndarray, power: float) -> np.ndarray:
    """Return p^power; below `_SMALL` its logarithm falls by `_FADE` only.

    No model is as certain as a probability of 0, rounded or not, which would outweigh all other labels. The
    order of small ones stays.
    """
    q: np.ndarray = p**power
    few = q < _SMALL
    q[few] = _SMALL * (np.maximum(q[few], _LEAST) / _SMALL) ** _FADE
    return q


def _logistic(values: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return np.asarray(expit(values))
