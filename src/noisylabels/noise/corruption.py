"""From clean labels and the text of a noise to noisy labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from noisylabels.core.checks import InputError
from noisylabels.noise import maps, sampling
from noisylabels.noise.catalog import KINDS
from noisylabels.noise.checks import Pairs, check_class_names, check_labels, check_num_classes, check_pairs
from noisylabels.noise.labels import NoisyLabels
from noisylabels.noise.spec import NoiseSpec


def corrupt(
    labels: object,
    spec: str | NoiseSpec,
    *,
    num_classes: int | None = None,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    pairs: Mapping[int, int] | None = None,
) -> NoisyLabels:
    """Corrupt labels as a spec says, and keep the record of it.

    P(given = j | true = i) = T[i, j], T the matrix of the spec

    Args:
        labels: (N,) integers in [0, K), N >= 1: list, NumPy array or torch tensor. They are copied.
        spec: such as "none", "symmetric:0.4", "symmetric:0.4@exact", "asymmetric:0.4@cifar10"; all
            kinds and conventions are in `noise.catalog.KINDS`.
        num_classes: K; by default as many as there are class names, else the largest label + 1.
        seed: 0 or more. Labels and spec being equal, the same seed gives the same noisy labels on
            every platform, and those of two rates of the same noise are nested.
        class_names: K names, in the order of the class numbers; by them asymmetric noise finds its
            confusion map.
        pairs: true class -> the class given for it, in place of a named map of asymmetric noise.

    Returns:
        The noisy labels; their `spec` is canonical and names the map that was used.

    Raises:
        InputError: labels that are not class numbers, a spec that cannot be read, a map that does not
            fit the classes.

    Source: the study, section 3.1 and appendix A.2. The codes that papers share differ from it and
    from each other; their ways are conventions after the @, each with its source, in the catalog.

    >>> noisy = corrupt([0, 1, 2] * 1000, "symmetric:0.5", seed=1)
    >>> noisy
    NoisyLabels('symmetric:0.5', seed=1: 1463 of 3000 labels wrong (48.77 %), 3 classes)
    >>> corrupt([0, 1, 1], "asymmetric:1", pairs={1: 0}).given
    array([0, 0, 0])
    """
    spec = NoiseSpec.parse(spec)
    names = None if class_names is None else check_class_names(class_names)
    if names is not None:
        if num_classes not in (None, len(names)):
            raise InputError(f"num_classes is {num_classes!r} and there are {len(names)} class names")
        num_classes = len(names)
    if num_classes is not None:
        check_num_classes(num_classes)
    true = check_labels(labels, num_classes)
    K = int(true.max()) + 1 if num_classes is None else int(num_classes)
    spec, numbers = _with_pairs(spec, names, pairs, K)
    convention = spec.convention
    steps = convention.steps(K, spec.rate, numbers)
    given = sampling.draw(true, steps, seed, exact=convention.exact)
    return NoisyLabels(given, true, str(spec), seed, K, numbers)


def _with_pairs(
    spec: NoiseSpec, names: tuple[str, ...] | None, pairs: Mapping[int, int] | None, num_classes: int
) -> tuple[NoiseSpec, Pairs]:
    """Return the spec with its confusion map written out, and the map in class numbers."""
    if not KINDS[spec.kind].takes_map:
        if pairs is not None:
            raise InputError(
                f"pairs came, and {spec.kind} noise takes none; write asymmetric:RATE or leave them out"
            )
        return spec, ()
    if pairs is not None:
        if spec.map_name or spec.pairs:
            raise InputError(
                f"pairs came, and {str(spec)!r} names a confusion map too; leave one of them out"
            )
        numbers = check_pairs(pairs, num_classes)
        return spec.with_pairs(numbers), numbers
    if spec.pairs:
        return spec, check_pairs(spec.pairs, num_classes)
    name, numbers = maps.resolve(spec.map_name, names, num_classes)
    return spec.with_map(name), numbers
