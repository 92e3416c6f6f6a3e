"""The schemas of the JSON files in a run's folder, and of the rows of exported files."""

from __future__ import annotations

import typing
from typing import Annotated, Any, Literal

from typing_extensions import TypedDict

from noisylabels.core.schema import Count, Interval, Limits, Share
from noisylabels.experiment.config import RunConfig
from noisylabels.training.history import Row

_TYPES = typing.get_type_hints(RunConfig)
_SUBJECT = ("data", "noise", "loss", "model", "epochs", "seed")
Settings = TypedDict("Settings", _TYPES, total=False)  # type: ignore[misc]  # not a literal
"""Some settings of a run."""

_First = TypedDict("_First", {name: _TYPES[name] for name in _SUBJECT})  # type: ignore[misc]
_Later = TypedDict(  # type: ignore[misc]
    "_Later", {name: kind for name, kind in _TYPES.items() if name not in _SUBJECT}, total=False
)


class Config(_First, _Later):
    """Content of config.json: the settings of a run; those that are newer than the run are missing."""


class Noise(TypedDict):
    """The labels that a run was trained on, in its result."""

    spec: str
    seed: int | None
    rate: Share
    digest: str


class _OnTrueLabels(TypedDict, total=False):
    accuracy: float
    interval: Interval
    why: str


class _Test(TypedDict, total=False):
    examples: Count
    held_out: bool
    true_labels: _OnTrueLabels


class _Train(TypedDict):
    examples: Count
    inputs: Literal["images", "table"]


class _Finished(TypedDict):
    status: Literal["done", "failed"]
    run_id: str
    final: Row | None
    noise: Noise
    class_names: list[str]
    message: str


class Result(_Finished, total=False):
    """Content of result.json; versions before 0.1 lack the optional keys."""

    loss: str
    model: str
    device: str
    kept: Row | None
    test: _Test | None
    train: _Train | None
    weights: str
    epochs: int
    train_seconds: float
    eval_seconds: float
    peak_memory_bytes: int


class _Sets(TypedDict):
    name: str
    train: str
    test: str


_Digests = dict[str, str]
Identity = TypedDict(
    "Identity",
    {"noise files": _Digests, "label files": _Digests, "encoder files": _Digests, "code files": _Digests},
    total=False,
)
"""Digests of the files that a run reads, by kind."""


class _Identity(Identity):
    data: _Sets
    labels: str
    model: dict[str, Any]
    augment: str


class _Loss(TypedDict):
    loss: str
    why: str


class _Round(TypedDict):
    epochs: Count
    accuracy: dict[str, float | None]  # None: the training diverged


class Chosen(_Loss, total=False):
    """The loss, and for a table the model and its settings, that a run chose when it began.

    For a weight that a rule set: the weight, and what was compared.
    """

    weight: Annotated[float, Limits(gt=0)]
    rounds: list[_Round]
    model: str
    settings: Settings
    power: Annotated[float, Limits(gt=0)] | None


class MachineUse(TypedDict):
    """How busy the machine was during a run."""

    jobs: int  # runs of the study at the same time
    load: float | None  # the highest of the machine, at the ends of epochs


class Copied(TypedDict):
    """The run of which this one is a copy, because its loss is the same function."""

    run_id: str
    loss: str


class DataRead(TypedDict):
    """The digests of both sets as they were read, before noise and encoder."""

    train: str
    test: str


class Software(TypedDict, total=False):
    """The versions and the hardware that a result was computed with."""

    noisylabels: str
    python: str
    packages: dict[str, str]
    platform: str
    processor: str
    cores: int | None
    threads: int
    processes: int  # that divide the training; missing for one
    gpu: str | None
    kernel: str | None
    chosen: Chosen
    use: MachineUse  # added at the end of a run
    copied: Copied  # missing for a run that was run
    data_read: DataRead  # missing for older runs


class Environment(Software):
    """Content of environment.json."""

    identity: _Identity


class Failure(TypedDict):
    """Content of failure.json, of a cell of a study that could not be run."""

    run_id: str
    message: str
    config: Config
