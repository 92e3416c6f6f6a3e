"""How much each label is to be believed: scores in [0, 1], pure functions of anyone's probabilities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from noisylabels.core.checks import InputError, check_choice
from noisylabels.noise.checks import check_labels_probs, check_probs, numbers
from noisylabels.noise.estimate import calibrated_joint, confident_joint

HELD_OUT = 0.25
"""The weight of out-of-fold probabilities against those of models that were trained on the example."""


def rank(labels: object, probs: object, method: str = "sharpened") -> np.ndarray:
    """Score labels: 0 probably wrong, 1 probably right.

    Args:
        labels: (N,) integers in [0, K): the labels given.
        probs: (N, K) probabilities of a model that was not trained on the example it judges, rows sum to 1.
        method: one of `METHODS`.

    Returns:
        (N,) float64 in [0, 1]; ``scores.argsort()`` has the most doubtful label first.

    Raises:
        InputError: an unknown method; what the score refuses.

    >>> rank([0, 0], [[0.8, 0.2], [0.1, 0.9]]).round(2).tolist()
    [0.94, 0.01]
    """
    return METHODS[check_choice(method, METHODS, "method")](labels, probs)


def sharpened(labels: object, probs: object) -> np.ndarray:
    """Score a label by its share of the squares, p_y² / Σ_k p_k²: of two draws that agree, how often it is y.

    A compromise of two: `normalized_margin` knows who the rival is, and is misled by a weak model that is
    sure of the wrong class; `self_confidence` is not, and does not tell one rival from many small ones.

    Args:
        labels: (N,) integers in [0, K).
        probs: (N, K), rows sum to 1.

    Returns:
        (N,) float64 in [0, 1].

    Raises:
        InputError: as `self_confidence`.

    Source: ours; `benchmarks/bench_audit.py`.

    >>> sharpened([0, 1], [[0.75, 0.25], [0.5, 0.5]]).tolist()
    [0.9, 0.5]
    """
    p, given = check_labels_probs(labels, probs)
    squares = np.square(p)
    return np.asarray(squares[np.arange(len(p)), given] / squares.sum(axis=1))


def self_confidence(labels: object, probs: object) -> np.ndarray:
    """Score a label by its own probability, p_y.

    Args:
        labels: (N,) integers in [0, K).
        probs: (N, K), rows sum to 1.

    Returns:
        (N,) float64 in [0, 1].

    Raises:
        InputError: labels or probabilities out of range, or of different lengths.

    Source: cleanlab's score of this name, its default; equal to it.

    >>> self_confidence([0, 1], [[0.75, 0.25], [0.5, 0.5]]).tolist()
    [0.75, 0.5]
    """
    p, given = check_labels_probs(labels, probs)
    return np.asarray(p[np.arange(len(p)), given])


def normalized_margin(labels: object, probs: object) -> np.ndarray:
    """Score a label by its lead over the best other class, (p_y - max_{k != y} p_k + 1) / 2.

    Args:
        labels: (N,) integers in [0, K).
        probs: (N, K), rows sum to 1.

    Returns:
        (N,) float64 in [0, 1]: below 0.5 where another class is the more probable.

    Raises:
        InputError: as `self_confidence`.

    Source: cleanlab's score of this name; equal to it.

    >>> normalized_margin([0, 1], [[0.75, 0.25, 0.0], [0.75, 0.25, 0.0]]).tolist()
    [0.75, 0.25]
    """
    p, given = check_labels_probs(labels, probs)
    return np.asarray((margins(p, given) + 1) / 2)


def area_under_margin(margin: object) -> np.ndarray:
    """Score examples by the mean of their margins over the epochs of a training, (mean_e m_e + 1) / 2.

    Args:
        margin: (E, N), for each epoch p_y - max_{k != y} p_k, in [-1, 1].

    Returns:
        (N,) float64 in [0, 1].

    Raises:
        InputError: another shape, or values out of range.

    Source: Pleiss et al., "Identifying mislabeled data using the area under the margin ranking", 2020,
    equation 1. Theirs is of logits, which have no bounds and grow with the training; ours of probabilities.

    >>> area_under_margin([[0.5, -1.0], [1.0, 0.0]]).tolist()
    [0.875, 0.25]
    """
    m = numbers(margin, "margins", "(E, N)")
    if m.ndim != 2 or not m.size:
        raise InputError(f"margins have shape {m.shape}, expected (E, N): a row an epoch")
    if not (abs(m) <= 1 + 1e-6).all():
        raise InputError("margins are not all in [-1, 1]; take them from probabilities, not from logits")
    return np.asarray(np.clip((m.mean(axis=0) + 1) / 2, 0.0, 1.0))


def blended(probs: object, seen: object) -> np.ndarray:
    """Put together what is said of an example out of fold and while it is trained on: w p + (1 - w) p'.

    A model that has not seen the label is impartial, but knows less of the example and its like; a robust
    loss keeps one that has from learning a wrong label by heart. The two err on different examples, and
    a score of both finds more wrong labels than one of either (`benchmarks/bench_audit.py`).

    Args:
        probs: (N, K), out of fold, rows sum to 1.
        seen: (N, K), of models trained on the example with a robust loss, mean over epochs, rows sum to 1.

    Returns:
        (N, K) float64, rows sum to 1; w is `HELD_OUT`.

    Raises:
        InputError: what are no probabilities, or different shapes.

    >>> blended([[1.0, 0.0]], [[0.0, 1.0]]).tolist()
    [[0.25, 0.75]]
    """
    outside, inside = (check_probs(each, what) for each, what in ((probs, "probs"), (seen, "seen")))
    if outside.shape != inside.shape:
        raise InputError(f"probs have shape {outside.shape} and seen {inside.shape}, expected the same")
    return np.asarray(HELD_OUT * outside + (1 - HELD_OUT) * inside)


def share_wrong(labels: object, probs: object, seen: object = None) -> float:
    """Estimate the share of wrong labels.

    By the confident joint C of the out-of-fold probabilities, 1 - Σ_k C[k, k] N_k / (N Σ_i C[i, k]), with N_k
    examples of the label k. It counts among the wrong what the models cannot tell apart. Where there is
    `seen`, the other end is the share whose label is not the most probable there: what was learnt by heart
    is not in it. The estimate is then halfway; if that other end is the higher one, the models are too weak
    to learn even what is right, and the first alone is taken.

    Args:
        labels: (N,) integers in [0, K).
        probs: (N, K), out of fold, rows sum to 1.
        seen: (N, K), of models trained on the example, as for `blended`.

    Returns:
        A number in [0, 1].

    Raises:
        InputError: as `self_confidence`.

    Source: the first, Northcutt et al., "Confident learning", 2021, equations 1 to 3; the other is ours.

    >>> share_wrong([0, 0, 1, 1], [[0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9]])
    0.25
    """
    p, given = check_labels_probs(labels, probs)
    joint = calibrated_joint(confident_joint(given, p), given)
    found = float(np.clip(1 - joint.trace(), 0.0, 1.0))
    if seen is None:
        return found
    inside, _ = check_labels_probs(labels, seen)
    return (found + min(found, float((inside.argmax(axis=1) != given).mean()))) / 2


def margins(p: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Return p_y - max_{k != y} p_k, in [-1, 1]."""
    rows = np.arange(len(p))
    others = p.copy()
    others[rows, given] = -np.inf
    return np.asarray(p[rows, given] - others.max(axis=1))


METHODS: dict[str, Callable[[object, object], np.ndarray]] = {
    "sharpened": sharpened,
    "normalized_margin": normalized_margin,
    "self_confidence": self_confidence,
}
