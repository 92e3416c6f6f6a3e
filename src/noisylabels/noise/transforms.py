"""The six transforms that every noise model of the catalog is an instance of.

A noise is a chain of stages. Each maps a `NoiseState` (the remaining examples with their given and true
labels) to the next one, and may use the `NoiseContext`, the set before any stage. `Flip` applies transition
matrices, `LoadMatrix` one from a file, and `FlipPerExample` one row per example; `Subset` keeps part of the
examples, `ReadLabels` reads labels from a file, and `ReplaceImages` replaces images by foreign ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, MutableSequence, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.positions import Positions
from noisylabels.core.rng import uniforms
from noisylabels.noise import sampling
from noisylabels.noise.checks import Pairs
from noisylabels.noise.stage import Stage
from noisylabels.noise.transition import Rows


@dataclass(frozen=True, eq=False)
class NoiseContext:
    """The set that noise is added to, as it was before any stage.

    Args:
        labels: (N,) int64 in [0, K).
        num_classes: K.
        seed: of all random numbers.
        class_names: K names, or None.
        images: (N, C, H, W) uint8, array or tensor, or None.
        ids: N names of the examples, or None.
        foreign: the number of foreign images, or None.
        others: ids that a file of labels may also contain.
        notes: receives a line where several columns of a file could be used.
        positions: where the examples lie in the data, or None.
        id_column: the column of the ids in the data, if the user named it.
    """

    labels: np.ndarray
    num_classes: int
    seed: int
    class_names: Sequence[str] | None = None
    images: object = None
    ids: Sequence[str] | None = None
    foreign: int | None = None
    others: Collection[str] = ()
    notes: MutableSequence[str] = field(default_factory=list)
    positions: Positions | None = None
    id_column: str | None = None

    def __post_init__(self) -> None:
        for what, names in (("ids", self.ids), ("others", self.others)):
            if names is not None and (isinstance(names, str) or not isinstance(names, Collection)):
                raise InputError(f"{what} are a {type(names).__name__}, expected a list of names")
        if self.ids is not None and len(self.ids) != len(self.labels):
            raise InputError(
                f"there are {len(self.ids)} ids and {len(self.labels)} labels, expected one id per label"
            )
        if self.foreign is not None and (
            isinstance(self.foreign, bool)
            or not isinstance(self.foreign, (int, np.integer))
            or self.foreign < 1
        ):
            shown = (
                repr(self.foreign) if isinstance(self.foreign, (int, float)) else type(self.foreign).__name__
            )
            raise InputError(f"foreign is {shown}, expected the number of foreign images, 1 or more")


@dataclass(frozen=True, eq=False)
class NoiseState:
    """The n examples that the stages so far have left, with their labels.

    Args:
        index: (n,) int64, positions in the set, ascending.
        given: (n,) int64 in [0, K).
        true: (n,) int64 in [0, K), or -1 for a foreign image, which has no true class here.
        foreign: (n,) int64, the index of the foreign image at this position, or -1.
        drawn: the number of flip steps so far; each has its own random numbers.
        steps: the transition matrices applied so far, whose product is the nominal one; None if unknown.
    """

    index: np.ndarray
    given: np.ndarray
    true: np.ndarray
    foreign: np.ndarray
    drawn: int = 0
    steps: tuple[Rows, ...] | None = ()

    @classmethod
    def of(cls, labels: np.ndarray) -> NoiseState:
        """Return the state before the first stage."""
        return cls(np.arange(len(labels)), labels, labels, np.full(len(labels), -1, dtype=np.int64))

    def take(self, chosen: np.ndarray) -> NoiseState:
        """Return the state of part of the examples, chosen by positions or by a mask."""
        names = ("index", "given", "true", "foreign")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})


class Transform(ABC):
    """The change that a stage makes to a state."""

    @abstractmethod
    def __call__(self, context: NoiseContext, state: NoiseState, stage: Stage, pairs: Pairs) -> NoiseState:
        """Return the next state; `pairs` is the stage's confusion map in class numbers, empty without one."""

    def steps(self, num_classes: int, stage: Stage, pairs: Pairs) -> tuple[Rows, ...] | None:
        """Return the transition matrices that it applies; None if the spec alone does not define them."""
        return None


