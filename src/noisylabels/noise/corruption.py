"""Corrupt clean labels by a noise spec."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableSequence, Sequence
from typing import Any

import numpy as np

from noisylabels.core.checks import InputError
from noisylabels.core.labels import Labels, name_of, number_labels, some
from noisylabels.core.positions import Positions
from noisylabels.noise import confusion_maps
from noisylabels.noise.checks import Pairs, check_class_names, check_num_classes, check_pairs
from noisylabels.noise.labels import NoisyLabels, steps_of, values_of
from noisylabels.noise.sampling import rows_of
from noisylabels.noise.spec import NoiseSpec, convention_of, kind_of, map_of
from noisylabels.noise.stage import Stage
from noisylabels.noise.transforms import NoiseContext, NoiseState, flipped
from noisylabels.noise.transition import chain, check_transition, matrix

MOST_EXPECTED = 1000
"""Most classes for which the expected matrix is stored where the spec does not define it."""


def corrupt(
    labels: object,
    spec: str | NoiseSpec | object,
    *,
    num_classes: int | None = None,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    pairs: Mapping[Any, Any] | None = None,
    images: object = None,
    ids: Sequence[str] | None = None,
    foreign: int | None = None,
    others: Collection[str] = (),
    notes: MutableSequence[str] | None = None,
    positions: Positions | None = None,
    id_column: str | None = None,
) -> NoisyLabels:
    """Return labels corrupted by a noise spec, with a record of the corruption.

    P(given = j | true = i) = T[i, j], T the matrix of the spec

    Args:
        labels: N labels of any kind, N >= 1: class numbers, other integers, text, bool; a list, an array, a
            tensor or a series. They are copied. The classes are those that occur, sorted, see `core.labels`.
        spec: such as "none", "symmetric:0.4", "symmetric:0.4@exact", "asymmetric:0.4@cifar10",
            "human:CIFAR-10_human.pt@worse", or several stages, "longtail:0.1 | symmetric:0.4"; all noise
            models and conventions are in `noise.catalog.KINDS`. Or a transition matrix, (K, K),
            T[true, given].
        num_classes: K; by default the number of class names or of rows of the matrix, else of different
            labels. Integers in [0, K) are class numbers; other labels must be of K different values.
        seed: 0 or more. The same labels, spec and seed give the same noisy labels on every platform. Each
            example has its own random numbers: the noisy labels at one rate are a subset of those at a
            higher rate, and the examples that a long tail keeps have the same labels as without it (except
            under `@exact` and `@sequential`, which count within a class, and in stages after the first).
        class_names: K names, in the order of the class numbers, which integers index from 0; they select the
            confusion map of asymmetric noise, and a file of labels or a matrix may use them.
        pairs: true class -> given class, in place of a named map of asymmetric noise; both as in `labels`, or
            by name.
        images: (N, C, H, W) uint8, for noise that depends on them.
        ids: N names of the examples, which a file of labels may use.
        foreign: the number of foreign images, for open-set noise. The result's `foreign` holds which of them
            replaces which image; `corrupt_set` replaces them.
        others: ids that a file of labels may also contain, such as those of test images.
        notes: receives a line where several columns of a file of labels could be used.
        positions: where the examples lie in the data whose order a file of labels without ids has; by default
            the data are these examples.
        id_column: the column of the ids in the data, if the user named it, which a file of labels may have.

    Returns:
        The noisy labels, `given` and `true` in the values of `labels`, with class numbers in `given_codes`
        and `true_codes`; their `spec` is canonical and names the map that was used. `index` holds the
        remaining examples if the noise removes some, and `foreign` the foreign images if it adds any.

    Raises:
        InputError: labels that `core.labels.read_labels` refuses, an invalid spec, a map that does not match
            the classes, a file that is missing or does not match, or a missing input that the noise needs.

    Source: the paper, section 3.1 and appendix A.2. Published implementations differ from it and from each
    other; the catalog has each as a convention after the @, with its source.

    >>> noisy = corrupt([0, 1, 2] * 1000, "symmetric:0.5", seed=1)
    >>> noisy
    NoisyLabels('symmetric:0.5', seed=1: 1463 of 3000 labels noisy (48.77 %), 3 classes)
    >>> corrupt([0, 1, 1], "asymmetric:1", pairs={1: 0}).given
    array([0, 0, 0])
    >>> corrupt([0, 1, 1], [[0, 1], [0, 1]]).given
    array([1, 1, 1])
    >>> corrupt(["cat", "dog", "dog"], "asymmetric:1", pairs={"dog": "cat"}).given.tolist()
    ['cat', 'cat', 'cat']
    """
    own = None if isinstance(spec, (str, NoiseSpec)) else _own_matrix(spec)
    names = None if class_names is None else check_class_names(class_names)
    for many, what in ((names, "class names"), (own, "rows in the transition matrix")):
        if many is not None:
            if num_classes not in (None, len(many)):
                raise InputError(
                    f"num_classes is {num_classes!r}, expected {len(many)} for {len(many)} {what}"
                )
            num_classes = len(many)
    if num_classes is not None:
        check_num_classes(num_classes)
    found = number_labels(labels, num_classes, class_names)
    true, K = found.codes, found.num_classes
    known = names if found.numbered else found.class_names  # what a file calls the classes
    if not found.numbered and found.values.dtype.kind not in "iufb":
        names = found.class_names
    notes = [] if notes is None else notes
    context = NoiseContext(true, K, seed, known, images, ids, foreign, others, notes, positions, id_column)
    state = NoiseState.of(true)
    numbers: Pairs = ()
    if own is not None:
        state, text, defined = flipped(context, state, (rows_of(own),)), "matrix", False
    else:
        spec, each = _resolved(NoiseSpec.parse(spec), names, _numbered(pairs, found), found)
        for stage, stage_pairs in zip(spec.stages, each, strict=True):
            state = convention_of(stage).transform(context, state, stage, stage_pairs)
        text = str(spec)
        mapped = [numbers for numbers in each if numbers]
        numbers = mapped[0] if len(mapped) == 1 else ()  # of several, each stage's text has its own
        defined = steps_of(spec, K, numbers) is not None  # the spec defines the matrix: no need to store it
    expected = None
    if not defined and state.steps is not None and K <= MOST_EXPECTED:
        expected = matrix(K, chain(K, state.steps))
    classes = None if found.numbered else found.values
    given, before = state.given, state.true
    if classes is not None:
        given, before = values_of(given, classes), values_of(before, classes)
    return NoisyLabels(
        given,
        before,
        text,
        seed,
        K,
        numbers,
        index=None if len(state.index) == len(true) else state.index,
        foreign=state.foreign if (state.foreign >= 0).any() else None,
        expected=expected,
        classes=classes,
    )


def _numbered(pairs: Mapping[Any, Any] | None, found: Labels) -> Mapping[Any, Any] | None:
    """Return pairs of classes in class numbers; what is no class stays, and is refused later."""
    if pairs is None or not isinstance(pairs, Mapping):
        return pairs
    number = {name: k for k, name in enumerate(found.class_names)}

    def code(label: Any) -> Any:
        return label if found.numbered and not isinstance(label, str) else number.get(name_of(label), label)

    if not found.numbered and (
        strange := [c for pair in pairs.items() for c in pair if name_of(c) not in number]
    ):
        raise InputError(f"pairs name {strange[0]!r}, expected one of the classes {some(found.class_names)}")
    return {code(true): code(given) for true, given in pairs.items()}


def _own_matrix(transition: object) -> np.ndarray:
    if transition is None or isinstance(transition, (int, float)):
        raise InputError(f"noise is {transition!r}, expected text such as 'symmetric:0.4' or a (K, K) matrix")
    return check_transition(transition)


def _resolved(
    spec: NoiseSpec, names: tuple[str, ...] | None, pairs: Mapping[int, int] | None, labels: Labels
) -> tuple[NoiseSpec, list[Pairs]]:
    """Return the spec with its confusion maps named, and the map of each stage in class numbers."""
    taking = [stage for stage in spec.stages if kind_of(stage).takes_map]
    if pairs is not None and not taking:
        raise InputError(
            f"pairs are given, and {spec} noise uses none; write asymmetric:RATE or leave them out"
        )
    if not labels.numbered and labels.values.dtype.kind in "iuf":
        for stage in taking:
            if stage.pairs:  # class 1 or the value 1?
                raise InputError(
                    f"{str(stage)!r} names class numbers, and the labels are the integers "
                    f"{some(labels.class_names)}; pass pairs={{true: given}} in these"
                )
    found = [_with_pairs(stage, names, pairs, labels.num_classes) for stage in spec.stages]
    return NoiseSpec(tuple(stage for stage, _ in found)), [numbers for _, numbers in found]


def _with_pairs(
    stage: Stage, names: tuple[str, ...] | None, pairs: Mapping[int, int] | None, num_classes: int
) -> tuple[Stage, Pairs]:
    if not kind_of(stage).takes_map:
        return stage, ()
    if pairs is not None:
        if map_of(stage) or stage.pairs:
            raise InputError(
                f"pairs are given, and {str(stage)!r} also names a confusion map; leave one of them out"
            )
        numbers = check_pairs(pairs, num_classes)
        return stage.with_pairs(numbers), numbers
    if stage.pairs:
        return stage, check_pairs(stage.pairs, num_classes)
    name, numbers = confusion_maps.resolve(map_of(stage), names, num_classes)
    return stage.with_map(name), numbers
