"""Findings derived from labels and probabilities: likely mislabeled examples, suggested labels, reasons."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from noisylabels.audit.assessment import Assessment
from noisylabels.audit.duplicates import Group, consensus_label
from noisylabels.audit.posterior import LabelPosterior
from noisylabels.audit.reasons import Reasons
from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.confident_learning import calibrated, joint_samples
from noisylabels.noise.estimate import Estimate
from noisylabels.noise.noise_rate import LEVEL, NoiseRate

_WORK = 2e8  # examples that the bootstrap may draw: some seconds, and as many bytes
_OPEN = 20_000_000  # probabilities that decide otherwise in one sample than in another: half a gigabyte
_CELLS = 4e7  # matrix entries of all samples, for both ends of the rate: a third of a gigabyte
_LEAST_DRAWS, _MOST_DRAWS = 40, 200
_BATCH = 1 << 18  # matrix entries that are scaled at once


@dataclass(frozen=True, eq=False)
class Issues:
    """Findings per label.

    Args:
        score: (N,) float64 in [0, 1], label quality: the probability that the given label is right; that of a
            label that contradicts its near-duplicates is at most that of the last flagged one.
        suggested: (N,) int64, the suggested labels.
        flagged: (N,) bool, whether likely mislabeled.
        why: N clauses, the reasons.
        right: (N,) float64, the probability that the suggested label is the true one.
    """

    score: np.ndarray
    suggested: np.ndarray
    flagged: np.ndarray
    why: Sequence[str]
    right: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """Return the probability that each given label is wrong, (N,) float64."""
        return np.asarray(1 - self.score)

    @property
    def expected(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the expected errors, (N,) each: as given, and with the suggestions accepted."""
        return self.wrong, np.where(self.flagged, 1 - self.right, self.wrong)