@dataclass(frozen=True)
class Flip(Transform):
    """Flips labels by transition matrices, one after the other.

    Args:
        matrices: (num_classes, rate, pairs) -> the rows of each.
        exact: a step flips an exact count of each class instead of each example with a probability.
    """

    matrices: Callable[[int, float, Pairs], tuple[Rows, ...]]
    exact: bool = False

    def __call__(self, context: NoiseContext, state: NoiseState, stage: Stage, pairs: Pairs) -> NoiseState:
        """Draw the new labels."""
        return flipped(context, state, self.steps(context.num_classes, stage, pairs), exact=self.exact)

    def steps(self, num_classes: int, stage: Stage, pairs: Pairs) -> tuple[Rows, ...]:
        """Return the rows of the matrices."""
        return self.matrices(num_classes, stage.rate or 0.0, pairs)


def flipped(
    context: NoiseContext, state: NoiseState, steps: Sequence[Rows], *, exact: bool = False
) -> NoiseState:
    """Return the state with labels flipped by the transition matrices `steps`."""
    given = state.given
    for rows in steps:
        # Drawn for the whole set, so that an example's numbers do not depend on which others are left.
        given = sampling.flip(given, rows, *_numbers(context, state), exact=exact)
        state = replace(state, given=given, drawn=state.drawn + 1)
    return replace(state, steps=None if state.steps is None else (*state.steps, *steps))


def _numbers(context: NoiseContext, state: NoiseState) -> tuple[np.ndarray, np.ndarray]:
    """Return two numbers in [0, 1) per example: whether it flips, and to which class."""
    step = (state.drawn,) if state.drawn else ()  # the first step has no number in its stream's name
    n = len(context.labels)
    whether, where = (
        uniforms(n, context.seed, "noise", word, *step)[state.index] for word in ("flip", "class")
    )
    return whether, where


@dataclass(frozen=True)
class LoadMatrix(Transform):
    """Flips labels by a transition matrix from a file.

    Args:
        read: (path, context) -> the matrix, (K, K).
    """

    read: Callable[[str, NoiseContext], np.ndarray]

    def __call__(self, context: NoiseContext, state: NoiseState, stage: Stage, pairs: Pairs) -> NoiseState:
        """Read the matrix and draw the new labels."""
        return flipped(context, state, (sampling.rows_of(self.read(stage.file, context)),))


@dataclass(frozen=True)
class FlipPerExample(Transform):
    """Flips each label by its own row, computed from image and label.

    Args:
        rows: (images, labels, rate, num_classes, seed) -> (n, K), rows sum to 1.
    """

    rows: Callable[[object, np.ndarray, float, int, int], np.ndarray]

    def __call__(self, context: NoiseContext, state: NoiseState, stage: Stage, pairs: Pairs) -> NoiseState:
        """Compute the rows and draw the new labels."""
        if context.images is None:
            raise InputError(
                f"{stage.kind} noise depends on the images, and none are given; pass images=, or use "
                "nl.corrupt_set or the command line, which have them"
            )
        if (state.foreign >= 0).any():
            raise InputError(
                f"{stage.kind} noise comes after foreign images, which it cannot use; write it first"
            )
        # For the whole set, so that an example's row does not depend on which others are left.
        labels = context.labels.copy()
        labels[state.index] = state.given
        rows = self.rows(context.images, labels, stage.rate or 0.0, context.num_classes, context.seed)
        rows = rows[state.index]
        given = sampling.flip_each(state.given, rows, *_numbers(context, state))
        # The nominal rows given the labels that earlier stages drew; exact for the first stage.
        identity = np.eye(context.num_classes)
        means: dict[int, np.ndarray] = {
            true: rows[state.true == true].mean(axis=0) for true in np.unique(state.true).tolist()
        }

        def expected(true: int) -> np.ndarray:
            row: np.ndarray = means.get(true, identity[true])
            return row

        steps = None if state.steps is None else (expected,)
        return replace(state, given=given, drawn=state.drawn + 1, steps=steps)


