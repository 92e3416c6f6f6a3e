"""Findings derived from labels and probabilities: likely mislabeled examples, suggested labels, reasons."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from noisylabels.audit.duplicates import Group, consensus_label
from noisylabels.audit.posterior import LabelPosterior
from noisylabels.audit.reasons import Reasons
from noisylabels.audit.scores import noise_rate
from noisylabels.core.checks import InputError
from noisylabels.noise.checked_probs import CheckedProbs
from noisylabels.noise.checks import check_labels_probs
from noisylabels.noise.confident_learning import JointSample, calibrated, joint_samples
from noisylabels.noise.estimate import Estimate

LEVEL = 0.95
"""Level of the intervals."""

_WORK = 2e8  # examples that the bootstrap may draw: some seconds, and as many bytes
_OPEN = 20_000_000  # probabilities that decide otherwise in one sample than in another: half a gigabyte
_CELLS = 4e7  # matrix entries of all samples: a third of a gigabyte
_LEAST_DRAWS, _MOST_DRAWS = 40, 200
_BLOCK = 1024  # rows
_BATCH = 1 << 18  # matrix entries that are scaled at once


@dataclass(frozen=True, eq=False)
class Issues:
    """Findings per label.

    Args:
        score: (N,) float64 in [0, 1], label quality: 0 likely mislabeled; the score of a label that
            contradicts its near-duplicates is at most that of the last flagged one.
        suggested: (N,) int64, the suggested labels.
        flagged: (N,) bool, whether likely mislabeled.
        why: N clauses, the reasons.
        wrong: (N,) float64, the probability that the given label is wrong; None without a posterior.
        right: (N,) float64, the probability that the suggested label is the true one.
    """

    score: np.ndarray
    suggested: np.ndarray
    flagged: np.ndarray
    why: Sequence[str]
    wrong: np.ndarray | None = None
    right: np.ndarray | None = None

    @property
    def expected(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the expected errors, (N,) each: as given, and with the suggestions accepted."""
        if self.wrong is None or self.right is None:
            return None
        return self.wrong, np.where(self.flagged, 1 - self.right, self.wrong)