def estimate(
    labels: np.ndarray,
    probs: CheckedProbs,
    rate: NoiseRate,
    seed: int = 0,
) -> Estimate:
    """Estimate the transition matrix of a known noise rate, with intervals.

    The matrix is derived from the calibrated confident joint, whose off-diagonal entries are scaled to sum to
    the rate; the frequency of each given label stays as it is. What these entries cannot hold, because there
    are none or their label has too few examples, is spread over the other classes by their frequency. The
    intervals of the matrix are those of bootstrap samples, scaled to both ends of the interval of the rate.

    Args:
        labels: (N,) int64 in [0, K).
        probs: (N, K), out of fold.
        rate: the noise rate, from `noise_rate`.
        seed: seed of the bootstrap samples: 200, fewer beyond a million examples; none beyond five million
            examples, where 40 samples would be slow, or where the samples' matrices would take much memory:
            beyond 447 classes with 200 samples. There the matrix has no intervals.
    """
    n, K = probs.shape
    draws = min(_MOST_DRAWS, int(_WORK // n))
    draws = draws if draws >= _LEAST_DRAWS and draws * K * K <= _CELLS else 0
    samples = joint_samples(labels, probs, draws, seed, most=_OPEN)
    whole = next(samples)
    joint = calibrated(whole.counts, whole.sizes)
    T, prior = _scaled(joint, rate.estimate)
    plain = Estimate("calibrated", T, prior, n, LEVEL, (rate.low, rate.high))
    if not draws:
        return plain
    made = np.empty((2, draws, K, K), np.float32)  # by the two ends of the rate
    done, found = 0, 1 - float(joint.trace())
    while batch := list(itertools.islice(samples, 1 + _BATCH // K**2)):
        joints = calibrated(np.stack([s.counts for s in batch]), np.stack([s.sizes for s in batch]))
        # a sample has the errors of its models too: only its departure from the whole is sampling error
        shares = (1 - joints.trace(axis1=-2, axis2=-1)) / found if found > 0 else np.ones(len(joints))
        for into, end in zip(made, (rate.low, rate.high), strict=True):
            into[done : done + len(batch)] = _scaled(joints, np.minimum(end * shares, 1.0))[0]
        done += len(batch)
    if done < draws:
        return plain
    ends = np.quantile(made, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=1, overwrite_input=True)
    # the diagonal falls where the others rise; samples are a little biased, and the matrix may lie outside
    low, high = np.minimum(ends[0].min(axis=0), T), np.maximum(ends[1].max(axis=0), T)
    return replace(plain, transition_interval=np.stack([low, high]))


def _scaled(joint: np.ndarray, rate: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return T and prior of calibrated joints, (..., K, K), after scaling them to noise rates, (...)."""
    K = joint.shape[-1]
    diagonal = (..., range(K), range(K))
    column = joint.sum(axis=-2)
    off = column - joint[diagonal]
    some = off > 1e-12
    scale = rate / np.where(some.any(axis=-1), off.sum(axis=-1), 1)
    # no more label errors than a label has examples
    scale = np.minimum(scale, np.where(some, column / np.where(some, off, 1), np.inf).min(axis=-1))
    joint = joint * scale[..., None, None]
    joint[diagonal] = 0
    joint[diagonal] = np.maximum(column - joint.sum(axis=-2), 0)
    joint = _spread(joint, column, rate)
    prior = joint.sum(axis=-1)
    T = np.where(prior[..., None] > 0, joint / np.where(prior > 0, prior, 1)[..., None], np.eye(K))
    return T, prior


def _spread(joint: np.ndarray, column: np.ndarray, rate: Any) -> np.ndarray:
    """Return joints, (..., K, K), of the noise rates, where they have less, see `estimate`."""
    K = joint.shape[-1]
    trace = joint.trace(axis1=-2, axis2=-1)
    share = np.clip(1 - (1 - rate) / np.maximum(trace, 1e-12), 0, 1)  # of each diagonal entry
    moved = joint[..., range(K), range(K)] * share[..., None]
    others = np.broadcast_to(column[..., None], joint.shape).copy()
    others[..., range(K), range(K)] = 0
    total = others.sum(axis=-2, keepdims=True)
    # with one label alone, all other classes are alike
    others = np.where(total > 0, others / np.where(total > 0, total, 1), (1 - np.eye(K)) / max(1, K - 1))
    made = joint + others * moved[..., None, :]
    made[..., range(K), range(K)] -= moved
    return np.asarray(made)


def find_issues(
    posterior: LabelPosterior,
    class_names: Sequence[str],
    ids: Sequence[str],
    groups: Sequence[Group] = (),
    same: str = "image",
    trusted: np.ndarray | None = None,
) -> Issues:
    """Flag the labels that are more probably wrong than right, each with a suggestion and a reason.

    A label is flagged if its probability of being wrong is above 1/2 and another class is more probable than
    it, so that accepting the suggestion is expected to help.

    Args:
        posterior: of the true classes, calibrated to the noise rate.
        class_names: K names.
        ids: N names.
        groups: near-duplicates. If the labels of a group differ, the members that disagree with its
            `consensus_label` are certainly wrong and are flagged too; the others are not.
        same: what the members of a group share, for the reason: "image" or "row".
        trusted: (N,) bool, labels checked by hand. None of them is flagged, and those of a group decide its
            consensus.

    Returns:
        Score, suggested label, flag and reason of each label, and the probabilities.

    >>> from noisylabels.audit.posterior import calibrated as fitted
    >>> probs = CheckedProbs(np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8]]), "probs")
    >>> found = find_issues(fitted(np.array([0, 1, 1]), probs, 1 / 3), "ab", "xyz")
    >>> found.flagged.tolist(), found.suggested.tolist(), found.why[1]
    ([False, True, False], [0, 0, 1], 'looks like a (76 %), not b (24 %)')
    """
    labels = posterior.labels
    spared = set() if trusted is None else set(np.flatnonzero(trusted).tolist())
    contradicted: dict[int, int] = {}  # position -> a near-duplicate with the consensus label
    confirmed: list[int] = []
    for group in groups:
        if group.conflicting(labels):
            members = list(group.members)
            sure = [i for i in members if i in spared] or members
            of_group = posterior.probs.take(np.array(sure)).sum(axis=0)
            consensus = consensus_label(labels[sure].tolist(), of_group)
            witness = next(i for i in sure if labels[i] == consensus)
            contradicted |= {i: witness for i in members if labels[i] != consensus and i not in spared}
            confirmed += [i for i in members if labels[i] == consensus]
    score, suggested = posterior.right.copy(), posterior.others()
    right = posterior.at(suggested)
    flagged = (score < 0.5) & (right > score)
    flagged[[*spared, *confirmed]] = False  # or accepting all suggestions would swap the conflict
    # a contradicted label ranks no higher than the last flagged one, or than all unflagged ones
    most = score[flagged].max() if flagged.any() else score.min(initial=0.5)
    for i, witness in contradicted.items():
        flagged[i], suggested[i], score[i] = True, labels[witness], min(score[i], most)
        right[i] = max(right[i], (1 - score[i]) / 2)
    kept = ~flagged & (right <= score)
    kept[list(spared)] = True
    suggested[kept], right[kept] = labels[kept], score[kept]
    score[list(spared)], right[list(spared)] = 1.0, 1.0
    why = Reasons(
        class_names,
        ids,
        labels,
        suggested,
        posterior.right,
        posterior.at(suggested),
        contradicted,
        same,
    )
    return Issues(score, suggested, flagged, why, right)


def confusable(
    labels: np.ndarray, suggested: np.ndarray, flagged: np.ndarray, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the pairs of given and suggested class among the flagged examples, most frequent first.

    Returns:
        Rows of given, suggested, count of flagged examples, and their share of all examples with that given
        label.

    >>> flags = np.array([True, True, False])
    >>> confusable(np.array([0, 0, 0]), np.array([1, 1, 0]), flags, ["cat", "dog"])
    [{'given': 'cat', 'suggested': 'dog', 'count': 2, 'share': 0.666667}]
    """
    sizes = np.bincount(labels, minlength=len(class_names))
    K = len(class_names)
    codes, counts = np.unique(labels[flagged] * K + suggested[flagged], return_counts=True)
    rows = [
        {
            "given": class_names[code // K],
            "suggested": class_names[code % K],
            "count": count,
            "share": round(count / int(sizes[code // K]), 6),
        }
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True)
    ]
    return sorted(rows, key=lambda row: (-row["count"], -row["share"], row["given"], row["suggested"]))


def summarize(
    labels: np.ndarray,
    assessed: Assessment,
    issues: Issues,
    found: Estimate,
    class_names: Sequence[str],
    groups: Sequence[Group] = (),
    true: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the summary that audit.json stores.

    Returns:
        flagged: number of flagged labels.
        agreement: the share of given labels that are the most probable class out of fold.
        accuracy: the estimated accuracy of the models on right labels, with low and high.
        network: with several judges, of the network alone: agreement, accuracy, and contradicted, whether the
            judges contradict the noise rate that it gives, so that theirs is used; else there is no such key.
        rate: estimate, low, high, level (low, high and level are null without an interval), method, count; of
            the labels that are not trusted.
        transition: matrix T[true, given], low, high (K lists of K numbers; rows sum to 1).
        classes: one row per class: name, count, flagged, wrong (the estimated share of its labels that are
            wrong).
        pairs: see `confusable`.
        duplicates: groups, the number of groups of near-duplicates; copies, the number of examples beyond the
            first of each group; conflicts, the groups with different labels, each with members (positions)
            and exact.
        expected: the expected share of wrong labels, before and after accepting the suggestions of all
            flagged labels.
        known: with true labels, the noise rate, average_precision of the ranking, precision and recall of
            the flagged labels, suggestions, the share of correct suggested labels among the flagged label
            errors, and after, the noise rate if all suggestions of flagged labels are accepted; else null.
    """
    K = len(class_names)
    joint = found.joint
    column = joint.sum(axis=0)
    wrong = np.where(column > 0, 1 - joint.diagonal() / np.where(column > 0, column, 1), 0.0)
    sizes = np.bincount(labels, minlength=K)
    flags = np.bincount(labels[issues.flagged], minlength=K)
    low, high = found.rate_interval or (None, None)
    ends = found.transition_interval
    conflicts = [group for group in groups if group.conflicting(labels)]
    network: dict[str, Any] = {}
    if assessed.network is not None and assessed.network_accuracy is not None:
        shares = {"agreement": _short(assessed.network), "accuracy": _short(assessed.network_accuracy)}
        network = {"network": shares | {"contradicted": assessed.contradicted}}
    return {
        "flagged": int(issues.flagged.sum()),
        "agreement": _short(assessed.agreement),
        "accuracy": dict(zip(("estimate", "low", "high"), map(_short, assessed.accuracy), strict=True)),
        **network,
        "rate": {
            "estimate": _short(found.rate),
            "low": low if low is None else _short(low),
            "high": high if high is None else _short(high),
            "level": found.interval,
            "method": found.method,
            "count": round(found.rate * found.n),
        },
        "transition": {
            "matrix": _rows(found.transition),
            "low": None if ends is None else _rows(ends[0]),
            "high": None if ends is None else _rows(ends[1]),
        },
        "classes": [
            {"name": name, "count": int(sizes[k]), "flagged": int(flags[k]), "wrong": _short(wrong[k])}
            for k, name in enumerate(class_names)
        ],
        "pairs": confusable(labels, issues.suggested, issues.flagged, class_names),
        "duplicates": {
            "groups": len(groups),
            "copies": sum(len(group.members) - 1 for group in groups),
            "conflicts": [{"members": list(group.members), "exact": group.exact} for group in conflicts],
        },
        "expected": dict(
            zip(("before", "after"), (_short(each.mean()) for each in issues.expected), strict=True)
        ),
        "known": None if true is None else _known(labels, true, issues),
    }


def _known(labels: np.ndarray, true: np.ndarray, issues: Issues) -> dict[str, Any]:
    from sklearn.metrics import average_precision_score

    wrong = labels != true
    found = int((wrong & issues.flagged).sum())
    flagged, count = int(issues.flagged.sum()), int(wrong.sum())
    return {
        "rate": _short(count / len(labels)),
        "average_precision": _short(average_precision_score(wrong, -issues.score)) if count else None,
        "precision": _short(found / flagged) if flagged else None,
        "recall": _short(found / count) if count else None,
        "after": _short((np.where(issues.flagged, issues.suggested, labels) != true).mean()),
        "suggestions": _short((issues.suggested == true)[wrong & issues.flagged].mean()) if found else None,
    }


def _short(value: float) -> float:
    return round(float(value), 6)


def _rows(matrix: np.ndarray) -> list[list[float]]:
    rows: list[list[float]] = np.round(matrix, 6).tolist()
    return rows