@dataclass(frozen=True)
class Subset(Transform):
    """Keeps part of each class, the same examples for the same labels and seed.

    Args:
        counts: (class sizes (K,), rate) -> the number of examples to keep of each class, (K,).
    """

    counts: Callable[[np.ndarray, float], np.ndarray]

    def __call__(self, context: NoiseContext, state: NoiseState, stage: Stage, pairs: Pairs) -> NoiseState:
        """Keep the examples with the smallest random numbers of their class."""
        sizes = np.bincount(state.given, minlength=context.num_classes)
        counts = self.counts(sizes, stage.rate or 0.0)
        u = uniforms(len(context.labels), context.seed, "noise", stage.kind)[state.index]
        kept = np.zeros(len(u), dtype=bool)
        for label, members in sampling.by_class(state.given):
            kept[members[np.argsort(u[members], kind="stable")[: counts[label]]]] = True
        return state.take(kept)

    def steps(self, num_classes: int, stage: Stage, pairs: Pairs) -> tuple[Rows, ...]:
        """Return no matrix: labels do not change."""
        return ()


@dataclass(frozen=True)
class LoadedLabels:
    """Labels from a file: (N,) in the order of the set, or (n,) with `index`, their positions in the set."""

    given: np.ndarray
    true: np.ndarray | None = None
    index: np.ndarray | None = None


@dataclass(frozen=True)
class ReadLabels(Transform):
    """Replaces all labels by those of a file.

    Args:
        read: (path, the qualifier or "", context) -> the labels.
    """

    read: Callable[[str, str, NoiseContext], LoadedLabels]

    def __call__(self, context: NoiseContext, state: NoiseState, stage: Stage, pairs: Pairs) -> NoiseState:
        """Read the labels, and drop examples without one."""
        loaded = self.read(stage.file, stage.word, context)
        positions = np.arange(len(context.labels)) if loaded.index is None else loaded.index
        row_of = np.full(len(context.labels), -1, dtype=np.int64)
        row_of[positions] = np.arange(len(positions))
        state = state.take(row_of[state.index] >= 0)
        rows = row_of[state.index]
        true = state.true if loaded.true is None else loaded.true[rows]
        return replace(state, given=loaded.given[rows], true=true, steps=None)


@dataclass(frozen=True)
class ReplaceImages(Transform):
    """Replaces some images by foreign ones; their labels stay.

    Args:
        exact: replace an exact share of each class instead of each image with a probability.
    """

    exact: bool = False

    def __call__(self, context: NoiseContext, state: NoiseState, stage: Stage, pairs: Pairs) -> NoiseState:
        """Choose the examples, and a different foreign image for each."""
        if context.foreign is None:
            raise InputError(
                f"{stage.kind} noise needs foreign images, and none are given; pass their number as "
                "foreign=, or use nl.corrupt_set or the command line, which load them"
            )
        rate = stage.rate or 0.0
        u = uniforms(len(context.labels), context.seed, "noise", stage.kind)[state.index]
        if self.exact:
            chosen = [
                members[np.argsort(u[members], kind="stable")[: sampling.share(rate, len(members))]]
                for _, members in sampling.by_class(state.given)
            ]
            replaced = np.concatenate(chosen)
        else:
            replaced = np.flatnonzero(u < rate)
        if len(replaced) > context.foreign:
            raise InputError(
                f"{stage} needs {len(replaced)} foreign images, and there are {context.foreign}; "
                "use a lower rate or a larger foreign set"
            )
        # By rank, so that images replaced at a low rate are replaced by the same ones at a higher rate.
        replaced = replaced[np.argsort(u[replaced], kind="stable")]
        order = np.argsort(
            uniforms(context.foreign, context.seed, "noise", stage.kind, "image"), kind="stable"
        )
        foreign, true = state.foreign.copy(), state.true.copy()
        foreign[replaced], true[replaced] = order[: len(replaced)], -1
        return replace(state, foreign=foreign, true=true)

    def steps(self, num_classes: int, stage: Stage, pairs: Pairs) -> tuple[Rows, ...]:
        """Return no matrix: the labels of examples with a true class do not change."""
        return ()
