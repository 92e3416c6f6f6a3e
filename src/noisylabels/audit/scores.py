"""Label quality scores: pure functions of labels and probabilities."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from noisylabels.core.checks import InputError, check_choice
from noisylabels.core.probabilities import match_probs
from noisylabels.noise.checks import check_labels_probs, check_probs, numbers


def rank(
    labels: object,
    probs: object,
    method: str = "sharpened",
    *,
    class_names: Sequence[object] | None = None,
) -> np.ndarray:
    """Return the label quality score of each label: 0 likely mislabeled, 1 likely correct.

    Args:
        labels: the N given labels: class numbers, or labels of any kind, see `core.labels.read_labels`.
        probs: (N, K) out-of-fold probabilities: the model was not trained on the example; rows sum to 1. The
            columns of a frame are matched with the classes by name, those of an array are in the order of the
            sorted classes; see `core.probabilities.match_probs`.
        method: one of `METHODS`.
        class_names: K names in the order of the class numbers, for labels that do not have all classes.

    Returns:
        (N,) float64 in [0, 1]; ``scores.argsort()`` lists the lowest label quality first.

    Raises:
        InputError: an unknown method, or input that the method refuses.

    >>> rank([0, 0], [[0.8, 0.2], [0.1, 0.9]]).round(2).tolist()
    [0.94, 0.01]
    >>> rank(["dog", "cat"], [[0.8, 0.2], [0.1, 0.9]]).round(2).tolist()
    [0.06, 0.01]
    """
    check_choice(method, METHODS, "method")
    found, values = match_probs(labels, probs, class_names)
    return METHODS[method](found.codes, values)


def sharpened(labels: object, probs: object) -> np.ndarray:
    """Score a label by its share of the squared probabilities, p_y² / Σ_k p_k².

    This is the probability that two independent draws that agree are both y. It is a compromise:
    `normalized_margin` compares with the strongest rival class, and is misled by a weak model that is
    confident in a wrong class; `self_confidence` is not, but cannot distinguish one strong rival from many
    weak ones.

    Args:
        labels: (N,) integers in [0, K).
        probs: (N, K), rows sum to 1.

    Returns:
        (N,) float64 in [0, 1].

    Raises:
        InputError: as `self_confidence`.

    Source: ours; measured by `benchmarks/bench_audit.py`.

    >>> sharpened([0, 1], [[0.75, 0.25], [0.5, 0.5]]).tolist()
    [0.9, 0.5]
    """
    p, given = check_labels_probs(labels, probs)

    def shares(block: np.ndarray, y: np.ndarray) -> np.ndarray:
        squares = np.square(block)
        return np.asarray(squares[np.arange(len(y)), y] / squares.sum(axis=1))

    return p.per_row(shares, given)


def self_confidence(labels: object, probs: object) -> np.ndarray:
    """Score a label by its predicted probability, p_y.

    Args:
        labels: (N,) integers in [0, K).
        probs: (N, K), rows sum to 1.

    Returns:
        (N,) float64 in [0, 1].

    Raises:
        InputError: labels or probabilities out of range, or of different lengths.

    Source: equal to cleanlab's score of this name, its default.

    >>> self_confidence([0, 1], [[0.75, 0.25], [0.5, 0.5]]).tolist()
    [0.75, 0.5]
    """
    p, given = check_labels_probs(labels, probs)
    return p.at(given)


def normalized_margin(labels: object, probs: object) -> np.ndarray:
    """Score a label by its lead over the best other class, (p_y - max_{k != y} p_k + 1) / 2.

    Args:
        labels: (N,) integers in [0, K).
        probs: (N, K), rows sum to 1.

    Returns:
        (N,) float64 in [0, 1]: below 0.5 where another class is more probable.

    Raises:
        InputError: as `self_confidence`.

    Source: equal to cleanlab's score of this name.

    >>> normalized_margin([0, 1], [[0.75, 0.25, 0.0], [0.75, 0.25, 0.0]]).tolist()
    [0.75, 0.25]
    """
    p, given = check_labels_probs(labels, probs)
    return (p.per_row(margins, given) + 1) / 2


def area_under_margin(margin: object) -> np.ndarray:
    """Score a label by its mean margin over the epochs of training, (mean_e m_e + 1) / 2.

    Args:
        margin: (E, N), p_y - max_{k != y} p_k in each epoch, in [-1, 1].

    Returns:
        (N,) float64 in [0, 1].

    Raises:
        InputError: another shape, or values out of range.

    Source: Pleiss et al., "Identifying mislabeled data using the area under the margin ranking", 2020,
    equation 1. They use logits, which are unbounded and grow during training; this uses probabilities.

    >>> area_under_margin([[0.5, -1.0], [1.0, 0.0]]).tolist()
    [0.875, 0.25]
    """
    m = numbers(margin, "margins", "(E, N)")
    if m.ndim != 2 or not m.size:
        raise InputError(f"margins have shape {m.shape}, expected (E, N): one row per epoch")
    if not (abs(m) <= 1 + 1e-6).all():
        raise InputError("margins are not all in [-1, 1]; compute them from probabilities, not from logits")
    return np.asarray(np.clip((m.mean(axis=0) + 1) / 2, 0.0, 1.0))


def blended(probs: object, seen: object, held_out: float = 0.5) -> np.ndarray:
    """Return the weighted mean of out-of-fold and training-time probabilities: w p + (1 - w) p'.

    Args:
        probs: (N, K), out of fold, rows sum to 1.
        seen: (N, K), of models trained on the example with a robust loss, mean over epochs, rows sum to 1.
        held_out: the weight w.

    Returns:
        (N, K) float64, rows sum to 1.

    Raises:
        InputError: values that are not probabilities, or different shapes.

    >>> blended([[1.0, 0.0]], [[0.0, 1.0]]).tolist()
    [[0.5, 0.5]]
    """
    outside, inside = (check_probs(each, what) for each, what in ((probs, "probs"), (seen, "seen")))
    if outside.shape != inside.shape:
        raise InputError(f"probs have shape {outside.shape} and seen {inside.shape}, expected the same")
    return np.asarray(held_out * outside + (1 - held_out) * inside)


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
