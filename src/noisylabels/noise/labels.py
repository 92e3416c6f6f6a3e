"""`NoisyLabels`: given and true labels with the record of their corruption."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.files import check_target
from noisylabels.core.labels import as_cells, read_labels, some
from noisylabels.core.rng import derive_seed
from noisylabels.core.written_names import plain_name
from noisylabels.noise.checks import Pairs, check_index, check_labels, check_num_classes, check_pairs
from noisylabels.noise.saved_labels import digest_of, read_saved, write_saved
from noisylabels.noise.spec import NoiseSpec, convention_of, kind_of, map_of
from noisylabels.noise.transition import Rows, chain, check_transition, matrix


@dataclass(frozen=True, eq=False, repr=False)
class NoisyLabels:
    """Labels before and after corruption, with the record of the corruption.

    Args:
        given: (N,): the labels to train on: class numbers, int64 in [0, K), or values of `classes`.
        true: (N,), the same: the labels before corruption.
        spec: the canonical spec of the noise; any text for labels from elsewhere, such as annotators.
        seed: 0 or more.
        num_classes: K.
        pairs: the confusion map in class numbers, (true, given); empty for noise without one.
        index: (N,) int64, ascending: the positions of the examples in the set, if some were left out; None
            if all are there.
        foreign: (N,) int64: the index of the foreign image under each label, or -1; where it is 0 or more,
            `true` is -1, or None among values. None without foreign images.
        expected: (K, K), the value of `nominal` if the spec does not define it; None if it does, or if no
            matrix is known.
        classes: (K,), the values of the classes in the order of their numbers, where labels are not class
            numbers: text, integers such as 2019 and 2020, bool. None: labels are class numbers.
        given_codes, true_codes: the labels as class numbers, (N,) int64.

    Raises:
        InputError: labels of another form, or of different lengths; an invalid seed.

    >>> labels = NoisyLabels([0, 1, 1, 0], [0, 0, 1, 1], "annotators", 0, 3)
    >>> labels
    NoisyLabels('annotators', seed=0: 2 of 4 labels noisy (50.00 %), 3 classes)
    >>> labels.realized.tolist()
    [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    >>> labels = NoisyLabels(["cat", "dog"], ["cat", "cat"], "annotators", 0, 2, classes=["cat", "dog"])
    >>> labels.given, labels.given_codes
    (array(['cat', 'dog'], dtype='<U3'), array([0, 1]))
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
    classes: np.ndarray | None = None
    given_codes: np.ndarray = field(init=False)
    true_codes: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        K = check_num_classes(self.num_classes)
        object.__setattr__(self, "num_classes", K)
        if self.classes is not None:
            self._read_values(K)
        object.__setattr__(self, "given", check_labels(self.given, K, "given labels"))
        object.__setattr__(self, "true", self._checked_true(K))
        object.__setattr__(self, "given_codes", self.given)
        object.__setattr__(self, "true_codes", self.true)
        if self.classes is not None:
            object.__setattr__(self, "given", values_of(self.given, self.classes))
            object.__setattr__(self, "true", values_of(self.true, self.classes))
        if len(self.given) != len(self.true):
            raise InputError(
                f"there are {len(self.given)} given and {len(self.true)} true labels, expected equally many"
            )
        if self.index is not None:
            object.__setattr__(self, "index", check_index(self.index, len(self.given)))
        if self.expected is not None:
            expected = check_transition(self.expected)
            if len(expected) != K:
                raise InputError(
                    f"the expected matrix has {len(expected)} rows, expected {K} for {K} classes"
                )
            object.__setattr__(self, "expected", expected)
        derive_seed(self.seed)  # raises on an invalid seed
        object.__setattr__(self, "seed", int(self.seed))
        object.__setattr__(self, "spec", str(self.spec))
        object.__setattr__(self, "pairs", check_pairs(self.pairs, K) if self.pairs else ())

    def _read_values(self, num_classes: int) -> None:
        """Replace labels that are values of `classes` by class numbers."""
        classes = read_labels(self.classes, what="classes")
        if classes.num_classes != num_classes or len(classes.codes) != num_classes:
            raise InputError(
                f"classes are {len(classes.codes)} values, {classes.num_classes} of them different, expected "
                f"{num_classes} for {num_classes} classes"
            )
        values = classes.values[classes.codes]
        names = [classes.class_names[k] for k in classes.codes]
        object.__setattr__(self, "classes", values)
        object.__setattr__(self, "given", codes_of(self.given, names, "given labels"))
        true: Any = self.true
        if self.foreign is not None:
            cells = as_cells(true, "true labels")
            foreign = np.array([cell is None for cell in cells.tolist()])
            codes = np.full(len(cells), -1, dtype=np.int64)
            if not foreign.all():
                codes[~foreign] = codes_of(cells[~foreign], names, "true labels")
            object.__setattr__(self, "true", codes)
        else:
            object.__setattr__(self, "true", codes_of(true, names, "true labels"))

    def _checked_true(self, num_classes: int) -> np.ndarray:
        """Return the true labels, checked to be -1 exactly where the image is foreign."""
        if self.foreign is None:
            return check_labels(self.true, num_classes, "true labels")
        foreign = np.asarray(self.foreign, dtype=np.int64)
        object.__setattr__(self, "foreign", foreign)
        true = np.array(self.true, dtype=np.int64)
        if foreign.shape != true.shape or ((foreign >= 0) != (true == -1)).any():
            raise InputError("true labels do not match the foreign images, expected -1 for exactly those")
        rest = check_labels(np.where(true == -1, 0, true), num_classes, "true labels")
        return np.where(true == -1, -1, rest)

    @property
    def flipped(self) -> np.ndarray:
        """A mask of the noisy labels, (N,) bool; that of a foreign image always is."""
        flipped: np.ndarray = self.given_codes != self.true_codes
        return flipped

    @property
    def rate(self) -> float:
        """The noise rate: the share of noisy labels."""
        return float(np.count_nonzero(self.flipped)) / len(self.given)

    @property
    def counts(self) -> np.ndarray:
        """The number of examples of class i labeled j, (K, K) int64, without foreign images."""
        K, given, true = self.num_classes, self.given_codes, self.true_codes
        known = true >= 0
        return np.bincount(true[known] * K + given[known], minlength=K * K).reshape(K, K)

    @property
    def realized(self) -> np.ndarray:
        """The realized transition matrix: the share of each true class with each label, (K, K) float64.

        Rows sum to 1. A class without examples gets the row of the identity.
        """
        counts = self.counts
        totals = counts.sum(axis=1, keepdims=True)
        return np.where(totals > 0, counts / np.maximum(totals, 1), np.eye(self.num_classes))

    @property
    def nominal(self) -> np.ndarray | None:
        """The nominal transition matrix, T[true, given] (K, K) float64; None for labels from elsewhere.

        For a convention that flips exact counts it is the probability of each label for a randomly chosen
        example of the class, up to the rounding of the counts. For instance-dependent noise it is the mean
        over the images of the class, with the labels that the stages before left.
        """
        if self.expected is not None:
            return self.expected
        steps = steps_of(self.spec, self.num_classes, self.pairs)
        return None if steps is None else matrix(self.num_classes, chain(self.num_classes, steps))

    @property
    def arrangement(self) -> str:
        """A digest of `index` and `foreign`; "" if the noise left the examples of the set unchanged.

        The set that `corrupt_set` returns with the labels has the same digest in `arranged`.
        """
        if self.index is None and self.foreign is None:
            return ""
        sha = hashlib.sha256()
        for places in (self.index, self.foreign):
            sha.update(b"-" if places is None else places.astype("<i8").tobytes())
        return sha.hexdigest()[:16]

    @property
    def digest(self) -> str:
        """The sha256 of labels and record (except `expected`), in hexadecimal."""
        return digest_of(self._record, self._columns)

    @property
    def _record(self) -> dict[str, Any]:
        record = {name: getattr(self, name) for name in ("spec", "seed", "num_classes", "pairs")}
        return record if self.classes is None else record | {"classes": self.classes.tolist()}

    @property
    def _columns(self) -> dict[str, np.ndarray]:
        columns = {"given": self.given_codes, "true": self.true_codes}
        columns |= {name: getattr(self, name) for name in ("index", "foreign")}
        return {name: column for name, column in columns.items() if column is not None}

    def __len__(self) -> int:
        return len(self.given)

    def __repr__(self) -> str:
        return (
            f"NoisyLabels({self.spec!r}, seed={self.seed}: {np.count_nonzero(self.flipped)} of {len(self)} "
            f"labels noisy ({100 * self.rate:.2f} %), {self.num_classes} classes)"
        )

    def save(
        self, path: str | Path, ids: Sequence[str] | None = None, rows: np.ndarray | None = None
    ) -> None:
        """Write the labels to a Parquet file, atomically.

        It has one row per example, in order, with the columns given, true and flipped, and index and foreign
        if they are set; the record is JSON in the schema's metadata under the key `noisylabels`. Labels are
        written as class numbers, and the record has the values of the classes if labels are other values.

        Args:
            path: the file, a .parquet.
            ids: N names of the examples, for a column id; a reader then needs no order.
            rows: int64, (N,), the rows of the examples in the file that they come from, for a column row.

        Raises:
            InputError: more or fewer ids or rows than labels, or another suffix.
        """
        check_target(Path(path), (".parquet",), "file of labels")
        for name, values in (("ids", ids), ("rows", rows)):
            if values is not None and len(values) != len(self):
                raise InputError(
                    f"there are {len(values)} {name} for {len(self)} labels, expected one per label"
                )
        record = self._record | {"rate": self.rate, "digest": self.digest}
        if self.expected is not None:
            record["expected"] = self.expected.tolist()
        columns = self._columns
        ordered = {"given": columns.pop("given"), "true": columns.pop("true"), "flipped": self.flipped}
        if ids is not None:
            columns["id"] = np.array(list(map(plain_name, ids)), dtype=object)
        if rows is not None:
            columns["row"] = rows
        write_saved(Path(path), record, ordered | columns)

    @classmethod
    def load(cls, path: str | Path) -> NoisyLabels:
        """Return the labels that `save` wrote.

        Args:
            path: of the Parquet file.

        Raises:
            InputError: the file is missing, damaged, or of another kind.
        """
        record, columns = read_saved(Path(path))
        try:
            given, true, classes = columns["given"], columns["true"], record.get("classes")
            if classes is not None:
                classes = read_labels(classes).values[read_labels(classes).codes]
                given, true = values_of(given, classes), values_of(true, classes)
            return cls(
                given=given,
                true=true,
                spec=record["spec"],
                seed=record["seed"],
                num_classes=record["num_classes"],
                pairs=record["pairs"],
                index=columns.get("index"),
                foreign=columns.get("foreign"),
                expected=record.get("expected"),
                classes=classes,
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{path} is damaged ({error}); restore it or create it again") from None


def values_of(codes: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the values of class numbers; None for -1, the label of a foreign image.

    >>> values_of(np.array([1, 0]), np.array([2019, 2020]))
    array([2020, 2019])
    """
    if (codes >= 0).all():
        return np.asarray(classes[codes])
    values = np.array([*classes.tolist(), None], dtype=object)  # the last is that of -1
    return np.asarray(values[codes])


def codes_of(values: object, class_names: Sequence[str], what: str) -> np.ndarray:
    """Return the class numbers of labels of any kind, int64 (N,), by the names of the classes."""
    found = read_labels(values, what=what)
    number = {name: k for k, name in enumerate(class_names)}
    for k, name in enumerate(found.class_names):
        if name not in number:
            row = int((found.codes == k).argmax())
            raise InputError(f"{what}[{row}] is {name!r}, expected one of the classes {some(class_names)}")
    return np.asarray(np.array([number[name] for name in found.class_names], dtype=np.int64)[found.codes])


def steps_of(spec: str | NoiseSpec, num_classes: int, pairs: Pairs) -> tuple[Rows, ...] | None:
    """Return the transition matrices that a spec defines, as functions of rows; None if it defines none.

    Args:
        spec: the noise, or its canonical text.
        num_classes: K.
        pairs: the confusion map of the spec in class numbers, if it has one.
    """
    try:
        stages = NoiseSpec.parse(spec).stages
    except InputError:  # labels from elsewhere, or from a matrix passed as an array
        return None
    mapped = [stage for stage in stages if kind_of(stage).takes_map]
    if len(mapped) > 1 and any(map_of(stage) for stage in mapped):  # but `pairs` holds a single map
        return None
    steps: list[Rows] = []
    for stage in stages:
        of_stage = stage.pairs or (pairs if kind_of(stage).takes_map else ())
        found = convention_of(stage).transform.steps(num_classes, stage, of_stage)
        if found is None:
            return None
        steps += found
    return tuple(steps)
