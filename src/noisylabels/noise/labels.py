"""Noisy labels as a value: what the labels are, what they were, and how they came to be."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.rng import derive_seed
from noisylabels.noise.checks import Pairs, check_index, check_labels, check_num_classes, check_pairs
from noisylabels.noise.saved_labels import digest_of, read_saved, write_saved
from noisylabels.noise.spec import NoiseSpec, convention_of, kind_of, map_of
from noisylabels.noise.transition import Rows, chain, check_transition, matrix


@dataclass(frozen=True, eq=False, repr=False)
class NoisyLabels:
    """Labels before and after corruption, with the record of the corruption.

    Args:
        given: (N,) int64 in [0, K): the labels to train on.
        true: (N,) int64 in [0, K): the labels before.
        spec: the canonical text of the noise; of a kind that is not in the catalog where the labels
            came from elsewhere, from people for example.
        seed: 0 or more.
        num_classes: K.
        pairs: the confusion map in class numbers, (true, given); empty for noise without one.
        index: (N,) int64, ascending: the places of the examples in the set, where some were left out; None
            where there is one for each.
        foreign: (N,) int64: the place of the foreign image under each label, or -1, `true` being -1 where
            there is one; None where there are none.
        expected: (K, K), what `nominal` is where the spec's text does not tell it; None where it does, or
            where nothing is expected.

    Raises:
        InputError: labels that are not as above, or of different lengths; a wrong seed.

    >>> labels = NoisyLabels([0, 1, 1, 0], [0, 0, 1, 1], "people", 0, 3)
    >>> labels
    NoisyLabels('people', seed=0: 2 of 4 labels wrong (50.00 %), 3 classes)
    >>> labels.realized.tolist()
    [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    """

    given: np.ndarray
    true: np.ndarray
    spec: str
    seed: int
    num_classes: int
    pairs: Pairs = ()
    index: np.ndarray | None = None
    foreign: np.ndarray | None = None
    expected: np.ndarray | None = None

    def __post_init__(self) -> None:
        K = check_num_classes(self.num_classes)
        object.__setattr__(self, "num_classes", K)
        object.__setattr__(self, "given", check_labels(self.given, K, "given labels"))
        object.__setattr__(self, "true", self._checked_true(K))
        if len(self.given) != len(self.true):
            raise InputError(f"there are {len(self.given)} given labels and {len(self.true)} true ones")
        if self.index is not None:
            object.__setattr__(self, "index", check_index(self.index, len(self.given)))
        if self.expected is not None:
            expected = check_transition(self.expected)
            if len(expected) != K:
                raise InputError(f"the expected matrix has {len(expected)} rows for {K} classes")
            object.__setattr__(self, "expected", expected)
        derive_seed(self.seed)  # raises on a seed that is none
        object.__setattr__(self, "seed", int(self.seed))
        object.__setattr__(self, "spec", str(self.spec))
        object.__setattr__(self, "pairs", check_pairs(self.pairs, K) if self.pairs else ())

    def _checked_true(self, num_classes: int) -> np.ndarray:
        """Return the true labels, -1 where a foreign image stands and nowhere else."""
        if self.foreign is None:
            return check_labels(self.true, num_classes, "true labels")
        foreign = np.asarray(self.foreign, dtype=np.int64)
        object.__setattr__(self, "foreign", foreign)
        true = np.array(self.true, dtype=np.int64)
        if foreign.shape != true.shape or ((foreign >= 0) != (true == -1)).any():
            raise InputError("true labels are not -1 at the foreign images and only there")
        rest = check_labels(np.where(true == -1, 0, true), num_classes, "true labels")
        return np.where(true == -1, -1, rest)

    @property
    def flipped(self) -> np.ndarray:
        """Which labels are wrong, (N,) bool; that of a foreign image always is."""
        flipped: np.ndarray = self.given != self.true
        return flipped

    @property
    def rate(self) -> float:
        """The share of wrong labels."""
        return float(np.count_nonzero(self.flipped)) / len(self.given)

    @property
    def counts(self) -> np.ndarray:
        """How many examples of class i are labeled j, (K, K) int64; foreign images are of no class."""
        K, known = self.num_classes, self.true >= 0
        return np.bincount(self.true[known] * K + self.given[known], minlength=K * K).reshape(K, K)

    @property
    def realized(self) -> np.ndarray:
        """The share of each true class that is given each label, (K, K) float64; rows sum to 1.

        A class without examples gets the row of the identity: nothing was seen to be wrong with it.
        """
        counts = self.counts
        totals = counts.sum(axis=1, keepdims=True)
        return np.where(totals > 0, counts / np.maximum(totals, 1), np.eye(self.num_classes))

    @property
    def nominal(self) -> np.ndarray | None:
        """The matrix that was asked for, T[true, given] (K, K) float64; None where there is none.

        For a convention that flips exact counts it is the probability of each label for a randomly
        chosen example of the class, up to the rounding of the counts. For noise that depends on the image
        it is the mean over the images of the class, as the noises before it left them. There is none where
        the labels came from elsewhere.
        """
        if self.expected is not None:
            return self.expected
        steps = steps_of(self.spec, self.num_classes, self.pairs)
        return None if steps is None else matrix(self.num_classes, chain(self.num_classes, steps))

    @property
    def arrangement(self) -> str:
        """What changed in the set that these labels are for: a digest of `index` and `foreign`, or "".

        The set that `corrupt_set` gives with them has the same word in `arranged`.
        """
        if self.index is None and self.foreign is None:
            return ""
        sha = hashlib.sha256()
        for places in (self.index, self.foreign):
            sha.update(b"-" if places is None else places.astype("<i8").tobytes())
        return sha.hexdigest()[:16]

    @property
    def digest(self) -> str:
        """The sha256 of all but `expected`, in hexadecimal: equal digests, equal labels and record."""
        return digest_of(self._record, self._columns)

    @property
    def _record(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("spec", "seed", "num_classes", "pairs")}

    @property
    def _columns(self) -> dict[str, np.ndarray]:
        columns = {name: getattr(self, name) for name in ("given", "true", "index", "foreign")}
        return {name: column for name, column in columns.items() if column is not None}

    def __len__(self) -> int:
        return len(self.given)

    def __repr__(self) -> str:
        return (
            f"NoisyLabels({self.spec!r}, seed={self.seed}: {np.count_nonzero(self.flipped)} of {len(self)} "
            f"labels wrong ({100 * self.rate:.2f} %), {self.num_classes} classes)"
        )

    def save(self, path: str | Path) -> None:
        """Write the labels to a Parquet file, whole or not at all.

        Its columns are given, true and flipped, a row an example in order, and index and foreign where
        there are such; the record is JSON in the schema's metadata under the key `noisylabels`.
        """
        record = self._record | {"rate": self.rate, "digest": self.digest}
        if self.expected is not None:
            record["expected"] = self.expected.tolist()
        columns = self._columns
        ordered = {"given": columns.pop("given"), "true": columns.pop("true"), "flipped": self.flipped}
        write_saved(Path(path), record, ordered | columns)

    @classmethod
    def load(cls, path: str | Path) -> NoisyLabels:
        """Read what `save` wrote.

        Raises:
            InputError: there is no such file, it is damaged, or it is of another kind.
        """
        record, columns = read_saved(Path(path))
        try:
            return cls(
                given=columns["given"],
                true=columns["true"],
                spec=record["spec"],
                seed=record["seed"],
                num_classes=record["num_classes"],
                pairs=record["pairs"],
                index=columns.get("index"),
                foreign=columns.get("foreign"),
                expected=record.get("expected"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}); restore it or make it anew") from None


def steps_of(spec: str | NoiseSpec, num_classes: int, pairs: Pairs) -> tuple[Rows, ...] | None:
    """Return the transition matrices that a spec names, as their rows; None if it names none.

    Args:
        spec: the noise, or its canonical text.
        num_classes: K.
        pairs: the numbers of the confusion map that the spec names, if it names one.
    """
    try:
        stages = NoiseSpec.parse(spec).stages
    except InputError:  # labels from elsewhere, or a matrix that was handed over
        return None
    mapped = [stage for stage in stages if kind_of(stage).takes_map]
    if len(mapped) > 1 and any(map_of(stage) for stage in mapped):  # `pairs` holds one map
        return None
    steps: list[Rows] = []
    for stage in stages:
        of_stage = stage.pairs or (pairs if kind_of(stage).takes_map else ())
        found = convention_of(stage).transform.steps(num_classes, stage, of_stage)
        if found is None:
            return None
        steps += found
    return tuple(steps)
