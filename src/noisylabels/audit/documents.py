"""The schemas of the files in an audit's folder; `result` describes the files, and what format 1 lacks."""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from noisylabels.core.columnar import Column
from noisylabels.core.schema import Count, Positive, Share

Matrix = list[list[float]]


class _Rate(TypedDict):
    estimate: Share
    low: Share | None
    high: Share | None
    level: Share | None
    method: str
    count: Count


class _Transition(TypedDict):
    matrix: Matrix
    low: Matrix | None
    high: Matrix | None


class _OfClass(TypedDict):
    name: str
    count: Count
    flagged: Count
    wrong: Share


class _Pair(TypedDict):
    given: str
    suggested: str
    count: Count
    share: Share


class _Members(TypedDict):
    members: list[Count]
    exact: bool


class _Conflict(_Members, total=False):
    ids: list[str]


class _Duplicates(TypedDict):
    groups: Count
    copies: Count
    conflicts: list[_Conflict]


class _Interval(TypedDict):
    estimate: Share
    low: Share
    high: Share


class _Expected(TypedDict):
    before: Share
    after: Share


class _Choice(TypedDict):
    why: str


class _Named(TypedDict):
    name: str


class _Judged(TypedDict):
    probs: Literal["trained", "given", "classifier"]


_Method = TypedDict(
    "_Method",
    {
        "folds": Positive,
        "classifier": str,
        "class": str,
        "seed": int,
        "train_seconds": float,
        "choice": _Choice | None,
        "embedding": _Named | None,
    },
    total=False,
)


class Method(_Judged, _Method):
    """How the labels were judged; a training's settings stand beside these keys."""


_Trusted = TypedDict(
    "_Trusted",
    {
        "count": Count,
        "from": str,
        "agreement": Share,
        "low": Share,
        "high": Share,
        "level": Share,
        "compared": NotRequired[Count],
        "wrong": NotRequired[Count],
    },
)


class _Network(TypedDict):
    agreement: Share
    accuracy: Share
    contradicted: bool


class _Known(TypedDict):
    rate: Share
    average_precision: Share | None
    precision: Share | None


class _Measured(_Known, total=False):
    recall: Share | None
    after: Share | None
    suggestions: Share | None


class _Head(TypedDict):
    format: int
    name: str
    class_names: list[str]
    n: Positive
    data: str | None
    data_root: str | None
    image_size: int | None
    bad_images: str
    part: Literal["all", "train"]
    noise: str
    seed: int
    labels: str | None
    digest: str | None
    method: Method
    flagged: Count
    agreement: Share
    rate: _Rate
    transition: _Transition
    classes: list[_OfClass]
    pairs: list[_Pair]
    duplicates: _Duplicates
    known: _Measured | None


class Head(_Head, total=False):
    """Content of audit.json; audits without such a finding, or of format 1, lack the optional keys."""

    version: str
    features: str
    kind: str
    label_column: str | None
    id_column: str | None
    text_column: str | None
    source_rows: Count | None
    left_out: list[str]
    texts: bool
    texts_alone: bool
    not_judged: list[Count]
    accuracy: _Interval
    network: _Network
    expected: _Expected
    trusted: _Trusted
    notes: list[str]
    seconds: float


LABELS = {
    **dict.fromkeys(("rank", "index"), Column("integers")),
    **dict.fromkeys(("id", "given", "suggested", "why"), Column("text")),
    "path": Column("text", nullable=True),
    "score": Column("numbers"),
    "flagged": Column("truth"),
    **dict.fromkeys(("probability_wrong", "probability_suggested"), Column("numbers", optional=True)),
    "trusted": Column("truth", optional=True),
    "before": Column("text", nullable=True, optional=True),
    "true": Column("text", nullable=True, optional=True),
}
"""The columns of labels.parquet."""

NEIGHBORS = {
    "index": Column("integers"),
    **dict.fromkeys(("of_given", "of_suggested"), Column("lists of integers")),
}
"""The columns of neighbors.parquet."""


class Fingerprinted(TypedDict):
    """The fingerprints of the examples, see `Fingerprints`."""

    shape: list[Count]
    values: str


class _Files(TypedDict):
    seen: bool
    pair: str


class About(_Files, total=False):
    """What the schema of probs.parquet and seen.parquet says beside its columns, see `saved_probs.Layout`."""

    rule: str
    network: bool
    judges_blank: bool
    fingerprints: Fingerprinted
