"""Label noise: transition matrices, the kinds of noise by name, drawing it, and its record."""

from noisylabels.noise.catalog import KINDS, Convention, NoiseKind
from noisylabels.noise.corruption import corrupt
from noisylabels.noise.labels import NoisyLabels
from noisylabels.noise.maps import MAPS, ConfusionMap
from noisylabels.noise.sampling import sample
from noisylabels.noise.spec import NoiseSpec, Stage
from noisylabels.noise.transition import (
    asymmetric,
    check_transition,
    pairflip,
    sequential,
    symmetric,
    uniform,
)

__all__ = [
    "KINDS",
    "MAPS",
    "ConfusionMap",
    "Convention",
    "NoiseKind",
    "NoiseSpec",
    "NoisyLabels",
    "Stage",
    "asymmetric",
    "check_transition",
    "corrupt",
    "pairflip",
    "sample",
    "sequential",
    "symmetric",
    "uniform",
]