def estimate(
    labels: np.ndarray,
    probs: np.ndarray | CheckedProbs,
    seen: np.ndarray | CheckedProbs | None = None,
    seed: int = 0,
) -> Estimate:
    """Estimate the noise rate and the transition matrix, with bootstrap intervals.

    The rate is that of `share_wrong`. The matrix is derived from the calibrated confident joint, whose
    off-diagonal entries are scaled to sum to the rate; the frequency of each given label stays as it is.

    Args:
        labels: (N,) int64 in [0, K).
        probs: (N, K), out of fold.
        seen: (N, K), of models trained on the example, if any.
        seed: seed of the bootstrap samples: 200, fewer beyond a million examples. No intervals are computed
            beyond five million examples, where 40 samples would be slow, and none for the matrix where the
            samples' matrices would take much memory: beyond 447 classes with 200 samples.

    Returns:
        The estimate, by "confident_joint" or, with `seen`, "confident_joint, seen".
    """
    p, given = check_labels_probs(labels, probs)
    n, K = p.shape
    method = "confident_joint" if seen is None else "confident_joint, seen"
    differs = None if seen is None else check_labels_probs(labels, seen)[0].likeliest != given

    def share(sample: JointSample) -> float:
        """Return the share of labels that are not the most probable class during training, 0 if unknown."""
        some = differs if differs is None or sample.chosen is None else differs[sample.chosen]
        return 0.0 if some is None else float(some.mean())

    def fitted(samples: list[JointSample], shares: list[float]) -> tuple[np.ndarray, np.ndarray]:
        counts, sizes = (np.stack(each) for each in zip(*((s.counts, s.sizes) for s in samples), strict=True))
        return _scaled(calibrated(counts, sizes), None if differs is None else np.array(shares))

    draws = min(_MOST_DRAWS, int(_WORK // n))
    draws = draws if draws >= _LEAST_DRAWS else 0
    samples = joint_samples(given, p, draws, seed, most=_OPEN)
    whole = next(samples)
    (T,), (prior,) = fitted([whole], [share(whole)])
    plain = Estimate(method, T, prior, n)
    rates, matrices = [], []
    while batch := [(each, share(each)) for each in itertools.islice(samples, 1 + _BATCH // K**2)]:
        Ts, priors = fitted(*map(list, zip(*batch, strict=True)))
        rates.extend(1 - (priors * Ts.diagonal(axis1=1, axis2=2)).sum(axis=1))
        if draws * K * K <= _CELLS:
            matrices.append(Ts)
    if not draws or len(rates) < draws:
        return plain
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.clip(np.quantile(rates, ends), 0, 1).tolist()
    between = np.quantile(np.concatenate(matrices), ends, axis=0, overwrite_input=True) if matrices else None
    return replace(plain, interval=LEVEL, rate_interval=(low, high), transition_interval=between)


def _scaled(joint: np.ndarray, differing: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return T and prior of calibrated joints, (..., K, K), after scaling them to the noise rate."""
    K = joint.shape[-1]
    diagonal = (..., range(K), range(K))
    column = joint.sum(axis=-2)
    off = column - joint[diagonal]
    some = off > 1e-12
    scale = noise_rate(joint, differing) / np.where(some.any(axis=-1), off.sum(axis=-1), 1)
    # no more label errors than a label has examples
    scale = np.minimum(scale, np.where(some, column / np.where(some, off, 1), np.inf).min(axis=-1))
    joint = joint * scale[..., None, None]
    joint[diagonal] = 0
    joint[diagonal] = np.maximum(column - joint.sum(axis=-2), 0)
    prior = joint.sum(axis=-1)
    T = np.where(prior[..., None] > 0, joint / np.where(prior > 0, prior, 1)[..., None], np.eye(K))
    return T, prior


def find_issues(
    labels: np.ndarray,
    probs: np.ndarray | CheckedProbs,
    score: np.ndarray,
    rate: float,
    class_names: Sequence[str],
    ids: Sequence[str],
    groups: Sequence[Group] = (),
    same: str = "image",
    trusted: np.ndarray | None = None,
    posterior: LabelPosterior | None = None,
) -> Issues:
    """Flag likely wrong labels, at most as many as are estimated, each with a suggestion and a reason.

    Args:
        labels: (N,) int64 in [0, K).
        probs: (N, K), out of fold.
        score: (N,) in [0, 1], label quality: 0 likely mislabeled.
        rate: noise rate of the labels that are not trusted; the round(rate * N) ones of lowest score among
            these N are flagged.
        class_names: K names.
        ids: N names.
        groups: near-duplicates. If the labels of a group differ, the members that disagree with its
            `consensus_label` are certainly wrong and are flagged too.
        same: what the members of a group share, for the reason: "image" or "row".
        trusted: (N,) bool, labels checked by hand. None of them is flagged, and those of a group decide its
            consensus.
        posterior: of the true classes. With it, only labels are flagged whose suggestion is more probably
            right than they are (`LabelPosterior.worthwhile`), so that accepting it is expected to help.

    Returns:
        Score, suggested label, flag and reason of each label, and the probabilities.

    >>> probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8]])
    >>> found = find_issues(np.array([0, 1, 1]), probs, np.array([0.9, 0.2, 0.8]), 1 / 3, "ab", "xyz")
    >>> found.flagged.tolist(), found.suggested.tolist(), found.why[1]
    ([False, True, False], [0, 0, 1], 'looks like a (80 %), not b (20 %)')
    """
    n = len(labels)
    checked, _ = check_labels_probs(labels, probs)
    score = np.array(score, dtype=np.float64)
    if len(score) != n or not ((score >= 0) & (score <= 1)).all():
        raise InputError(f"got {len(score)} scores for {n} labels, expected one in [0, 1] per label")
    spared = set() if trusted is None else set(np.flatnonzero(trusted).tolist())
    contradicted: dict[int, int] = {}  # position -> a near-duplicate with the consensus label
    for group in groups:
        if group.conflicting(labels):
            members = list(group.members)
            sure = [i for i in members if i in spared] or members
            consensus = consensus_label(labels[sure].tolist(), checked.take(np.array(sure)).sum(axis=0))
            witness = next(i for i in sure if labels[i] == consensus)
            contradicted |= {i: witness for i in members if labels[i] != consensus and i not in spared}
    judged = n - len(spared)
    count = min(judged, max(round(rate * judged), len(contradicted)))
    wrong = np.array(list(contradicted), dtype=np.int64)
    apart = np.concatenate([wrong, np.array(list(spared), dtype=np.int64)])
    others = np.setdiff1d(np.argsort(score, kind="stable"), apart, assume_unique=True)[: count - len(wrong)]
    suggested = checked.likeliest.copy()
    candidates = np.sort(np.concatenate([others, wrong]))
    for some in np.array_split(candidates, 1 + count // _BLOCK):
        rest = checked.take(some)
        rest[np.arange(len(some)), labels[some]] = -1.0
        suggested[some] = rest.argmax(axis=1)
    if posterior is not None:
        # a reason names what the models predict, so no label is flagged that they prefer to the suggestion
        preferred = checked.at(suggested) > checked.at(labels)
        dropped = others[~(posterior.worthwhile(suggested) & preferred)[others]]
        suggested[dropped] = checked.likeliest[dropped]
        others = np.setdiff1d(others, dropped, assume_unique=True)
    flagged = np.zeros(n, bool)
    flagged[others] = flagged[wrong] = True
    # a contradicted label ranks no higher than the last other flagged one, or than all unflagged ones
    last = score[others].max() if len(others) else score[~flagged].min(initial=1.0)
    score[wrong] = np.minimum(score[wrong], last)

    for i, witness in contradicted.items():
        suggested[i] = labels[witness]
    suggested[list(spared)] = labels[list(spared)]
    why = Reasons(
        class_names,
        ids,
        labels,
        suggested,
        flagged,
        checked.at(labels),
        checked.at(suggested),
        contradicted,
        same,
    )
    if posterior is None:
        return Issues(score, suggested, flagged, why)
    of_wrong, of_right = posterior.wrong.copy(), posterior.of(suggested)
    of_wrong[list(spared)], of_right[list(spared)] = 0.0, 1.0
    return Issues(score, suggested, flagged, why, of_wrong, of_right)


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
    agreement: float,
    issues: Issues,
    found: Estimate,
    class_names: Sequence[str],
    groups: Sequence[Group] = (),
    true: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the summary that audit.json stores.

    Returns:
        flagged: number of flagged labels.
        agreement: the argument: the share of given labels that are the most probable class out of fold.
        rate: estimate, low, high, level (low, high and level are null without an interval), method, count; of
            the labels that are not trusted.
        transition: matrix T[true, given], low, high (K lists of K numbers; rows sum to 1).
        classes: one row per class: name, count, flagged, wrong (the estimated share of its labels that are
            wrong).
        pairs: see `confusable`.
        duplicates: groups, the number of groups of near-duplicates; copies, the number of examples beyond the
            first of each group; conflicts, the groups with different labels, each with members (positions)
            and exact.
        expected: with probabilities, the expected share of wrong labels, before and after accepting the
            suggestions of all flagged labels; else null.
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
    return {
        "flagged": int(issues.flagged.sum()),
        "agreement": _short(agreement),
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
        "expected": None
        if issues.expected is None
        else dict(zip(("before", "after"), (_short(each.mean()) for each in issues.expected), strict=True)),
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
