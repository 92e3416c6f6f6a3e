"""The kinds of label noise: one row each, and the conventions in which codes apply them.

A row says everything that the rest of the project knows about a kind: how it is written, what it
means, where it comes from, and how it is drawn. The same rate means different labels under different
conventions of the literature, so a convention is part of the name of the noise and of its record.
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
    """One way in which a kind of noise is applied.

    Args:
        title: one line for people.
        source: authors, year, and where.
        act: what it does.
    """

    title: str
    source: str
    transform: Transform


@dataclass(frozen=True)
class NoiseKind:
    """One kind of noise, as ``noisylabels list noise`` shows it.

    Args:
        form: how it is written.
        title: one line for people.
        equation: its transition matrix, or what else defines it.
        default: the convention that is meant when none is named.
        conventions: the others, by the word after the @.
        takes: what stands after the colon: "rate", in [0, 1]; "ratio", in (0, 1]; "file"; "nothing".
        takes_map: whether a confusion map belongs to it.
        word: what a free word after the @ names, such as "COLUMN"; empty if there is none.
        word_needed: whether the word must be there.
        spell: gives the canonical form of that word.
        needs: what it needs beside labels: "images", "foreign images"; empty for nothing.
        first: whether no noise may stand before it, because it would be lost.
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

KINDS.add(
    "none",
    NoiseKind(
        form="none",
        title="the labels as they are",
        equation="T = I",
        default=Convention(title="nothing is flipped", source="", transform=Flip(lambda K, rate, pairs: ())),
        takes="nothing",
    ),
)

_symmetric = Flip(lambda K, rate, pairs: (symmetric_rows(K, rate),))
KINDS.add(
    "symmetric",
    NoiseKind(
        form="symmetric:RATE[@exact|@uniform]",
        title="each label flips with probability η, to any other class alike",
        equation="T[i, i] = 1 - η, T[i, j] = η / (K - 1)",
        default=Convention(
            title="each example by itself, always to another class: η is the share of wrong labels",
            source="the study, section 3.1; Ghosh et al. 2017",
            transform=_symmetric,
        ),
        conventions={
            # Their count is int(int(η N) / K) for every class; ours is floor(η n) of a class of n, the
            # same where classes are of one size, and defined where they are not. Where 0.29 * 100
            # comes out as 28.999999999999996 they flip 28 and we 29.
            "exact": Convention(
                title="an exact share of each class, floor(η n) of n, always to another class",
                source="Ma et al. 2020, dataset.py",
                transform=Flip(_symmetric.matrices, exact=True),
            ),
            "uniform": Convention(
                title="the new label is drawn from all K classes: η (K - 1) / K of the labels are wrong",
                source="Li et al. 2020 (DivideMix), dataloader_cifar.py",
                transform=Flip(lambda K, rate, pairs: (uniform_rows(K, rate),)),
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
            transform=Flip(lambda K, rate, pairs: (asymmetric_rows(K, rate, pairs),)),
        ),
        conventions={
            "sequential": Convention(
                title="pair after pair, an exact share of the labels that the last pair left: "
                "flipped cats can flip back as dogs",
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
        title="each class is taken for the next, with probability η",
        equation="T[i, i] = 1 - η, T[i, (i + 1) mod K] = η",
        default=Convention(
            title="each example by itself",
            source="Han et al. 2018 (Co-teaching), section 4",
            transform=Flip(lambda K, rate, pairs: (pairflip_rows(K, rate),)),
        ),
    ),
)

KINDS.add(
    "matrix",
    NoiseKind(
        form="matrix:FILE",
        title="a transition matrix of your own, from a .csv, .tsv or .npy file",
        equation="T[true, given] as in the file, rows sum to 1",
        default=Convention(
            title="each example by itself",
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
        title="each image flips with a probability of its own, to a class that its pixels choose",
        equation="q_n ~ N(η, 0.1²) cut to [0, 1], P(j | x_n, y) = q_n softmax_(j≠y)(x_n W_y)_j",
        default=Convention(
            title="as the authors draw it, on standardized pixels",
            source="Xia et al. 2020, part-dependent label noise, tools.py",
            transform=FlipPerExample(part_dependent),
        ),
        conventions={
            "parts": Convention(
                title="the paper's picture drawn forward: ten parts by NMF, each with a matrix of its own",
                source="Xia et al. 2020, section 3, read as a generator",
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
        title="an image flips to the next class the more, the nearer it is to it in a random projection",
        equation="P(s_n | x_n, y) = σ((b - m_n) / t), m_n the distance from the boundary, of mean η",
        default=Convention(
            title="each example by itself",
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
        title="people's labels of CIFAR-10 or CIFAR-100, from the authors' files or Parquet",
        equation="none: they are what people said",
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
        title="labels from a file (CSV, Parquet, NumPy, JSON, text), or those that an earlier noise saved",
        equation="none: they are what the file says",
        default=Convention(
            title="the labels of the set are taken to be true, unless the file has true ones",
            source="yours",
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
        title="images of another data set take the place of some, whose labels stay",
        equation="each image is foreign with probability η; a foreign image has no true class",
        default=Convention(
            title="each example by itself",
            source="Wang et al. 2018 (open-set noisy labels)",
            transform=ReplaceImages(),
        ),
        conventions={
            "exact": Convention(
                title="an exact share of each class, floor(η n) of n",
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
        title="fewer examples of every next class, down to a share r of the first; no label changes",
        equation="n_k = floor(n_max r^(k / (K - 1)))",
        default=Convention(
            title="sizes fall exponentially",
            source="Cui et al. 2019; Cao et al. 2019 (LDAM)",
            transform=Subset(imbalance.long_tail),
        ),
        conventions={
            "step": Convention(
                title="the second half of the classes keeps the share r",
                source="Buda et al. 2018; Cao et al. 2019 (LDAM)",
                transform=Subset(imbalance.step),
            ),
        },
        takes="ratio",
    ),
)
