"""noisylabels: train classifiers on data whose labels are partly wrong.

>>> import noisylabels as nl
>>> criterion = nl.loss("nce + mae")  # in place of nn.CrossEntropyLoss()
>>> train, test = nl.load("digits")
>>> labels = nl.corrupt(train.labels, "symmetric:0.4", class_names=train.class_names, seed=0)
>>> f"{labels.rate:.3f} of {len(labels)} labels are wrong"
'0.402 of 1438 labels are wrong'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from noisylabels import losses as losses
    from noisylabels.audit.result import Audit as Audit
    from noisylabels.audit.running import audit_labels as audit_labels
    from noisylabels.audit.scores import rank as rank
    from noisylabels.core.checks import InputError as InputError
    from noisylabels.data.catalog import load as load
    from noisylabels.data.images import ImageSet as ImageSet
    from noisylabels.data.images import image_set as image_set
    from noisylabels.data.shard_writing import write_shards as write_shards
    from noisylabels.encoders.embed_data import embed as embed
    from noisylabels.estimator import NoisyLabelClassifier as NoisyLabelClassifier
    from noisylabels.experiment import RunConfig as RunConfig
    from noisylabels.experiment import RunResult as RunResult
    from noisylabels.experiment import corrupt_set as corrupt_set
    from noisylabels.experiment import load_config as load_config
    from noisylabels.experiment import run as run
    from noisylabels.losses.expression import loss as loss
    from noisylabels.losses.linear import LinearLoss as LinearLoss
    from noisylabels.losses.modules import Loss as Loss
    from noisylabels.methods.expression import method as method
    from noisylabels.methods.fit import fit as fit
    from noisylabels.methods.selector import Selector as Selector
    from noisylabels.models.catalog import build_model as build_model
    from noisylabels.noise.corruption import corrupt as corrupt
    from noisylabels.noise.estimate import estimate_transition as estimate_transition
    from noisylabels.noise.labels import NoisyLabels as NoisyLabels
    from noisylabels.training.callbacks import Callback as Callback
    from noisylabels.training.callbacks import Stop as Stop
    from noisylabels.training.history import History as History
    from noisylabels.training.method import Method as Method
    from noisylabels.training.settings import Settings as Settings

# Loaded on first use, so that `noisylabels --help` does not wait for torch.
_HOME = {
    "Audit": "audit.result",
    "Callback": "training.callbacks",
    "History": "training.history",
    "ImageSet": "data.images",
    "InputError": "core.checks",
    "LinearLoss": "losses.linear",
    "Loss": "losses.modules",
    "Method": "training.method",
    "NoisyLabelClassifier": "estimator",
    "NoisyLabels": "noise.labels",
    "RunConfig": "experiment",
    "RunResult": "experiment",
    "Selector": "methods.selector",
    "Settings": "training.settings",
    "Stop": "training.callbacks",
    "audit_labels": "audit.running",
    "build_model": "models.catalog",
    "corrupt": "noise.corruption",
    "corrupt_set": "experiment",
    "embed": "encoders.embed_data",
    "estimate_transition": "noise.estimate",
    "fit": "methods.fit",
    "image_set": "data.images",
    "load": "data.catalog",
    "load_config": "experiment",
    "loss": "losses.expression",
    "method": "methods.expression",
    "rank": "audit.scores",
    "run": "experiment",
    "write_shards": "data.shard_writing",
}

__all__ = [
    "Audit",
    "Callback",
    "History",
    "ImageSet",
    "InputError",
    "LinearLoss",
    "Loss",
    "Method",
    "NoisyLabelClassifier",
    "NoisyLabels",
    "RunConfig",
    "RunResult",
    "Selector",
    "Settings",
    "Stop",
    "__version__",
    "audit_labels",
    "build_model",
    "corrupt",
    "corrupt_set",
    "embed",
    "estimate_transition",
    "fit",
    "image_set",
    "load",
    "load_config",
    "loss",
    "losses",
    "method",
    "rank",
    "run",
    "write_shards",
]


def __getattr__(name: str) -> Any:
    if name == "losses":
        return importlib.import_module("noisylabels.losses")
    if name in _HOME:
        return getattr(importlib.import_module(f"noisylabels.{_HOME[name]}"), name)
    raise AttributeError(f"module 'noisylabels' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
