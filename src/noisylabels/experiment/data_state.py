"""The state of the data that a run was trained on: the digests of its sets as they were read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from noisylabels.encoders.names import NONE

if TYPE_CHECKING:
    from noisylabels.data.features import Examples

READ_BY = (
    *("data", "data_root", "image_size", "bad_images", "labels", "label_column", "id_column", "text_column"),
    "features",  # images are read at the size that their encoder takes
)
"""Settings on which the sets depend as they are read, before noise and encoder."""


class DataState(NamedTuple):
    """The digests of both sets as they are read."""

    train: str
    test: str

    @classmethod
    def of(cls, train: Examples, test: Examples) -> DataState:
        """Return the state of two sets."""
        return cls(train.digest, test.digest)


def state_of_run(environment: Mapping[str, Any], config: Mapping[str, Any]) -> DataState | None:
    """Return the state that the data of a run had; None if it is unknown.

    Older runs recorded the digests of the sets that they trained on, which are those of the sets as read
    unless the noise or an encoder made other sets of them.
    """
    if "data_read" in environment:
        read = environment["data_read"]
        return DataState(read["train"], read["test"])
    trained = environment.get("identity", {}).get("data")
    if trained is None or config.get("features", NONE) != NONE or _makes_sets(str(config["noise"])):
        return None
    return DataState(trained["train"], trained["test"])


def _makes_sets(noise: str) -> bool:
    """Return whether noise removes or replaces examples."""
    from noisylabels.noise.spec import NoiseSpec, kind_of

    kinds = [kind_of(stage) for stage in NoiseSpec.parse(noise).stages]
    return any(kind.takes == "ratio" or kind.needs == "foreign images" for kind in kinds)
