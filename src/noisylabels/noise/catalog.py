"""The kinds of label noise: one row each, and the conventions in which codes apply them.

A row says everything that the rest of the project knows about a kind: how it is written, what it
means, where it comes from, and how it is drawn. The same rate means different labels under different
conventions of the literature, so a convention is part of the name of the noise and of its record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from noisylabels.core.registry import Registry
from noisylabels.noise.checks import Pairs
from noisylabels.noise.transition import Rows, asymmetric_rows, sequential_steps, symmetric_rows, uniform_rows


@dataclass(frozen=True)
class Convention:
    """One way in which a kind of noise is applied.

    Args:
        title: one line for people.
        source: authors, year, and where.
        steps: (num_classes, rate, pairs) -> rows of the transition matrices through which labels go,
            one after the other.
        exact: whether a step flips an exact count of each class or each example by itself.
    """

    title: str
    source: str
    steps: Callable[[int, float, Pairs], tuple[Rows, ...]]
    exact: bool = False


@dataclass(frozen=True)
class NoiseKind:
    """One kind of noise, as ``noisylabels list noise`` shows it.

    Args:
        form: how it is written.
        title: one line for people.
        equation: its transition matrix.
        default: the convention that is meant when none is named.
        conventions: the others, by the word after the @.
        takes_rate: whether a rate belongs to it.
        takes_map: whether a confusion map belongs to it.
    """

    form: str
    title: str
    equation: str
    default: Convention
    conventions: Mapping[str, Convention] = field(default_factory=dict)
    takes_rate: bool = True
    takes_map: bool = False

    @property
    def source(self) -> str:
        """The source of the default convention."""
        return self.default.source


KINDS: Registry[NoiseKind] = Registry("noise")

KINDS.add(
    "none",
    NoiseKind(
        form="none",
        title="the labels as they are",
        equation="T = I",
        default=Convention(title="nothing is flipped", source="", steps=lambda K, rate, pairs: ()),
        takes_rate=False,
    ),
)

KINDS.add(
    "symmetric",
    NoiseKind(
        form="symmetric:RATE[@exact|@uniform]",
        title="each label flips with probability η, to any other class alike",
        equation="T[i, i] = 1 - η, T[i, j] = η / (K - 1)",
        default=Convention(
            title="each example by itself, always to another class: η is the share of wrong labels",
            source="the study, section 3.1; Ghosh et al. 2017",
            steps=lambda K, rate, pairs: (symmetric_rows(K, rate),),
        ),
        conventions={
            # Their count is int(int(η N) / K) for every class; ours is floor(η n) of a class of n, the
            # same where classes are of one size, and defined where they are not. Where 0.29 * 100
            # comes out as 28.999999999999996 they flip 28 and we 29.
            "exact": Convention(
                title="an exact share of each class, floor(η n) of n, always to another class",
                source="Ma et al. 2020, dataset.py",
                steps=lambda K, rate, pairs: (symmetric_rows(K, rate),),
                exact=True,
            ),
            "uniform": Convention(
                title="the new label is drawn from all K classes: η (K - 1) / K of the labels are wrong",
                source="Li et al. 2020 (DivideMix), dataloader_cifar.py",
                steps=lambda K, rate, pairs: (uniform_rows(K, rate),),
            ),
        },
    ),
)

KINDS.add(
    "asymmetric",
    NoiseKind(
        form="asymmetric:RATE[@MAP,sequential]",
        title="some classes are taken for one similar class, with probability η",
        equation="T[i, i] = 1 - η, T[i, map(i)] = η for the classes of the map",
        default=Convention(
            title="each example by itself, all pairs at once",
            source="the study, section 3.1 and appendix A.2; Patrini et al. 2017",
            steps=lambda K, rate, pairs: (asymmetric_rows(K, rate, pairs),),
        ),
        conventions={
            "sequential": Convention(
                title="pair after pair, an exact share of the labels that the last pair left: "
                "flipped cats can flip back as dogs",
                source="Ma et al. 2020, dataset.py",
                steps=sequential_steps,
                exact=True,
            ),
        },
        takes_map=True,
    ),
)
