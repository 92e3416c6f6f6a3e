"""The training methods by name, one row each."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from noisylabels.core.registry import Registry
from noisylabels.methods.agreement import Agreement
from noisylabels.methods.backward import Backward
from noisylabels.methods.coteaching import CoTeaching
from noisylabels.methods.coteaching_plus import CoTeachingPlus
from noisylabels.methods.dividemix import DivideMix
from noisylabels.methods.early_stop import EarlyStop
from noisylabels.methods.elr import EarlyLearning
from noisylabels.methods.elr_plus import EarlyLearningPlus
from noisylabels.methods.forward import Forward
from noisylabels.methods.jocor import Jocor
from noisylabels.methods.knn import NearestNeighbors
from noisylabels.methods.mixup import Mixup
from noisylabels.methods.ogc import Ogc
from noisylabels.methods.relabel import Relabel
from noisylabels.methods.sop import Sop
from noisylabels.methods.ssr import Ssr
from noisylabels.methods.standard import Standard
from noisylabels.methods.t_revision import TRevision
from noisylabels.methods.volminnet import VolMinNet
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
        "t_revision": TRevision,
        "volminnet": VolMinNet,
        "coteaching": CoTeaching,
        "coteaching_plus": CoTeachingPlus,
        "jocor": Jocor,
        "early_stop": EarlyStop,
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
