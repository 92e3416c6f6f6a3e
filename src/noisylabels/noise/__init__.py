"""Label noise: noise models by name, transition matrices, sampling of noisy labels, and estimation."""

from noisylabels.noise.catalog import KINDS, Convention, NoiseKind
from noisylabels.noise.confident_learning import calibrated_joint, confident_joint
from noisylabels.noise.confusion_maps import MAPS, ConfusionMap
from noisylabels.noise.corruption import corrupt
from noisylabels.noise.estimate import Estimate, estimate_transition
from noisylabels.noise.labels import NoisyLabels
from noisylabels.noise.sampling import sample
from noisylabels.noise.spec import NoiseSpec
from noisylabels.noise.stage import Stage
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
    "Estimate",
    "NoiseKind",
    "NoiseSpec",
    "NoisyLabels",
    "Stage",
    "asymmetric",
    "calibrated_joint",
    "check_transition",
    "confident_joint",
    "corrupt",
    "estimate_transition",
    "pairflip",
    "sample",
    "sequential",
    "symmetric",
    "uniform",
]
