"""The six transforms that every kind of noise in the catalog is a case of.

A noise is a chain of stages. Each maps a `NoiseState` (which examples there are, their given and true labels)
to the next one, and may use the `NoiseContext`, the set as it was before any stage. `Flip` sends labels
through transition matrices, `LoadMatrix` through one from a file, `FlipPerExample` gives every example a row
of its own, `Subset` keeps a part of the examples, `ReadLabels` reads labels from a file, and `ReplaceImages`
puts foreign images under labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, MutableSequence, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.rng import uniforms
from noisylabels.noise import sampling
from noisylabels.noise.checks import Pairs
from noisylabels.noise.stage import Stage
from noisylabels.noise.transition import Rows


@dataclass(frozen=True, eq=False)
class NoiseContext:
    """The set that noise is made on, as it was before any stage.

    Args:
        labels: (N,) int64 in [0, K).
        num_classes: K.
        seed: of every random number.
        class_names: K names, or None.
        images: (N, C, H, W) uint8, array or tensor, or None.
        ids: N names of the examples, or None.
        foreign: how many foreign images there are, or None.
        others: ids that a file of labels may name beside.
        notes: gets a line where a file has several columns that would do.
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

    def __post_init__(self) -> None:
        for what, names in (("ids", self.ids), ("others", self.others)):
            if names is not None and (isinstance(names, str) or not isinstance(names, Collection)):
                raise InputError(f"{what} are a {type(names).__name__}, expected a list of names")
        if self.ids is not None and len(self.ids) != len(self.labels):
            raise InputError(f"there are {len(self.ids)} ids and {len(self.labels)} labels")
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
    """What the stages so far have made of it, n examples.

    Args:
        index: (n,) int64, places in the set, ascending.
        given: (n,) int64 in [0, K).
        true: (n,) int64 in [0, K), or -1 for a foreign image, which has no true class here.
        foreign: (n,) int64, the place of the foreign image that stands here, or -1.
        drawn: how many draws of flips there were; each has random numbers of its own.
        steps: the transition matrices passed through, whose product is expected; None if there is none.
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
        """Return the state of a part of the examples, by places or as a mask."""
        names = ("index", "given", "true", "foreign")
        return replace(self, **{name: getattr(self, name)[chosen] for name in names})


class Transform(ABC):
    """One form of what a stage does."""

    @abstractmethod
    def __call__(self, context: NoiseContext, state: NoiseState, stage: Stage, pairs: Pairs) -> NoiseState:
        """Return the next state; `pairs` is the stage's confusion map in class numbers, empty without one."""

    def steps(self, num_classes: int, stage: Stage, pairs: Pairs) -> tuple[Rows, ...] | None:
        """Return the transition matrices that it consists of; None if the text does not name them."""
        return None


@dataclass(frozen=True)
class Flip(Transform):
    """Labels go through transition matrices, one after the other.

    Args:
        matrices: (num_classes, rate, pairs) -> their rows.
        exact: a step flips an exact count of each class instead of each example with a probability.
    """

    matrices: Callable[[int, float, Pairs], tuple[Rows, ...]]
    exact: bool = False

    def __call__(self, context: NoiseContext, state: NoiseState, stage: Stage, pairs: Pairs) -> NoiseState:
        """Draw the new labels."""
        return flipped(context, state, self.steps(context.num_classes, stage, pairs), exact=self.exact)

    def steps(self, num_classes: int, stage: Stage, pairs: Pairs) -> tuple[Rows, ...]:
        """Return the matrices' rows."""
        return self.matrices(num_classes, stage.rate or 0.0, pairs)


def flipped(
    context: NoiseContext, state: NoiseState, steps: Sequence[Rows], *, exact: bool = False
) -> NoiseState:
    """Return the state after labels went through `steps`."""
    given = state.given
    for rows in steps:
        # Drawn for the whole set, so that an example keeps its numbers whichever others are left.
        given = sampling.flip(given, rows, *_numbers(context, state), exact=exact)
        state = replace(state, given=given, drawn=state.drawn + 1)
    return replace(state, steps=None if state.steps is None else (*state.steps, *steps))


def _numbers(context: NoiseContext, state: NoiseState) -> tuple[np.ndarray, np.ndarray]:
    """Return two numbers in [0, 1) for each example: whether it flips, and where to."""
    step = (state.drawn,) if state.drawn else ()  # the one step of most noise needs no number in its name
    n = len(context.labels)
    whether, where = (
        uniforms(n, context.seed, "noise", word, *step)[state.index] for word in ("flip", "class")
    )
    return whether, where


@dataclass(frozen=True)
class LoadMatrix(Transform):
    """Labels go through a transition matrix from a file.

    Args:
        read: (path, context) -> the matrix, (K, K).
    """

    read: Callable[[str, NoiseContext], np.ndarray]

    def __call__(self, context: NoiseContext, state: NoiseState, stage: Stage, pairs: Pairs) -> NoiseState:
        """Read the matrix and draw the new labels."""
        return flipped(context, state, (sampling.rows_of(self.read(stage.file, context)),))


