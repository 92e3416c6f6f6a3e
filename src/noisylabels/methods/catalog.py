"""The training methods by name, one row each."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from noisylabels.core.registry import Registry
from noisylabels.methods.agreement import Agreement
from noisylabels.methods.backward import Backward
from noisylabels.methods.coteaching import CoTeaching
from noisylabels.methods.dividemix import DivideMix
from noisylabels.methods.elr import EarlyLearning
from noisylabels.methods.elr_plus import EarlyLearningPlus
from noisylabels.methods.forward import Forward
from noisylabels.methods.knn import NearestNeighbors
from noisylabels.methods.mixup import Mixup
from noisylabels.methods.ogc import Ogc
from noisylabels.methods.relabel import Relabel
from noisylabels.methods.sop import Sop
from noisylabels.methods.ssr import Ssr
from noisylabels.methods.standard import Standard
from noisylabels.training.method import LossFunction, Method

MakeMethod = Callable[[nn.Module, LossFunction], Method]
"""A function from a model and a loss to a method."""

METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        "standard": Standard,
        "elr": EarlyLearning,
        "sop": Sop,
        "forward": Forward,
        "backward": Backward,
        "coteaching": CoTeaching,
        "agreement": Agreement,
        "mixup": Mixup,
        "relabel": Relabel,
        "knn": NearestNeighbors,
        "ogc": Ogc,
        "elr_plus": EarlyLearningPlus,
        "dividemix": DivideMix,
        "ssr": Ssr,
    },
)
