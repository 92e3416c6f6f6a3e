"""The supported noise models, one row each, with the conventions under which published code applies them.

A row holds everything that the rest of the project knows about a noise model: its syntax, its equation, its
source, and how it is sampled. The same rate means different labels under different conventions of the
literature, so the convention is part of the noise's name and of its record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from noisylabels.core.registry import Registry
from noisylabels.noise import imbalance, label_sources
from noisylabels.noise.instance import feature_projection, part_dependent
from noisylabels.noise.transforms import (
    Flip,
    FlipPerExample,
    LoadMatrix,
    ReadLabels,
    ReplaceImages,
    Subset,
    Transform,
)
from noisylabels.noise.transition import (
    asymmetric_rows,
    pairflip_rows,
    sequential_steps,
    symmetric_rows,
    uniform_rows,
)


@dataclass(frozen=True)
class Convention:
    """One convention for applying a noise model.

    Args:
        title: one line for users.
        source: authors, year, and where.
        transform: how labels are changed.
    """

    title: str
    source: str
    transform: Transform


@dataclass(frozen=True)
class NoiseKind:
    """One noise model, as ``noisylabels list noise`` shows it.

    Args:
        form: its syntax.
        title: one line for users.
        equation: its transition matrix, or whatever else defines it.
        default: the convention used when none is named.
        conventions: the others, by the word after the @.
        takes: the value after the colon: "rate", in [0, 1]; "ratio", in (0, 1]; "file"; "nothing".
        takes_map: whether it uses a confusion map.
        word: what a free word after the @ names, such as "COLUMN"; empty if none is allowed.
        word_needed: whether the word is required.
        spell: returns the canonical form of that word.
        needs: what it needs besides labels: "images", "foreign images"; empty for nothing.
        first: whether it must be the first stage that changes labels, because it replaces all of them.
    """

    form: str
    title: str
    equation: str
    default: Convention
    conventions: Mapping[str, Convention] = field(default_factory=dict)
    takes: str = "rate"
    takes_map: bool = False
    word: str = ""
    word_needed: bool = False
    spell: Callable[[str], str] = str
    needs: str = ""
    first: bool = False

    @property
    def source(self) -> str:
        """The source of the default convention."""
        return self.default.source


KINDS: Registry[NoiseKind] = Registry("noise")
"""Noise models by name, as in ``KIND:RATE``."""

KINDS.add(
    "none",
    NoiseKind(
        form="none",
        title="no noise: the labels stay as they are",
        equation="T = I",
        default=Convention(title="no label flips", source="", transform=Flip(lambda K, rate, pairs: ())),
        takes="nothing",
    ),
)

_symmetric = Flip(lambda K, rate, pairs: (symmetric_rows(K, rate),))
KINDS.add(
    "symmetric",
    NoiseKind(
        form="symmetric:RATE[@exact|@uniform]",
        title="each label flips with probability η, uniformly to the other classes",
        equation="T[i, i] = 1 - η, T[i, j] = η / (K - 1)",
        default=Convention(
            title="independent per example, always to another class: η is the noise rate",
            source="the paper, section 3.1; Ghosh et al. 2017",
            transform=_symmetric,
        ),
        conventions={
            # Their count is int(int(η N) / K) for every class; ours is floor(η n) for a class of n examples:
            # equal for classes of equal size, and defined for others. Where 0.29 * 100 evaluates to
            # 28.999999999999996, they flip 28 and we flip 29.
            "exact": Convention(
                title="exactly floor(η n) of the n labels of each class flip, always to another class",
                source="Ma et al. 2020, dataset.py",
                transform=Flip(_symmetric.matrices, exact=True),
            ),
            "uniform": Convention(
                title="labels are redrawn from all K classes: the noise rate is η (K - 1) / K",
                source="Li et al. 2020 (DivideMix), dataloader_cifar.py",
                transform=Flip(lambda K, rate, pairs: (uniform_rows(K, rate),)),
            ),
        },
    ),
)

KINDS.add(
    "asymmetric",
    NoiseKind(
        form="asymmetric:RATE[@MAP,exact|sequential]",
        title="labels of some classes flip to one similar class, with probability η",
        equation="T[i, i] = 1 - η, T[i, map(i)] = η for the classes of the map",
        default=Convention(
            title="independent per example, all pairs at once",
            source="the paper, section 3.1 and appendix A.2; Patrini et al. 2017",
            transform=Flip(lambda K, rate, pairs: (asymmetric_rows(K, rate, pairs),)),
        ),
        conventions={
            "exact": Convention(
                title="exactly floor(η n) of the n labels of each class of the map flip",
                source="the count of Ma et al. 2020 for symmetric noise, with the pairs of the paper",
                transform=Flip(lambda K, rate, pairs: (asymmetric_rows(K, rate, pairs),), exact=True),
            ),
            "sequential": Convention(
                title="one pair after the other, each an exact share of the labels left by the one before: "
                "cats flipped to dog can flip back",
                source="Ma et al. 2020, dataset.py",
                transform=Flip(sequential_steps, exact=True),
            ),
        },
        takes_map=True,
    ),
)

KINDS.add(
    "pairflip",
    NoiseKind(
        form="pairflip:RATE",
        title="labels flip to the next class, with probability η",
        equation="T[i, i] = 1 - η, T[i, (i + 1) mod K] = η",
        default=Convention(
            title="independent per example",
            source="Han et al. 2018 (Co-teaching), section 4",
            transform=Flip(lambda K, rate, pairs: (pairflip_rows(K, rate),)),
        ),
    ),
)

KINDS.add(
    "matrix",
    NoiseKind(
        form="matrix:FILE",
        title="your own transition matrix, from a .csv, .tsv or .npy file",
        equation="T[true, given] as in the file, rows sum to 1",
        default=Convention(
            title="independent per example",
            source="Patrini et al. 2017",
            transform=LoadMatrix(label_sources.transition_from),
        ),
        takes="file",
    ),
)

KINDS.add(
    "instance",
    NoiseKind(
        form="instance:RATE[@parts]",
        title="each image has its own flip probability, and its pixels choose the class",
        equation="q_n ~ N(η, 0.1²) cut to [0, 1], P(j | x_n, y) = q_n softmax_(j≠y)(x_n W_y)_j",
        default=Convention(
            title="the authors' generator, on standardized pixels",
            source="Xia et al. 2020, part-dependent label noise, tools.py",
            transform=FlipPerExample(part_dependent),
        ),
        conventions={
            "parts": Convention(
                title="their model as a generator: ten parts by NMF, each with its own transition matrix",
                source="after Xia et al. 2020, section 3",
                transform=FlipPerExample(partial(part_dependent, parts=10)),
            ),
        },
        needs="images",
    ),
)

KINDS.add(
    "projection",
    NoiseKind(
        form="projection:RATE",
        title="images near the boundary to the next class, in a random projection, flip most often",
        equation="P(s_n | x_n, y) = σ((b - m_n) / t), m_n the distance from the boundary, of mean η",
        default=Convention(
            title="independent per example",
            source="after Menon et al. 2018 and Zhang et al. 2021 (PMD)",
            transform=FlipPerExample(feature_projection),
        ),
        needs="images",
    ),
)

KINDS.add(
    "human",
    NoiseKind(
        form="human:FILE[@COLUMN]",
        title="human annotations of CIFAR-10 or CIFAR-100, from the authors' files or Parquet",
        equation="none: annotators' own labels",
        default=Convention(
            title="columns aggre, worse, random1, random2, random3; fine, coarse",
            source="Wei et al. 2022 (CIFAR-N)",
            transform=ReadLabels(label_sources.human_labels),
        ),
        takes="file",
        word="COLUMN",
        spell=label_sources.short_name,
        first=True,
    ),
)

KINDS.add(
    "labels",
    NoiseKind(
        form="labels:FILE",
        title="labels from a file (CSV, Parquet, NumPy, JSON, text), or saved by an earlier --out",
        equation="none: the labels in the file",
        default=Convention(
            title="the labels of the set count as true, unless the file has true labels",
            source="your own",
            transform=ReadLabels(label_sources.labels_from),
        ),
        takes="file",
        first=True,
    ),
)

KINDS.add(
    "openset",
    NoiseKind(
        form="openset:RATE@DATA[,exact]",
        title="images of another data set replace some images, whose labels stay",
        equation="each image is replaced with probability η; a foreign image has no true class",
        default=Convention(
            title="independent per example",
            source="Wang et al. 2018 (open-set noisy labels)",
            transform=ReplaceImages(),
        ),
        conventions={
            "exact": Convention(
                title="exactly floor(η n) of the n images of each class",
                source="Wang et al. 2018, section 4",
                transform=ReplaceImages(exact=True),
            ),
        },
        word="DATA",
        word_needed=True,
        spell=label_sources.set_name,
        needs="foreign images",
    ),
)

KINDS.add(
    "longtail",
    NoiseKind(
        form="longtail:RATIO[@step]",
        title="class sizes decrease from the first to a share r of it; no label changes",
        equation="n_k = floor(n_max r^(k / (K - 1)))",
        default=Convention(
            title="sizes decrease exponentially",
            source="Cui et al. 2019; Cao et al. 2019 (LDAM)",
            transform=Subset(imbalance.long_tail),
        ),
        conventions={
            "step": Convention(
                title="the second half of the classes shrinks to the share r",
                source="Buda et al. 2018; Cao et al. 2019 (LDAM)",
                transform=Subset(imbalance.step),
            ),
        },
        takes="ratio",
    ),
)