@dataclass(frozen=True)
class FlipPerExample(Transform):
    """Every example has a row of its own, made from its image and its label.

    Args:
        rows: (images, labels, rate, num_classes, seed) -> (n, K), rows sum to 1.
    """

    rows: Callable[[object, np.ndarray, float, int, int], np.ndarray]

    def __call__(self, context: NoiseContext, state: NoiseState, stage: Stage, pairs: Pairs) -> NoiseState:
        """Make the rows and draw the new labels."""
        if context.images is None:
            raise InputError(
                f"{stage.kind} noise looks at the images, and there are none; give images=, or take "
                "nl.corrupt_set or the command line, which have them"
            )
        if (state.foreign >= 0).any():
            raise InputError(
                f"{stage.kind} noise comes after foreign images, which it cannot see; put it first"
            )
        # Of the whole set, so that an example has the row that it would have with all the others there.
        labels = context.labels.copy()
        labels[state.index] = state.given
        rows = self.rows(context.images, labels, stage.rate or 0.0, context.num_classes, context.seed)
        rows = rows[state.index]
        given = sampling.flip_each(state.given, rows, *_numbers(context, state))
        # What is to be expected of the labels as the stages before drew them: exact where there are none.
        unseen = np.eye(context.num_classes)
        means: dict[int, np.ndarray] = {
            true: rows[state.true == true].mean(axis=0) for true in np.unique(state.true).tolist()
        }

        def expected(true: int) -> np.ndarray:
            row: np.ndarray = means.get(true, unseen[true])
            return row

        steps = None if state.steps is None else (expected,)
        return replace(state, given=given, drawn=state.drawn + 1, steps=steps)


@dataclass(frozen=True)
class Subset(Transform):
    """A part of each class is kept, the same for every set with these labels and this seed.

    Args:
        counts: (sizes of the classes (K,), rate) -> how many of each are kept, (K,).
    """

    counts: Callable[[np.ndarray, float], np.ndarray]

    def __call__(self, context: NoiseContext, state: NoiseState, stage: Stage, pairs: Pairs) -> NoiseState:
        """Keep the examples whose random numbers are the smallest of their class."""
        sizes = np.bincount(state.given, minlength=context.num_classes)
        counts = self.counts(sizes, stage.rate or 0.0)
        u = uniforms(len(context.labels), context.seed, "noise", stage.kind)[state.index]
        kept = np.zeros(len(u), dtype=bool)
        for label, members in sampling.by_class(state.given):
            kept[members[np.argsort(u[members], kind="stable")[: counts[label]]]] = True
        return state.take(kept)

    def steps(self, num_classes: int, stage: Stage, pairs: Pairs) -> tuple[Rows, ...]:
        """Return none: labels stay."""
        return ()


@dataclass(frozen=True)
class LoadedLabels:
    """Labels from outside: (N,) each in the order of the set, or (n,) with the places they belong to."""

    given: np.ndarray
    true: np.ndarray | None = None
    index: np.ndarray | None = None


@dataclass(frozen=True)
class ReadLabels(Transform):
    """Labels come from a file, in place of those before.

    Args:
        read: (path, the qualifier or "", context) -> the labels.
    """

    read: Callable[[str, str, NoiseContext], LoadedLabels]

    def __call__(self, context: NoiseContext, state: NoiseState, stage: Stage, pairs: Pairs) -> NoiseState:
        """Put the file's labels in place."""
        taken = self.read(stage.file, stage.word, context)
        places = np.arange(len(context.labels)) if taken.index is None else taken.index
        at = np.full(len(context.labels), -1, dtype=np.int64)
        at[places] = np.arange(len(places))
        state = state.take(at[state.index] >= 0)
        rows = at[state.index]
        true = state.true if taken.true is None else taken.true[rows]
        return replace(state, given=taken.given[rows], true=true, steps=None)


@dataclass(frozen=True)
class ReplaceImages(Transform):
    """Foreign images take the place of some, whose labels stay.

    Args:
        exact: an exact share of each class instead of each example with a probability.
    """

    exact: bool = False

    def __call__(self, context: NoiseContext, state: NoiseState, stage: Stage, pairs: Pairs) -> NoiseState:
        """Choose the examples, and for each a foreign image that no other has."""
        if context.foreign is None:
            raise InputError(
                f"{stage.kind} noise needs foreign images; give their number as foreign=, or take "
                "nl.corrupt_set or the command line, which load them"
            )
        rate = stage.rate or 0.0
        u = uniforms(len(context.labels), context.seed, "noise", stage.kind)[state.index]
        if self.exact:
            chosen = [
                members[np.argsort(u[members], kind="stable")[: sampling.share(rate, len(members))]]
                for _, members in sampling.by_class(state.given)
            ]
            swapped = np.concatenate(chosen)
        else:
            swapped = np.flatnonzero(u < rate)
        if len(swapped) > context.foreign:
            raise InputError(
                f"{stage} puts {len(swapped)} foreign images into the set, and there are {context.foreign}; "
                "take a lower rate or a larger foreign set"
            )
        # By rank, so that the images at a low rate are among those at a higher one, under the same labels.
        swapped = swapped[np.argsort(u[swapped], kind="stable")]
        order = np.argsort(
            uniforms(context.foreign, context.seed, "noise", stage.kind, "image"), kind="stable"
        )
        foreign, true = state.foreign.copy(), state.true.copy()
        foreign[swapped], true[swapped] = order[: len(swapped)], -1
        return replace(state, foreign=foreign, true=true)

    def steps(self, num_classes: int, stage: Stage, pairs: Pairs) -> tuple[Rows, ...]:
        """Return none: the labels of examples that have a true class stay."""
        return ()
